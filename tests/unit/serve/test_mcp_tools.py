"""The lab's tools over MCP: both versions by the package's own client, and plain JSON-RPC."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from tests.unit.serve.fake import FakeLab, served

from chaoslab.serve.api import ToolShape
from chaoslab.serve.mcp.tools import handle
from chaoslab.world.api import ToolReply
from chaoslab.world.errors import (
    Conflict,
    ConnectionRefused,
    ConnectionReset,
    DeadlineExceeded,
    ServerError,
    Trapped,
    WorldError,
)

SCHEMA: Any = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
SHAPES = (
    ToolShape(name="refund", description="Pays back.", schema=SCHEMA, keyed=True),
    ToolShape(name="notify"),
)
REPLY = ToolReply(ref="refund-1", data={"state": "paid"}, absorbed=True)
RESULT = {"ref": "refund-1", "data": {"state": "paid"}, "absorbed": True}
VERSIONS = {"auto": "2026-07-28", "legacy": "2025-11-25", "2026-07-28": "2026-07-28"}
KEYED: Any = {"chaoslab/idempotency-key": "k1", "chaoslab/task": "t1"}
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "plain", "version": "1"},
}


@pytest.fixture(scope="module")
def serving() -> Iterator[tuple[FakeLab, str]]:
    lab = FakeLab(shapes=SHAPES)
    with served(lab, {"mcp": handle}) as base:
        yield lab, f"{base}/mcp"


@pytest.fixture
def lab(serving: tuple[FakeLab, str]) -> FakeLab:
    lab = serving[0]
    lab.answers["tools"] = deque([REPLY])
    lab.asked.clear()
    lab.hints.clear()
    return lab


@pytest.fixture
def url(serving: tuple[FakeLab, str]) -> str:
    return serving[1]


def _post(url: str, method: str, params: Any = None, *, id: int | None = 1, **headers: str) -> Any:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if id is not None:
        message["id"] = id
    if params is not None:
        message["params"] = params
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(url, json=message, headers=named)


def _call(url: str, meta: Any = None, args: Any = None, **headers: str) -> Any:
    params = {"name": "refund", "arguments": {"order": "o1"} if args is None else args}
    return _post(
        url, "tools/call", {**params, **({"_meta": meta} if meta else {})}, id=3, **headers
    )


@pytest.mark.parametrize("mode", VERSIONS)
def test_the_packages_client_in_both_versions(lab: FakeLab, url: str, mode: str) -> None:
    async def use() -> None:
        async with Client(url, mode=mode) as client:
            assert client.protocol_version == VERSIONS[mode]
            first, second = (await client.list_tools()).tools
            assert (first.name, first.description) == ("refund", "Pays back.")
            assert first.input_schema == SCHEMA and first.meta == {"chaoslab/keyed": True}
            assert second.input_schema == {"type": "object"} and second.meta is None
            result = await client.call_tool(
                "refund",
                {"order": "o1"},
                meta=KEYED,
            )
            assert result.structured_content == RESULT and not result.is_error
            assert json.loads(result.content[0].text) == RESULT  # type: ignore[union-attr]

    asyncio.run(use())
    asked = {"name": "refund", "args": {"order": "o1"}, "key": "k1", "deadline_ms": 1_000}
    assert lab.asked == [("tools", asked)]
    assert [(h.task, h.tool, h.args) for h in lab.hints] == [("t1", "refund", {"order": "o1"})]


@pytest.mark.parametrize("mode", VERSIONS)
def test_what_did_not_happen_is_a_result_and_what_nobody_knows_is_an_error(
    lab: FakeLab, url: str, mode: str
) -> None:
    lab.answers["tools"] = deque([Conflict("busy", in_flight=True), ServerError("500"), REPLY])

    async def use() -> None:
        async with Client(url, mode=mode) as client:
            refused = await client.call_tool("refund", {"order": "o1"})
            assert refused.is_error and refused.structured_content is None
            assert json.loads(refused.content[0].text) == {  # type: ignore[union-attr]
                "error": {"code": "conflict", "message": "busy", "in_flight": True}
            }
            with pytest.raises(MCPError) as found:
                await client.call_tool("refund", {"order": "o1"})
            assert found.value.code == -32603
            assert found.value.data == {"error": {"code": "server-error", "message": "500"}}
            assert not (await client.call_tool("refund", {"order": "o1"})).is_error

    asyncio.run(use())


@pytest.mark.parametrize("mode", VERSIONS)
def test_a_withheld_answer_breaks_the_packages_client_and_a_new_one_works(
    lab: FakeLab, url: str, mode: str
) -> None:
    lab.answers["tools"] = deque([ConnectionReset("gone"), REPLY])

    async def use() -> Any:
        async with Client(url, mode=mode) as client:
            return await client.call_tool("refund", {"order": "o1"})

    with pytest.raises(BaseException) as found:
        asyncio.run(use())
    assert "ReadError" in repr(found.value)
    assert asyncio.run(use()).structured_content == RESULT
    assert len(lab.asked) == 2


@pytest.mark.parametrize(
    "error", [ConnectionReset("a"), DeadlineExceeded("b"), ConnectionRefused()]
)
@pytest.mark.parametrize("accept", ["*/*", "text/event-stream"])
def test_no_answer_is_a_reset(lab: FakeLab, url: str, error: WorldError, accept: str) -> None:
    lab.answers["tools"] = deque([error, REPLY])
    with pytest.raises(httpx.ReadError):
        _call(url, accept=accept)
    assert _call(url, accept=accept).status_code == 200


def test_a_plain_client_gets_json(lab: FakeLab, url: str) -> None:
    hello = _post(url, "initialize", HELLO)
    assert hello.json()["result"]["protocolVersion"] == "2025-11-25"
    assert "mcp-session-id" not in hello.headers
    done = _post(url, "notifications/initialized", id=None, mcp_protocol_version="2025-11-25")
    assert (done.status_code, done.content) == (202, b"")
    listed = _post(url, "tools/list", id=2, accept="application/json").json()
    assert [one["name"] for one in listed["result"]["tools"]] == ["refund", "notify"]
    called = _call(url, accept="application/json, text/event-stream")
    assert called.headers["content-type"] == "application/json"
    assert called.json()["id"] == 3
    assert called.json()["result"]["structuredContent"] == RESULT
    assert "resultType" not in called.json()["result"]


def test_who_names_the_event_stream_first_gets_one(lab: FakeLab, url: str) -> None:
    for accept in ("text/event-stream", "text/event-stream;q=1, application/json"):
        called = _call(url, accept=accept)
        assert called.headers["content-type"] == "text/event-stream"
        event, data, *rest = called.text.split("\r\n")
        assert event == "event: message" and rest == ["", ""]
        said = json.loads(data.removeprefix("data: "))
        assert said["result"]["structuredContent"] == RESULT
    note = _post(url, "notifications/initialized", id=None, accept="text/event-stream")
    assert note.status_code == 202


def test_the_newer_version_by_hand(lab: FakeLab, url: str) -> None:
    envelope = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call"}
    called = _call(url, {**envelope, "idempotencyKey": "k9"}, mcp_name="refund", **headers)
    assert called.json()["result"]["resultType"] == "complete"
    assert lab.asked[-1][1]["key"] == "k9"
    assert _call(url, envelope, mcp_name="notify", **headers).status_code == 400
    lab.answers["tools"] = deque([ConnectionReset("gone"), REPLY])
    with pytest.raises(httpx.ReadError):
        _call(url, envelope, mcp_name="refund", **headers)


@pytest.mark.parametrize(
    ("meta", "headers", "key", "task"),
    [
        ({}, {}, None, ""),
        ({"chaoslab/idempotency-key": "a"}, {"idempotency_key": "z"}, "a", ""),
        ({"idempotency-key": "b"}, {}, "b", ""),
        ({"idempotencyKey": "c", "chaoslab/task": "t1"}, {"x_chaoslab_task": "t2"}, "c", "t1"),
        ({"progressToken": 7}, {"idempotency_key": "d", "x_chaoslab_task": "t2"}, "d", "t2"),
        ({"chaoslab/idempotency-key": 5, "chaoslab/task": 6}, {"idempotency_key": ""}, None, ""),
    ],
)
def test_where_the_key_and_the_task_stand(
    lab: FakeLab, url: str, meta: Any, headers: dict[str, str], key: str | None, task: str
) -> None:
    assert _call(url, meta, **headers).status_code == 200
    assert lab.asked[-1][1]["key"] == key and lab.hints[-1].task == task


def test_arguments_are_made_fit_for_a_record(lab: FakeLab, url: str) -> None:
    _call(url, args={"cents": 5.0, "rate": 19.5, "lines": [{"x": 0.25}]})
    assert lab.asked[-1][1]["args"] == {"cents": 5, "rate": "19.5", "lines": [{"x": "0.25"}]}
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    refused = _call(url, args={"deep": deep}).json()["result"]
    assert refused["isError"] and "bad-request" in refused["content"][0]["text"]
    assert len(lab.asked) == 1


def test_trouble_of_a_guest_is_an_error_with_its_details(lab: FakeLab, url: str) -> None:
    lab.answers["tools"] = deque([Trapped("it trapped", trap="unreachable"), REPLY])
    said = _call(url).json()["error"]
    assert said["data"]["error"]["trap"] == "unreachable"


@pytest.mark.filterwarnings("ignore")
def test_a_mistake_of_the_labs_own_is_no_answer_of_a_tool(lab: FakeLab, url: str) -> None:
    lab.answers["tools"] = deque([RuntimeError("a bug"), REPLY])
    with pytest.raises(httpx.TransportError):
        _call(url)
    assert [str(error) for error in lab.failures] == ["a bug"]
    assert _call(url).status_code == 200


def test_what_is_no_request_is_told_so(lab: FakeLab, url: str) -> None:
    kind = {"content-type": "application/json"}
    assert httpx.get(url).status_code == httpx.delete(url).status_code == 405
    assert httpx.post(url, content=b"{", headers=kind).json()["error"]["code"] == -32700
    assert httpx.post(url, content=b"[1]", headers=kind).status_code == 400
    assert _post(url, "tools/none").json()["error"]["code"] == -32601
    long = b'{"x": "' + b"y" * (17 << 20) + b'"}'
    assert httpx.post(url, content=long, headers=kind).status_code == 400
    assert lab.asked == []


class Waiting(FakeLab):
    """Whose tools answer only when the test says so."""

    def __init__(self) -> None:
        super().__init__(shapes=SHAPES)
        self.asked_n = threading.Semaphore(0)
        self.go = threading.Event()
        self.cancelled = threading.Event()

    def world(self, process: str, /) -> Any:
        world = super().world(process)
        world.tools.call = self._wait
        return world

    async def _wait(self, name: str, args: Any, /, **more: Any) -> ToolReply:
        self.asked_n.release()
        try:
            while not self.go.is_set():
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return ToolReply(ref=args["order"])


def test_who_hangs_up_ends_its_call_and_no_other() -> None:
    lab = Waiting()
    with served(lab, {"mcp": handle}) as base, ThreadPoolExecutor(4) as others:
        url = f"{base}/mcp"
        calls = [others.submit(_call, url, None, {"order": f"o{n}"}) for n in range(3)]
        for _ in calls:
            assert lab.asked_n.acquire(timeout=5)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund"}}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=body, timeout=0.2)
        assert lab.cancelled.wait(5)
        lab.go.set()
        refs = [call.result(5).json()["result"]["structuredContent"]["ref"] for call in calls]
    assert refs == ["o0", "o1", "o2"]


def test_nothing_is_left_of_a_request(lab: FakeLab, url: str) -> None:
    _call(url)
    gc.collect()
    before = len(gc.get_objects()), threading.active_count()
    lab.answers["tools"] = deque([REPLY])
    for n in range(30):
        if n % 3 == 0:
            lab.answers["tools"] = deque([ConnectionReset("gone"), REPLY])
            with pytest.raises(httpx.ReadError):
                _call(url)
        else:
            _call(url, accept="text/event-stream" if n % 3 == 1 else "*/*")
    lab.asked.clear()
    lab.hints.clear()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        gc.collect()
        if len(gc.get_objects()) < before[0] + 300:
            break
    assert len(gc.get_objects()) < before[0] + 300
    assert threading.active_count() == before[1]
