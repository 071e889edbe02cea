"""A world of two hundred lines, so that the parts of the model agent can be tested alone.

Virtual time, an exact memory, leases, keyed and un-keyed tools, a scripted model and a Wasm
module with a memory of its own. Failures are queued per call: `world.memory.fail(...)`.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, TypeVar, cast

from chaoslab.world import (
    ANY,
    Conflict,
    DeadlineExceeded,
    Durability,
    Expect,
    Fenced,
    Held,
    Instance,
    Item,
    Lease,
    ModelReply,
    NetworkReply,
    Outcome,
    Place,
    ToolCall,
    ToolReply,
    Trapped,
    Version,
    World,
    Write,
)

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Instead of waiting it moves the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


class _Port:
    """Calls are counted; planned failures strike first come, first served."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._plans: list[tuple[str, Exception, bool]] = []

    def fail(self, name: str, error: Exception, *, after: bool = False, times: int = 1) -> None:
        """The next `times` calls of a method fail, before or `after` they had their effect."""
        self._plans += [(name, error, after)] * times

    async def _do(self, name: str, what: tuple[Any, ...], action: Callable[[], T]) -> T:
        self.calls.append((name, *what))
        await asyncio.sleep(0.001)
        plan = next((p for p in self._plans if p[0] == name), None)
        if plan is not None:
            self._plans.remove(plan)
        if plan is not None and not plan[2]:
            raise plan[1]
        result = action()
        if plan is not None:
            raise plan[1]
        return result


