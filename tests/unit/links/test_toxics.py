"""What toxics do to chunks, in a time that does not pass by itself."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.links.model import ATTRIBUTES, Toxic
from chaoslab.links.toxics import STAGES, How, Stage, slices


class Handle:
    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self.action = None


class Clock:
    """A loop whose time is set by the test."""

    def __init__(self) -> None:
        self.now, self.ids = 0.0, itertools.count()
        self.timers: list[tuple[float, int, Handle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, action: Callable[..., None], *args: Any) -> Handle:
        handle = Handle(lambda: action(*args))
        heapq.heappush(self.timers, (when, next(self.ids), handle))
        return handle

    def call_later(self, delay: float, action: Callable[..., None], *args: Any) -> Handle:
        return self.call_at(self.now + delay, action, *args)

    def pass_ms(self, ms: float) -> None:
        until = self.now + ms / 1000
        while self.timers and self.timers[0][0] <= until:
            when, _, handle = heapq.heappop(self.timers)
            self.now = max(self.now, when)
            if handle.action is not None:
                handle.action()
        self.now = until


class Sink:
    """What stands behind the stage: what came, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.came: list[tuple[int, bytes]] = []
        self.how: list[tuple[int, How]] = []

    def ms(self) -> int:
        return round(self.clock.now * 1000)

    def feed(self, data: bytes) -> None:
        self.came.append((self.ms(), data))

    def end(self, how: How) -> None:
        self.how.append((self.ms(), how))

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.came)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("asyncio.get_running_loop", lambda: made)
    return made


def toxic(type: str, toxicity: float = 1.0, **numbers: int) -> Toxic:
    return Toxic(
        name="t",
        type=type,
        stream="downstream",
        toxicity=toxicity,
        attributes=dict.fromkeys(ATTRIBUTES[type][2], 0) | numbers,
    )


def stage(clock: Clock, what: Toxic) -> tuple[Stage, Sink]:
    sink = Sink(clock)
    made = STAGES[what.type](what, Random(1), sink, lambda: None)
    made.start()
    return made, sink


def test_latency_delays_each_chunk_and_the_end_comes_last(clock: Clock) -> None:
    one, sink = stage(clock, toxic("latency", latency=100))
    one.feed(b"a")
    clock.pass_ms(40)
    one.feed(b"b")
    one.end(How.EOF)
    assert not one.full
    clock.pass_ms(200)
    assert sink.came == [(100, b"a"), (140, b"b")] and sink.how == [(140, How.EOF)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 100))
def test_jitter_keeps_the_order_and_its_bounds(gaps: list[int], jitter: int) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncio.get_running_loop", lambda: clock)
        one, sink = stage(clock, toxic("latency", latency=60, jitter=jitter))
        left = []
        for n, gap in enumerate(gaps):
            left.append(clock.now * 1000)
            one.feed(bytes([n]))
            clock.pass_ms(gap)
        clock.pass_ms(1000)
    assert [data[0] for _, data in sink.came] == list(range(len(gaps)))
    last = 0.0
    for began, (came, _) in zip(left, sink.came, strict=True):
        last = max(last, began + 60 + jitter)
        assert began + max(60 - jitter, 0) - 1 <= came <= last + 1


def test_a_latency_that_is_changed_counts_from_when_a_chunk_came(clock: Clock) -> None:
    one, sink = stage(clock, toxic("latency", latency=10_000))
    one.feed(b"a")
    clock.pass_ms(30)
    one.feed(b"b")
    one.end(How.EOF)
    one.change(toxic("latency", latency=50))
    clock.pass_ms(100)
    assert sink.came == [(50, b"a"), (80, b"b")] and sink.how == [(80, How.EOF)]


def test_a_latency_holds_much_and_not_without_end(clock: Clock) -> None:
    one, _ = stage(clock, toxic("latency", latency=10_000))
    for _ in range(1023):
        one.feed(b"x")
    assert not one.full
    one.feed(b"x")
    assert one.full


def test_bandwidth_cuts_into_tenths_of_a_second(clock: Clock) -> None:
    one, sink = stage(clock, toxic("bandwidth", rate=10))
    one.feed(bytes(2500))
    assert one.full
    clock.pass_ms(1000)
    assert [(ms, len(data)) for ms, data in sink.came] == [(100, 1000), (200, 1000), (250, 500)]
    assert not one.full


def test_bandwidth_saves_nothing_up(clock: Clock) -> None:
    one, sink = stage(clock, toxic("bandwidth", rate=10))
    clock.pass_ms(5000)
    one.feed(bytes(1000))
    clock.pass_ms(1000)
    assert [ms for ms, _ in sink.came] == [5100]


def test_bandwidth_of_nothing_waits_for_a_change(clock: Clock) -> None:
    one, sink = stage(clock, toxic("bandwidth", rate=0))
    one.feed(b"abc")
    one.end(How.EOF)
    clock.pass_ms(100_000)
    assert sink.came == [] and sink.how == []
    one.change(toxic("bandwidth", rate=1))
    assert sink.data == b"abc" and [how for _, how in sink.how] == [How.EOF]


