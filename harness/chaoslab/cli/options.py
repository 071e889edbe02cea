"""Options that several commands share, so that they mean the same and read the same in each.

>>> parser = argparse.ArgumentParser()
>>> subject_options(parser)
>>> parser.parse_args(["matrix", "--agent", "mine.py:make_agent"]).agent
'mine.py:make_agent'
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from chaoslab.run.known import KNOWN_FILE

REPORTS: Final = "where results go (default: reports)"
IN_PROCESS: Final = "run here, without workers or watchdog, for a debugger"
_KNOWN: Final = f"breaches accepted for a time (default: ./{KNOWN_FILE} if it is there)"


def subject_options(parser: argparse.ArgumentParser, /) -> None:
    """What is tested: scenarios, agent, contract."""
    parser.add_argument(
        "scenarios",
        nargs="*",
        help="a .toml file, a folder, a family or family/name; default: matrix",
    )
    parser.add_argument(
        "--agent",
        help="file.py:factory, module:factory, or a .toml with [agent]; default: "
        "./chaoslab.toml if it has one, else the reference agent",
    )
    parser.add_argument("--contract", help="a contract; default: beside the agent, else here")


def campaign_options(parser: argparse.ArgumentParser, /) -> None:
    """How a campaign is carried out, where it is written, and what of it is known already."""
    parser.add_argument("--known", type=Path, metavar="FILE", help=_KNOWN)
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="runs at once")
    parser.add_argument("--reports", type=Path, default=Path("reports"), help=REPORTS)
    parser.add_argument("--resume", action="store_true", help="go on with the newest campaign")
    parser.add_argument(
        "--watchdog", type=positive, default=20, metavar="SECONDS", help="wall time per execution"
    )
    parser.add_argument("--in-process", action="store_true", help=IN_PROCESS)


def store_option(parser: argparse.ArgumentParser, /) -> None:
    """Where executions on real processes keep memory."""
    parser.add_argument(
        "--store",
        default="sqlite",
        metavar="STORE",
        help="on real processes: where regions keep memory; sqlite, postgresql://USER@HOST:PORT/DB "
        "(the password in PGPASSWORD), or postgresql for the address in CHAOSLAB_POSTGRES "
        "(default: sqlite)",
    )


def toxiproxy_option(parser: argparse.ArgumentParser, /) -> None:
    """What stands in the lines of executions on real processes."""
    parser.add_argument(
        "--toxiproxy",
        default="",
        metavar="HOW",
        help="on real processes: a Toxiproxy server in every line of the regions; embedded, "
        "original, or the http:// address of one that runs (default: none)",
    )


def positive(text: str, /) -> int:
    """An integer of 1 or more."""
    return _integer(text, 1)


def not_negative(text: str, /) -> int:
    """An integer of 0 or more."""
    return _integer(text, 0)


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least or value >= 2**63:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: an integer of {least} or more")
    return value
