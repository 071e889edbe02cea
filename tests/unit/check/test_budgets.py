"""budgets.spend: sums, counts, scopes, windows, compensation; against a naive recount."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.check.builder import CONTRACT, History, check

from chaoslab.check import Finding
from chaoslab.contract import Budget

BUDGETS = "budgets.spend"


def judged(h: History, **budget: Any) -> Finding:
    one = Budget(**{"name": "b", "tool": "refund", "field": "cents", "most": 100, **budget})
    return check(BUDGETS, h.end(), contract=replace(CONTRACT, budgets={"b": one}))


def spend(h: History, order: str, cents: Any = 60, task: str = "s1-t1", **more: Any) -> str:
    args = {"order": order, "cents": cents, "deep": {"cents": cents}}
    return h.done("refund", order, key=order, task=task, args=args, **more)


def test_not_promised_and_nothing_done() -> None:
    h = History()
    assert judged(h).verdict == "not-applicable"
    spend(h, "o-1")
    assert check(BUDGETS, h).verdict == "not-applicable"


@pytest.mark.parametrize("field", ["cents", "deep.cents"])
@pytest.mark.parametrize(("most", "verdict"), [(120, "valid"), (119, "invalid"), (0, "invalid")])
def test_a_sum(field: str, most: int, verdict: str) -> None:
    h = History()
    spend(h, "o-1")
    spend(h, "o-2")
    assert judged(h, field=field, most=most).verdict == verdict


@pytest.mark.parametrize(("most", "verdict"), [(2, "valid"), (1, "invalid")])
def test_a_count_needs_no_field(most: int, verdict: str) -> None:
    h = History()
    spend(h, "o-1", cents=None)
    spend(h, "o-2", cents="much")
    h.done("ship", "o-1", key="s")
    assert judged(h, field="", most=most).verdict == verdict


@pytest.mark.parametrize(
    ("per", "verdict"),
    [("all", "invalid"), ("tenant", "invalid"), ("session", "valid"), ("task", "valid")],
)
def test_scopes(per: str, verdict: str) -> None:
    h = History()
    spend(h, "o-1", task="s1-t1")
    spend(h, "o-2", task="s2-t1")
    found = judged(h, per=per)
    assert found.verdict == verdict
    if per == "tenant":
        assert found.violations[0].subject == "b for t"
    spend(h, "o-3", task="s2-t2")
    assert judged(h, per="session").verdict == "invalid"
    assert judged(h, per="task").verdict == "valid"


@pytest.mark.parametrize("cents", [None, "60", True, [60], 1.5])
def test_what_is_no_whole_number_cannot_be_summed(cents: Any) -> None:
    h = History()
    spend(h, "o-1", cents=cents)
    found = judged(h)
    assert (found.verdict, found.reason) == (
        "unknown",
        "#1, an effect of refund, has no whole number cents",
    )
    spend(h, "o-2", 101)  # too much whatever the other was
    assert judged(h).verdict == "invalid"


def test_work_of_nobody_is_on_no_budget_that_is_known() -> None:
    h = History()
    spend(h, "o-1", task="")
    assert judged(h, per="session").reason == "#1, an effect of refund, has no session"
    assert judged(h, per="task").reason == "#1, an effect of refund, has no task"
    assert judged(h).verdict == "valid"


def test_one_reference_is_spent_once_and_a_refusal_never() -> None:
    h = History()
    call = h.ask("refund", "o-1", key="k", args={"cents": 60})
    h.commit(call, ref="r")
    h.commit(call, ref="r")
    h.fail(h.ask("refund", "o-2", key="l", args={"cents": 60}))
    assert judged(h).verdict == "valid"


def test_what_was_undone_is_given_back_at_that_moment() -> None:
    h = History()
    ref = spend(h, "o-1")
    h.done("void", ref, undoes=ref)
    spend(h, "o-2")
    assert judged(h).verdict == "valid"
    late = History()
    ref = spend(late, "o-1")
    spend(late, "o-2")
    late.done("void", ref, undoes=ref)
    assert judged(late).verdict == "invalid"


def test_what_has_left_the_window_is_not_given_back_twice() -> None:
    h = History()
    ref = spend(h, "o-1")
    h.wait(1_000)
    spend(h, "o-2")
    h.done("void", ref, undoes=ref)
    spend(h, "o-3", 41)
    assert judged(h, window_ms=500).verdict == "invalid"


def test_a_window_is_open_at_its_far_end() -> None:
    for gap, verdict in ((997, "valid"), (996, "invalid")):
        h = History()
        spend(h, "o-1")
        spend(h.wait(gap), "o-2")  # commit, answer, request, commit: 3 ms more
        commits = [op.time_ns for op in h.ops if op.type == "commit"]
        assert commits[1] - commits[0] == (gap + 3) * 1_000_000
        assert judged(h, window_ms=1_000).verdict == verdict


def test_the_witness_names_what_filled_it_if_that_is_few() -> None:
    h = History()
    for n in range(5):
        spend(h, f"o-{n}", 25)
    found = judged(h).violations
    assert [v.witness for v in found] == [(1, 4, 7, 10, 12, 13)]
    assert (found[0].tool, found[0].code) == ("refund", "over-budget")
    spend(h, "o-9", 1)
    last = len(h.ops) - 2
    over = judged(h, most=125).violations
    assert [v.witness for v in over] == [(last - 1, last)]


def test_at_once_or_in_turn() -> None:
    def anomaly(answered: str) -> str:
        h = History()
        first = h.ask("refund", "o-1", key="a", args={"cents": 60})
        h.commit(first)
        if answered == "before":
            h.ok(first)
        if answered == "info":
            h.info(first)
        second = h.ask("refund", "o-2", key="b", args={"cents": 60})
        if answered == "after":
            h.ok(first)
        h.commit(second)
        return judged(h).violations[0].anomaly

    assert anomaly("before") == anomaly("info") == "in-turn"
    assert anomaly("after") == anomaly("never") == "at-once"


def test_what_is_said_of_it() -> None:
    h = History()
    spend(h, "o-1")
    spend(h, "o-2")
    told = [
        judged(h, per="session", window_ms=500).violations[0].explanation,
        judged(h, field="", most=1, per="tenant").violations[0].explanation,
    ]
    assert told == [
        "the cents of refund came to 120 for s1 within 500 ms; at most 100 was promised",
        "refund came to 2 effects for t; at most 1 was promised",
    ]


def test_a_ledger_without_the_requests() -> None:
    """Who asked is not on record, so nobody can be said to have asked too early."""
    h = History()
    for n in (1, 2):
        h.add("commit", "tools.refund", {"ref": f"r{n}", "args": {"cents": 60}}, session="s1")
    found = judged(h, per="session").violations
    assert [(v.anomaly, v.witness) for v in found] == [("in-turn", (0, 1))]
    call = h.ask("refund", "o-3", key="k", args={"cents": 60})
    h.commit(call)
    assert judged(h, most=150).violations[0].anomaly == "in-turn"


def test_the_session_of_the_request_stands_in_for_that_of_the_commit() -> None:
    h = History()
    call = h.ask("refund", "o-1", key="k")
    h.add("commit", "tools.refund", {"ref": "r", "args": {"cents": 101}}, call=call)
    assert judged(h, per="session").violations[0].subject == "b for s1"


def test_each_budget_is_judged() -> None:
    h = History()
    spend(h, "o-1")
    two = {n: Budget(name=n, tool="refund", field="cents", most=m) for n, m in (("a", 9), ("b", 8))}
    found = check(BUDGETS, h.end(), contract=replace(CONTRACT, budgets=two))
    assert [v.subject for v in found.violations] == ["a", "b"]


# -- against a naive recount

STEP = st.tuples(st.sampled_from(["spend", "undo", "wait"]), st.integers(-2, 9))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(STEP, max_size=12), st.sampled_from([None, 4, 9, 30]), st.integers(0, 15))
def test_the_sliding_sum_agrees_with_a_recount(
    steps: list[tuple[str, int]], window: int | None, most: int
) -> None:
    h = History()
    refs: list[str] = []
    for nth, (what, number) in enumerate(steps):
        if what == "spend":
            refs.append(spend(h, f"o-{nth}", number))
        elif what == "undo" and refs:
            ref = refs.pop(number % len(refs))
            h.done("void", ref, undoes=ref)
        else:
            h.wait(max(number, 0))
    ledger = [op for op in h.ops if op.type == "commit"]
    expected = False
    for now in ledger:
        if now.f != "tools.refund":
            continue
        undone = {op.get("compensates") for op in ledger if op.index <= now.index}
        total = sum(
            op.get("args")["cents"]
            for op in ledger
            if op.f == "tools.refund"
            and op.index <= now.index
            and (window is None or op.time_ns > now.time_ns - window * 1_000_000)
            and op.get("ref") not in undone
        )
        expected |= total > most
    assert (judged(h, most=most, window_ms=window).verdict == "invalid") == expected
