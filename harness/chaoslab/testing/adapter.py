"""Proves an adapter: that the lab drives the agent that you mean, and that what it sees repeats.

This is not a verdict on the agent. It shows that a verdict can be had: the agent is found, acts
through the world, ends its tasks, comes back after a crash, and does the same thing again from the
same choices in an interpreter that orders its sets in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chaoslab.adapters import AgentSource
from chaoslab.core.errors import ChaosError
from chaoslab.faults import Fault, Site, place
from chaoslab.history import View, read
from chaoslab.run.model import RunSpec
from chaoslab.run.perform import difference
from chaoslab.run.plan import calm, execution_of
from chaoslab.run.select import scenario_files, specs_for
from chaoslab.run.workers import Workers
from chaoslab.testing.proof import Proof, Step
from chaoslab.world.api import Releasable, Resumable

_CALM = "matrix/timeout-after-commit"


def prove_adapter(
    agent: str, /, *, contract: str | None = None, scenario: str = _CALM, seed: int = 0
) -> Proof:
    """Tries an agent, named as on the command line, with the workload of a scenario.

    UsageError or ContractError where scenario or contract cannot be read.
    """
    spec = specs_for(scenario_files([scenario]), agent, contract=contract, seeds=[seed])[0]
    workers = Workers()
    try:
        with TemporaryDirectory(prefix="chaoslab-") as folder:
            steps = tuple(_steps(spec, workers, Path(folder)))
    finally:
        workers.close()
    return Proof(of=f"adapter {agent}", steps=steps)


def _steps(spec: RunSpec, workers: Workers, folder: Path) -> Iterator[Step]:
    try:
        workers.try_loading(spec.agent)
    except ChaosError as error:
        yield Step(name="is found and has the shape of an agent", seen=str(error), ok=False)
        return
    yield Step(name="is found and has the shape of an agent", seen=spec.agent, ok=True)
    yield _capabilities(spec)
    quiet = replace(spec, scenario=calm(spec.scenario))
    result = _execute(quiet, (), workers, folder / "calm.jsonl", "first")
    if result["broke"]:
        yield Step(name="runs without faults", seen=result["broke"], ok=False)
        return
    view = View(read(folder / "calm.jsonl").ops)
    yield _ends(view, "ends every task without faults")
    yield _acts(view)
    yield _repeats(quiet, workers, folder)
    sites = [Site(**raw) for raw in result["sites"]]
    for name, kind, phase in (
        ("comes back after a crash", "crash", "after-commit"),
        ("outlives a lost reply", "silence", "after-commit"),
    ):
        yield _struck(quiet, sites, workers, folder / f"{kind}.jsonl", name, kind, phase)


def _execute(
    spec: RunSpec, placed: tuple[Any, ...], workers: Workers, path: Path, group: str
) -> dict[str, Any]:
    header = {"scenario": spec.scenario.id, "agent": spec.agent, "seed": spec.seed}
    return workers.execute(execution_of(spec, spec.scenario, placed), path, header, group)


def _capabilities(spec: RunSpec) -> Step:
    """What it offers beside the three methods, against what the contract counts on."""
    name = "offers what the contract counts on"
    try:
        made = AgentSource(spec.agent).create()
    except ChaosError as error:
        return Step(name=name, seen=str(error), ok=False)
    if spec.contract.resume == "self" and not isinstance(made, Resumable):
        return Step(
            name=name,
            seen='resume = "self" is promised and there is no `async def recover`; write one, or '
            'promise resume = "redelivery"',
            ok=False,
        )
    if spec.scenario.operator and not isinstance(made, Releasable):
        return Step(name=name, seen="the operator has no `async def release` to call", ok=False)
    return Step(name=name, seen=f"resume = {spec.contract.resume}", ok=True)


def _ends(view: View, name: str) -> Step:
    handed = {op.task for op in view.named("task.submit")}
    ended = {op.task for op in view.named("task.outcome") if op.get("status") != "deferred"}
    open_tasks = sorted(handed - ended)
    seen = f"without an outcome: {', '.join(open_tasks)}" if open_tasks else f"{len(ended)} tasks"
    return Step(name=name, seen=seen, ok=bool(handed) and not open_tasks)


def _acts(view: View) -> Step:
    effects = [op for op in view if op.type == "commit" and op.f.startswith("tools.")]
    seen = f"{len(effects)} effects"
    if not effects:
        seen = "no tool was ever asked: what the agent does elsewhere cannot be judged"
    return Step(name="acts through world.tools", seen=seen, ok=bool(effects))


def _repeats(spec: RunSpec, workers: Workers, folder: Path) -> Step:
    name = "does the same from the same choices, elsewhere"
    result = _execute(spec, (), workers, folder / "again.jsonl", "repeat")
    if result["broke"]:
        return Step(name=name, seen=result["broke"], ok=False)
    first, again = read(folder / "calm.jsonl"), read(folder / "again.jsonl")
    differs = difference(first, again)
    return Step(name=name, seen=differs or f"{len(again.ops)} equal entries", ok=not differs)


def _struck(
    spec: RunSpec,
    sites: list[Site],
    workers: Workers,
    path: Path,
    name: str,
    kind: str,
    phase: str,
) -> Step:
    first = next((s for s in sites if s.port.startswith("tools.")), None)
    if first is None:
        return Step(name=name, seen="there is no tool call to strike", ok=False)
    fault = Fault(at=first.port, phase=phase, kind=kind, task=first.task, marker=first.marker)
    placed = place([fault], sites, spec.contract)
    result = _execute(spec, placed, workers, path, "first")
    if result["broke"]:
        return Step(name=name, seen=result["broke"], ok=False)
    step = _ends(View(read(path).ops), name)
    struck = sum(result["fired"].values())
    return replace(step, ok=step.ok and struck == 1, seen=f"struck {struck} time, {step.seen}")
