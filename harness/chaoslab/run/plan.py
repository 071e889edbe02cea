"""What a run consists of, as pure functions of its specification: the fault-free form of a
scenario, the limits in force, one execution, and whether anything was proven at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chaoslab.backends.api import ExecutionSpec
from chaoslab.contract import DEFAULT_LIMITS, Limits
from chaoslab.faults import NONE, Fault, Placed
from chaoslab.history import View
from chaoslab.run.model import RunSpec
from chaoslab.scenario import Scenario

# An execution that records more than this has run away; a task needs some 50 entries.
OPS_BASE, OPS_PER_TASK = 10_000, 1_000
ASKING = ("tools.", "model.", "network.", "wasm.")


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


def execution_of(spec: RunSpec, scenario: Scenario, placed: tuple[Placed, ...], /) -> ExecutionSpec:
    """One execution of a run: of its scenario, or of the scenario's calm form."""
    # A recording belongs to the execution with faults; the one without follows the seed.
    choices = spec.choices if scenario is spec.scenario else None
    if choices is None:
        choices = scenario.schedule.choices
    return ExecutionSpec(
        scenario=scenario,
        workload=spec.workload,
        contract=spec.contract,
        agent=spec.agent,
        seed=spec.seed,
        placed=placed,
        choices=choices,
        target=spec.target,
        ops_max=OPS_BASE + OPS_PER_TASK * scenario.workload.sessions * scenario.workload.tasks,
    )


def counted(placed: Sequence[Placed], fired: Mapping[str, int], /) -> dict[str, int]:
    """How many strikes were planned, were possible, and happened."""
    planned = sum(max(p.fault.times, len(p.sites)) for p in placed)
    hits = sum(fired.values())
    return {
        "planned": planned,
        "eligible": max(sum(p.eligible for p in placed), hits),
        "fired": hits,
    }


def vacuity(scenario: Scenario, faults: Mapping[str, int], view: View, /) -> str:
    """Why a run proves nothing, in words; "" where it does."""
    left = view.named("model.departed")
    if left:  # then a fault that found no site is only what followed
        return f"the model had nothing to say: {left[0].get('words')}"
    planned, fired = faults["planned"], faults["fired"]
    if fired < planned:
        hit = {op.get("fault") for op in view.named("nemesis.strike")}
        missed = [f for n, f in enumerate(scenario.faults) if n not in hit]
        return f"never struck: {_missed(missed or scenario.faults, view)}"
    if not any(op.type == "commit" and op.f.startswith("tools.") for op in view):
        return "no effect was committed"
    if not view.named("task.submit"):
        return "no task was handed out"
    return _unasked(view)


def _missed(faults: Sequence[Fault], view: View) -> str:
    """Where faults did not strike, and why: those with the same reason together."""
    whys: dict[str, list[str]] = {}
    for fault in faults:
        whys.setdefault(_why_missed(fault, view), []).append(fault.where())
    return "; ".join(f"{'; '.join(places)} ({why})" for why, places in whys.items())


def _why_missed(fault: Fault, view: View) -> str:
    """Why a fault did not strike, as far as the history tells.

    A call that was made may have ended before it came to the phase: a service refused it, or a tool
    gave the answer that it had given before. What a role names only the contract knows, so of that
    no more is said than that there was no call to such a service at all.
    """
    group, role, _ = fault.at.partition(":")
    wanted = range(fault.attempt, fault.attempt + fault.times)
    made = {
        op.attempt
        for op in view
        if op.type == "invoke"
        and (op.f.startswith(f"{group}.") if role else op.f == fault.at)
        and op.attempt in wanted
        and fault.session in ("", op.session or NONE)
        and fault.task in ("", op.task or NONE)
        and fault.marker in ("", op.marker or NONE)
    }
    if not made:
        return "the agent made no such call"
    if len(made) < len(wanted):
        return "the agent made no such call so often"
    if role:
        return "no such call was made, or none came to this phase"
    return "the call was made, and did not come to this phase"


def _unasked(view: View) -> str:
    """The tasks that ended as completed although nothing was ever asked for them.

    A request of no task may have been for any that was open then.
    """
    asks = [op for op in view if op.type == "invoke" and op.f.startswith(ASKING)]
    asked = {op.task for op in asks}
    nobodys = [op.index for op in asks if not op.task]
    begun: dict[str, int] = {}
    for op in view.named("task.submit"):
        begun.setdefault(op.task, op.index)
    idle = {
        op.task
        for op in view.named("task.outcome")
        if op.get("status") == "completed"
        and op.get("counted") is not False
        and op.task not in asked
        and not any(begun.get(op.task, 0) < index < op.index for index in nobodys)
    }
    if not idle:
        return ""
    names = ", ".join(sorted(idle)[:3]) + (" and more" if len(idle) > 3 else "")
    return f"completed, and nothing was ever asked for it: {names}"
