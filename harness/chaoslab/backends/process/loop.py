"""Real time with the simulator's face.

`speed` is how much faster the lab's clock runs than the wall's: an agent that takes its time from
the lab then waits a tenth of a second where it says one second. For any other agent it is 1.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, Final

from chaoslab.backends.common.loop import CURRENT, Event, Incarnation
from chaoslab.core.clock import monotonic_ns

_STALL_REAL_NS: Final = 20_000_000


class LiveLoop:
    """See the module. To be made within a running asyncio loop."""

    def __init__(self, speed: int, on_error: Callable[[BaseException], None]) -> None:
        self.asyncio = asyncio.get_running_loop()
        self.speed = speed
        self._began = monotonic_ns()
        self._on_error = on_error
        self._made = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._shut = False
        self.stood_still_ns = 0  # how much too late the running event is, where that is a stall

    @property
    def now_ns(self) -> int:
        """Nanoseconds on the lab's clock since the start of the execution."""
        return (monotonic_ns() - self._began) * self.speed

    def real_s(self, ns: int) -> float:
        """How long a span of the lab's time takes on the wall."""
        return max(0, ns) / self.speed / 1e9

    def schedule(
        self,
        when_ns: int,
        tie: int,
        name: str,
        action: Callable[[], None],
        owner: Incarnation | None = None,
    ) -> Event:
        """An event of the lab; see `Loop.schedule`."""
        event = Event(action, owner)
        self.asyncio.call_later(self.real_s(when_ns - self.now_ns), self._fire, event, when_ns)
        return event

    def _fire(self, event: Event, when_ns: int | None) -> None:
        owner = event.owner
        stood_ns = 0 if when_ns is None else self.now_ns - when_ns
        self.stood_still_ns = stood_ns if stood_ns > _STALL_REAL_NS * self.speed else 0
        if self._shut or event.cancelled or (owner is not None and not owner.alive):
            return
        if owner is not None and owner.parked is not None:
            owner.parked.append(asyncio.Handle(self._fire, (event, None), self.asyncio))
            return
        try:
            event.action()
        except Exception as error:
            self._on_error(error)

    def create_future(self) -> asyncio.Future[Any]:
        """Something to wait for."""
        return self.asyncio.create_future()

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        """A task that belongs to the process in its context."""
        task = self.asyncio.create_task(coro, context=context)
        owner = CURRENT.get() if context is None else context.get(CURRENT)
        self._made += 1
        number = self._made
        self._tasks.add(task)
        if owner is not None:
            owner.tasks[number] = task

        def ended(done: asyncio.Task[Any]) -> None:
            self._tasks.discard(done)
            error = None if done.cancelled() else done.exception()
            if owner is not None:
                owner.tasks.pop(number, None)
            # What an agent's own work raises is told by the supervisor; the rest is the lab's.
            elif error is not None and not self._shut:
                self._on_error(error)

        task.add_done_callback(ended)
        return task

    def unpark(self, process: Incarnation) -> None:
        """A paused process goes on, with everything that waited, in order."""
        waiting, process.parked = process.parked or [], None
        for handle in waiting:
            handle._run()

    def bury(self, process: Incarnation) -> None:
        """Cancels what the lab still does on behalf of a dead process."""
        for task in tuple(process.tasks.values()):
            task.cancel()
        process.tasks.clear()

    def shut(self) -> None:
        """Nothing fires any more."""
        self._shut = True
        for task in tuple(self._tasks):
            task.cancel()
