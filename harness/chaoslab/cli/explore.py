"""What `chaoslab sweep` and `chaoslab stress` take; they themselves are in modules of their own.

Whoever draws scenarios needs Hypothesis, and a command that does not should not wait for it. So the
options are here, and the commands are imported when they are called.

>>> parser = argparse.ArgumentParser()
>>> sweep_options(parser)
>>> parser.parse_args(["matrix", "--depth", "2"]).depth
2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.console import Console

from chaoslab.cli.options import campaign_options, not_negative, positive, subject_options
from chaoslab.cli.stopping import not_lost

RUNS_DEFAULT: Final = 2_000
SHARDS_DEFAULT: Final = 8
DATABASE_DEFAULT: Final = ".chaoslab/examples"


def sweep_options(parser: argparse.ArgumentParser, /) -> None:
    """What `chaoslab sweep` takes."""
    subject_options(parser)
    parser.add_argument(
        "--depth",
        type=_depth,
        default=1,
        help="1: each strike alone; 2: also every pair, the second where the first leads "
        "(default: 1)",
    )
    parser.add_argument(
        "--seed",
        type=not_negative,
        action="append",
        default=[],
        help="a schedule; may be given several times (default: each scenario's first)",
    )
    parser.add_argument(
        "--max-time",
        default="",
        metavar="TIME",
        help="90s, 10m or 1h; after it no further batch is started, and what is left out is said",
    )
    parser.add_argument(
        "--no-reduction",
        action="store_true",
        help="execute also the strikes that are proven to be the same as another",
    )
    parser.add_argument(
        "--kinds",
        default="",
        metavar="KIND,KIND",
        help="only these kinds of fault, such as crash,silence (default: all that apply)",
    )
    parser.add_argument(
        "--sessions", type=positive, metavar="N", help="sessions (default: the scenario's)"
    )
    parser.add_argument(
        "--tasks", type=positive, metavar="N", help="tasks a session (default: the scenario's)"
    )
    _shared(parser)
    parser.set_defaults(command=sweep)


def stress_options(parser: argparse.ArgumentParser, /) -> None:
    """What `chaoslab stress` takes."""
    subject_options(parser)
    parser.add_argument(
        "--runs",
        type=positive,
        metavar="N",
        help=f"executions (default: {RUNS_DEFAULT}, or with --time as many as fit into it)",
    )
    parser.add_argument(
        "--time", default="", metavar="TIME", help="90s, 10m or 1h; after it nothing is started"
    )
    parser.add_argument(
        "--seed", type=not_negative, default=0, help="the root of what is drawn (default: 0)"
    )
    parser.add_argument(
        "--shards",
        type=positive,
        default=SHARDS_DEFAULT,
        metavar="N",
        help="in how many parts it is drawn, wherever they are executed "
        f"(default: {SHARDS_DEFAULT})",
    )
    parser.add_argument(
        "--database",
        default=DATABASE_DEFAULT,
        metavar="PLACE",
        help=f"what failed before: a folder, or redis://host:port/0 (default: {DATABASE_DEFAULT})",
    )
    _shared(parser)
    parser.set_defaults(command=stress)


def _shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--executor",
        default="",
        metavar="WHERE",
        help="dask://host:port, a Dask cluster (default: processes of this machine)",
    )
    parser.add_argument(
        "--against", type=Path, metavar="OLD", help="an older sweep or stress to compare with"
    )
    parser.add_argument(
        "--regressions",
        type=Path,
        default=Path("scenarios/regressions"),
        metavar="DIR",
        help="where shrunk scenarios are written (default: scenarios/regressions)",
    )
    parser.add_argument(
        "--pytest", action="store_true", help="write a test file beside each shrunk scenario"
    )
    campaign_options(parser)


def _depth(text: str) -> int:
    if text not in ("1", "2"):
        raise argparse.ArgumentTypeError(
            f"got {text!r}; allowed: 1 or 2; next: chaoslab stress draws up to three faults"
        )
    return int(text)


def sweep(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab sweep`."""
    return _begun("sweep", arguments, console)


def stress(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab stress`."""
    return _begun("stress", arguments, console)


def _begun(name: str, arguments: argparse.Namespace, console: Console) -> int:
    """Carries a command out. It is looked up late, since every other one would wait for it."""
    command: Callable[[argparse.Namespace, Console], int]
    with not_lost():
        command = getattr(import_module(f"chaoslab.cli.{name}"), name)
    return command(arguments, console)
