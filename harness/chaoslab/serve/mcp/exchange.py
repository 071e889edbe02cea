"""One HTTP request of an MCP client: in whole, out whole, or not at all.

The `mcp` package knows the protocol, in both its current versions (2026-07-28, and 2025-11-25
with its handshake); what it cannot do is to leave a request without an answer, as a network does
that breaks. So nothing is sent before the tool has ended, and where it ended without an answer,
the error goes on to the application, which resets the connection. Requests share no state: no
session is opened, and so an agent that was killed leaves none behind.

Answers are JSON, or an event stream where the client names that first.

>>> wants_stream("application/json, text/event-stream"), wants_stream("text/event-stream")
(False, True)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import mcp_types as types
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chaoslab import __version__
from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import Json, canonical, plain
from chaoslab.serve.app import BODY_BYTES_MAX, body_of
from chaoslab.serve.errors import breaks, error_json
from chaoslab.serve.floats import without_floats
from chaoslab.world.errors import BadRequest, Refused, WorldError

# The wire form of a result, as the protocol spells it.
Result: TypeAlias = dict[str, Any]
Tools: TypeAlias = Callable[[], Awaitable[list[dict[str, Any]]]]
# (tool, arguments, _meta) -> result; raises WorldError, UsageError or MCPError
Call: TypeAlias = Callable[[str, dict[str, Any], Mapping[str, Any]], Awaitable[Result]]

KEY_NAMES: Final = ("chaoslab/idempotency-key", "idempotency-key", "idempotencyKey")
TASK_NAME: Final = "chaoslab/task"
_BOTH: Final = "application/json, text/event-stream"


def wants_stream(accept: str, /) -> bool:
    """Whether the event stream stands first among the two forms that a client accepts."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    ours = [kind for kind in kinds if kind in ("application/json", "text/event-stream")]
    return bool(ours) and ours[0] == "text/event-stream"


def key_of(meta: Mapping[str, Any], headers: Headers, /) -> str | None:
    """The idempotency key that came with a call: in `_meta`, else in the HTTP header.

    >>> key_of({"idempotencyKey": "k1"}, Headers({"Idempotency-Key": "k2"}))
    'k1'
    """
    for name in KEY_NAMES:
        if isinstance(meta.get(name), str) and meta[name]:
            return str(meta[name])
    return headers.get("idempotency-key") or None


def task_of(meta: Mapping[str, Any], headers: Headers, /) -> str:
    """The task that a call says it belongs to, or nothing."""
    found = meta.get(TASK_NAME)
    return found if isinstance(found, str) else headers.get("x-chaoslab-task", "")


def args_of(given: Mapping[str, Any], /) -> dict[str, Json]:
    """Arguments as a history can hold them. UsageError for what is too deep or no text."""
    return {name: plain(without_floats(one), where=name) for name, one in given.items()}


def result_of(data: Mapping[str, Json], /, *, error: bool = False) -> Result:
    """A tool's result: JSON as text, and where all went well also as structured content."""
    out: Result = {
        "resultType": "complete",  # left out again where the older version is spoken
        "content": [{"type": "text", "text": canonical(data)}],
        "isError": error,
    }
    if not error:
        out["structuredContent"] = dict(data)
    return out


async def exchange(request: Request, tools: Tools, call: Call, /) -> ASGIApp:
    """Serves one request; what is to be sent, or the error for which no answer exists."""
    if request.method != "POST":
        # No stream of the server's own, and no session to be deleted: both are optional.
        return Response(status_code=405, headers={"Allow": "POST"})
    body = await body_of(request)
    serving = _Serving(tools, call)
    manager = StreamableHTTPSessionManager(
        serving.server(),
        json_response=True,
        stateless=True,
        max_request_body_size=BODY_BYTES_MAX,
    )
    said: list[Message] = []

    async def keep(message: Message) -> None:
        said.append(message)

    async with manager.run():
        await manager.handle_request(_lenient(request.scope), _replayed(body), keep)
    if serving.broken is not None:
        raise serving.broken
    streamed = wants_stream(request.headers.get("accept", ""))
    return _sending(_streamed(said) if streamed else said)


class _Serving:
    """One request's server: what it may be asked, and the error that has no answer."""

    def __init__(self, tools: Tools, call: Call) -> None:
        self._tools = tools
        self._call = call
        self.broken: Exception | None = None

    def server(self) -> Server[Any]:
        """The protocol's side. Schemas are no business of it: the service judges arguments."""
        return Server(
            "chaoslab",
            version=__version__,
            on_list_tools=self._listed,
            on_call_tool=self._called,
            get_tool_input_schema=lambda name: None,
        )

    async def _listed(self, ctx: Any, params: Any) -> types.ListToolsResult:
        return types.ListToolsResult.model_validate({"tools": await self._tools()}, by_name=False)

    async def _called(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        meta = (ctx.params or {}).get("_meta")
        try:
            return await self._call(
                params.name, params.arguments or {}, meta if isinstance(meta, Mapping) else {}
            )
        except UsageError as error:
            return result_of(error_json(BadRequest(str(error))), error=True)
        except WorldError as error:
            if breaks(error):
                self.broken = error
                return result_of({}, error=True)
            if isinstance(error, Refused):
                return result_of(error_json(error), error=True)
            said = error_json(error)
            raise MCPError(code=types.INTERNAL_ERROR, message=str(error), data=said) from None
        except MCPError:
            raise
        except Exception as error:
            # The lab's own mistake: the package would turn it into an answer of the tool's.
            self.broken = error
            return result_of({}, error=True)


def _lenient(scope: Scope) -> Scope:
    """The request with both forms accepted: plain clients name one of them, or none."""
    out = dict(scope)
    out["headers"] = list(scope["headers"])
    MutableHeaders(scope=out)["accept"] = _BOTH
    return out


def _sending(said: list[Message]) -> ASGIApp:
    async def send_all(scope: Scope, receive: Receive, send: Send) -> None:
        for message in said:
            await send(message)

    return send_all


def _streamed(said: list[Message]) -> list[Message]:
    """The same answer as the one event of a stream. What is no answer to a call stays as it is."""
    status = int(said[0]["status"]) if said else 0
    body = b"".join(message.get("body", b"") for message in said)
    if status != 200 or not body:
        return said
    head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
    return [
        {"type": "http.response.start", "status": status, "headers": head},
        {"type": "http.response.body", "body": b"event: message\r\ndata: " + body + b"\r\n\r\n"},
    ]


def _replayed(body: bytes) -> Receive:
    """The request's body, and then silence: who hangs up is the application's to notice."""
    left = [body]

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return receive
