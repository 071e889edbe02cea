"""The world that an agent is handed in the simulator: each port is a thin face over a flight.

A port checks and copies what the agent passes (so that nothing recorded can change later), says
how the call looks in the record, and leaves the rest to `flight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from chaoslab.backends.common.call import Call
from chaoslab.backends.common.flight import fly
from chaoslab.backends.common.hub import DOING, MS, Doing, Hub, Process
from chaoslab.backends.common.wasm import SimWasm
from chaoslab.contract import marker_of
from chaoslab.core.jsons import Json, plain
from chaoslab.core.rng import stream
from chaoslab.world.api import (
    ANY,
    Clock,
    Durability,
    Expect,
    Item,
    Lease,
    Leases,
    Memory,
    Model,
    ModelReply,
    Network,
    NetworkReply,
    Outcome,
    Place,
    Report,
    ToolReply,
    Tools,
    Version,
    Wasm,
    Write,
)
from chaoslab.world.memory import Copy

_MEMORY_DEADLINE_MS = 2_000
_PLACES = ("primary", "replica")
_LOCAL_MS, _CROSS_MS, _MODEL_MS = 1, 30, 200


class SimClock:
    """Virtual time, with a decision for what happens at the same instant."""

    def __init__(self, hub: Hub, process: Process) -> None:
        self._hub, self._process = hub, process

    def now_ms(self) -> int:
        """Milliseconds since the start of the execution."""
        return self._hub.loop.now_ns // MS

    async def sleep(self, ms: int, /) -> None:
        """Waits in virtual time."""
        hub, process, doing = self._hub, self._process, DOING.get()
        hub.inputs.whole(ms, "a sleep in whole milliseconds")
        if not process.alive:
            await hub.loop.create_future()  # never
        nth = process.calls[doing.task] = process.calls.get(doing.task, 0) + 1
        name = f"{process.id}/{doing.task or '-'}/{nth}/timer"
        tie = hub.choices.take(name) & 15
        future = hub.loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        hub.loop.schedule(hub.loop.now_ns + ms * MS, tie, name, wake, process)
        await future


class _Port:
    def __init__(self, hub: Hub, process: Process) -> None:
        self._hub, self._process = hub, process
        self._in = hub.inputs

    async def _fly(self, call: Call) -> Any:
        return await fly(self._hub, self._process, call)


class SimModel(_Port):
    """The scripted model behind a slow link."""

    def __init__(self, hub: Hub, process: Process) -> None:
        super().__init__(hub, process)
        self._sent: dict[str, list[Json]] = {}

    async def complete(
        self,
        messages: Sequence[Mapping[str, Json]],
        /,
        *,
        tools: Sequence[str] = (),
        deadline_ms: int,
    ) -> ModelReply:
        """The model's answer to a transcript."""
        sent = self._in.objects(messages, "messages")
        self._in.whole(deadline_ms, "deadline_ms")
        task = DOING.get().task
        before = self._sent.get(task, [])
        extends = len(before) if before and sent[: len(before)] == before else 0
        self._sent[task] = sent
        names = [self._in.text(t, "tools") for t in tools]
        value: dict[str, Json] = {
            "messages": sent[extends:],
            "extends": extends,
            "tools": cast(Json, names),
        }
        call = Call(
            f="model.complete",
            value=value,
            marker=f"turn-{len(sent)}",
            deadline_ms=deadline_ms,
            base_ms=_MODEL_MS,
            commit=lambda caller, flight: self._hub.model.apply(sent, names, flight.mishap()),
            result=_model_json,
        )
        reply: ModelReply = await self._fly(call)
        calls = tuple(replace(c, args=_copy(c.args)) for c in reply.tool_calls)
        return replace(reply, tool_calls=calls)


def _model_json(reply: ModelReply) -> Json:
    calls: list[Json] = [
        {"id": c.id, "name": c.name, "args": dict(c.args)} for c in reply.tool_calls
    ]
    return {"text": reply.text, "tool_calls": calls, "finish": reply.finish}


