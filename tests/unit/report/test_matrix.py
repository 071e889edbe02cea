"""Scenarios against checks: the worst word wins, and nothing looks better than it is."""

from __future__ import annotations

from typing import Any

from tests.unit.report import sample

from chaoslab.report.page.matrix import RUNS_MAX, MatrixCell, MatrixTable, matrix_of

BROKEN = {"verdict": "invalid", "violations": [sample.violation()]}


def matrix(*runs: dict[str, Any], **more: Any) -> MatrixTable:
    return matrix_of({"runs": list(runs), "bugs": [], **more})


def cell(table: MatrixTable, check: str, row: int = 0) -> MatrixCell | None:
    return table.rows[row].cells[table.columns.index(check)]


def test_the_worst_word_of_a_rows_runs_stands_in_the_cell_with_counts_and_runs() -> None:
    unproven = {"effects.delivery": {"verdict": "unknown", "reason": ""}}
    runs = [
        sample.run("a/b", 0),
        sample.run("a/b", 1, checks=unproven),
        sample.run("a/b", 2, **BROKEN),
    ]
    found = cell(matrix(*runs), "effects.delivery")
    assert found is not None
    assert found.word == "broken"
    assert found.counts == {"broken": 1, "unproven": 1, "held": 1}
    assert found.runs == (runs[2]["id"], runs[1]["id"], runs[0]["id"])
    assert cell(matrix(*runs[:2]), "effects.delivery").word == "unproven"  # type: ignore[union-attr]
    assert cell(matrix(runs[0]), "effects.delivery").word == "held"  # type: ignore[union-attr]


def test_a_column_stands_only_for_what_was_judged_or_is_required() -> None:
    table = matrix(sample.run("a/b", 0))
    assert table.columns == ("effects.delivery",)
    assert "regions.loss" in table.left_out
    required = matrix(sample.run("a/b", 0, required=["regions.loss", "invariant.mine"]))
    assert required.columns == ("effects.delivery", "regions.loss", "invariant.mine")
    assert cell(required, "regions.loss").word == "not applicable"  # type: ignore[union-attr]
    assert cell(required, "invariant.mine") is None


def test_a_check_that_no_run_of_a_row_judged_has_no_cell_there() -> None:
    other = {"keys.lineage": {"verdict": "valid", "reason": ""}}
    table = matrix(sample.run("a/b", 0), sample.run("c/d", 0, checks=other))
    assert cell(table, "keys.lineage", 0) is None
    assert cell(table, "keys.lineage", 1).word == "held"  # type: ignore[union-attr]


def test_faults_are_summed_over_the_runs_of_a_scenario_and_an_agent() -> None:
    runs = [
        sample.run("a/b", n, faults={"planned": 2, "eligible": 5, "fired": 1}) for n in range(3)
    ]
    table = matrix(*runs, sample.run("a/b", 0, agent="other.py:make", id="other"))
    first, second = table.rows
    assert (first.planned, first.eligible, first.fired) == (6, 15, 3)
    assert (first.agent, second.agent) == (sample.AGENT, "other.py:make")
    assert first.runs == tuple(run["id"] for run in runs)


def test_a_row_whose_faults_never_ran_says_so() -> None:
    control = {
        "verdict": "invalid",
        "faults_ran": False,
        "checks": {},
        "violations": [sample.violation(where="control")],
        "faults": {"planned": 0, "eligible": 0, "fired": 0},
    }
    table = matrix(sample.run("a/b", 0, **control), sample.run("a/b", 1, **control))
    found = cell(table, "effects.delivery")
    assert found is not None and (found.word, found.without_faults) == ("broken", 2)
    assert table.rows[0].note == "broken without any fault, so the faults were never tried"
    half = matrix(sample.run("a/b", 0, **control), sample.run("a/b", 1))
    assert half.rows[0].note.startswith("1 of 2 runs: broken without any fault")


def test_what_held_in_a_run_that_proves_nothing_is_unproven() -> None:
    idle = {"verdict": "unknown", "vacuous": "the fault never struck"}
    table = matrix(sample.run("a/b", 0, **idle))
    assert cell(table, "effects.delivery").word == "unproven"  # type: ignore[union-attr]
    assert table.rows[0].note == "proves nothing: the fault never struck"


def test_a_run_that_could_not_be_read_is_no_verdict() -> None:
    runs = [
        sample.run("a/b", 0, broke="it hung", checks={}),
        sample.run("c/d", 0, not_applicable="no regions", checks={}),
        sample.run("e/f", 0),
    ]
    table = matrix(*runs)
    assert [row.note for row in table.rows] == ["could not run", "does not apply: no regions", ""]
    assert cell(table, "effects.delivery", 0) is None


def test_known_breaches_stay_broken_and_are_counted() -> None:
    known = sample.bug(state="known")
    table = matrix(sample.run("a/b", 0, **BROKEN), bugs=[known])
    found = cell(table, "effects.delivery")
    assert found is not None and (found.word, found.known) == ("broken", 1)
    new = cell(matrix(sample.run("a/b", 0, **BROKEN), bugs=[sample.bug()]), "effects.delivery")
    assert new is not None and new.known == 0


def test_a_scenario_that_must_break_is_told_apart() -> None:
    expected = BROKEN | {"expected_check": "effects.delivery", "caught": True}
    found = cell(matrix(sample.run("a/b", 0, **expected)), "effects.delivery")
    assert found is not None and found.word == "broken as expected"
    worse = matrix(sample.run("a/b", 0, **expected), sample.run("a/b", 1, **BROKEN))
    assert cell(worse, "effects.delivery").word == "broken"  # type: ignore[union-attr]


def test_planted_bugs_are_one_sentence_and_no_row() -> None:
    planted = {"role": "negative-control", "caught": True, "agent": "bugs/a.py:make"}
    found = sample.run("a/b", 0, **planted)
    missed = sample.run("a/b", 0, **planted | {"caught": False, "agent": "bugs/b.py:make"})
    table = matrix(sample.run("c/d", 0), found)
    assert [row.scenario for row in table.rows] == ["c/d"]
    assert table.planted == "1 of 1 planted bugs found, each by its check."
    assert matrix(found, missed).planted == "1 of 2 planted bugs MISSED: bugs/b.py:make."
    assert matrix(sample.run("c/d", 0)).planted == ""


def test_a_cell_names_only_so_many_runs_those_that_matter_first() -> None:
    runs = [sample.run("a/b", n) for n in range(RUNS_MAX + 20)]
    runs[-1] |= BROKEN
    found = cell(matrix(*runs), "effects.delivery")
    assert found is not None
    assert (len(found.runs), found.more) == (RUNS_MAX, 20)
    assert found.runs[0] == runs[-1]["id"]
