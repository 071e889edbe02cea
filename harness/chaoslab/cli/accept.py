"""`chaoslab accept`: somebody answers for a bug, for a while, and the gate lets it through.

It writes `chaoslab-known.toml`, which belongs into the repository: who let a bug through, why and
until when is then reviewed like code.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from chaoslab.core.clock import utc_today
from chaoslab.core.errors import UsageError
from chaoslab.core.visible import visible
from chaoslab.run.accepting import acceptable, accepted, expiry
from chaoslab.run.known import DAYS_MAX, KNOWN_FILE, Known, load_known, write_known
from chaoslab.run.store import read_results, read_run


def add_options(parser: argparse.ArgumentParser, /) -> None:
    """The options of the command."""
    parser.add_argument(
        "run",
        type=Path,
        help="the folder of a run, such as reports/latest/<run>, or of a campaign",
    )
    parser.add_argument("--owner", required=True, metavar="WHO", help="who answers for it")
    parser.add_argument("--reason", required=True, metavar="WHY", help="why it may stay for now")
    parser.add_argument(
        "--expires",
        required=True,
        metavar="DAY",
        help=f"its last day: YYYY-MM-DD or, from today on, such as 30d; at most {DAYS_MAX} days",
    )
    parser.add_argument(
        "--fingerprint",
        action="append",
        default=[],
        metavar="F",
        help="only this bug (its first 6 characters are enough); may be given several times",
    )
    parser.add_argument(
        "--known",
        type=Path,
        default=Path(KNOWN_FILE),
        metavar="FILE",
        help=f"the file that is written (default: {KNOWN_FILE})",
    )
    parser.set_defaults(command=accept)


def accept(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab accept`."""
    path: Path = arguments.known
    told = _told(arguments.run)
    today = utc_today()
    before = load_known(path, today=today) if path.exists() else Known(path=str(path), today=today)
    expires = expiry(arguments.expires, today)
    chosen = acceptable(before, told, fingerprints=arguments.fingerprint)
    after = accepted(
        before,
        told,
        owner=arguments.owner,
        reason=arguments.reason,
        expires=expires,
        fingerprints=arguments.fingerprint,
    )
    write_known(after, path)
    for one in chosen:
        again = " again" if before.state(one.fingerprint, one.contract) else ""
        _say(
            console,
            f"accepted{again} until {expires}: {one.words} of {one.contract}, "
            f"{one.fingerprint}, seen in {_counted(len(one.seen_in), 'run')}",
        )
    _say(console, f"{path} is written: {_counted(len(after.entries), 'known bug')}.")
    _say(
        console,
        f"Next: commit {path}; until then the gate of your pipeline does not know of it.",
    )
    return 0


def _told(folder: Path) -> Mapping[str, Any]:
    """What a run or a campaign has shown."""
    if (folder / "run.json").is_file():
        run: Mapping[str, Any] = read_run(folder / "run.json")["run"]
        return run
    if (folder / "results.json").is_file():
        return read_results(folder)
    raise UsageError(
        "there is no finished run or campaign",
        value=str(folder),
        allowed="a folder with run.json or results.json in it",
        hint="ls reports/latest",
    )


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _say(console: Console, text: str) -> None:
    console.print(Text(visible(text)), soft_wrap=True)
