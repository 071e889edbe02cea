"""Promises of `outcome.honest` that are easily lost: doubt has causes, and records have ends."""

import pytest
from tests.unit.check.builder import History, check, codes

from chaoslab.check.facts import NO_END, Claimed, Facts, claims_of


def test_what_is_claimed_may_still_come_where_the_record_stops() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.outcome("s1-t1", "completed", ("notify", "o-1"))
    r = h.done("notify", "o-2", task="s2-t1")
    h.outcome("s2-t1", "completed", ("notify", "o-2", r))
    found = check("outcome.honest", h)
    assert (found.verdict, found.reason) == ("unknown", NO_END)
    assert check("outcome.honest", h.end()).verdict == "invalid"


def test_a_doubt_without_cause_is_told_beside_other_breaches() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.done("notify", "o-2", task="s2-t1")
    h.outcome("s1-t1", "completed", ("notify", "o-1")).outcome("s2-t1", "uncertain").end()
    assert codes("outcome.honest", h) == ["claimed-not-done", "uncertain-without-cause"]


def test_who_never_asked_anything_has_no_cause_for_doubt() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "uncertain").end()
    assert codes("outcome.honest", h) == ["uncertain-without-cause"]


def test_a_failover_is_cause_for_doubt() -> None:
    h = History().submit("s1-t1")
    h.done("notify", "o-1")
    h.event("region.promote", {"region": "west", "epoch": 2, "lost": []})
    assert codes("outcome.honest", h.outcome("s1-t1", "uncertain").end()) == []


@pytest.mark.parametrize("whose, expected", [("p1", []), ("p9", ["uncertain-without-cause"])])
def test_a_death_is_cause_for_doubt_if_it_was_its_own(whose: str, expected: list[str]) -> None:
    h = History().start("p1").start("p9").submit("s1-t1")
    h.done("notify", "o-1")
    h.kill(whose).start("p2").outcome("s1-t1", "uncertain", process="p2").end()
    assert codes("outcome.honest", h) == expected


def test_the_lost_answer_of_another_task_to_the_same_action_is_cause_for_doubt() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.info(h.ask("notify", "o-1", task="s2-t1"))
    h.done("notify", "o-1", task="s1-t1")
    h.outcome("s1-t1", "uncertain")
    h.done("audit", "o-1", task="s1-t1")  # what comes after the report is no cause, and hides none
    h.end()
    assert codes("outcome.honest", h) == []


def test_an_answer_that_came_after_the_report_is_cause_for_doubt() -> None:
    h = History().submit("s1-t1")
    call = h.ask("audit", "o-1")
    h.outcome("s1-t1", "uncertain")
    h.ok(call, h.commit(call))
    assert codes("outcome.honest", h.end()) == []


def test_every_claim_of_a_late_report_is_looked_at() -> None:
    h = History().submit("s1-t1")
    r = h.done("notify", "o-1")
    h.outcome("s1-t1", "completed", ("notify", "o-1", r))
    h.outcome("s1-t1", "completed", ("notify", "o-1", r), ("notify", "o-2"), counted=False).end()
    (found,) = check("outcome.honest", h).violations
    assert (found.code, found.subject) == ("contradicting-outcome", "notify o-2")


def test_a_report_that_did_not_count_proves_itself_where_none_did() -> None:
    h = History().start("p1").submit("s1-t1")
    h.outcome("s1-t1", "completed", ("notify", "o-2"), counted=False)
    said = h.ops[-1].index
    (found,) = check("outcome.honest", h.end()).violations
    assert (found.code, found.witness) == ("contradicting-outcome", (said,))


def test_a_claim_without_a_name_claims_a_nameless_action() -> None:
    h = History().event("task.outcome", {"status": "completed", "claims": [{}]}, task="s1-t1")
    assert claims_of(h.ops[-1]) == [Claimed("", "", None, h.ops[-1])]
    assert Facts(h.view()).calls_of("s9-t9") == ()
