"""`chaoslab record`: a real provider answers the agent once, and what it said is kept.

The provider's key is read from one variable of the environment, which nothing that is started
meanwhile inherits.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

from chaoslab.backends.live import check_packages
from chaoslab.core.errors import UsageError
from chaoslab.core.visible import visible
from chaoslab.run.record import record as record_tasks
from chaoslab.serve.loopback import is_loopback

OWN: Final = "chaoslab.toml"
KEY: Final = "OPENAI_API_KEY"


def add_options(parser: argparse.ArgumentParser, /) -> None:
    """The options of the command."""
    parser.add_argument("--agent", default=OWN, help=f"a .toml with [agent] (default: {OWN})")
    parser.add_argument(
        "--provider",
        required=True,
        metavar="URL",
        help="an OpenAI-compatible API, up to /v1; beyond this machine it is contacted only "
        "because you name it here",
    )
    parser.add_argument(
        "--key-env",
        default=KEY,
        metavar="NAME",
        help=f"the variable that holds its key; it is never written or passed on (default: {KEY})",
    )
    parser.add_argument(
        "--model", default="", metavar="NAME", help="default: the one that the agent asks for"
    )
    parser.add_argument(
        "--tasks", type=_count, default=1, help="how many of each kind (default: 1)"
    )
    parser.add_argument("--force", action="store_true", help="write over recordings that are there")
    parser.set_defaults(command=record)


def record(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab record`."""
    check_packages()
    from chaoslab.serve.provider import Provider  # noqa: PLC0415 - needs the extra

    name: str = arguments.key_env
    with _withheld(name) as key:
        if not key and (name != KEY or not _is_here(arguments.provider)):
            raise UsageError(
                f"the variable {name} holds no key for the provider",
                allowed="a variable of the environment that holds one",
                hint="set it, or name another with --key-env",
            )
        provider = Provider.at(arguments.provider, key=key, model=arguments.model)
        _say(console, f"Recording with {provider.url} …")
        done = record_tasks(
            arguments.agent,
            lambda task, messages, tools: provider.complete(messages, tools),
            tasks=arguments.tasks,
            force=arguments.force,
        )
    for one in done.made:
        answers = "1 answer" if one.answers == 1 else f"{one.answers} answers"
        _say(console, f"{one.path} is written: {answers} for [tasks.{one.kind}].")
    for note in done.notes:
        _say(console, f"note: {note}")
    for one in done.made:
        if one.line:
            _say(console, f"Add to [tasks.{one.kind}]: {one.line}")
    _say(console, "Next: chaoslab run, which follows the recording from now on.")
    return 0


@contextmanager
def _withheld(name: str) -> Iterator[str]:
    """The value of a variable, which is not in the environment meanwhile."""
    value = os.environ.pop(name, None)
    try:
        yield "" if value is None else value.strip()
    finally:
        if value is not None:
            os.environ[name] = value


def _is_here(url: str) -> bool:
    """Whether an address is on this machine; what cannot be read is complained about later."""
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return True


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"got {text!r}; allowed: an integer from 1 to 100")
    return int(text)


def _say(console: Console, text: str) -> None:
    console.print(Text(visible(text)), soft_wrap=True)
