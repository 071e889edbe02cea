"""The interpreter in which executions run: `python -m chaoslab.run.worker`.

A parent sends execution specs as length-prefixed pickles on standard input (it is the only one who
can write there) and gets JSON back on a descriptor that the agent's prints cannot reach. Whatever
an agent does to this process (hangs, floods, exits, runs out of memory) costs its own execution.
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from chaoslab.adapters import AgentSource, alone, load_function
from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.live import run_live
from chaoslab.backends.process.leftovers import end_with_parent, heard, tied_to
from chaoslab.backends.sim import guarded, simulate
from chaoslab.contract import Invariant
from chaoslab.contract.target import Target
from chaoslab.core import collector
from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import ChaosError
from chaoslab.history import Writer
from chaoslab.run.own import JudgeOwn, judge_own
from chaoslab.run.strikes import StrikeBatch, strike_all
from chaoslab.run.trials import Trials, try_all
from chaoslab.world.api import Observable, Releasable, Resumable

MEMORY_MAX_BYTES = 3 << 30
IDLE_MS = 300_000  # after so long without a request it ends by itself
EACH_MS = 500  # what each execution of a request of many adds to its time
_PRINTED_MAX = 64_000


# What an agent may offer beside the three methods, by the name of the method.
_OFFERS = {"recover": Resumable, "sessions": Observable, "release": Releasable}


class _Capped(io.TextIOBase):
    """Keeps the first part of what an agent prints."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.size = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Takes anything, keeps a bounded part."""
        if self.size < _PRINTED_MAX:
            self.parts.append(text[: _PRINTED_MAX - self.size])
        self.size += len(text)
        return len(text)


def execute(
    spec: ExecutionSpec, history: Path | None, header: dict[str, Any], *, capture: bool = True
) -> dict[str, Any]:
    """One execution, told as JSON; the history stands in its file. Without `capture` what the
    agent prints goes where prints go, as a debugger needs it."""
    began = monotonic_ms()
    printed = _Capped()
    saved = sys.stdout, sys.stderr
    try:
        writer = Writer(history, header)
    except OSError as error:
        return _broken(f"the history cannot be written: {error.strerror} ({history})", printed)
    try:
        if capture:
            sys.stdout = sys.stderr = printed
        end = simulate(spec, writer) if spec.target is None else run_live(spec, writer)
    except ChaosError as error:
        return {**_broken(str(error), printed), "exit": error.exit_code}
    except OSError as error:
        return _broken(f"the history cannot be written: {error.strerror} ({history})", printed)
    except MemoryError:
        return _broken(f"the agent used more than {MEMORY_MAX_BYTES >> 20} MiB", printed)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
        text = f"the lab itself failed: {type(error).__name__}: {error} ({where})"
        return _broken(text, printed)
    finally:
        sys.stdout, sys.stderr = saved
        _close_quietly(writer)
    return {
        "digest": end.digest,
        "ops": len(end.ops),
        "sites": [asdict(s) for s in end.sites],
        "choices": dict(end.choices),
        "fired": {str(k): v for k, v in end.fired.items()},
        "broke": end.broke,
        "notes": list(end.notes),
        "virtual_ms": end.virtual_ms,
        "wall_ms": monotonic_ms() - began,
        "printed": "".join(printed.parts),
    }


