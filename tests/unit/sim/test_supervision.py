"""Tasks are handed out until an outcome is recorded, and the lab never does the agent's work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaoslab.contract import Contract
from chaoslab.scenario import Regions, Release

from .simlab import NS_PER_MS, Result, run, strike

PATIENT = """
class Agent(Base):
    async def handle(self, task):
        await self.patient(task)
        return self.done(task)
"""
PAIR = Regions(names=("near", "far"))


def deliveries(found: Result) -> list[tuple[str, int, str]]:
    return [(op.task, op.get("delivery"), op.process) for op in found.named("task.submit")]


def test_a_dead_process_is_replaced_and_its_task_handed_out_again(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        faults=[strike("tools.pay", "after-commit", "crash")],
        regions=Regions(restart_after_ms=700),
    )
    assert deliveries(found) == [("s1-t1", 1, "home-1"), ("s1-t1", 2, "home-2")]
    kill, restart = found.named("process.kill")[0], found.named("process.start")[1]
    assert restart.time_ns - kill.time_ns == 700 * NS_PER_MS


def test_a_deferred_task_comes_back_and_a_final_one_does_not(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            status = "deferred" if task.delivery < 3 else "completed"
            return Outcome(task=task.id, status=status)
    """
    found = run(tmp_path, body)
    assert [d for _, d, _ in deliveries(found)] == [1, 2, 3]
    assert [op.get("counted") for op in found.named("task.outcome")] == [False, False, True]


def test_a_task_is_handed_out_until_it_has_an_outcome_however_long_that_takes(
    tmp_path: Path,
) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            late = self.world.clock.now_ms() > 100_000
            return Outcome(task=task.id, status="completed" if late else "deferred")
    """
    found = run(tmp_path, body)
    assert found.outcomes() == {"s1-t1": "completed"}
    assert found.named("lab.deadlock") == []


def test_a_deferred_task_is_not_handed_out_faster_because_a_process_restarts(
    tmp_path: Path,
) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.id == "s2-t1":
                await self.patient(task)
                return self.done(task)
            late = self.world.clock.now_ms() > 9_000
            return Outcome(task=task.id, status="completed" if late else "deferred")
    """
    calm = run(tmp_path, body, sessions=2)
    struck = run(
        tmp_path,
        body,
        sessions=2,
        faults=[strike("tools.pay", "after-commit", "crash")],
        regions=Regions(processes=2),
    )
    counts = [len([1 for t, _, _ in deliveries(r) if t == "s1-t1"]) for r in (calm, struck)]
    assert counts[1] <= counts[0] + 2


def test_every_delivery_of_a_task_dies_with_its_process_and_it_comes_back(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        tasks=2,
        use={"deliveries": 2},
        faults=[strike("tools.pay", "after-commit", "crash", task="s1-t2")],
    )
    assert found.outcomes() == {"s1-t1": "completed", "s1-t2": "completed"}


def test_a_task_that_came_due_while_its_process_stood_still_is_handed_out_when_it_goes_on(
    tmp_path: Path,
) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.delivery == 1 and task.id == "s1-t2":
                return Outcome(task=task.id, status="deferred")
            await self.world.clock.sleep(2)
            await self.patient(task)
            return self.done(task)
    """
    found = run(
        tmp_path,
        body,
        tasks=2,
        use={"concurrent": True},
        faults=[strike("tools.pay", "before-send", "pause", for_ms=3_000)],
        regions=Regions(failover_after_ms=60_000),
    )
    again = [op for op in found.named("task.submit") if op.task == "s1-t2"][1]
    assert again.time_ns == found.named("process.resume")[0].time_ns
    assert [op.get("status") for op in found.named("task.outcome")][-1] == "completed"


def test_a_handler_that_raises_gets_its_task_again(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.delivery == 1:
                raise KeyError("gone")
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert [op.get("error") for op in found.named("task.raised")] == ["KeyError"]
    assert [d for _, d, _ in deliveries(found)] == [1, 2]
    assert found.outcomes() == {"s1-t1": "completed"}


def test_an_agent_that_always_raises_without_faults_is_broken_and_says_where(
    tmp_path: Path,
) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            raise KeyError("gone")
    """
    found = run(tmp_path, body)
    assert "raised KeyError: 'gone'" in found.end.broke and ".py:" in found.end.broke
    assert found.outcomes() == {"s1-t1": None}


def test_tasks_of_a_session_come_one_after_the_other(tmp_path: Path) -> None:
    found = run(tmp_path, PATIENT, sessions=2, tasks=3)
    for session in ("s1", "s2"):
        marks = [
            (op.f, op.task)
            for op in found.end.ops
            if op.f in ("task.submit", "task.outcome") and op.session == session
        ]
        assert marks == [
            (f, f"{session}-t{n}") for n in (1, 2, 3) for f in ("task.submit", "task.outcome")
        ]


