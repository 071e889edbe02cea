"""The end of a campaign: from rows to findings, to runs that a person can open, to results.

An execution leaves a row and nothing to look at. So of each mistake the smallest case is run once
more as `chaoslab run` would: with its histories, a repetition in another interpreter, and the
because-chains; likewise a few samples of what held. Thus everything that reads `results.json`
reads an exploration too. A case whose run gives another history than its execution, or does not
show what the execution showed, says that the agent is not repeatable: that is exit 5, with the
first entry that differs.

>>> named("effects.delivery duplicate-effect", {"effects-delivery-duplicate-effect"})
'effects-delivery-duplicate-effect-2'
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaoslab.check.masking import Mask
from chaoslab.core.clock import monotonic_ms, utc_now
from chaoslab.core.errors import ChaosError, mend_disk
from chaoslab.explore.compare import compared, judged_strikes
from chaoslab.explore.findings import Finding, findings_of, spec_of, spread_over
from chaoslab.explore.rows import Row
from chaoslab.explore.store import Rows
from chaoslab.explore.strikes import strikes_at
from chaoslab.explore.telling import exploration_json
from chaoslab.history import read
from chaoslab.run.known import NOTHING_KNOWN, Known
from chaoslab.run.masking import mask_for
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.perform import difference, perform
from chaoslab.run.promises import promised_by
from chaoslab.run.results import results_of
from chaoslab.run.store import Campaign, write_json
from chaoslab.run.strikes import StrikeBatch
from chaoslab.run.workers import Workers
from chaoslab.scenario.writing import scenario_toml

if TYPE_CHECKING:
    from chaoslab.explore.shrink import Shrunk

FINDINGS_MAX: Final = 20
SAMPLES: Final = 3
_DOUBTS_MAX: Final = 3
_FAULT_FREE: Final = "the execution without any fault"  # as a sweep says it
_GROUP_MAX: Final = 64  # writes at once, of which a strike may let some through
_AGAIN_MAX: Final = 3
_NAME_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run that is to be done whole. `fingerprint`: what it must show, if anything; `digest`: of
    the history of its execution, where that was kept; `trial`: whether to execute it once more for
    a digest, since the case was made smaller."""

    spec: RunSpec
    fingerprint: str = ""
    digest: str = ""
    trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A run that was done: its entry, and the mask for all that is told of it."""

    case: Case
    entry: Mapping[str, Any]
    mask: Mask


def conclude(
    kind: str,
    rows: Rows,
    coverage: Mapping[str, Any] | None,
    specs: Sequence[RunSpec],
    campaign: Campaign,
    workers: Workers,
    *,
    shrunk: Mapping[str, Shrunk] | None = None,
    known: Known = NOTHING_KNOWN,
    samples: int = SAMPLES,
    findings_max: int = FINDINGS_MAX,
    jobs: int = 1,
    claim: Sequence[str] = (),
    statistics: Mapping[str, Any] | None = None,
    differs: Sequence[str] = (),
    problems: Sequence[str] = (),
    complete: bool = True,
    against: Mapping[str, Any] | None = None,
    on_run: Callable[[dict[str, Any], RunRecord | None], None] | None = None,
    started: str = "",
    wall_ms: int = 0,
) -> dict[str, Any]:
    """Runs the findings and some samples whole, and writes `results.json`; the results.

    `specs`: the worlds of a sweep, or what stress drew from; all of one agent and contract.
    `coverage` is what a sweep covered, as JSON. `shrunk` has the smallest case by fingerprint, as
    far as it was looked for. `differs`: what else showed that the agent is not repeatable, and
    `problems` why the lab could not do its work, both in words. `against`: older results. With
    `findings_max=0` and `samples=0` nothing more is run, so that what was found can be told at
    once. Where the disk refuses, that is a problem, and the results are returned all the same.
    """
    began_ms = monotonic_ms() - wall_ms
    found = findings_of(rows.rows(), specs, executions=rows.tally.findings)
    doubts = _doubts(coverage or {})
    telling = _Telling(
        kind=kind,
        rows=rows,
        found=found,
        specs=specs,
        shrunk=shrunk or {},
        known=known,
        coverage=coverage,
        said={
            "claim": claim,
            "statistics": statistics or {},
            "differs": list(dict.fromkeys((*differs, *(doubt.words for doubt in doubts)))),
        },
        complete=complete,
        against=against,
        started=started or utc_now(),
        problems=list(problems),
        notes=[rows.note] if rows.note else [],
    )
    telling.cases = telling.findings_and_samples(found[:findings_max], samples)
    if findings_max:
        telling.doubt(doubts, workers)
    try:
        for one in workers.side_by_side(
            lambda case: _run(case, campaign, workers), telling.cases, jobs=jobs
        ):
            if isinstance(one, str):
                telling.problems.append(one)
                continue
            telling.done.append(one[0])
            if on_run is not None:
                on_run(dict(one[0].entry), one[1])
    finally:
        results = telling.write(campaign.folder / "results.json", began_ms)
    return results


@dataclass(slots=True, kw_only=True)
class _Telling:
    """All that results are made of. It grows as runs end."""

    kind: str
    rows: Rows
    found: Sequence[Finding]
    specs: Sequence[RunSpec]
    shrunk: Mapping[str, Shrunk]
    known: Known
    coverage: Mapping[str, Any] | None
    said: Mapping[str, Any]
    complete: bool
    against: Mapping[str, Any] | None
    started: str
    problems: list[str]
    notes: list[str]
    cases: list[Case] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """The names that are taken."""
        return {case.spec.scenario.name for case in self.cases}

    def doubt(self, doubts: Sequence[_Doubt], workers: Workers) -> None:
        """Adds what was not repeatable to what is run whole."""
        try:
            self.cases += _doubtful(doubts, self.specs, workers, self.names)
        except ChaosError as error:
            self.problems.append(str(error))

    def write(self, path: Path, began_ms: int) -> dict[str, Any]:
        """Writes the results; where the disk refuses, they say so."""
        results = self._results(began_ms)
        try:
            write_json(path, results)
        except OSError as error:
            path.with_suffix(".tmp").unlink(missing_ok=True)  # what is left of it fills the disk
            self.problems.append(f"{path} cannot be written: {error.strerror}; {mend_disk(error)}")
            results = self._results(began_ms)
        return results

    def _results(self, began_ms: int) -> dict[str, Any]:
        order = {case.spec.id: n for n, case in enumerate(self.cases)}
        return results_of(
            sorted((one.entry for one in self.done), key=lambda entry: order[entry["id"]]),
            wanted=len(self.cases),
            promised=promised_by(self.specs),
            known=self.known,
            exploration=self._exploration(),
            started=self.started,
            wall_ms=monotonic_ms() - began_ms,
        )

    def _exploration(self) -> dict[str, Any]:
        old = (self.against or {}).get("exploration")
        notes = list(self.notes)
        notes += [
            f"{one.check} ({one.code}) was not written as a scenario: its fault could only be said "
            "with a value that must not be read"
            for one in self.found
            if one.fingerprint in self.shrunk and self.shrunk[one.fingerprint].private
        ]
        if self.against is not None and old is None:
            notes.append("the older campaign is no exploration, so nothing can be compared")
        found = exploration_json(
            self.kind,
            self.rows,
            self.found,
            {one.case.fingerprint: one for one in self.done if one.case.fingerprint},
            [one.mask for one in self.done],
            self.specs[0],
            shrunk=self.shrunk,
            known=self.known,
            coverage=self.coverage,
            said=self.said,
            problems=self.problems,
            notes=notes,
            complete=self.complete,
        )
        if old is not None:
            change = compared(old, found, judged=judged_strikes(self.rows.rows()))
            found["compared"] = change.to_json()
        return found

    def findings_and_samples(self, found: Sequence[Finding], samples: int) -> list[Case]:
        """The findings, then the samples, each under a name of its own."""
        rows, specs, out = self.rows, self.specs, list[Case]()
        taken: set[str] = set()
        for one in found:
            try:
                out.append(_case(self.kind, one, specs, self.shrunk.get(one.fingerprint), taken))
            except ChaosError as error:
                self.notes.append(f"{one.check} ({one.code}) was not run whole: {error}")
        drawn = self.kind == "stress"  # there faults alone do not say a row
        there = sorted(
            row.name
            for row in rows.rows()
            if row.word == "held" and row.faults and (row.scenario or not drawn)
        )
        names = spread_over(there, samples)
        if drawn and samples and not names:
            self.notes.append("no drawn execution that held was kept, so none was run whole")
        chosen = {row.name: row for row in rows.rows() if row.name in names} if names else {}
        for name in names:
            row = chosen[name]
            try:
                spec = _told_as(f"held {name}", "A sample of what held", spec_of(row, specs), taken)
                out.append(Case(spec=spec, digest=row.digest))
            except ChaosError as error:
                self.notes.append(f"{name} was not run whole: {error}")
        return out


# -- which cases are run whole


def _case(
    kind: str,
    one: Finding,
    specs: Sequence[RunSpec],
    small: Shrunk | None,
    taken: set[str],
) -> Case:
    if small is not None and small.breach is not None:
        spec = small.spec
        name = named(spec.scenario.name, taken)
        if name != spec.scenario.name:
            spec = _renamed(spec, name, spec.scenario.title)
        taken.add(name)
        return Case(spec=spec, fingerprint=one.fingerprint, trial=True)
    title = f"Found by {'stress' if kind == 'stress' else 'a sweep'}: {one.code}"
    spec = _told_as(f"{one.check} {one.code}", title, spec_of(one.first, specs), taken)
    return Case(
        spec=spec,
        fingerprint=one.fingerprint,
        digest=one.first.digest,
        trial=not one.first.digest,
    )


def _told_as(name: str, title: str, spec: RunSpec, taken: set[str]) -> RunSpec:
    own = named(name, taken)
    taken.add(own)
    return _renamed(spec, own, title)


def _renamed(spec: RunSpec, name: str, title: str) -> RunSpec:
    scenario = replace(spec.scenario, name=name, title=title)
    return replace(spec, scenario=scenario, scenario_text=scenario_toml(scenario))


def named(text: str, taken: Collection[str], /) -> str:
    """A name for a run's folder that is not taken yet."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:_NAME_MAX] or "case"
    number, name = 1, plain
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """An execution that was another one in another interpreter: its world, the strike in words as
    the sweep says it, and a sentence."""

    world: str
    seed: int
    strike: str
    words: str


