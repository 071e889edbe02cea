"""Two campaigns: new, ongoing, resolved, and above all not run, which is not resolved."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.report.campaigns import (
    GAPS,
    HOSTILE,
    hostile_results,
    line,
    planted,
    promised,
    results,
    run,
    violation,
)

from chaoslab.report.compare import Comparison, compare

MARK = violation()["fingerprint"]
OTHER = violation("keys.lineage", code="key-changed", fingerprint="ff" * 8)


def broken(seed: int = 0, *found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return run(seed, violations=list(found) or [violation()], **more)


def marks(change: Comparison) -> dict[str, list[str]]:
    names = ("new", "ongoing", "resolved", "not_run")
    found = {name: [b.fingerprint for b in getattr(change, name)] for name in names}
    return {name: of for name, of in found.items() if of}


def test_each_bug_stands_in_one_list() -> None:
    old = results(broken(0), broken(1, OTHER))
    third = violation("outcome.honest", code="claimed-nothing", fingerprint="ee" * 8)
    change = compare(old, results(broken(0), run(1), broken(2, third)))
    assert change.comparable
    assert marks(change) == {"new": ["ee" * 8], "ongoing": [MARK], "resolved": ["ff" * 8]}
    assert change.only_new == (run(2)["id"],) and change.only_old == ()
    assert change.resolved[0].old_runs == (run(1)["id"],) and not change.resolved[0].new_runs


UNPROVEN = {"effects.delivery": {"verdict": "unknown", "reason": "no effect"}}
NOT_THERE = {"effects.delivery": {"verdict": "not-applicable", "reason": "no effect"}}


@pytest.mark.parametrize(
    ("again", "why"),
    [
        ([run(1)], "not run"),
        ([run(0, broke="it died", verdict="unknown")], "it died"),
        ([run(0, differs="#3")], "#3"),
        ([run(0, vacuous="no fault struck", verdict="unknown")], "no fault struck"),
        ([run(0, not_applicable="no keyed tool", verdict="not-applicable")], "no keyed tool"),
        ([run(0, checks=UNPROVEN, verdict="unknown")], "effects.delivery proved nothing there"),
        ([run(0, checks=NOT_THERE)], "effects.delivery proved nothing there"),
        ([run(0, tools={"ship": {"actions": 2}})], "proved nothing there of refund"),
        ([run(0, contract="billing"), run(5)], "under another contract, billing"),
        ([run(0, checks={})], "effects.delivery proved nothing there"),
        ([broken(0, OTHER, faults_ran=False)], "broken without any fault"),
    ],
)
def test_not_run_is_not_resolved(again: list[dict[str, Any]], why: str) -> None:
    change = compare(results(broken(0)), results(*again))
    assert [b.fingerprint for b in change.not_run] == [MARK] and not change.resolved
    assert why in change.not_run[0].why


def test_every_run_that_showed_it_must_be_done_again() -> None:
    old = results(broken(0), broken(1), broken(2))
    change = compare(old, results(run(0), run(2)))
    assert marks(change) == {"not_run": [MARK]}
    assert change.not_run[0].why.startswith("1 of 3 runs that showed it say nothing now")
    assert marks(compare(old, results(run(0), run(1), run(2)))) == {"resolved": [MARK]}


def test_another_bug_of_the_same_check_shows_that_it_looked() -> None:
    new = results(broken(0, violation(fingerprint="dd" * 8)))
    assert marks(compare(results(broken(0)), new)) == {"new": ["dd" * 8], "resolved": [MARK]}


def test_on_real_processes_not_seen_is_no_proof() -> None:
    change = compare(results(broken(0, deterministic=False)), results(run(0, deterministic=False)))
    assert "no proof" in change.resolved[0].why


def test_the_same_bug_under_another_contract_is_another_bug() -> None:
    other = broken(1, contract="billing")
    change = compare(results(broken(0), run(1, contract="billing")), results(run(0), other))
    assert [b.contract for b in change.new] == ["billing"]
    assert [b.contract for b in change.resolved] == ["support"]


def test_planted_bugs_warnings_and_expected_breaches_are_no_bugs_of_the_team() -> None:
    expected = broken(1, caught=True, expected_check="effects.delivery")
    warned = run(2, warnings=[violation(fingerprint="cc" * 8)])
    assert marks(compare(results(run(0)), results(run(0), planted(3), expected, warned))) == {}


def test_a_scenario_that_expects_a_bug_now_resolves_nothing() -> None:
    expected = broken(0, expected_check="effects.delivery", caught=True)
    change = compare(results(broken(0)), results(expected))
    assert marks(change) == {"ongoing": [MARK]}
    assert change.ongoing[0].why == "the scenario expects it now"
    # Where another run shows it and does not expect it, it is simply still there.
    change = compare(results(broken(0)), results(expected, broken(1)))
    assert change.ongoing[0].why == ""


def test_a_warning_that_counts_now_says_so() -> None:
    old = results(run(0, warnings=[violation()]))
    change = compare(old, results(broken(0, ruleset="2026.2")))
    assert [(b.fingerprint, b.why) for b in change.new] == [(MARK, "only a warning before")]
    assert any("another ruleset" in note and "2026.2" in note for note in change.notes)


def test_without_a_common_contract_nothing_is_compared() -> None:
    change = compare(results(broken(0)), results(run(0, contract="billing")))
    assert not change.comparable and marks(change) == {}
    assert "no contract in common: support before, billing now" in change.notes[0]
    assert change.lines()[0] == "NOT COMPARABLE"
    assert not compare(results(run(0)) | {"format": 2}, results(run(0))).comparable


def test_what_differs_otherwise_is_noted() -> None:
    old = results(run(0), run(1, contract="billing"))
    new = results(run(0, agent="new.py:make_agent"), gaps=GAPS) | {"chaoslab": "9"}
    notes = " / ".join(compare(old, new).notes)
    assert "contract billing is only in the older campaign" in notes
    assert "other agents under contract support: mine.py:make_agent before, new.py" in notes
    assert "another version of chaoslab" in notes and "newer campaign is not complete" in notes
    assert compare(old, old).notes == ()


def test_promises_that_changed_are_listed() -> None:
    old, new = results(run(0)), results(run(0, agent="moved/mine.py:make_agent"))
    old["promises"] = promised(line("a", state="proven"), line("b"), line("gone"))
    new["promises"] = promised(
        line("a", state="broken", required=True), line("b"), line("c"), agent="moved/mine.py:x"
    )
    found = {c.line: (c.old, c.new, c.required) for c in compare(old, new).promises}
    assert found == {
        "a": ("proven", "broken", True),
        "gone": ("unproven", None, False),
        "c": (None, "unproven", False),
    }
    del old["promises"]
    assert compare(old, new).promises == ()


def test_as_json_and_as_lines() -> None:
    old, new = results(broken(0), broken(1, OTHER)), results(broken(0), run(1))
    old["promises"], new["promises"] = promised(line()), promised(line(state="proven"))
    change = compare(old, new)
    found = json.loads(json.dumps(change.to_json()))
    assert found["format"] == 1 and found["comparable"] is True
    assert found["ongoing"][0]["new_runs"] == [run(0)["id"]]
    assert found["lines"][0]["new"] == "proven"
    said = change.lines()
    assert said[-1] == ("Bugs: 0 new, 1 ongoing, 1 resolved, 0 not run; promises that changed: 1.")
    assert any(one.startswith("RESOLVED  keys.lineage (key-changed), money: ") for one in said)
    assert "PROMISE  refund: done exactly once [tools.refund.promise]: unproven, now proven" in said


def test_nothing_changes_against_itself() -> None:
    found = results(broken(0), run(1))
    change = compare(found, found)
    assert marks(change) == {"ongoing": [MARK]} and change.notes == ()
    assert not change.promises and not change.only_old and not change.only_new


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_line(text: str) -> None:
    change = compare(hostile_results(text), hostile_results(f"{text}!"))
    for one in change.lines():
        assert "\n" not in one and one.isprintable()
        assert not one.lstrip().startswith("::")
