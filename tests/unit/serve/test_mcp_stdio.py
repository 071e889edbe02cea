"""The bridge for agents that start their MCP server as a command."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.shared.exceptions import MCPError
from tests.unit.serve.fake import FakeLab, served
from tests.unit.serve.test_mcp_tools import HELLO, REPLY, RESULT, SHAPES, VERSIONS

from chaoslab.serve.mcp import stdio
from chaoslab.serve.mcp.tools import handle
from chaoslab.world.errors import Conflict, ConnectionReset

SCRIPT = str(Path(stdio.__file__))
MODULE = ["-m", "chaoslab.serve.mcp.stdio"]


@contextmanager
def lab_at(*answers: Any) -> Iterator[tuple[FakeLab, str]]:
    lab = FakeLab(shapes=SHAPES, answers={"tools": deque(answers)})
    with served(lab, {"mcp": handle}) as base:
        yield lab, f"{base}/mcp"


@contextmanager
def bridge(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The bridge as a file of its own: -I and -S show that it needs nothing installed."""
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", SCRIPT, url], stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _say(
    child: subprocess.Popen[bytes], method: str, params: Any = None, id: int | None = 1
) -> Any:
    message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    if id is not None:
        message["id"] = id
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(json.dumps(message).encode() + b"\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline()) if id is not None else None


@pytest.mark.parametrize("mode", VERSIONS)
def test_the_packages_client_in_both_versions(mode: str) -> None:
    meta: Any = {"idempotencyKey": "k"}

    async def use(url: str) -> None:
        path = str(Path(stdio.__file__).parents[3])
        server = StdioServerParameters(
            command=sys.executable, args=[*MODULE, url], env={"PYTHONPATH": path}
        )
        async with Client(server, mode=mode) as client:
            assert client.protocol_version == VERSIONS[mode]
            assert [tool.name for tool in (await client.list_tools()).tools] == ["refund", "notify"]
            called = await client.call_tool("refund", {"order": "o1"}, meta=meta)
            assert called.structured_content == RESULT
            assert (await client.call_tool("refund", {"order": "o1"})).is_error

    with lab_at(REPLY, Conflict("busy")) as (lab, url):
        asyncio.run(use(url))
    assert [asked["key"] for _, asked in lab.asked] == ["k", None]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_broken_connection_closes_the_pipe(mode: str) -> None:
    async def use(url: str) -> None:
        server = StdioServerParameters(command=sys.executable, args=["-S", SCRIPT, url])
        async with Client(server, mode=mode) as client:
            with pytest.raises(MCPError, match="Connection closed"):
                await client.call_tool("refund", {"order": "o1"})

    with lab_at(ConnectionReset("gone"), REPLY) as (_, url):
        asyncio.run(use(url))
        with bridge(url) as child:
            _say(child, "initialize", HELLO)
            assert _say(child, "tools/call", {"name": "refund"}, 2)["result"]["isError"] is False


def test_the_bridge_ends_with_one_after_a_break_and_with_nought_at_the_end_of_input() -> None:
    with lab_at(ConnectionReset("gone"), REPLY) as (_, url):
        with bridge(url) as child:
            _say(child, "initialize", HELLO)
            assert child.stdin is not None and child.stdout is not None and child.stderr is not None
            call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "refund"}}
            child.stdin.write(json.dumps(call).encode() + b"\n")
            child.stdin.flush()
            assert child.stdout.readline() == b""
            assert child.wait(5) == stdio.BROKEN
            assert b"the connection broke" in child.stderr.read()
        with bridge(url) as child:
            _say(child, "initialize", HELLO)
            assert child.stdin is not None
            child.stdin.close()
            assert child.wait(5) == 0
            child.stdin = None


def test_it_ends_at_the_end_of_input_even_while_an_answer_is_awaited() -> None:
    # A peer that takes the request and says nothing.
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        with bridge(f"http://127.0.0.1:{listening.getsockname()[1]}/") as child:
            assert child.stdin is not None
            child.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}\n')
            child.stdin.flush()
            connection, _ = listening.accept()
            assert connection.recv(4)
            child.stdin.close()
            assert child.wait(5) == 0
            child.stdin = None
            connection.close()


def test_what_is_said_wrongly_is_answered_and_the_bridge_lives_on() -> None:
    with lab_at(REPLY) as (lab, url):
        with bridge(url) as child:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(b"{\n[1]\n\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["error"]["code"] == -32700
            assert json.loads(child.stdout.readline())["error"]["code"] == -32600
            assert _say(child, "tools/none", None, 5)["error"]["code"] == -32601
            _say(child, "notifications/initialized", None, None)
            assert _say(child, "tools/call", {"name": "refund"}, 6)["id"] == 6
        with bridge(url.replace("/p1/", "/p9/")) as child:
            said = _say(child, "tools/list", None, 7)
            assert said["id"] == 7 and "410" in said["error"]["message"]
    assert len(lab.asked) == 1


def test_names_beyond_ascii_stand_in_headers_as_the_protocol_wants() -> None:
    meta = {stdio.VERSION: "2026-07-28"}
    for name in ("rückzahlung", " refund", "=?base64?x?="):
        message = {"method": "tools/call", "params": {"name": name, "_meta": meta}}
        assert stdio.routing(message, "")["Mcp-Name"].startswith("=?base64?")
    with lab_at(REPLY) as (lab, url), bridge(url) as child:
        envelope = {**meta, "io.modelcontextprotocol/clientCapabilities": {}}
        params = {"name": "rückzahlung", "arguments": {}, "_meta": envelope}
        assert "result" in _say(child, "tools/call", params, 3)
        assert lab.asked[0][1]["name"] == "rückzahlung"


@pytest.mark.parametrize("arguments", [[], ["ftp://127.0.0.1/"], ["http://127.0.0.1:1/", "x"]])
def test_a_wrong_command_line_is_said_so(arguments: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-S", SCRIPT, *arguments], capture_output=True, check=False
    )
    assert run.returncode == stdio.BAD_USE and b"usage:" in run.stderr and run.stdout == b""


def test_a_lab_that_is_gone_ends_it() -> None:
    with lab_at(REPLY) as (_, url):
        pass
    with bridge(url) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
        child.stdin.flush()
        assert child.stdout.readline() == b"" and child.wait(5) == stdio.BROKEN
