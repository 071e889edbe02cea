"""Connections to a team's own MCP servers: both transports, both versions, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from tests.unit.serve.mcp_server import TOOLS, Team, over_http

from chaoslab.contract.target import Upstream
from chaoslab.core.errors import UsageError
from chaoslab.serve.mcp.upstreams import Lost, Unreachable, Upstreams

HERE = Path(__file__)
ROOT = HERE.parents[3]
PACKAGE = Upstream(
    name="crm",
    mcp_command=(sys.executable, str(HERE.with_name("mcp_server.py"))),
    env={"PYTHONPATH": f"{ROOT}/harness:{ROOT}"},
)


def _small(*more: str) -> Upstream:
    script = str(HERE.with_name("mcp_small.py"))
    return Upstream(name="crm", mcp_command=(sys.executable, "-S", script, *more))


def _http(url: str) -> Upstream:
    return Upstream(name="crm", mcp=url)


def _gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process ends in time; one that nobody has reaped yet has ended too."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def _run(upstream: Upstream, using: Any, **more: Any) -> Any:
    async def go() -> Any:
        upstreams = Upstreams({"crm": upstream}, **more)
        try:
            return await asyncio.wait_for(using(upstreams), 20)
        finally:
            await upstreams.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

    return asyncio.run(go())


async def _both(upstreams: Upstreams) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    tools = await upstreams.list("crm")
    result = await upstreams.call("crm", "echo", {"order": "o1", "x": 0.5}, {"team/key": "k1"})
    return tools, result


@pytest.mark.parametrize("how", ["modern", "legacy", "pipes"])
def test_tools_and_results_come_as_they_are(how: str) -> None:
    team = Team()
    if how == "pipes":
        tools, result = _run(PACKAGE, _both)
    else:
        with over_http(team, legacy=how == "legacy") as url:
            tools, result = _run(_http(url), _both)
        assert bool(team.sessions) == (how == "legacy")
    assert [tool["name"] for tool in tools] == list(TOOLS)
    assert tools[0]["_meta"] == {"team/cost": 3}
    assert result["structuredContent"]["args"] == {"order": "o1", "x": 0.5}
    assert result["structuredContent"]["meta"]["team/key"] == "k1"
    assert result["content"][0]["annotations"] == {"priority": 0.25}
    assert result["_meta"]["team/trace"] == "t-1"


def test_a_result_that_breaks_its_own_schema_is_the_agents_business() -> None:
    with over_http(Team()) as url:
        result = _run(_http(url), lambda u: u.call("crm", "odd", {}, {}))
    assert "never" not in result["structuredContent"]


@pytest.mark.parametrize("legacy", [False, True])
def test_the_servers_own_errors_are_raised_as_they_came(legacy: bool) -> None:
    async def use(upstreams: Upstreams) -> None:
        with pytest.raises(MCPError) as found:
            await upstreams.call("crm", "fail", {}, {})
        assert (found.value.code, found.value.message) == (-32050, "the ledger is away")
        assert found.value.data == {"retry": True}
        assert (await upstreams.call("crm", "refuse", {}, {}))["isError"] is True
        assert (await upstreams.call("crm", "echo", {}, {}))["isError"] is False

    with over_http(Team(), legacy=legacy) as url:
        _run(_http(url), use)


def test_headers_reach_the_server_each_with_its_own_call() -> None:
    team = Team()

    async def use(upstreams: Upstreams) -> None:
        await asyncio.gather(
            *(
                upstreams.call("crm", "echo", {"n": n}, {}, headers={"x-team-key": f"k{n}"})
                for n in range(5)
            )
        )
        await upstreams.call("crm", "echo", {"n": -1}, {})

    with over_http(team) as url:
        _run(_http(url), use)
    seen = {args["n"]: headers.get("x-team-key") for _, args, _, headers in team.asked}
    assert seen == {-1: None, **{n: f"k{n}" for n in range(5)}}


def test_two_lives_of_an_agent_share_no_session_but_one_child() -> None:
    team = Team()

    async def use(upstreams: Upstreams) -> None:
        for process in ("p1", "p1", "p2"):
            await upstreams.call("crm", "echo", {}, {}, process=process)

    with over_http(team, legacy=True) as url:
        _run(_http(url), use)
    assert len(team.sessions) == 2

    async def count(upstreams: Upstreams) -> int:
        for process in ("p1", "p2"):
            found = await upstreams.call("crm", "echo", {}, {}, process=process)
        assert len(upstreams.pids) == 1
        return int(found["structuredContent"]["n"])

    assert _run(_small(), count) == 2


def test_a_server_that_is_not_there_was_never_asked() -> None:
    async def use(upstreams: Upstreams) -> None:
        with pytest.raises(Unreachable, match="'crm' cannot be reached"):
            await upstreams.call("crm", "echo", {}, {})

    with over_http(Team()) as url:
        pass  # its port is free again
    _run(_http(url), use)
    _run(Upstream(name="crm", mcp_command=(sys.executable, "-c", "pass")), use)


def test_a_server_that_comes_back_is_connected_anew() -> None:
    team = Team()

    async def use(upstreams: Upstreams) -> None:
        with over_http(team) as url:
            upstreams._services["crm"] = _http(url)
            await upstreams.call("crm", "echo", {}, {})
        with pytest.raises((Lost, Unreachable)):
            await upstreams.call("crm", "echo", {}, {})
        with over_http(team) as url:
            upstreams._services["crm"] = _http(url)
            await upstreams.call("crm", "echo", {}, {})

    _run(_http("http://127.0.0.1:1/mcp"), use)
    assert len(team.asked) == 2


def test_a_child_that_dies_in_a_call_leaves_it_open_and_is_not_started_again() -> None:
    async def use(upstreams: Upstreams) -> None:
        with pytest.raises((Lost, MCPError)):
            await upstreams.call("crm", "die", {}, {})
        pid = upstreams.pids["crm"]
        with pytest.raises(Unreachable, match="has ended"):
            await upstreams.call("crm", "echo", {}, {})
        assert upstreams.pids["crm"] == pid and _gone(pid)

    _run(_small(), use)


@pytest.mark.parametrize("more", [(), ("--deaf",)])
def test_close_leaves_nothing_of_a_childs_group(more: tuple[str, ...]) -> None:
    async def use(upstreams: Upstreams) -> tuple[int, int]:
        found = await upstreams.call("crm", "fork", {}, {})
        pid = upstreams.pids["crm"]
        assert os.getpgid(pid) == pid != os.getpgid(0)
        child = found["structuredContent"]["child"]
        assert os.getpgid(child) == pid
        return pid, child

    fds = len(os.listdir("/proc/self/fd"))
    assert all(_gone(pid) for pid in _run(_small(*more), use))
    assert len(os.listdir("/proc/self/fd")) <= fds


def test_who_gives_up_leaves_the_connection_to_the_next() -> None:
    team = Team()

    async def use(upstreams: Upstreams) -> None:
        first = asyncio.create_task(upstreams.call("crm", "echo", {"n": 1}, {}))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await upstreams.call("crm", "echo", {"n": 2}, {})

    with over_http(team) as url:
        _run(_http(url), use)
    assert [args for _, args, _, _ in team.asked] == [{"n": 2}]


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    silent = Upstream(name="crm", mcp_command=(sys.executable, "-c", "input(); input(); input()"))

    async def use(upstreams: Upstreams) -> None:
        with pytest.raises(Unreachable):
            await upstreams.call("crm", "echo", {}, {})

    _run(silent, use, timeout_s=0.3)


def test_what_cannot_be_asked_is_said_plainly() -> None:
    async def use(upstreams: Upstreams) -> None:
        with pytest.raises(UsageError, match="nothing beyond this machine"):
            await upstreams.call("crm", "echo", {}, {})
        with pytest.raises(UsageError, match="allowed: crm"):
            await upstreams.list("shop")

    _run(_http("http://crm.example/mcp"), use)

    async def start(upstreams: Upstreams) -> None:
        with pytest.raises(UsageError, match="cannot be started"):
            await upstreams.list("crm")

    _run(Upstream(name="crm", mcp_command=("/no/such/program",)), start)
