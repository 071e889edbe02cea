"""A run on real processes: recorded, not deterministic, so proven by repetition.

The execution without faults says which sites there are, as in the simulator. The one with faults
is then done several times, and each is judged with the others as its repeats. What one of them
proves broken from a ledger is broken; that others held does not make it a flaw of the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.common import merged_contract
from chaoslab.check import Finding, because, judge, overall, recovery_ms
from chaoslab.check.candidates import candidates
from chaoslab.check.model import Evidence
from chaoslab.contract import Contract
from chaoslab.faults import Placed, Site, place
from chaoslab.faults.plan import matches
from chaoslab.history import View, read
from chaoslab.run.expressible import expressible
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.plan import ASKING, calm, counted, execution_of, limits_in_force, vacuity
from chaoslab.run.usage import usage
from chaoslab.run.workers import Workers
from chaoslab.scenario import Scenario

_CHAINS_MAX: Final = 20
_MACHINE_MS: Final = 1_000  # of real time, on a machine that is busy
_WORST: Final = ("invalid", "unknown", "valid", "not-applicable")


def perform_live(spec: RunSpec, workers: Workers, folder: Path, record: RunRecord) -> None:
    """Performs a run on real processes and leaves its histories in `folder`."""
    record.not_applicable = meaningless(spec)
    if record.not_applicable:
        record.verdict = "not-applicable"
        return
    path = folder / "control.jsonl"
    control = _execute(spec, calm(spec.scenario), (), workers, path)
    if not record.took(control, "the fault-free execution"):
        return
    record.control_digest = control["digest"]
    contract = forgiving(spec)
    sites = [Site(**s) for s in control["sites"]]
    placed = place(spec.scenario.faults, sites, contract)
    record.faults = counted(placed, {})
    view = View(read(path).ops)
    record.broke = miswired(view, contract)
    if record.broke:
        return
    limits = limits_in_force(spec)
    alone = judge(Evidence(history=view, contract=contract, limits=limits, recorded=True))
    own = workers.judge_own(spec, path)
    record.control_violations = tuple(
        v for f in record.counting((*alone.findings, *own), where="control") for v in f.violations
    )
    if record.control_violations:
        record.verdict = "invalid"
        record.digest, record.ops = control["digest"], control["ops"]
        _explain(record, {"control": view})
        return
    if not asked_for(view):
        record.broke = (
            "the fault-free execution: the agent ended its tasks without asking the lab for "
            "anything; either it does not use the addresses in its environment, or state of an "
            "earlier run is still there; next: see `env`, `reset` and {state} in [agent]"
        )
        return
    # Where the model had nothing to say, what the agent would have called is not known.
    if not view.named("model.departed"):
        record.not_applicable = unreachable(spec, placed, sites)
    if record.not_applicable:
        record.verdict = "not-applicable"
        record.digest, record.ops = control["digest"], control["ops"]
        return
    _strike(spec, workers, folder, record, placed, view)


def _strike(
    spec: RunSpec,
    workers: Workers,
    folder: Path,
    record: RunRecord,
    placed: tuple[Placed, ...],
    control: View,
) -> None:
    contract, limits = forgiving(spec), limits_in_force(spec)
    views: dict[str, View] = {}
    struck: list[Mapping[str, Any]] = []
    for number in range(spec.repeats + 1):
        where = "fault" if number == 0 else f"repeat-{number}"
        path = folder / f"{where}.jsonl"
        told = _execute(spec, spec.scenario, placed, workers, path)
        if not record.took(told, "the execution with faults"):
            break
        views[where] = View(read(path).ops)
        struck.append(told)
    # What the fault-free execution left is there in each that follows it; an agent that did
    # nothing in one of them alone is wrong, and is judged.
    leaks = [leaked(control, view) for view in views.values()]
    if all(leaks):  # also where no execution could be done
        record.broke = record.broke or leaks[0]
        return
    record.digest, record.ops = struck[0]["digest"], struck[0]["ops"]
    record.faults = counted(placed, struck[0]["fired"])
    findings: list[Sequence[Finding]] = []
    for where, view in views.items():
        evidence = Evidence(
            history=view,
            contract=contract,
            limits=limits,
            control=control,
            repeats=tuple(v for name, v in views.items() if name != where),
            recorded=True,
        )
        own = workers.judge_own(spec, folder / f"{where}.jsonl", control=folder / "control.jsonl")
        findings.append([_placed(f, where) for f in (*judge(evidence).findings, *own)])
    record.findings = record.counting(merged(findings))
    if record.broke and not record.violations:
        record.findings = ()
        return
    advice = candidates((control, *views.values()), contract)
    record.advice = tuple(one.to_json() for one in advice)
    _conclude(record, views, [counted(placed, told["fired"]) for told in struck])


def _conclude(
    record: RunRecord, views: Mapping[str, View], faults: Sequence[Mapping[str, int]]
) -> None:
    left = ""
    if record.broke:  # what the executions before it proved stays proven, and nothing else is
        left = f"judged without what could not be done: {record.broke}"
        record.notes, record.broke = (*record.notes, left), ""
    first = views["fault"]
    record.attempts_max = max(
        (op.attempt for op in first if op.type == "invoke" and op.f.startswith("tools.")),
        default=0,
    )
    record.recovery_ms = recovery_ms(first)
    record.tools = usage(first)
    # Each execution counts its own strikes: one that was not struck held against nothing.
    pairs = zip(faults, views.values(), strict=True)
    empty = [vacuity(record.spec.scenario, hits, view) for hits, view in pairs]
    record.vacuous = next(filter(None, empty), left)
    _explain(record, views)
    verdict = overall(f.verdict for f in record.findings)
    if verdict == "valid" and record.vacuous:
        verdict = "unknown"
    assert verdict != "not-applicable"
    record.verdict = verdict


def merged(findings: Sequence[Sequence[Finding]], /) -> tuple[Finding, ...]:
    """One finding per check out of those of all repetitions: the worst verdict counts, and each
    bug stands once, where it was seen first."""
    out = []
    for group in zip(*findings, strict=True):
        worst = min(group, key=lambda f: _WORST.index(f.verdict))
        known: dict[str, Any] = {}
        for finding in group:
            for violation in finding.violations:
                known.setdefault(violation.fingerprint, violation)
        seen = sum(f.verdict == worst.verdict for f in group)
        reason = worst.reason
        if worst.verdict in ("invalid", "unknown") and seen < len(group):
            reason = f"{reason} (in {seen} of {len(group)} executions)"
        out.append(replace(worst, violations=tuple(known.values()), reason=reason))
    return tuple(out)


def _placed(finding: Finding, where: str) -> Finding:
    return replace(finding, violations=tuple(replace(v, where=where) for v in finding.violations))


def _explain(record: RunRecord, views: Mapping[str, View]) -> None:
    for violation in record.told:
        if violation.fingerprint not in record.because and len(record.because) < _CHAINS_MAX:
            chain = because(views[violation.where], violation)
            record.because[violation.fingerprint] = chain


def miswired(view: View, contract: Contract, /) -> str:
    """What is wrong with the team's file or its services rather than with the agent, as the
    fault-free execution shows it; "" where nothing is."""
    for op in view.ops:
        data = op.get("data") if op.type == "fail" else None
        body = data.get("body") if isinstance(data, Mapping) else None
        error = body.get("error") if isinstance(body, Mapping) else None
        if isinstance(error, Mapping) and error.get("code") == "unreachable":
            return (
                f"the fault-free execution: {error.get('message')}; next: start it, or let the "
                "lab do so (`start` in [services.NAME])"
            )
    asked = {op.f for op in view.ops if op.type == "invoke"}
    done = {op.f for op in view.ops if op.type == "commit"}
    for tool in contract.tools.values():
        service = tool.match.partition(" ")[2].partition("/")[0]
        name = f"tools.{tool.name}"
        others = [
            op.marker
            for op in view.named("network.request")
            if op.type == "invoke" and op.get("service") == service
        ]
        if tool.match and name in done and name not in asked and others:
            seen = ", ".join(dict.fromkeys(others[:3]))
            return (
                f"the fault-free execution: {tool.name} has effects, and no request fits its "
                f"match {tool.match!r}; seen: {seen}; next: mend `match` of [tools.{tool.name}]"
            )
    return ""


def asked_for(view: View, /) -> set[str]:
    """The tasks for which anything was asked; "" stands for requests of no known task."""
    return {op.task for op in view if op.type == "invoke" and op.f.startswith(ASKING)}


def leaked(control: View, view: View, /) -> str:
    """Whether an agent knew of an earlier execution, in words; "" where it did not.

    Until the first strike everything is as without faults. A task that then asked for something
    and now was completed without a single request had been done before.
    """
    before, now = asked_for(control), asked_for(view)
    strikes = view.named("nemesis.strike")
    first = strikes[0].index if strikes else len(view)
    for op in view.named("task.outcome"):
        known = op.task in before and op.task not in now and "" not in now
        if op.index < first and known and op.get("status") == "completed":
            return (
                f"state of an earlier execution is still there: {op.task} was completed at once, "
                "without a request, and in the fault-free execution it made some; next: let "
                "[agent] keep its state below {state}, or name a `reset` command"
            )
    return ""


def forgiving(spec: RunSpec, /) -> Contract:
    """The contract in force. Where the lab's clock is faster than the wall's, what the machine
    itself takes counts many times; nobody is accused of that."""
    contract, target = merged_contract(spec.contract, spec.workload), spec.target
    if target is None or target.speed == 1 or contract.capacity is None:
        return contract
    within_ms = contract.capacity.defer_within_ms + _MACHINE_MS * target.speed
    return replace(contract, capacity=replace(contract.capacity, defer_within_ms=within_ms))


def meaningless(spec: RunSpec, /) -> str:
    """Why a run's scenario cannot be said on real processes at all; "" where it can."""
    assert spec.target is not None
    return expressible(spec.scenario, spec.contract, spec.target)


def unreachable(spec: RunSpec, placed: Sequence[Placed], sites: Sequence[Site], /) -> str:
    """Why the faults of a scenario strike nothing of this agent; "" where they do."""
    if not placed or any(p.eligible or p.fault.attempt > 1 for p in placed):
        return ""
    contract = merged_contract(spec.contract, spec.workload)
    for one in placed:
        # One session, task or marker only: the agent may well call the place, for another.
        first = replace(one.fault, attempt=1, session="", task="", marker="")
        if any(matches(first, site, contract) for site in sites):
            return ""
    names = ", ".join(dict.fromkeys(p.fault.at for p in placed))
    return f"the agent never calls {names}"


def _execute(
    spec: RunSpec,
    scenario: Scenario,
    placed: tuple[Placed, ...],
    workers: Workers,
    path: Path,
) -> dict[str, Any]:
    execution = execution_of(spec, scenario, placed)
    header = {
        "scenario": scenario.id,
        "agent": spec.agent,
        "seed": spec.seed,
        "recorded": True,
    }
    return workers.execute(execution, path, header, "first")
