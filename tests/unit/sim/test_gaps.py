"""Between two tasks of a session there may be days: a gap, and nothing else, passes."""

from __future__ import annotations

import itertools
from pathlib import Path

from chaoslab.scenario import Regions

from .simlab import NS_PER_MS, Result, run, strike

DAY_MS = 86_400_000
PATIENT = """
class Agent(Base):
    async def handle(self, task):
        await self.patient(task)
        return self.done(task)
"""


def waits_ms(found: Result, session: str = "s1") -> list[int]:
    """From each outcome of a session to the first hand-out of its next task."""
    counted = [o for o in found.named("task.outcome") if o.session == session and o.get("counted")]
    first = [s for s in found.named("task.submit") if s.session == session]
    first = [s for s in first if s.get("delivery") == 1]
    pairs = zip(counted, first[1:], strict=False)
    return [(after.time_ns - before.time_ns) // NS_PER_MS for before, after in pairs]


def test_the_next_task_of_a_session_comes_so_much_later(tmp_path: Path) -> None:
    found = run(tmp_path, PATIENT, sessions=2, tasks=3, use={"gap_ms": 7_000})
    assert waits_ms(found, "s1") == waits_ms(found, "s2") == [7_000, 7_000]


def test_without_a_gap_it_comes_at_once(tmp_path: Path) -> None:
    assert waits_ms(run(tmp_path, PATIENT, tasks=3)) == [0, 0]


def test_weeks_fit_into_an_execution_however_long_its_work_may_take(tmp_path: Path) -> None:
    found = run(tmp_path, PATIENT, tasks=4, use={"gap_ms": 8 * DAY_MS})
    assert waits_ms(found) == [8 * DAY_MS] * 3
    assert set(found.outcomes().values()) == {"completed"}
    assert not found.named("lab.budget") and not found.named("lab.deadlock")


def test_the_bound_on_time_still_holds_beside_the_gaps(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            await self.world.clock.sleep(10_000)
            return self.done(task)
    """
    gap = {"gap_ms": DAY_MS}
    assert not run(tmp_path, body, tasks=2, use=gap, virtual_ms_max=700_000).named("lab.budget")
    assert run(tmp_path, body, tasks=2, use=gap, virtual_ms_max=5_000).named("lab.budget")


def test_a_task_that_comes_again_does_not_wait_for_a_gap(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.delivery < 3:
                return Outcome(task=task.id, status="deferred")
            return self.done(task)
    """
    found = run(tmp_path, body, tasks=2, use={"gap_ms": 50_000})
    times = [s.time_ns // NS_PER_MS for s in found.named("task.submit")]
    assert [later - sooner for sooner, later in itertools.pairwise(times)] == [
        1_000,
        1_000,
        50_000,
        1_000,
        1_000,
    ]


def test_a_crash_is_recovered_from_before_the_gap_begins(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        tasks=2,
        use={"gap_ms": DAY_MS},
        faults=[strike("tools.pay", "after-commit", "crash", task="s1-t1")],
        regions=Regions(restart_after_ms=700),
    )
    assert [s.process for s in found.named("task.submit")] == ["home-1", "home-2", "home-2"]
    assert waits_ms(found) == [DAY_MS]
    assert len(found.commits("tools.pay")) == 2


def test_a_task_whose_gap_ends_while_nobody_lives_waits_for_the_next_process(
    tmp_path: Path,
) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.session == "s2":
                await self.world.clock.sleep(5_000)
            await self.patient(task)
            return self.done(task)
    """
    found = run(
        tmp_path,
        body,
        tasks=2,
        sessions=2,
        use={"gap_ms": 20_000},
        faults=[strike("tools.pay", "after-commit", "crash", task="s1-t2")],
        regions=Regions(restart_after_ms=60_000),
    )
    (waited,) = [s for s in found.named("task.submit") if s.task == "s2-t2"]
    assert (waited.process, waited.get("delivery")) == ("home-2", 1)
    assert waited.time_ns >= 80_000 * NS_PER_MS
    assert set(found.outcomes().values()) == {"completed"}


def test_each_delivery_of_a_task_comes_after_the_gap(tmp_path: Path) -> None:
    found = run(tmp_path, PATIENT, tasks=2, use={"gap_ms": 9_000, "deliveries": 3})
    second = [s.time_ns for s in found.named("task.submit") if s.task == "s1-t2"]
    assert len(second) == 3 and len(set(second)) == 1
