"""Arguments, exit codes, and what a person sees when something is wrong.

Exit codes: 2 (usage) before anything runs; then 1 a promise is broken > 4 the lab or the adapter
broke, or a planted bug was missed > 5 not repeatable > 3 unproven where the contract requires >
0; Ctrl-C 130.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from chaoslab import __version__
from chaoslab.cli import accept, agree, commands, explore, merge, record, report, toxiproxy
from chaoslab.cli.init import PIPELINES, init
from chaoslab.cli.options import (
    IN_PROCESS,
    REPORTS,
    campaign_options,
    not_negative,
    positive,
    store_option,
    subject_options,
    toxiproxy_option,
)
from chaoslab.cli.run import run
from chaoslab.core.errors import ChaosError
from chaoslab.core.visible import visible
from chaoslab.run.profiles import PROFILES
from chaoslab.run.shards import DURATIONS_FILE

_PLAIN_WIDTH = 140


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    arguments = _parser().parse_args(argv)
    console = _console()
    try:
        command: Callable[[argparse.Namespace, Console], int] = arguments.command
        return command(arguments, console)
    except ChaosError as error:
        _complain(f"chaoslab: {error}")
        return error.exit_code
    except KeyboardInterrupt as stop:
        kept = "what is finished is kept, go on with --resume"
        _complain(f"chaoslab: interrupted; {str(stop) or kept}")
        return 130
    except OSError as error:
        _silence_stdout()
        _complain(f"chaoslab: the output cannot be written: {error.strerror}")
        return 4
    except Exception:  # Python would end with 1, which says that a promise is broken
        _complain(f"{traceback.format_exc()}chaoslab: the lab itself broke, which is its mistake")
        return 4


class _Console(Console):
    """A console whose reader may leave: then the work goes on, and the exit code is true."""

    def on_broken_pipe(self) -> None:
        """`chaoslab … | head` has seen enough."""
        self.quiet = True
        _silence_stdout()


def _silence_stdout() -> None:
    """Nothing more can be written; the interpreter must not try to flush what is left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _console() -> Console:
    if sys.stdout.isatty():
        return _Console()
    return _Console(width=_PLAIN_WIDTH, no_color=True, highlight=False)


