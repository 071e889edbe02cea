"""What a region asks of the store that holds its copy.

A store is used by one thread and one region. Every method is one transaction: killed at any
instant, it leaves either all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from chaoslab.regions.rows import Change, Row, State


class Store(Protocol):
    """One region's copy, and the ledger of what it committed."""

    def state(self) -> State:
        """What the copy knows of itself; at first epoch 1, following, and empty."""
        ...

    def lead(self, epoch: int, count: int) -> None:
        """Takes changes from now on, as (epoch, n) with n above `count` and above its own."""
        ...

    def follow(
        self, epoch: int, rows: Sequence[Row], fences: Mapping[str, int], count: int
    ) -> None:
        """Becomes the same as a leader: its rows and fences replace what is here. The ledger
        stays."""
        ...

    def read(self, id: str) -> Row | None:
        """The row of an item, also one that is gone or out of date."""
        ...

    def scan(self, prefix: str) -> list[Row]:
        """The rows whose id starts with `prefix`, by id; also those gone or out of date."""
        ...

    def write(self, change: Change) -> Row:
        """Judges a change (`rows.judged`), puts it, appends it to the ledger and remembers its
        fence. Refusal: nothing happened. Erasing what is not there changes nothing and gives a row
        with nth 0."""
        ...

    def put(self, rows: Sequence[Row], fences: Mapping[str, int], epoch: int) -> bool:
        """Takes replicated rows, newer versions only, and the newest fences. False, and nothing
        is taken, where this copy leads or is in another epoch."""
        ...

    def ledger(self, after: int) -> list[Row]:
        """What this copy committed while it led, in order, from `after` + 1; never shortened."""
        ...

    def close(self) -> None:
        """Lets go of files and connections."""
        ...
