"""The lab's own tools as an MCP server, for the prefix `mcp`.

A call is made with the idempotency key that the client put into `_meta` (the protocol has no place
of its own for it) or into the HTTP header, and ends as the world says:

    a reply              a result: ref, data, absorbed
    it did not happen    a result with `isError` and {"error": {…}} as JSON text
    nobody can tell      a JSON-RPC error, where the service answered so
    no answer            a broken connection

>>> wire_shape(ToolShape(name="refund", keyed=True))["_meta"]
{'chaoslab/keyed': True}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from chaoslab.serve.api import Hint, Lab, ToolShape
from chaoslab.serve.mcp.exchange import Result, args_of, exchange, key_of, result_of, task_of
from chaoslab.world.errors import ConnectionReset


def wire_shape(shape: ToolShape, /) -> dict[str, Any]:
    """A tool as `tools/list` shows it."""
    out: dict[str, Any] = {"name": shape.name, "inputSchema": dict(shape.schema)}
    if shape.description:
        out["description"] = shape.description
    if shape.keyed:
        out["_meta"] = {"chaoslab/keyed": True}
    return out


async def handle(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """The handler."""

    async def tools() -> list[dict[str, Any]]:
        return [wire_shape(shape) for shape in lab.tools()]

    async def call(name: str, given: dict[str, Any], meta: Mapping[str, Any]) -> Result:
        args = args_of(given)
        hint = Hint(task=task_of(meta, request.headers), tool=name, args=args)
        world = lab.world(process)
        if world is None:
            raise ConnectionReset(f"there is no living process {process!r}")
        with lab.acting(process, hint):
            reply = await world.tools.call(
                name, args, key=key_of(meta, request.headers), deadline_ms=lab.patience_ms
            )
        return result_of({"ref": reply.ref, "data": reply.data, "absorbed": reply.absorbed})

    return await exchange(request, tools, call)
