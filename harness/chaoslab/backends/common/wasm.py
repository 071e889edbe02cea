"""The Wasm port: real modules under wasmtime inside a simulated process.

A guest call takes no virtual time of its own. What the guest commits through its host import goes
to the ledger of the tool of that name, so durable truth is outside of the instance. The library
classifies what a call did to its instance; keeping or retiring it is left to the agent.

A trap strikes where the guest asks its host what to do: the guest panics, aborts, loops or writes
outside its memory, or this host misbehaves. In mode `nested` it enters the guest again and goes
on after the inner trap, so that the outer call answers as if nothing had been; in mode
`import-error` it breaks, and the guest is left in the middle of its work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chaoslab.backends.common.call import Call
from chaoslab.backends.common.flight import Flight, fly
from chaoslab.backends.common.hub import Hub, Process
from chaoslab.contract import marker_of
from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import Json, canonical, plain
from chaoslab.wasm import (
    BAD_REQUEST,
    REFUSED,
    GuestInstance,
    InstanceRetired,
    load_module,
)
from chaoslab.world.errors import BadRequest, NotFound, Refused, Retired, Trapped
from chaoslab.world.request import Caller

_DEADLINE_MS = 10_000
_INSTANTIATE_MS = 1


class _ImportFailed(Exception):
    """The planned failure of a host import."""


class _TicketHost:
    """The host side of one guest call: its commits go to the ledger, its faults come from the
    nemesis."""

    def __init__(self, hub: Hub, caller: Caller, flight: Flight, tool: str) -> None:
        self._hub, self._caller, self._flight, self._tool = hub, caller, flight, tool

    def commit(self, request: bytes, /) -> tuple[int, bytes]:
        """One line in the tool's ledger, keyed."""
        try:
            args = plain(json.loads(request), where="commit")
        except (ValueError, UsageError):
            return BAD_REQUEST, b""
        if not isinstance(args, dict):
            return BAD_REQUEST, b""
        key = args.pop("key", None)
        try:
            reply = self._hub.tools.apply(
                self._caller, self._tool, args, None if key is None else str(key)
            )
        except Refused as error:
            return REFUSED, canonical({"error": error.code}).encode()
        return 0, canonical({"ref": reply.ref, "absorbed": reply.absorbed}).encode()

    def fault(self, point: str, /) -> str | None:
        """What is to go wrong at this point."""
        mode = self._flight.trap(point)
        if mode == "import-error":
            raise _ImportFailed
        return mode

    def log(self, text: str, /) -> None:
        """A guest's log is of no account."""


class SimInstance:
    """One Wasm instance of one process."""

    def __init__(self, hub: Hub, process: Process, module: str, guest: GuestInstance) -> None:
        self._hub, self._process, self._module, self._guest = hub, process, module, guest

    @property
    def id(self) -> str:
        """The name of the instance in the record."""
        return self._guest.id

    @property
    def poisoned(self) -> str:
        """Why it is not to be trusted any more, or ""."""
        return self._guest.poisoned

    async def call(self, export: str, data: bytes, /, *, fuel: int) -> bytes:
        """Calls an export. `Trapped`: it may have committed before it died."""
        self._hub.inputs.text(export, "export")
        self._hub.inputs.whole(fuel, "fuel")
        if not isinstance(data, bytes):
            self._hub.inputs.refuse("data", data, "bytes")
        args = _as_json(data)
        key = args.get("key") if isinstance(args, Mapping) else None
        marker = ""
        if isinstance(args, Mapping):
            tool = self._hub.spec.contract.tool(self._module)
            marker = marker_of(tool, {k: v for k, v in args.items() if k != "key"})
        call = Call(
            f=f"wasm.{self._module}",
            value={"instance": self.id, "export": export, "args": args},
            marker=marker,
            key=key if isinstance(key, str) else None,
            deadline_ms=_DEADLINE_MS,
            outside=False,
            local=True,
            commit=lambda caller, flight: self._run(caller, flight, export, data, fuel),
            result=lambda output: {"instance": self.id, "output": _as_json(output)},
        )
        output: bytes = await fly(self._hub, self._process, call)
        return output

    def _run(self, caller: Caller, flight: Flight, export: str, data: bytes, fuel: int) -> bytes:
        guest, before = self._guest, self._guest.poisoned
        host = _TicketHost(self._hub, caller, flight, self._module)
        output, trap = b"", "import-error"
        try:
            result = guest.call(export, data, fuel=fuel, host=host)
        except InstanceRetired as error:
            raise Retired(str(error), instance=guest.id) from None
        except _ImportFailed:
            status = "trapped"
        else:
            status, output, trap = result.status, result.output, result.trap
        if guest.poisoned and not before:
            self._event("wasm.poisoned", caller, guest.poisoned)
        if status == "ok":
            return output
        if status in ("error", "refused"):
            text = output.decode("utf-8", "replace")
            raise BadRequest(text, instance=guest.id, status=status)
        raise Trapped(
            "the guest did not come back",
            trap=trap or status,
            poisoned=guest.poisoned,
            instance=guest.id,
        )

    def retire(self) -> None:
        """Drops the instance; any later call is refused."""
        if not self._guest.retired:
            self._guest.retire()
            self._event("wasm.retired", None, self._guest.poisoned)

    def _event(self, f: str, caller: Caller | None, reason: str) -> None:
        value: dict[str, Json] = {"instance": self.id, "reason": reason}
        self._hub.recorder.add(
            "event",
            f,
            value,
            process=self._process.id,
            session="" if caller is None else caller.session,
            task="" if caller is None else caller.task,
            call=-1 if caller is None else caller.call,
        )


class SimWasm:
    """Wasm modules by name; which build is the scenario's to say."""

    def __init__(self, hub: Hub, process: Process) -> None:
        self._hub, self._process, self._made = hub, process, 0

    async def instantiate(self, module: str, /) -> SimInstance:
        """A fresh instance of a module."""
        self._hub.inputs.text(module, "module")
        services = self._hub.spec.workload.services.values()
        known = {s.wasm for s in services if s.wasm}
        build = self._hub.spec.scenario.workload.wasm.get(module, "abort")

        def make(caller: Caller, flight: Flight) -> SimInstance:
            if module not in known:
                raise NotFound(f"there is no module {module}", module=module)
            self._made += 1
            guest = GuestInstance(
                load_module(module, build), id=f"{self._process.id}/{module}-{self._made}"
            )
            return SimInstance(self._hub, self._process, module, guest)

        call = Call(
            f="wasm.instantiate",
            value={"module": module},
            marker=module,
            deadline_ms=_DEADLINE_MS,
            base_ms=_INSTANTIATE_MS,
            outside=False,
            local=True,
            commit=make,
            result=lambda made: {"instance": made.id, "module": module, "build": build},
        )
        instance: SimInstance = await fly(self._hub, self._process, call)
        return instance


def _as_json(data: bytes) -> Any:
    """The data as JSON where it is JSON without floats, else as text."""
    text = data.decode("utf-8", "replace")
    try:
        return plain(json.loads(text), where="data")
    except (ValueError, UsageError, RecursionError):
        return text
