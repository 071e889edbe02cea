"""The selftest must itself be able to fail: on a missed bug, an accused agent, nothing seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaoslab.report.selftest import answer, matrix
from chaoslab.run import selftest as module
from chaoslab.run.controls import Right, planted_bugs, right_agents
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.trials import Trial, trial
from chaoslab.run.workers import Workers

WRONG = "fixtures/agents/double_charge.py:make_agent"
LOST_REPLY = "matrix/timeout-after-commit"


def judged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    right: tuple[str, str],
    planted: tuple[str, str],
    executions: int = 3,
) -> dict[str, Any]:
    agent, scenario = right
    who = Right(agent=agent, design="for this test", scenarios=(scenario,))
    bug, check = planted
    own = [
        replace(spec, role="negative-control", expected_check=check)
        for spec in specs_for(scenario_files([LOST_REPLY]), bug, seeds=[0])
    ]
    monkeypatch.setattr(module, "right_agents", lambda: [who])
    monkeypatch.setattr(module, "planted_specs", lambda: own)
    workers = Workers(in_process=True)
    return module.selftest(
        Campaign.create(tmp_path),
        workers,
        jobs=1,
        executions=executions,
        advance=lambda what, n: None,
    )


def test_all_is_well_where_the_bug_is_found_and_the_right_agent_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = judged(
        tmp_path,
        monkeypatch,
        right=(REFERENCE, LOST_REPLY),
        planted=(WRONG, "effects.delivery"),
    )
    assert results["exit_code"] == 0
    assert results["right"][0]["judged"] == 3
    assert results["right"][0]["checks"]["effects.delivery"] == 3
    assert (tmp_path / "latest" / "selftest.json").is_file()


def test_a_bug_that_another_check_finds_is_missed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = judged(
        tmp_path, monkeypatch, right=(REFERENCE, LOST_REPLY), planted=(WRONG, "regions.fenced")
    )
    assert results["exit_code"] == 4
    lines = matrix(results["bugs"], results["checks"])
    assert "MISSED by regions.fenced, found by" in lines[-1]
    assert "MISSED: double_charge" in answer(results)[0]


def test_a_right_agent_that_is_accused_fails_it_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = judged(
        tmp_path, monkeypatch, right=(WRONG, LOST_REPLY), planted=(WRONG, "effects.delivery")
    )
    assert results["exit_code"] == 4
    row = results["right"][0]
    assert row["accused"] == 3
    assert (tmp_path / "latest" / row["alarms"][0]["run"] / "run.json").is_file()


def test_executions_that_prove_nothing_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This agent has no memory, so nothing can be struck there.
    results = judged(
        tmp_path,
        monkeypatch,
        right=("fixtures/agents/minimal.py:make_agent", "matrix/partial-write-crash-1"),
        planted=(WRONG, "effects.delivery"),
    )
    row = results["right"][0]
    assert (row["judged"], row["passed"], results["exit_code"]) == (0, False, 4)
    assert row["idle"] == 9


def test_a_trial_says_what_the_run_says() -> None:
    spec = specs_for(scenario_files([LOST_REPLY]), WRONG, seeds=[0])[0]
    found = trial(spec)
    assert "effects.delivery" in {row[0] for row in found.broken}
    assert Trial.from_json(found.to_json()) == found


def test_a_trial_that_kills_its_interpreter_costs_only_itself(tmp_path: Path) -> None:
    killer = tmp_path / "killer.py"
    killer.write_text("import os\ndef make_agent():\n    os._exit(7)\n")
    files = scenario_files([LOST_REPLY])
    good = specs_for(files, REFERENCE, seeds=[0])[0]
    bad = specs_for(files, f"{killer}:make_agent", seeds=[0])[0]
    workers = Workers()
    try:
        found = workers.trials([good, bad, good])
    finally:
        workers.close()
    assert [bool(one.broke) for one in found] == [False, True, False]
    assert "ended itself with code 7" in found[1].broke


def test_what_ships_is_complete() -> None:
    bugs, right = planted_bugs(), right_agents()
    assert len(bugs) >= 30
    assert len(right) >= 9  # the reference agent and eight others
    assert len({bug.agent for bug in bugs}) == len(bugs)
