"""The agents by which the checks themselves are judged, found without importing any.

A negative control is wrong on purpose, in one place, and names the check that must find it. A
positive control is right in a way of its own, and no check may ever object to it. Both are
ordinary adapter files with one literal at their top, so a team can add its own beside them.

>>> bugs = planted_bugs()
>>> all(bug.check and bug.bug for bug in bugs), right_agents()[0].agent
(True, 'chaoslab.reference:make_agent')
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslab.core.errors import UsageError
from chaoslab.core.resources import resource_path
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, known_scenarios, scenario_files, specs_of
from chaoslab.scenario import load_scenario

_AGENTS = "fixtures/agents"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A bug that was planted on purpose, as its file declares it. Each seed must show it."""

    agent: str
    check: str
    scenario: str
    seeds: tuple[int, ...]
    bug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """An agent that is right by another design, and the scenarios or families that it is for."""

    agent: str
    design: str
    scenarios: tuple[str, ...]


def planted_bugs() -> list[Planted]:
    """The planted bugs that ship with the package."""
    found = []
    for path in sorted(resource_path(_AGENTS).glob("*.py")):
        facts = _literal(path, "PLANTED")
        if facts:
            found.append(
                Planted(
                    agent=f"{_AGENTS}/{path.name}:make_agent",
                    check=facts["check"],
                    scenario=facts["scenario"],
                    seeds=tuple(facts["seeds"]),
                    bug=facts["bug"],
                )
            )
    return found


def right_agents() -> list[Right]:
    """The reference agent, in every packaged scenario, and those of other designs."""
    families = sorted({name.partition("/")[0] for name in known_scenarios()})
    found = [
        Right(agent=REFERENCE, design="the model agent of this package", scenarios=tuple(families))
    ]
    folder = resource_path(_AGENTS)
    for path in sorted(folder.rglob("*.py")):
        facts = _literal(path, "RIGHT")
        if facts:
            found.append(
                Right(
                    agent=f"{_AGENTS}/{path.relative_to(folder).as_posix()}:make_agent",
                    design=facts["design"],
                    scenarios=tuple(facts["scenarios"]),
                )
            )
    return found


def planted_specs(scenario_names: Sequence[str] | None = None, /) -> list[RunSpec]:
    """The runs that prove that planted bugs are found; all, or those in the named scenarios."""
    specs: list[RunSpec] = []
    known = known_scenarios()
    for bug in planted_bugs():
        if bug.scenario not in known:
            raise UsageError(
                f"{bug.agent} is planted in a scenario that does not exist",
                value=bug.scenario,
                allowed=", ".join(known),
            )
        if scenario_names is not None and bug.scenario not in scenario_names:
            continue
        path = scenario_files([bug.scenario])[0]
        scenario = load_scenario(path)
        specs += specs_of(path, scenario, bug.agent, seeds=bug.seeds, planted_for=bug.check)
    return specs


def _literal(path: Path, name: str) -> Mapping[str, Any] | None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            value = ast.literal_eval(node.value)
            return value if isinstance(value, Mapping) else None
    return None