class SimTools(_Port):
    """The tool services."""

    async def call(
        self, name: str, args: Mapping[str, Json], /, *, key: str | None = None, deadline_ms: int
    ) -> ToolReply:
        """One request to a tool. See `chaoslab.world.api.Tools`."""
        tools, given = self._hub.tools, self._in.args(args, "args")
        base, dot, _ = self._in.text(name, "name").partition(".")
        self._in.whole(deadline_ms, "deadline_ms")
        key = self._in.maybe_text(key, "key")
        service = self._hub.spec.workload.services.get(base)
        value: dict[str, Json] = {"args": given, "deadline_ms": deadline_ms}
        if dot:
            value["lookup"] = True
        call = Call(
            f=f"tools.{name}",
            value=value,
            key=key,
            marker=marker_of(self._hub.spec.contract.tool(base), given),
            deadline_ms=deadline_ms,
            duration_ms=0 if service is None or dot else service.duration_ms,
            begin=lambda caller: tools.begin(caller, name, given, key),
            commit=lambda caller, flight: tools.commit(caller, name, given, key),
            abandon=lambda: tools.abandon(name, key),
            result=lambda r: {"ref": r.ref, "data": r.data, "absorbed": r.absorbed},
        )
        reply: ToolReply = await self._fly(call)
        return replace(reply, data=_copy(reply.data))


