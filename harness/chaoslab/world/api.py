"""The world as an agent sees it: values, ports and the agent's own shape.

An agent imports from here (as `chaoslab.world`) and from nowhere else. Ports are async; every
call takes part in the record, can be struck by a fault, and raises only `Refused` (certainly
did not happen) or `Indeterminate` (may have happened). Times are integer milliseconds.

The smallest agent:

>>> class Echo:
...     async def start(self, world): self.world = world
...     async def handle(self, task): return Outcome(task=task.id, status="completed")
...     async def stop(self): pass
>>> isinstance(Echo(), Agent)
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

from chaoslab.core.jsons import Json

Status = Literal["completed", "failed", "deferred", "uncertain", "quarantined"]
STATUSES: Final = ("completed", "failed", "deferred", "uncertain", "quarantined")
Version: TypeAlias = tuple[int, int]  # (epoch, n); epoch + 1 at a promotion
Place = Literal["primary", "replica"]
Durability = Literal["local", "quorum"]


class Any_:
    """The type of `ANY`: write whatever version stands there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = Any_()
Expect: TypeAlias = Version | Any_ | None  # None: the item must not exist yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of work. The same `id` may be delivered again, with `delivery` + 1."""

    id: str
    session: str
    tenant: str
    delivery: int
    prompt: str
    data: Mapping[str, Json] = field(default_factory=dict)
    deadline_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An effect that the agent says it caused. `marker` is what `marker_of` gives."""

    tool: str
    marker: str
    ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended. `uncertain`: something may have happened and nobody can tell.
    `deferred`: not done now; the task is handed out again later."""

    task: str
    status: Status
    answer: Json = None
    claims: tuple[Claim, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReply:
    """`ref` names the effect; `absorbed` tells that the service knew the key already."""

    ref: str
    data: Json = None
    absorbed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What the model asks for. `id` is fresh in every answer and so never a key."""

    id: str
    name: str
    args: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """`finish` is `stop`, `tool-calls`, `truncated` or `refusal`."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish: str = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of memory. `expires_ms` is virtual time since the start, or None."""

    id: str
    value: Json
    version: Version
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One line of `write_many`; the fields are those of `write`."""

    id: str
    value: Json
    expect: Expect = ANY
    expires_ms: int | None = None
    durability: Durability = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Ownership of a session until `expires_ms` (virtual time). Pass `fence` with writes."""

    session: str
    fence: int
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReply:
    """`status` as in HTTP, below 500; a 5xx is raised as `ServerError`. Names of `headers` are in
    lower case. A redirect is an answer like any other: nobody follows it on the agent's behalf."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Clock(Protocol):
    """Time. `now_ms` counts from the start of the execution."""

    def now_ms(self) -> int: ...
    async def sleep(self, ms: int, /) -> None: ...


class Model(Protocol):
    """The model. `messages` are `{"role", "content", ...}` objects.

    A tool call made before goes back as `{"role": "assistant", "tool_calls": [{"id", "name",
    "args"}]}`, its result as `{"role": "tool", "id", "name", "content"}`.
    """

    async def complete(
        self,
        messages: Sequence[Mapping[str, Json]],
        /,
        *,
        tools: Sequence[str] = (),
        deadline_ms: int,
    ) -> ModelReply: ...


class Tools(Protocol):
    """The tools. `call(name + ".lookup", args)` asks a tool with look-up for the effects of
    the action that `args` identify: `data = {"refs": [...]}`; it never has an effect."""

    async def call(
        self, name: str, args: Mapping[str, Json], /, *, key: str | None = None, deadline_ms: int
    ) -> ToolReply: ...


class Memory(Protocol):
    """Memory: versioned items in a primary region, copied to replicas with a lag.

    A write returns the new version. `expect` makes it a compare-and-set; `fence` is checked
    against the newest fence of the session that the store has seen. "local" may be lost in a
    failover; "quorum" survives it, and is refused while the other region cannot be reached.
    """

    async def read(self, id: str, /, *, at: Place = "primary") -> Item | None: ...
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
    ) -> Version: ...
    async def write_many(
        self, writes: Sequence[Write], /, *, fence: int | None = None
    ) -> tuple[Version, ...]: ...
    async def scan(self, prefix: str, /, *, at: Place = "primary") -> tuple[Item, ...]: ...
    async def erase(self, id: str, /, *, fence: int | None = None) -> None: ...


class Leases(Protocol):
    """One linearizable lease service. The holder may extend its lease (same fence); others
    get `Held` until it ends. `ttl_ms = 0` gives it up."""

    async def acquire(self, session: str, /, *, ttl_ms: int) -> Lease: ...


class Network(Protocol):
    """Plain requests to the outside."""

    async def request(
        self, method: str, url: str, /, *, body: bytes = b"", deadline_ms: int
    ) -> NetworkReply: ...


class Instance(Protocol):
    """One Wasm instance. `poisoned` is "" or why it is not to be trusted any more; calling it
    all the same is possible and is the caller's mistake."""

    @property
    def id(self) -> str: ...
    @property
    def poisoned(self) -> str: ...
    async def call(self, export: str, data: bytes, /, *, fuel: int) -> bytes: ...
    def retire(self) -> None: ...


class Wasm(Protocol):
    """Wasm modules, by name."""

    async def instantiate(self, module: str, /) -> Instance: ...


class Report(Protocol):
    """What an agent says about itself. Nothing here is believed; it is compared."""

    def outcome(self, outcome: Outcome, /) -> None: ...
    def transition(self, session: str, state: str, why: str, /) -> None: ...
    def intent(self, tool: str, marker: str, key: str | None, /) -> None: ...
    def log(self, text: str, /, **fields: Json) -> None: ...


class World(Protocol):
    """Everything around one incarnation of the agent. `process` is never used again once the
    incarnation is dead; `random` is a generator of its own, a function of seed and process."""

    process: str
    region: str
    random: Random
    clock: Clock
    model: Model
    tools: Tools
    memory: Memory
    leases: Leases
    network: Network
    wasm: Wasm
    report: Report

    def marker_of(self, tool: str, args: Mapping[str, Json], /) -> str:
        """The token that makes an action recognisable, from the tool's identity fields."""
        ...

    def acting(self, *, task: str, session: str) -> AbstractContextManager[None]:
        """Says for which task the calls inside are made. Within `handle` it is known already;
        an agent that resumes a task by itself says it here, or its calls belong to nobody."""
        ...


@runtime_checkable
class Agent(Protocol):
    """What an adapter's factory returns. `start` is a boot or a reboot: durable state only."""

    async def start(self, world: World, /) -> None: ...
    async def handle(self, task: Task, /) -> Outcome: ...
    async def stop(self) -> None: ...


@runtime_checkable
class Resumable(Protocol):
    """An agent that resumes by itself: `recover` names the tasks it will finish; it reports
    their outcomes through `world.report.outcome`."""

    async def recover(self) -> Sequence[str]: ...


@runtime_checkable
class Observable(Protocol):
    """An agent that can tell the state of each of its sessions."""

    def sessions(self) -> Mapping[str, str]: ...


@runtime_checkable
class Releasable(Protocol):
    """An agent whose quarantined sessions an operator can let go."""

    async def release(self, session: str, /) -> None: ...
