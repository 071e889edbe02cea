"""What an execution leaves on the machine, and that it goes away even where the lab itself dies.

The folder of an execution is locked for as long as the lab that made it lives: the system lets go
of the lock at any death. So whoever can take the lock of a folder has found one that nobody needs,
and every process whose environment names that folder with it. `sweep` looks for both. It is done
before a first execution and after a worker was killed; a worker whose parent has died does it for
itself.

>>> home = Home("r0")
>>> swept = sweep()
>>> held(home.path), home.path.exists()
(True, True)
>>> home.close()
>>> home.path.exists()
False
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from chaoslab.backends.process.children import (
    RUN,
    STATE,
    environments,
    kill_strays,
    waited_for,
)
from chaoslab.core.errors import LabError

_PREFIX: Final = "chaoslab-live-"
_SUBREAPER: Final = 36
_TRIES: Final = 3
_REAPS: Final = 40
_homes: dict[str, Home] = {}
_further: list[Callable[[], int]] = []
_orphans_are_ours = threading.Event()


class Home:
    """The folder of one execution, `{state}`; `run` names the processes that belong to it."""

    def __init__(self, run: str) -> None:
        self.run = run
        # It is locked before it has the name by which a sweep looks for it.
        made = Path(tempfile.mkdtemp(prefix=".chaoslab-")).resolve()
        self._lock = os.open(made, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = made.rename(made.with_name(_PREFIX + made.name.rpartition("-")[2]))
        self._at_end: list[Callable[[], None]] = []
        _homes[run] = self

    def at_end(self, action: Callable[[], None], /) -> None:
        """Has something done before it is removed, however the execution ends, the death of the
        process that asked for it included; it may be done a second time."""
        self._at_end.append(action)

    def fill(self, template: str, /) -> None:
        """Copies a file, or what is in a folder, into it. LabError where that cannot be done."""
        try:
            if Path(template).is_dir():
                shutil.copytree(template, self.path, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(template, self.path)
        except (OSError, shutil.Error) as error:
            raise LabError(
                f"the template of [agent] cannot be copied: {error}", value=template
            ) from None

    def close(self) -> None:
        """Removes it, and ends what is left of its processes."""
        if _homes.pop(self.run, None) is None:
            return
        for action in self._at_end:
            action()
        kill_strays(self.run)
        if _orphans_are_ours.is_set() and not _homes:
            _kill_orphans()
        _remove(self.path)
        os.close(self._lock)


def held(folder: Path, /) -> bool:
    """Whether the lab lives that made a folder."""
    try:
        probe = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it is somebody else's, and theirs to look after
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(probe)
    return False


def also_sweep(further: Callable[[], int], /) -> None:
    """From now on a sweep does this as well: what is not only processes and folders."""
    if further not in _further:
        _further.append(further)


def sweep() -> int:
    """Ends and removes what labs that are dead have left; how many processes and folders."""
    count = sum(further() for further in _further)
    for _ in range(_TRIES):
        found = _abandoned()
        if not found:
            break
        count += len(found)
        for pid in found:
            _kill(pid)
    for folder in Path(tempfile.gettempdir()).resolve().glob(_PREFIX + "*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and not held(folder):
                _remove(folder)
                count += 1
    return count


def _abandoned() -> list[int]:
    """The processes of executions whose lab is dead."""
    found = []
    for pid, env in environments():
        folder = env.get(STATE, "")
        # The folder is looked at as the process sees it: it may be in a container.
        if RUN in env and folder and not held(Path(f"/proc/{pid}/root{folder}")):
            found.append(pid)
    return found


def end_with_parent(pipe: int, /) -> None:
    """From now on this interpreter ends, with everything that it has started, once nobody has the
    other end of a pipe any more. What its own children leave behind becomes its child."""
    if _orphans_are_ours.is_set():
        return
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    _orphans_are_ours.set()
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()


@contextmanager
def tied_to(pipe: int, /) -> Iterator[None]:
    """While this lasts, the interpreter ends at once when nobody has the other end of the pipe any
    more: nothing else can happen to a pipe on which nothing is sent before there is an answer.

    The kernel itself kills, so neither a busy loop nor a call that holds the interpreter's lock can
    put it off. It is not asked to kill at the death of the parent, since what it takes for that is
    the thread that has started us, and a pool's threads end before its interpreters.
    """
    if sys.platform != "linux":  # a thread looks, as soon as the agent lets any other run
        end_with_parent(pipe)
        yield
        return
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        if heard(pipe, 0):  # it was let go before the kernel knew what to do then
            os._exit(4)
        yield
    finally:
        fcntl.fcntl(pipe, fcntl.F_SETFL, flags)


def heard(pipe: int, limit_ms: int, /) -> bool:
    """Waits until something comes through a pipe, or it is closed; whether that was in time."""
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    return bool(poller.poll(limit_ms))


def _watch(pipe: int) -> None:
    poller = select.poll()
    poller.register(pipe, 0)  # only whether it is closed
    while not poller.poll():
        pass
    for home in tuple(_homes.values()):
        home.close()
    os._exit(4)


def _kill_orphans() -> None:
    """Kills the children of this interpreter that it has not started itself, as they show nothing
    by which they could be known: a daemon may have cleared its environment."""
    for _ in range(_REAPS):
        ours = waited_for()
        found = [pid for pid in _children() if pid not in ours]
        for pid in found:
            _kill(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # one that must not be killed is not waited for
        if not found:
            break
        time.sleep(0.005)


def _children() -> list[int]:
    found = []
    for entry in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += [int(pid) for pid in entry.read_text().split()]
    return found


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _remove(folder: Path) -> None:
    """Also where an agent has taken away the right to."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        for path, _folders, _files in os.walk(folder):
            with suppress(OSError):
                os.chmod(path, 0o700)
