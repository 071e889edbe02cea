"""`chaoslab toxiproxy`: the embedded server by itself, for any client of Toxiproxy."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress

from rich.console import Console
from rich.text import Text

from chaoslab.cli.options import not_negative
from chaoslab.core.errors import UsageError

_PORT_MAX = 65_535


def add_options(parser: argparse.ArgumentParser, /) -> None:
    """The options of the command."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="an address of loopback (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=not_negative, default=8474, help="0: any free one (default: 8474)"
    )
    parser.add_argument(
        "--seed", type=not_negative, default=0, help="of toxicity, jitter and slices (default: 0)"
    )
    parser.set_defaults(command=toxiproxy)


def toxiproxy(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab toxiproxy`."""
    # Imported here, since no other command needs it and each would wait for it.
    from chaoslab.links.running import serve  # noqa: PLC0415

    host = "127.0.0.1" if arguments.host == "localhost" else arguments.host
    _check(host, arguments.port)

    def ready(port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        console.print(Text(f"listening on http://{shown}:{port} (Ctrl-C ends it)"), soft_wrap=True)

    try:
        asyncio.run(serve(host=host, port=arguments.port, seed=arguments.seed, ready=ready))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("all its proxies are closed") from None
    return 0


def _check(host: str, port: int) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            "whoever reaches this server may open any connection from here, so it listens on "
            "loopback only",
            value=host,
            allowed="127.0.0.1, ::1, localhost",
            hint="leave --host out; from another machine, reach it through a tunnel",
        )
    if port > _PORT_MAX:
        raise UsageError(
            "there is no such port",
            value=port,
            allowed=f"0 to {_PORT_MAX}",
            hint="use --port 0 for any free one",
        )
