"""Promises of the limits that are easily lost: what counts together, and whom a strike hits."""

from typing import Any

import pytest
from tests.unit.check.builder import History, check, codes

from chaoslab.check.facts import NO_END
from chaoslab.check.limits import recovery_ms
from chaoslab.contract import Limits

TWO = Limits(attempts_per_operation_max=2)
SECOND = Limits(recovery_ms_max=1_000)


def test_each_export_of_a_guest_is_asked_for_by_itself() -> None:
    h = History().submit("s1-t1")
    for export in ("open", "close", "open", "close"):
        h.ok(h.wasm("i1", "o-1", key="k", export=export))
    found = check("limits.attempts", h, limits=TWO)
    assert (found.violations, found.looked_at) == ((), 2)
    third = h.wasm("i1", "o-1", key="k", export="open")
    (broken,) = check("limits.attempts", h, limits=TWO).violations
    assert broken.witness[-1] == third
    assert len(broken.witness) == 3


def test_tries_outside_of_tasks_are_the_agents_own() -> None:
    h = History()
    for _ in range(3):
        h.fail(h.ask("refund", "o-1", key="k", task=""))
    (found,) = check("limits.attempts", h, limits=TWO).violations
    assert found.explanation.startswith("the agent asked for refund o-1 3 times")


def test_a_question_without_a_key_is_no_try() -> None:
    h = History().submit("s1-t1")
    for _ in range(3):
        h.ok(h.wasm("i1", "o-1"))
    assert check("limits.attempts", h, limits=TWO).verdict == "not-applicable"


def test_the_proof_is_the_first_that_was_too_many() -> None:
    h = History().submit("s1-t1")
    tries = [h.ask("refund", "o-1", key="k") for _ in range(5)]
    (found,) = check("limits.attempts", h, limits=TWO).violations
    assert found.witness == tuple(tries[:3])
    h = History()
    for n in range(4):
        h.submit(f"s{n}-t1").outcome(f"s{n}-t1", "failed")
    (found,) = check("limits.tasks", h.end(), limits=Limits(failed_tasks_max=1)).violations
    assert found.witness == (1, 3)
    assert found.explanation == "4 tasks ended as failed; at most 1 was promised"


def test_a_task_is_open_until_the_record_says_otherwise() -> None:
    h = History().submit("s1-t1").submit("s1-t1", delivery=2).submit("s2-t1").outcome("s2-t1")
    found = check("limits.tasks", h)
    assert (found.verdict, found.reason, found.looked_at) == ("unknown", NO_END, 2)
    (broken,) = check("limits.tasks", h.end()).violations
    assert broken.explanation == "s1-t1 was handed out 2 times and has no outcome at the end"
    assert broken.witness == (1,)


def test_what_only_reported_was_never_handed_out() -> None:
    h = History().outcome("s1-t1", counted=False).end()
    assert codes("limits.tasks", h) == []


@pytest.mark.parametrize(
    "struck, reason",
    [(False, "no fault was injected"), (True, "the faults struck no open task")],
)
def test_why_there_is_nothing_to_recover_from(struck: bool, reason: str) -> None:
    h = History().submit("s1-t1").outcome("s1-t1")
    if struck:
        h.event("nemesis.strike", {"kind": "crash", "phase": "after-reply"}, process="p1")
    found = check("limits.recovery", h.end(), limits=SECOND)
    assert (found.verdict, found.reason) == ("not-applicable", reason)


def strike(h: History, kind: str, **fields: Any) -> History:
    return h.event("nemesis.strike", {"kind": kind, "phase": "before-send"}, **fields)


def test_the_slowest_of_all_struck_tasks_counts() -> None:
    h = History().start("p1").submit("s1-t1").submit("s2-t1").submit("s3-t1")
    strike(h, "silence", session="s1", process="p1")
    strike(h, "crash", process="p1")
    h.outcome("s1-t1").wait(2_000).outcome("s2-t1").wait(500).submit("s9-t1").outcome("s9-t1")
    h.outcome("s3-t1").end()
    (found,) = check("limits.recovery", h, limits=SECOND).violations
    assert (found.subject, found.anomaly) == ("s3-t1", "crash")
    assert found.explanation.startswith("s3-t1 had its outcome 2505 ms after the strike")
    assert recovery_ms(h.view()) == 2505
    assert check("limits.recovery", h, limits=SECOND).looked_at == 4


