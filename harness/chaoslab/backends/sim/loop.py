"""An asyncio event loop in virtual time, in which a process can die without noticing.

Three things make it deterministic where asyncio is not:

- time is an integer that jumps to the next timer when nothing is ready;
- tasks hash by a sequence number, since `asyncio.TaskGroup` keeps its children in a set and an
  abort would otherwise cancel them in order of memory address;
- handles run first in, first out between two decision points, and decision points are ordered
  by (time, tie, name), never by the order in which they were made.

Every handle carries the incarnation that made it in its context. Handles of a dead one are
dropped, those of a paused one are parked, so that no `except`, no `finally` and no context
manager of a killed agent ever runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import heapq
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from chaoslab.backends.common.loop import CURRENT, Event, Incarnation
from chaoslab.core.clock import monotonic_ns


class SimTask(asyncio.Task[Any]):
    """A task whose hash is its number, so that sets of tasks iterate alike everywhere."""

    _owner: Incarnation | None = None

    def __init__(self, number: int, coro: Any, **options: Any) -> None:
        self._number = number  # before asyncio puts the task into a set of its own
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


_FOREVER_S = 1e9
# So many handles without an event in between: somebody spins instead of waiting.
_HANDLES_MAX = 300_000


def _nobody(*_: object) -> None:
    """Who listens to a loop that has ended."""


def _ns(seconds: float) -> int:
    """Nanoseconds; more than thirty years are for ever."""
    return round(max(-_FOREVER_S, min(seconds, _FOREVER_S)) * 1e9)


class SimLoop(asyncio.BaseEventLoop):
    """See the module. Only `run_until_idle` and `step` of the simulator drive it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self._events: list[tuple[int, int, str, int, Event | asyncio.TimerHandle]] = []
        self._sequence = 0  # of events
        self._made = 0  # tasks
        self.agent_ns = 0  # wall time in handles of agents, for statistics alone
        self.on_exit: Callable[[SystemExit], None] = lambda leaving: None
        self.on_error: Callable[[BaseException], None] = lambda error: None
        self.on_spin: Callable[[], None] = lambda: None
        self.set_exception_handler(self._unhandled)

    # -- asyncio's side

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.now_ns / 1e9

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """A timer of the agent's own; ties are broken by order of creation."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._push(max(_ns(when), self.now_ns), 0, "", timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """A timer relative to now, without float drift."""
        timer = asyncio.TimerHandle(self.time() + delay, callback, args, self, context)
        self._push(self.now_ns + max(0, _ns(delay)), 0, "", timer)
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer

    @staticmethod
    def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Errors that an agent lets drop are its own affair; those of the lab are not."""
        error, handle = context.get("exception"), context.get("handle")
        if error is not None and handle is not None and handle._context.get(CURRENT) is None:
            assert isinstance(loop, SimLoop)
            loop.on_error(error)

    def close(self) -> None:
        """An agent cannot end the loop that it runs on; see `shut`."""

    def shut(self) -> None:
        """Ends the loop for good, and forgets who listened: they know the loop as well."""
        super().close()
        self.on_exit = self.on_error = self.on_spin = _nobody

    def set_task_factory(self, factory: Any) -> None:
        """The loop keeps its own factory: without it the order of tasks is lost."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when their time comes."""

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """A task that hashes by its number. Its name is a number of this loop's: asyncio's own
        names count over the life of an interpreter."""
        self._made += 1
        task = SimTask(self._made, coro, loop=self, context=context)
        task.set_name(f"Task-{self._made}" if name is None else name)
        owner = CURRENT.get() if context is None else context.get(CURRENT)
        if owner is not None:
            task._owner = owner
            owner.tasks[self._made] = task
            task.add_done_callback(_forget, context=_LAB)
        return task

    def _process_events(self, event_list: Any) -> None:
        """There is nothing outside to listen to."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""

    # -- the simulator's side

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
        event = Event(action, owner)
        self._push(max(when_ns, self.now_ns), tie, name, event)
        return event

    def _push(self, when: int, tie: int, name: str, item: Event | asyncio.TimerHandle) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (when, tie, name, self._sequence, item))

    def drain(self) -> None:
        """Runs ready handles, first in, first out, until none is left."""
        ready = self._ready  # type: ignore[attr-defined]
        left = _HANDLES_MAX
        while ready:
            handle = ready.popleft()
            left -= 1
            if left < 0:
                ready.clear()
                self.on_spin()
                return
            if handle._cancelled:
                continue
            owner = handle._context.get(CURRENT)
            if owner is not None:
                if not owner.alive:
                    continue
                if owner.parked is not None:
                    owner.parked.append(handle)
                    continue
            began = monotonic_ns() if owner is not None else 0
            try:
                handle._run()
            except SystemExit as leaving:
                self.on_exit(leaving)
            if began:
                self.agent_ns += monotonic_ns() - began

    def next_time(self) -> int | None:
        """When the next event is due; None where nothing is planned."""
        events = self._events
        while events:
            item = events[0][4]
            cancelled = item.cancelled if isinstance(item, Event) else item.cancelled()
            if not cancelled:
                return events[0][0]
            heapq.heappop(events)
        return None

    def pending(self) -> list[tuple[int, int, str, Event | asyncio.TimerHandle]]:
        """What is still to happen: (time, tie, name, what), in no order."""
        return [
            (when, tie, name, item)
            for when, tie, name, _, item in self._events
            if not (item.cancelled if isinstance(item, Event) else item.cancelled())
        ]

    def step(self) -> bool:
        """Jumps to the next event, fires it, and runs what it made ready. False: nothing left."""
        due = self.next_time()
        if due is None:
            return False
        item = heapq.heappop(self._events)[4]
        self.now_ns = due
        if isinstance(item, Event):
            owner = item.owner
            if owner is None or (owner.alive and owner.parked is None):
                item.action()
            elif owner.alive and owner.parked is not None:
                owner.parked.append(asyncio.Handle(item.action, (), self, _LAB))
        else:
            self._ready.append(item)  # type: ignore[attr-defined]
        self.drain()
        return True

    def unpark(self, process: Incarnation) -> None:
        """A paused process goes on, with everything that waited, in order."""
        waiting, process.parked = process.parked or [], None
        self._ready.extend(waiting)  # type: ignore[attr-defined]

    def bury(self, process: Incarnation) -> None:
        """Makes the unfinished tasks of a dead process immortal.

        A coroutine that is collected is closed, which would run its `finally` blocks; so the
        interpreter must never collect it. The lab's own objects are cut loose by then.
        """
        for task in process.tasks.values():
            if not task.done():
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        process.tasks.clear()

    def entered(self) -> _Entered:
        """Makes this the running loop, so that futures and tasks can be made outside of it."""
        return _Entered(self)


class _Entered:
    """Context manager of `SimLoop.entered`."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def __enter__(self) -> SimLoop:
        loop = self._loop
        self._hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=loop._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
            finalizer=loop._asyncgen_finalizer_hook,  # type: ignore[attr-defined]
        )
        asyncio.events._set_running_loop(loop)
        return loop

    def __exit__(self, *exc: object) -> None:
        asyncio.events._set_running_loop(None)
        sys.set_asyncgen_hooks(*self._hooks)


def _forget(task: asyncio.Task[Any]) -> None:
    owner: Incarnation | None = task._owner  # type: ignore[attr-defined]
    if owner is not None:
        owner.tasks.pop(task._number, None)  # type: ignore[attr-defined]


_LAB = contextvars.Context()
