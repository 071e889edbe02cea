"""Carries out the agreement: each subject in the simulator over its seeds, then on each way.

A subject is an agent in a scenario: each planted bug in the scenario that it was planted in, the
reference agent in every packaged scenario, and every agent that is right by another design in those
that it is for. What is done on a way is an ordinary run in a folder of its own, with its histories
and its report, so a disagreement can be looked at as any other run can.

>>> [s.scenario for s in subjects_of(["double_charge"])]
['matrix/timeout-after-commit']
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from chaoslab import __version__
from chaoslab.backends.common import merged_contract
from chaoslab.check.model import Evidence
from chaoslab.check.recovery import DETERMINISTIC
from chaoslab.check.registry import judge
from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import UsageError
from chaoslab.history import View, read
from chaoslab.run.agreement import LEFT_OUT, cell_of, compared, counts_of, exit_code, seen_in
from chaoslab.run.campaign import run_all
from chaoslab.run.controls import planted_bugs, right_agents
from chaoslab.run.model import RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.plan import limits_in_force
from chaoslab.run.select import REFERENCE, scenario_files, specs_of
from chaoslab.run.store import FORMAT, Campaign, write_json
from chaoslab.run.ways import Way, strikes_memory_or_regions
from chaoslab.run.workers import Workers
from chaoslab.scenario import load_scenario

Role = Literal["planted", "reference", "right"]
SEEDS: Final = 10
REPEATS: Final = 3
FILE: Final = "agreement.json"
_SHARE: Final = 3  # of its scenarios, a right agent meets every third
_SCHEDULES: Final = 8
_WIDE_MS: Final = 120
_BATCH: Final = 8

Advance = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An agent in a scenario. `planned`: the check that a planted bug must break; `seeds`: those
    in which it is known to show, the first of which is run on the ways."""

    role: Role
    agent: str
    scenario: str
    planned: str = ""
    seeds: tuple[int, ...] = (0,)

    @property
    def short(self) -> str:
        """The agent's name without its place."""
        if self.role == "reference":
            return "reference"
        return Path(self.agent.rpartition(":")[0]).stem

    @property
    def names(self) -> frozenset[str]:
        """All by which a person may ask for it."""
        family, _, name = self.scenario.partition("/")
        return frozenset((self.role, self.short, self.agent, self.scenario, family, name))

    def on(self, way: Way, /) -> bool:
        """Whether a way has anything of its own to show of it."""
        return not way.narrow or strikes_memory_or_regions(load_scenario(self.path))

    @property
    def path(self) -> Path:
        """The file of its scenario."""
        [path] = scenario_files([self.scenario])
        return path

    def specs(self, seeds: Sequence[int], /) -> list[RunSpec]:
        """Its runs in the simulator."""
        scenario = load_scenario(self.path)
        return specs_of(self.path, scenario, self.agent, seeds=seeds, planted_for=self.planned)


def subjects_of(names: Sequence[str], /, *, full: bool = False) -> list[Subject]:
    """The subjects that names stand for: agents, scenarios, families, or roles; all without any.

    Of the scenarios of a right agent every third is taken, beginning at another one for each
    agent, and all with `full` or where the agent is named. UsageError for a name of nothing.
    """
    found = list(_all_subjects(full=True))
    for name in names:
        if not any(name in one.names for one in found):
            known = sorted({n for one in found for n in one.names})
            raise UsageError(
                "there is no planted bug, right agent or scenario of this name",
                value=name,
                allowed="planted, reference, right, the name of an agent, a scenario or a family",
                hint=", ".join(difflib.get_close_matches(name, known, n=3)) or "chaoslab list",
            )
    if not full:
        named = {one.agent for one in found if {one.short, one.agent} & set(names)}
        few = set(_all_subjects(full=False))
        found = [one for one in found if one in few or one.agent in named]
    return [one for one in found if not names or one.names & set(names)]


def _all_subjects(*, full: bool) -> Iterator[Subject]:
    for bug in planted_bugs():
        yield Subject(
            role="planted",
            agent=bug.agent,
            scenario=bug.scenario,
            planned=bug.check,
            seeds=bug.seeds,
        )
    for number, right in enumerate(right_agents()):
        names = [f"{p.parent.name}/{p.stem}" for p in scenario_files(right.scenarios)]
        whole = full or right.agent == REFERENCE
        for name in names if whole else names[number % _SHARE :: _SHARE]:
            role: Role = "reference" if right.agent == REFERENCE else "right"
            yield Subject(role=role, agent=right.agent, scenario=name)


