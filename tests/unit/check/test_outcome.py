"""outcome.honest: nobody must succeed, everybody must say what happened."""

import pytest
from tests.unit.check.builder import History, check, codes

ID = "outcome.honest"


def test_claims_match() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="k")
    found = check(ID, h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end())
    assert (found.verdict, found.looked_at) == ("valid", 1)


def test_no_outcome_is_not_applicable() -> None:
    assert check(ID, History().submit("s1-t1").end()).verdict == "not-applicable"


def test_claims_are_optional() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    assert codes(ID, h.outcome("s1-t1", "completed", answer="done").end()) == []


def test_claimed_not_done() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="k"))
    h.outcome("s1-t1", "completed", ("refund", "o-1")).end()
    assert codes(ID, h) == ["claimed-not-done"]


def test_absorbed_reference_is_the_one_to_claim() -> None:
    def claim(ref: str) -> list[str]:
        h = History().submit("s1-t1")
        h.commit(h.ask("refund", "o-1", key="k"))
        again = h.ask("refund", "o-1", key="k")
        h.ok(again, "refund:o-1#1", absorbed=True)
        return codes(ID, h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end())

    assert claim("refund:o-1#1") == []
    assert claim("refund:o-1#2") == ["wrong-ref"]


def test_reference_of_what_was_undone() -> None:
    h = History().submit("s1-t1")
    first = h.done("refund", "o-1", key="a")
    h.done("void", first, undoes=first)
    h.done("refund", "o-1", key="b")
    assert codes(ID, h.outcome("s1-t1", "completed", ("refund", "o-1", first)).end()) == [
        "wrong-ref/undone"
    ]


def test_done_not_claimed() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.done("notify", "o-1")
    h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end()
    assert codes(ID, h) == ["done-not-claimed"]


def test_tools_outside_of_the_contract_need_no_claim() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.done("scratch", "x")
    assert codes(ID, h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end()) == []


def test_failed_after_commit() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="a")
    h.commit(call)
    h.info(call)
    assert codes(ID, h.outcome("s1-t1", "failed").end()) == ["failed-after-commit/reply-lost"]


def test_failed_with_a_claim_of_something_else() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="a")
    h.commit(call)
    h.info(call)
    ref = h.done("notify", "o-1/x")
    h.outcome("s1-t1", "failed", ("notify", "o-1/x", ref))
    assert codes(ID, h.end()) == ["done-not-claimed"]


def test_failed_and_claimed_or_undone() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    assert codes(ID, h.outcome("s1-t1", "failed", ("refund", "o-1", ref)).end()) == []
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.done("void", ref, undoes=ref)
    assert codes(ID, h.outcome("s1-t1", "failed").end()) == []


def test_fails_fast_in_the_middle_and_never_uses_claims() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="a")
    h.fail(h.ask("notify", "o-1"), "connection-refused")
    assert codes(ID, h.outcome("s1-t1", "failed").end()) == []


def test_uses_claims_elsewhere_and_hides_this_one() -> None:
    h = History().submit("s2-t1")
    other = h.done("refund", "o-2", key="b", task="s2-t1")
    h.outcome("s2-t1", "completed", ("refund", "o-2", other)).submit("s1-t1")
    h.done("refund", "o-1", key="a")
    h.fail(h.ask("notify", "o-1"), "connection-refused")
    assert codes(ID, h.outcome("s1-t1", "failed").end()) == [
        "failed-after-commit/although-answered"
    ]


def test_what_a_zombie_did_after_the_report_could_not_be_known() -> None:
    h = History().submit("s1-t1")
    zombie = h.ask("refund", "o-1", key="a")
    h.submit("s1-t1", process="p2", delivery=2)
    h.fail(h.ask("refund", "o-1", key="a", process="p2"), "conflict")
    h.outcome("s1-t1", "failed", process="p2")
    h.commit(zombie)
    assert codes(ID, h.end()) == []


@pytest.mark.parametrize("answer", ["info", "conflict", "none", "killed", "again"])
def test_uncertain_with_cause(answer: str) -> None:
    h = History().start("p1").submit("s1-t1")
    call = h.ask("refund", "o-1", key="a")
    if answer == "info":
        h.info(call)
    elif answer == "conflict":
        h.fail(call, "conflict")
    elif answer == "killed":
        h.kill("p1").start("p2")
    elif answer == "again":
        h.ok(call, h.commit(call))
        h.submit("s1-t1", delivery=2)
    assert codes(ID, h.outcome("s1-t1", "uncertain").end()) == []


def test_uncertain_without_cause() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="a")
    assert codes(ID, h.outcome("s1-t1", "uncertain").end()) == ["uncertain-without-cause"]
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="a"), "bad-request")
    assert codes(ID, h.outcome("s1-t1", "uncertain").end()) == ["uncertain-without-cause"]


def test_late_reports() -> None:
    def late(ref: str) -> list[str]:
        h = History().submit("s1-t1")
        first = h.done("refund", "o-1", key="a")
        h.outcome("s1-t1", "completed", ("refund", "o-1", first))
        h.outcome("s1-t1", "completed", ("refund", "o-1", ref), process="p2", counted=False)
        return codes(ID, h.end())

    assert late("refund:o-1#1") == []
    assert late("refund:o-1#7") == ["contradicting-outcome"]


def test_deferred_then_done() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "deferred", counted=False)
    h.submit("s1-t1", delivery=2)
    ref = h.done("refund", "o-1", key="a")
    found = check(ID, h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end())
    assert (found.verdict, found.looked_at) == ("valid", 1)
