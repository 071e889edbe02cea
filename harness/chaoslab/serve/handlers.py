"""What stands at which prefix of the lab's address, for one execution."""

from __future__ import annotations

from collections.abc import Mapping

from chaoslab.serve import models, ports, proxy, rest, wrap
from chaoslab.serve.app import Handler
from chaoslab.serve.mcp import proxy as mcp_proxy
from chaoslab.serve.mcp import tools as mcp_tools
from chaoslab.serve.mcp.upstreams import Upstreams


def handlers(servers: Upstreams, /) -> Mapping[str, Handler]:
    """All handlers by prefix; see `chaoslab.serve.api`. `servers` are the team's own over MCP."""
    return {
        "model": models.handle,
        "tools": rest.tools,
        "memory": rest.memory,
        "queue": rest.queue,
        "mcp": mcp_tools.handle,
        "mcp-services": mcp_proxy.proxy(servers),
        "services": proxy.handle,
        "wrap": wrap.handle,
        "ports": ports.handle,
    }
