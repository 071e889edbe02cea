"""What each command does."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chaoslab.backends.live import check_packages
from chaoslab.check import CHECK_IDS, TITLES
from chaoslab.check import explain as explained
from chaoslab.cli.init import doctor_agent
from chaoslab.cli.probes import probes
from chaoslab.cli.progress import progress, steps
from chaoslab.core.errors import UsageError
from chaoslab.core.resources import display_path
from chaoslab.history import read
from chaoslab.report.selftest import show_selftest
from chaoslab.report.terminal import reasons, show_results
from chaoslab.run.campaign import run_all
from chaoslab.run.controls import planted_bugs, planted_specs, right_agents
from chaoslab.run.model import RunSpec, run_json
from chaoslab.run.perform import difference, perform
from chaoslab.run.rebuild import spec_of
from chaoslab.run.select import (
    REFERENCE,
    check_modules,
    contract_notes,
    known_scenarios,
    scenario_files,
    specs_for,
)
from chaoslab.run.selftest import selftest as judge_checks
from chaoslab.run.store import Campaign, read_run
from chaoslab.run.team import has_agent, is_team_file, shares
from chaoslab.run.workers import Workers
from chaoslab.scenario import load_scenario

DEMO_AGENT = "fixtures/agents/double_charge.py:make_agent"
DEMO_SCENARIO = "matrix/timeout-after-commit"
OWN = "chaoslab.toml"


def run(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab run`."""
    files = scenario_files(arguments.scenarios or ["matrix"])
    agent = arguments.agent or (OWN if has_agent(Path(OWN)) else REFERENCE)
    specs = specs_for(
        files,
        agent,
        contract=arguments.contract,
        seeds=arguments.seed,
        backend=arguments.backend,
        repeats=arguments.repeats,
    )
    if any(spec.target is not None for spec in specs):
        check_packages()
    subjects = tuple(specs)
    if arguments.planted:
        specs += planted_specs([s.scenario.id for s in specs])
    reports: Path = arguments.reports
    workers = Workers(watchdog_ms=arguments.watchdog * 1000, in_process=arguments.in_process)
    try:
        offers = frozenset({"recover"}) if is_team_file(agent) else workers.try_loading(agent)
        if subjects:
            workers.try_rules(subjects[0].contract)
        check_modules(specs)
        for note in contract_notes(subjects, offers):
            console.print(Text(f"note: {note}"), soft_wrap=True)
        jobs = arguments.jobs
        if jobs > 1 and any(shares(spec.contract) for spec in specs if spec.target is not None):
            jobs = 1
            console.print(
                Text(
                    "note: one run after the other, since all of them share what the contract "
                    "resets or does not start"
                ),
                soft_wrap=True,
            )
        campaign = _campaign(reports, specs) if arguments.resume else Campaign.create(reports)
        with progress(console, len(specs)) as on_run:
            results = run_all(specs, campaign, workers, jobs=jobs, on_run=on_run)
    finally:
        workers.close()
    show_results(console, results, str(reports / "latest"))
    code: int = results["exit_code"]
    return code


def _campaign(reports: Path, specs: list[RunSpec]) -> Campaign:
    """The newest campaign, if it is one of these runs."""
    campaign = Campaign.latest(reports)
    if not any((campaign.folder / spec.id).is_dir() for spec in specs):
        raise UsageError(
            "the newest campaign has none of these runs",
            value=str(campaign.folder),
            hint="run without --resume, or with the scenarios and the agent of that campaign",
        )
    return campaign


