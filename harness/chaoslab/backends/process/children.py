"""Processes that the lab starts, and the certainty that none of them outlives it.

Each is the leader of a session and group of its own. It is killed with its group, and whatever
left the group (a daemon, a double fork) is found by the name of the execution in its environment.
On Linux the kernel kills the leader, too, when the lab itself dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakSet

from chaoslab.core.errors import AdapterError

RUN, PROCESS, STATE = "CHAOSLAB_RUN", "CHAOSLAB_PROCESS", "CHAOSLAB_STATE"
_KEPT_BYTES: Final = 64_000
_PDEATHSIG: Final = 1
_ERROR: Final = re.compile(r"([\w.]*(Error|Exception)\b|panic|thread '.*' panicked).{2,}")
_FILES_MAX: Final = 65_536
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_files = resource.getrlimit(resource.RLIMIT_NOFILE)
_started: WeakSet[Child] = WeakSet()


def _as_a_user_starts_it(lab: int) -> None:
    """In the child, before the command: it dies with the lab, and inherits none of its limits."""
    if _libc is not None:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != lab:  # the lab died before it could be tied to it
            os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, _files)


def many_files() -> None:
    """Lets the lab itself have as many open files as the system allows: an agent may open a
    thousand connections to it."""
    with suppress(ValueError, OSError):
        hard = _files[1]
        soft = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _files[0]), hard))


class Child:
    """One process. `on_line` gets each line of its standard output."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.out, self.err = bytearray(), bytearray()
        self.printed = 0
        self._readers: list[asyncio.Task[None]] = []
        _started.add(self)

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        *,
        stdin: bool = False,
        on_line: Callable[[bytes], None] | None = None,
    ) -> Child:
        """Starts a command. AdapterError where there is no such program."""
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(env),
                cwd=cwd,
                stdin=pipe if stdin else null,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
                preexec_fn=partial(_as_a_user_starts_it, os.getpid()),
            )
        except OSError as error:
            raise AdapterError(
                f"the command cannot be started: {error.strerror}",
                value=list(argv),
                allowed="a program that is on PATH, or a path",
                hint=f"start it by hand in {cwd}",
            ) from None
        child = cls(process)
        assert process.stdout is not None and process.stderr is not None
        child._readers = [
            asyncio.create_task(child._drain(process.stdout, child.out, on_line)),
            asyncio.create_task(child._drain(process.stderr, child.err, None)),
        ]
        return child

    async def _drain(
        self,
        stream: asyncio.StreamReader,
        kept: bytearray,
        on_line: Callable[[bytes], None] | None,
    ) -> None:
        """Reads everything, so that nobody blocks on a full pipe, and keeps the last part."""
        rest = b""
        while part := await stream.read(65_536):
            self.printed += len(part)
            kept += part
            del kept[:-_KEPT_BYTES]
            if on_line is not None:
                *lines, rest = (rest + part).split(b"\n")
                rest = rest[-(1 << 20) :]
                for line in lines:
                    on_line(line)
        if on_line is not None and rest:
            on_line(rest)

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self.process.returncode is None

    async def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        return await self.process.wait()

    async def drained(self) -> None:
        """Waits until everything that it said has been read, for a moment at most: a child of it
        may hold the pipe open."""
        if self._readers:
            await asyncio.wait(self._readers, timeout=0.5)

    def send(self, line: bytes) -> None:
        """Writes to its standard input."""
        if self.process.stdin is not None and not self.process.stdin.is_closing():
            self.process.stdin.write(line)

    def signal(self, number: int) -> None:
        """Sends a signal to its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def last_words(self, lines: int = 3) -> str:
        """The end of what it wrote to standard error, else to standard output."""
        text = (bytes(self.err) or bytes(self.out)).decode("utf-8", "replace")
        said = [line.strip() for line in text.splitlines() if line.strip()]
        # A trace ends in its error with Python, and in a footer with others.
        named = [line for line in said if _ERROR.match(line)]
        return " / ".join(named[-1:] or said[-lines:])[-600:]

    def close(self) -> None:
        """Kills the group and lets go of the pipes."""
        self.signal(signal.SIGKILL)
        for reader in self._readers:
            reader.cancel()
        transport = getattr(self.process, "_transport", None)
        if transport is not None and not self.running:
            transport.close()


async def reaped() -> None:
    """Waits, for a moment at most, until the system has let go of every child that was killed."""
    ending = [asyncio.ensure_future(child.wait()) for child in _started if child.running]
    if ending:
        await asyncio.wait(ending, timeout=1)


def waited_for() -> set[int]:
    """The children that somebody here still waits for."""
    return {child.pid for child in _started if child.running}


def environments() -> Iterator[tuple[int, Mapping[str, str]]]:
    """The processes of ours on this machine that belong to some execution, with their
    environment."""
    mark = f"{RUN}=".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            raw = (entry / "environ").read_bytes()
            if mark in raw and int(entry.name) != os.getpid():
                parts = (part.partition("=") for part in os.fsdecode(raw).split("\0"))
                yield int(entry.name), {name: value for name, _, value in parts}


def strays(run: str, process: str = "") -> list[int]:
    """The living processes of an execution, or of one incarnation in it, by their environment.
    Empty where the system does not show it."""
    wanted = {RUN: run, PROCESS: process} if process else {RUN: run}
    return [pid for pid, env in environments() if wanted.items() <= env.items()]


def kill_strays(run: str, process: str = "") -> int:
    """Kills what `strays` finds, until nothing is found; how many there were."""
    count = 0
    for _ in range(20):
        found = strays(run, process)
        if not found:
            break
        count += len(found)
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return count


def signal_strays(run: str, process: str, number: int) -> None:
    """Sends a signal to every process of one incarnation."""
    for pid in strays(run, process):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
