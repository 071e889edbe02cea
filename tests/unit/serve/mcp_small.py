"""A small MCP server over pipes without the package: it starts at once, and speaks the older
version only, as many do. `--deaf` lives on after its input has closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

CALLS = 0


def answer(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for a method that is not known."""
    global CALLS
    if method == "initialize":
        return {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "small", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}
    if method != "tools/call":
        return None
    CALLS += 1
    if params["name"] == "die":
        os._exit(7)
    child = 0
    if params["name"] == "fork":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid
    data = {"args": params.get("arguments"), "n": CALLS, "child": child}
    return {"content": [], "structuredContent": data}


def main() -> None:
    """Reads requests to the end of the input."""
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], message.get("params", {}))
        said = {"result": result} if result is not None else {}
        if result is None:
            said = {"error": {"code": -32601, "message": "no such method"}}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **said}) + "\n")
        sys.stdout.flush()
    while "--deaf" in sys.argv:
        signal.pause()


if __name__ == "__main__":
    main()
