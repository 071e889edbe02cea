"""Which runs a command asks for: scenarios, agents and contracts, found by name.

>>> scenario_files(["timeout-after-commit"])[0].name
'timeout-after-commit.toml'
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import chaoslab
from chaoslab.adapters import AgentSource
from chaoslab.backends.live import check_store, check_toxiproxy, shim_target
from chaoslab.check import CHECK_IDS
from chaoslab.contract import Contract, default_contract
from chaoslab.contract.loader import contract_from, raw_contract
from chaoslab.contract.stores import StoreAt
from chaoslab.contract.target import Target
from chaoslab.core.errors import ContractError, ScenarioError, UsageError
from chaoslab.core.resources import data_root, resource_path
from chaoslab.run.model import RunSpec
from chaoslab.run.team import is_team_file, load_team, over_tasks, scenario_for
from chaoslab.scenario import Scenario, Workload, find_workload, load_scenario
from chaoslab.wasm import load_module

_FILES_MAX = 1_000
_SOURCES = re.compile(r".*\.(py|[mc]?js|[mc]?ts|go|rs|rb|java|kt|cs|php|exs?|sh|sql|toml)")
_NOT_THEIRS = frozenset({"node_modules", "venv", "reports", "target", "build", "dist"})
REFERENCE = "chaoslab.reference:make_agent"
REFERENCE_CONTRACT = "fixtures/contracts/reference.toml"


def scenario_files(names: Sequence[str], /) -> list[Path]:
    """The files that names stand for: a file, a folder, a family, or a scenario's name with its
    family or, where it is the only one, without."""
    out: list[Path] = []
    for name in names:
        out += [p for p in _expand(name) if p not in out]
    return out


def _expand(name: str) -> Iterator[Path]:
    here = Path(name)
    root = resource_path("scenarios")
    for candidate in (here, root / name, root / f"{name}.toml", data_root() / name):
        if candidate.is_file():
            yield candidate
            return
        if candidate.is_dir():
            found = sorted(candidate.rglob("*.toml"))
            if found:
                yield from found
                return
    known = known_scenarios()
    alike = [k for k in known if k.rpartition("/")[2] == name]
    if len(alike) == 1:
        yield root / f"{alike[0]}.toml"
        return
    near = difflib.get_close_matches(name, known, n=3) or known[:8]
    raise UsageError(
        "there is no such scenario",
        value=name,
        allowed="a .toml file, a folder, a family, or family/name such as " + ", ".join(near),
        hint="chaoslab list",
    )


def known_scenarios() -> list[str]:
    """family/name of every packaged scenario."""
    root = resource_path("scenarios")
    return sorted(str(p.relative_to(root).with_suffix("")) for p in root.rglob("*.toml"))


def find_contract(
    agent: str, given: str | None, workload: Workload, /
) -> tuple[Contract, Mapping[str, Any] | None]:
    """The contract of an agent, and its table.

    First the one that was named, then `<agent>.toml` beside the agent's file, then, for agents
    that ship with the package, the reference agent's, then chaoslab.toml beside the agent's file,
    then chaoslab.toml or [tool.chaoslab] here.
    Without any, the default, which promises least.
    """
    if given is not None:
        raw = raw_contract(Path(given))
        if raw is None:
            raise ContractError(f"{given} has no [tool.chaoslab]", hint="write one there")
        return _with_paths(contract_from(raw, given, check_ids=CHECK_IDS), raw)
    for path in _contract_places(AgentSource(agent).path, agent):
        if path.is_file():
            raw = raw_contract(path)
            if raw is not None:
                return _with_paths(contract_from(raw, str(path), check_ids=CHECK_IDS), raw)
    return default_contract(s.contract for s in workload.services.values()), None


def _with_paths(contract: Contract, raw: Mapping[str, Any]) -> tuple[Contract, Mapping[str, Any]]:
    """The contract, and its table in a form that means the same from any folder."""
    if not any(one.check for one in contract.invariants):
        return contract, raw
    rows = zip(raw["invariants"], contract.invariants, strict=True)
    full = [{**row, "check": one.check} if one.check else row for row, one in rows]
    return contract, {**raw, "invariants": full}


def _contract_places(adapter: Path | None, agent: str) -> Iterator[Path]:
    if adapter is not None:
        yield adapter.with_suffix(".toml")
    packaged = agent.startswith("chaoslab.reference") or (
        adapter is not None and data_root() / "fixtures" in adapter.parents
    )
    if packaged:
        yield resource_path(REFERENCE_CONTRACT)
    if adapter is not None:
        yield adapter.parent / "chaoslab.toml"
    yield Path("chaoslab.toml")
    yield Path("pyproject.toml")


def specs_for(
    files: Sequence[Path],
    agent: str,
    *,
    contract: str | None = None,
    seeds: Sequence[int] = (),
    backend: str = "",
    repeats: int = 3,
) -> list[RunSpec]:
    """One run per scenario and seed. All problems of all files are told at once."""
    specs: list[RunSpec] = []
    problems: list[str] = []
    team = load_team(agent) if is_team_file(agent) else None
    for path in files:
        try:
            scenario = load_scenario(path) if team is None else scenario_for(path, team)
        except ScenarioError as error:
            problems.append(str(error))
            continue
        specs += specs_of(
            path,
            scenario,
            agent,
            contract=contract,
            seeds=seeds,
            backend=backend,
            repeats=repeats,
        )
    if problems:
        raise ScenarioError("\n".join(problems))
    return _unique(specs)


def with_store(specs: Sequence[RunSpec], store: StoreAt, /) -> list[RunSpec]:
    """The same runs over another store. UsageError where one of them has no use for it, and where
    it does not answer."""
    if store.kind == "sqlite" or not specs:
        return list(specs)
    if any(spec.target is None for spec in specs):
        raise UsageError(
            "a store is for regions that are processes, and the simulator has its own memory",
            value=str(store),
            hint="add --backend process, or leave --store away",
        )
    if any(spec.target is not None and spec.target.containers for spec in specs):
        raise UsageError(
            "regions in containers keep memory in files of their own",
            value=str(store),
            hint="--backend process takes a store; or leave --store away",
        )
    found = check_store(store)
    return [
        replace(s, target=replace(s.target, store=found)) for s in specs if s.target is not None
    ]


def with_toxiproxy(specs: Sequence[RunSpec], how: str, /) -> list[RunSpec]:
    """The same runs with a Toxiproxy server in every line of their regions. UsageError where one of
    them has no lines, and where the server cannot be had."""
    if not how or not specs:
        return list(specs)
    if any(spec.target is None for spec in specs):
        raise UsageError(
            "Toxiproxy is for lines between real processes; the simulator has a network of its own",
            value=how,
            hint="add --backend process, or leave --toxiproxy away",
        )
    check_toxiproxy(how)
    return [
        replace(s, target=replace(s.target, toxiproxy=how)) for s in specs if s.target is not None
    ]


def _unique(specs: list[RunSpec]) -> list[RunSpec]:
    """Each run once; two different files under one name are refused."""
    out: dict[str, RunSpec] = {}
    for spec in specs:
        other = out.setdefault(spec.id, spec)
        if other.scenario_text != spec.scenario_text:
            raise ScenarioError(
                "two different files say that they are the same scenario",
                value=spec.scenario.id,
                hint="give one of them another name",
            )
    return list(out.values())


def specs_of(
    path: Path,
    scenario: Scenario,
    agent: str,
    *,
    contract: str | None = None,
    seeds: Sequence[int] = (),
    planted_for: str = "",
    backend: str = "",
    repeats: int = 3,
) -> list[RunSpec]:
    """The runs of one scenario, one a seed; `planted_for` is the check that must be broken.

    An agent that is a team's file runs on real processes, any other does with `backend`
    "process"; with "docker" the regions of either are containers.
    """
    if is_team_file(agent):
        specs = _team_specs(path, scenario, agent, seeds=seeds, repeats=repeats)
        return [_in_containers(spec) for spec in specs] if backend == "docker" else specs
    workload = find_workload(scenario.workload.use)
    found, raw = find_contract(agent, contract, workload)
    expected = planted_for or ("" if scenario.expect == "valid" else scenario.expect)
    return [
        RunSpec(
            scenario=scenario,
            scenario_text=path.read_text(encoding="utf-8"),
            workload=workload,
            agent=agent,
            contract=found,
            contract_raw=raw,
            seed=seed,
            role="negative-control" if planted_for else "subject",
            expected_check=expected,
            sources=_sources(agent, scenario, found),
            target=_target_of(agent, backend),
            repeats=repeats,
        )
        for seed in (seeds or scenario.schedule.seeds)
    ]


def _target_of(agent: str, backend: str) -> Target | None:
    if backend not in ("process", "docker"):
        return None
    return shim_target(agent, containers=backend == "docker")


def _in_containers(spec: RunSpec) -> RunSpec:
    assert spec.target is not None
    return replace(spec, target=replace(spec.target, containers=True))


def _team_specs(
    path: Path, scenario: Scenario, agent: str, *, seeds: Sequence[int], repeats: int
) -> list[RunSpec]:
    team = load_team(agent)
    folder = Path(agent).resolve().parent
    return [
        RunSpec(
            scenario=over_tasks(scenario, team),
            scenario_text=path.read_text(encoding="utf-8"),
            workload=team.workload,
            agent=agent,
            contract=team.contract,
            contract_raw=team.raw,
            contract_file=str(Path(agent).resolve()),
            seed=seed,
            sources=(_tree_digest(Path(chaoslab.__file__).parent), _team_digest(folder)),
            target=team.target,
            repeats=repeats,
        )
        for seed in (seeds or scenario.schedule.seeds[:1])
    ]


def _sources(agent: str, scenario: Scenario, contract: Contract) -> tuple[str, ...]:
    """What a run depends on beside its scenario and contract: the workload, this package, the
    Python files beside the agent's or of its package, and the files of the team's own checks."""
    workload = resource_path(f"fixtures/workloads/{scenario.workload.use}.toml")
    own = [one for one in contract.invariants if one.check]
    return (
        hashlib.blake2b(workload.read_bytes(), digest_size=8).hexdigest(),
        _tree_digest(Path(chaoslab.__file__).parent),
        _agent_digest(agent),
        *(_digest_of([Path(one.check.rpartition(":")[0])]) for one in own),
    )


def agent_is_here(spec: RunSpec, /) -> bool:
    """Whether the agent's files on this machine are those that a run was planned with elsewhere."""
    _agent_digest.cache_clear()
    return _agent_digest(spec.agent) in spec.sources


