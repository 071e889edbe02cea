"""A deadline on real processes is the service's, not the machine's."""

from __future__ import annotations

import asyncio
import time

from chaoslab.backends.common.hub import Process
from chaoslab.backends.process.hub import LiveHub
from chaoslab.backends.process.loop import LiveLoop

MS = 1_000_000


def played(stall_s: float, answer_ms: int) -> list[str]:
    """What came first, where the lab stands still before either is due."""
    heard: list[str] = []

    async def play() -> None:
        hub = LiveHub.__new__(LiveHub)
        hub.loop = hub.live = loop = LiveLoop(1, lambda error: heard.append(str(error)))
        process = Process(id="home-1", region="home", slot=0)

        def answered() -> None:
            # As the answer to a call does: it is on its way for one more turn of the loop.
            loop.schedule(loop.now_ns, 0, "back", delivered, process)

        def delivered() -> None:
            if not heard:
                timer.cancelled = True
                heard.append("answered")

        def late() -> None:
            heard.append("late")

        loop.schedule(loop.now_ns + answer_ms * MS, 0, "answer", answered, process)
        timer = hub.deadline(loop.now_ns + 60 * MS, "deadline", late, process)
        time.sleep(stall_s)  # nothing of the lab runs
        async with asyncio.timeout(10):
            while not heard:
                await asyncio.sleep(0.002)

    asyncio.run(play())
    return heard


def test_an_answer_that_only_the_lab_held_up_is_not_late() -> None:
    assert played(stall_s=0.3, answer_ms=10) == ["answered"]


def test_a_service_that_is_too_slow_is_late_all_the_same() -> None:
    assert played(stall_s=0, answer_ms=5_000) == ["late"]
    assert played(stall_s=0.1, answer_ms=5_000) == ["late"]
