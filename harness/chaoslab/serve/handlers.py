"""What stands at which prefix of the lab's address, for one execution.

The MCP package takes longer to import than most executions take, so it is imported where an agent
or a service needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp

from chaoslab.serve import models, ports, proxy, rest, wrap
from chaoslab.serve.api import Lab
from chaoslab.serve.app import Handler


def handlers(servers: Any = None, /) -> Mapping[str, Handler]:
    """All handlers by prefix; see `chaoslab.serve.api`. `servers` are the team's own over MCP
    (`chaoslab.serve.mcp.upstreams.Upstreams`), None where there are none."""
    return {
        "model": models.handle,
        "tools": rest.tools,
        "memory": rest.memory,
        "queue": rest.queue,
        "mcp": _later("tools", lambda module: module.handle),
        "mcp-services": _later("proxy", lambda module: module.proxy(servers)),
        "services": proxy.handle,
        "wrap": wrap.handle,
        "ports": ports.handle,
    }


def _later(module: str, made: Callable[[Any], Handler]) -> Handler:
    """The handler of a module of `chaoslab.serve.mcp`, which is imported when it is asked."""

    async def handler(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
        found = made(import_module(f"chaoslab.serve.mcp.{module}"))
        return await found(lab, process, path, request)

    return handler


def preload() -> None:
    """Imports what MCP needs, before an agent waits for it."""
    for module in ("tools", "proxy"):
        import_module(f"chaoslab.serve.mcp.{module}")
