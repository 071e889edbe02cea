"""`--backend docker` as a run knows it, without any daemon."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.live.lab import SILENCE, scenario_file, team_file

from chaoslab.cli import main
from chaoslab.run.known import place_of
from chaoslab.run.model import RunRecord
from chaoslab.run.rebuild import spec_of
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.store import Campaign


def test_an_adapter_and_a_team_get_containers(tmp_path: Path) -> None:
    [spec] = specs_for(scenario_files(["failover-killed"]), REFERENCE, seeds=[0], backend="docker")
    assert spec.target is not None and spec.target.containers
    assert spec.backend == "docker" and "-docker--" in spec.id
    [other] = specs_for(
        scenario_files(["failover-killed"]), REFERENCE, seeds=[0], backend="process"
    )
    assert other.target is not None and not other.target.containers
    assert other.backend == "process" and other.fingerprint != spec.fingerprint
    team = team_file(tmp_path, tmp_path / "agent.py", "")
    scenario = scenario_file(tmp_path, "one", SILENCE)
    for backend in ("docker", "", "process"):
        [own] = specs_for([scenario], str(team), seeds=[0], backend=backend)
        assert own.target is not None and own.target.containers == (backend == "docker")


def test_a_recorded_run_is_done_again_in_the_same_way(tmp_path: Path) -> None:
    team = team_file(tmp_path, tmp_path / "agent.py", "")
    runs = specs_for(scenario_files(["failover-killed"]), REFERENCE, seeds=[0], backend="docker")
    runs += specs_for(
        [scenario_file(tmp_path, "one", SILENCE)], str(team), seeds=[0], backend="docker"
    )
    campaign = Campaign.create(tmp_path / "reports")
    for spec in runs:
        campaign.begin(spec.id)
        entry = campaign.finish(RunRecord(spec=spec))
        assert entry["backend"] == "docker"
        assert spec_of(campaign.folder / spec.id).backend == "docker"


def test_known_bugs_are_named_by_where_they_were_seen() -> None:
    run = {"scenario": "matrix/x", "seed": 3}
    words = [place_of(run | {"backend": b}) for b in ("sim", "process", "docker")]
    assert words == ["matrix/x seed 3", "matrix/x seed 3 (process)", "matrix/x seed 3 (docker)"]


def test_without_the_package_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    asked = ["run", "failover-killed", "--backend", "docker", "--reports", str(tmp_path / "r")]
    assert main(asked) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "the package docker, which is not installed" in line
    assert "next: pip install 'chaoslab[real]'" in line
    assert main(["docker-base"]) == 2
