"""A team's own agent as one file: contract, `[agent]`, services, tools and tasks.

The packaged scenarios run over it unchanged: their faults name roles, which the contract resolves,
and their workload is the team's own tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chaoslab.check import CHECK_IDS
from chaoslab.contract import Contract
from chaoslab.contract.loader import contract_from, raw_contract
from chaoslab.contract.target import Target
from chaoslab.core.errors import ContractError
from chaoslab.core.resources import resource_path
from chaoslab.scenario import Scenario, Workload, load_scenario, team_workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """What a team's file says."""

    file: str
    raw: Mapping[str, Any]
    contract: Contract
    workload: Workload
    target: Target


def is_team_file(agent: str, /) -> bool:
    """Whether an agent is named by a team's file and not as `path.py:factory`.

    >>> is_team_file("chaoslab.toml"), is_team_file("agent.py:make")
    (True, False)
    """
    return agent.endswith(".toml")


def has_agent(path: Path, /) -> bool:
    """Whether there is a file that names an agent as commands."""
    if not path.is_file():
        return False
    raw = raw_contract(path)
    return raw is not None and "agent" in raw


def load_team(file: str, /, raw: Mapping[str, Any] | None = None) -> Team:
    """Reads a team's file; ContractError names every problem of it at once. With `raw` only the
    folder of `file` is used: a replay has the table and not the file."""
    if raw is None:
        raw = raw_contract(Path(file))
    if raw is None:
        raise ContractError(f"{file} has no [tool.chaoslab]", hint="write one there")
    contract = contract_from(raw, file, check_ids=CHECK_IDS)
    if contract.target is None:
        raise ContractError(
            f"{file} names no agent",
            allowed='a table [agent] with command = ["…"]',
            hint="chaoslab init, or name the agent as path.py:factory",
        )
    return Team(
        file=file,
        raw=raw,
        contract=contract,
        workload=team_workload(raw, file, contract),
        target=contract.target,
    )


def shares(contract: Contract, /) -> bool:
    """Whether two executions at once would meet in something that is not their own: a service
    that the lab does not start, what a `reset` command empties, a database outside `{state}`."""
    target = contract.target
    places = [one.database for one in contract.services.values()]
    places += [t.effects.database for t in contract.tools.values() if t.effects is not None]
    if target is not None:
        places.append(target.database)
    return (
        (target is not None and bool(target.reset))
        or any((one.url or one.mcp) and not one.start for one in contract.services.values())
        or any(place and "{state}" not in place for place in places)
    )


def scenario_for(path: Path, team: Team, /) -> Scenario:
    """A scenario's file as this team means it: a packaged one speaks of packaged tools where it
    does not speak of roles, one of the team's own of its own tools and tasks."""
    packaged = resource_path("scenarios").resolve() in path.resolve().parents
    return load_scenario(path, workload=None if packaged else team.workload)


def over_tasks(scenario: Scenario, team: Team, /) -> Scenario:
    """A scenario over the team's own tasks, and over as many processes as it has commands."""
    mix = tuple(name for name in scenario.workload.mix if name in team.workload.kinds)
    use = replace(scenario.workload, mix=mix, wasm={})
    regions = scenario.regions
    if len(team.target.commands) > 1:
        regions = replace(regions, processes=len(team.target.commands))
    return replace(scenario, workload=use, regions=regions)