def _doubts(coverage: Mapping[str, Any]) -> list[_Doubt]:
    return [
        _Doubt(
            world=one["world"],
            seed=one["seed"],
            strike=one["differs"],
            words=f"{one['world']}, seed {one['seed']}: {one['differs']} had another history in "
            "another interpreter",
        )
        for one in coverage.get("worlds", ())
        if one.get("differs")
    ]


def _doubtful(
    doubts: Sequence[_Doubt], specs: Sequence[RunSpec], workers: Workers, taken: set[str]
) -> list[Case]:
    """What was not repeatable, run whole, so that the first entry that differs is seen. A sweep
    says the strike in words; it may have had no time to make it."""
    out = []
    title = "It was another history in another interpreter"
    for one in doubts[:_DOUBTS_MAX]:
        row = Row(name=f"{one.world}-s{one.seed}", world=one.world, seed=one.seed, word="unproven")
        spec = spec_of(row, specs)
        if one.strike != _FAULT_FREE:
            control = workers.strikes(StrikeBatch(spec=spec)).control
            sites = control.sites
            every = (f for s in sites for f in strikes_at(s, spec, group_size=_GROUP_MAX))
            struck = next((f for f in every if f.where() == one.strike), None)
            if struck is None:
                continue
            spec = replace(spec, scenario=replace(spec.scenario, faults=(struck,)))
        out.append(Case(spec=_told_as(f"differs {row.name}", title, spec, taken)))
    return out


