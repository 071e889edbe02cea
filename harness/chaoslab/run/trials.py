"""Many judged executions at little cost: in memory, without files, many to a request.

A trial is the core of a run: the fault-free execution, the one with faults, and all checks over
both. What a run adds (histories on disk, a repetition in another interpreter, because-chains) is
left out, so that thousands of trials are affordable; whoever finds something in a trial performs
the run of the same scenario and seed to see it whole.

>>> fault = Fault(at="memory.read", phase="before-send", kind="silence", task="-", marker="a")
>>> site_of(fault)
Site(session='', task='', port='memory.read', marker='a', attempt=1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chaoslab.backends.api import ExecutionEnd
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.check import CHECKS, Evidence, Violation, judge, recovery_ms, without
from chaoslab.core.clock import monotonic_ns
from chaoslab.core.errors import ChaosError
from chaoslab.faults import NONE, Fault, Placed, Site, lasting, place
from chaoslab.history import Nowhere, View, Writer
from chaoslab.run.model import RunSpec
from chaoslab.run.own import own_checks
from chaoslab.run.plan import calm, counted, execution_of, limits_in_force, vacuity

ALONE = without("repeats")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """A request to a worker: these runs, each as a trial. `whole`: with what shrinking needs."""

    specs: tuple[RunSpec, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one trial ended. `broken` has (check, code, fingerprint, explanation) per breach;
    `idle`: why nothing was proven; `broke`: why no verdict may be read.

    `spent_us` is wall time by what used it. Only where the trial was asked for whole: the sites of
    both executions, and of the one with faults the decisions and the history's digest.
    """

    scenario: str
    seed: int
    ops: int = 0
    broken: tuple[tuple[str, str, str, str], ...] = ()
    idle: str = ""
    broke: str = ""
    shown: tuple[str, ...] = field(default=())  # the checks that looked at something and held
    fired: int = 0
    recovery_ms: int | None = None
    spent_us: Mapping[str, int] = field(default_factory=dict)
    control_sites: tuple[Site, ...] = ()
    sites: tuple[Site, ...] = ()
    choices: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the way back from a worker."""
        raw = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("control_sites", "sites"):
            raw[name] = [asdict(site) for site in raw[name]]
        return raw

    @classmethod
    def from_json(cls, raw: dict[str, Any], /) -> Trial:
        """From what `to_json` gave."""
        broken = tuple(tuple(row) for row in raw["broken"])
        sites = {n: tuple(Site(**one) for one in raw[n]) for n in ("control_sites", "sites")}
        return cls(**{**raw, **sites, "broken": broken, "shown": tuple(raw["shown"])})


class Spent:
    """Adds up wall time by what used it, in microseconds."""

    def __init__(self) -> None:
        self.us = {"agent": 0, "world": 0, "checks": 0}
        self._began = monotonic_ns()

    def simulated(self, end: ExecutionEnd, /) -> None:
        """An execution ended just now."""
        now = monotonic_ns()
        self.us["agent"] += end.agent_us
        self.us["world"] += max(0, (now - self._began) // 1_000 - end.agent_us)
        self._began = now

    def judged(self) -> None:
        """Checks ended just now."""
        now = monotonic_ns()
        self.us["checks"] += (now - self._began) // 1_000
        self._began = now


def try_all(specs: Sequence[RunSpec], /, *, whole: bool = False) -> list[dict[str, Any]]:
    """Each run as a trial, in order, as JSON."""
    return [trial(spec, whole=whole).to_json() for spec in specs]


def trial(spec: RunSpec, /, *, whole: bool = False) -> Trial:
    """One trial in this interpreter."""
    named = Trial(scenario=spec.scenario.id, seed=spec.seed)
    try:
        return _trial(spec, named, whole)
    except ChaosError as error:
        return replace(named, broke=str(error))


def _trial(spec: RunSpec, named: Trial, whole: bool) -> Trial:
    spent = Spent()
    quiet = simulate(execution_of(spec, calm(spec.scenario), ()), Nowhere())
    spent.simulated(quiet)
    if quiet.broke:
        return replace(named, broke=f"the fault-free execution: {quiet.broke}", spent_us=spent.us)
    contract, limits = merged_contract(spec.contract, spec.workload), limits_in_force(spec)
    own = own_checks(spec.contract)
    control = View(quiet.ops)
    if whole:
        named = replace(named, control_sites=quiet.sites)
    calm_evidence = Evidence(history=control, contract=contract, limits=limits)
    alone = judge(calm_evidence, checks=(*CHECKS, *own))
    spent.judged()
    if alone.violations:
        broken = rows_of(alone.violations)
        return replace(named, ops=len(control), broken=broken, spent_us=spent.us)
    placed = place(spec.scenario.faults, quiet.sites, contract)
    writer = Writer(None, {}) if whole else Nowhere()
    struck = simulate(execution_of(spec, spec.scenario, placed), writer)
    spent.simulated(struck)
    if whole:
        named = replace(named, sites=struck.sites, choices=struck.choices, digest=struck.digest)
    if struck.broke:
        broke = f"the execution with faults: {struck.broke}"
        return replace(named, broke=broke, spent_us=spent.us)
    view = View(struck.ops)
    evidence = Evidence(history=view, contract=contract, limits=limits, control=control)
    judgement = judge(evidence, checks=(*ALONE, *own))
    fired = {str(number): count for number, count in struck.fired.items()}
    idle = vacuity(spec.scenario, counted(placed, fired), view)
    recovery = recovery_ms(view)
    spent.judged()
    return replace(
        named,
        ops=len(view),
        broken=rows_of(judgement.violations),
        idle=idle,
        shown=tuple(f.check for f in judgement.findings if f.verdict == "valid"),
        fired=sum(struck.fired.values()),
        recovery_ms=recovery,
        spent_us=spent.us,
    )


def rows_of(violations: Sequence[Violation], /) -> tuple[tuple[str, str, str, str], ...]:
    """Breaches as (check, code, fingerprint, explanation)."""
    return tuple((v.check, v.code, v.fingerprint, v.explanation) for v in violations)


def site_of(fault: Fault, /) -> Site:
    """The one site of an exact fault."""
    return Site(
        session="" if fault.session == NONE else fault.session,
        task="" if fault.task == NONE else fault.task,
        port=fault.at,
        marker="" if fault.marker == NONE else fault.marker,
        attempt=fault.attempt,
    )


def bound_to_sites(faults: Sequence[Fault], /) -> tuple[Placed, ...]:
    """Exact faults, each bound to its site, whether or not the fault-free run has that one."""
    return tuple(
        Placed(number=number, fault=fault, sites=tuple(lasting(fault, site_of(fault))), eligible=1)
        for number, fault in enumerate(faults)
    )
