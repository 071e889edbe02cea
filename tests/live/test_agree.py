"""`chaoslab agree` on real processes: three planted bugs, a right agent and the reference agent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chaoslab.cli.entry import main
from chaoslab.run.agreeing import Subject
from chaoslab.run.agreeing import agree as carry_out
from chaoslab.run.store import Campaign
from chaoslab.run.ways import way_named
from chaoslab.run.workers import Workers

NAMES = ("keys.lineage", "lineage.complete", "lifecycle.quarantine")
BUGS = ("key_lost_over_restart", "drops_begun_steps", "forgets_quarantine_over_restart")


def agree(folder: Path, *arguments: str) -> int:
    reports = ["--reports", str(folder / "out"), "--json", str(folder / "table.json")]
    return main(["agree", *arguments, "--ways", "process", "--seeds", "2", "--jobs", "4", *reports])


def test_bugs_are_found_by_their_checks_and_nobody_else_is_accused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agree(tmp_path, *BUGS, "delivery/crash-before-first-try") == 0
    told = capsys.readouterr().out
    assert "process: 4 subjects, 4 agrees." in told
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    cells = {row["short"]: row["cells"]["process"] for row in rows}
    for bug, check in zip(BUGS, NAMES, strict=True):
        assert check in cells[bug]["checks"] and cells[bug]["struck"] >= 1
    assert cells["reference"]["checks"] == [] and cells["reference"]["struck"] >= 1
    page = (tmp_path / "out" / "latest" / "agreement.html").read_text()
    assert "They agree" in page and "<script" not in page
    run = cells["drops_begun_steps"]["run"]
    assert (tmp_path / "out" / "latest" / "process" / run / "fault.jsonl").is_file()


def test_an_agent_that_is_right_in_another_way_holds(tmp_path: Path) -> None:
    right = "fixtures/agents/right/stateless.py:make_agent"
    one = Subject(role="right", agent=right, scenario="matrix/crash-after-commit-unkeyed")
    done: list[str] = []
    workers = Workers()
    try:
        results = carry_out(
            [one],
            [way_named("process")],
            {},
            Campaign.create(tmp_path),
            workers,
            jobs=1,
            seeds=2,
            advance=lambda what, n: done.append(what),
        )
    finally:
        workers.close()
    assert done == ["simulator", "process: stateless"]
    assert results["exit_code"] == 0, results["rows"]


def test_what_cannot_be_waited_for_is_not_applicable(tmp_path: Path) -> None:
    assert agree(tmp_path, "quarantine_expires") == 3  # nothing was left to agree upon
    [row] = json.loads((tmp_path / "table.json").read_text())["rows"]
    cell = row["cells"]["process"]
    assert cell["verdict"] == "not-applicable" and "345600 s" in cell["why"]


def test_a_name_of_nothing_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agree(tmp_path, "double_chrage") == 2
    assert "double_charge" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
