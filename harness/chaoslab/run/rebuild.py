"""Makes the specification of a recorded run again, from the files in its folder alone."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaoslab.backends.live import shim_target
from chaoslab.contract import default_contract
from chaoslab.contract.loader import contract_from
from chaoslab.contract.stores import store_from
from chaoslab.contract.target import Target
from chaoslab.core.errors import FormatError, ScenarioError
from chaoslab.run.model import RunSpec
from chaoslab.run.store import FORMAT, read_run
from chaoslab.run.team import load_team, over_tasks
from chaoslab.scenario import find_workload, scenario_from


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
    spec = _spec(folder, whole)
    store, how = whole.get("store"), whole.get("toxiproxy", "")
    target = spec.target
    if target is not None and how:
        target = replace(target, toxiproxy=how)
    if target is not None and store and store["address"]:
        target = replace(target, store=store_from(store["address"]))
    return replace(spec, target=target)


def _spec(folder: Path, whole: Mapping[str, Any]) -> RunSpec:
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
    repeats = len(list(folder.glob("repeat-*.jsonl"))) or 3
    if whole.get("contract_file"):
        return replace(_team_spec(whole, raw, text, str(folder / "scenario.toml")), repeats=repeats)
    scenario = scenario_from(raw, str(folder / "scenario.toml"))
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
        target=_target_of(entry),
        repeats=repeats,
    )


def _target_of(entry: Mapping[str, Any]) -> Target | None:
    """Where the executions of a packaged or imported agent happened."""
    if entry["backend"] == "sim":
        return None
    return shim_target(entry["agent"], containers=entry["backend"] == "docker")


def _team_spec(whole: Mapping[str, Any], raw: Mapping[str, Any], text: str, path: str) -> RunSpec:
    """A run on a team's own commands: there are no choices to repeat, only the same scenario."""
    entry, file = whole["run"], whole["contract_file"]
    team = load_team(file, whole["contract"])
    try:
        scenario = scenario_from(raw, path, workload=team.workload)
    except ScenarioError:  # a packaged one, which may speak of packaged tools
        scenario = scenario_from(raw, path)
    return RunSpec(
        scenario=over_tasks(scenario, team),
        scenario_text=text,
        workload=team.workload,
        agent=entry["agent"],
        contract=team.contract,
        contract_raw=team.raw,
        contract_file=file,
        seed=entry["seed"],
        target=replace(team.target, containers=entry["backend"] == "docker"),
    )
