"""Keeps the real world out of a simulated one.

The wall clock, global randomness, threads, processes and sockets would make an execution
unrepeatable, so while an agent runs their entry points are replaced. A call from the agent's code
raises `SimulationLeak`, which names the caller and what to use instead; it is also remembered, so
that an agent that swallows the error is reported all the same. Calls from the standard library's
own helpers and from this package pass through.
"""

from __future__ import annotations

import _thread
import datetime as _datetime
import os
import random
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from chaoslab.backends.sim.loop import SimLoop
from chaoslab.core.errors import AgentBroke

_PACKAGE = str(Path(__file__).resolve().parents[2]) + os.sep
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_SITE = tuple({sysconfig.get_paths()[n] + os.sep for n in ("purelib", "platlib")})
# Agents that ship with the package are agents like any other.
_AGENTS_INSIDE = (_PACKAGE + "reference" + os.sep, _PACKAGE + "_data" + os.sep)
_LOADING = _PACKAGE + "adapters" + os.sep

_CLOCK = "world.clock.now_ms() or await world.clock.sleep(ms)"
_NETWORK = "world.network"
_RANDOM = "world.random, which follows the seed"
_THREAD = (
    "asyncio tasks; an agent that needs threads or processes needs a backend of real processes"
)


_ABSENT = object()


class SimulationLeak(AgentBroke):
    """The agent used something that the simulator cannot make repeatable."""


class Leaks:
    """What the agent tried, in order, each caller once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, text: str) -> None:
        """Remembers a leak."""
        if text not in self.found and len(self.found) < 20:
            self.found.append(text)


def _caller_of_agent(deep: bool) -> str:
    """`file:line` of the agent's code that called, or "" where nobody of the agent's did.

    Frames are walked from the call outwards. With `deep` the standard library's own frames are
    looked through (a thread pool starts threads for somebody); without, a call by the standard
    library is its own affair (a log record's time stamp).
    """
    frame: FrameType | None = sys._getframe(2)
    library = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if name == __file__:
            frame = frame.f_back
            continue
        if name.startswith("<frozen importlib"):
            return ""  # what a library does while it is imported depends on who was first
        inside = name.startswith(_PACKAGE) and not name.startswith(_AGENTS_INSIDE)
        if inside:
            return library if name.startswith(_LOADING) else ""
        if name.startswith(_SITE) and not name.startswith(_AGENTS_INSIDE):
            library = library or f"{name}:{frame.f_lineno}"
        elif name.startswith((_STDLIB, "<frozen")):
            if frame.f_code.co_name == "_run" and name.endswith("events.py"):
                return library
            if not deep and not library:
                return ""
        else:
            return f"{name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return library


def _replace(
    real: Any, name: str, instead: str, leaks: Leaks, deep: bool = True
) -> Callable[..., Any]:
    given = _FINE_WITH.get(name, 1_000)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        caller = "" if len(args) >= given else _caller_of_agent(deep)
        if not caller:
            return real(*args, **kwargs)
        text = f"{name} was called at {caller}; in the simulator use {instead}"
        if instead is not _THREAD:
            text += ", or run the agent on a backend of real processes"
        leaks.note(text)
        raise SimulationLeak(
            f"{name} was called at {caller}",
            allowed=f"in the simulator: {instead}",
            hint="change that line, or run the agent on a backend of real processes",
        )

    guarded.__name__ = getattr(real, "__name__", name)
    return guarded


# With so many arguments these convert what they are given and do not look at the clock.
_FINE_WITH = {"time.gmtime": 1, "time.localtime": 1, "time.ctime": 1, "time.strftime": 2}

_TARGETS: tuple[tuple[Any, str, str, bool], ...] = (
    (
        time,
        "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns sleep localtime gmtime "
        "ctime strftime process_time process_time_ns thread_time thread_time_ns clock_gettime "
        "clock_gettime_ns",
        _CLOCK,
        False,
    ),
    (
        random,
        "random randint randrange choice choices shuffle sample uniform getrandbits seed gauss "
        "randbytes triangular betavariate expovariate normalvariate",
        _RANDOM,
        False,
    ),
    (uuid, "uuid1 uuid4", _RANDOM, True),
    (os, "urandom getrandom", _RANDOM, True),
    (random, "_urandom", _RANDOM, True),
    (os, "fork forkpty system popen posix_spawn", _THREAD, True),
    (subprocess.Popen, "__init__", _THREAD, True),
    (threading.Thread, "start", _THREAD, True),
    (_thread, "start_new_thread", _THREAD, True),
    (SimLoop, "run_in_executor subprocess_exec subprocess_shell", _THREAD, True),
    (
        SimLoop,
        "create_connection create_server create_datagram_endpoint getaddrinfo getnameinfo",
        _NETWORK,
        True,
    ),
    (socket.socket, "__init__", _NETWORK, True),
    (socket, "getaddrinfo gethostbyname", _NETWORK, True),
)


def _guarded_datetime(leaks: Leaks) -> type:
    real = _datetime.datetime

    class _Meta(type):
        # The stand-in passes for the real class; what an agent derives from it does not.
        def __instancecheck__(cls, instance: object) -> bool:
            return (
                isinstance(instance, real) if cls is made else super().__instancecheck__(instance)
            )

        def __subclasscheck__(cls, subclass: type) -> bool:
            return (
                issubclass(subclass, real) if cls is made else super().__subclasscheck__(subclass)
            )

    namespace: dict[str, Any] = {"__module__": "datetime", "__doc__": real.__doc__}
    for name in ("now", "utcnow", "today"):
        guarded = _replace(getattr(real, name), f"datetime.{name}", _CLOCK, leaks, False)
        namespace[name] = staticmethod(guarded)
    made = _Meta("datetime", (real,), namespace)
    return made


def _guarded_random(leaks: Leaks) -> type:
    real = random.Random
    label = "random.Random() without a seed"
    seedless_call = _replace(lambda: None, label, _RANDOM, leaks, False)

    def seedless(self: random.Random, x: Any = None) -> None:
        if x is None:
            seedless_call()
        real.__init__(self, x)

    return type("Random", (real,), {"__init__": seedless, "__module__": "random"})


@contextmanager
def guarded() -> Iterator[Leaks]:
    """Replaces the entry points for the time of one execution."""
    leaks = Leaks()
    saved: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, new: Any) -> None:
        saved.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, new)

    try:
        for owner, names, instead, deep in _TARGETS:
            for name in names.split():
                if hasattr(owner, name):
                    label = f"{getattr(owner, '__name__', owner)}.{name}"
                    put(owner, name, _replace(getattr(owner, name), label, instead, leaks, deep))
        put(_datetime, "datetime", _guarded_datetime(leaks))
        put(random, "Random", _guarded_random(leaks))
        yield leaks
    finally:
        for owner, name, old in reversed(saved):
            if old is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, old)
