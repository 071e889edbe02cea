"""What each command does."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chaoslab.backends.docker.base import make_base
from chaoslab.backends.docker.daemon import connected
from chaoslab.backends.live import check_packages
from chaoslab.check import CHECK_IDS, TITLES
from chaoslab.check import explain as explained
from chaoslab.cli.init import doctor_agent
from chaoslab.cli.probes import probes
from chaoslab.cli.progress import steps
from chaoslab.cli.report import outputs_or_words
from chaoslab.core.errors import UsageError
from chaoslab.core.resources import display_path
from chaoslab.core.visible import visible
from chaoslab.history import read
from chaoslab.report.selftest import show_selftest
from chaoslab.report.terminal import reasons
from chaoslab.run.campaign import run_all
from chaoslab.run.controls import planted_bugs, planted_specs, right_agents
from chaoslab.run.model import run_json
from chaoslab.run.perform import difference, perform
from chaoslab.run.rebuild import spec_of
from chaoslab.run.select import (
    known_scenarios,
    scenario_files,
    specs_for,
    with_store,
)
from chaoslab.run.selftest import selftest as judge_checks
from chaoslab.run.store import Campaign, read_run
from chaoslab.run.workers import Workers
from chaoslab.scenario import load_scenario

DEMO_AGENT = "fixtures/agents/double_charge.py:make_agent"
DEMO_SCENARIO = "matrix/timeout-after-commit"


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
    shown = str(reports / "latest")
    show_selftest(console, results, shown)
    return outputs_or_words(campaign.folder, shown, console, results["exit_code"])


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
    console.print()
    return outputs_or_words(campaign.folder, folder, console, 0)


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
            key = visible(str(op.key))
            say(f"  {op.get('ref'):<22} {op.get('args')['amount_cents']:>6} cents   key {key}")
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
    if spec.target is not None:
        check_packages(containers=spec.target.containers)
        [spec] = with_store([spec], spec.target.store)
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
        console.print(Text(f"NOT the same: {visible(record.mask.text(differs))}"), soft_wrap=True)
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


def docker_base(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab docker-base`."""
    with connected() as client:
        name = make_base(client, python=arguments.python)
        size = client.images.get(name).attrs["Size"] >> 20
    console.print(Text(f"{name} is made ({size} MiB); `chaoslab run --backend docker` uses it."))
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
