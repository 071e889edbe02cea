"""capacity.defers: how much is in hand, for how long, and what becomes of the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.check.builder import CONTRACT, History, check, codes

from chaoslab.contract import Capacity

CAPACITY = "capacity.defers"
RULES = replace(CONTRACT, capacity=Capacity(tasks_in_hand_max=2, defer_within_ms=100))
A, B, C = "s1-t1", "s2-t1", "s3-t1"


def said(h: History) -> list[str]:
    return codes(CAPACITY, h.end(), contract=RULES)


def three() -> History:
    return History().submit(A).submit(B).submit(C)


def test_not_promised_and_nothing_to_do() -> None:
    assert check(CAPACITY, three().end()).verdict == "not-applicable"
    assert check(CAPACITY, History().end(), contract=RULES).verdict == "not-applicable"
    assert check(CAPACITY, History(), contract=RULES).verdict == "not-applicable"


@pytest.mark.parametrize(("ms", "late"), [(99, False), (100, True)])
def test_how_long_it_may_be_too_much(ms: int, late: bool) -> None:
    h = three().wait(ms).outcome(C, "failed").outcome(A).outcome(B)
    assert said(h) == (["too-much-in-hand/handed-out"] if late else [])


def test_until_the_end_of_the_record() -> None:
    h = three().wait(98)
    assert codes(CAPACITY, h, contract=RULES) == []
    assert codes(CAPACITY, h.event("lab.budget"), contract=RULES) == []
    h.wait(100).event("lab.budget")
    found = check(CAPACITY, h, contract=RULES)
    assert [(v.subject, v.witness) for v in found.violations] == [("p1", (0, 1, 2, 4))]
    assert found.violations[0].explanation == (
        "p1 had more than 2 tasks in hand for 200 ms; what is more was to be deferred within 100 ms"
    )


@pytest.mark.parametrize("how", ["deferred", "failed", "report", "raised", "kill", "stop"])
def test_ways_to_let_go(how: str) -> None:
    h = three()
    if how == "report":
        h.event("report.outcome", {"status": "failed"}, task=C, process="p1")
        h.outcome(C, "failed")
    elif how == "raised":
        h.event("task.raised", {"error": "E"}, task=C, process="p1")
    elif how in ("kill", "stop"):
        h.event(f"process.{how}", {}, process="p1")
    else:
        h.outcome(C, how, counted=how != "deferred")
    h.wait(500).submit(C, delivery=2).outcome(C).outcome(A).outcome(B)
    assert said(h) == []


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_process_that_has_ended_has_nothing_in_hand(how: str) -> None:
    h = three().event(f"process.{how}", {}, process="p1").submit(A).submit(B).wait(500)
    assert said(h.outcome(A).outcome(B)) == []


def test_somebody_elses_outcome_does_not_help() -> None:
    h = three().outcome(C, process="p2").wait(500).outcome(A).outcome(B)
    assert said(h) == ["too-much-in-hand/handed-out"]


def test_processes_are_counted_each_for_itself() -> None:
    h = History().submit(A).submit(B).submit(C, "p2").wait(500)
    h.outcome(A).outcome(B).outcome(C, process="p2")
    assert said(h) == []


def test_deliveries_of_one_task_count_each() -> None:
    h = History().submit(A).submit(A, delivery=2).submit(A, delivery=3).wait(500)
    for _ in range(3):
        h.outcome(A)
    assert said(h) == ["too-much-in-hand/handed-out"]
    h = History().submit(A).submit(A, delivery=2).submit(A, delivery=3).outcome(A).wait(500)
    assert said(h.outcome(A).outcome(A)) == []


def test_each_end_is_the_end_of_one_delivery() -> None:
    h = History().submit(A).submit(A, delivery=2).outcome(A).outcome(A).outcome(A)
    assert said(h.submit(B).submit(C).wait(500).outcome(B).outcome(C)) == []


def test_a_report_and_its_echo_are_one_end() -> None:
    h = History().submit(A).submit(A, delivery=2).submit(A, delivery=3).submit(B)
    h.event("report.outcome", {"status": "completed"}, task=A, process="p1").outcome(A)
    h.wait(500).outcome(A).outcome(A).outcome(B)
    assert said(h) == ["too-much-in-hand/handed-out"]


def test_what_is_resumed_is_in_hand() -> None:
    h = History().start("p2").event("process.recovers", {"tasks": [A, B, C]}, process="p2")
    h.wait(500)
    for task in (A, B, C):
        h.outcome(task, process="p2")
    found = check(CAPACITY, h.submit(A).outcome(A).end(), contract=RULES)
    assert [(v.anomaly, v.witness[0]) for v in found.violations] == [("resumed", 1)]


def test_a_break_begins_anew() -> None:
    h = three()
    for _ in range(5):
        h.wait(90).outcome(C, "deferred", counted=False).submit(C, delivery=2)
    assert said(h.outcome(C).outcome(A).outcome(B)) == []


def test_time_that_a_process_stands_still_does_not_count() -> None:
    def paused(before: int, after: int) -> list[str]:
        h = three().wait(before)
        h.event("process.pause", {}, process="p1").wait(9_000)
        h.event("process.resume", {}, process="p1").wait(after)
        return said(h.outcome(C).outcome(A).outcome(B))

    assert paused(40, 40) == []
    assert paused(60, 60) == ["too-much-in-hand/handed-out"]
    h = History().event("process.pause", {}, process="p1").submit(A).submit(B).submit(C)
    h.wait(9_000).event("process.resume", {}, process="p1").outcome(C).outcome(A).outcome(B)
    assert said(h) == []


def test_one_line_a_process() -> None:
    h = three().submit("s4-t1").wait(500).outcome(A).submit("s5-t1").wait(500)
    assert said(h) == ["too-much-in-hand/handed-out"]


# -- put off for ever


def test_only_ever_deferred() -> None:
    h = History()
    for nth in (1, 2):
        h.submit(A, delivery=nth).outcome(A, "deferred", counted=False).wait(1_000)
    assert check(CAPACITY, h, contract=RULES).verdict == "unknown"
    found = check(CAPACITY, h.end(), contract=RULES)
    assert [(v.code, v.subject, v.witness) for v in found.violations] == [
        ("deferred-forever", A, (1, 3))
    ]
    assert found.violations[0].explanation == f"{A} was deferred 2 times and never done"


def test_reported_as_deferred_and_not_handed_out_again() -> None:
    h = History().submit(A).event("report.outcome", {"status": "deferred"}, task=A, process="p1")
    found = check(CAPACITY, h.end(), contract=RULES)
    assert [v.explanation for v in found.violations] == [f"{A} was deferred 1 time and never done"]


@pytest.mark.parametrize(("ms", "hangs"), [(98, False), (99, True)])
def test_time_to_answer_again(ms: int, hangs: bool) -> None:
    h = History().submit(A).outcome(A, "deferred", counted=False).submit(A, delivery=2)
    found = codes(CAPACITY, h.wait(ms).end(), contract=RULES)
    assert found == ([] if hangs else ["deferred-forever"])


def test_deferred_and_then_not_answered_is_another_breach() -> None:
    h = History().submit(A).outcome(A, "deferred", counted=False).submit(A, delivery=2)
    assert codes(CAPACITY, h.wait(9_000).end(), contract=RULES) == []
    h = History().submit(A).outcome(A, "deferred", counted=False).submit(A, delivery=2)
    assert codes(CAPACITY, h.end(), contract=RULES) == ["deferred-forever"]  # it had no time


@pytest.mark.parametrize("status", ["completed", "failed", "uncertain", "quarantined"])
def test_done_in_the_end(status: str) -> None:
    h = History().submit(A).outcome(A, "deferred", counted=False)
    h.submit(A, delivery=2).outcome(A, status).outcome(A, "deferred", counted=False)
    assert said(h) == []


# -- against a naive recount

STEP = st.tuples(st.sampled_from(["take", "end", "wait"]), st.sampled_from([A, B, C, "s4-t1"]))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(STEP, max_size=14))
def test_the_sweep_agrees_with_a_recount(steps: list[tuple[str, str]]) -> None:
    h = History()
    held: list[str] = []
    since, broken = -1, False
    for what, task in steps:
        if what == "wait":
            h.wait(60)
            continue
        h.submit(task) if what == "take" else h.outcome(task)
        broken |= since >= 0 and h.ms - since > 100
        if what == "take":
            held.append(task)
        elif task in held:
            held.remove(task)
        if len(held) <= 2:
            since = -1
        elif since < 0:
            since = h.ms
    found = check(CAPACITY, h, contract=RULES)
    assert bool(found.violations) == broken
