"""`python -m chaoslab.regions`: one region in a process of its own.

    python -m chaoslab.regions --name eu --data DIR --token T [--host 127.0.0.1] [--port N]
        [--peer-port N] [--store sqlite|postgresql://…?schema=NAME]

When it can be spoken with, it prints one line of JSON with both its ports. SIGTERM ends it. The
token may stand in the environment instead, as CHAOSLAB_TOKEN, where no process list shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from chaoslab.regions.server import Region
from chaoslab.regions.sqlite import SqliteStore
from chaoslab.regions.store import Store


def store_of(url: str, data: Path, name: str, /) -> Store:
    """The store that an address names. ValueError where there is none of that kind."""
    if url == "sqlite":
        return SqliteStore(data / "region.db")
    if url.startswith("postgresql://"):
        from chaoslab.regions.postgres import PostgresStore, split_schema  # noqa: PLC0415

        address, schema = split_schema(url)
        return PostgresStore(address, name, schema=schema)
    raise ValueError(
        f"no such store: {url.partition(':')[0]!r}; sqlite and postgresql:// are there"
    )


def main() -> int:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(prog="chaoslab.regions")
    parser.add_argument("--name", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", default="sqlite")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--peer-port", type=int, default=0)
    parser.add_argument("--token", default=os.environ.get("CHAOSLAB_TOKEN", ""))
    given = parser.parse_args()
    if not given.token:
        parser.error("a token is needed: --token, or CHAOSLAB_TOKEN")
    given.data.mkdir(parents=True, exist_ok=True)
    asyncio.run(_serve(given))
    return 0


async def _serve(given: argparse.Namespace) -> None:
    region = Region(given.name, given.token, lambda: store_of(given.store, given.data, given.name))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, region.stopped.set)

    def ready(port: int, peer_port: int) -> None:
        sys.stdout.write(json.dumps({"port": port, "peer_port": peer_port}) + "\n")
        sys.stdout.flush()

    await region.serve(given.host, given.port, given.peer_port, ready)


if __name__ == "__main__":
    sys.exit(main())
