"""The lab between an agent and its own MCP servers: what is recorded, forwarded and withheld."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from mcp.client import Client
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp
from tests.unit.serve.fake import FakeLab, served
from tests.unit.serve.mcp_server import TOOLS, Team, over_http

from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.target import Upstream
from chaoslab.serve.api import Answer, Lab
from chaoslab.serve.mcp.proxy import key_at, proxy
from chaoslab.serve.mcp.upstreams import Upstreams
from chaoslab.world.errors import Conflict, ConnectionReset, ServerError

REFUND = ToolContract(
    name="refund", keys=True, match="mcp crm/echo", key_at="meta:team/key", identity_fields=("o",)
)


class Keeping(FakeLab):
    """Keeps what the relay was told."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.told: list[Answer] = []

    async def relay(self, process: str, f: str, args: Any, forward: Any, /, **more: Any) -> Answer:
        async def kept() -> Answer:
            answer: Answer = await forward()
            self.told.append(answer)
            return answer

        return await super().relay(process, f, args, kept, **more)


@contextmanager
def between(
    team: Team, *tools: ToolContract, legacy: bool = False, url: str = "", hosts: Any = ()
) -> Iterator[tuple[Keeping, str]]:
    """A lab before a server; the lab, and the address for the agent."""
    with over_http(team, legacy=legacy) as own:
        crm = Upstream(name="crm", mcp=url or own, hosts=hosts)
        contract = Contract(
            tools={tool.name: tool for tool in tools},
            services={"crm": crm, "pay": Upstream(name="pay", url="http://127.0.0.1:1")},
        )
        lab = Keeping(contract=contract)
        upstreams = Upstreams(contract.services, timeout_s=5)
        loops: list[asyncio.AbstractEventLoop] = []
        inner = proxy(upstreams)

        async def handler(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
            loops.append(asyncio.get_running_loop())
            return await inner(lab, process, path, request)

        with served(lab, {"mcp-services": handler}) as base:
            try:
                yield lab, f"{base}/mcp-services/crm"
            finally:
                if loops:
                    asyncio.run_coroutine_threadsafe(upstreams.close(), loops[0]).result(10)


def _call(url: str, tool: str = "echo", args: Any = None, meta: Any = None, **headers: str) -> Any:
    params: dict[str, Any] = {"name": tool, "arguments": args or {}}
    if meta is not None:
        params["_meta"] = meta
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(url, json=message, headers=named)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_the_agent_sees_the_servers_tools_and_results(mode: str, legacy: bool) -> None:
    team = Team()

    meta: Any = {"team/key": "k1"}

    async def use(url: str) -> Any:
        async with Client(url, mode=mode) as client:
            tools = (await client.list_tools()).tools
            assert [tool.name for tool in tools] == list(TOOLS)
            assert tools[0].meta == {"team/cost": 3}
            return await client.call_tool("echo", {"o": "o1", "x": 0.5}, meta=meta)

    with between(team, REFUND, legacy=legacy) as (lab, url):
        result = asyncio.run(use(url))
    assert result.structured_content["args"] == {"o": "o1", "x": 0.5}
    assert result.structured_content["share"] == 0.5
    assert result.content[0].annotations.priority == 0.25
    assert result.meta["team/trace"] == "t-1"
    assert team.asked[0][2]["team/key"] == "k1"
    assert lab.asked == [
        (
            "relay",
            {"f": "tools.refund", "args": {"o": "o1", "x": "0.5"}, "key": "k1", "marker": None},
        )
    ]
    assert (lab.hints[0].tool, lab.hints[0].args) == ("refund", {"o": "o1", "x": "0.5"})
    assert isinstance(lab.told[0].shown, dict)
    assert lab.told[0].shown["share"] == "0.5" and lab.told[0].error == ""


def test_what_no_contract_declares_is_a_plain_request() -> None:
    with between(Team(), REFUND) as (lab, url):
        _call(url, "odd", {"b": 1, "a": 0.5}, x_chaoslab_task="t1")
    assert lab.asked == [
        (
            "relay",
            {
                "f": "network.request",
                "args": {"method": "MCP", "url": "crm/odd", "body": '{"a":"0.5","b":1}'},
                "key": None,
                "marker": "MCP crm/odd",
            },
        )
    ]
    assert (lab.hints[0].task, lab.hints[0].tool) == ("t1", "")


def test_an_error_is_told_by_its_kind_and_passed_on_as_it_is() -> None:
    with between(Team(), REFUND) as (lab, url):
        refused = _call(url, "refuse").json()["result"]
        assert refused["isError"] and refused["structuredContent"] == {"why": "no stock"}
        unsure = _call(url, "fail").json()["error"]
        assert unsure == {"code": -32050, "message": "the ledger is away", "data": {"retry": True}}
        assert _call(url, "nonsense").json()["error"]["code"] == -32602
    told = [(answer.error, answer.shown) for answer in lab.told]
    assert told == [
        ("refused", {"why": "no stock"}),
        ("unsure", {"code": -32050, "message": "the ledger is away"}),
        ("refused", {"code": -32602, "message": "no such order"}),
    ]


def test_a_fault_before_the_commit_forwards_nothing() -> None:
    team = Team()
    with between(team, REFUND) as (lab, url):
        lab.refuse = ConnectionReset("before-send")
        with pytest.raises(httpx.ReadError):
            _call(url)
        lab.refuse = Conflict("busy")
        said = _call(url).json()["result"]
        assert said["isError"] and "conflict" in said["content"][0]["text"]
    assert team.asked == [] and lab.told == []


def test_a_fault_after_the_commit_withholds_the_answer() -> None:
    team = Team()
    with between(team, REFUND) as (lab, url):
        lab.withhold = ConnectionReset("after-commit")
        with pytest.raises(httpx.ReadError):
            _call(url)
        lab.withhold = ServerError("502")
        assert _call(url).json()["error"]["data"]["error"]["code"] == "server-error"
    assert len(team.asked) == len(lab.told) == 2
    assert all(answer.raw["structuredContent"]["n"] for answer in lab.told)


def test_the_key_stands_where_the_contract_says() -> None:
    args, meta = {"pay": {"id": "a7"}}, {"team/key": "m7", "chaoslab/idempotency-key": "c7"}
    found = {}
    with between(Team()) as (lab, url):
        for place in ("body:pay.id", "meta:team/key", "header:X-Key", "", "body:none", "body:pay"):
            tool = replace(REFUND, key_at=place)
            lab.contract = replace(lab.contract, tools={"refund": tool})
            _call(url, "echo", args, meta, x_key="h7")
            found[place] = lab.asked[-1][1]["key"]
    assert found == {
        "body:pay.id": "a7",
        "meta:team/key": "m7",
        "header:X-Key": "h7",
        "": "c7",
        "body:none": None,
        "body:pay": None,
    }


@pytest.mark.parametrize(("value", "key"), [(7, "7"), (True, None), (None, None), ("", None)])
def test_only_text_and_numbers_are_keys(value: Any, key: str | None) -> None:
    assert key_at("body:id", {}, {"id": value}, Headers()) == key


def test_only_the_agents_own_headers_and_meta_are_forwarded() -> None:
    team = Team()
    with between(team) as (_, url):
        _call(url, meta={"progressToken": 3, "own": 1}, x_key="h7", authorization="Bearer x")
    _, _, meta, headers = team.asked[0]
    assert headers["x-key"] == "h7" and headers["authorization"] == "Bearer x"
    assert headers["host"] != url.split("/")[2] and "progressToken" not in meta
    assert meta["own"] == 1


def test_a_service_that_is_not_there() -> None:
    with between(Team(), REFUND, url="http://127.0.0.1:9/mcp") as (lab, url):
        said = _call(url).json()["error"]
        assert "cannot be reached" in said["message"] and lab.told[0].error == "refused"
        other = _call(url.replace("/crm", "/pay"))
        assert other.status_code == 404 and "allowed: crm" in other.text


@pytest.mark.parametrize("ask", ["tools/list", "tools/call"])
def test_an_address_beyond_this_machine_is_noted_and_never_asked(ask: str) -> None:
    with between(Team(), REFUND, url="http://crm.example/mcp") as (lab, url):
        message = {"jsonrpc": "2.0", "id": 1, "method": ask, "params": {"name": "echo"}}
        said = httpx.post(url, json=message).json()["error"]["message"]
    assert "nothing beyond this machine" in said and lab.notes == [said]


def test_results_without_structure_are_shown_as_their_texts() -> None:
    texts = [{"type": "text", "text": "a"}, {"type": "image", "data": "AA==", "mimeType": "x/y"}]
    with between(Team()) as (lab, url):
        for content in (texts, texts[:1], []):
            result = _call(url, "bare", {"content": content}).json()["result"]
            assert result["content"] == content and "structuredContent" not in result
    assert [answer.shown for answer in lab.told] == [["a", "(image)"], "a", []]
