"""`chaoslab run`: scenarios against an agent, a table, and the reasons for what did not hold."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chaoslab.backends.live import check_packages
from chaoslab.cli.progress import progress
from chaoslab.cli.report import outputs_or_words
from chaoslab.contract.stores import store_from
from chaoslab.core.clock import monotonic_ms, utc_today
from chaoslab.core.errors import UsageError
from chaoslab.report.outputs import FILES
from chaoslab.report.terminal import show_results
from chaoslab.run.campaign import run_all
from chaoslab.run.controls import planted_specs
from chaoslab.run.known import load_known
from chaoslab.run.model import RunSpec
from chaoslab.run.profiles import (
    PROFILES,
    Profile,
    cut_words,
    names_for,
    order,
    parse_time,
    time_text,
    with_seeds,
)
from chaoslab.run.select import (
    REFERENCE,
    check_modules,
    contract_notes,
    scenario_files,
    specs_for,
    with_store,
    with_toxiproxy,
)
from chaoslab.run.shards import (
    check_durations,
    load_durations,
    parse_shard,
    part,
    plan_of,
    shard_json,
)
from chaoslab.run.store import Campaign
from chaoslab.run.team import has_agent, is_team_file, shares
from chaoslab.run.workers import Workers

OWN = "chaoslab.toml"


def run(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab run`."""
    agent = arguments.agent or (OWN if has_agent(Path(OWN)) else REFERENCE)
    profile = PROFILES.get(arguments.profile)
    max_ms = _max_ms(arguments.max_time, profile)
    known = load_known(arguments.known, today=utc_today())
    subjects, plan = _asked(arguments, agent, profile)
    specs, shard = _part(arguments, order(plan) if profile or max_ms else plan)
    targets = [spec.target for spec in plan if spec.target is not None]
    if targets:
        check_packages(containers=any(target.containers for target in targets))
    reports: Path = arguments.reports
    workers = Workers(watchdog_ms=arguments.watchdog * 1000, in_process=arguments.in_process)

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    try:
        offers = frozenset({"recover"}) if is_team_file(agent) else workers.try_loading(agent)
        if subjects:
            workers.try_rules(subjects[0].contract)
        check_modules(specs)
        for note in contract_notes(subjects, offers):
            say(f"note: {note}")
        jobs = arguments.jobs
        if jobs > 1 and any(shares(spec.contract) for spec in specs if spec.target is not None):
            jobs = 1
            say(
                "note: one run after the other, since all of them share what the contract "
                "resets or does not start"
            )
        if shard is not None:
            say(f"shard {arguments.shard}: {len(specs)} of {len(plan)} runs")
        campaign = _campaign(reports, specs) if arguments.resume else Campaign.create(reports)
        with progress(console, len(specs)) as on_run:
            results = run_all(
                specs,
                campaign,
                workers,
                jobs=jobs,
                on_run=on_run,
                until_ms=monotonic_ms() + max_ms if max_ms else None,
                profile=arguments.profile or None,
                shard=shard,
                known=known,
            )
    finally:
        workers.close()
    show_results(console, results, str(reports / "latest"))
    if results["cut"]:
        say(cut_words(results["cut"], limit=time_text(max_ms)))
    shown, durations = str(reports / "latest"), arguments.write_durations
    code: int = results["exit_code"]
    return outputs_or_words(campaign.folder, shown, console, code, durations=durations)


def _asked(
    arguments: argparse.Namespace, agent: str, profile: Profile | None
) -> tuple[list[RunSpec], list[RunSpec]]:
    """The runs of the agent, and all runs: the planted bugs with them."""
    subjects = specs_for(
        scenario_files(names_for(arguments.scenarios, profile)),
        agent,
        contract=arguments.contract,
        seeds=arguments.seed,
        backend=arguments.backend,
        repeats=arguments.repeats,
    )
    subjects = with_store(subjects, store_from(arguments.store))
    subjects = with_toxiproxy(subjects, arguments.toxiproxy)
    if profile is not None and not arguments.seed:
        subjects = with_seeds(subjects, profile.seeds)
    if not (arguments.planted or (profile is not None and profile.planted)):
        return subjects, subjects
    ids = {spec.id for spec in subjects}  # whoever asks for a planted bug by name gets it once
    planted = planted_specs([spec.scenario.id for spec in subjects])
    return subjects, subjects + [spec for spec in planted if spec.id not in ids]


def _max_ms(text: str, profile: Profile | None) -> int:
    """The limit of the command line, else that of the profile; 0 for none."""
    if text:
        return parse_time(text)
    return (profile.max_time_ms if profile is not None else None) or 0


def _part(
    arguments: argparse.Namespace, plan: list[RunSpec]
) -> tuple[list[RunSpec], dict[str, Any] | None]:
    """What of the plan is to be done here, and what the results say of it. Files that cannot be
    read are refused before anything runs."""
    durations = load_durations(arguments.durations)
    check_durations(arguments.write_durations)
    if not arguments.shard:
        return plan, None
    shard = parse_shard(arguments.shard)
    specs = part(plan, shard, durations)
    return specs, shard_json(shard, plan_of(plan, durations, of=shard.of))


def _campaign(reports: Path, specs: list[RunSpec]) -> Campaign:
    """The newest campaign, if it is one of these runs. What was written about it is taken away
    until it is made anew: were this command killed, it would speak for runs that are not done."""
    campaign = Campaign.latest(reports)
    if specs and not any((campaign.folder / spec.id).is_dir() for spec in specs):
        raise UsageError(
            "the newest campaign has none of these runs",
            value=str(campaign.folder),
            hint="run without --resume, or with the scenarios and the agent of that campaign",
        )
    for name in ("results.json", *FILES):
        (campaign.folder / name).unlink(missing_ok=True)
    return campaign
