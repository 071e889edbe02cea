"""What each toxic does to the bytes of one direction of one connection.

Toxics stand in a row. A stage takes chunks from the one before it (`feed`), and in the end learns
that no more will come and why (`end`); it hands both on when its time has come. Nothing waits in a
task of its own: what is held lies in a queue with the moment at which it is due, and one timer
stands at the head of it. So a change of a toxic is a change of a few numbers, and there is no
moment at which a chunk is nowhere.

Whether a toxic strikes a connection is drawn once per connection, and again when the toxic is
changed. The draw is a function of seed, proxy, the connection's number and the toxic's name.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from random import Random
from typing import Final, Protocol

from chaoslab.links.model import Toxic

# As much as the original lets a latency hold, in chunks of the size that it reads.
_HELD_CHUNKS_MAX: Final = 1024
HELD_BYTES_MAX: Final = _HELD_CHUNKS_MAX * 32_768
_STEP_S: Final = 0.1  # a slow band passes this much time's worth of data at once


class How(Enum):
    """How a direction ends: nothing more to say, the connection closed, or a reset."""

    EOF = "eof"
    CLOSE = "close"
    RESET = "reset"


class Taker(Protocol):
    """What stands after a stage: another one, or the socket."""

    def feed(self, data: bytes) -> None:
        """Takes a chunk."""

    def end(self, how: How) -> None:
        """Learns that no more will come."""


class Stage:
    """A toxic on one direction of one connection. Noop in itself, and where it does not strike."""

    def __init__(self, toxic: Toxic, rng: Random, next: Taker, changed: Callable[[], None]) -> None:
        self.toxic, self.next = toxic, next
        self._rng, self._changed = rng, changed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._ended: How | None = None
        self.strikes = self._draw()
        self.closed = False  # it has ended the direction; whatever else comes is dropped

    def _draw(self) -> bool:
        return self._rng.random() < self.toxic.toxicity

    def number(self, name: str) -> int:
        """An attribute of the toxic."""
        return self.toxic.attributes[name]

    @property
    def full(self) -> bool:
        """Whether no more is to be read for now."""
        return False

    def start(self) -> None:
        """It stands in the row from now on."""

    def feed(self, data: bytes) -> None:
        """A chunk comes."""
        self.next.feed(data)

    def end(self, how: How) -> None:
        """No more comes."""
        self.pass_end(how)

    def pass_end(self, how: How) -> None:
        """Ends what stands after it, once."""
        if not self.closed:
            self.closed = True
            self.stop()
            self.next.end(how)

    def change(self, toxic: Toxic) -> None:
        """The toxic has other numbers now."""
        self.release()
        self.toxic = toxic
        self.strikes = self._draw()
        self._again()

    def _again(self) -> None:
        """As if it had been put here just now, but what has ended stays so."""
        self.stop()
        if self.closed:
            return
        self.start()
        if self._ended is not None:
            how, self._ended = self._ended, None
            self.end(how)

    def remove(self) -> None:
        """It stands here no longer; what it holds goes on at once."""
        self.release()
        if self._ended is not None:
            self.pass_end(self._ended)
        self.stop()

    def release(self) -> None:
        """Hands on what it holds."""

    def stop(self) -> None:
        """No timer of it runs any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, delay_s: float, action: Callable[[], None]) -> None:
        self.stop()
        self._timer = self._loop.call_later(max(delay_s, 0.0), action)


