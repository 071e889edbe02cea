"""The lab between an agent and the team's own MCP servers, for the prefix `mcp-services`.

The agent asks `…/mcp-services/NAME` and gets that server's tools. A call of one that the contract
declares (`match = "mcp NAME/TOOL"`) is an entry of that tool, any other one a plain request. A
fault before the commit keeps the call from being forwarded; one after it lets the server answer
in full and withholds that answer. What is handed back is the server's own result, unchanged.

    a result                        success
    a result with `isError`         the server says that nothing happened
    a JSON-RPC error                nobody can tell, unless it says that the request made no sense

>>> key_at("body:payment.id", {}, {"payment": {"id": "p7"}}, Headers())
'p7'
>>> key_at("meta:acme/request", {"acme/request": "r1"}, {}, Headers())
'r1'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
from mcp.shared.exceptions import MCPError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp

from chaoslab.contract import ToolContract
from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import Json, canonical, plain
from chaoslab.serve.api import Answer, Hint, Lab
from chaoslab.serve.app import Handler
from chaoslab.serve.floats import without_floats
from chaoslab.serve.mcp.exchange import Result, args_of, exchange, key_of, task_of
from chaoslab.serve.mcp.upstreams import Lost, Unreachable, Upstreams
from chaoslab.world.errors import NotFound

# What stands in `_meta` for one connection only; the connection to the server has its own.
_OWN_META: Final = ("io.modelcontextprotocol/", "progressToken")
# Headers that belong to one connection, or to the protocol, and not to whoever calls.
_OWN_HEADERS: Final = re.compile(
    "accept|accept-encoding|connection|content-.*|expect|host|keep-alive|last-event-id|mcp-.*"
    "|proxy-.*|te|trailer|transfer-encoding|upgrade"
)
# JSON-RPC errors by which a server says that it did not even begin.
_NOT_BEGUN: Final = (types.METHOD_NOT_FOUND, types.INVALID_PARAMS, types.PARSE_ERROR)


def proxy(upstreams: Upstreams, /) -> Handler:
    """The handler over these servers. Who made them closes them."""

    async def handler(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
        declared = [n for n, u in lab.contract.services.items() if u.mcp or u.mcp_command]
        if path not in declared:
            allowed = ", ".join(declared) or "none is declared"
            raise NotFound(f"there is no MCP service {path!r}; allowed: {allowed}")
        one = _Proxied(lab, upstreams, process, path, request)
        return await exchange(request, one.tools, one.call)

    return handler


def key_at(
    place: str, meta: Mapping[str, Any], args: Mapping[str, Any], headers: Headers, /
) -> str | None:
    """The idempotency key at the place that a contract names: `meta:NAME`, `body:PATH` (a dotted
    path into the arguments) or `header:NAME`; None where nothing stands there."""
    kind, _, name = place.partition(":")
    found: Any
    if kind == "header":
        found = headers.get(name)
    elif kind == "meta":
        found = meta.get(name)
    else:
        found = args
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        return None
    return str(found) or None


@dataclass(frozen=True, slots=True)
class _Proxied:
    """One request of an agent to one server."""

    lab: Lab
    upstreams: Upstreams
    process: str
    service: str
    request: Request

    async def tools(self) -> list[dict[str, Any]]:
        try:
            return await self.upstreams.list(self.service, process=self.process)
        except (Unreachable, Lost) as error:
            raise _said(error) from None
        except UsageError as error:
            self.lab.note(str(error))
            raise _said(error) from None

    async def call(self, tool: str, given: dict[str, Any], meta: Mapping[str, Any]) -> Result:
        """One call, as an entry of the record."""
        args, headers = args_of(given), self.request.headers
        task = task_of(meta, headers)

        async def forward() -> Answer:
            return await self._forward(tool, given, meta)

        declared = _declared(self.lab, self.service, tool)
        if declared is not None:
            place = declared.key_at
            key = key_at(place, meta, given, headers) if place else key_of(meta, headers)
            with self.lab.acting(self.process, Hint(task=task, tool=declared.name, args=args)):
                answer = await self.lab.relay(
                    self.process, f"tools.{declared.name}", args, forward, key=key
                )
        else:
            at = f"{self.service}/{tool}"
            shown: dict[str, Json] = {"method": "MCP", "url": at, "body": canonical(args)}
            with self.lab.acting(self.process, Hint(task=task, args=args)):
                answer = await self.lab.relay(
                    self.process, "network.request", shown, forward, marker=f"MCP {at}"
                )
        if isinstance(answer.raw, MCPError):
            raise answer.raw
        result: Result = answer.raw
        return {"resultType": "complete", **result}

    async def _forward(
        self, tool: str, given: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> Answer:
        """The server's answer, read in full."""
        own = {k: v for k, v in meta.items() if not k.startswith(_OWN_META)}
        headers = {k: v for k, v in self.request.headers.items() if not _OWN_HEADERS.fullmatch(k)}
        try:
            result = await self.upstreams.call(
                self.service, tool, given, own, process=self.process, headers=headers
            )
        except MCPError as error:
            refused = error.code in _NOT_BEGUN
            shown: Json = {"code": error.code, "message": error.message}
            return Answer(shown=shown, error="refused" if refused else "unsure", raw=error)
        except Unreachable as error:
            return Answer(shown={"message": str(error)}, error="refused", raw=_said(error))
        except UsageError as error:
            # A mistake of the contract's: the agent cannot help it, a person must read it.
            self.lab.note(str(error))
            return Answer(shown={"message": str(error)}, error="refused", raw=_said(error))
        except Lost as error:
            return Answer(shown={"message": str(error)}, error="unsure", raw=_said(error))
        return Answer(
            shown=_shown(result), error="refused" if result.get("isError") else "", raw=result
        )


def _declared(lab: Lab, service: str, tool: str) -> ToolContract | None:
    """The contract's tool that a call is, if it declares one."""
    match = f"mcp {service}/{tool}"
    return next((one for one in lab.contract.tools.values() if one.match == match), None)


def _said(error: Exception) -> MCPError:
    return MCPError(code=types.INTERNAL_ERROR, message=str(error))


def _shown(result: Result) -> Json:
    """What a history keeps of a result: its structured content, else its texts."""
    found = result.get("structuredContent")
    if found is None:
        parts = result.get("content") or []
        texts = [part.get("text", f"({part.get('type')})") for part in parts]
        found = texts[0] if len(texts) == 1 else texts
    return plain(without_floats(found), where="the result")
