"""Many judged executions at little cost: in memory, without files, many to a request.

A trial is the core of a run: the fault-free execution, the one with faults, and all checks over
both. What a run adds (histories on disk, a repetition in another interpreter, because-chains) is
left out, so that thousands of trials are affordable; whoever finds something in a trial performs
the run of the same scenario and seed to see it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.check import CHECKS, Evidence, judge, without
from chaoslab.core.errors import ChaosError
from chaoslab.faults import place
from chaoslab.history import Nowhere, View
from chaoslab.run.model import RunSpec
from chaoslab.run.own import own_checks
from chaoslab.run.plan import calm, counted, execution_of, limits_in_force, vacuity

_ALONE = without("repeats")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """A request to a worker: these runs, each as a trial."""

    specs: tuple[RunSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one trial ended. `broken` has (check, code, fingerprint, explanation) per breach;
    `idle`: why nothing was proven; `broke`: why no verdict may be read."""

    scenario: str
    seed: int
    ops: int = 0
    broken: tuple[tuple[str, str, str, str], ...] = ()
    idle: str = ""
    broke: str = ""
    shown: tuple[str, ...] = field(default=())  # the checks that looked at something and held

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the way back from a worker."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, raw: dict[str, Any], /) -> Trial:
        """From what `to_json` gave."""
        broken = tuple(tuple(row) for row in raw["broken"])
        return cls(**{**raw, "broken": broken, "shown": tuple(raw["shown"])})


def try_all(specs: Sequence[RunSpec], /) -> list[dict[str, Any]]:
    """Each run as a trial, in order, as JSON."""
    return [trial(spec).to_json() for spec in specs]


def trial(spec: RunSpec, /) -> Trial:
    """One trial in this interpreter."""
    named = Trial(scenario=spec.scenario.id, seed=spec.seed)
    try:
        return _trial(spec, named)
    except ChaosError as error:
        return _with(named, broke=str(error))


def _with(named: Trial, **found: Any) -> Trial:
    return Trial(scenario=named.scenario, seed=named.seed, **found)


def _trial(spec: RunSpec, named: Trial) -> Trial:
    quiet = simulate(execution_of(spec, calm(spec.scenario), ()), Nowhere())
    if quiet.broke:
        return _with(named, broke=f"the fault-free execution: {quiet.broke}")
    contract, limits = merged_contract(spec.contract, spec.workload), limits_in_force(spec)
    own = own_checks(spec.contract)
    control = View(quiet.ops)
    calm_evidence = Evidence(history=control, contract=contract, limits=limits)
    alone = judge(calm_evidence, checks=(*CHECKS, *own))
    if alone.violations:
        return _with(named, ops=len(control), broken=_rows(alone.violations))
    placed = place(spec.scenario.faults, quiet.sites, contract)
    struck = simulate(execution_of(spec, spec.scenario, placed), Nowhere())
    if struck.broke:
        return _with(named, broke=f"the execution with faults: {struck.broke}")
    view = View(struck.ops)
    evidence = Evidence(history=view, contract=contract, limits=limits, control=control)
    judgement = judge(evidence, checks=(*_ALONE, *own))
    fired = {str(number): count for number, count in struck.fired.items()}
    return _with(
        named,
        ops=len(view),
        broken=_rows(judgement.violations),
        idle=vacuity(spec.scenario, counted(placed, fired), view),
        shown=tuple(f.check for f in judgement.findings if f.verdict == "valid"),
    )


def _rows(violations: Sequence[Any]) -> tuple[tuple[str, str, str, str], ...]:
    return tuple((v.check, v.code, v.fingerprint, v.explanation) for v in violations)
