"""The state of an execution right after a strike, as a digest.

Two executions of one scenario under one seed that are equal here go on alike: the simulator is a
function of what stands here, and an agent of what it was told. So of strikes that leave the same
moment only one has to be executed to its end.

A moment is everything that the rest of the execution, or a verdict about the whole of it, depends
on: the history so far without the strikes' own entries (so all that live processes were told, and
all that checks read), the services, what is in flight and when it is due, what is held back,
which faults are still to come, and what the supervisor keeps. The time of the strike itself is not
part of it, nor which decisions were asked for: what is due says when things go on, and a decision
is a function of its name.

>>> plain({"b": (1, None), "a": {2}}) == plain({"a": {2}, "b": (1, None)})
True
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import FunctionType, MethodType
from typing import Any, Final

from chaoslab.backends.common.flight import Flight
from chaoslab.backends.common.hub import Hub, Process
from chaoslab.backends.common.loop import CURRENT, Event
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.sim.loop import SimLoop
from chaoslab.contract import Contract
from chaoslab.core.jsons import canonical
from chaoslab.history import Op, Recorder
from chaoslab.world.memory import Copy

# What belongs to the whole execution, or is described in a place of its own.
_ELSEWHERE: Final = (Recorder, Hub, SimLoop, Contract, Supervisor)
# What never changes during an execution, or follows from what stands beside it.
_DERIVED: Final = frozenset(
    ("hub", "contract", "_source", "_regions", "_recorder", "_session_of", "_ship", "_hosts")
) | frozenset(("_undoes", "_by_ref", "_seed", "_scripts", "_found", "_recordings", "_rewords"))
_DEPTH_MAX: Final = 40


def moment(hub: Hub, supervisor: Supervisor, loop: SimLoop, /) -> str:
    """The digest of the state now, to be asked between two steps of the loop; "" where something
    in it has no plain form (a Wasm instance under way), so that it is equal to no other."""
    try:
        return _digest(hub, supervisor, loop)
    except _Formless:
        return ""


class _Formless(Exception):
    """The state of something cannot be told, so two of them might differ unseen."""


def _digest(hub: Hub, supervisor: Supervisor, loop: SimLoop) -> str:
    whole = hashlib.blake2b(digest_size=16)
    for op in hub.recorder.ops:
        if op.f != "nemesis.strike":
            whole.update(_line(op, hub.recorder.ops))
    state = {
        "services": [
            plain({name: value for name, value in vars(service).items() if name not in _DERIVED})
            for service in (hub.memory, hub.tools, hub.leases, hub.network, hub.model)
        ],
        "copies": [
            [plain(getattr(copy, one.name)) for one in fields(copy)]
            for copy in hub.memory.copies.values()
        ],
        "due": sorted(_due(entry) for entry in loop.pending()),
        "processes": [_process(one) for one in hub.processes if one.alive],
        "held": [plain(one) for one in hub.held],
        "overtaken": plain(hub.overtaken),
        "faults": plain(hub.nemesis.left()),
        "attempts": plain(hub.attempts),
        "broke": [*hub.broke],
        "supervisor": plain(
            {name: value for name, value in vars(supervisor).items() if name not in _DERIVED}
        ),
    }
    whole.update(repr(plain(state)).encode())
    return whole.hexdigest()


def _line(op: Op, ops: list[Op]) -> bytes:
    """An entry without the numbers of entries: a strike's own entry shifts those."""
    raw = op.to_json()
    del raw["i"]
    if "call" in raw:
        asked = ops[op.call]
        raw["call"] = [asked.process, asked.f, asked.task, asked.marker, asked.attempt]
    return canonical(raw).encode() + b"\n"


def _due(entry: tuple[int, int, str, Event | asyncio.TimerHandle]) -> str:
    when, tie, name, item = entry
    if isinstance(item, Event):
        owner = item.owner.id if isinstance(item.owner, Process) else None
        return repr((when, tie, name, owner, plain(item.action)))
    # A timer of the agent's own: what it does is up to what the agent was told.
    assert item._context is not None  # type: ignore[attr-defined]
    process = item._context.get(CURRENT)  # type: ignore[attr-defined]
    return repr((when, tie, name, getattr(process, "id", None), "timer"))


def _process(process: Process) -> Any:
    return (
        process.id,
        process.ready,
        process.suspected,
        process.takes_tasks,
        None if process.parked is None else [_parked(handle) for handle in process.parked],
        plain(process.calls),
        [_open(flight) for _, flight in sorted(process.flights.items())],
    )


def _parked(handle: asyncio.Handle) -> Any:
    # What waits for a paused process: events of the lab, and steps of the agent's own.
    context: Any = handle._context  # type: ignore[attr-defined]
    if context.get(CURRENT) is None:
        return plain(handle._callback)  # type: ignore[attr-defined]
    return "step"


def _open(flight: Any) -> Any:
    return (flight.name, flight.done, flight.refused, [one.number for one in flight.waiting])


def plain(value: Any, depth: int = 0, /) -> Any:
    """A value as nested tuples of plain values, the same wherever and whenever it was made."""
    if value is None or isinstance(value, (bool, int, str, bytes, float)):
        return value
    if depth > _DEPTH_MAX:
        raise _Formless
    deeper = depth + 1
    if isinstance(value, Mapping):
        return (
            "map",
            *sorted(repr((plain(k, deeper), plain(v, deeper))) for k, v in value.items()),
        )
    if isinstance(value, (list, tuple, deque)):
        return tuple(plain(one, deeper) for one in value)
    if isinstance(value, (set, frozenset)):
        return ("set", *sorted(repr(plain(one, deeper)) for one in value))
    if isinstance(value, _ELSEWHERE):
        return type(value).__name__
    return _thing(value, deeper)


def _thing(value: Any, depth: int) -> Any:
    if isinstance(value, Process):
        return ("process", value.id)
    if isinstance(value, Flight):
        return ("flight", *_open(value))
    if isinstance(value, Copy):
        return ("copy", value.region)
    if isinstance(value, asyncio.Future):
        return ("future", value.done())
    if isinstance(value, functools.partial):
        return ("call", plain(value.func, depth), plain(value.args, depth))
    if isinstance(value, MethodType):
        owner = value.__self__
        # Whether a request had arrived before counts only where it arrives once more.
        again = value.__func__ is Flight._arrive and isinstance(owner, Flight) and owner.arrived
        return ("method", value.__func__.__qualname__, plain(owner, depth), again)
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        held = [plain(cell.cell_contents, depth) for cell in cells]
        return ("function", value.__qualname__, held, plain(value.__defaults__ or (), depth))
    if isinstance(value, BaseException):
        return ("error", type(value).__name__, str(value))
    if is_dataclass(value) and not isinstance(value, type):
        return (
            type(value).__name__,
            *((one.name, plain(getattr(value, one.name), depth)) for one in fields(value)),
        )
    raise _Formless
