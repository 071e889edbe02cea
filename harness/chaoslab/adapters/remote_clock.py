"""Time as an agent in a process of its own has it: the lab's, which may run faster than the wall's.

What the agent waits for by `asyncio` runs on it too. In the simulator a second of `asyncio.sleep`
is a second of the lab's time; were it a real one here, the same agent would be ten times slower
to give up than it is there, and would show other behaviour.
"""

from __future__ import annotations

import asyncio
import selectors
import time


class RemoteLoop(asyncio.SelectorEventLoop):
    """An event loop on the lab's time, so that a second of `asyncio.sleep` or `asyncio.timeout` is
    the second that it is in the simulator. It runs as the wall does until it is told the speed."""

    def __init__(self) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self._speed = 1
        self._began = self._began_at = time.monotonic()
        select = selector.select

        def select_real(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            # The loop waits by its selector alone, which knows nothing but real seconds.
            return select(timeout if timeout is None else timeout / self._speed)

        selector.select = select_real  # type: ignore[method-assign]

    def time(self) -> float:
        """Seconds of the lab's time since some moment."""
        return self._began_at + (time.monotonic() - self._began) * self._speed

    def runs_at(self, speed: int, /) -> None:
        """From now on, time runs so much faster."""
        self._began_at, self._began = self.time(), time.monotonic()
        self._speed = speed


class RemoteClock:
    """The lab's clock, which may run faster than the wall's."""

    def __init__(self, now_ms: int, speed: int) -> None:
        self._loop = asyncio.get_running_loop()
        if isinstance(self._loop, RemoteLoop):
            self._loop.runs_at(speed)
        self._zero = self._loop.time() - now_ms / 1000

    def now_ms(self) -> int:
        """Milliseconds since the start of the execution."""
        return int((self._loop.time() - self._zero) * 1000)

    async def sleep(self, ms: int, /) -> None:
        """Waits."""
        await asyncio.sleep(ms / 1000)
