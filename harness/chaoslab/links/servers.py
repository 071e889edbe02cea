"""Where a Toxiproxy server comes from: ours, the original's, or one that runs already.

    with stand("embedded") as links:
        line = links.create("orders", "127.0.0.1:5432")

Whatever was started is ended with the block, and also when this process is killed: the child
watches a pipe whose other end is held here. The usual way, to have the kernel tell the child of
its parent's death, is about the thread that started it, and threads end earlier.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

import chaoslab
from chaoslab.core.errors import LabError, UsageError
from chaoslab.links.client import Links

ORIGINAL: Final = "toxiproxy-server"
_START_S: Final = 20.0
_END_S: Final = 5.0
_POLL_S: Final = 0.02
_TRIES: Final = 5
_SHOWN_CHARS: Final = 300
HOW: Final = "embedded, original, or http://HOST:PORT"


def stand(how: str = "embedded", *, seed: int = 0) -> AbstractContextManager[Links]:
    """A server for the time of a block: `embedded`, `original`, or the URL of one that runs."""
    if how == "embedded":
        return embedded(seed=seed)
    if how == "original":
        return original(seed=seed)
    if how.startswith("http://"):
        return at(how)
    raise UsageError("there is no such Toxiproxy server", value=how, allowed=HOW)


def missing_original() -> str:
    """Why the original server cannot be had here, or nothing."""
    if shutil.which(ORIGINAL) is not None:
        return ""
    return (
        f"{ORIGINAL} is not on PATH; only links of kind 'original' need it, the embedded server "
        "does the same"
    )


@contextmanager
def embedded(*, seed: int = 0) -> Iterator[Links]:
    """The server of this package, in a process of its own."""
    with _child([*_python(), "--port", "0", "--seed", str(seed)]) as (child, log):
        line = _first_line(child)
        try:
            port = int(json.loads(line)["port"])
        except (ValueError, KeyError, TypeError):
            raise LabError(
                f"the embedded Toxiproxy server did not start: {_said(log) or 'no words'}",
                value=line[:_SHOWN_CHARS],
            ) from None
        yield Links(f"127.0.0.1:{port}")


@contextmanager
def original(path: str = "", *, seed: int = 0) -> Iterator[Links]:
    """The original server, from PATH or a path."""
    found = shutil.which(path or ORIGINAL)
    if found is None:
        raise UsageError(
            "the original Toxiproxy server is not there",
            value=path or ORIGINAL,
            allowed="a program on PATH, or its path",
            hint="install it, or use the embedded one",
        )
    for left in reversed(range(_TRIES)):
        port = _free_port()
        serving = [found, "-host", "127.0.0.1", "-port", str(port), "-seed", str(seed)]
        with _child([*_python(), "--", *serving]) as (child, log):
            links = Links(f"127.0.0.1:{port}", timeout_s=_START_S / 2)
            if _answers(links, child):
                yield links
                return
            if not left:
                raise LabError(
                    f"the original Toxiproxy server did not start: {_said(log) or 'no words'}",
                    value=found,
                )


@contextmanager
def at(url: str) -> Iterator[Links]:
    """A server that runs already. Only the lines that are made here are touched, and they are
    deleted in the end."""
    links = Links(url, shared=True)
    links.version()
    try:
        yield links
    finally:
        links.clear()


def _python() -> Sequence[str]:
    return [sys.executable, "-P", "-m", "chaoslab.links"]


@contextmanager
def _child(argv: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A child that ends with the block. What it complains of is in the file."""
    harness = str(Path(chaoslab.__file__).resolve().parents[1])
    paths = [harness, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {"LOG_LEVEL": "error", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(prefix="chaoslab-links-") as folder:
        log = Path(folder) / "stderr"
        with log.open("wb") as err:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                env=env,
                cwd=folder,
                # Ctrl-C is for the lab, which then ends its children in its own order.
                start_new_session=True,
            )
        try:
            yield child, log
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        if child.stdin is not None:
            child.stdin.close()
    try:
        child.wait(_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        if child.stdout is not None:
            child.stdout.close()


def _first_line(child: subprocess.Popen[bytes]) -> str:
    """What the child says first, or as much of it as comes in time."""
    out = child.stdout
    assert out is not None
    raw, until = b"", time.monotonic() + _START_S
    while b"\n" not in raw and (left := until - time.monotonic()) > 0:
        if select.select([out], [], [], left)[0]:
            some = os.read(out.fileno(), 4096)
            if not some:
                break
            raw += some
    return raw.decode("utf-8", "replace").strip()


def _answers(links: Links, child: subprocess.Popen[bytes]) -> bool:
    """Whether the child answers in time; not so where it ends, such as for a port that is taken."""
    until = time.monotonic() + _START_S
    while child.poll() is None and time.monotonic() < until:
        with suppress(OSError):
            host, _, port = links.address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=1).close()
            links.version()
            return child.poll() is None
        time.sleep(_POLL_S)
    return False


def _said(log: Path) -> str:
    with suppress(OSError):
        return log.read_text("utf-8", "replace").strip()[-_SHOWN_CHARS:]
    return ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
