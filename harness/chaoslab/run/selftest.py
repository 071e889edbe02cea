"""The lab judged by itself: is every planted bug found, and is no right agent ever accused?

A check that misses a bug gives false comfort; one that accuses a right agent is switched off
within a week. So both are counted. Each planted bug is run where its file says that it shows, and
must be found by the check that it names. Each right agent is tried in all the scenarios that it is
for, seed after seed, until so many executions with faults were judged; executions in which nothing
was proven do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any, Final

from chaoslab import __version__
from chaoslab.check import CHECK_IDS
from chaoslab.run.campaign import run_all
from chaoslab.run.controls import Right, planted_specs, right_agents
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.select import scenario_files, specs_for
from chaoslab.run.store import FORMAT, Campaign, write_json
from chaoslab.run.trials import Trial
from chaoslab.run.workers import Workers

_BATCH: Final = 8
_PATIENCE: Final = 3
_ALARMS_MAX: Final = 10  # shown and kept per agent; all are counted

Advance = Callable[[str, int], None]


@dataclass(slots=True, kw_only=True)
class Sample:
    """What the trials of one right agent came to."""

    right: Right
    wanted: int
    judged: int = 0
    idle: int = 0
    accused: int = 0  # trials with at least one breach
    alarms: dict[str, tuple[RunSpec, Trial]] = field(default_factory=dict)  # by fingerprint
    broke: str = ""
    checks: dict[str, int] = field(default_factory=dict)  # how often each check held

    @property
    def passed(self) -> bool:
        """Enough was judged, nothing broke, and nobody was accused."""
        return not self.broke and not self.accused and self.judged >= self.wanted

    def note(self, spec: RunSpec, found: Trial) -> None:
        """One more trial."""
        if found.broke:
            self.broke = self.broke or f"{found.scenario}, seed {found.seed}: {found.broke}"
            return
        if found.broken:
            self.accused += 1
        elif found.idle:
            self.idle += 1
            return
        self.judged += 1
        for check in found.shown:
            self.checks[check] = self.checks.get(check, 0) + 1
        for _, _, fingerprint, _ in found.broken:
            if len(self.alarms) < _ALARMS_MAX:
                self.alarms.setdefault(fingerprint, (spec, found))


def selftest(
    campaign: Campaign, workers: Workers, *, jobs: int, executions: int, advance: Advance
) -> dict[str, Any]:
    """Judges the checks; the results, which also stand in `selftest.json` of the campaign.

    `advance(what, n)` is told of every `n` runs or trials that were done.
    """
    bugs = planted_specs()
    planted = run_all(
        bugs,
        campaign,
        workers,
        jobs=jobs,
        on_run=lambda entry, record: advance(f"planted {entry['scenario']}", 1),
    )
    right = []
    for agent in right_agents():
        sample = tried(agent, workers, jobs=jobs, executions=executions, advance=advance)
        right.append(_right_json(sample, campaign, workers))
    rows = _bug_rows(planted["runs"])
    results = {
        "format": FORMAT,
        "version": __version__,
        "checks": list(CHECK_IDS),
        "bugs": rows,
        "right": right,
        "exit_code": 0 if all(r["caught"] for r in rows) and all(r["passed"] for r in right) else 4,
    }
    write_json(campaign.folder / "selftest.json", results)
    return results


def tried(
    right: Right, workers: Workers, *, jobs: int, executions: int, advance: Advance
) -> Sample:
    """The trials of one right agent, until enough were judged, or far too many proved nothing."""
    sample = Sample(right=right, wanted=executions)
    specs = _endless(right)
    made = 0
    while sample.judged < executions and made < _PATIENCE * executions and not sample.broke:
        todo = list(islice(specs, max(1, executions - sample.judged)))
        batches = [todo[n : n + _BATCH] for n in range(0, len(todo), _BATCH)]
        for batch, found in workers.side_by_side(
            lambda batch: (batch, workers.trials(batch)), batches, jobs=jobs
        ):
            for spec, one in zip(batch, found, strict=True):
                sample.note(spec, one)
            advance(right.design, len(batch))
        made += len(todo)
    return sample


def _endless(right: Right) -> Iterator[RunSpec]:
    """The agent's runs: all its scenarios under one seed, then under the next."""
    first = specs_for(scenario_files(right.scenarios), right.agent, seeds=[0])
    for seed in count():
        for spec in first:
            yield replace(spec, seed=seed)


def _bug_rows(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a bug: caught where every one of its seeds shows it to the planned check."""
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        row = rows.setdefault(
            run["agent"],
            {
                "agent": run["agent"],
                "scenario": run["scenario"],
                "planned": run["expected_check"],
                "runs": [],
                "caught": True,
                "found": {},
                "broke": None,
            },
        )
        row["runs"].append(run["id"])
        row["caught"] = row["caught"] and bool(run["caught"]) and not run["broke"]
        row["broke"] = row["broke"] or run["broke"]
        for check in dict.fromkeys(v["check"] for v in run["violations"]):
            row["found"][check] = row["found"].get(check, 0) + 1
    return list(rows.values())


def _right_json(sample: Sample, campaign: Campaign, workers: Workers) -> dict[str, Any]:
    alarms = []
    for spec, found in sample.alarms.values():
        record: RunRecord = perform(spec, workers, campaign.begin(spec.id))
        campaign.finish(record)
        alarms += [
            {"scenario": found.scenario, "seed": found.seed, "run": spec.id}
            | {"check": check, "code": code, "explanation": explanation}
            for check, code, _, explanation in found.broken
        ]
    return {
        "agent": sample.right.agent,
        "design": sample.right.design,
        "wanted": sample.wanted,
        "judged": sample.judged,
        "idle": sample.idle,
        "accused": sample.accused,
        "alarms": alarms,
        "broke": sample.broke or None,
        "checks": sample.checks,
        "passed": sample.passed,
    }
