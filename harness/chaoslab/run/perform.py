"""One run: without faults, with them, once more elsewhere, then the checks over all of it.

The fault-free execution must hold; it also says which sites there are. Where a scenario plans no
fault (a race, a duplicate delivery), its calm form, one task after the other, is what the result
is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.sim import merged_contract
from chaoslab.check import because, judge, recovery_ms
from chaoslab.check.model import Evidence
from chaoslab.contract import DEFAULT_LIMITS, Limits
from chaoslab.core.clock import monotonic_ms
from chaoslab.faults import Placed, Site, place
from chaoslab.history import Stored, View, read
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.workers import Workers
from chaoslab.scenario import Scenario

_CHAINS_MAX = 20
# An execution that records more than this has run away; a task needs some 50 entries.
OPS_BASE, OPS_PER_TASK = 10_000, 1_000


def limits_in_force(spec: RunSpec, /) -> Limits:
    """The contract's numbers over the scenario's over the defaults: nobody fails for having
    promised something else."""
    return spec.contract.limits.over(spec.scenario.limits.over(DEFAULT_LIMITS))


def calm(scenario: Scenario, /) -> Scenario:
    """The scenario without faults; without faults of its own, also without its races."""
    quiet = replace(scenario, faults=())
    if scenario.faults:
        return quiet
    return replace(quiet, workload=replace(scenario.workload, concurrent=False, deliveries=1))


def perform(spec: RunSpec, workers: Workers, folder: Path, /) -> RunRecord:
    """Performs a run and leaves its histories in `folder`."""
    began = monotonic_ms()
    record = RunRecord(spec=spec)
    try:
        _perform(spec, workers, folder, record)
    finally:
        record.wall_ms = monotonic_ms() - began
    return record


def _perform(spec: RunSpec, workers: Workers, folder: Path, record: RunRecord) -> None:
    control = _execute(spec, calm(spec.scenario), (), workers, folder / "control.jsonl", "first")
    if not _took(record, control, "the fault-free execution"):
        return
    record.control_digest = control["digest"]
    sites = [Site(**s) for s in control["sites"]]
    contract = merged_contract(spec.contract, spec.workload)
    placed = place(spec.scenario.faults, sites, contract)
    record.faults = _counted(placed, {})
    control_view = View(read(folder / "control.jsonl").ops)
    limits = limits_in_force(spec)
    alone = judge(Evidence(history=control_view, contract=contract, limits=limits))
    record.control_violations = tuple(
        replace(v, where="control") for f in alone.findings for v in f.violations
    )
    if record.control_violations:
        # What is broken without any fault is not worth striking; its words come first.
        record.verdict = "invalid"
        record.digest, record.ops = control["digest"], control["ops"]
        _explain(record, control_view)
        return
    struck = _execute(spec, spec.scenario, placed, workers, folder / "fault.jsonl", "first")
    if not _took(record, struck, "the execution with faults"):
        return
    (folder / "choices.json").write_text(
        json.dumps({"format": 1, "choices": struck["choices"]}, indent=0, sort_keys=True)
    )
    record.faults = _counted(placed, struck["fired"])
    record.digest, record.ops = struck["digest"], struck["ops"]
    repeat = _execute(spec, spec.scenario, placed, workers, folder / "repeat.jsonl", "repeat")
    if not _took(record, repeat, "the repetition"):
        return
    stored = read(folder / "fault.jsonl")
    again = read(folder / "repeat.jsonl")
    record.differs = difference(stored, again)
    if not record.differs:
        (folder / "repeat.jsonl").unlink()  # the same bytes as fault.jsonl
    _judge(record, contract, limits, View(stored.ops), control_view, View(again.ops))


def _judge(
    record: RunRecord, contract: Any, limits: Limits, view: View, control: View, again: View
) -> None:
    evidence = Evidence(
        history=view, contract=contract, limits=limits, control=control, repeats=(again,)
    )
    judgement = judge(evidence)
    record.findings = judgement.findings
    record.attempts_max = max(
        (op.attempt for op in view if op.type == "invoke" and op.f.startswith(("tools.", "wasm."))),
        default=0,
    )
    record.recovery_ms = recovery_ms(view)
    record.vacuous = vacuity(record, view)
    _explain(record, view)
    if any(f.verdict == "invalid" for f in judgement.findings):
        record.verdict = "invalid"
    elif record.vacuous or record.differs or judgement.verdict != "valid":
        record.verdict = "unknown"
    else:
        record.verdict = "valid"


def _explain(record: RunRecord, view: View) -> None:
    for violation in record.violations:
        if violation.fingerprint not in record.because and len(record.because) < _CHAINS_MAX:
            record.because[violation.fingerprint] = because(view, violation)


def _execute(
    spec: RunSpec,
    scenario: Scenario,
    placed: tuple[Placed, ...],
    workers: Workers,
    path: Path,
    group: str,
) -> dict[str, Any]:
    # A recording belongs to the execution with faults; the one without follows the seed.
    choices = spec.choices if scenario is spec.scenario else None
    if choices is None and scenario.schedule.choices:
        choices = scenario.schedule.choices
    execution = ExecutionSpec(
        scenario=scenario,
        workload=spec.workload,
        contract=spec.contract,
        agent=spec.agent,
        seed=spec.seed,
        placed=placed,
        choices=choices,
        ops_max=OPS_BASE + OPS_PER_TASK * scenario.workload.sessions * scenario.workload.tasks,
    )
    header = {"scenario": scenario.id, "agent": spec.agent, "seed": spec.seed}
    return workers.execute(execution, path, header, group)


def _took(record: RunRecord, result: dict[str, Any], which: str) -> bool:
    """Notes what an execution printed and why it broke; whether it can be read."""
    record.notes = (*record.notes, *result.get("notes", ()))
    record.output += result.get("printed", "")
    if result["broke"]:
        record.broke = f"{which}: {result['broke']}"
        return False
    return True


def _counted(placed: tuple[Placed, ...], fired: dict[str, int]) -> dict[str, int]:
    planned = sum(max(1, len(p.sites)) for p in placed)
    hits = sum(fired.values())
    return {
        "planned": planned,
        "eligible": max(sum(p.eligible for p in placed), hits),
        "fired": hits,
    }


def vacuity(record: RunRecord, view: View, /) -> str:
    """Why a run proves nothing, in words; "" where it does."""
    planned, fired = record.faults["planned"], record.faults["fired"]
    if fired < planned:
        hit = {op.get("fault") for op in view.named("nemesis.strike")}
        missed = [f for n, f in enumerate(record.spec.scenario.faults) if n not in hit]
        words = "; ".join(f.where() for f in missed) or "some of its sites"
        return f"never struck: {words} (the agent made no such call)"
    if not any(op.type == "commit" and op.f.startswith("tools.") for op in view):
        return "no effect was committed"
    if not view.named("task.submit"):
        return "no task was handed out"
    return ""


def difference(one: Stored, other: Stored, /) -> str:
    """The first entry in which two histories differ, in words; "" where they are the same."""
    if one.digest == other.digest:
        return ""
    for left, right in zip(one.ops, other.ops, strict=False):
        if left != right:
            return f"entry {left.index} ({left.f}): {_fields(left.to_json(), right.to_json())}"
    return f"one execution has {len(one.ops)} entries, the other {len(other.ops)}"


def _fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The fields in which two entries differ, the innermost names, with both values."""
    told = []
    for name in sorted(one.keys() | other.keys()):
        left, right = one.get(name), other.get(name)
        if left == right:
            continue
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            told.append(f"{name}: {_fields(left, right)}")
        else:
            told.append(f"{name} was {str(left)[:120]} and is {str(right)[:120]}")
    return "; ".join(told[:4])