@lru_cache(maxsize=256)
def _agent_digest(agent: str) -> str:
    adapter = AgentSource(agent).path
    if adapter is not None:
        return _digest_of(sorted(adapter.parent.glob("*.py")))
    top = agent.partition(":")[0].partition(".")[0]
    found = importlib.util.find_spec(top)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    return "/".join(_tree_digest(Path(f)) for f in folders)


@lru_cache(maxsize=256)
def _tree_digest(folder: Path) -> str:
    """A digest of the Python files below a folder, at most a thousand of them."""
    return _digest_of(sorted(folder.rglob("*.py"))[:_FILES_MAX])


@lru_cache(maxsize=256)
def _team_digest(folder: Path) -> str:
    """A digest of the sources in a team's folder, in whatever language. What tools put there is
    left out: an environment alone has thousands of files, and reports change with each run."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f[0] not in "._" and f not in _NOT_THEIRS)
        found += [Path(root, name) for name in sorted(files) if _SOURCES.fullmatch(name)]
        if len(found) >= _FILES_MAX:
            break
    return _digest_of(found[:_FILES_MAX])


def _digest_of(paths: Sequence[Path]) -> str:
    whole = hashlib.blake2b(digest_size=8)
    for path in paths:
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def contract_notes(specs: Sequence[RunSpec], offers: Collection[str], /) -> list[str]:
    """What looks like a slip in a contract: a tool or an identity field that the workload does not
    have, or a promise for which the agent does not offer the method. Only notes, since a team's
    real agent has tools that a simulated desk has not."""
    notes: dict[str, None] = {}
    if any(s.contract.resume == "self" for s in specs) and "recover" not in offers:
        notes[
            'the contract says resume = "self", and the agent has no `async def recover`: its '
            "tasks are handed out again"
        ] = None
    elsewhere = _all_tools()
    for spec in specs:
        if not spec.contract.given:
            continue
        workload, contract = spec.workload, spec.contract
        undoing = {t.compensate for t in contract.tools.values()}
        for tool in contract.tools.values():
            where = f"contract {contract.name}, tools.{tool.name}"
            if tool.name not in workload.services and tool.name not in elsewhere | undoing:
                near = difflib.get_close_matches(tool.name, list(workload.services), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                notes[f"{where}: the workload {workload.name} has no such tool{hint}"] = None
            plans = [s for k in workload.kinds.values() for s in k.plan if s.tool == tool.name]
            known = {name for step in plans for name in step.args}
            for name in tool.identity_fields:
                if known and name.partition(".")[0] not in known:
                    allowed = ", ".join(sorted(known))
                    notes[f"{where}: no argument {name!r} is ever sent; sent: {allowed}"] = None
    return list(notes)


def _all_tools() -> set[str]:
    """The tools of every packaged workload: one contract may serve several of them."""
    files = resource_path("fixtures/workloads").glob("*.toml")
    return {tool for path in files for tool in find_workload(path.stem).services}


def check_modules(specs: Sequence[RunSpec], /) -> None:
    """Loads every Wasm module that the runs may use; ModuleRefused before anything runs."""
    for spec in specs:
        use = spec.scenario.workload
        for service in spec.workload.services.values():
            if service.wasm:
                load_module(service.wasm, use.wasm.get(service.wasm, "abort"))
