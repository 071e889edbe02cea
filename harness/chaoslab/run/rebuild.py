"""Makes the specification of a recorded run again, from the files in its folder alone."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaoslab.backends.live import shim_target
from chaoslab.contract import default_contract
from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import FormatError
from chaoslab.run.model import RunSpec
from chaoslab.run.store import FORMAT, read_run
from chaoslab.run.team import load_team, over_tasks
from chaoslab.scenario import Scenario, find_workload, scenario_from


def _choices(path: Path) -> dict[str, int]:
    recorded = json.loads(path.read_text(encoding="utf-8"))
    if recorded["format"] != FORMAT:
        raise FormatError(
            f"{path} has another major version", value=recorded["format"], allowed=str(FORMAT)
        )
    return {str(k): int(v) for k, v in recorded["choices"].items()}


def spec_of(folder: Path, /) -> RunSpec:
    """The run that left this folder, with its recorded choices. FormatError where it is damaged."""
    whole = read_run(folder / "run.json")
    entry = whole["run"]
    try:
        text = (folder / "scenario.toml").read_text(encoding="utf-8")
        again = entry["faults_ran"] and entry["backend"] == "sim"
        choices = _choices(folder / "choices.json") if again else None
        raw = tomllib.loads(text)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{folder} cannot be replayed, part of it is missing or damaged: {error}",
            hint="run the scenario again",
        ) from None
    scenario = scenario_from(raw, str(folder / "scenario.toml"))
    if whole.get("contract_file"):
        return _team_spec(whole, scenario, text)
    workload = find_workload(scenario.workload.use)
    table = whole["contract"]
    contract = (
        default_contract(s.contract for s in workload.services.values())
        if table is None
        else contract_from(table, str(folder / "run.json"))
    )
    return RunSpec(
        scenario=scenario,
        scenario_text=text,
        workload=workload,
        agent=entry["agent"],
        contract=contract,
        contract_raw=table,
        seed=entry["seed"],
        role=entry["role"],
        expected_check=entry["expected_check"] or "",
        choices=choices,
        target=shim_target(entry["agent"]) if entry["backend"] == "process" else None,
    )


def _team_spec(whole: Mapping[str, Any], scenario: Scenario, text: str) -> RunSpec:
    """A run on a team's own commands: there are no choices to repeat, only the same scenario."""
    entry, file = whole["run"], whole["contract_file"]
    team = load_team(file, whole["contract"])
    return RunSpec(
        scenario=over_tasks(scenario, team),
        scenario_text=text,
        workload=team.workload,
        agent=entry["agent"],
        contract=team.contract,
        contract_raw=team.raw,
        contract_file=file,
        seed=entry["seed"],
        target=team.target,
    )
