"""A bridge from standard input and output to the lab's MCP address, for agents that start their
MCP server as a command:

    python -m chaoslab.serve.mcp.stdio {mcp}

It runs in the agent's environment, so it needs nothing but Python's own library; the file also
runs by its path alone. Each line is one request over HTTP, several at a time.

What a network does to a connection, a pipe can only do as a whole: where the lab breaks a
connection (a reset, or an answer that never comes), the bridge ends with exit code 1 and both
pipes close, as with an MCP server that crashed. It ends with 0 once its input closes, whatever is
still under way. Anything else that the lab says becomes a JSON-RPC answer.

The older version of the protocol is spoken after `initialize`, which agrees on it; in the newer
one each request says its version itself. Both want it repeated in headers:

>>> params = {"name": "refund", "_meta": {VERSION: "2026-07-28"}}
>>> sorted(routing({"method": "tools/call", "params": params}, "").items())
[('Mcp-Method', 'tools/call'), ('Mcp-Name', 'refund'), ('Mcp-Protocol-Version', '2026-07-28')]
>>> routing({"method": "tools/list"}, "2025-11-25")
{'Mcp-Protocol-Version': '2025-11-25'}
"""

from __future__ import annotations

import json
import os
import sys
import threading
from base64 import b64encode
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from typing import IO, Any, Final
from urllib.parse import urlsplit

VERSION: Final = "io.modelcontextprotocol/protocolVersion"
# Which parameter the newer version wants to see in a header.
NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
INTERNAL_ERROR: Final = -32603
BROKEN, BAD_USE = 1, 2


def routing(message: dict[str, Any], agreed: str, /) -> dict[str, str]:
    """The headers by which a server tells the versions and methods apart."""
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    meta = params.get("_meta")
    own = meta.get(VERSION) if isinstance(meta, dict) else None
    if not isinstance(own, str):
        return {"Mcp-Protocol-Version": agreed} if agreed else {}
    headers = {"Mcp-Protocol-Version": own, "Mcp-Method": str(message.get("method", ""))}
    name = params.get(NAMED.get(headers["Mcp-Method"], ""))
    if isinstance(name, str):
        headers["Mcp-Name"] = _header(name)
    return headers


def _header(text: str) -> str:
    """Text as a header can hold it, by the protocol's own rule."""
    plain = text.isascii() and text.isprintable() and text == text.strip()
    if plain and not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    return f"=?base64?{b64encode(text.encode()).decode()}?="


class Bridge:
    """One client and one address. `end` is called with the exit code where a connection breaks."""

    def __init__(self, url: str, output: IO[bytes], end: Any) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"got {url!r}; allowed: http://HOST:PORT/PATH")
        self._host, self._port = parts.hostname, parts.port or 80
        self._path = parts.path or "/"
        self._output = output
        self._end = end
        self._agreed = ""
        self._lock = threading.Lock()

    def run(self, lines: Iterable[bytes]) -> None:
        """Carries every line, until there are no more."""
        for line in lines:
            if not line.strip():
                continue
            message = self._read(line)
            if message is None:
                continue
            if message.get("method") == "tools/call":
                threading.Thread(target=self._carry, args=(line, message), daemon=True).start()
            else:
                # In order: what follows `initialize` needs the version that it agrees on.
                self._carry(line, message)

    def _read(self, line: bytes) -> dict[str, Any] | None:
        try:
            found = json.loads(line)
        except ValueError as error:
            self._say(_failed(None, f"the line is not JSON: {error}", code=-32700))
            return None
        if not isinstance(found, dict):
            self._say(_failed(None, "the line is not one JSON-RPC message", code=-32600))
            return None
        return found

    def _carry(self, line: bytes, message: dict[str, Any]) -> None:
        """One message there, and its answer back."""
        try:
            status, body = self._post(line, message)
        except (OSError, HTTPException) as error:
            sys.stderr.write(f"chaoslab: the connection broke: {error or type(error).__name__}\n")
            self._end(BROKEN)
            return
        if "id" not in message:
            return
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "jsonrpc" not in answer:
            said = answer.get("error") if isinstance(answer, dict) else None
            text = said.get("message") if isinstance(said, dict) else None
            answer = _failed(message["id"], f"HTTP {status}: {text or 'no answer to a request'}")
        if answer.get("id") is None:
            answer["id"] = message["id"]
        if message.get("method") == "initialize" and isinstance(answer.get("result"), dict):
            self._agreed = str(answer["result"].get("protocolVersion", ""))
        self._say(answer)

    def _post(self, line: bytes, message: dict[str, Any]) -> tuple[int, bytes]:
        connection = HTTPConnection(self._host, self._port)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            headers.update(routing(message, self._agreed))
            connection.request("POST", self._path, body=line, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _say(self, message: dict[str, Any]) -> None:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            try:
                self._output.write(line)
                self._output.flush()
            except (OSError, ValueError):
                self._end(BROKEN)


def _failed(id: Any, text: str, *, code: int = INTERNAL_ERROR) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": text}}


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    # A blocked reader of standard input cannot be woken otherwise than by the end of the process.
    try:
        (url,) = arguments
        bridge = Bridge(url, sys.stdout.buffer, os._exit)
    except ValueError as error:
        sys.stderr.write(f"usage: python -m chaoslab.serve.mcp.stdio URL ({error})\n")
        return BAD_USE
    bridge.run(sys.stdin.buffer)
    return 0


if __name__ == "__main__":
    # No waiting for threads whose answers nobody reads any more.
    os._exit(main(sys.argv[1:]))
