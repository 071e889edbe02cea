"""The answer on top of the report: its word, its colour and its sentences agree with the exit code,
and nothing is green that was not seen."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.report import sample

from chaoslab.report.page.answer import answer_of
from chaoslab.report.words import headline

LOST = "matrix/timeout-after-commit"
SEEN = {"proven": 3, "unproven": 0}
WHOLE: dict[str, Any] = {"known": [], "cut": []}
SHARD = {"index": 1, "of": 4, "plan": "d", "runs": ["a", "b", "c", "d", "e", "f", "g", "h"]}
MISSED = sample.run(LOST, 9, role="negative-control", caught=False)
FOUND = sample.run(LOST, 9, role="negative-control", verdict="invalid", caught=True)
BROKE = sample.run(LOST, 8, verdict="unknown", broke="the handler raised ValueError: boom")
DIFFERS = sample.run(LOST, 7, differs="entry 23: note was 1 and is 2")


def told(changes: dict[str, Any], counts: dict[str, int] | None = None) -> dict[str, Any]:
    """The answer of the sample with some changes."""
    return answer_of(sample.results(**{**WHOLE, **changes}), SEEN if counts is None else counts)


@pytest.mark.parametrize(
    ("changes", "word", "look"),
    [
        ({"exit_code": 0}, "Held", "ok"),
        ({"exit_code": 0, "known": sample.results()["known"]}, "Known bugs only", "warn"),
        ({"exit_code": 0, "cut": sample.results()["cut"]}, "Held so far", "warn"),
        ({"exit_code": 0, "shard": SHARD}, "Held so far", "warn"),
        ({"exit_code": 0, "shard": SHARD, "merged": ["1", "2"]}, "Held", "ok"),
        ({"exit_code": 0, "runs": [FOUND], "promises": []}, "Planted bugs found", "ok"),
        ({"exit_code": 1}, "Broken", "bad"),
        ({"exit_code": 3}, "Unproven", "warn"),
        ({"exit_code": 3, "complete": False}, "Incomplete", "warn"),
        ({"exit_code": 4, "runs": [BROKE]}, "Could not tell", "bad"),
        ({"exit_code": 4, "runs": [MISSED]}, "Planted bug missed", "bad"),
        ({"exit_code": 5}, "Not repeatable", "bad"),
    ],
)
def test_the_word_of_the_answer(changes: dict[str, Any], word: str, look: str) -> None:
    answer = told(changes)
    assert (answer["word"], answer["look"]) == (word, look)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"runs": []}, {}),
        # A run that held where nothing of the contract came up shows no promise.
        ({}, {"unproven": 22}),
        ({"runs": [sample.run(LOST, 0, verdict="unknown", vacuous="never struck")]}, {}),
    ],
)
def test_nothing_is_green_that_was_not_seen(
    changes: dict[str, Any], counts: dict[str, int]
) -> None:
    answer = told({"exit_code": 0, **changes}, counts)
    assert (answer["word"], answer["look"]) == ("Nothing proven", "warn")
    assert answer["means"] == "nothing counts against it, but nothing was shown either"


@pytest.mark.parametrize(
    ("changes", "means"),
    [
        ({"exit_code": 0}, "nothing counts against it"),
        ({"exit_code": 1}, "a promise is broken"),
        ({"exit_code": 3}, "a check that the contract requires is unproven"),
        ({"exit_code": 3, "complete": False}, "not everything that was asked for was run"),
        ({"exit_code": 3, "runs": []}, "nothing was run"),
        ({"exit_code": 4, "runs": [BROKE]}, "the lab or the agent's code broke"),
        ({"exit_code": 4, "runs": [MISSED]}, "a planted bug was missed"),
        (
            {"exit_code": 4, "runs": [BROKE, MISSED]},
            "the lab or the agent's code broke, and a planted bug was missed",
        ),
    ],
)
def test_the_exit_code_is_told_by_its_cause(changes: dict[str, Any], means: str) -> None:
    assert told(changes)["means"] == means


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"exit_code": 0}, "2 promises unproven."),
        ({"exit_code": 1}, f"To mend: {sample.bug()['title']}."),
        (
            {"exit_code": 1, "bugs": [sample.bug(state="expired")]},
            "1 bug was accepted once, and its time is over.",
        ),
        ({"exit_code": 0, "bugs": [sample.bug(state="known")] * 3}, "3 known bugs do not count."),
        ({"exit_code": 1, "bugs": [sample.bug()] * 2}, f"First to mend: {sample.bug()['title']}."),
        (
            {"exit_code": 4, "runs": [BROKE]},
            "1 run could not run: the handler raised ValueError: boom",
        ),
        (
            {"exit_code": 5, "runs": [DIFFERS] * 2},
            "2 runs not repeatable: entry 23: note was 1 and is 2",
        ),
        ({"exit_code": 0, "cut": [{}]}, "1 of 6 runs was left out for want of time."),
        (
            {"exit_code": 0, "shard": SHARD},
            "This is part 1 of 4: 5 of the 8 runs of the plan.",
        ),
        (
            {"exit_code": 3, "complete": False, "gaps": ["shard 3 of 3 is missing"]},
            "Shard 3 of 3 is missing.",
        ),
        (
            {"exit_code": 3, "complete": False},
            "Not all runs that were asked for have ended; use --resume.",
        ),
    ],
)
def test_the_answer_says_what_a_reader_has_to_know(changes: dict[str, Any], line: str) -> None:
    assert line in told(changes, {"proven": 1, "unproven": 2})["says"]


def test_a_planted_bug_that_does_not_repeat_is_nothing_to_worry_about() -> None:
    planted = {**FOUND, "differs": "entry 208: session was s3 and is s1"}
    said = told({"exit_code": 0, "runs": [sample.run(LOST, 0), planted]})["says"]
    assert not any("repeatable" in line for line in said)


def test_what_is_required_and_unproven_is_named() -> None:
    results = sample.results(**WHOLE, exit_code=3)
    for line in results["promises"][0]["lines"]:
        line["required"] = True
    assert "Required, and unproven: no half of a group is used." in answer_of(results, SEEN)["says"]


def test_one_run_is_one_run() -> None:
    assert "1 run, 1 held" in headline([sample.run(LOST, 0)])
    assert "2 runs, 2 held" in headline([sample.run(LOST, 0), sample.run(LOST, 1)])
