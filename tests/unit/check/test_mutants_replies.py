"""Promises about the last word easily lost: who failed honestly, and what a claim covers."""

import pytest
from tests.unit.check.builder import History, check, codes, evidence

from chaoslab.check.graph import lineage

ALTHOUGH, LOST = ["failed-after-commit/although-answered"], ["failed-after-commit/reply-lost"]


def failed(h: History, process: str = "p1") -> list[str]:
    return codes("outcome.honest", h.outcome("s1-t1", "failed", process=process).end())


def begun() -> History:
    """An agent that never uses claims has made a refund, and knows it."""
    h = History().start("p1").submit("s1-t1")
    h.done("refund", "o-1", key="k")
    return h


@pytest.mark.parametrize("how", ["refused", "lost", "unanswered"])
def test_who_failed_at_something_else_later_failed_honestly(how: str) -> None:
    h = begun()
    call = h.ask("ship", "o-1", key="s")
    if how != "unanswered":
        (h.fail if how == "refused" else h.info)(call)
    assert failed(h) == []


def test_who_failed_at_nothing_did_not() -> None:
    h = begun()
    h.done("audit", "o-1")
    assert failed(h) == ALTHOUGH


def test_who_failed_at_something_before_did_not() -> None:
    h = History().start("p1").submit("s1-t1")
    h.fail(h.ask("ship", "o-1", key="s"))
    h.done("refund", "o-1", key="k")
    assert failed(h) == ALTHOUGH


@pytest.mark.parametrize("tool", ["refund", "crm.refund"])
def test_who_failed_at_the_same_once_more_did_not(tool: str) -> None:
    h = History().start("p1").submit("s1-t1")
    ref = h.done(tool, "o-1", key="k")
    h.fail(h.ask(tool, "o-1", key="k"), "conflict")
    h.ok(h.ask(tool, "o-1", key="k"), ref, absorbed=True)
    assert failed(h) == ALTHOUGH


def test_what_went_well_later_is_no_excuse() -> None:
    h = begun()
    h.read("note", None, task="s1-t1")
    assert failed(h) == ALTHOUGH


def test_whose_agent_uses_claims_elsewhere_has_to_claim_here() -> None:
    h = begun().submit("s2-t1")
    h.fail(h.ask("ship", "o-1", key="s"))
    r = h.done("audit", "o-2", task="s2-t1")
    h.outcome("s2-t1", "completed", ("audit", "o-2", r))
    assert failed(h) == ALTHOUGH


def test_the_last_answer_is_what_the_agent_knows() -> None:
    h = History().start("p1").submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    ref = h.commit(call)
    h.info(call)
    h.ok(h.ask("refund", "o-1", key="k"), ref, absorbed=True)
    h.fail(h.ask("ship", "o-1", key="s"))
    assert failed(h) == []
    h = begun()
    h.info(h.ask("refund", "o-1", key="k"))
    h.fail(h.ask("ship", "o-1", key="s"))
    assert failed(h) == LOST


def test_what_a_guest_did_under_another_name_is_answered_by_the_guest() -> None:
    h = History().start("p1").submit("s1-t1")
    call = h.wasm("i1", "o-1", key="k")
    h.commit(call, tool="crm")
    h.ok(call)
    h.fail(h.ask("ship", "o-1", key="s"))
    assert failed(h) == []


@pytest.mark.parametrize("claimed", ["ticket", "notify", "audit"])
def test_a_guest_is_claimed_by_its_own_name_or_by_what_it_did(claimed: str) -> None:
    h = History().start("p1").submit("s1-t1")
    call = h.wasm("i1", "o-1", key="k")
    h.commit(call, tool="notify")
    h.ok(call)
    h.done("audit", "o-1")
    h.outcome("s1-t1", "completed", ("audit", "o-1"), (claimed, "o-1")).end()
    left_out = ["done-not-claimed"] if claimed == "audit" else []
    assert codes("outcome.honest", h) == left_out


def test_a_tool_is_not_claimed_by_the_name_of_another() -> None:
    h = History().start("p1").submit("s1-t1")
    h.done("refund", "o-1", key="k")
    h.done("notify", "o-1")
    h.outcome("s1-t1", "completed", ("notify", "o-1")).end()
    (found,) = check("outcome.honest", h).violations
    assert found.explanation.endswith("leaves out refund:o-1#1")


def test_what_its_dead_process_did_could_be_known() -> None:
    h = History().start("p1").submit("s1-t1")
    h.commit(h.ask("refund", "o-1", key="k"))
    h.kill("p1").start("p2").submit("s1-t1", "p2", 2)
    assert failed(h, "p2") == LOST


def test_what_another_process_did_after_the_report_could_not() -> None:
    h = History().start("p1").start("p2").submit("s1-t1").submit("s1-t1", "p2", 2)
    call = h.ask("refund", "o-1", key="k", process="p2")
    h.outcome("s1-t1", "failed")
    h.commit(call)
    assert codes("outcome.honest", h.end()) == []


def test_a_claim_without_a_reference_names_none() -> None:
    one = evidence(History().submit("s1-t1").outcome("s1-t1", "completed", ("refund", "o-1")).end())
    (anomaly,) = lineage(one.facts, one.contract).of("claimed-not-done")
    assert anomaly.ref == ""


@pytest.mark.parametrize("asked", [True, False])
def test_what_nobody_was_told_of_stands_all_the_same(asked: bool) -> None:
    h = History().start("p1").submit("s1-t1")
    if asked:
        h.commit(h.ask("refund", "o-1", key="k"))
    else:
        h.add("commit", "tools.refund", {"ref": "r"}, marker="o-1", task="s1-t1", session="s1")
    h.fail(h.ask("ship", "o-1", key="s"))
    assert failed(h) == LOST
