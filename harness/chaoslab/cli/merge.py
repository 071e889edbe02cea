"""`chaoslab merge`: the shards of a pipeline as one campaign, with one report and one exit code."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.text import Text

from chaoslab.cli.report import outputs_or_words
from chaoslab.core.clock import utc_today
from chaoslab.report.terminal import show_results
from chaoslab.run.known import KNOWN_FILE, load_known
from chaoslab.run.merge import joined, merged
from chaoslab.run.profiles import cut_words
from chaoslab.run.shards import DURATIONS_FILE, check_durations
from chaoslab.run.store import Campaign


def add_options(parser: argparse.ArgumentParser, /) -> None:
    """The options of the command."""
    parser.add_argument(
        "dir",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="a campaign, or a folder of campaigns such as a pipeline's artifacts",
    )
    parser.add_argument(
        "--reports",
        type=Path,
        default=Path("reports"),
        help="where the campaign that they make is written (default: reports)",
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help=f"the known bugs (default: ./{KNOWN_FILE} if it is there)",
    )
    parser.add_argument(
        "--write-durations",
        type=Path,
        metavar="FILE",
        help=f"bring a file such as {DURATIONS_FILE} up to date with these runs",
    )
    parser.set_defaults(command=merge)


def merge(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab merge`."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    known = load_known(arguments.known, today=utc_today())
    check_durations(arguments.write_durations)
    found = joined(arguments.dir)
    campaign = Campaign.create(arguments.reports)
    results, notes = merged(found, campaign, known=known)
    for part in found.parts:
        runs = len(part.results["runs"])
        which = f" (shard {part.shard['index']} of {part.shard['of']})" if part.shard else ""
        say(f"merged {part.name}{which}: {runs} {'run' if runs == 1 else 'runs'}")
    for note in notes:
        say(f"note: {note}")
    shown = f"{arguments.reports}/latest"
    show_results(console, results, shown)
    for gap in found.gaps:
        say(f"MISSING  {gap}")
    if results["cut"]:
        say(cut_words(results["cut"]))
    code: int = results["exit_code"]
    durations: Path | None = arguments.write_durations
    return outputs_or_words(campaign.folder, shown, console, code, durations=durations)
