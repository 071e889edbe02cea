"""Many strikes in one world: the fault-free execution once, then one execution for each strike.

A batch is what a sweep asks a worker for. All its executions share scenario, seed and the strikes
that come before, and differ in the last one. Where two strikes leave the same moment (see
`chaoslab.backends.sim.moment`), the second is not executed to its end: it shares the verdict of
the first. Only strikes of one group are compared, since most strikes leave a moment of their own
and the digest costs time.

An interpreter may break in the middle of a batch, so a batch can keep a journal of what it does,
and can be carried on where another interpreter had to leave it (see `chaoslab.run.batches`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path
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
from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import ChaosError, LabError
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
    strike and before the lab heals, for the next one. `done`: the strikes, by number, of which it
    is known how they end; they are not executed, and the others are compared with them.
    `until_ms`: from that time of this machine's clock on none is begun. `journal`: a file that is
    told what is done, at once.
    """

    spec: RunSpec
    before: tuple[Fault, ...] = ()
    strikes: tuple[Fault, ...] = ()
    groups: tuple[int, ...] = ()
    whole: bool = False
    digests: bool = False
    wants_sites: bool = False
    done: tuple[tuple[int, Struck], ...] = ()
    until_ms: int | None = None
    journal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """How the execution of one strike ended; see `chaoslab.explore.rows` for the words.

    The word is "" where it was not executed, for want of time. `same_as`: the strike of the batch
    with which it shares the verdict, -1 for none. `strike_ns` is the virtual time of the last
    strike; `sites` are those that begin after it, where they were wanted, be it that they began in
    the execution with which the verdict is shared.
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
    `broke`; then no strike was executed; "" where there was no time for it), with its sites;
    `rows`: one per strike, in order."""

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
    if batch.until_ms is not None and monotonic_ms() >= batch.until_ms:
        return BatchEnd(control=Struck(word=""))
    journal = _Journal(batch.journal)
    journal.wrote({"asked": True, "ms": monotonic_ms()})
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
    journal.wrote({"control": asdict(control)})
    return BatchEnd(control=control, rows=_Striking(batch, judging).all(journal))


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
        self._done = dict(batch.done)
        self._seen: dict[str, int] = {}  # moment -> the strike that was executed for it
        self._sites: dict[int, tuple[Site, ...]] = {}  # of what was executed, all of them
        for number, row in sorted(self._done.items()):
            if row.moment and row.word not in ("equivalent", "broke"):
                self._seen.setdefault(row.moment, number)

    def all(self, journal: _Journal) -> tuple[Struck, ...]:
        """The executions of all strikes that are not done, as far as the batch goes."""
        batch, every = self._batch, range(len(self._batch.strikes))
        todo = [number for number in every if number not in self._done]
        for number in todo:
            if batch.until_ms is not None and monotonic_ms() >= batch.until_ms:
                break
            journal.wrote({"begun": number, "ms": monotonic_ms()})
            self._done[number] = self._one(number)
            journal.wrote({"done": number, "row": asdict(self._done[number])})
        return tuple(self._done.get(number, Struck(word="")) for number in every)

    def _one(self, number: int) -> Struck:
        """The execution of one strike, or whose verdict it shares."""
        try:
            row = self._execute(number, may_share=not self._batch.whole)
            if row.same_as >= 0 and self._near_a_limit(self._done[row.same_as], row):
                row = self._execute(number, may_share=False)
        except ChaosError as error:
            row = Struck(word="broke", why=str(error))
        return row

    def _execute(self, number: int, *, may_share: bool) -> Struck:
        batch, spent = self._batch, Spent()
        faults = (*batch.before, batch.strikes[number])
        grouped = bool(batch.groups) and batch.groups[number] >= 0
        seen = self._seen if may_share else {}
        looking = _Looking(seen, compare=grouped or batch.whole, sites=batch.wants_sites)
        scenario = replace(batch.spec.scenario, faults=faults)
        placed = bound_to_sites(faults)
        spec = execution_of(replace(batch.spec, scenario=scenario), scenario, placed)
        end = simulate(spec, _writer(batch), watch=looking)
        spent.simulated(end)
        if end.stopped:
            same = self._seen[looking.moment]
            return Struck(
                word="equivalent",
                same_as=same,
                moment=looking.moment,
                strike_ns=looking.strike_ns,
                sites=looking.after(self._sites.get(same, ())),
                spent_us=spent.us,
            )
        if end.broke:
            return Struck(word="broke", why=end.broke, spent_us=spent.us)
        if looking.moment:
            self._seen.setdefault(looking.moment, number)
        sites = _before_healing(end) if batch.wants_sites else ()
        if batch.wants_sites:
            self._sites[number] = sites
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
            sites=looking.after(sites),
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