@pytest.mark.parametrize("kind, hit", [("silence", 1), ("pause", 2), ("partition", 2)])
def test_whom_a_strike_hits(kind: str, hit: int) -> None:
    h = History().start("p1").start("p2").submit("s1-t1").submit("s2-t1").submit("s3-t1", "p2")
    strike(h, kind, session="s1", process="p1")
    for n in (1, 2, 3):
        h.outcome(f"s{n}-t1")
    assert check("limits.recovery", h.end(), limits=SECOND).looked_at == hit


@pytest.mark.parametrize("f, hit", [("region.down", 1), ("region.partition", 1)])
def test_the_end_of_a_region_hits_its_processes(f: str, hit: int) -> None:
    h = History().start("p1", "east").start("p2", "west").submit("s1-t1").submit("s2-t1", "p2")
    h.event(f, {"region": "east"}).outcome("s1-t1").outcome("s2-t1").end()
    found = check("limits.recovery", h, limits=Limits(recovery_ms_max=0))
    assert found.looked_at == hit
    assert found.violations[0].anomaly == f


def test_what_was_struck_and_never_ended_is_not_proven() -> None:
    h = History().start("p1").submit("s1-t1").submit("s2-t1")
    strike(h, "crash", process="p1").outcome("s1-t1").end()
    found = check("limits.recovery", h, limits=SECOND)
    assert (found.verdict, found.looked_at) == ("unknown", 1)
    assert found.reason == "s2-t1 was struck and has no outcome"
    assert recovery_ms(h.view()) is None
    assert recovery_ms(History().end().view()) is None


def test_a_task_that_was_handed_on_is_in_both_hands_until_its_outcome() -> None:
    h = History().start("p1").start("p2").submit("s1-t1").submit("s1-t1", "p2", 2)
    strike(h, "crash", process="p1").outcome("s1-t1", process="p2")
    strike(h, "crash", process="p2")
    assert check("limits.recovery", h.end(), limits=SECOND).looked_at == 1


def asked(times: int) -> History:
    h = History().submit("s1-t1")
    for n in range(times):
        h.done("audit", f"o-{n}")
    return h.outcome("s1-t1").end()


def test_the_load_is_compared_exactly() -> None:
    limits = Limits(amplification_percent_max=150)
    assert codes("limits.amplification", asked(3), limits=limits, control=asked(2)) == []
    h = asked(4)
    (found,) = check("limits.amplification", h, limits=limits, control=asked(2)).violations
    assert found.explanation == (
        "4 requests where the fault-free execution made 2: 200%, at most 150% was promised"
    )
    assert h.ops[found.witness[0]].marker == "o-3"
    assert found.subject == "requests"


def test_without_the_fault_free_execution_nothing_is_known_of_the_load() -> None:
    limits = Limits(amplification_percent_max=150)
    found = check("limits.amplification", asked(1), limits=limits)
    assert (found.verdict, found.reason) == ("unknown", "there is no fault-free execution")
    found = check("limits.amplification", asked(1), limits=limits, control=asked(0))
    assert (found.verdict, found.looked_at) == ("not-applicable", 0)


def test_tries_of_a_resumed_task_count_with_those_before() -> None:
    h = History().submit("s1-t1")
    for task in ("s1-t1", "s1-t1", ""):
        h.fail(h.ask("refund", "o-1", key="k", task=task))
    (found,) = check("limits.attempts", h, limits=TWO).violations
    assert found.explanation.startswith("s1-t1 asked for refund o-1 3 times")


def test_a_task_without_an_end_hides_no_slow_one() -> None:
    h = History().start("p1").submit("s1-t1").submit("s2-t1")
    strike(h, "crash", process="p1").wait(2_000).outcome("s2-t1").end()
    assert codes("limits.recovery", h, limits=SECOND) == ["too-slow/crash"]


def test_of_equally_slow_ones_the_first_is_told() -> None:
    h = History().start("p1").submit("s1-t1").submit("s2-t1")
    for n in (1, 2):
        strike(h, "silence", session=f"s{n}", process="p1")
    h.wait(2_000).outcome("s1-t1").outcome("s2-t1").end()
    (found,) = check("limits.recovery", h, limits=SECOND).violations
    assert found.subject == "s1-t1"


def test_a_task_may_be_handed_to_one_process_again_and_to_another_after_its_end() -> None:
    h = History().start("p1").submit("s1-t1").submit("s1-t1", delivery=2)
    strike(h, "crash", process="p1").outcome("s1-t1").submit("s1-t1", "p3", 3).end()
    found = check("limits.recovery", h, limits=SECOND)
    assert (found.verdict, found.looked_at) == ("valid", 1)
