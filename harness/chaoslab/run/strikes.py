"""Many strikes in one world: the fault-free execution once, then one execution for each strike.

A batch is what a sweep asks a worker for. All its executions share scenario, seed and the strikes
that come before, and differ in the last one. Where two strikes leave the same moment (see
`chaoslab.backends.sim.moment`), the second is not executed to its end: it shares the verdict of
the first. Only strikes of one group are compared, since most strikes leave a moment of their own
and the digest costs time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from chaoslab.backends.api import ExecutionEnd
from chaoslab.backends.common import merged_contract
from chaoslab.backends.common.hub import Hub
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.sim import simulate
from chaoslab.backends.sim.loop import SimLoop
from chaoslab.backends.sim.moment import moment
from chaoslab.check import CHECKS, Evidence, Finding, judge, overall, recovery_ms
from chaoslab.check.model import Check
from chaoslab.contract import Contract, Limits
from chaoslab.core.errors import ChaosError
from chaoslab.faults import Fault, Site
from chaoslab.history import Nowhere, View, Writer
from chaoslab.run.model import RunSpec
from chaoslab.run.own import own_checks
from chaoslab.run.plan import counted, execution_of, limits_in_force, vacuity
from chaoslab.run.trials import ALONE, Spent, bound_to_sites, rows_of

_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StrikeBatch:
    """A request to a worker.

    The spec's scenario has no faults of its own, its seed is the schedule's. Each strike is one
    execution: those of `before`, then this one, all exact. `groups` says which strikes may leave
    the same moment (one number a strike; -1: surely alone; empty: none). `whole`: each execution
    goes to its end all the same, with its moment told, for the proof that sharing is right.
    `digests`: also the digest of each history. `wants_sites`: the sites that begin after the last
    strike, for the next one.
    """

    spec: RunSpec
    before: tuple[Fault, ...] = ()
    strikes: tuple[Fault, ...] = ()
    groups: tuple[int, ...] = ()
    whole: bool = False
    digests: bool = False
    wants_sites: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """How the execution of one strike ended; see `chaoslab.explore.rows` for the words.

    `same_as`: the strike of the batch with which it shares the verdict, -1 for none. `strike_ns`
    is the virtual time of the last strike.
    """

    word: str
    ops: int = 0
    broken: tuple[tuple[str, str, str, str], ...] = ()
    why: str = ""
    same_as: int = -1
    moment: str = ""
    strike_ns: int = -1
    recovery_ms: int | None = None
    digest: str = ""
    shown: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    spent_us: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], /) -> Struck:
        """From what a worker sent."""
        return cls(
            **{
                **raw,
                "broken": tuple(tuple(one) for one in raw["broken"]),
                "shown": tuple(raw["shown"]),
                "sites": tuple(Site(**one) for one in raw["sites"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnd:
    """What a batch came to. `control`: the execution without any strike (`held`, `broken` or
    `broke`; then no strike was executed), with its sites; `rows`: one per strike, in order."""

    control: Struck
    rows: tuple[Struck, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the way back from a worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], /) -> BatchEnd:
        """From what `to_json` gave."""
        rows = tuple(Struck.from_json(one) for one in raw["rows"])
        return cls(control=Struck.from_json(raw["control"]), rows=rows)


def strike_all(batch: StrikeBatch, /) -> BatchEnd:
    """The executions of a batch, in this interpreter."""
    spent = Spent()
    try:
        quiet = simulate(execution_of(batch.spec, batch.spec.scenario, ()), _writer(batch))
    except ChaosError as error:
        return BatchEnd(control=Struck(word="broke", why=str(error)))
    spent.simulated(quiet)
    if quiet.broke:
        return BatchEnd(control=Struck(word="broke", why=f"without any fault: {quiet.broke}"))
    judging = _Judging(batch.spec, View(quiet.ops))
    findings = judging.alone()
    spent.judged()
    violations = [v for one in findings for v in one.violations]
    control = Struck(
        word="broken" if violations else "held",
        ops=len(quiet.ops),
        broken=rows_of(violations),
        digest=quiet.digest if batch.digests else "",
        shown=_shown(findings),
        sites=quiet.sites,
        spent_us=spent.us,
    )
    if violations:
        return BatchEnd(control=control)
    striking = _Striking(batch, judging)
    return BatchEnd(control=control, rows=tuple(striking.one(n) for n in range(len(batch.strikes))))


class _Judging:
    """What the executions of a batch are judged by."""

    def __init__(self, spec: RunSpec, control: View) -> None:
        self._contract: Contract = merged_contract(spec.contract, spec.workload)
        self.limits: Limits = limits_in_force(spec)
        self._own: tuple[Check, ...] = tuple(own_checks(spec.contract))
        self._control = control

    def alone(self) -> Sequence[Finding]:
        """The findings about the execution without strikes."""
        evidence = Evidence(history=self._control, contract=self._contract, limits=self.limits)
        return judge(evidence, checks=(*CHECKS, *self._own)).findings

    def struck(self, view: View) -> Sequence[Finding]:
        """The findings about an execution with strikes."""
        evidence = Evidence(
            history=view, contract=self._contract, limits=self.limits, control=self._control
        )
        return judge(evidence, checks=(*ALONE, *self._own)).findings


class _Striking:
    """Executes the strikes of a batch one by one and remembers the moments that they left."""

    def __init__(self, batch: StrikeBatch, judging: _Judging) -> None:
        self._batch, self._judging = batch, judging
        self._seen: dict[str, int] = {}  # moment -> the strike that was executed for it
        self._done: list[Struck] = []

    def one(self, number: int) -> Struck:
        """The execution of one strike, or whose verdict it shares."""
        try:
            row = self._execute(number, may_share=not self._batch.whole)
            if row.same_as >= 0 and self._near_a_limit(self._done[row.same_as], row):
                row = self._execute(number, may_share=False)
        except ChaosError as error:
            row = Struck(word="broke", why=str(error))
        self._done.append(row)
        return row

    def _execute(self, number: int, *, may_share: bool) -> Struck:
        batch, spent = self._batch, Spent()
        faults = (*batch.before, batch.strikes[number])
        grouped = bool(batch.groups) and batch.groups[number] >= 0
        looking = _Looking(self._seen if may_share else {}, compare=grouped or batch.whole)
        scenario = replace(batch.spec.scenario, faults=faults)
        placed = bound_to_sites(faults)
        spec = execution_of(replace(batch.spec, scenario=scenario), scenario, placed)
        end = simulate(spec, _writer(batch), watch=looking)
        spent.simulated(end)
        if end.stopped:
            return Struck(
                word="equivalent",
                same_as=self._seen[looking.moment],
                moment=looking.moment,
                strike_ns=looking.strike_ns,
                spent_us=spent.us,
            )
        if end.broke:
            return Struck(word="broke", why=end.broke, spent_us=spent.us)
        if looking.moment:
            self._seen.setdefault(looking.moment, number)
        view = View(end.ops)
        findings = self._judging.struck(view)
        fired = {str(n): count for n, count in end.fired.items()}
        counts = counted(placed, fired)
        idle = vacuity(scenario, counts, view)
        row = Struck(
            word=_word(findings, idle, missed=counts["fired"] < counts["planned"]),
            ops=len(view),
            broken=rows_of([v for one in findings for v in one.violations]),
            why=idle or _unknown(findings),
            moment=looking.moment,
            strike_ns=looking.strike_ns,
            recovery_ms=recovery_ms(view),
            digest=end.digest if batch.digests else "",
            shown=_shown(findings),
            sites=_after(end, looking.begun) if batch.wants_sites else (),
        )
        spent.judged()
        return replace(row, spent_us=spent.us)

    def _near_a_limit(self, one: Struck, other: Struck) -> bool:
        """Whether an equal moment may still be judged otherwise: recovery counts from the strike,
        and one strike came earlier than the other."""
        limit = self._judging.limits.recovery_ms_max
        if limit is None or one.recovery_ms is None:
            return False
        earlier_ms = abs(one.strike_ns - other.strike_ns) // _MS + 1
        return abs(one.recovery_ms - limit) <= earlier_ms


class _Looking:
    """Looks at an execution right after its last strike; True where the rest is known."""

    def __init__(self, seen: Mapping[str, int], *, compare: bool) -> None:
        self._seen, self._compare = seen, compare
        self.moment = ""
        self.strike_ns = -1
        self.begun: frozenset[Site] = frozenset()

    def __call__(self, hub: Hub, supervisor: Supervisor, loop: SimLoop, /) -> bool:
        """See the class."""
        struck = [op for op in hub.recorder.ops if op.f == "nemesis.strike"]
        self.strike_ns = struck[-1].time_ns
        self.begun = frozenset(hub.sites)
        if self._compare:
            self.moment = moment(hub, supervisor, loop)
        return bool(self.moment) and self.moment in self._seen


def _writer(batch: StrikeBatch) -> Writer:
    return Writer(None, {}) if batch.digests else Nowhere()


def _after(end: ExecutionEnd, begun: frozenset[Site]) -> tuple[Site, ...]:
    return tuple(site for site in end.sites if site not in begun)


def _shown(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(one.check for one in findings if one.verdict == "valid")


def _unknown(findings: Sequence[Finding]) -> str:
    return next((f"{f.check}: {f.reason}" for f in findings if f.verdict == "unknown"), "")


def _word(findings: Sequence[Finding], idle: str, *, missed: bool) -> str:
    verdict = overall(one.verdict for one in findings)
    if verdict == "invalid":
        return "broken"
    if missed:
        return "never-struck"
    return "held" if verdict == "valid" and not idle else "unproven"
