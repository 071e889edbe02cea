"""Promises of the judgement as a whole: what a crash proves, and what outweighs what."""

import pytest
from tests.unit.check.builder import History, evidence

from chaoslab.check import CHECKS, Evidence, Finding, judge
from chaoslab.check.model import Check, conclude
from chaoslab.check.registry import overall, without


def test_a_check_that_crashes_proves_nothing() -> None:
    def crash(_: Evidence) -> Finding:
        raise ZeroDivisionError

    found = judge(evidence(History()), checks=[Check(id="mine", run=crash)])
    assert found.findings == (
        Finding(
            check="mine", verdict="unknown", reason="the check itself broke: ZeroDivisionError"
        ),
    )
    assert found.verdict == "unknown"


def test_a_breach_is_of_the_execution_that_was_judged() -> None:
    h = History().submit("s1-t1").end()
    assert [v.where for v in judge(evidence(h)).violations] == ["fault"]
    assert [v.where for v in judge(evidence(h), where="control").violations] == ["control"]


def test_what_outweighs_what() -> None:
    assert overall(["valid", "unknown", "invalid"]) == "invalid"
    assert overall(["valid", "unknown", "not-applicable"]) == "unknown"
    assert overall(["valid", "not-applicable"]) == "valid"
    assert overall(["not-applicable"]) == overall([]) == "unknown"


def test_who_asks_for_a_check_that_took_no_part_is_told_so() -> None:
    with pytest.raises(KeyError, match="nobody"):
        judge(evidence(History())).finding("nobody")


def test_what_needs_none_of_what_is_missing() -> None:
    assert without() == CHECKS
    left = [check.id for check in without("control", "repeats")]
    gone = {"limits.amplification", "recovery.converges", "recovery.deterministic"}
    assert left == [check.id for check in CHECKS if check.id not in gone]


def test_a_finding_says_what_it_rests_on() -> None:
    assert conclude("mine", [], looked_at=2).reason == "looked at 2 entries"
    assert conclude("mine", [], looked_at=0).reason == "there was nothing to look at"
    assert conclude("mine", [], looked_at=0, missing="half").verdict == "unknown"
