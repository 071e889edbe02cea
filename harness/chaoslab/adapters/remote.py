"""Runs an adapter in a process of its own: `python -m chaoslab.adapters.remote path.py:factory`.

The agent's code is the same as in the simulator; only its ports are different. Each is one HTTP
request to the lab that started this process, and whatever the lab answers (a reply, an error of
the world, a broken connection) is what the agent sees. The lab says what to do next: handle a
task, let a session go, or nothing.

>>> error_from({"code": "conflict", "message": "no", "details": {"in_flight": True}}).details
{'in_flight': True}
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from chaoslab.adapters.loading import AgentSource
from chaoslab.adapters.remote_clock import RemoteClock, RemoteLoop
from chaoslab.contract import ToolContract, marker_of
from chaoslab.core.jsons import Json
from chaoslab.world import errors
from chaoslab.world.api import (
    ANY,
    Agent,
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
    Releasable,
    Report,
    Resumable,
    Task,
    ToolCall,
    ToolReply,
    Tools,
    Version,
    Wasm,
    Write,
)

_WAIT_MS: Final = 100_000
_DOING: ContextVar[tuple[str, str]] = ContextVar("chaoslab_remote_doing", default=("", ""))
_ERRORS: Final = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.WorldError)
}


def error_from(raw: Mapping[str, Any], /) -> errors.WorldError:
    """The error of the world that the lab tells of."""
    details = dict(raw.get("details", {}))
    if isinstance(details.get("current"), list):
        details["current"] = tuple(details["current"])
    kind = _ERRORS.get(raw["code"], errors.Indeterminate)
    return kind(raw.get("message", ""), **details)


class Link:
    """The way to the lab. One connection per request: the lab breaks it where a fault says so."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._events: list[dict[str, Any]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def ask(self, port: str, **args: Any) -> Any:
        """One request; raises what the lab tells, ConnectionReset where it tells nothing."""
        task, session = _DOING.get()
        events, self._events = self._events, []
        body = json.dumps({"events": events, "task": task, "session": session, **args}).encode()
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            raise errors.ConnectionRefused("the lab does not listen") from None
        try:
            head = (
                f"POST {self._path}/ports/{port} HTTP/1.1\r\nHost: {self._host}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
            answer = await reader.read()
        except OSError:
            raise errors.ConnectionReset("the connection broke") from None
        finally:
            writer.close()
        return _read(answer)

    def say(self, what: str, *args: Any) -> None:
        """Reports something; it goes ahead of the next request, or by itself if there is none."""
        task, session = _DOING.get()
        self._events.append({"what": what, "args": args, "task": task, "session": session})
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(0)
        if self._events:
            with suppress(errors.WorldError):
                await self.ask("flush")


def _read(answer: bytes) -> Any:
    head, gap, body = answer.partition(b"\r\n\r\n")
    if not gap or not head.startswith(b"HTTP/1.1 "):
        raise errors.ConnectionReset("the connection broke")
    if not head.startswith(b"HTTP/1.1 200"):
        raise errors.BadRequest(f"the lab refused: {body[:500].decode('utf-8', 'replace')}")
    try:
        told = json.loads(body)
    except ValueError:
        raise errors.ConnectionReset("the connection broke in the middle of an answer") from None
    if "error" in told:
        raise error_from(told["error"])
    return told["ok"]


class RemoteModel:
    """The model."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def complete(
        self,
        messages: Sequence[Mapping[str, Json]],
        /,
        *,
        tools: Sequence[str] = (),
        deadline_ms: int,
    ) -> ModelReply:
        """See `chaoslab.world.api.Model`."""
        raw = await self._link.ask(
            "model.complete",
            messages=[dict(m) for m in messages],
            tools=list(tools),
            deadline_ms=deadline_ms,
        )
        calls = tuple(ToolCall(**c) for c in raw["tool_calls"])
        return ModelReply(text=raw["text"], tool_calls=calls, finish=raw["finish"])


class RemoteTools:
    """The tools."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def call(
        self, name: str, args: Mapping[str, Json], /, *, key: str | None = None, deadline_ms: int
    ) -> ToolReply:
        """See `chaoslab.world.api.Tools`."""
        raw = await self._link.ask(
            "tools.call", name=name, args=dict(args), key=key, deadline_ms=deadline_ms
        )
        return ToolReply(**raw)