class SimMemory(_Port):
    """The memory store, near or far. Who carries a call out is said by the `_by_…` methods, which
    are other ones where regions are processes of their own."""

    def _base_ms(self, durability: str = "local") -> int:
        """A quorum costs a round trip between regions; so does a primary that is far away."""
        copies = self._hub.copies
        if len(copies) == 1:
            return _LOCAL_MS
        own = copies.get(self._process.region)
        near = own is not None and own.leads and durability == "local"
        return _LOCAL_MS if near else _CROSS_MS

    def _copy(self, at: Place) -> Copy:
        memory = self._hub.memory
        region = self._process.region
        return memory.leader(region) if at == "primary" else memory.replica(region)

    def _by_read(self, id: str, at: Place) -> dict[str, Any]:
        def look(caller: Any, flight: Any) -> tuple[Item | None, str]:
            copy = self._copy(at)
            return self._hub.memory.read(copy, id, caller.now_ns), copy.region

        return {"commit": look}

    def _by_scan(self, prefix: str, at: Place) -> dict[str, Any]:
        memory = self._hub.memory
        return {"commit": lambda caller, _: memory.scan(self._copy(at), prefix, caller.now_ns)}

    def _by_write(self, write: Write, fence: int | None) -> dict[str, Any]:
        memory = self._hub.memory
        return {"commit": lambda caller, _: memory.write(caller, "memory.write", write, fence)}

    def _by_group(self, group: Sequence[Write], fence: int | None) -> dict[str, Any]:
        return {"steps": lambda caller: self._hub.memory.write_many(caller, group, fence)}

    def _by_erase(self, id: str, fence: int | None) -> dict[str, Any]:
        def gone(caller: Any, flight: Any) -> bool:
            self._hub.memory.erase(caller, id, fence)
            return True

        return {"commit": gone}

    async def read(self, id: str, /, *, at: Place = "primary") -> Item | None:
        """The item, or None."""
        self._in.text(id, "id")
        self._in.among(at, "at", _PLACES)

        def result(found: tuple[Item | None, str]) -> Json:
            item, region = found
            if item is None:
                return {"found": False, "region": region}
            return {"found": True, "region": region, **_item_json(item)}

        call = Call(
            f="memory.read",
            value={"id": id, "at": at},
            marker=id,
            deadline_ms=_MEMORY_DEADLINE_MS,
            base_ms=self._base_ms() if at == "primary" else _LOCAL_MS,
            outside=False,
            result=result,
            **self._by_read(id, at),
        )
        found: tuple[Item | None, str] = await self._fly(call)
        return None if found[0] is None else _own(found[0])

    async def write(
        self,
        id: str,
        value: Json,
        /,
        *,
        expect: Expect = ANY,
        fence: int | None = None,
        expires_ms: int | None = None,
        durability: Durability = "local",
    ) -> Version:
        """Writes one item and returns its version."""
        write = self._in.write(
            Write(id=id, value=value, expect=expect, expires_ms=expires_ms, durability=durability),
            "write",
        )
        self._in.maybe_whole(fence, "fence")
        shown = _write_json(write)
        shown["fence"] = fence
        call = Call(
            f="memory.write",
            value=shown,
            marker=id,
            deadline_ms=_MEMORY_DEADLINE_MS,
            base_ms=self._base_ms(durability),
            outside=False,
            result=lambda version: {"version": list(version)},
            **self._by_write(write, fence),
        )
        version: Version = await self._fly(call)
        return version

    async def write_many(
        self, writes: Sequence[Write], /, *, fence: int | None = None
    ) -> tuple[Version, ...]:
        """Writes a group in order; it is not atomic."""
        group = [self._in.write(w, "writes") for w in writes]
        self._in.maybe_whole(fence, "fence")
        if not group:
            self._in.refuse("writes", [], "at least one write")
        shown: list[Json] = [_write_json(w) for w in group]
        quorum = any(w.durability == "quorum" for w in group)
        call = Call(
            f="memory.write_many",
            value={"writes": shown, "fence": fence},
            marker="+".join(w.id for w in group),
            deadline_ms=_MEMORY_DEADLINE_MS,
            base_ms=self._base_ms("quorum" if quorum else "local"),
            outside=False,
            result=lambda versions: {"versions": [list(v) for v in versions]},
            **self._by_group(group, fence),
        )
        versions: tuple[Version, ...] = await self._fly(call)
        return versions

    async def scan(self, prefix: str, /, *, at: Place = "primary") -> tuple[Item, ...]:
        """All items whose id starts with `prefix`."""
        self._in.text(prefix, "prefix")
        self._in.among(at, "at", _PLACES)
        call = Call(
            f="memory.scan",
            value={"prefix": prefix, "at": at},
            marker=prefix,
            deadline_ms=_MEMORY_DEADLINE_MS,
            base_ms=self._base_ms() if at == "primary" else _LOCAL_MS,
            outside=False,
            result=lambda items: {"items": [_item_json(i) for i in items]},
            **self._by_scan(prefix, at),
        )
        items: tuple[Item, ...] = await self._fly(call)
        return tuple(_own(item) for item in items)

    async def erase(self, id: str, /, *, fence: int | None = None) -> None:
        """Removes an item."""
        self._in.text(id, "id")
        self._in.maybe_whole(fence, "fence")

        def gone(caller: Any, flight: Any) -> bool:
            self._hub.memory.erase(caller, id, fence)
            return True

        call = Call(
            f="memory.erase",
            value={"id": id, "fence": fence},
            marker=id,
            deadline_ms=_MEMORY_DEADLINE_MS,
            base_ms=self._base_ms(),
            outside=False,
            **self._by_erase(id, fence),
        )
        await self._fly(call)


def _item_json(item: Item) -> dict[str, Json]:
    return {"id": item.id, "value": item.value, "version": list(item.version)}


def _write_json(write: Write) -> dict[str, Json]:
    out: dict[str, Json] = {
        "id": write.id,
        "value": write.value,
        "durability": write.durability,
    }
    if write.expires_ms is not None:
        out["expires_ms"] = write.expires_ms
    if write.expect is None or isinstance(write.expect, tuple):
        out["expect"] = None if write.expect is None else list(write.expect)
    return out


class SimLeases(_Port):
    """The one lease service."""

    async def acquire(self, session: str, /, *, ttl_ms: int) -> Lease:
        """Takes, extends or (`ttl_ms` 0) gives up the lease of a session."""
        self._in.text(session, "session")
        self._in.whole(ttl_ms, "ttl_ms")
        call = Call(
            f="leases.acquire",
            value={"session": session, "ttl_ms": ttl_ms},
            marker=session,
            deadline_ms=_MEMORY_DEADLINE_MS,
            base_ms=_LOCAL_MS,
            commit=lambda caller, flight: self._hub.leases.apply(caller, session, ttl_ms),
            result=lambda g: {"fence": g.fence, "expires_ns": g.expires_ms * MS},
        )
        lease: Lease = await self._fly(call)
        return lease


