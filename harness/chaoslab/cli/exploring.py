"""From a command line to a campaign of many executions: what `sweep` and `stress` do alike.

What is executed depends on the options alone; who executes it on `--jobs` and `--executor`. Rows
are kept as they come, so Ctrl-C or a crash costs what was under way and nothing else.

>>> kinds_in("crash, silence")
('crash', 'silence')
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from chaoslab.cli.progress import Counting, counting
from chaoslab.cli.report import outputs_or_words
from chaoslab.cli.run import OWN
from chaoslab.core.clock import monotonic_ms, utc_now, utc_today
from chaoslab.core.errors import AdapterError, LabError, UsageError
from chaoslab.explore.campaign import FINDINGS_MAX, SAMPLES, conclude
from chaoslab.explore.drawn import statistics_of
from chaoslab.explore.executors import open_executor
from chaoslab.explore.findings import findings_of, spec_of
from chaoslab.explore.rows import Row
from chaoslab.explore.shrink import Shrunk, shrink_task
from chaoslab.explore.spread import Spread
from chaoslab.explore.store import Head, Rows, open_rows
from chaoslab.explore.testfile import write_regression
from chaoslab.explore.work import Setting, workers_here
from chaoslab.faults import KINDS
from chaoslab.report.exploring import exploration_in, show_exploration
from chaoslab.report.outputs import FILES
from chaoslab.run.known import Known, load_known
from chaoslab.run.model import RunSpec
from chaoslab.run.profiles import parse_time
from chaoslab.run.select import (
    REFERENCE,
    agent_is_here,
    check_modules,
    contract_notes,
    scenario_files,
    specs_for,
)
from chaoslab.run.store import Campaign, read_results, write_json
from chaoslab.run.team import has_agent, is_team_file
from chaoslab.scenario.writing import scenario_toml

TRIES_MAX: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command line asks for, looked through before anything runs."""

    specs: tuple[RunSpec, ...]
    setting: Setting
    jobs: int
    known: Known
    time_ms: int | None
    against: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """What the executions came to, beside their rows. `differs`: where they were others in another
    interpreter; `spent_us`: what they and the drawing took; `problems`: what did not work."""

    coverage: Mapping[str, Any]
    claim: Sequence[str]
    complete: bool
    differs: Sequence[str] = ()
    problems: Sequence[str] = ()
    spent_us: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What executions are carried out with, and where their rows go."""

    asked: Asked
    spread: Spread
    rows: Rows
    counted: Counting
    until_ms: int | None

    def keep(self, batch: str, rows: Sequence[Row], /) -> None:
        """Keeps the rows of a batch, and lets a person see it."""
        if self.rows.add(batch, rows):
            self.counted.add([row.word for row in rows])


Explore = Callable[[Desk], Explored]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A campaign: its head, the runs of whose worlds its rows are, and how it is carried out."""

    head: Head
    base: Sequence[RunSpec]
    explore: Explore


def asked_for(arguments: argparse.Namespace, /, *, seeds: Sequence[int], time: str) -> Asked:
    """The runs and limits that a command line names. UsageError before anything runs."""
    agent = arguments.agent or (OWN if has_agent(Path(OWN)) else REFERENCE)
    if is_team_file(agent):
        raise UsageError(
            "an agent in a process of its own cannot be explored, which needs the simulator",
            value=agent,
            allowed="file.py:factory or module:factory",
            hint="run scenarios against it with chaoslab run, or name another one by --agent",
        )
    for folder in (arguments.regressions, *arguments.regressions.parents):
        if folder.exists() and not folder.is_dir():
            raise UsageError(
                "what is found cannot be kept, since a file stands where a folder must be",
                value=str(folder),
                allowed="a folder, or one that is not there yet",
                hint="name another folder by --regressions",
            )
    in_process = bool(arguments.in_process)
    files = scenario_files(arguments.scenarios or ["matrix"])
    return Asked(
        specs=tuple(specs_for(files, agent, contract=arguments.contract, seeds=seeds)),
        setting=Setting(watchdog_ms=arguments.watchdog * 1_000, in_process=in_process),
        jobs=1 if in_process else arguments.jobs,
        known=load_known(arguments.known, today=utc_today()),
        time_ms=parse_time(time) if time else None,
        against=None if arguments.against is None else read_results(arguments.against),
    )


