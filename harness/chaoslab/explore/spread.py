"""A campaign's items over an executor: each index comes back exactly once, whatever is killed.

Only a few items are handed over at a time: 100,000 of them would sit in a scheduler's memory, and
could neither be stopped quickly nor be counted. What comes back depends on the items alone; the
order in which it comes does not, so every result carries its index.

>>> from chaoslab.explore.executors import open_executor
>>> with open_executor("", jobs=2) as executor:
...     sorted(Spread(executor, jobs=2).each(abs, [-3, 4, -5]))
[(0, 3), (1, 4), (2, 5)]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from typing import Any, Final, TypeVar

from chaoslab.core.errors import LabError, shown
from chaoslab.explore.executors import Crew, Threads

AHEAD: Final = 3  # so many times what is carried out at once is handed over: nobody waits for work
_LOOK_S: Final = 0.5
_T = TypeVar("_T")
_R = TypeVar("_R")


class Spread:
    """Hands items to an executor, and again where the worker that had one was killed."""

    def __init__(self, executor: Executor, *, jobs: int, again_max: int = 3) -> None:
        self._executor, self._jobs, self._again_max = executor, jobs, again_max
        self._crew = executor if isinstance(executor, Crew) else None
        self._lost = False

    def each(
        self, function: Callable[[_T], _R], items: Sequence[_T], /
    ) -> Iterator[tuple[int, _R]]:
        """Each item's index and result, as they come.

        An error of the function is passed on, and ends the rest. So does Ctrl-C: what had come was
        yielded, and what runs is killed. Whoever leaves the loop early leaves what runs to its end.
        Once the executor was lost, which is an error, what is left to tell is worked out here.
        """
        if self._lost:
            with Threads(self._jobs) as here:
                yield from Spread(here, jobs=self._jobs).each(function, items)
            return
        waiting = deque(range(len(items)))
        tries = [0] * len(items)
        under_way: dict[Future[_R], int] = {}
        try:
            while waiting or under_way:
                while waiting and len(under_way) < self._at_once():
                    index = waiting.popleft()
                    under_way[self._begun(function, items[index])] = index
                done, _ = wait(under_way, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                if not done:
                    self._look()
                for future in done:
                    index = under_way.pop(future)
                    why = _why_lost(future)
                    if not why:
                        yield index, future.result()
                        continue
                    self._look()
                    tries[index] += 1
                    if tries[index] > self._again_max:
                        raise _given_up(index, items[index], tries[index], why)
                    waiting.appendleft(index)
        except GeneratorExit:
            for future in under_way:
                future.cancel()
            raise
        except BaseException:
            self._stop(under_way)
            raise

    def _at_once(self) -> int:
        return AHEAD * (self._jobs if self._crew is None else self._crew.capacity)

    def _begun(self, function: Callable[[_T], _R], item: _T) -> Future[_R]:
        """The future of an item. An executor that cannot even take it has lost it."""
        try:
            return self._executor.submit(function, item)
        except BrokenExecutor as error:
            failed: Future[_R] = Future()
            failed.set_exception(error)
            return failed

    def _look(self) -> None:
        why = "" if self._crew is None else self._crew.trouble()
        if why:
            self._lost = True
            raise LabError(why, hint="start it again; with --resume the campaign goes on")

    def _stop(self, under_way: dict[Future[Any], int]) -> None:
        if self._crew is not None:
            self._crew.stop()
            return
        for future in under_way:
            future.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)


def _why_lost(future: Future[Any]) -> str:
    """Why nobody knows what became of an item; "" where its function ended, well or not."""
    if future.cancelled():
        return "it was cancelled"
    error = future.exception()
    if isinstance(error, (BrokenExecutor, CancelledError)):
        return str(error) or type(error).__name__
    return ""


def _given_up(index: int, item: object, tries: int, why: str) -> LabError:
    return LabError(
        f"item {index} ended its worker {tries} times in a row ({why}): {shown(item)}",
        hint="look at the memory of the workers, or take fewer --jobs",
    )