def selftest(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab selftest`."""
    reports: Path = arguments.reports
    bugs, right = planted_specs(), right_agents()
    workers = Workers()
    try:
        campaign = Campaign.create(reports)
        total = len(bugs) + len(right) * arguments.executions
        with steps(console, total) as advance:
            results = judge_checks(
                campaign,
                workers,
                jobs=arguments.jobs,
                executions=arguments.executions,
                advance=advance,
            )
    finally:
        workers.close()
    show_selftest(console, results, str(reports / "latest"))
    code: int = results["exit_code"]
    return code


def demo(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab demo`."""
    specs = specs_for(scenario_files([DEMO_SCENARIO]), DEMO_AGENT, seeds=[0])
    campaign = Campaign.create(arguments.reports)
    workers = Workers()
    try:
        results = run_all(specs, campaign, workers, jobs=1, on_run=lambda entry, record: None)
    finally:
        workers.close()
    entry = results["runs"][0]
    folder = f"{arguments.reports}/latest"
    found = [v for v in entry["violations"] if v["check"] == "effects.delivery"]
    if entry["broke"] or not found:
        console.print(Text("\n".join(reasons([entry], folder))))
        return 4
    _show_demo(console, campaign.folder / entry["id"], entry, found[0], folder)
    return 0


def _show_demo(
    console: Console, folder: Path, entry: dict[str, Any], violation: dict[str, Any], shown: str
) -> None:
    def say(text: str = "") -> None:
        console.print(Text(text), soft_wrap=True)

    say(f"Scenario: {entry['title']}.")
    say(f"Agent:    {DEMO_AGENT.partition(':')[0]}, which retries when no answer comes.")
    say()
    say("What the payment service's ledger says:")
    marker = violation["subject"]
    for op in read(folder / "fault.jsonl").ops:
        if op.type == "commit" and op.index in violation["witness"]:
            marker = op.marker
            say(f"  {op.get('ref'):<22} {op.get('args')['amount_cents']:>6} cents   key {op.key}")
    say()
    say(f"Why {marker} was paid twice:")
    for line in violation["because"]:
        say(line)
    say()
    say("The same again, bit for bit:")
    say(f"  chaoslab replay {shown}/{entry['id']}")


def replay(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab replay`."""
    folder: Path = arguments.run
    if not (folder / "run.json").is_file():
        raise UsageError(
            "there is no finished run to replay",
            value=str(folder),
            allowed="a folder of a run, with run.json in it",
            hint="ls reports/latest",
        )
    before = read_run(folder / "run.json")["run"]
    # Where the agent was broken without any fault, that execution is all there is.
    name = "fault.jsonl" if before["faults_ran"] else "control.jsonl"
    spec = spec_of(folder)
    workers = Workers(in_process=arguments.in_process)
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as scratch:
        try:
            record = perform(spec, workers, Path(scratch))
        finally:
            workers.close()
        entry = run_json(record)
        if record.broke:
            console.print(Text("\n".join(reasons([entry], str(folder.parent)))))
            return 4
        if spec.target is None:
            old, new = read(folder / name), read(Path(scratch) / name)
    for text in reasons([entry], str(folder.parent)):
        console.print(Text(text), soft_wrap=True)
    if spec.target is not None:
        return _done_again(console, before, entry)
    differs = difference(old, new)
    if differs:
        console.print(Text(f"NOT the same: {differs}"), soft_wrap=True)
        return 5
    console.print(
        Text(
            f"Bit for bit the same: {len(new.ops)} entries, digest {new.digest} "
            f"(recorded {before['digest']})."
        ),
        soft_wrap=True,
    )
    return 0


def _done_again(console: Console, before: dict[str, Any], now: dict[str, Any]) -> int:
    """What a run on real processes showed this time, compared with what is on record."""
    old, new = ({v["fingerprint"]: v for v in run["violations"]} for run in (before, now))
    console.print(
        Text(
            f"Done again on real processes, which is no replay bit for bit: {now['verdict']} "
            f"(recorded {before['verdict']}), {len(old.keys() & new.keys())} of {len(old)} "
            "bugs seen again."
        ),
        soft_wrap=True,
    )
    for mark in sorted(old.keys() - new.keys()):
        missing = old[mark]
        console.print(
            Text(
                f"  not seen this time: {missing['check']} ({missing['code']}); what a ledger "
                "proved once stays proven"
            ),
            soft_wrap=True,
        )
    return 0 if old.keys() <= new.keys() and now["verdict"] == before["verdict"] else 3


def listing(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab list`."""
    console.print(Text("Scenarios (chaoslab run NAME):"))
    for name in known_scenarios():
        scenario = load_scenario(scenario_files([name])[0])
        console.print(Text(f"  {name:<40} {scenario.title}"), soft_wrap=True)
    console.print(Text("\nPlanted bugs (agents that are wrong on purpose):"))
    for bug in planted_bugs():
        where = display_path(Path(bug.agent.partition(":")[0]))
        console.print(Text(f"  {where:<48} {bug.bug} [{bug.check}]"), soft_wrap=True)
    console.print(Text("\nRight agents of other designs (no check may object to them):"))
    for right in right_agents():
        where = display_path(Path(right.agent.partition(":")[0]))
        console.print(Text(f"  {where:<48} {right.design}"), soft_wrap=True)
    console.print(Text("\nChecks (chaoslab explain CHECK):"))
    for check in CHECK_IDS:
        console.print(Text(f"  {check:<24} {TITLES[check]}"), soft_wrap=True)
    return 0


def explain(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab explain`."""
    console.print(Text(explained(arguments.check)), soft_wrap=True)
    return 0


def doctor(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab doctor`."""
    if arguments.agent is not None:
        return doctor_agent(arguments, console)
    ok = True
    for probe in probes():
        mark = "ok     " if probe.works else ("MISSING" if probe.needed else "absent ")
        ok = ok and (probe.works or not probe.needed)
        console.print(Text(f"{mark}  {probe.name:<22} {probe.words}"), soft_wrap=True)
    return 0 if ok else 4
