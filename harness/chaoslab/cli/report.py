"""`chaoslab report`: the page and the other files of a campaign, made again from its folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chaoslab.core.errors import LabError, UsageError
from chaoslab.report.compare import compare
from chaoslab.report.outputs import write_outputs
from chaoslab.run.incoming import read_whole
from chaoslab.run.shards import write_durations
from chaoslab.run.store import read_results


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `chaoslab report` takes."""
    parser.add_argument(
        "campaign",
        nargs="?",
        type=Path,
        default=Path("reports/latest"),
        help="the folder of a campaign (default: reports/latest)",
    )
    parser.add_argument(
        "--against", type=Path, metavar="OLD", help="an older campaign: what is new, what is gone"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--unmasked",
        action="store_true",
        help="the page shows sensitive values as they are in the histories; share it with nobody",
    )
    parser.set_defaults(command=report)


def report(arguments: argparse.Namespace, console: Console) -> int:
    """Writes the files and says what changed. 0 where they could be written: what the campaign
    came to stands in them, and was the exit code of the run."""
    folder: Path = arguments.campaign
    results = read_whole(folder)
    old: dict[str, Any] | None = None
    if arguments.against is not None:
        if arguments.against.resolve() == folder.resolve():
            raise UsageError(
                "a campaign cannot be compared with itself",
                value=str(folder),
                hint="name an older folder below reports/",
            )
        old = read_results(arguments.against)
    into: Path | None = arguments.out
    if into is not None:
        _make(into)
    files = write_outputs(
        folder, shown=str(folder), against=old, unmasked=arguments.unmasked, into=into
    )
    if old is not None:
        for line in compare(old, results).lines():
            console.print(Text(line), soft_wrap=True)
    for path in files:
        console.print(Text(f"Written: {path}"), soft_wrap=True)
    if arguments.unmasked:
        console.print(Text("note: the page shows sensitive values as they are."), soft_wrap=True)
    return 0


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{folder} cannot be made: {error.strerror}") from None


def outputs_or_words(
    folder: Path, shown: str, console: Console, code: int, /, *, durations: Path | None = None
) -> int:
    """The exit code of a command that ends by writing a campaign's files, and a file of durations
    where one is named. Where one of them cannot be written the lab has failed, but a broken
    promise stays what it is."""
    try:
        # These files outlive `latest`, so their commands name the campaign itself.
        files = write_outputs(folder, shown=str(Path(shown).with_name(folder.name)))
        console.print(Text(f"Report:  {shown}/{files[0].name}"), soft_wrap=True)
        if durations is not None:
            write_durations(read_results(folder), durations)
    except LabError as error:
        console.print(Text(f"chaoslab: {error}"), soft_wrap=True)
        return code if code == 1 else error.exit_code
    return code