def agree(
    subjects: Sequence[Subject],
    ways: Sequence[Way],
    absent: Mapping[str, str],
    campaign: Campaign,
    workers: Workers,
    *,
    jobs: int,
    seeds: int = SEEDS,
    repeats: int = REPEATS,
    until_ms: int | None = None,
    full: bool = False,
    advance: Advance,
) -> dict[str, Any]:
    """The agreement of all subjects over all ways, which also stands in `agreement.json` of the
    campaign. `advance(what, n)` is told of every `n` runs that were done; after `until_ms` no
    further run is started. `full`: also what a way has nothing of its own to show of."""
    began_ms = monotonic_ms()
    simulated = _simulated(subjects, workers, jobs=jobs, seeds=seeds, advance=advance)
    rows: list[dict[str, Any]] = [
        {
            "role": one.role,
            "agent": one.agent,
            "short": one.short,
            "scenario": one.scenario,
            "planned": one.planned or None,
            "sim": sorted(simulated[one]),
            "cells": {},
        }
        for one in subjects
    ]
    for way in ways:
        taken = [one for one in subjects if full or one.on(way)]
        told = _on_way(way, taken, campaign, workers, jobs, repeats, until_ms, advance)
        if left := len(subjects) - len(taken):
            advance(f"{way.name}: left out", left)
        for one, row in zip(subjects, rows, strict=True):
            if one not in taken:
                row["cells"][way.name] = dict(LEFT_OUT)
                continue
            entry = told.get(one)
            shown = simulated[one]
            if entry is not None and one.planned and _by_schedule(entry, shown):
                shown = simulated[one] = shown | over_schedules(one, workers)
                row["sim"] = sorted(shown)
            row["cells"][way.name] = cell_of(entry, shown, planned=one.planned)
    results = {
        "format": FORMAT,
        "version": __version__,
        "seeds": seeds,
        "repeats": repeats,
        "ways": [
            {"name": way.name, "words": way.words, "counts": counts_of(rows, way.name)}
            for way in ways
        ],
        "absent": dict(absent),
        "rows": rows,
        "wall_ms": monotonic_ms() - began_ms,
        "exit_code": exit_code(rows),
    }
    write_json(campaign.folder / FILE, results)
    return results


def _simulated(
    subjects: Sequence[Subject],
    workers: Workers,
    *,
    jobs: int,
    seeds: int,
    advance: Advance,
) -> dict[Subject, frozenset[str]]:
    """What is broken in the simulator over all seeds."""

    def one(subject: Subject) -> tuple[Subject, frozenset[str]]:
        own = subject.specs(subject.seeds)
        more = subject.specs([n for n in range(seeds) if n not in subject.seeds])
        shown: set[str] = set()
        with tempfile.TemporaryDirectory(prefix="chaoslab-") as scratch:
            for number, spec in enumerate(own):
                folder = Path(scratch) / str(number)
                folder.mkdir()
                shown |= {v.check for v in perform(spec, workers, folder).violations}
        for at in range(0, len(more), _BATCH):
            for trial in workers.trials(more[at : at + _BATCH]):
                shown |= {check for check, *_ in trial.broken}
        return subject, frozenset(shown)

    out: dict[Subject, frozenset[str]] = {}
    for subject, shown in workers.side_by_side(one, subjects, jobs=jobs):
        out[subject] = shown
        advance("simulator", 1)
    return out


def _on_way(
    way: Way,
    subjects: Sequence[Subject],
    campaign: Campaign,
    workers: Workers,
    jobs: int,
    repeats: int,
    until_ms: int | None,
    advance: Advance,
) -> dict[Subject, dict[str, Any]]:
    """The entry of each subject's run on a way; none where there was no time for it."""
    folder = campaign.folder / way.name
    folder.mkdir(exist_ok=True)
    by_id: dict[str, Subject] = {}
    specs = []
    for subject in subjects:
        [spec] = subject.specs(subject.seeds[:1])
        spec = replace(spec, target=way.target_for(subject.agent), repeats=repeats)
        by_id[spec.id] = subject
        specs.append(spec)
    results = run_all(
        specs,
        Campaign(folder),
        workers,
        jobs=jobs,
        on_run=lambda entry, record: advance(f"{way.name}: {by_id[entry['id']].short}", 1),
        until_ms=until_ms,
    )
    return {by_id[entry["id"]]: entry for entry in results["runs"]}


def _by_schedule(entry: Mapping[str, Any], sim: frozenset[str]) -> bool:
    """Whether all that a way shows and the simulator did not is that repetitions differ. There a
    repetition is another schedule, in the simulator the same one again."""
    seen = seen_in(entry, sim)
    only_that = seen.real - sim == {DETERMINISTIC.id}
    return only_that and compared(replace(seen, sim=sim | seen.real))[0] != "not-applicable"


def over_schedules(subject: Subject, workers: Workers, /) -> frozenset[str]:
    """`recovery.deterministic`, where a subject's recovery depends on the schedule: of one seed,
    which says who the customers are and what the agent draws, but under the decisions of others.
    That is what a repetition on real processes is."""
    first, *others = subject.specs(range(subject.seeds[0], subject.seeds[0] + _SCHEDULES))
    drawn = [trial.choices for trial in workers.trials(others, whole=True)]
    wide = replace(first.scenario.schedule, jitter_ms=_WIDE_MS)
    slow = replace(first, scenario=replace(first.scenario, schedule=wide))
    views = []
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as scratch:
        for number, choices in enumerate((None, *drawn)):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            # Every other one is slower by seconds, as a machine may be: a clock tells it.
            one = slow if number % 2 else first
            record = perform(replace(one, choices=choices), workers, folder)
            if record.broke or record.control_violations:
                return frozenset()
            views.append(View(read(folder / "fault.jsonl").ops))
    evidence = Evidence(
        history=views[0],
        contract=merged_contract(first.contract, first.workload),
        limits=limits_in_force(first),
        repeats=tuple(views[1:]),
        recorded=True,
    )
    return frozenset(v.check for v in judge(evidence, checks=(DETERMINISTIC,)).violations)
