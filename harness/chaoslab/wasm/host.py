"""The imports that a guest may call, and the rule that none of them ever raises into it.

An exception that passes through compiled code runs no destructor on its way, and the library
below may hand it to another thread. So each import catches whatever its host raises, keeps it,
answers the guest with a code, and lets the call raise it again once the guest has returned.

The functions here belong to the engine, not to one instance, which makes a new instance cheap.
They find their call on a stack per thread: a guest call is synchronous, so the innermost call of
this thread is the one that is calling.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Protocol

from wasmtime import Caller, FuncType, Linker, Memory, ValType

from chaoslab.core.errors import UsageError
from chaoslab.wasm.engine import engine
from chaoslab.wasm.errors import ReentryRefused

IMPORT_MODULE: Final = "chaoslab"

# The codes of `commit`, as the guest knows them.
REFUSED: Final = -1
UNAVAILABLE: Final = -2
REENTERED: Final = -3
BAD_REQUEST: Final = -4
REPLY_TOO_LONG: Final = -5

# What poisons an instance from this side of the border.
HOST_FAILED: Final = "host import failed"
NESTED_REENTRY: Final = "nested re-entry"
NESTED_TRAP: Final = "nested call trapped"
BAD_ADDRESS: Final = "import called with an address outside the memory"

_POINTS: Final = {1: "before-commit", 2: "after-commit"}
_FAULTS: Final = {None: 0, "panic": 1, "abort": 2, "loop": 3, "out-of-bounds": 4}
_NO_FAULT: Final = 0
_NESTED: Final = "nested"
_LOG_BYTES_MAX: Final = 4096
_ADDRESS_MASK: Final = 0xFFFF_FFFF


class Host(Protocol):
    """What a guest reaches outside itself. Plain synchronous methods; they may raise."""

    def commit(self, request: bytes, /) -> tuple[int, bytes]:
        """Commits: (0, reply), or (a code from -1 to -5, a JSON reason or nothing)."""
        ...

    def fault(self, point: str, /) -> str | None:
        """The fault planned for "before-commit" or "after-commit": None, "panic", "abort",
        "loop" or "out-of-bounds", which the guest carries out, or "nested": the same request is
        made once more from in here, and traps. Where this raises, the guest is left there and
        then, as an exception on its way through it would leave it."""
        ...

    def log(self, text: str, /) -> None:
        """A line for people; nothing may depend on it."""
        ...


class Flight:
    """One call on its way: its host, and what its imports have seen go wrong.

    `poison` is the instance's own, called at once, so that the first reason stays the first.
    `nest` makes the same call again, in the middle of this one.
    """

    __slots__ = ("failure", "host", "nest", "nested", "poison", "reentered")

    def __init__(self, host: Host, poison: Callable[[str], None], nest: Callable[[], None]) -> None:
        self.host = host
        self.poison = poison
        self.nest = nest
        self.nested = False
        self.failure: BaseException | None = None
        self.reentered = False


class _Flights(threading.local):
    def __init__(self) -> None:
        self.stack: list[Flight] = []


_FLIGHTS = _Flights()


def begin(flight: Flight) -> None:
    """Makes this the call that the imports answer to."""
    _FLIGHTS.stack.append(flight)


def end() -> None:
    """The innermost call of this thread has returned."""
    _FLIGHTS.stack.pop()


def unsigned(value: int) -> int:
    """An address as the guest means it: those from 2^31 on arrive negative."""
    return value & _ADDRESS_MASK


def signed(value: int) -> int:
    """The same address the way an i32 parameter wants it."""
    return value - (1 << 32) if value >= 1 << 31 else value


def _guarded(action: Callable[[Flight], int], *, broken: int, reentered: int) -> int:
    """Runs one import; the guest hears `broken` when its host breaks, and `reentered` when it
    called back."""
    flight = _FLIGHTS.stack[-1]
    code = broken
    try:
        code = action(flight)
    except ReentryRefused as refused:
        # The refusal of a nested call into this very instance is answered to the guest below;
        # one that concerns another instance is an ordinary failure of this host.
        if not flight.reentered:
            _fail(flight, refused)
    except BaseException as failure:
        # Everything, KeyboardInterrupt included, has to wait until the guest has returned.
        _fail(flight, failure)
    if flight.reentered:
        flight.reentered = False
        return reentered
    return code


def _fail(flight: Flight, failure: BaseException) -> None:
    flight.poison(HOST_FAILED)
    flight.failure = flight.failure or failure


def _memory_of(caller: Caller) -> Memory:
    memory = caller.get("memory")
    if not isinstance(memory, Memory):  # The loader has seen to it that it is there.
        raise AssertionError("a loaded module has no memory")
    return memory


def _read(flight: Flight, caller: Caller, ptr: int, length: int) -> bytes | None:
    """The bytes at an address, or None, with the instance poisoned, where they do not exist.

    The library reads short past the end instead of refusing, so the range is checked here.
    """
    memory = _memory_of(caller)
    start, size = unsigned(ptr), unsigned(length)
    if start + size > memory.data_len(caller):
        flight.poison(BAD_ADDRESS)
        return None
    return bytes(memory.read(caller, start, start + size))


def _commit(caller: Caller, ptr: int, length: int, out_ptr: int, out_cap: int) -> int:
    def action(flight: Flight) -> int:
        request = _read(flight, caller, ptr, length)
        start, room = unsigned(out_ptr), unsigned(out_cap)
        memory = _memory_of(caller)
        if request is not None and start + room > memory.data_len(caller):
            flight.poison(BAD_ADDRESS)
            request = None
        if request is None:
            return BAD_REQUEST
        answer = flight.host.commit(request)
        if flight.reentered:
            # Whatever a host says that called back meanwhile, the guest hears of the refusal only.
            return REENTERED
        code, reply = _checked_reply(answer)
        if code == 0:
            if len(reply) > room:
                return REPLY_TOO_LONG
            if reply:
                memory.write(caller, reply, start)
            return len(reply)
        # A zero byte ends the reason, since the code has taken the place of its length.
        if reply and len(reply) < room:
            memory.write(caller, reply + b"\0", start)
        return code

    return _guarded(action, broken=UNAVAILABLE, reentered=REENTERED)


def _checked_reply(answer: object) -> tuple[int, bytes]:
    match answer:
        case (int(code), bytes(reply)) if not isinstance(code, bool):
            if REPLY_TOO_LONG <= code <= 0 and (code == 0 or b"\0" not in reply):
                return code, reply
    raise UsageError(
        "a host's commit gave an answer that cannot be passed to the guest",
        value=answer,
        allowed="(0, reply) or (a code from -1 to -5, a JSON reason or b'')",
        hint="let the host's commit return one of these",
    )


def _fault(point: int) -> int:
    def action(flight: Flight) -> int:
        if flight.nested:
            # The inner call traps at the first point it reaches, and so commits nothing.
            return _FAULTS["abort"]
        name = _POINTS.get(point)
        if name is None:
            # A point that nobody knows cannot be in anybody's plan.
            return _NO_FAULT
        planned = flight.host.fault(name)
        if planned == _NESTED:
            flight.nested = True
            try:
                flight.nest()
            finally:
                flight.nested = False
            return _NO_FAULT
        if planned is None or (isinstance(planned, str) and planned in _FAULTS):
            return _FAULTS[planned]
        raise UsageError(
            "a host planned a fault that no guest can carry out",
            value=planned,
            allowed=", ".join(map(str, (*_FAULTS, _NESTED))),
            hint="let the host's fault return one of these",
        )

    # Where the plan cannot be had, the guest must not go on as if there were none.
    return _guarded(action, broken=_FAULTS["abort"], reentered=_NO_FAULT)


def _log(caller: Caller, ptr: int, length: int) -> None:
    def action(flight: Flight) -> int:
        text = _read(flight, caller, ptr, length)
        if text is not None:
            flight.host.log(text[:_LOG_BYTES_MAX].decode("utf-8", "replace"))
        return 0

    _guarded(action, broken=0, reentered=0)


_I32: Final = ValType.i32()

# Parameters and results of each import, all of them i32; the loader compares modules with it.
IMPORTS: Final[dict[str, tuple[int, int]]] = {"commit": (4, 1), "fault": (1, 1), "log": (2, 0)}


@lru_cache(maxsize=1)
def linker() -> Linker:
    """The imports, bound once for all modules and instances of this process."""
    made = Linker(engine())
    # The second word says whether the import looks into the guest's memory.
    functions: dict[str, tuple[Callable[..., int | None], bool]] = {
        "commit": (_commit, True),
        "fault": (_fault, False),
        "log": (_log, True),
    }
    for name, (takes, gives) in IMPORTS.items():
        function, reads_memory = functions[name]
        kind = FuncType([_I32] * takes, [_I32] * gives)
        made.define_func(IMPORT_MODULE, name, kind, function, access_caller=reads_memory)
    return made