class SimNetwork(_Port):
    """The outside."""

    async def request(
        self, method: str, url: str, /, *, body: bytes = b"", deadline_ms: int
    ) -> NetworkReply:
        """One request to the outside."""
        self._in.text(method, "method")
        self._in.text(url, "url")
        self._in.whole(deadline_ms, "deadline_ms")
        if not isinstance(body, bytes):
            self._in.refuse("body", body, "bytes")
        call = Call(
            f="network.request",
            value={"method": method, "url": url, "body": body.decode("utf-8", "replace")},
            marker=f"{method.upper()} {url}",
            deadline_ms=deadline_ms,
            base_ms=_CROSS_MS,
            commit=lambda caller, flight: self._hub.network.apply(caller, method, url, body),
            result=_network_json,
        )
        reply: NetworkReply = await self._fly(call)
        return replace(reply, headers=dict(reply.headers))


def _network_json(reply: NetworkReply) -> Json:
    shown: dict[str, Json] = {
        "status": reply.status,
        "body": reply.body.decode("utf-8", "replace"),
    }
    return shown | {"headers": dict(reply.headers)} if reply.headers else shown


class SimReport(_Port):
    """What the agent says about itself."""

    def _event(self, f: str, value: Json, **fields: Any) -> None:
        if not self._process.alive:
            return  # nobody hears the dead
        doing = DOING.get()
        fields.setdefault("session", doing.session)
        self._hub.recorder.add(
            "event", f, value, process=self._process.id, task=doing.task, **fields
        )

    def outcome(self, outcome: Outcome, /) -> None:
        """The outcome of a task that the agent finished by itself."""
        if self._process.alive:
            self._hub.supervisor.reported(self._process, outcome)

    def transition(self, session: str, state: str, why: str, /) -> None:
        """A session moved to another state."""
        value: dict[str, Json] = {
            "state": self._in.text(state, "state"),
            "why": self._in.text(why, "why"),
        }
        self._event("report.transition", value, session=self._in.text(session, "session"))

    def intent(self, tool: str, marker: str, key: str | None, /) -> None:
        """The agent has written down that it will act."""
        self._event(
            "report.intent",
            {"tool": self._in.text(tool, "tool")},
            marker=self._in.text(marker, "marker"),
            key=self._in.maybe_text(key, "key"),
        )

    def log(self, text: str, /, **fields: Json) -> None:
        """A line of the agent's log."""
        said = {"text": self._in.text(text, "text"), "fields": self._in.data(fields, "fields")}
        self._event("report.log", said)


class SimWorld:
    """Everything around one incarnation."""

    def __init__(self, hub: Hub, process: Process) -> None:
        self._hub = hub
        self.process = process.id
        self.region = process.region
        self.random = stream(hub.spec.seed, f"agent/{process.id}")
        self.clock: Clock = SimClock(hub, process)
        self.model: Model = SimModel(hub, process)
        self.tools: Tools = SimTools(hub, process)
        self.memory: Memory = SimMemory(hub, process)
        self.leases: Leases = SimLeases(hub, process)
        self.network: Network = SimNetwork(hub, process)
        self.wasm: Wasm = SimWasm(hub, process)
        self.report: Report = SimReport(hub, process)

    def marker_of(self, tool: str, args: Mapping[str, Json], /) -> str:
        """The token that makes an action recognisable."""
        given = self._hub.inputs.args(args, "args")
        return marker_of(self._hub.spec.contract.tool(tool), given)

    @contextmanager
    def acting(self, *, task: str, session: str) -> Iterator[None]:
        """Calls inside are made for this task."""
        tenant = next((t.tenant for t in self._hub.cast.sessions.get(session, ())), "")
        token = DOING.set(Doing(task, session, tenant))
        try:
            yield
        finally:
            DOING.reset(token)


def _copy(value: Json) -> Any:
    """The agent's own copy of what a service or the record also holds."""
    return plain(value, where="reply")


def _own(item: Item) -> Item:
    return replace(item, value=_copy(item.value))
