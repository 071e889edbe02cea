"""Effects that are read out of a team's own database in the end: rows that tell nobody's name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import History
from tests.unit.check.real import SEEN, asked, codes, find, row

from chaoslab.check import Finding, because
from chaoslab.contract import Budget


@pytest.mark.parametrize("recorded", [True, False])
def test_a_late_effect_counts_as_its_requests(recorded: bool) -> None:
    h = asked().outcome("s1-t1")
    row(h, "refund", "o-1", "7", "k")
    h.end()
    for check in ("effects.delivery", "lineage.complete", "outcome.honest", "keys.lineage"):
        assert find(check, h, recorded=recorded).verdict == "valid", check


def test_an_effect_that_nobody_asked_for_is_still_one() -> None:
    h = asked().outcome("s1-t1")
    row(h, "refund", "o-1", "7", "k")
    row(h, "refund", "o-2", "8", "k")
    assert codes("effects.delivery", h.end()) == ["unexpected-effect"]
    assert codes("lineage.complete", h) == ["orphan-effect"]


@pytest.mark.parametrize(
    ("keys", "rows", "anomaly"),
    [
        (("a", "b"), ("a", "b"), "key-changed"),
        (("a", "b"), (None, None), "key-changed"),
        (("a", "a"), ("a", "a"), "key-forgotten"),
        ((None, None), (None, None), "key-absent"),
    ],
)
def test_twice_in_the_table_is_twice(keys: Any, rows: Any, anomaly: str) -> None:
    h = History().submit("s1-t1")
    for key in keys:
        h.info(h.ask("refund", "o-1", key=key))
    h.outcome("s1-t1", "uncertain")
    for ref, key in enumerate(rows):
        row(h, "refund", "o-1", str(ref), key)
    assert codes("effects.delivery", h.end()) == [f"duplicate-effect/{anomaly}"]


def test_one_request_that_was_delivered_twice_is_the_networks() -> None:
    h = asked()
    h.outcome("s1-t1")
    row(h, "refund", "o-1", "7", "k")
    row(h, "refund", "o-1", "8", "k")
    assert codes("effects.delivery", h.end()) == []
    # The same rows for two requests of which the lab delivered neither twice are the agent's.
    h = asked("info", None, "notify")
    h.ok(h.ask("notify", "o-1"))
    h.outcome("s1-t1")
    row(h, "notify", "o-1", "7")
    row(h, "notify", "o-1", "8")
    assert codes("effects.delivery", h.end()) == ["duplicate-effect/un-keyed-retry"]


def test_a_request_whose_effect_is_known_has_had_it() -> None:
    """The lab reads the source after each answer as well, and knows some of them for certain."""
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="a")
    h.commit(first, ref="7")
    h.ok(first)
    second = h.ask("refund", "o-1", key="b")
    h.info(second)
    h.outcome("s1-t1", "uncertain")
    row(h, "refund", "o-1", "8")
    (found,) = find("effects.delivery", h.end()).violations
    assert (found.anomaly, {first, second} <= set(found.witness)) == ("key-changed", True)


def test_a_request_after_the_row_was_read_did_not_make_it() -> None:
    h = History().submit("s1-t1")
    row(h, "notify", "o-1", "7")
    h.ok(h.ask("notify", "o-1"))
    assert codes("effects.delivery", h.outcome("s1-t1").end()) == ["unexpected-effect"]


def test_a_request_that_never_went_out_did_nothing() -> None:
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    h.strike(call, "silence", "before-send")
    h.info(call)
    second = h.ask("notify", "o-1")
    h.info(second)
    third = h.ask("notify", "o-1")
    h.ok(third)
    h.outcome("s1-t1")
    row(h, "notify", "o-1", "7")
    row(h, "notify", "o-1", "8")
    (found,) = find("effects.delivery", h.end()).violations
    assert set(found.witness) >= {second, third} and call not in found.witness


def test_two_that_were_doubled_and_one_more_is_one_too_many() -> None:
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    h.strike(call, "duplicate", "after-commit")
    h.ok(call)
    h.outcome("s1-t1")
    row(h, "notify", "o-1", "7")
    row(h, "notify", "o-1", "8")
    assert codes("effects.delivery", h.end()) == []
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    h.strike(call, "duplicate", "after-commit")
    h.info(call)
    h.ok(h.ask("notify", "o-1"))
    h.outcome("s1-t1")
    for ref in "789":
        row(h, "notify", "o-1", ref)
    assert codes("effects.delivery", h.end()) == ["duplicate-effect/un-keyed-retry"]


def test_a_refused_action_that_stands_is_not_missing_and_not_unexpected() -> None:
    h = asked("fail").outcome("s1-t1", "failed")
    row(h, "refund", "o-1", "7", "k")
    assert codes("effects.delivery", h.end()) == []


def test_the_fields_of_a_row_are_not_the_words_of_a_request() -> None:
    """Without identity fields the marker of a row says nothing; key and reference do."""
    h = History().submit("s1-t1")
    h.ok(h.ask("say", "words-1", key="k1"))
    h.outcome("s1-t1")
    row(h, "say", "row-1", "7", "k1")
    assert find("effects.delivery", h.end()).verdict == "valid"
    h = History().submit("s1-t1")
    h.ok(h.ask("say", "words-1", key="k1"), "7")
    h.outcome("s1-t1")
    row(h, "say", "row-1", 7)
    assert find("effects.delivery", h.end()).verdict == "valid"


@pytest.mark.parametrize(("tool", "marker"), [("say", "row-1"), ("refund", "")])
def test_a_row_that_tells_nothing_accuses_nobody(tool: str, marker: str) -> None:
    h = asked(tool=tool)
    h.ok(h.ask(tool, "o-2", key="k2"))
    h.outcome("s1-t1", "completed", (tool, "o-1"))
    row(h, tool, marker, "7")
    h.end()
    for check in ("effects.delivery", "lineage.complete", "outcome.honest"):
        found = find(check, h)
        assert (found.verdict, found.violations) == ("unknown", ()), check
        assert "let its query select" in found.reason


def test_what_was_read_late_is_no_commit_after_the_end() -> None:
    """Failed later at something else, having known of the effect: that is honest."""
    h = asked()
    h.fail(h.ask("notify", "o-1"), "unavailable")
    h.outcome("s1-t1", "failed")
    row(h, "refund", "o-1", "7", "k")
    assert codes("outcome.honest", h.end(), recorded=False) == []
    assert codes("outcome.honest", h, recorded=True) == []


def test_a_real_agent_may_fail_at_what_nobody_sees() -> None:
    def run(answer: str) -> History:
        h = asked(answer).outcome("s1-t1", "failed")
        row(h, "refund", "o-1", "7", "k")
        return h.end()

    assert codes("outcome.honest", run("ok")) == []
    # "Failed" after a lost answer says more than the agent knew.
    assert codes("outcome.honest", run("info")) == ["failed-after-commit/reply-lost"]
    assert codes("outcome.honest", run("ok"), recorded=False) == [
        "failed-after-commit/although-answered"
    ]


def test_what_another_process_was_asked_before_the_report_may_come_after_it() -> None:
    def run(answer: str) -> History:
        h = History().start("web").start("worker").submit("s1-t1", "web")
        h.done("audit", "o-1", key="a", process="worker")
        call = h.ask("refund", "o-1", key="k", process="worker")
        if answer:
            getattr(h, answer)(call)
        h.outcome("s1-t1", "completed", ("audit", "o-1"), process="web")
        row(h, "refund", "o-1", "7", "k")
        return h.end()

    assert codes("outcome.honest", run("info")) == []
    assert codes("outcome.honest", run("ok")) == ["done-not-claimed"]


def test_a_number_that_the_service_never_told_is_no_wrong_reference() -> None:
    def run(answer: dict[str, Any]) -> History:
        h = History().submit("s1-t1")
        h.ok(h.ask("refund", "o-1", key="k"), **answer)
        h.outcome("s1-t1", "completed", ("refund", "o-1", "re_1"))
        row(h, "refund", "o-1", "4711", "k")
        return h.end()

    assert codes("outcome.honest", run({"data": {"receipt": "re_1"}})) == []
    assert codes("outcome.honest", run({"data": {"id": 4711}})) == ["wrong-ref"]


def test_rows_of_two_tables_may_have_one_number() -> None:
    h = asked()
    h.ok(h.ask("notify", "o-1"))
    h.outcome("s1-t1")
    for tool in ("notify", "refund", "refund"):  # the same row, read twice, is one
        row(h, tool, "o-1", "1")
    assert codes("effects.delivery", h.end()) == []


def test_a_row_without_a_name_where_only_one_thing_was_asked() -> None:
    def run(*markers: str) -> str:
        h = History().submit("s1-t1")
        for marker in markers:
            h.ok(h.ask("say", marker, key="k"))
        h.outcome("s1-t1")
        row(h, "say", "", "7")
        return find("effects.delivery", h.end()).verdict

    assert (run("words-1"), run("words-1", "words-2")) == ("valid", "unknown")


def test_the_story_says_that_the_table_was_read_in_the_end() -> None:
    h = asked("info", "a")
    h.info(h.ask("refund", "o-1", key="b"))
    h.outcome("s1-t1", "uncertain")
    row(h, "refund", "o-1", "7", "a")
    row(h, "refund", "o-1", "8", "b")
    (found,) = find("effects.delivery", h.end()).violations
    assert any("its ledger shows 7 in the end" in line for line in because(h.view(), found))


def test_a_killed_process_did_not_commit_late_because_it_was_read_late() -> None:
    h = History().start("p1").submit("s1-t1")
    h.ask("notify", "o-1")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    h.ok(h.ask("notify", "o-1", process="p2"))
    h.outcome("s1-t1", process="p2")
    row(h, "notify", "o-1", "7")
    row(h, "notify", "o-1", "8")
    assert codes("effects.delivery", h.end()) == ["duplicate-effect/repeated-after-restart"]


# -- budgets over rows that tell no time


def _spent(window_ms: int | None, most: int = 10, undone: bool = False) -> Finding:
    budget = Budget(name="b", tool="refund", field="cents", most=most, window_ms=window_ms)
    h = History().submit("s1-t1")
    for order in ("o-1", "o-2"):
        h.ok(h.ask("refund", order, key=order))
        h.wait(5_000)
    if undone:
        h.ok(h.ask("void", "1"))
    for ref, order in (("1", "o-1"), ("2", "o-2")):
        row(h, "refund", order, ref, order, cents=8)
    if undone:
        h.add("commit", "tools.void", {"ref": "v", "compensates": "1"}, marker="1")
    return find("budgets.spend", h.end(), replace(SEEN, budgets={"b": budget}))


def test_a_budget_over_late_rows() -> None:
    assert _spent(None).verdict == "invalid"
    assert _spent(None, most=16).verdict == "valid"
    assert _spent(60_000).verdict == "invalid"  # all of it was within a minute, however it lay
    assert _spent(1_000).verdict == "unknown"  # they may have been five seconds apart, or not
    assert "when each came about" in _spent(1_000).reason
    assert _spent(1_000, most=16).verdict == "valid"
    assert _spent(None, undone=True).verdict == "unknown"  # given back before, or after?
