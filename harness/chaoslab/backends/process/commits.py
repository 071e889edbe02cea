"""The answer to COMMIT itself is lost, and what was asked for is committed.

A store over a line has a moment that one in a file does not have: everything of a transaction is
done, and COMMIT is on its way. The region is held right before it (`arm`), the line to its database
swallows what the database says from then on, the region is released, and once the ledger shows the
commit the line breaks. So the loss is forced, and not hoped for; the region learns no more than any
client of a database would, and the lab knows from the ledger what the region cannot know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from chaoslab.links.client import Line
from chaoslab.regions.rows import Change, Row, Unsure
from chaoslab.regions.wire import Asking

_TOXIC: Final = "commit-unanswered"
_POLL_S: Final = 0.01


class Swallowing(Protocol):
    """Between a region and its database."""

    async def start(self) -> None:
        """From now on nothing that the database says arrives."""
        ...

    async def end(self) -> None:
        """The connections that were kept waiting break."""
        ...


class OverToxiproxy:
    """Swallows by the toxic `timeout`, whose removal closes what it held."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def start(self) -> None:
        """See `Swallowing`."""
        await asyncio.to_thread(self._line.add, "timeout", name=_TOXIC, timeout=0)

    async def end(self) -> None:
        """See `Swallowing`."""
        await asyncio.to_thread(self._line.remove, _TOXIC)


async def unanswered(
    region: Asking,
    change: Change,
    swallowing: Swallowing,
    committed: Callable[[], Awaitable[Row | None]],
    /,
    *,
    limit_s: float = 10.0,
) -> Row:
    """Carries out a change so that its region never hears whether it is committed; the row that the
    ledger then has. Whatever refuses the change before its COMMIT is raised as it is; Unsure where
    the ledger does not show the commit in time.

    `committed` looks for the change in the ledger, as the referee, by a way of its own.
    """
    await region.ask("arm", point="commit", uid=change.uid)
    writing = asyncio.ensure_future(region.ask("write", change=change.json()))
    held = asyncio.ensure_future(region.ask("held"))
    try:
        await asyncio.wait((writing, held), return_when=asyncio.FIRST_COMPLETED)
        if writing.done():  # refused, or nothing was to be changed
            return Row.of_json(writing.result())
        await swallowing.start()
        try:
            await region.ask("release")
            row = await _within(limit_s, committed)
        finally:
            await swallowing.end()
        with suppress(Unsure, ConnectionError):
            await asyncio.wait_for(writing, limit_s)
        if row is None:
            raise Unsure("the ledger does not show whether it was committed")
        return row
    finally:
        for one in (writing, held):
            one.cancel()
        await asyncio.gather(writing, held, return_exceptions=True)
        with suppress(ConnectionError):
            await region.ask("release")


async def _within(limit_s: float, committed: Callable[[], Awaitable[Row | None]]) -> Row | None:
    loop = asyncio.get_running_loop()
    until = loop.time() + limit_s
    while True:
        row = await committed()
        if row is not None or loop.time() >= until:
            return row
        await asyncio.sleep(_POLL_S)
