"""The embedded server as the main thing that a process does, and the keeper of another server."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import functools
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from chaoslab.core.errors import LabError
from chaoslab.links.api import Server
from chaoslab.links.server import Proxies

_CHUNK_BYTES = 4096
_GRACE_S = 2.0
_FILES_MAX = 65_536
_PDEATHSIG = 1


async def serve(
    *, host: str, port: int, seed: int, ready: Callable[[int], None], until_eof: bool = False
) -> None:
    """Serves until it is cancelled, told to end, or (`until_eof`) standard input ends."""
    server = Server(Proxies(seed=seed))
    try:
        found = await server.start(host, port)
    except OSError as error:
        raise LabError(
            f"the server cannot listen: {os.strerror(error.errno or 0).lower()}",
            value=f"{host}:{port}",
            allowed="a port that nobody else listens on",
            hint="end what listens there, or choose another with --port (0: any free one)",
        ) from None
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    if until_eof:
        try:
            loop.add_reader(0, _heard, over)
        except PermissionError:  # a file, or nothing: nobody holds it open
            over.set()
    try:
        ready(found)
        await over.wait()
    finally:
        await server.close()


def _heard(over: asyncio.Event) -> None:
    if not os.read(0, _CHUNK_BYTES):
        asyncio.get_running_loop().remove_reader(0)
        over.set()


def many_files() -> None:
    """Allows as many connections as the system does; each takes two descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def keep(command: Sequence[str]) -> int:
    """Runs a command until it ends or standard input does; then the command is ended, too."""
    tied = functools.partial(_die_with, os.getpid())
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=tied,  # noqa: PLW1509 - there is one thread here
    ) as child:
        signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # The end of the command is heard as well: its signal interrupts the reading.
        signal.signal(signal.SIGCHLD, lambda number, frame: _stop_reading())
        try:
            if child.poll() is None:
                while os.read(0, _CHUNK_BYTES):
                    pass
        except _Ended:
            pass
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child.terminate()
            try:
                child.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                child.kill()
        return child.wait()


def _die_with(keeper: int) -> None:
    """In the child, before the command. The keeper has one thread, so its death is the thread's."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)


class _Ended(Exception):
    """The command has ended by itself."""


def _stop_reading() -> None:
    raise _Ended


def main(argv: Sequence[str] | None = None) -> int:
    """See the package's `__main__`."""
    given = list(sys.argv[1:] if argv is None else argv)
    if "--" in given:
        return keep(given[given.index("--") + 1 :])
    many_files()
    parser = argparse.ArgumentParser(prog="python -m chaoslab.links")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(given)

    def ready(port: int) -> None:
        with suppress(BrokenPipeError):
            sys.stdout.write(json.dumps({"port": port}) + "\n")
            sys.stdout.flush()

    # Ctrl-C goes to the whole group; this process ends when the one that started it says so.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asyncio.run(
            serve(
                host="127.0.0.1",
                port=arguments.port,
                seed=arguments.seed,
                ready=ready,
                until_eof=True,
            )
        )
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
