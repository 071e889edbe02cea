"""What the model agent may know, and the agents in fixtures/agents that are built on it."""

from __future__ import annotations

import ast
import gc
import sys
import tomllib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim.execution import simulate
from chaoslab.check import judge
from chaoslab.check.model import Evidence
from chaoslab.contract import DEFAULT_LIMITS
from chaoslab.contract.loader import load_contract
from chaoslab.core.resources import data_root, resource_path
from chaoslab.faults import place
from chaoslab.history import View, Writer
from chaoslab.run.plan import calm
from chaoslab.scenario import find_workload, load_scenario, scenario_from

REFERENCE = Path(sys.modules["chaoslab"].__file__ or "").parent / "reference"
AGENTS = resource_path("fixtures/agents")
CONTRACT = resource_path("fixtures/contracts/reference.toml")


def planted(path: Path) -> dict[str, Any]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PLANTED":
            found: dict[str, Any] = ast.literal_eval(node.value)
            return found
    return {}


BUGS = sorted(p.stem for p in AGENTS.glob("*.py") if planted(p))
# What follows the hash seed shows only in a second interpreter, so `make selftest` looks for it.
SEEN_IN_ONE = [n for n in BUGS if planted(AGENTS / f"{n}.py")["check"] != "recovery.deterministic"]
# Rules about data, money and load are broken by what an agent does every day; all other bugs must
# hide until something fails.
NEEDS_NO_FAULT = {
    "memory.policy",
    "memory.retention",
    "memory.access",
    "isolation.sessions",
    "egress.policy",
    "budgets.spend",
    "capacity.defers",
    "limits.tasks",
}


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.py")), ids=lambda p: p.stem)
def test_the_reference_knows_the_world_and_nothing_else(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            allowed = name == "chaoslab.world" or name.startswith("chaoslab.reference.")
            # In a process of its own it is run by whatever gives it its ports.
            allowed |= path.stem == "__main__" and name == "chaoslab.adapters.remote"
            assert allowed or name.partition(".")[0] in sys.stdlib_module_names, name
            assert name not in ("time", "random", "uuid", "threading", "datetime") or (
                isinstance(node, ast.ImportFrom) and [a.name for a in node.names] == ["Random"]
            )


@pytest.mark.parametrize("name", [n for n in BUGS if n != "double_charge"])
def test_a_planted_bug_is_one_change_in_one_place(name: str) -> None:
    tree = ast.parse((AGENTS / f"{name}.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    methods = [
        n.name
        for c in tree.body
        if isinstance(c, ast.ClassDef)
        for n in c.body
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert len(methods) == 1


def execute(agent: str, raw: dict[str, Any] | None, scenario: str, seed: int) -> dict[str, str]:
    """Verdicts by check, of a run in this process."""
    with warnings.catch_warnings():
        # A simulated loop has nothing to close; elsewhere its process ends with it.
        warnings.simplefilter("ignore", ResourceWarning)
        found = _execute(agent, raw, scenario, seed)
        gc.collect()
    return found


def _execute(agent: str, raw: dict[str, Any] | None, scenario: str, seed: int) -> dict[str, str]:
    chosen = scenario_from(raw, "test") if raw else load_scenario(data_root() / scenario)
    workload = find_workload(chosen.workload.use)
    own = AGENTS / f"{agent.rpartition('/')[2].removesuffix('.py:make_agent')}.toml"
    contract = load_contract(own if own.is_file() else CONTRACT)
    spec = ExecutionSpec(
        scenario=calm(chosen),
        workload=workload,
        contract=contract,
        agent=agent,
        seed=seed,
    )
    control = simulate(spec, Writer(None, {}))
    assert not control.broke
    merged = merged_contract(contract, workload)
    placed = place(chosen.faults, control.sites, merged)
    struck = simulate(replace(spec, scenario=chosen, placed=placed), Writer(None, {}))
    assert not struck.broke
    assert sum(struck.fired.values()) == sum(max(1, len(p.sites)) for p in placed)
    limits = contract.limits.over(chosen.limits.over(DEFAULT_LIMITS))
    alone = judge(Evidence(history=View(control.ops), contract=merged, limits=limits))
    broken = [f.check for f in alone.findings if f.verdict == "invalid"]
    if broken:
        assert set(broken) <= NEEDS_NO_FAULT, broken
        return {f.check: f.verdict for f in alone.findings}
    evidence = Evidence(
        history=View(struck.ops), contract=merged, limits=limits, control=View(control.ops)
    )
    return {f.check: f.verdict for f in judge(evidence).findings}


@pytest.mark.parametrize("name", SEEN_IN_ONE)
def test_a_planted_bug_is_found_by_its_check(name: str) -> None:
    facts = planted(AGENTS / f"{name}.py")
    for seed in facts["seeds"]:
        agent = f"fixtures/agents/{name}.py:make_agent"
        found = execute(agent, None, f"scenarios/{facts['scenario']}.toml", seed)
        assert found[facts["check"]] == "invalid", found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("release_at_ms", [0, 3_000, 60_000])
def test_quarantine_holds_in_the_simulator(seed: int, release_at_ms: int) -> None:
    trap = {"at": "wasm:*", "phase": "before-commit", "kind": "trap", "task": "s1-t1"}
    raw: dict[str, Any] = {
        "format": 1,
        "name": "quarantine",
        "title": "Three traps",
        "family": "test",
        "workload": {"sessions": 2, "tasks": 2, "mix": ["ticket"]},
        "faults": [{**trap, "attempt": n} for n in (1, 2, 3)],
    }
    if release_at_ms:
        raw["operator"] = [{"release": "s1", "at_ms": release_at_ms}]
    found = execute("chaoslab.reference:make_agent", raw, "", seed)
    assert found["lifecycle.quarantine"] == "valid"
    assert found["lifecycle.legal"] == "valid"
    assert "invalid" not in found.values()


@pytest.mark.parametrize("scenario", ["timeout-after-commit", "failover-zombie"])
def test_the_minimal_agent_keeps_its_contract(scenario: str) -> None:
    agent = "fixtures/agents/minimal.py:make_agent"
    found = execute(agent, None, f"scenarios/matrix/{scenario}.toml", 0)
    assert "invalid" not in found.values(), found


def test_contracts_of_the_fixtures_can_be_read() -> None:
    for path in (CONTRACT, *AGENTS.glob("*.toml")):
        contract = load_contract(path)
        assert set(contract.tools) >= {"refund", "notify", "ship", "ticket"}
        assert "uncertain_tasks_max" not in tomllib.loads(path.read_text()).get("limits", {})
