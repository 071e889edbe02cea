"""What held is sampled from what was really executed, and nobody else reads what it may quote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.explore.test_campaign import LOST, concluded, row

from chaoslab.faults import Fault
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.workers import Workers
from chaoslab.scenario.writing import scenario_toml


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with closing(Workers()) as pool:
        yield pool


def small(*faults: Fault) -> RunSpec:
    """One task of one session of the support desk."""
    [base] = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])
    use = replace(base.scenario.workload, sessions=1, tasks=1)
    scenario = replace(base.scenario, workload=use, faults=faults)
    return replace(base, scenario=scenario, scenario_text=scenario_toml(scenario))


def test_a_drawn_execution_that_was_kept_whole_is_a_sample(
    tmp_path: Path, workers: Workers
) -> None:
    text, spec = small(LOST).scenario_text, small()
    held = row(spec, 1, "held", LOST, name="1/000001", world="timeout", seed=9, scenario=text)
    results = concluded(tmp_path, spec, workers, held, kind="stress")
    [run] = results["runs"]
    assert (run["scenario"], run["seed"]) == ("matrix/held-1-000001", 9)
    assert results["exit_code"] == 0 and results["exploration"]["notes"] == []


def test_a_scenario_that_names_what_must_not_be_read_is_for_its_owner(
    tmp_path: Path, workers: Workers
) -> None:
    spec = small()
    rows = [
        row(spec, 1, "held", LOST),
        row(spec, 2, "held", replace(LOST, marker="password=hunter22")),
    ]
    results = concluded(tmp_path, spec, workers, *rows)
    folders = [path.parent for path in tmp_path.rglob("scenario.toml")]
    private = [f for f in folders if "hunter22" in (f / "scenario.toml").read_text()]
    modes = {f: (f / "scenario.toml").stat().st_mode & 0o077 for f in folders}
    assert len(folders) == 2 and len(private) == 1
    assert modes[private[0]] == 0 and "hunter22" not in json.dumps(results)