# -- running them


def _run(case: Case, campaign: Campaign, workers: Workers) -> tuple[Done, RunRecord | None] | str:
    """One run with all that belongs to it, or why the lab could not do it."""
    spec = case.spec
    try:
        kept = campaign.finished(spec.id, spec.fingerprint)
        folder = campaign.folder / spec.id
        if kept is not None:
            return Done(case=case, entry=kept, mask=mask_for(spec.contract, folder)), None
        campaign.begin(spec.id)
        record = perform(spec, workers, folder)
        if not record.broke and not record.differs:
            record.differs = _another(case, record, workers, folder)
            if record.differs and record.verdict == "valid":
                record.verdict = "unknown"
        record.mask = mask_for(spec.contract, folder)
        if record.mask.text(spec.scenario_text) != spec.scenario_text:
            # A fault names its action, and an action may be named by what must not be read.
            (folder / "scenario.toml").touch(mode=0o600)
        entry = campaign.finish(record)
    except OSError as error:
        return f"{spec.id} cannot be written: {error.strerror}; {mend_disk(error)}"
    except ChaosError as error:
        return str(error)
    return Done(case=case, entry=entry, mask=record.mask), record


def _another(case: Case, record: RunRecord, workers: Workers, folder: Path) -> str:
    """How a run differs from the execution that it should be, in words; empty where it is that."""
    shows = {v.fingerprint for v in record.told}
    lost = case.fingerprint and case.fingerprint not in shows
    wanted = case.digest
    if case.trial:
        [again] = workers.trials([case.spec], whole=True)
        wanted = again.digest
    other = bool(wanted and record.digest) and wanted != record.digest
    if not lost and not other:
        return ""
    first = _first_difference(case.spec, workers, folder)
    what = "its execution was broken, and this run of the same choices is not"
    if not lost:
        what = "its execution left another history"
    return f"{first} ({what})"


def _first_difference(spec: RunSpec, workers: Workers, folder: Path) -> str:
    """The first entry in which a further run differs. What an execution did is only known by its
    digest, so it is repeated until the difference shows again."""
    name = "fault.jsonl" if (folder / "fault.jsonl").is_file() else "control.jsonl"
    again = folder / "again"
    for _ in range(_AGAIN_MAX):
        again.mkdir()
        other = perform(spec, workers, again)
        words = other.differs
        if not words and (again / name).is_file():
            words = difference(read(folder / name), read(again / name))
            if words:  # the evidence, and what the mask learns from
                (again / name).rename(folder / "again.jsonl")
        shutil.rmtree(again)
        if words:
            return words
    return f"{_AGAIN_MAX} repetitions gave the same history, so the entry is not known"