def quietly(action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of an action; what foreign code prints meanwhile is dropped."""
    printed = _Capped()
    saved = sys.stdout, sys.stderr
    try:
        sys.stdout = sys.stderr = printed
        return {"broke": "", **action()}
    except (ChaosError, MemoryError, SystemExit) as error:
        return _broken(str(error) or type(error).__name__, printed)
    finally:
        sys.stdout, sys.stderr = saved


def answer_to(request: Any) -> dict[str, Any]:
    """What a request asks for, by its type."""
    if isinstance(request, str):
        return try_loading(request)
    if isinstance(request, Trials):
        return quietly(lambda: {"trials": try_all(request.specs, whole=request.whole)})
    if isinstance(request, StrikeBatch):
        return quietly(lambda: {"batch": strike_all(request).to_json()})
    if isinstance(request, Invariant):
        return quietly(lambda: {"loads": callable(load_function(request.check))})
    if isinstance(request, JudgeOwn):
        return quietly(lambda: {"findings": judge_own(request)})
    return execute(*request)


def try_loading(agent: str) -> dict[str, Any]:
    """Makes the agent once, as an execution would, and says what does not fit."""
    printed = _Capped()
    saved = sys.stdout, sys.stderr
    try:
        sys.stdout = sys.stderr = printed
        with guarded() as leaks:
            made = AgentSource(agent).create()
    except ChaosError as error:
        return {**_broken(str(error), printed), "exit": error.exit_code}
    finally:
        sys.stdout, sys.stderr = saved
    return {
        "broke": leaks.found[0] if leaks.found else "",
        "printed": "",
        "exit": 4,
        "offers": [name for name, shape in _OFFERS.items() if isinstance(made, shape)],
    }


def _close_quietly(writer: Writer) -> None:
    with suppress(OSError):  # the same full disk has been reported by the write before
        writer.close()


def _broken(why: str, printed: _Capped) -> dict[str, Any]:
    return {"broke": why, "printed": "".join(printed.parts), "exit": 4}


def send(stream: BinaryIO, frame: bytes) -> None:
    """One length-prefixed frame."""
    stream.write(struct.pack(">I", len(frame)) + frame)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """The next frame, or None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    size = struct.unpack(">I", head)[0]
    body = stream.read(size)
    return body if len(body) == size else None


def _limit_memory() -> None:
    # Not every system can limit memory; the watchdog still bounds the time.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # Only the soft limit: an agent in a process of its own gets back what the user has.
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX_BYTES, hard))


def _is_full() -> bool:
    """Whether so much memory is in use that the next execution should not find what is left."""
    try:  # what the limit counts, in pages
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except (OSError, IndexError):  # another system than Linux
        return False
    return used > MEMORY_MAX_BYTES // 2


def _target_of(request: Any) -> Target | None:
    """The agent's table, where a request is an execution on real processes."""
    spec = request[0] if isinstance(request, tuple) else None
    return spec.target if isinstance(spec, ExecutionSpec) else None


def _executions_of(request: Any) -> int:
    """How many executions a request of many asks for; 0 for any other."""
    if isinstance(request, Trials):
        return 2 * len(request.specs)
    return len(request.strikes) + 1 if isinstance(request, StrikeBatch) else 0


def main() -> None:
    """Serves requests until standard input ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(int(sys.argv[1]), "wb")
    own_limit_s = int(sys.argv[2])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, file=2, all_threads=False)
    _limit_memory()
    alone()
    collector.seldom()
    # Whoever has started this begins to count its time from here: what is imported takes a while.
    send(answers, b"{}")
    pipe = requests.fileno()
    # The process of a team's cluster that has started us lives on where a campaign was killed.
    while heard(pipe, IDLE_MS):
        frame = receive(requests)
        if frame is None:
            break
        request = pickle.loads(frame)
        target = _target_of(request)
        limit_s = own_limit_s if target is None else target.wall_ms_max // 1000 + 10
        limit_s += EACH_MS * _executions_of(request) // 1000
        # Should the parent be stopped, nobody watches: then this ends by itself.
        faulthandler.dump_traceback_later(limit_s, exit=True)
        if target is None:
            with tied_to(pipe):
                result = answer_to(request)
        else:  # it has processes of its own to end, so it must not simply be killed
            end_with_parent(pipe)
            result = answer_to(request)
        faulthandler.cancel_dump_traceback_later()
        send(answers, json.dumps({**result, "full": _is_full()}).encode())
    # No interpreter shutdown: it would collect, and so run, what was left of killed agents.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
