"""One instance of a guest: calling it, saying what became of it, and dropping it.

A panic or a trap ends a call in the middle, and whatever the guest had half done stays half done
in its memory. The next call then runs on it, usually without a sign: the instance answers, its
output is well-formed, and it may hold another customer's words. So each call ends with a verdict
on the instance, and `poisoned` keeps the first reason there was.

This module only says so. Whether a poisoned instance is called again is the agent's decision,
and an agent under test must be able to decide wrongly. Only a retired instance refuses.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final, Literal

from wasmtime import Func, Global, Memory, Store, Trap, WasmtimeError

from chaoslab.core.errors import LabError, UsageError
from chaoslab.wasm.engine import engine
from chaoslab.wasm.errors import GuestBroke, InstanceBusy, InstanceRetired, ReentryRefused
from chaoslab.wasm.host import (
    HOST_FAILED,
    NESTED_REENTRY,
    NESTED_TRAP,
    Flight,
    Host,
    begin,
    end,
    signed,
    unsigned,
)
from chaoslab.wasm.module import Module

Status = Literal["ok", "error", "refused", "panicked", "trapped"]

MEMORY_LIMIT_BYTES: Final = 16 << 20
FUEL_MAX: Final = 1 << 62
# What `out_ptr` and `out_len` name. A host can read it at any time, so it can be asked for here
# like a probe, except where a guest has an export of that name.
OUTPUT: Final = "output"

PANIC_CAUGHT: Final = "panic caught at the export"
STILL_PANICKING: Final = "panicking() after the call"
STACK_NOT_RESTORED: Final = "stack pointer not restored"
BROKE_THE_RULES: Final = "the guest broke the rules of its interface"

_STATUSES: Final[dict[int, Status]] = {0: "ok", 1: "error", 2: "panicked", 3: "refused"}
# Asking how a call went must not fail for want of fuel, and is not the caller's to pay.
_AFTER_CALL_FUEL: Final = 1_000_000
_TABLE_ELEMENTS_MAX: Final = 100_000
_NO_ROOM: Final = b'{"error":"the guest made no room for the request"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestResult:
    """How a call ended.

    `output` is empty unless the call came to an end of its own: after a panic or a trap what
    stands in the memory may mix two requests, so it is not even read. `trap` is the name of the
    trap's code. `poisoned` is the instance's, so the good answer of a damaged instance shows it.
    """

    status: Status
    output: bytes = b""
    trap: str = ""
    poisoned: str = ""
    fuel_used: int = 0


class GuestInstance:
    """One instance with a memory of its own. Synchronous; one call at a time."""

    __slots__ = (
        "_busy",
        "_calls",
        "_exports",
        "_flight",
        "_memory",
        "_module",
        "_owner",
        "_poisoned",
        "_retired",
        "_stack_base",
        "_stack_pointer",
        "_store",
        "id",
    )

    def __init__(
        self, module: Module, *, id: str, memory_limit_bytes: int = MEMORY_LIMIT_BYTES
    ) -> None:
        _check_limit(module, memory_limit_bytes)
        store = Store(engine())
        store.set_limits(
            memory_size=memory_limit_bytes,
            table_elements=_TABLE_ELEMENTS_MAX,
            instances=1,
            memories=1,
        )
        try:
            exports = module.code.instantiate(store).exports(store)
        except (Trap, WasmtimeError) as error:
            raise LabError(
                f"module {module.name} ({module.build}) cannot be instantiated",
                value=type(error).__name__,
                allowed="a module whose start needs no fuel and no more than the memory limit",
                hint="check that this machine has memory left",
            ) from error
        memory, stack_pointer = exports["memory"], exports["__stack_pointer"]
        assert isinstance(memory, Memory)
        assert isinstance(stack_pointer, Global)
        self.id = id
        self._module, self._store, self._exports = module, store, exports
        self._memory, self._stack_pointer = memory, stack_pointer
        self._stack_base = stack_pointer.value(store)
        self._busy = threading.Lock()
        self._owner = 0
        self._flight: Flight | None = None
        self._calls = 0
        self._poisoned = ""
        self._retired = False

    def __repr__(self) -> str:
        state = "retired" if self._retired else self._poisoned or "healthy"
        return f"GuestInstance(id={self.id!r}, calls={self._calls}, {state})"

    @property
    def poisoned(self) -> str:
        """The first reason not to trust this instance any more, or an empty string."""
        return self._poisoned

    @property
    def calls(self) -> int:
        """How many calls were let in."""
        return self._calls

    @property
    def retired(self) -> bool:
        """Whether the instance was dropped on purpose."""
        return self._retired

    def call(self, export: str, data: bytes, /, *, fuel: int, host: Host) -> GuestResult:
        """Calls an entry with a request, or a probe (such as `count`) with no data. "output" reads
        once more what the guest has put out, which after a trap nobody should.

        An exception of the host is raised from here, after the guest has returned.
        """
        if self._retired:
            raise InstanceRetired(
                f"instance {self.id} was retired and answers nothing any more",
                value=export,
                allowed="calls before retire()",
                hint="make a new GuestInstance from the module",
            )
        self._check_request(export, data, fuel)
        self._enter()
        flight = Flight(host, self._poison, lambda: self._nest(export, data))
        self._flight = flight
        try:
            begin(flight)
            try:
                result = self._run(export, data, fuel)
            finally:
                end()
            if flight.failure is not None:
                raise flight.failure
            return result
        except BaseException:
            # Also for what struck outside of any import, such as an interrupt from the
            # keyboard: the guest may have been left in the middle.
            self._poison(HOST_FAILED)
            raise
        finally:
            self._leave()

    def retire(self) -> None:
        """Drops the memory and the code of this instance; a second time does nothing.

        From within one of its own calls it takes effect when that call has returned, since
        the store must not vanish under running code.
        """
        self._retired = True
        self._drop_if_idle()

    def _check_request(self, export: str, data: bytes, fuel: int) -> None:
        probe = export not in self._module.entries
        if probe and export not in (*self._module.probes, OUTPUT):
            raise UsageError(
                f"module {self._module.name} has no such export to call",
                value=export,
                allowed=", ".join((*self._module.entries, *self._module.probes, OUTPUT)),
                hint="call one of these",
            )
        if not isinstance(data, bytes) or (probe and data):
            raise UsageError(
                f"the request for {export} is of the wrong kind",
                value=data,
                allowed="b''" if probe else "bytes",
                hint="encode the request as JSON in UTF-8, or pass b'' to a probe",
            )
        if not isinstance(fuel, int) or isinstance(fuel, bool) or not 0 < fuel <= FUEL_MAX:
            raise UsageError(
                "the fuel of a call is out of range",
                value=fuel,
                allowed=f"a whole number from 1 to {FUEL_MAX}",
                hint="use 10_000_000 where nothing else is known",
            )

    def _enter(self) -> None:
        """Lets one call in. A nested one is refused and poisons; another thread's is refused."""
        if not self._busy.acquire(blocking=False):
            if self._owner == threading.get_ident() and self._flight is not None:
                self._flight.reentered = True
                self._poison(NESTED_REENTRY)
                raise ReentryRefused(
                    f"instance {self.id} was called from within one of its own calls",
                    allowed="a call after the one that is under way",
                    hint="let the host's import answer without calling the guest",
                )
            raise InstanceBusy(
                f"instance {self.id} was called by two threads at once",
                allowed="one call at a time",
                hint="give each thread an instance of its own",
            )
        self._owner = threading.get_ident()
        self._calls += 1

    def _leave(self) -> None:
        self._flight, self._owner = None, 0
        self._busy.release()
        if self._retired:
            self._drop_if_idle()

    def _drop_if_idle(self) -> None:
        if self._busy.acquire(blocking=False):
            try:
                self._store.close()
            finally:
                self._busy.release()

    def _nest(self, export: str, data: bytes) -> None:
        """What a careless host does: it enters the guest again in the middle of a call, and goes
        on after the trap of the inner call. The outer call then ends as if nothing were."""
        entry = export if export in self._module.entries else self._module.entries[0]
        try:
            self._invoke_entry(entry, data)
        except Trap:
            self._poison(NESTED_TRAP)
        else:
            self._poison(NESTED_REENTRY)

    def _poison(self, reason: str) -> None:
        self._poisoned = self._poisoned or reason

    def _run(self, export: str, data: bytes, fuel: int) -> GuestResult:
        self._store.set_fuel(fuel)
        status: Status = "trapped"
        was_healthy = not self._poisoned
        output, trap_name, used = b"", "", None
        try:
            if export in self._module.probes:
                status, output = "ok", b"%d" % self._invoke(export)
                used = self._fuel_since(fuel)
            elif export not in self._module.entries:
                status, output = "ok", self._read_output()
            else:
                told = self._invoke_entry(export, data)
                used = self._fuel_since(fuel)
                self._store.set_fuel(_AFTER_CALL_FUEL)
                status = self._judge(told, was_healthy)
                if status != "panicked":
                    output = _NO_ROOM if told is None else self._read_output()
        except Trap as trap:
            status, output, trap_name = "trapped", b"", _name_of(trap)
            self._poison(f"trap: {trap_name}")
        except WasmtimeError as error:
            raise self._broke("a call that the engine refused", error) from error
        return GuestResult(
            status=status,
            output=output,
            trap=trap_name,
            poisoned=self._poisoned,
            fuel_used=self._fuel_since(fuel) if used is None else used,
        )

    def _invoke(self, export: str, *args: int) -> int:
        function = self._exports[export]
        assert isinstance(function, Func)
        return int(function(self._store, *args))

    def _invoke_entry(self, export: str, data: bytes) -> int | None:
        """What the entry returned, or None where the guest made no room for the request."""
        start = unsigned(self._invoke("alloc", len(data)))
        if start == 0:
            return None
        if start + len(data) > self._memory.data_len(self._store):
            raise self._broke("alloc gave an address outside the memory", start)
        if data:
            self._memory.write(self._store, data, start)
        return self._invoke(export, signed(start), len(data))

    def _judge(self, told: int | None, was_healthy: bool) -> Status:
        """The status of an entry that returned, and whether the instance is what it was."""
        status = "error" if told is None else _STATUSES.get(told)
        if status is None:
            raise self._broke("an entry returned a status that does not exist", told)
        panicking = self._invoke("panicking") != 0
        if status == "panicked":
            self._poison(PANIC_CAUGHT)
        elif panicking and was_healthy:
            # The guest claims an ordinary end with a panic under way: not to be believed. On an
            # instance that was poisoned before, the flag is merely what an older panic left.
            status = "panicked"
        if panicking:
            self._poison(STILL_PANICKING)
        if self._stack_pointer.value(self._store) != self._stack_base:
            self._poison(STACK_NOT_RESTORED)
        return status

    def _read_output(self) -> bytes:
        start, length = unsigned(self._invoke("out_ptr")), unsigned(self._invoke("out_len"))
        # The library reads short past the end instead of refusing.
        if start + length > self._memory.data_len(self._store):
            raise self._broke("the output stands outside the memory", (start, length))
        return bytes(self._memory.read(self._store, start, start + length))

    def _fuel_since(self, fuel: int) -> int:
        return max(0, fuel - self._store.get_fuel())

    def _broke(self, what: str, value: object) -> GuestBroke:
        self._poison(BROKE_THE_RULES)
        return GuestBroke(
            f"instance {self.id} of module {self._module.name}: {what}",
            value=value,
            allowed="what wasm_targets/README.md says about the interface",
            hint="retire the instance and mend the module",
        )


def _check_limit(module: Module, limit: int) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < module.memory_min_bytes:
        raise UsageError(
            f"the memory limit is too small for module {module.name}",
            value=limit,
            allowed=f"{module.memory_min_bytes} bytes or more",
            hint=f"leave it out for the usual {MEMORY_LIMIT_BYTES} bytes",
        )


def _name_of(trap: Trap) -> str:
    """The trap's code as a word. Its text is left alone: it names machine-made things."""
    try:
        code = trap.trap_code
    except ValueError:
        # A code that the binding does not know yet.
        return "other"
    if code is None or code.name == "UNCAUGHT_EXCEPTION":
        return "exception"
    return code.name.lower().replace("_", "-")
