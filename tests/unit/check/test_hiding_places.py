"""Ways in which a wrong agent looked right once; each beside the right one that it resembles."""

from __future__ import annotations

from typing import Any

from chaoslab.check import Evidence, Finding
from chaoslab.check.budgets import CHECK as BUDGETS
from chaoslab.check.limits import TASKS
from chaoslab.check.lost_update import CHECK as LOST_UPDATE
from chaoslab.check.policy import CHECK as POLICY
from chaoslab.contract import Budget, Contract, Limits, MemoryClass
from chaoslab.faults import Fault
from chaoslab.history import Op, View
from chaoslab.run.plan import vacuity
from chaoslab.scenario import Scenario


def ops(*rows: dict[str, Any]) -> View:
    """A record of entries that say only what matters."""
    plain: list[dict[str, Any]] = [
        {"index": n, "time_ns": n * 1_000_000, "type": "event", **row} for n, row in enumerate(rows)
    ]
    return View([Op(**row) for row in plain])


def judged(check: Any, view: View, contract: Contract | None = None, **limits: int) -> Finding:
    evidence = Evidence(history=view, contract=contract or Contract(), limits=Limits(**limits))
    found: Finding = check(evidence)
    return found


def write(
    task: str, value: Any, version: int, over: list[int] | None, **more: Any
) -> dict[str, Any]:
    whole = {"id": "n/1", "value": value, "version": [1, version], "over": over, **more}
    return {"type": "commit", "f": "memory.write", "process": "p", "task": task, "value": whole}


def test_a_scan_that_found_nothing_was_a_look_all_the_same() -> None:
    def race(second_look: bool) -> View:
        scan: dict[str, Any] = {"f": "memory.scan", "process": "p", "task": "t2"}
        looks = [
            {**scan, "type": "invoke", "value": {"prefix": "n/"}},
            {**scan, "type": "ok", "call": 0, "value": {"items": []}},
        ]
        again = [
            {**scan, "type": "invoke", "value": {"prefix": "n/"}},
            {**scan, "type": "ok", "call": 3,
             "value": {"items": [{"id": "n/1", "version": [1, 1]}]}},
        ]  # fmt: skip
        first = write("t1", {"count": 1}, 1, None)
        second = write("t2", {"count": 2 if second_look else 1}, 2, [1, 1])
        more = again if second_look else []
        return ops(*looks, first, *more, second)

    assert [v.code for v in judged(LOST_UPDATE, race(False)).violations] == ["lost-update"]
    assert judged(LOST_UPDATE, race(True)).verdict == "valid"


def test_letting_a_policy_run_out_is_no_way_of_rewriting_it() -> None:
    classes = {"policy": MemoryClass(name="policy", prefix="n/", immutable=True)}

    def reborn(value: Any, epoch: int) -> View:
        later = write("t2", value, 2, None)
        later["value"]["version"] = [epoch, 2]
        return ops(write("t1", "old", 1, None, expires_ms=1), later)

    contract = Contract(memory=classes)
    assert [v.code for v in judged(POLICY, reborn("new", 1), contract).violations] == ["rewritten"]
    assert judged(POLICY, reborn("old", 1), contract).verdict == "valid"
    # After a failover nobody knows whether the first one was ever there.
    assert judged(POLICY, reborn("new", 2), contract).verdict == "valid"


def test_a_quarantine_without_any_reason_is_a_failure() -> None:
    end = {"f": "task.outcome", "task": "t1", "session": "s1", "value": {"status": "quarantined"}}
    move = {"f": "report.transition", "session": "s1", "value": {"state": "quarantined"}}
    trap = {"f": "wasm.poisoned", "session": "s1", "value": {"instance": "i"}}
    found = judged(TASKS, ops(end), failed_tasks_max=0)
    assert [v.code for v in found.violations] == ["too-many-failed"]
    assert judged(TASKS, ops(move, end), failed_tasks_max=0).verdict == "valid"
    assert judged(TASKS, ops(trap, end), failed_tasks_max=0).verdict == "valid"
    assert judged(TASKS, ops(end), failed_tasks_max=1).verdict == "valid"


def test_a_negative_amount_makes_no_room_in_a_budget() -> None:
    budget = Budget(name="b", tool="credit", field="cents", most=1_000)
    rows = [
        {"type": "commit", "f": "tools.credit", "marker": f"o-{n}",
         "value": {"ref": f"c{n}", "args": {"cents": cents}}}
        for n, cents in enumerate((900, -800, 900))
    ]  # fmt: skip
    found = judged(BUDGETS, ops(*rows), Contract(budgets={"b": budget}))
    assert found.verdict == "invalid"


def test_a_task_that_is_completed_without_any_request_proves_nothing() -> None:
    effect = {"type": "commit", "f": "tools.pay", "task": "t1", "value": {"ref": "p#1"}}
    done = [
        {"f": "task.outcome", "task": f"t{n}", "value": {"status": "completed"}} for n in (1, 2)
    ]
    handed = {"f": "task.submit", "task": "t1"}
    asked = {"type": "invoke", "f": "tools.pay", "task": "t1"}
    scenario = Scenario(name="x", title="x", family="x", faults=())
    nothing = {"planned": 0, "fired": 0}
    lazy = vacuity(scenario, nothing, ops(handed, asked, effect, *done))
    assert lazy == "completed, and nothing was ever asked for it: t2"
    busy = ops(handed, asked, effect, {**asked, "task": "t2"}, *done)
    assert vacuity(scenario, nothing, busy) == ""
    # A request of no task may have been for any of them.
    assert vacuity(scenario, nothing, ops(handed, {**asked, "task": ""}, effect, *done)) == ""
    struck = Scenario(
        name="x", title="x", family="x",
        faults=(Fault(at="tools:*", phase="after-commit", kind="silence"),),
    )  # fmt: skip
    assert vacuity(struck, {"planned": 1, "fired": 0}, busy).startswith("never struck")
