"""limits.*: bounded, or not promised, or unknown."""

import pytest
from tests.unit.check.builder import History, check, codes

from chaoslab.contract import Limits


def test_no_number_no_promise() -> None:
    h = History().submit("s1-t1").outcome("s1-t1").end()
    for name in ("attempts", "recovery", "amplification"):
        found = check(f"limits.{name}", h)
        assert found.verdict == "not-applicable"
        assert "was promised" in found.reason


def test_attempts_over_restarts_and_deliveries() -> None:
    h = History().start("p1").submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="k"))
    h.ask("refund", "o-1", key="k")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    h.ask("refund", "o-1", key="k", process="p2")
    h.invoke("tools.refund.lookup", {"args": {}, "lookup": True}, "s1-t1", "p2", marker="o-1")
    h.end()
    assert codes("limits.attempts", h, limits=Limits(attempts_per_operation_max=3)) == []
    found = check("limits.attempts", h, limits=Limits(attempts_per_operation_max=2))
    assert [v.code for v in found.violations] == ["too-many-attempts"]
    assert found.violations[0].witness == (2, 4, 9)


def test_wasm_questions_are_no_attempts() -> None:
    h = History()
    for _ in range(9):
        h.wasm("i1", "null", export="count")
    assert codes("limits.attempts", h.end(), limits=Limits(attempts_per_operation_max=1)) == []


def test_no_outcome_is_never_fine() -> None:
    h = History().submit("s1-t1").submit("s1-t2").outcome("s1-t2")
    assert check("limits.tasks", h).verdict == "unknown"  # the record is cut short
    found = check("limits.tasks", h.end())
    assert [(v.code, v.subject) for v in found.violations] == [("no-outcome", "s1-t1")]


def test_only_deferred_is_no_outcome() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "deferred", counted=False)
    assert codes("limits.tasks", h.end()) == ["no-outcome"]


@pytest.mark.parametrize("status", ["failed", "uncertain"])
@pytest.mark.parametrize(("limit", "broken"), [(None, False), (2, False), (1, True), (0, True)])
def test_too_many(status: str, limit: int | None, broken: bool) -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    h.outcome("s1-t1", status).outcome("s1-t2", status).end()
    limits = (
        Limits(failed_tasks_max=limit) if status == "failed" else Limits(uncertain_tasks_max=limit)
    )
    wanted = [f"too-many-{status}/{status}"] if broken else []
    assert codes("limits.tasks", h, limits=limits) == wanted


def test_an_outcome_that_was_only_reported() -> None:
    h = History().submit("s1-t1")
    h.event("report.outcome", {"status": "completed"}, task="s1-t1", session="s1")
    h.event("lab.end", {"outcomes": {"s1-t1": "completed"}})
    assert codes("limits.tasks", h) == []
    h = History().submit("s1-t1")
    h.event("report.outcome", {"status": "completed"}, task="s1-t1", session="s1")
    h.event("lab.end", {"outcomes": {"s1-t1": None}})
    assert codes("limits.tasks", h) == ["no-outcome"]


def _slow(kind: str) -> History:
    h = History().start("p1").submit("s1-t1").submit("s2-t1")
    call = h.ask("refund", "o-1", key="k")
    h.strike(call, kind, "after-commit")
    h.wait(1_000).outcome("s1-t1")
    return h.wait(9_000).outcome("s2-t1").end()


def test_recovery_is_measured_to_the_last_struck_task() -> None:
    limits = Limits(recovery_ms_max=5_000)
    assert codes("limits.recovery", _slow("silence"), limits=limits) == []
    assert codes("limits.recovery", _slow("crash"), limits=limits) == ["too-slow/crash"]


def test_recovery_to_the_millisecond() -> None:
    h = History().submit("s1-t1")
    h.strike(h.ask("refund", "o-1", key="k"), "silence", "after-commit")
    h.wait(99).outcome("s1-t1").end()
    assert codes("limits.recovery", h, limits=Limits(recovery_ms_max=100)) == []
    assert codes("limits.recovery", h, limits=Limits(recovery_ms_max=99)) == ["too-slow/silence"]


def test_recovery_of_a_region() -> None:
    h = History().start("p1", "east").start("p2", "west").submit("s1-t1").submit("s2-t1", "p2")
    h.event("region.down", {"region": "west"}).wait(50).outcome("s1-t1")
    h.wait(50).outcome("s2-t1").end()
    found = check("limits.recovery", h, limits=Limits(recovery_ms_max=10))
    assert [v.subject for v in found.violations] == ["s2-t1"]


def test_recovery_without_strike_or_outcome() -> None:
    limits = Limits(recovery_ms_max=1)
    h = History().submit("s1-t1").outcome("s1-t1").end()
    assert check("limits.recovery", h, limits=limits).reason == "no fault was injected"
    h = History().submit("s1-t1")
    h.strike(h.ask("refund", "o-1", key="k"), "silence", "after-commit")
    assert check("limits.recovery", h.end(), limits=limits).verdict == "unknown"


def test_amplification() -> None:
    control, fault = History(), History()
    for n in range(2):
        control.ask("refund", f"o-{n}", key="k")
    for n in range(5):
        fault.ask("refund", f"o-{n}", key="k")
    name, limit = "limits.amplification", Limits(amplification_percent_max=200)
    assert check(name, fault, limits=limit).verdict == "unknown"
    found = check(name, fault, limits=limit, control=control)
    assert [(v.code, v.witness) for v in found.violations] == [("amplified", (4,))]
    assert codes(name, control, limits=limit, control=control) == []
    limit = Limits(amplification_percent_max=250)
    assert codes(name, fault, limits=limit, control=control) == []
    assert check(name, fault, limits=limit, control=History()).verdict == "not-applicable"
    # One action may be tried as often as was promised of it; no more than that.
    limit = Limits(amplification_percent_max=200, attempts_per_operation_max=4)
    assert codes(name, fault, limits=limit, control=control) == []
    fault.ask("refund", "o-9", key="k")
    found = check(name, fault, limits=limit, control=control)
    assert [v.witness for v in found.violations] == [(5,)]