def test_slow_close_waits_anew_when_it_is_changed(clock: Clock) -> None:
    one, sink = stage(clock, toxic("slow_close", delay=100))
    one.end(How.EOF)
    clock.pass_ms(60)
    one.change(toxic("slow_close", delay=100))
    clock.pass_ms(60)
    assert sink.how == []
    clock.pass_ms(60)
    assert sink.how == [(160, How.EOF)]


def test_timeout_runs_anew_from_each_chunk(clock: Clock) -> None:
    one, sink = stage(clock, toxic("timeout", timeout=100))
    clock.pass_ms(80)
    one.feed(b"lost")
    clock.pass_ms(80)
    assert sink.how == []
    clock.pass_ms(80)
    assert sink.how == [(180, How.CLOSE)] and sink.came == []


def test_a_timeout_that_is_removed_ends_the_connection(clock: Clock) -> None:
    one, sink = stage(clock, toxic("timeout", timeout=0))
    one.feed(b"lost")
    clock.pass_ms(100_000)
    assert sink.how == []
    one.remove()
    assert [how for _, how in sink.how] == [How.CLOSE]


@pytest.mark.parametrize("by_end", [True, False])
def test_reset_peer_starts_with_the_first_thing_that_comes(clock: Clock, by_end: bool) -> None:
    one, sink = stage(clock, toxic("reset_peer", timeout=50))
    clock.pass_ms(1000)
    if by_end:
        one.end(How.EOF)
    else:
        one.feed(b"x")
    clock.pass_ms(30)
    one.feed(b"y")
    one.change(toxic("reset_peer", timeout=9999))
    clock.pass_ms(30)
    assert sink.how == [(1050, How.RESET)] and sink.came == []


def test_a_reset_that_was_on_its_way_is_not_lost_by_removing_it(clock: Clock) -> None:
    one, sink = stage(clock, toxic("reset_peer", timeout=50))
    one.remove()
    assert sink.how == []
    one, sink = stage(clock, toxic("reset_peer", timeout=50))
    one.feed(b"x")
    one.remove()
    assert [how for _, how in sink.how] == [How.RESET]


def test_slices_are_apart_by_the_delay(clock: Clock) -> None:
    one, sink = stage(clock, toxic("slicer", average_size=2, delay=10_000))
    one.feed(b"abcd")
    assert one.full
    one.end(How.EOF)
    clock.pass_ms(100)
    assert sink.came == [(0, b"ab"), (10, b"cd")] and [how for _, how in sink.how] == [How.EOF]


def test_slices_without_a_delay_hold_nothing(clock: Clock) -> None:
    one, sink = stage(clock, toxic("slicer", average_size=2))
    one.feed(b"abcd")
    assert not one.full and [data for _, data in sink.came] == [b"ab", b"cd"]


@given(st.integers(0, 3000), st.integers(-5, 400), st.integers(-5, 400), st.integers(0, 99))
def test_slices_are_the_whole(size: int, average: int, variation: int, seed: int) -> None:
    found = list(slices(size, average, variation, Random(seed)))
    assert b"".join(bytes(stop - start) for start, stop in found) == bytes(size)
    assert found[0][0] == 0 and found[-1][1] == size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
    limit = max(average, 1) + max(variation, 0)
    assert all(stop - start <= limit for start, stop in found)


def test_limit_data_counts_over_changes_and_says_no_more(clock: Clock) -> None:
    one, sink = stage(clock, toxic("limit_data", bytes=5))
    one.feed(b"abc")
    one.change(toxic("limit_data", bytes=4))
    one.feed(b"defg")
    one.feed(b"h")
    one.end(How.EOF)
    assert sink.data == b"abcd" and [how for _, how in sink.how] == [How.CLOSE]


@pytest.mark.parametrize("type", ATTRIBUTES)
def test_what_does_not_strike_does_nothing(clock: Clock, type: str) -> None:
    one, sink = stage(clock, toxic(type, toxicity=0.0))
    one.feed(b"a")
    one.feed(b"b")
    one.end(How.EOF)
    assert sink.came == [(0, b"a"), (0, b"b")] and sink.how == [(0, How.EOF)]
    clock.pass_ms(1000)
    assert len(sink.how) == 1


@pytest.mark.parametrize("type", ["latency", "bandwidth", "slicer"])
def test_what_is_held_is_handed_on_at_removal(clock: Clock, type: str) -> None:
    numbers = {"latency": {"latency": 9999}, "bandwidth": {"rate": 1}}
    default = {"average_size": 1, "delay": 9_000_000}
    one, sink = stage(clock, toxic(type, **numbers.get(type, default)))
    one.feed(b"abc" * 100)
    one.end(How.EOF)
    one.remove()
    assert sink.data == b"abc" * 100 and [how for _, how in sink.how] == [How.EOF]
    clock.pass_ms(100_000)
    assert len(sink.how) == 1 and sink.data == b"abc" * 100


def test_the_draw_is_by_toxicity(clock: Clock) -> None:
    rng, what = Random(3), toxic("noop", toxicity=0.3)
    struck = sum(Stage(what, rng, Sink(clock), lambda: None).strikes for _ in range(1000))
    assert 230 < struck < 370