def kinds_in(text: str, /) -> tuple[str, ...]:
    """The kinds of fault that a list names; none for all. UsageError where one is unknown."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown or (text and not names):
        raise UsageError(
            "there is no such kind of fault",
            value=unknown[0] if unknown else text,
            allowed=", ".join(KINDS),
            hint="leave --kinds out for all that apply",
        )
    return tuple(dict.fromkeys(names))


def carry_out(arguments: argparse.Namespace, console: Console, asked: Asked, plan: Plan, /) -> int:
    """Everything from the first execution to the exit code."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    shown = f"{arguments.reports}/latest"
    ready = partial(_ready, asked.setting, asked.specs[0])
    with open_executor(arguments.executor, jobs=asked.jobs, ready=ready) as executor:
        check_modules(asked.specs)
        for note in contract_notes(asked.specs, ready()):
            say(f"note: {note}")
        campaign, rows = _opened(arguments, plan.head)
        with rows:
            spread = Spread(executor, jobs=asked.jobs)
            try:
                results = _campaign(arguments, console, asked, plan, campaign, rows, spread)
            except KeyboardInterrupt:
                kept = f"{rows.tally.executions:,} executions are kept in {shown}"
                raise KeyboardInterrupt(f"{kept}, go on with --resume") from None
    written = (campaign.folder / "results.json").is_file()
    show_exploration(console, results, shown, written=written)
    code: int = results["exit_code"]
    if not written:
        return code  # the disk refused it, which the results say; nothing can be made from it
    return outputs_or_words(campaign.folder, shown, console, code)


def _ready(setting: Setting, spec: RunSpec, /) -> frozenset[str]:
    """Loads the agent and its rules where they will be executed; what the agent offers. An agent
    that has other files there would be judged in place of this one."""
    workers = workers_here(setting)
    offers = workers.try_loading(spec.agent)
    if not agent_is_here(spec):
        raise AdapterError(
            f"{spec.agent} is another one there than here",
            hint="bring the same files to every machine, and start the workers again",
        )
    workers.try_rules(spec.contract)
    return offers


def _opened(arguments: argparse.Namespace, head: Head) -> tuple[Campaign, Rows]:
    """The campaign's folder and its rows. What was written about an unfinished one is taken away
    until it is made anew, since it would speak for executions that are not done."""
    campaign, rows = open_rows(arguments.reports, head, resume=arguments.resume)
    for name in FILES:
        (campaign.folder / name).unlink(missing_ok=True)
    return campaign, rows


def _campaign(
    arguments: argparse.Namespace,
    console: Console,
    asked: Asked,
    plan: Plan,
    campaign: Campaign,
    rows: Rows,
    spread: Spread,
) -> dict[str, Any]:
    """Executions, then findings, shrunk, then runs in full; the results."""
    began_ms, started, before = monotonic_ms(), utc_now(), rows.tally.executions
    until_ms = None if asked.time_ms is None else began_ms + asked.time_ms
    with counting(console) as counted:
        desk = Desk(asked=asked, spread=spread, rows=rows, counted=counted, until_ms=until_ms)
        try:
            found = plan.explore(desk)
        except LabError as error:  # what was found until then is told all the same
            found = Explored(coverage={}, claim=(), complete=False, problems=[str(error)])
        problems = list(found.problems)
        wall_ms = monotonic_ms() - began_ms
        shrunk, files = dict[str, Shrunk](), dict[str, list[str]]()
        try:
            shrunk = _shrunk(desk, plan.base)
            files = _written(arguments, asked, shrunk)
        except (LabError, UsageError) as error:  # what was found is told as it was found
            problems.append(str(error))
        counted.doing("running in full what failed, and samples of what held")
        results = conclude(
            plan.head.kind,
            rows,
            found.coverage,
            plan.base,
            campaign,
            workers_here(asked.setting),
            shrunk=_as_written(shrunk, files),
            known=asked.known,
            # An agent that hangs would hang in each sample for as long as it is watched.
            samples=0 if rows.tally.words.get("broke") else SAMPLES,
            jobs=asked.jobs,
            claim=found.claim,
            statistics=statistics_of(
                rows.tally,
                rows.rows(),
                executed=rows.tally.executions - before,
                wall_ms=wall_ms,
                spent_us=found.spent_us or rows.tally.spent_us,
            ),
            differs=found.differs,
            problems=problems,
            complete=found.complete,
            against=asked.against,
            started=started,
            wall_ms=monotonic_ms() - began_ms,
        )
    return _with_files(campaign, results, files)


