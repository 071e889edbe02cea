"""The agents in fixtures/agents/right: right by other designs, so no check may object to them.

Thousands of executions of each are `chaoslab selftest`'s part. Here each agent meets every third
scenario, beginning at another one than the agent before it, so that all of them are met.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaoslab.core.resources import resource_path
from chaoslab.history import View, read
from chaoslab.run.plan import calm, execution_of
from chaoslab.run.select import known_scenarios, scenario_files, specs_for
from chaoslab.run.workers import Workers

FOLDER = resource_path("fixtures/agents/right")
AGENTS = sorted(path.stem for path in FOLDER.glob("*.py"))
MATRIX = [name for name in known_scenarios() if name.startswith("matrix/")]
SHARE = 3


def agent(name: str) -> str:
    return f"fixtures/agents/right/{name}.py:make_agent"


def literal(path: Path, name: str) -> Any:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return None


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def test_there_are_many_ways_to_be_right() -> None:
    assert len(AGENTS) >= 9
    designs = [literal(FOLDER / f"{name}.py", "RIGHT")["design"] for name in AGENTS]
    assert len(set(designs)) == len(designs)


@pytest.mark.parametrize("name", AGENTS)
def test_a_right_agent_stands_alone_and_says_what_it_promises(name: str) -> None:
    path = FOLDER / f"{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "promises" in (ast.get_docstring(tree) or "")
    for node in ast.walk(tree):
        found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in found:
            top = module.partition(".")[0]
            assert module == "chaoslab.world" or top in sys.stdlib_module_names, module
    contract = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    assert contract["name"] == name.replace("_", "-")
    assert {"attempts_per_operation_max", "uncertain_tasks_max"} <= contract["limits"].keys()


@pytest.mark.parametrize("name", AGENTS)
def test_without_faults_everything_is_done_once(
    name: str, workers: Workers, tmp_path: Path
) -> None:
    done: dict[str, int] = {}
    for scenario in ("matrix/timeout-after-commit", "matrix/panic-before-commit-abort"):
        [spec] = specs_for(scenario_files([scenario]), agent(name), seeds=[7])
        history = tmp_path / f"{spec.scenario.name}.jsonl"
        end = workers.execute(execution_of(spec, calm(spec.scenario), ()), history, {}, "first")
        assert not end["broke"], end["broke"]
        view = View(read(history).ops)
        assert {op.get("status") for op in view.named("task.outcome")} == {"completed"}
        for op in view.named("final.effects"):
            done[op.get("tool")] = done.get(op.get("tool"), 0) + len(op.get("effects"))
    # Three customers with a refund and a parcel each, and a note for either; then four tickets.
    assert {n: c for n, c in done.items() if c} == {
        "refund": 3,
        "ship": 3,
        "notify": 6,
        "ticket": 4,
    }


@pytest.mark.parametrize("name", AGENTS)
def test_no_check_objects(name: str, workers: Workers) -> None:
    number = AGENTS.index(name)
    scenarios = MATRIX[number % SHARE :: SHARE]
    trials = workers.trials(specs_for(scenario_files(scenarios), agent(name), seeds=[number]))
    assert len(trials) == len(scenarios)
    for one in trials:
        assert not one.broke, one
        assert one.broken == (), one
        assert {"effects.delivery", "outcome.honest", "recovery.converges"} <= set(one.shown), one
    # What strikes nothing proves nothing, so some of them must strike.
    assert [one.scenario for one in trials if not one.idle]