def _complain(text: str) -> None:
    sys.stdout.flush()
    # The words of an exception may be the agent's; they do not get to begin a line of their own.
    shown = re.sub(r"\n(?! )", "\n  ", visible(text, lines=True))
    sys.stderr.write(shown + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chaoslab",
        description="The crash-test lab for AI agents.",
        epilog="exit codes: 0 held, 1 broken, 2 usage, 3 unproven where required, "
        "4 lab or adapter broke, 5 not repeatable, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"chaoslab {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    _run(verbs.add_parser("run", help="run scenarios against an agent"))
    explore.sweep_options(
        verbs.add_parser("sweep", help="strike every call by every fault that applies to it")
    )
    explore.stress_options(
        verbs.add_parser("stress", help="draw scenarios at random, and shrink what fails")
    )
    demo = verbs.add_parser("demo", help="watch an agent charge a card twice, and why")
    demo.add_argument("--reports", type=Path, default=Path("reports"), help=REPORTS)
    demo.set_defaults(command=commands.demo)
    selftest = verbs.add_parser(
        "selftest", help="are all planted bugs found, and is no right agent accused?"
    )
    selftest.add_argument(
        "--executions", type=positive, default=500, help="judged per right agent (default: 500)"
    )
    selftest.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="runs at once")
    selftest.add_argument("--reports", type=Path, default=Path("reports"), help=REPORTS)
    selftest.set_defaults(command=commands.selftest)
    agree.add_options(
        verbs.add_parser("agree", help="does a real backend say what the simulator says?")
    )
    replay = verbs.add_parser("replay", help="do a run again, bit for bit")
    replay.add_argument("run", type=Path, help="the folder of a run, such as reports/latest/<run>")
    replay.add_argument("--in-process", action="store_true", help=IN_PROCESS)
    replay.set_defaults(command=commands.replay)
    listing = verbs.add_parser("list", help="scenarios, planted bugs and checks that ship with it")
    listing.set_defaults(command=commands.listing)
    explain = verbs.add_parser("explain", help="what a check means and what to do about it")
    explain.add_argument(
        "check", help="a check, such as effects.delivery, or a code, such as key-changed"
    )
    explain.set_defaults(command=commands.explain)
    _init(verbs.add_parser("init", help="write a first chaoslab.toml for an agent of your own"))
    record.add_options(
        verbs.add_parser("record", help="let a real provider answer once, and keep what it says")
    )
    merge.add_options(
        verbs.add_parser("merge", help="make the shards of a pipeline one campaign, one exit code")
    )
    accept.add_options(
        verbs.add_parser("accept", help="let a bug be known for a while: by whom, why, until when")
    )
    report.add_options(
        verbs.add_parser("report", help="make the page and the other files of a campaign again")
    )
    toxiproxy.add_options(
        verbs.add_parser("toxiproxy", help="serve the interface of Toxiproxy, with Python alone")
    )
    doctor = verbs.add_parser(
        "doctor", help="what works on this machine; or what an agent offers, and what to add"
    )
    doctor.add_argument("--agent", help="file.py:factory, module:factory, or a .toml with [agent]")
    doctor.add_argument("--contract", help="a contract; default: beside the agent, else here")
    doctor.set_defaults(command=commands.doctor)
    base = verbs.add_parser(
        "docker-base", help="make an image of this machine's Python, for `--backend docker`"
    )
    base.add_argument("--python", default="", help="another interpreter, 3.11 or newer")
    base.set_defaults(command=commands.docker_base)
    return parser


_DURATIONS = f"how long runs took, to divide them by (default: ./{DURATIONS_FILE} if it is there)"
_WRITE_DURATIONS = f"bring a file such as {DURATIONS_FILE} up to date with these runs"


def _run(parser: argparse.ArgumentParser) -> None:
    subject_options(parser)
    parser.add_argument(
        "--backend",
        choices=("sim", "process", "docker"),
        default="",
        help="the simulator, real processes, or these with regions in containers (default: what "
        "the agent needs)",
    )
    store_option(parser)
    parser.add_argument(
        "--repeats",
        type=positive,
        default=3,
        help="on real processes: how often the faults are repeated (default: 3)",
    )
    toxiproxy_option(parser)
    parser.add_argument(
        "--seed", type=not_negative, action="append", default=[], help="may be given several times"
    )
    parser.add_argument("--planted", action="store_true", help="also the planted bugs")
    parser.add_argument(
        "--profile",
        choices=tuple(PROFILES),
        default="",
        help="how much: before a merge, every night, before a release",
    )
    parser.add_argument(
        "--max-time",
        default="",
        metavar="TIME",
        help="90s, 10m or 1h; after it no further run is started (default: the profile's)",
    )
    parser.add_argument(
        "--shard", default="", metavar="I/N", help="one of N parts of the runs, such as 2/4"
    )
    parser.add_argument("--durations", type=Path, metavar="FILE", help=_DURATIONS)
    parser.add_argument("--write-durations", type=Path, metavar="FILE", help=_WRITE_DURATIONS)
    campaign_options(parser)
    parser.set_defaults(command=run)


def _init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--command", dest="command_line", help="how the agent is started")
    parser.add_argument(
        "--submit", default="run", help="run, queue, stdin, or the URL to which tasks are posted"
    )
    parser.add_argument(
        "--service",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="a service of yours; default: those that variables of the environment name",
    )
    parser.add_argument(
        "--discover", action="store_true", help="run it once without faults; write what it calls"
    )
    parser.add_argument("--python", action="store_true", help="write a new agent in Python instead")
    parser.add_argument(
        "--ci", choices=tuple(PIPELINES), default="", help="a file for a pipeline, alone or as well"
    )
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.set_defaults(command=init)