class Clock:
    def now_ms(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    async def sleep(self, ms: int, /) -> None:
        assert type(ms) is int and ms >= 0
        await asyncio.sleep(ms / 1000)


class Shared:
    """What outlives a process: memory, leases and ledgers."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.fences: dict[str, int] = {}
        self.grants: dict[str, tuple[int, str, int]] = {}
        self.session_of: dict[int, str] = {}
        self.effects: list[tuple[str, Mapping[str, Any], str | None]] = []
        self.by_key: dict[str, ToolReply] = {}
        self.versions = 0


class Memory(_Port):
    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._shared = shared

    async def read(self, id: str, /, *, at: Place = "primary") -> Item | None:
        return await self._do("read", (id,), lambda: self._shared.items.get(id))

    async def scan(self, prefix: str, /, *, at: Place = "primary") -> tuple[Item, ...]:
        items = self._shared.items
        return await self._do(
            "scan",
            (prefix,),
            lambda: tuple(items[i] for i in sorted(items) if i.startswith(prefix)),
        )

    async def write(
        self,
        id: str,
        value: Any,
        /,
        *,
        expect: Expect = ANY,
        fence: int | None = None,
        expires_ms: int | None = None,
        durability: Durability = "local",
    ) -> Version:
        return await self._do(
            "write", (id, fence), lambda: self._put(id, value, expect, fence, expires_ms)
        )

    async def write_many(
        self, writes: Sequence[Write], /, *, fence: int | None = None
    ) -> tuple[Version, ...]:
        def put() -> tuple[Version, ...]:
            return tuple(self._put(w.id, w.value, w.expect, fence, w.expires_ms) for w in writes)

        return await self._do("write_many", (tuple(w.id for w in writes), fence), put)

    async def erase(self, id: str, /, *, fence: int | None = None) -> None:
        await self._do("erase", (id,), lambda: self._shared.items.pop(id, None))

    def _put(
        self, id: str, value: Any, expect: Expect, fence: int | None, expires_ms: int | None
    ) -> Version:
        shared = self._shared
        if fence is not None:
            session = shared.session_of[fence]
            if fence < shared.fences.get(session, 0):
                raise Fenced("a newer fence was seen")
        there = shared.items.get(id)
        current = None if there is None else there.version
        if not isinstance(expect, type(ANY)) and expect != current:
            raise Conflict("the version moved on", current=current)
        if fence is not None:
            shared.fences[shared.session_of[fence]] = fence
        shared.versions += 1
        version = (1, shared.versions)
        plain = json.loads(json.dumps(value))
        shared.items[id] = Item(id=id, value=plain, version=version, expires_ms=expires_ms)
        return version


class Leases(_Port):
    def __init__(self, shared: Shared, process: str) -> None:
        super().__init__()
        self._shared, self._process = shared, process

    async def acquire(self, session: str, /, *, ttl_ms: int) -> Lease:
        return await self._do("acquire", (session, ttl_ms), lambda: self._grant(session, ttl_ms))

    def _grant(self, session: str, ttl_ms: int) -> Lease:
        shared, now = self._shared, Clock().now_ms()
        fence, holder, ends = shared.grants.get(session, (0, "", 0))
        if ends > now and holder != self._process:
            raise Held("held", expires_ms=ends)
        if ends <= now:
            fence = len(shared.session_of) + 1
            shared.session_of[fence] = session
        shared.grants[session] = (fence, self._process, now + ttl_ms)
        return Lease(session=session, fence=fence, expires_ms=now + ttl_ms)


class Tools(_Port):
    """Everything but `notify` takes keys. `duration_ms` delays the commit."""

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._shared = shared
        self.duration_ms = 0

    async def call(
        self, name: str, args: Mapping[str, Any], /, *, key: str | None = None, deadline_ms: int
    ) -> ToolReply:
        if self.duration_ms:
            await asyncio.sleep(min(self.duration_ms, deadline_ms) / 1000)
            if self.duration_ms > deadline_ms:
                raise DeadlineExceeded
        return await self._do("call", (name, dict(args), key), lambda: self.commit(name, args, key))

    def commit(self, name: str, args: Mapping[str, Any], key: str | None) -> ToolReply:
        shared = self._shared
        if key is not None and key in shared.by_key:
            return shared.by_key[key]
        shared.effects.append((name, dict(args), key))
        ref = f"{name}#{len(shared.effects)}"
        if key is not None:
            shared.by_key[key] = ToolReply(ref=ref, absorbed=True)
        return ToolReply(ref=ref)


class Model(_Port):
    """Plays a plan of tool calls, then says that it is done. Mishaps are queued replies."""

    def __init__(self, plan: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        super().__init__()
        self._plan = plan
        self.mishaps: list[ModelReply] = []

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[str] = (),
        deadline_ms: int,
    ) -> ModelReply:
        return await self._do("complete", (list(messages),), lambda: self._answer(messages))

    def _answer(self, messages: Sequence[Mapping[str, Any]]) -> ModelReply:
        if self.mishaps:
            return self.mishaps.pop(0)
        results = [m for m in messages if m["role"] == "tool"]
        if len(results) >= len(self._plan) or (results and "error" in results[-1]["content"]):
            return ModelReply(text="Done.")
        name, args = self._plan[len(results)]
        nth = len(self.calls)
        worded = {
            k: f"{v} ({nth})" if k in ("reason", "text", "body") else v for k, v in args.items()
        }
        call = ToolCall(id=f"call-{nth}", name=name, args=worded)
        return ModelReply(tool_calls=(call,), finish="tool-calls")


class FakeInstance(_Port):
    """Keeps the customer of a call that trapped, as a careless guest would."""

    def __init__(self, id: str, wasm: Wasm) -> None:
        super().__init__()
        self._id, self._wasm = id, wasm
        self._poisoned = ""
        self.retired = False

    @property
    def id(self) -> str:
        return self._id

    @property
    def poisoned(self) -> str:
        return self._poisoned

    async def call(self, export: str, data: bytes, /, *, fuel: int) -> bytes:
        args = json.loads(data)
        if self._wasm.traps:
            after = self._wasm.traps.pop(0) == "after"
            if after:
                self._wasm.tools.commit("ticket", {"order": args["order"]}, args["key"])
            self._poisoned = "trap"
            raise Trapped(trap="unreachable", poisoned="trap")
        reply = self._wasm.tools.commit("ticket", {"order": args["order"]}, args["key"])
        return json.dumps({"ref": reply.ref, "absorbed": reply.absorbed, "text": ""}).encode()

    def retire(self) -> None:
        self.retired = True


class Wasm:
    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.traps: list[str] = []
        self.made: list[FakeInstance] = []

    async def instantiate(self, module: str, /) -> Instance:
        self.made.append(FakeInstance(f"i{len(self.made) + 1}", self))
        return self.made[-1]


class Network(_Port):
    """Pages by their URL; whatever else is asked for does not exist."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, NetworkReply] = {}

    async def request(
        self, method: str, url: str, /, *, body: bytes = b"", deadline_ms: int
    ) -> NetworkReply:
        missing = NetworkReply(status=404)
        return await self._do("request", (method, url), lambda: self.pages.get(url, missing))


class Report:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.moves: list[tuple[str, str]] = []
        self.intents: list[tuple[str, str, str | None]] = []
        self.lines: list[str] = []

    def outcome(self, outcome: Outcome, /) -> None:
        self.outcomes.append(outcome)

    def transition(self, session: str, state: str, why: str, /) -> None:
        self.moves.append((session, state))

    def intent(self, tool: str, marker: str, key: str | None, /) -> None:
        self.intents.append((tool, marker, key))

    def log(self, text: str, /, **fields: Any) -> None:
        self.lines.append(text)


class FakeWorld:
    """One process's world; processes with the same `shared` see the same durable state."""

    def __init__(
        self,
        shared: Shared | None = None,
        *,
        process: str = "p1",
        plan: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        self.shared = shared or Shared()
        self.process, self.region = process, "home"
        self.random = Random(7)
        self.clock = Clock()
        self.model = Model(plan)
        self.tools = Tools(self.shared)
        self.memory = Memory(self.shared)
        self.leases = Leases(self.shared, process)
        self.network = Network()
        self.wasm = Wasm(self.tools)
        self.report = Report()
        self.acted: list[str] = []

    @property
    def ports(self) -> World:
        """The same, as an agent sees it."""
        return cast(World, self)

    def marker_of(self, tool: str, args: Mapping[str, Any], /) -> str:
        template = f"/{args['template']}" if tool == "notify" else ""
        return f"{args['order']}{template}"

    @contextmanager
    def acting(self, *, task: str, session: str) -> Iterator[None]:
        self.acted.append(task)
        yield