class Paced(Stage):
    """A stage that holds chunks, each until it is due."""

    def __init__(self, toxic: Toxic, rng: Random, next: Taker, changed: Callable[[], None]) -> None:
        super().__init__(toxic, rng, next, changed)
        self._queue: deque[tuple[float, float, bytes]] = deque()  # due, came, data
        self._held_bytes = 0
        self._free = 0.0  # when the last piece that was taken is through

    def pieces(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        """The pieces that a chunk becomes, each with the moment at which it is due."""
        yield now, data

    @property
    def full(self) -> bool:
        """Nothing new is read while something waits, so that the sender feels it."""
        return bool(self._queue)

    def feed(self, data: bytes) -> None:
        """A chunk comes."""
        if self.closed:
            return
        if not self.strikes and not self._queue:
            self.next.feed(data)
            return
        now = self._loop.time()
        for due, piece in self.pieces(data, now) if self.strikes else [(now, data)]:
            self._queue.append((due, now, piece))
        self._held_bytes += len(data)
        self._due()

    def end(self, how: How) -> None:
        """No more comes; what is held comes first."""
        if self._queue and how is not How.RESET:
            self._ended = how
        else:
            self.pass_end(how)

    def _due(self) -> None:
        """Hands on what is due, and waits for what is not."""
        self.stop()
        queue = self._queue
        # The clock of the loop does not get finer than this.
        now = self._loop.time() + 1e-6
        while queue and queue[0][0] <= now and not self.closed:
            _, _, data = queue.popleft()
            self._held_bytes -= len(data)
            self.next.feed(data)
        if self.closed:
            return
        if queue:
            if queue[0][0] != float("inf"):
                self._timer = self._loop.call_at(queue[0][0], self._due)
        elif self._ended is not None:
            self.pass_end(self._ended)
        self._changed()

    def release(self) -> None:
        """Hands on what it holds."""
        while self._queue and not self.closed:
            self.next.feed(self._queue.popleft()[2])
        self._held_bytes, self._free = 0, 0.0

    def stop(self) -> None:
        """No timer of it runs any more."""
        super().stop()
        if self.closed:
            self._queue.clear()


class Latency(Paced):
    """Everything comes later by `latency` ± `jitter` ms, in order; much may be on its way."""

    @property
    def full(self) -> bool:
        """Only when very much is held: a slow line is not a narrow one."""
        return len(self._queue) >= _HELD_CHUNKS_MAX or self._held_bytes >= HELD_BYTES_MAX

    def _delay_s(self) -> float:
        delay, jitter = self.number("latency"), self.number("jitter")
        if jitter > 0:
            delay += self._rng.randrange(2 * jitter) - jitter
        return max(delay, 0) / 1000

    def pieces(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        """The chunk as it is, late."""
        self._free = max(self._free, now + self._delay_s())
        yield self._free, data

    def change(self, toxic: Toxic) -> None:
        """What is on its way arrives as if the new latency had been there when it left."""
        self.toxic = toxic
        self.strikes = self._draw()
        held, self._queue, self._free = self._queue, deque(), 0.0
        for _, came, data in held:
            if self.strikes:
                self._free = max(self._free, came + self._delay_s())
            self._queue.append((self._free, came, data))
        self._due()


class Bandwidth(Paced):
    """`rate` KB/s. With a rate of 0 nothing passes until the toxic is changed or removed."""

    def pieces(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        """Pieces of a tenth of a second."""
        rate = self.number("rate") * 1000
        if rate <= 0:
            yield float("inf"), data
            return
        size = max(int(rate * _STEP_S), 1)
        self._free = max(self._free, now)
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self._free += len(piece) / rate
            yield self._free, piece


class Slicer(Paced):
    """Chunks become many small ones, `delay` µs apart."""

    def pieces(self, data: bytes, now: float) -> Iterator[tuple[float, bytes]]:
        """Pieces of about `average_size` ± `size_variation` bytes."""
        delay_s = max(self.number("delay"), 0) / 1_000_000
        self._free = max(self._free, now)
        cuts = slices(
            len(data), self.number("average_size"), self.number("size_variation"), self._rng
        )
        for start, stop in cuts:
            yield self._free, data[start:stop]
            self._free += delay_s


def slices(size: int, average: int, variation: int, rng: Random, /) -> Iterator[tuple[int, int]]:
    """Where a chunk is cut: in about two, and each part again, until all are small enough.

    >>> list(slices(10, 4, 0, Random(1)))
    [(0, 2), (2, 5), (5, 7), (7, 10)]
    """
    average, variation = max(average, 1), max(variation, 0)
    left = [(0, size)]
    while left:
        start, stop = left.pop()
        if stop - start - average <= variation or stop - start < 2:
            yield start, stop
            continue
        middle = start + (stop - start) // 2
        if variation:
            middle += rng.randrange(2 * variation) - variation
        middle = min(max(middle, start + 1), stop - 1)
        left += [(middle, stop), (start, middle)]


class SlowClose(Stage):
    """The end comes `delay` ms later."""

    def end(self, how: How) -> None:
        """Waits with it."""
        if not self.strikes or how is How.RESET:
            self.pass_end(how)
            return
        self._ended = how
        self._after(self.number("delay") / 1000, lambda: self.pass_end(how))


class Timeout(Stage):
    """Nothing passes, and when nothing has come for `timeout` ms the connection is closed."""

    def start(self) -> None:
        """The time runs from here, and anew from each chunk; with 0 it does not run."""
        if self.strikes and self.number("timeout") > 0:
            self._after(self.number("timeout") / 1000, lambda: self.pass_end(How.CLOSE))

    def feed(self, data: bytes) -> None:
        """Dropped."""
        if not self.strikes:
            self.next.feed(data)
        elif not self.closed:
            self.start()

    def remove(self) -> None:
        """What was dropped is missing, so the connection cannot go on."""
        self.pass_end(How.CLOSE)


class ResetPeer(Stage):
    """`timeout` ms after the first byte, or the end, the connection is reset."""

    def feed(self, data: bytes) -> None:
        """The first byte starts the clock; none passes."""
        if not self.strikes:
            self.next.feed(data)
        elif self._timer is None and not self.closed:
            self._after(self.number("timeout") / 1000, lambda: self.pass_end(How.RESET))

    def end(self, how: How) -> None:
        """As a first byte does."""
        if not self.strikes:
            self.pass_end(how)
        else:
            self.feed(b"")

    def _again(self) -> None:
        """A clock that runs is not stopped by a change."""

    def remove(self) -> None:
        """Where bytes were dropped already the reset comes, only sooner."""
        if self._timer is not None:
            self.pass_end(How.RESET)


class LimitData(Stage):
    """After `bytes` bytes the connection is closed; they are counted over all changes."""

    def __init__(self, toxic: Toxic, rng: Random, next: Taker, changed: Callable[[], None]) -> None:
        super().__init__(toxic, rng, next, changed)
        self._passed = 0

    def feed(self, data: bytes) -> None:
        """As much as is allowed."""
        if not self.strikes:
            self.next.feed(data)
            return
        if self.closed:
            return
        part = data[: max(self.number("bytes") - self._passed, 0)]
        self._passed += len(part)
        if part:
            self.next.feed(part)
        if self._passed >= self.number("bytes"):
            self.pass_end(How.CLOSE)


STAGES: Final[Mapping[str, type[Stage]]] = {
    "noop": Stage,
    "latency": Latency,
    "bandwidth": Bandwidth,
    "slow_close": SlowClose,
    "timeout": Timeout,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "limit_data": LimitData,
}
