"""What the packaged scenarios of load, time and quarantine really bring about.

A scenario whose title promises more than its run shows would prove nothing, and nobody would see.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import pytest

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.faults import place
from chaoslab.history import Op, View, Writer
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

SEEDS = range(3)
MOST = 12


@cache
def history(name: str, seed: int) -> View:
    """The execution with faults, of the model agent."""
    (spec,) = specs_for(scenario_files([name]), REFERENCE, seeds=[seed])
    calm = ExecutionSpec(
        scenario=replace(spec.scenario, faults=()),
        workload=spec.workload,
        contract=spec.contract,
        agent=spec.agent,
        seed=seed,
    )
    with warnings.catch_warnings():
        # A simulated loop has nothing to close; elsewhere its process ends with it.
        warnings.simplefilter("ignore", ResourceWarning)
        control = simulate(calm, Writer(None, {}))
        placed = place(
            spec.scenario.faults, control.sites, merged_contract(spec.contract, spec.workload)
        )
        end = simulate(replace(calm, scenario=spec.scenario, placed=placed), Writer(None, {}))
    assert not control.broke and not end.broke
    assert sum(end.fired.values()) == len(spec.scenario.faults)
    return View(end.ops)


def outcomes(view: View, session: str = "") -> list[str]:
    """How the tasks of a session ended, in order; without one, those of all sessions."""
    ended = view.named("lab.end")[-1].get("outcomes")
    return [s for t, s in ended.items() if t.startswith(session and f"{session}-")]


def reports(view: View, state: str, session: str = "s1") -> list[Op]:
    return [
        op
        for op in view.named("report.transition")
        if op.session == session and op.get("state") == state
    ]


def requests(view: View, session: str) -> Iterator[Op]:
    """What was asked of the model and of tools for a session."""
    for op in view:
        if op.type == "invoke" and op.session == session:
            if op.f.startswith(("tools.", "model.")) or op.f == "wasm.ticket":
                yield op


def in_hand(view: View) -> int:
    """The most tasks that one process had in hand at once, those aside that it put off."""
    put_off = {
        (op.task, op.time_ns) for op in view.named("task.outcome") if op.get("status") == "deferred"
    }
    now: Counter[str] = Counter()
    most = 0
    for op in view:
        if op.f == "task.submit" and (op.task, op.time_ns) not in put_off:
            now[op.process] += 1
        elif op.f == "process.recovers":
            now[op.process] += len(op.get("tasks"))
        elif op.f == "task.outcome" and op.get("status") != "deferred":
            now[op.process] -= 1
        most = max(most, *now.values(), 0)
    return most


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["capacity/burst", "capacity/burst-crash"])
def test_a_burst_fills_the_agent_to_its_bound_and_all_of_it_is_done(name: str, seed: int) -> None:
    view = history(name, seed)
    assert outcomes(view) == ["completed"] * 20
    assert in_hand(view) == MOST
    late = {op.task for op in view.named("task.outcome") if op.get("status") == "deferred"}
    assert len(late) == 20 - MOST
    assert bool(view.named("process.kill")) == name.endswith("crash")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["memory/expired", "memory/expired-crash"])
def test_a_profile_that_has_expired_was_there_and_is_in_no_later_prompt(
    name: str, seed: int
) -> None:
    view = history(name, seed)
    assert outcomes(view) == ["completed"] * 4
    kept = [
        op
        for f in ("memory.write", "memory.write_many")
        for op in view.named(f)
        if op.type == "commit" and op.get("id").startswith("profile/")
    ]
    assert len(kept) == 8
    prompts = [op for op in view.named("model.complete") if op.type == "invoke"]
    for session in ("s1", "s2"):
        before = [op for op in prompts if op.task == f"{session}-t1"]
        after = [op for op in prompts if op.task == f"{session}-t2"]
        assert f"profile-{session}:{session}-t1:street" in str(before[0].value)
        assert after and not any("profile" in str(op.value) for op in after)
        assert all(op.get("expires_ms") * 10**6 < after[0].time_ns for op in kept)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_version_of_the_policy_stands_through_a_crash_and_all_tasks_name_it(seed: int) -> None:
    view = history("memory/policy", seed)
    writes = [op for op in view.named("memory.write") if op.type == "commit"]
    assert len([op for op in writes if op.get("id") == "policy/v1"]) == 1
    records = [op.get("value") for op in writes if op.get("id").startswith("task/")]
    assert {r["policy"] for r in records} == {"policy/v1"}
    assert {r["task"] for r in records} == {f"s{s}-t{t}" for s in (1, 2, 3) for t in (1, 2, 3)}
    assert len(view.named("process.kill")) == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("quarantine", ["completed", "quarantined", "quarantined"]),
        ("quarantine-crash", ["quarantined"] * 3),
        ("quarantine-crash-unsaid", ["quarantined"] * 3),
        ("quarantine-days", ["quarantined"] * 3),
    ],
)
def test_three_traps_end_the_work_of_one_session_and_of_no_other(
    name: str, ends: list[str], seed: int
) -> None:
    view = history(f"lifecycle/{name}", seed)
    assert outcomes(view, "s1") == ends
    assert outcomes(view, "s2") == ["completed"] * 3
    begun = reports(view, "quarantined")[0]
    assert not [op for op in requests(view, "s1") if op.index > begun.index]
    assert not reports(view, "quarantined", "s2")
    assert len([op for op in view.named("nemesis.strike") if op.get("kind") == "trap"]) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_dies_after_it_has_reported_the_quarantine_or_before(seed: int) -> None:
    for name, said_by in (("quarantine-crash", "home-1"), ("quarantine-crash-unsaid", "home-2")):
        view = history(f"lifecycle/{name}", seed)
        (kill,) = view.named("process.kill")
        assert kill.process == "home-1"
        assert reports(view, "quarantined")[0].process == said_by
        stored = [
            op
            for op in view.named("memory.write")
            if op.type == "commit"
            and op.get("id") == "session/s1"
            and op.get("value")["quarantine"]
        ]
        assert stored and stored[0].index < kill.index
        assert stored[0].get("expires_ms") is None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_session_that_the_operator_releases_works_again(seed: int) -> None:
    view = history("lifecycle/release", seed)
    assert outcomes(view, "s1") == ["quarantined", "completed"]
    (release,) = view.named("session.release")
    assert reports(view, "quarantined")[0].index < release.index
    again = [op for op in requests(view, "s1") if op.index > release.index]
    assert {op.task for op in again} == {"s1-t2"}
