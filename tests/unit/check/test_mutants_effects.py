"""Promises of the checks of actions that are easily lost: who is asked for what, and who is not."""

from dataclasses import replace

from tests.unit.check.builder import REFUND, History, check, codes

from chaoslab.contract import Contract


def test_keys_are_nobodys_business_where_repeats_are_allowed() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="a")
    h.done("refund", "o-1", key="b")
    h.outcome("s1-t1").end()
    loose = Contract(tools={"refund": replace(REFUND, promise="at-least-once")})
    assert check("keys.lineage", h, contract=loose).verdict == "not-applicable"
    assert check("keys.lineage", h).looked_at == 2


def test_a_completed_task_owes_what_it_asked_for_whoever_else_did_too() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.info(h.ask("refund", "o-1", key="k", task="s1-t1"))
    h.info(h.ask("refund", "o-1", key="k", task="s2-t1"))
    h.outcome("s1-t1", "failed").outcome("s2-t1", "completed").end()
    found = check("effects.delivery", h).violations
    assert [(v.code, v.anomaly) for v in found] == [("missing-effect", "reported-completed")]
    assert found[0].explanation.startswith("s2-t1 ended as completed, and refund o-1, which")


def test_who_was_told_no_and_says_what_was_done_instead_owes_nothing_and_excuses_nobody() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.fail(h.ask("refund", "o-1", key="k", task="s1-t1"))
    r = h.done("audit", "o-1", task="s1-t1")
    h.info(h.ask("refund", "o-1", key="k", task="s2-t1"))
    h.outcome("s1-t1", "completed", ("audit", "o-1", r)).outcome("s2-t1", "completed").end()
    (found,) = check("effects.delivery", h).violations
    assert found.explanation.startswith("s2-t1 ended as completed")


def test_a_question_to_a_guest_is_no_promise_of_an_action() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.ok(h.wasm("i1", "o-1", task="s1-t1", export="count"))
    h.info(h.wasm("i1", "o-1", key="k", task="s2-t1"))
    h.outcome("s1-t1", "completed").outcome("s2-t1", "completed").end()
    (found,) = check("effects.delivery", h).violations
    assert found.explanation.startswith("s2-t1 ended as completed")


def test_what_a_resumed_task_tried_outside_of_it_is_its_last_try() -> None:
    h = History().start("p1").submit("s1-t1")
    h.ask("refund", "o-1", key="k")
    h.kill("p1").start("p2")
    again = h.ask("refund", "o-1", key="k", task="", process="p2")
    h.info(again)
    h.outcome("s1-t1", "completed", process="p2").end()
    (found,) = check("effects.delivery", h).violations
    assert found.witness[0] == again


def test_a_request_for_a_task_that_nobody_handed_out_is_no_reason_to_break() -> None:
    h = History().submit("s2-t1")
    h.info(h.ask("refund", "o-1", key="k", task="s1-t1"))
    h.info(h.ask("refund", "o-2", key="l", task="s2-t1"))
    h.outcome("s2-t1", "completed").end()
    (found,) = check("effects.delivery", h).violations
    assert found.subject == "refund o-2"


def test_every_late_report_is_looked_at() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.outcome("s1-t1", "failed")
    h.outcome("s1-t1", "completed", ("refund", "o-1"), counted=False)
    h.outcome("s1-t1", "completed", ("refund", "o-2"), counted=False)
    h.outcome("s2-t1", "failed").end()
    found = check("outcome.honest", h)
    assert [v.subject for v in found.violations] == ["refund o-1", "refund o-2"]
    assert found.looked_at == 2


def test_a_late_report_of_failure_claims_nothing() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "completed")
    h.outcome("s1-t1", "failed", ("refund", "o-1"), counted=False)
    h.event("report.outcome", {"status": "completed", "claims": []}, task="s1-t1").end()
    assert codes("outcome.honest", h) == []


def test_a_task_that_is_still_open_hides_no_other() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.outcome("s2-t1", "completed", ("refund", "o-1")).end()
    assert codes("outcome.honest", h) == ["claimed-not-done"]
