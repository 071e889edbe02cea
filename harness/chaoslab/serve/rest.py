"""Tools, memory and the queue as plain HTTP: for agents that speak neither MCP nor our protocol.

    POST tools/NAME                 {…arguments…}, `Idempotency-Key` → {"ref", "data", "absorbed"}
    POST tools/NAME/lookup          the same without an effect
    GET  tools                      {"tools": [{"name", "description", "schema", "keyed"}]}
    GET  memory/ID?at=replica       {"value", "version", "expires_ms"} or 404
    PUT  memory/ID                  {"value", "expect", "fence", "expires_ms", "durability"}
    DELETE memory/ID?fence=7
    GET  memory?prefix=order/       {"items": […]}
    POST memory                     {"writes": [{"id", …}], "fence"} → {"versions": […]}
    GET  queue/next?wait_ms=20000   a task, or 204 where none came in time
    POST queue/outcome              {"task", "status", "answer", "reason", "claims"}

`X-Chaoslab-Task` says for which task a call is made; without it the lab infers that. An answer
that a fault withholds is a broken connection, everything else a status (`serve.errors`).

>>> [expect_of(Fields(body, where="the body")) for body in ({}, {"expect": [1, 2]})]
[ANY, (1, 2)]
"""

from __future__ import annotations

from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from chaoslab.core.jsons import Json
from chaoslab.serve.api import Hint, Lab, task_json
from chaoslab.serve.bodies import Fields, fields_of, object_of, path_of, task_of
from chaoslab.world.api import (
    ANY,
    STATUSES,
    Claim,
    Durability,
    Expect,
    Item,
    Outcome,
    Place,
    Status,
    World,
    Write,
)
from chaoslab.world.errors import NotFound

WAIT_MS: Final = 20_000
_WAIT_MS_MAX: Final = 60_000
_PLACES: Final = ("primary", "replica")
_DURABILITIES: Final = ("local", "quorum")
_ITEM: Final = ("value", "expect", "fence", "expires_ms", "durability")
_WRITE: Final = ("id", "value", "expect", "expires_ms", "durability")


# -- tools