class RemoteMemory:
    """The memory."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def read(self, id: str, /, *, at: Place = "primary") -> Item | None:
        """See `chaoslab.world.api.Memory`; so the others."""
        raw = await self._link.ask("memory.read", id=id, at=at)
        return None if raw is None else _item(raw)

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
        """One item."""
        write = Write(
            id=id, value=value, expect=expect, expires_ms=expires_ms, durability=durability
        )
        raw = await self._link.ask("memory.write", **_write(write), fence=fence)
        return (raw[0], raw[1])

    async def write_many(
        self, writes: Sequence[Write], /, *, fence: int | None = None
    ) -> tuple[Version, ...]:
        """A group, in order."""
        shown = [_write(w) for w in writes]
        raw = await self._link.ask("memory.write_many", writes=shown, fence=fence)
        return tuple((v[0], v[1]) for v in raw)

    async def scan(self, prefix: str, /, *, at: Place = "primary") -> tuple[Item, ...]:
        """All items of a prefix."""
        return tuple(_item(i) for i in await self._link.ask("memory.scan", prefix=prefix, at=at))

    async def erase(self, id: str, /, *, fence: int | None = None) -> None:
        """Removes an item."""
        await self._link.ask("memory.erase", id=id, fence=fence)


def _item(raw: Mapping[str, Any]) -> Item:
    version = (raw["version"][0], raw["version"][1])
    return Item(id=raw["id"], value=raw["value"], version=version, expires_ms=raw["expires_ms"])


def _write(write: Write) -> dict[str, Any]:
    shown = {
        "id": write.id,
        "value": write.value,
        "expires_ms": write.expires_ms,
        "durability": write.durability,
    }
    if write.expect is None or isinstance(write.expect, tuple):
        shown["expect"] = None if write.expect is None else list(write.expect)
    return shown


class RemoteLeases:
    """The leases."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def acquire(self, session: str, /, *, ttl_ms: int) -> Lease:
        """See `chaoslab.world.api.Leases`."""
        return Lease(**await self._link.ask("leases.acquire", session_id=session, ttl_ms=ttl_ms))


class RemoteNetwork:
    """The outside."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def request(
        self, method: str, url: str, /, *, body: bytes = b"", deadline_ms: int
    ) -> NetworkReply:
        """See `chaoslab.world.api.Network`."""
        raw = await self._link.ask(
            "network.request",
            method=method,
            url=url,
            body=base64.b64encode(body).decode(),
            deadline_ms=deadline_ms,
        )
        return NetworkReply(
            status=raw["status"], body=base64.b64decode(raw["body"]), headers=raw["headers"]
        )


class RemoteInstance:
    """A Wasm instance that lives in the lab, on behalf of this process."""

    def __init__(self, link: Link, raw: Mapping[str, Any]) -> None:
        self._link, self._id, self._poisoned = link, raw["id"], raw["poisoned"]

    @property
    def id(self) -> str:
        """Its name."""
        return str(self._id)

    @property
    def poisoned(self) -> str:
        """Why it is not to be trusted any more, or ""."""
        return str(self._poisoned)

    async def call(self, export: str, data: bytes, /, *, fuel: int) -> bytes:
        """See `chaoslab.world.api.Instance`."""
        raw = await self._link.ask(
            "wasm.call",
            id=self._id,
            export=export,
            data=base64.b64encode(data).decode(),
            fuel=fuel,
        )
        self._poisoned = raw["poisoned"]
        if "error" in raw:
            raise error_from(raw["error"])
        return base64.b64decode(raw["output"])

    def retire(self) -> None:
        """Drops it."""
        self._link.say("retire", self._id)


class RemoteWasm:
    """The modules."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def instantiate(self, module: str, /) -> RemoteInstance:
        """See `chaoslab.world.api.Wasm`."""
        return RemoteInstance(self._link, await self._link.ask("wasm.instantiate", module=module))


class RemoteReport:
    """What the agent says about itself."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def outcome(self, outcome: Outcome, /) -> None:
        """See `chaoslab.world.api.Report`; so the others."""
        self._link.say("outcome", asdict(outcome))

    def transition(self, session: str, state: str, why: str, /) -> None:
        """A session moved to another state."""
        self._link.say("transition", session, state, why)

    def intent(self, tool: str, marker: str, key: str | None, /) -> None:
        """The agent has written down that it will act."""
        self._link.say("intent", tool, marker, key)

    def log(self, text: str, /, **fields: Json) -> None:
        """A line of the agent's log."""
        self._link.say("log", text, fields)


