"""`chaoslab agree`: does a real backend say what the simulator says?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chaoslab.cli.options import REPORTS, positive
from chaoslab.cli.progress import steps
from chaoslab.core.clock import monotonic_ms
from chaoslab.report.agreement import show_agreement
from chaoslab.report.files import write_text
from chaoslab.report.outputs import write_outputs
from chaoslab.report.page.agreement import agreement_html
from chaoslab.run.agreeing import REPEATS, SEEDS, subjects_of
from chaoslab.run.agreeing import agree as carry_out
from chaoslab.run.profiles import parse_time
from chaoslab.run.store import Campaign, write_json
from chaoslab.run.ways import WAYS, ways_of
from chaoslab.run.workers import Workers


def add_options(parser: argparse.ArgumentParser, /) -> None:
    """What `chaoslab agree` takes."""
    parser.add_argument(
        "names",
        nargs="*",
        help="planted bugs, agents, scenarios, families, or planted, reference, right; default: "
        "all",
    )
    parser.add_argument(
        "--ways",
        default="",
        metavar="WAY,WAY",
        help=f"of {', '.join(way.name for way in WAYS)} (default: all whose parts are here)",
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        default=SEEDS,
        metavar="N",
        help=f"schedules in the simulator (default: {SEEDS})",
    )
    parser.add_argument(
        "--repeats",
        type=positive,
        default=REPEATS,
        help=f"on real processes: how often the faults are repeated (default: {REPEATS})",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="right agents in all their scenarios, and all of them on every way",
    )
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument(
        "--max-time", default="", metavar="TIME", help="90s, 10m or 1h; after it no run is started"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the table as JSON, there too")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help=REPORTS)
    parser.set_defaults(command=agree)


def agree(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab agree`."""
    until_ms = monotonic_ms() + parse_time(arguments.max_time) if arguments.max_time else None
    subjects = subjects_of(arguments.names, full=arguments.full)
    ways, absent = ways_of([name for name in arguments.ways.split(",") if name])
    for name, why in absent.items():
        console.print(Text(f"absent: {name}: {why}"), soft_wrap=True)
    workers = Workers()
    try:
        campaign = Campaign.create(arguments.reports)
        with steps(console, len(subjects) * (1 + len(ways))) as advance:
            results = carry_out(
                subjects,
                ways,
                absent,
                campaign,
                workers,
                jobs=arguments.jobs,
                seeds=arguments.seeds,
                repeats=arguments.repeats,
                until_ms=until_ms,
                full=arguments.full,
                advance=advance,
            )
    finally:
        workers.close()
    shown = str(arguments.reports / "latest")
    write_text(campaign.folder / "agreement.html", agreement_html(results))
    for way in ways:
        write_outputs(campaign.folder / way.name, shown=f"{shown}/{way.name}")
    if arguments.json is not None:
        write_json(arguments.json, results)
    show_agreement(console, results, shown)
    code: int = results["exit_code"]
    return code