async def tools(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """The lab's own tools."""
    path = path_of(request)
    if not path:
        _only(request, "GET")
        return JSONResponse({"tools": [_shape(one) for one in lab.tools()]})
    _only(request, "POST")
    name, _, verb = path.partition("/")
    if verb not in ("", "lookup"):
        raise NotFound(f"there is nothing at tools/{path}; allowed: tools/NAME, tools/NAME/lookup")
    args = await object_of(request)
    hint = Hint(task=task_of(request), tool=name, args=args)
    with lab.acting(process, hint):
        reply = await _world(lab, process).tools.call(
            f"{name}.lookup" if verb else name,
            args,
            key=request.headers.get("Idempotency-Key") or None,
            deadline_ms=lab.patience_ms,
        )
    return JSONResponse({"ref": reply.ref, "data": reply.data, "absorbed": reply.absorbed})


def _shape(tool: Any) -> dict[str, Json]:
    return {
        "name": tool.name,
        "description": tool.description,
        "schema": dict(tool.schema),
        "keyed": tool.keyed,
    }


# -- memory


async def memory(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """The lab's memory. Ids may have slashes in them."""
    id = path_of(request)
    port = _world(lab, process).memory
    with lab.acting(process, Hint(task=task_of(request))):
        if not id:
            _only(request, "GET", "POST")
            if request.method == "POST":
                writes, fence = await _writes(request)
                versions = await port.write_many(writes, fence=fence)
                return JSONResponse({"versions": [list(one) for one in versions]})
            asked = _query(request, "prefix", "at")
            items = await port.scan(asked.text("prefix", ""), at=_place(asked))
            return JSONResponse({"items": [{"id": one.id, **_item(one)} for one in items]})
        _only(request, "GET", "PUT", "DELETE")
        if request.method == "PUT":
            return await _put(port, id, request)
        if request.method == "DELETE":
            await port.erase(id, fence=_number(_query(request, "fence"), "fence"))
            return Response(status_code=204)
        found = await port.read(id, at=_place(_query(request, "at")))
        if found is None:
            raise NotFound(f"there is no item {id}")
        return JSONResponse(_item(found))


async def _put(port: Any, id: str, request: Request) -> ASGIApp:
    body = await fields_of(request)
    body.only(*_ITEM)
    version = await port.write(
        id,
        body.needed("value"),
        expect=expect_of(body),
        fence=body.maybe_whole("fence"),
        expires_ms=body.maybe_whole("expires_ms"),
        durability=_durability(body),
    )
    return JSONResponse({"version": list(version)})


async def _writes(request: Request) -> tuple[list[Write], int | None]:
    body = await fields_of(request)
    body.only("writes", "fence")
    body.needed("writes")
    found = []
    for one in body.objects("writes"):
        one.only(*_WRITE)
        found.append(
            Write(
                id=one.text("id"),
                value=one.needed("value"),
                expect=expect_of(one),
                expires_ms=one.maybe_whole("expires_ms"),
                durability=_durability(one),
            )
        )
    return found, body.maybe_whole("fence")


def expect_of(body: Fields, /) -> Expect:
    """What must stand there: anything if nothing is said, nothing if null, else a version."""
    if "expect" not in body:
        return ANY
    found = body.get("expect")
    if found is None:
        return None
    if isinstance(found, list) and len(found) == 2:
        epoch, n = found
        if type(epoch) is int and type(n) is int:
            return epoch, n
    body.refuse("expect", "null or a version [epoch, n]")


def _durability(body: Fields) -> Durability:
    return cast(Durability, body.among("durability", _DURABILITIES, "local"))


def _place(query: Fields) -> Place:
    return cast(Place, query.among("at", _PLACES, "primary"))


def _item(item: Item) -> dict[str, Json]:
    return {
        "value": item.value,
        "version": list(item.version),
        "expires_ms": item.expires_ms,
    }


# -- the queue


async def queue(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """Tasks to fetch, and how they ended."""
    path = path_of(request)
    if path == "next":
        _only(request, "GET", "POST")
        wait_ms = _number(_query(request, "wait_ms"), "wait_ms")
        wait_ms = min(WAIT_MS if wait_ms is None else wait_ms, _WAIT_MS_MAX)
        task = await lab.next_task(process, wait_ms)
        return Response(status_code=204) if task is None else JSONResponse(task_json(task))
    if path == "outcome":
        _only(request, "POST")
        lab.outcome(process, _outcome(await fields_of(request)))
        return Response(status_code=204)
    raise NotFound(f"there is nothing at queue/{path}; allowed: queue/next, queue/outcome")


def _outcome(body: Fields) -> Outcome:
    body.only("task", "status", "answer", "reason", "claims")
    claims = []
    for one in body.objects("claims"):
        one.only("tool", "marker", "ref")
        claim = Claim(tool=one.text("tool"), marker=one.text("marker"), ref=one.maybe_text("ref"))
        claims.append(claim)
    return Outcome(
        task=body.text("task"),
        status=cast(Status, body.among("status", STATUSES)),
        answer=body.get("answer"),
        reason=body.maybe_text("reason") or "",
        claims=tuple(claims),
    )


# -- common


def _world(lab: Lab, process: str) -> World:
    world = lab.world(process)
    if world is None:
        raise NotFound(f"there is no living process {process!r}")
    return world


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise ValueError(f"got the method {request.method}; allowed: {', '.join(methods)}")


def _query(request: Request, *names: str) -> Fields:
    query = Fields(dict(request.query_params), where="the query")
    query.only(*names)
    return query


def _number(query: Fields, name: str) -> int | None:
    """A whole number of the query."""
    if name not in query:
        return None
    text = query.text(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        query.refuse(name, "a whole number of 0 or more")
    return int(text)