class RemoteWorld:
    """Everything around this incarnation."""

    def __init__(self, link: Link, told: Mapping[str, Any]) -> None:
        self.process, self.region = str(told["process"]), str(told["region"])
        self.random = Random(f"{told['seed']}/{self.process}")  # noqa: S311
        self._tools = {
            name: ToolContract(name=name, identity_fields=tuple(fields))
            for name, fields in told["identity"].items()
        }
        self.clock: Clock = RemoteClock(told["now_ms"], told["speed"])
        self.model: Model = RemoteModel(link)
        self.tools: Tools = RemoteTools(link)
        self.memory: Memory = RemoteMemory(link)
        self.leases: Leases = RemoteLeases(link)
        self.network: Network = RemoteNetwork(link)
        self.wasm: Wasm = RemoteWasm(link)
        self.report: Report = RemoteReport(link)

    def marker_of(self, tool: str, args: Mapping[str, Json], /) -> str:
        """The token that makes an action recognisable."""
        return marker_of(self._tools.get(tool, ToolContract(name=tool)), args)

    @contextmanager
    def acting(self, *, task: str, session: str) -> Iterator[None]:
        """Calls inside are made for this task."""
        token = _DOING.set((task, session))
        try:
            yield
        finally:
            _DOING.reset(token)


class Runner:
    """Carries out what the lab orders, until it is told to stop."""

    def __init__(self, agent: Agent, link: Link) -> None:
        self._agent, self._link = agent, link
        self._work: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Starts the agent and works until SIGTERM."""
        told = await self._link.ask("hello")
        agent, world = self._agent, RemoteWorld(self._link, told)
        await agent.start(world)
        offers = [
            name
            for name, shape in (("recover", Resumable), ("release", Releasable))
            if isinstance(agent, shape)
        ]
        recovers: list[str] = []
        if told["recover"] and isinstance(agent, Resumable):
            recovers = sorted(await agent.recover())
        await self._link.ask("ready", recovers=recovers, offers=offers)
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        orders = asyncio.create_task(self._orders())
        await asyncio.wait(
            {orders, asyncio.create_task(stopped.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        orders.cancel()
        await agent.stop()

    async def _orders(self) -> None:
        while True:
            try:
                order = await self._link.ask("next", wait_ms=_WAIT_MS)
            except errors.WorldError:
                return  # the lab is gone, and so is the reason to be here
            if "handle" in order:
                raw = order["handle"]
                self._begin(self._handle(Task(**raw)), raw["id"], raw["session"])
            elif "release" in order and isinstance(self._agent, Releasable):
                self._begin(self._agent.release(order["release"]), "", order["release"])

    def _begin(self, coro: Any, task: str, session: str) -> None:
        token = _DOING.set((task, session))
        work = asyncio.create_task(coro)
        _DOING.reset(token)
        self._work.add(work)
        work.add_done_callback(self._work.discard)

    async def _handle(self, task: Task) -> None:
        try:
            outcome = await self._agent.handle(task)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            sys.stderr.write(f"{task.id}: the handler raised {words}\n")
            await self._tell("raised", error=type(error).__name__, words=words)
            return
        await self._tell("outcome", outcome=asdict(outcome))

    async def _tell(self, port: str, **args: Any) -> None:
        with suppress(errors.WorldError):
            await self._link.ask(port, **args)


def main(arguments: Sequence[str]) -> int:
    """Runs one adapter against the lab that started this process."""
    address = os.environ.get("CHAOSLAB_URL", "")
    if len(arguments) != 1 or not address:
        sys.stderr.write(
            "usage: python -m chaoslab.adapters.remote path.py:factory, started by "
            "`chaoslab run --backend process` (CHAOSLAB_URL says where the lab listens)\n"
        )
        return 2
    source = AgentSource(arguments[0])

    async def run() -> None:
        await Runner(source.create(), Link(address)).run()

    with asyncio.Runner(loop_factory=RemoteLoop) as runner:
        runner.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