def _shrunk(desk: Desk, base: Sequence[RunSpec]) -> dict[str, Shrunk]:
    """The smallest case of each finding, by fingerprint; what is no case any more is left out."""
    found = findings_of(desk.rows.rows(), base, executions=desk.rows.tally.findings)
    cases = [(spec_of(one.first, base), one.fingerprint) for one in found[:FINDINGS_MAX]]
    if cases:
        desk.counted.doing("shrinking what failed")
    shrink = partial(_shrink, desk.asked.setting, _time_to_shrink(desk.asked, len(cases)))
    ends = sorted(desk.spread.each(shrink, cases), key=lambda end: end[0])
    return {small.fingerprint: small for _, small in ends if small.breach is not None}


def _time_to_shrink(asked: Asked, cases: int) -> int | None:
    """Wall time of one case: where the campaign's time is limited, all of them take as long again
    at most, and each as long as an execution may."""
    if asked.time_ms is None or not cases:
        return None
    return max(asked.setting.watchdog_ms, asked.time_ms // -(-cases // asked.jobs))


def _shrink(setting: Setting, time_ms: int | None, case: tuple[RunSpec, str], /) -> Shrunk:
    """One item of an executor's work."""
    return shrink_task(setting, *case, TRIES_MAX, time_ms=time_ms)


def _written(
    arguments: argparse.Namespace, asked: Asked, shrunk: Mapping[str, Shrunk]
) -> dict[str, list[str]]:
    """Keeps each case as a scenario of the team's own; what is known already has one."""
    files: dict[str, list[str]] = {}
    for mark, small in shrunk.items():
        assert small.breach is not None
        if asked.known.state(mark, small.spec.contract.name) == "known":
            continue
        paths = write_regression(
            arguments.regressions,
            small,
            small.breach,
            pytest=arguments.pytest,
            agent=small.spec.agent,
            contract=arguments.contract or "",
        )
        files[mark] = [str(path) for path in paths]
    return files


def _as_written(
    shrunk: Mapping[str, Shrunk], files: Mapping[str, Sequence[str]]
) -> dict[str, Shrunk]:
    """The cases under the names of the files that hold them. Under its own name, which a file of
    another case may have, a run would send its reader, and `seen_in`, to that other case."""
    out = dict(shrunk)
    for mark, paths in files.items():
        spec = out[mark].spec
        scenario = replace(spec.scenario, name=Path(paths[0]).stem if paths else spec.scenario.name)
        spec = replace(spec, scenario=scenario, scenario_text=scenario_toml(scenario))
        out[mark] = replace(out[mark], spec=spec)
    return out


def _with_files(
    campaign: Campaign, results: dict[str, Any], files: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The results with the files that each finding is kept in."""
    exploration = exploration_in(results)
    if not files or exploration is None:
        return results
    findings = [
        {**one, "files": list(files.get(one["fingerprint"], ()))} for one in exploration["findings"]
    ]
    whole = {**results, "exploration": {**exploration, "findings": findings}}
    with suppress(OSError):  # then the results say already that the disk refuses
        write_json(campaign.folder / "results.json", whole)
    return whole
