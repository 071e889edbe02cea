"""The world's ports as JSON: the lab's side of `chaoslab.adapters.remote`.

Every request is `{"events": […], "task": …, "session": …, …arguments}`, every answer `{"ok": …}` or
`{"error": {"code", "message", "details"}}`. Events are what the agent reported since the request
before; they come first, so that the record has them in the order in which the agent said them.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from chaoslab.core.jsons import Json
from chaoslab.serve.api import Lab
from chaoslab.serve.bodies import object_of
from chaoslab.world.api import ANY, Claim, Expect, Instance, Outcome, World, Write
from chaoslab.world.errors import ConnectionReset, NotFound, WorldError

Args = Mapping[str, Any]


class Home(Lab, Protocol):
    """What the lab offers to its own runner beside the ports."""

    def hello(self, process: str, /) -> dict[str, Json]:
        """What an incarnation must know of itself."""
        ...

    def ready(self, process: str, recovers: list[str], offers: list[str], /) -> None:
        """The agent has started; the tasks that it finishes by itself."""
        ...

    async def next_order(self, process: str, wait_ms: int, /) -> dict[str, Json]:
        """What to do next: `{"handle": task}`, `{"release": session}`, or nothing in time."""
        ...

    def raised(self, process: str, task: str, error: str, words: str, /) -> None:
        """The handler of a task raised an exception."""
        ...

    def instances(self, process: str, /) -> dict[str, Instance]:
        """The Wasm instances of an incarnation, by name."""
        ...


async def handle(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """The handler of the prefix `ports`."""
    raw: Args = await object_of(request)
    world, home = lab.world(process), _home(lab)
    if world is None:
        raise NotFound(f"there is no living process {process}")
    action = _ACTIONS.get(path)
    if action is None:
        raise ValueError(f"there is no port {path!r}; there are {', '.join(_ACTIONS)}")
    for event in raw.get("events", ()):
        _event(home, world, event)
    try:
        with world.acting(task=str(raw.get("task", "")), session=str(raw.get("session", ""))):
            return JSONResponse({"ok": await action(home, world, raw)})
    except ConnectionReset:
        raise  # the connection really breaks
    except WorldError as error:
        return JSONResponse({"error": error_of(error)})


def _home(lab: Any) -> Home:
    found: Home = lab
    return found


def error_of(error: WorldError, /) -> dict[str, Json]:
    """An error as the runner raises it again."""
    details: dict[str, Json] = {
        k: list(v) if isinstance(v, tuple) else v
        for k, v in error.details.items()
        if v is None or isinstance(v, (bool, int, str, tuple))
    }
    return {"code": error.code, "message": str(error), "details": details}


def outcome_of(raw: Args, /) -> Outcome:
    """An outcome from JSON."""
    claims = tuple(Claim(**c) for c in raw.get("claims", ()))
    return Outcome(
        task=raw["task"],
        status=raw["status"],
        answer=raw.get("answer"),
        claims=claims,
        reason=raw.get("reason", ""),
    )


def write_of(raw: Args, /) -> Write:
    """A write from JSON; without `expect` any version will do."""
    return Write(**{**raw, "expect": _expect(raw)})


def _expect(raw: Args) -> Expect:
    if "expect" not in raw:
        return ANY
    value = raw["expect"]
    return None if value is None else (value[0], value[1])


def _event(home: Home, world: World, event: Args) -> None:
    """One line of what the agent reported."""
    with world.acting(task=event["task"], session=event["session"]):
        what, args = event["what"], event["args"]
        if what == "outcome":
            world.report.outcome(outcome_of(args[0]))
        elif what == "transition":
            world.report.transition(*args)
        elif what == "intent":
            world.report.intent(*args)
        elif what == "retire":
            home.instances(world.process)[args[0]].retire()
        else:
            world.report.log(args[0], **args[1])


async def _model(home: Home, world: World, raw: Args) -> Json:
    reply = await world.model.complete(
        raw["messages"], tools=raw["tools"], deadline_ms=raw["deadline_ms"]
    )
    calls: list[Json] = [asdict(c) for c in reply.tool_calls]
    return {"text": reply.text, "tool_calls": calls, "finish": reply.finish}


async def _tools(home: Home, world: World, raw: Args) -> Json:
    reply = await world.tools.call(
        raw["name"], raw["args"], key=raw["key"], deadline_ms=raw["deadline_ms"]
    )
    return asdict(reply)


async def _read(home: Home, world: World, raw: Args) -> Json:
    item = await world.memory.read(raw["id"], at=raw["at"])
    return None if item is None else asdict(item)


async def _write(home: Home, world: World, raw: Args) -> Json:
    version = await world.memory.write(
        raw["id"],
        raw["value"],
        expect=_expect(raw),
        fence=raw["fence"],
        expires_ms=raw["expires_ms"],
        durability=raw["durability"],
    )
    return list(version)


async def _write_many(home: Home, world: World, raw: Args) -> Json:
    writes = [write_of(w) for w in raw["writes"]]
    return [list(v) for v in await world.memory.write_many(writes, fence=raw["fence"])]


async def _scan(home: Home, world: World, raw: Args) -> Json:
    return [asdict(i) for i in await world.memory.scan(raw["prefix"], at=raw["at"])]


async def _erase(home: Home, world: World, raw: Args) -> Json:
    await world.memory.erase(raw["id"], fence=raw["fence"])
    return None


async def _acquire(home: Home, world: World, raw: Args) -> Json:
    return asdict(await world.leases.acquire(raw["session_id"], ttl_ms=raw["ttl_ms"]))


async def _network(home: Home, world: World, raw: Args) -> Json:
    reply = await world.network.request(
        raw["method"],
        raw["url"],
        body=base64.b64decode(raw["body"]),
        deadline_ms=raw["deadline_ms"],
    )
    body = base64.b64encode(reply.body).decode()
    return {"status": reply.status, "body": body, "headers": dict(reply.headers)}


async def _instantiate(home: Home, world: World, raw: Args) -> Json:
    made = await world.wasm.instantiate(raw["module"])
    home.instances(world.process)[made.id] = made
    return {"id": made.id, "poisoned": made.poisoned}


async def _call(home: Home, world: World, raw: Args) -> Json:
    instance = home.instances(world.process)[raw["id"]]
    data = base64.b64decode(raw["data"])
    try:
        output = await instance.call(raw["export"], data, fuel=raw["fuel"])
    except WorldError as error:
        return {"error": error_of(error), "poisoned": instance.poisoned}
    return {"output": base64.b64encode(output).decode(), "poisoned": instance.poisoned}


async def _hello(home: Home, world: World, raw: Args) -> Json:
    return home.hello(world.process)


async def _ready(home: Home, world: World, raw: Args) -> Json:
    home.ready(world.process, raw["recovers"], raw["offers"])
    return None


async def _next(home: Home, world: World, raw: Args) -> Json:
    return await home.next_order(world.process, raw["wait_ms"])


async def _outcome(home: Home, world: World, raw: Args) -> Json:
    home.outcome(world.process, outcome_of(raw["outcome"]))
    return None


async def _raised(home: Home, world: World, raw: Args) -> Json:
    home.raised(world.process, raw["task"], raw["error"], raw["words"])
    return None


async def _flush(home: Home, world: World, raw: Args) -> Json:
    return None


_ACTIONS: Mapping[str, Callable[[Home, World, Args], Awaitable[Json]]] = {
    "hello": _hello,
    "ready": _ready,
    "next": _next,
    "outcome": _outcome,
    "raised": _raised,
    "flush": _flush,
    "model.complete": _model,
    "tools.call": _tools,
    "memory.read": _read,
    "memory.write": _write,
    "memory.write_many": _write_many,
    "memory.scan": _scan,
    "memory.erase": _erase,
    "leases.acquire": _acquire,
    "network.request": _network,
    "wasm.instantiate": _instantiate,
    "wasm.call": _call,
}
