"""A team's MCP server, as the proxy finds it: over HTTP in a thread, or over pipes as a command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

TOOLS = ("echo", "refuse", "fail", "nonsense", "odd", "bare")


class Team:
    """The server and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]] = []
        self.sessions: set[str] = set()
        self.server: Server[Any] = Server("team", on_list_tools=self._list, on_call_tool=self._call)

    async def _list(self, ctx: Any, params: Any) -> types.ListToolsResult:
        tools = [
            types.Tool(
                name=name,
                description=f"what {name} does",
                input_schema={"type": "object"},
                output_schema={"type": "object", "required": ["never"]} if name == "odd" else None,
                _meta={"team/cost": 3},
            )
            for name in TOOLS
        ]
        # Two pages, since a server may cut its list as it likes.
        if params is not None and params.cursor == "rest":
            return types.ListToolsResult(tools=tools[3:])
        return types.ListToolsResult(tools=tools[:3], next_cursor="rest")

    async def _call(self, ctx: Any, params: types.CallToolRequestParams) -> Any:
        args = dict(params.arguments or {})
        headers = dict(ctx.request.headers) if ctx.request is not None else {}
        meta = dict((ctx.params or {}).get("_meta") or {})
        self.asked.append((params.name, args, meta, headers))
        if headers.get("mcp-session-id"):
            self.sessions.add(headers["mcp-session-id"])
        if params.name == "refuse":
            return _result({"why": "no stock"}, error=True)
        if params.name == "fail":
            raise MCPError(code=-32050, message="the ledger is away", data={"retry": True})
        if params.name == "nonsense":
            raise MCPError(code=types.INVALID_PARAMS, message="no such order")
        if params.name == "bare":
            return {"resultType": "complete", "content": args["content"]}
        data = {"args": args, "n": len(self.asked), "share": 0.5}
        data["meta"] = {k: v for k, v in meta.items() if not k.startswith("io.")}
        return _result(data)


def _result(data: dict[str, Any], *, error: bool = False) -> dict[str, Any]:
    return {
        "resultType": "complete",
        "content": [{"type": "text", "text": "as said", "annotations": {"priority": 0.25}}],
        "structuredContent": data,
        "isError": error,
        "_meta": {"team/trace": "t-1"},
    }


@contextmanager
def over_http(team: Team, *, legacy: bool = False) -> Iterator[str]:
    """Serves with sessions; `legacy`: knows the older version only. The address."""

    manager = StreamableHTTPSessionManager(team.server)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if legacy and headers.get(b"mcp-protocol-version", b"").startswith(b"2026"):
            await Response("unsupported version", status_code=400)(scope, receive, send)
            return
        await manager.handle_request(scope, receive, send)

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)

    async def run() -> None:
        async with manager.run():
            await server.serve()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(5)


async def over_pipes() -> None:
    """Serves on standard input and output, until the input closes."""
    team = Team()
    async with stdio_server() as (incoming, outgoing):
        await team.server.run(incoming, outgoing, team.server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(over_pipes())
