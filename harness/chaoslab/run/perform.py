"""One run: without faults, with them, once more elsewhere, then the checks over all of it.

The fault-free execution must hold; it also says which sites there are. Where a scenario plans no
fault (a race, a duplicate delivery), its calm form, one task after the other, is what the result
is compared with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaoslab.backends.common import merged_contract
from chaoslab.check import Finding, because, judge, overall, recovery_ms
from chaoslab.check.model import Evidence
from chaoslab.core.clock import monotonic_ms
from chaoslab.faults import Placed, Site, place
from chaoslab.history import Stored, View, read
from chaoslab.run.live import perform_live
from chaoslab.run.masking import mask_for
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.plan import calm, counted, execution_of, limits_in_force, vacuity
from chaoslab.run.usage import usage
from chaoslab.run.workers import Workers
from chaoslab.scenario import Scenario

_CHAINS_MAX = 20


def perform(spec: RunSpec, workers: Workers, folder: Path, /) -> RunRecord:
    """Performs a run and leaves its histories in `folder`."""
    began = monotonic_ms()
    record = RunRecord(spec=spec)
    try:
        _perform(spec, workers, folder, record)
    finally:
        record.wall_ms = monotonic_ms() - began
    record.mask = mask_for(spec.contract, folder)
    return record


def _perform(spec: RunSpec, workers: Workers, folder: Path, record: RunRecord) -> None:
    if spec.target is not None:
        perform_live(spec, workers, folder, record)
        return
    control = _execute(spec, calm(spec.scenario), (), workers, folder / "control.jsonl", "first")
    if not record.took(control, "the fault-free execution"):
        return
    record.control_digest = control["digest"]
    sites = [Site(**s) for s in control["sites"]]
    contract = merged_contract(spec.contract, spec.workload)
    placed = place(spec.scenario.faults, sites, contract)
    record.faults = counted(placed, {})
    control_view = View(read(folder / "control.jsonl").ops)
    limits = limits_in_force(spec)
    alone = judge(Evidence(history=control_view, contract=contract, limits=limits))
    own = workers.judge_own(spec, folder / "control.jsonl")
    record.control_violations = tuple(
        v for f in record.counting((*alone.findings, *own), where="control") for v in f.violations
    )
    if record.control_violations:
        # What is broken without any fault is not worth striking; its words come first.
        record.verdict = "invalid"
        record.digest, record.ops = control["digest"], control["ops"]
        _explain(record, control_view)
        return
    struck = _execute(spec, spec.scenario, placed, workers, folder / "fault.jsonl", "first")
    if not record.took(struck, "the execution with faults"):
        return
    (folder / "choices.json").write_text(
        json.dumps({"format": 1, "choices": struck["choices"]}, indent=0, sort_keys=True)
    )
    record.faults = counted(placed, struck["fired"])
    record.digest, record.ops = struck["digest"], struck["ops"]
    repeat = _execute(spec, spec.scenario, placed, workers, folder / "repeat.jsonl", "repeat")
    if not record.took(repeat, "the repetition"):
        return
    stored = read(folder / "fault.jsonl")
    again = read(folder / "repeat.jsonl")
    record.differs = difference(stored, again)
    if not record.differs:
        (folder / "repeat.jsonl").unlink()  # the same bytes as fault.jsonl
    own = workers.judge_own(
        spec,
        folder / "fault.jsonl",
        control=folder / "control.jsonl",
        repeat=folder / ("repeat.jsonl" if record.differs else "fault.jsonl"),
    )
    evidence = Evidence(
        history=View(stored.ops),
        contract=contract,
        limits=limits,
        control=control_view,
        repeats=(View(again.ops),),
    )
    _conclude(record, (*judge(evidence).findings, *own), evidence.history)


def _conclude(record: RunRecord, findings: tuple[Finding, ...], view: View) -> None:
    record.findings = record.counting(findings)
    record.tools = usage(view)
    record.attempts_max = max(
        (op.attempt for op in view if op.type == "invoke" and op.f.startswith(("tools.", "wasm."))),
        default=0,
    )
    record.recovery_ms = recovery_ms(view)
    record.vacuous = vacuity(record.spec.scenario, record.faults, view)
    _explain(record, view)
    verdict = overall(f.verdict for f in record.findings)
    if verdict == "valid" and (record.vacuous or record.differs):
        verdict = "unknown"
    assert verdict != "not-applicable"
    record.verdict = verdict


def _explain(record: RunRecord, view: View) -> None:
    for violation in record.told:
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
    execution = execution_of(spec, scenario, placed)
    header = {"scenario": scenario.id, "agent": spec.agent, "seed": spec.seed}
    return workers.execute(execution, path, header, group)


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