def test_concurrent_tasks_are_all_handed_out_at_once(tmp_path: Path) -> None:
    found = run(tmp_path, PATIENT, sessions=2, tasks=3, use={"concurrent": True})
    submits = found.named("task.submit")
    assert len(submits) == 6 and {op.time_ns for op in submits} == {0}


@pytest.mark.parametrize("processes", [1, 2])
def test_double_delivery_hands_each_task_out_twice_and_counts_one_outcome(
    tmp_path: Path, processes: int
) -> None:
    found = run(
        tmp_path, PATIENT, tasks=2, use={"deliveries": 2}, regions=Regions(processes=processes)
    )
    assert sorted((t, d) for t, d, _ in deliveries(found)) == [
        ("s1-t1", 1),
        ("s1-t1", 2),
        ("s1-t2", 1),
        ("s1-t2", 2),
    ]
    for task in ("s1-t1", "s1-t2"):
        assert len({p for t, _, p in deliveries(found) if t == task}) == processes
        counted = [o.get("counted") for o in found.named("task.outcome") if o.task == task]
        assert sorted(counted) == [False, True]


def test_outcomes_are_counted_once_however_often_they_are_said(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            self.world.report.outcome(self.done(task))
            self.world.report.outcome(Outcome(task=task.id, status="failed"))
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert [op.get("counted") for op in found.named("task.outcome")] == [True, False, False]
    assert len(found.named("report.outcome")) == 2
    assert found.outcomes() == {"s1-t1": "completed"}


# -- resuming by itself

RESUMES = """
class Agent(Base):
    async def handle(self, task):
        await self.world.memory.write("open/" + task.id, task.data["order"])
        await self.patient(task)
        return self.done(task)
    async def recover(self):
        found = await self.world.memory.scan("open/")
        for item in found:
            self.job = asyncio.create_task(self.finish(item.id[5:], item.value))
        return [item.id[5:] for item in found]
    async def finish(self, id, order):
        with self.world.acting(task=id, session=id.split("-")[0]):
            await self.world.tools.call("pay", {"order": order}, key="k-" + order,
                                        deadline_ms=1_000)
            self.world.report.outcome(Outcome(task=id, status="completed"))
"""


def test_a_task_that_the_agent_resumes_by_itself_is_not_handed_out_again(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        RESUMES,
        tasks=2,
        contract=Contract(resume="self"),
        faults=[strike("tools.pay", "after-commit", "crash")],
    )
    assert [(t, d) for t, d, _ in deliveries(found)] == [("s1-t1", 1), ("s1-t2", 1)]
    assert found.named("process.recovers")[0].get("tasks") == ["s1-t1"]
    assert found.outcomes() == {"s1-t1": "completed", "s1-t2": "completed"}
    resumed = found.calls("tools.pay")[1]
    assert (resumed.task, resumed.session, resumed.process) == ("s1-t1", "s1", "home-2")


def test_under_redelivery_recover_is_not_even_asked(tmp_path: Path) -> None:
    found = run(tmp_path, RESUMES, faults=[strike("tools.pay", "after-commit", "crash")])
    assert found.named("process.recovers") == []
    assert [d for _, d, _ in deliveries(found)] == [1, 2]


@pytest.mark.parametrize("named", ["['nope', 's9-t9']", "[]", "()", "('nope',)"])
def test_a_task_that_recover_does_not_name_is_handed_out_again(tmp_path: Path, named: str) -> None:
    body = PATIENT + f"    async def recover(self): return {named}\n"
    found = run(
        tmp_path,
        body,
        contract=Contract(resume="self"),
        faults=[strike("tools.pay", "after-commit", "crash")],
    )
    assert [d for _, d, _ in deliveries(found)] == [1, 2]
    assert found.outcomes() == {"s1-t1": "completed"}


@pytest.mark.parametrize("named", ["None", "7", "{'s1-t1': 1}['x']", "'s1-t1'", "[['s1-t1']]"])
def test_a_recover_that_returns_rubbish_is_told_as_such(tmp_path: Path, named: str) -> None:
    body = PATIENT + f"    async def recover(self): return {named}\n"
    found = run(
        tmp_path,
        body,
        contract=Contract(resume="self"),
        faults=[strike("tools.pay", "after-commit", "crash")],
    )
    assert "recover" in found.end.broke and ".py" in found.end.broke


# -- regions


def test_a_lost_region_is_given_up_and_another_one_takes_over(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        regions=PAIR,
        faults=[strike("tools.pay", "after-commit", "crash", scope="region")],
    )
    story = [op.f for op in found.end.ops if op.f.startswith("region.") or op.f == "process.start"]
    assert story == [
        "process.start",
        "region.down",
        "region.promote",
        "process.start",
        "region.join",
    ]
    promote = found.named("region.promote")[0]
    assert promote.get("region") == "far" and promote.get("epoch") == 2
    down = found.named("region.down")[0]
    assert promote.time_ns - down.time_ns == 3_000 * NS_PER_MS
    assert deliveries(found) == [("s1-t1", 1, "near-1"), ("s1-t1", 2, "far-1")]


def test_a_region_that_is_back_in_time_is_not_given_up(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        regions=PAIR,
        faults=[strike("tools.pay", "after-commit", "crash", scope="region", for_ms=1_000)],
    )
    assert found.named("region.promote") == []
    assert deliveries(found)[1] == ("s1-t1", 2, "near-2")


WRITES = """
class Agent(Base):
    async def handle(self, task):
        await self.world.memory.write("safe", task.delivery, durability="quorum")
        await self.world.memory.write("near", task.delivery)
        await self.patient(task)
        return self.done(task)
"""


def test_a_promotion_loses_what_was_local_and_names_it(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        WRITES,
        regions=PAIR,
        faults=[strike("memory.write", "after-reply", "crash", scope="region", marker="near")],
    )
    lost = found.named("region.promote")[0].get("lost")
    assert [row["id"] for row in lost] == ["near"]
    commit = found.view[lost[0]["op"]]
    assert commit.type == "commit" and commit.get("id") == "near"


def test_a_cut_off_process_goes_on_as_a_zombie_until_it_joins(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        regions=PAIR,
        faults=[strike("tools.pay", "after-commit", "partition", for_ms=20_000)],
    )
    assert found.named("process.kill") == []
    outcomes = [(op.process, op.get("counted")) for op in found.named("task.outcome")]
    assert outcomes == [("far-1", True), ("near-1", False)]
    assert len(found.commits("tools.pay")) == 1


def test_all_processes_of_an_active_active_house_work(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        PATIENT,
        sessions=6,
        regions=Regions(names=("near", "far"), active="all", processes=2),
    )
    assert {p for _, _, p in deliveries(found)} == {"near-1", "near-2", "far-1", "far-2"}


# -- the ends of an execution


def test_what_can_never_go_on_is_reported_as_a_deadlock(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.id == "s1-t1":
                await asyncio.Event().wait()
            return self.done(task)
    """
    found = run(tmp_path, body, sessions=2, tasks=2)
    assert found.named("lab.deadlock")[0].get("waiting") == ["s1-t1", "s1-t2"]
    assert found.outcomes()["s2-t2"] == "completed"


def test_an_execution_ends_at_its_budget_of_entries_and_says_so(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            while True:
                await self.world.memory.read("x")
    """
    found = run(tmp_path, body, ops_max=500)
    budgets = found.named("lab.budget")
    assert [(b.get("limit"), b.get("value")) for b in budgets] == [("ops", 500)]
    assert len(found.end.ops) < 550
    assert found.outcomes() == {"s1-t1": None}


def test_an_execution_ends_at_its_budget_of_time_and_says_so(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            while True:
                await self.world.clock.sleep(500)
    """
    found = run(tmp_path, body, virtual_ms_max=20_000)
    assert found.end.virtual_ms <= 20_000
    assert [b.get("value") for b in found.named("lab.budget")] == [20_000]


def test_the_operator_lets_a_session_go(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            await self.world.clock.sleep(5_000)
            return self.done(task)
        async def release(self, session): self.say("let go " + session)
    """
    found = run(tmp_path, body, scenario={"operator": (Release(session="s1", at_ms=2_000),)})
    assert found.logs() == ["let go s1"]
    assert found.named("session.release")[0].time_ns == 2_000 * NS_PER_MS


def test_a_process_that_does_not_start_is_tried_again_and_then_told(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def start(self, world):
            raise RuntimeError("no boot")
    """
    found = run(tmp_path, body)
    assert "does not start" in found.end.broke and "no boot" in found.end.broke


def test_a_start_that_the_world_refuses_is_tried_until_it_works(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def start(self, world):
            self.world = world
            await world.memory.read("x")
    """
    fault = strike("memory.read", "before-commit", "rate-limit")
    found = run(tmp_path, body, faults=[fault])
    assert [op.get("why") for op in found.named("process.kill")] == ["boot failed"]
    assert found.outcomes() == {"s1-t1": "completed"} and not found.end.broke


def _all(found: Result, f: str) -> list[Any]:
    return [op.value for op in found.named(f)]


def test_final_readings_tell_ledgers_memory_and_outcomes(tmp_path: Path) -> None:
    found = run(tmp_path, WRITES)
    assert [v["tool"] for v in _all(found, "final.effects")] == ["haul", "mail", "pay", "ticket"]
    assert [i["id"] for i in _all(found, "final.memory")[0]["items"]] == ["near", "safe"]
    assert _all(found, "lab.end") == [{"outcomes": {"s1-t1": "completed"}}]
