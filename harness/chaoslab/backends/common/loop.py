"""What hub, flights and supervisor need of time: the loop of a backend, virtual or real.

Both backends carry a call through the same phases by the same code; what differs is who moves the
clock, and how a process is stopped from running.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Protocol


class Incarnation(Protocol):
    """What a loop must know of a process."""

    alive: bool
    parked: list[asyncio.Handle] | None  # a list while it is paused
    tasks: dict[int, asyncio.Task[Any]]


CURRENT: contextvars.ContextVar[Incarnation | None] = contextvars.ContextVar(
    "chaoslab_process", default=None
)


class Event:
    """Something that happens at a time."""

    __slots__ = ("action", "cancelled", "owner")

    def __init__(self, action: Callable[[], None], owner: Incarnation | None) -> None:
        self.action = action
        self.owner = owner
        self.cancelled = False


class Loop(Protocol):
    """Time, and what is to happen in it."""

    @property
    def now_ns(self) -> int:
        """Nanoseconds since the start of the execution."""
        ...

    def schedule(
        self,
        when_ns: int,
        tie: int,
        name: str,
        action: Callable[[], None],
        owner: Incarnation | None = None,
    ) -> Event:
        """An event of the lab. With an owner it is parked while that one is paused and dropped
        when it is dead."""
        ...

    def create_future(self) -> asyncio.Future[Any]:
        """Something to wait for."""
        ...

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        """A task that belongs to the process in its context."""
        ...

    def unpark(self, process: Incarnation) -> None:
        """A paused process goes on, with everything that waited, in order."""
        ...

    def bury(self, process: Incarnation) -> None:
        """Nothing of a dead process runs any more."""
        ...

    def shut(self) -> None:
        """Ends the loop for good."""
        ...