class _Journal:
    """What is done, in a file that outlives this interpreter."""

    def __init__(self, path: str) -> None:
        self._path = path

    def wrote(self, entry: Mapping[str, Any]) -> None:
        """Writes an entry, if anybody wants to know. LabError where the disk refuses: else another
        execution would be taken for the one that broke."""
        if not self._path:
            return
        try:
            with Path(self._path).open("ab") as file:
                file.write(json.dumps(entry).encode("ascii") + b"\n")
        except OSError as error:
            raise LabError(f"{self._path} cannot be written: {error.strerror}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What a journal tells: `doing` is the strike that was begun and never done; None where there
    is none. `since_ms`: when that was begun, or the execution without strikes; None where the
    interpreter did not come so far."""

    control: Struck | None = None
    rows: Mapping[int, Struck] = field(default_factory=dict)
    doing: int | None = None
    since_ms: int | None = None


def noted_in(path: Path, /) -> Noted:
    """What the journal of a batch tells, as far as its lines are whole."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return Noted()
    noted, rows = Noted(), dict[int, Struck]()
    for line in lines:
        entry = json.loads(line)
        if "asked" in entry:
            noted = replace(noted, since_ms=entry["ms"])
        elif "control" in entry:
            noted = replace(noted, control=Struck.from_json(entry["control"]))
        elif "begun" in entry:
            noted = replace(noted, doing=entry["begun"], since_ms=entry["ms"])
        else:
            rows[entry["done"]] = Struck.from_json(entry["row"])
            noted = replace(noted, doing=None)
    return replace(noted, rows=rows)


class _Looking:
    """Looks at an execution right after its last strike; True where the rest is known."""

    def __init__(self, seen: Mapping[str, int], *, compare: bool, sites: bool) -> None:
        self._seen, self._compare, self._wants_sites = seen, compare, sites
        self._begun: frozenset[Site] = frozenset()
        self.moment = ""
        self.strike_ns = -1

    def __call__(self, hub: Hub, supervisor: Supervisor, loop: SimLoop, /) -> bool:
        """See the class."""
        struck = [op for op in hub.recorder.ops if op.f == "nemesis.strike"]
        self.strike_ns = struck[-1].time_ns
        if self._wants_sites:
            # By now calls may have begun at the very instant of the strike, but after it.
            before = islice(hub.recorder.ops, struck[-1].index)
            self._begun = frozenset(islice(hub.sites, sum(op.type == "invoke" for op in before)))
        if self._compare:
            self.moment = moment(hub, supervisor, loop)
        return bool(self.moment) and self.moment in self._seen

    def after(self, sites: Sequence[Site]) -> tuple[Site, ...]:
        """Those of an execution's sites that begin after the strike."""
        return tuple(site for site in sites if site not in self._begun)


def _before_healing(end: ExecutionEnd) -> tuple[Site, ...]:
    """The calls, in order, that begin before the lab heals: none is struck after that."""
    asked = takewhile(lambda op: op.f != "nemesis.heal", end.ops)
    return end.sites[: sum(op.type == "invoke" for op in asked)]


def _writer(batch: StrikeBatch) -> Writer:
    return Writer(None, {}) if batch.digests else Nowhere()


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
