"""The packaged Node agent: it works off a task over queue, model and MCP, and keeps its keys."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import tomllib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.require import need
from tests.unit.serve.fake import FakeLab, served

from chaoslab.contract.loader import load_contract
from chaoslab.core.resources import resource_path
from chaoslab.scenario.workloads import team_workload
from chaoslab.serve import models, rest
from chaoslab.serve.api import ToolShape
from chaoslab.serve.mcp.tools import handle
from chaoslab.world.api import ModelReply, Outcome, Task, ToolCall, ToolReply
from chaoslab.world.errors import BadRequest, Conflict, ConnectionReset, ServerError

FOLDER = resource_path("fixtures/examples/node-mcp")
NODE = shutil.which("node")
needs_node = pytest.mark.usefixtures("_node")
TASK = Task(id="t1", session="s1", tenant="a", delivery=1, prompt="Refund A-1.")
REPLY = ToolReply(ref="r-1", data={"state": "done"})


@pytest.fixture
def _node() -> None:
    need("node")


def _calls(reason: str) -> ModelReply:
    args: dict[str, Any] = {"order": "A-1", "amount_cents": 500, "reason": reason}
    return ModelReply(
        tool_calls=(ToolCall(id="call_1", name="refund", args=args),), finish="tool-calls"
    )


NOTIFY = ModelReply(
    tool_calls=(
        ToolCall(id="call_2", name="notify", args={"order": "A-1", "template": "refunded"}),
    ),
    finish="tool-calls",
)
DONE = ModelReply(text="It is refunded.")


@contextmanager
def agent(base: str, state: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{base}/model/v1",
        "MCP_URL": f"{base}/mcp",
        "QUEUE_URL": f"{base}/queue",
        "STATE": str(state),
    }
    child = subprocess.Popen(
        [str(NODE), "agent.mjs"],
        cwd=FOLDER,
        env=env,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _run(state: Path, said: list[Any], tools: list[Any]) -> FakeLab:
    """One life of the agent, until it has reported a task."""
    lab = FakeLab(
        shapes=(ToolShape(name="refund", keyed=True), ToolShape(name="notify")),
        answers={"model": deque(said), "tools": deque(tools)},
        tasks=deque([TASK]),
    )
    handlers = {"model": models.handle, "mcp": handle, "queue": rest.queue}
    with served(lab, handlers) as base, agent(base, state) as child:
        until = time.monotonic() + 15
        while not lab.outcomes and child.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert child.poll() is None, child.stderr.read() if child.stderr else b""
    return lab


def _asked(lab: FakeLab) -> list[dict[str, Any]]:
    return [asked for port, asked in lab.asked if port == "tools"]


@needs_node
def test_a_task_is_done_over_broken_connections_with_one_key_per_action(tmp_path: Path) -> None:
    tools = [
        ConnectionReset("gone"),
        ServerError("500"),
        Conflict("busy", in_flight=True),
        REPLY,
        ConnectionReset("gone"),
        REPLY,
    ]
    lab = _run(tmp_path, [_calls("a"), NOTIFY, DONE], tools)
    assert lab.outcomes == [Outcome(task="t1", status="completed", answer="It is refunded.")]
    asked = _asked(lab)
    assert [one["name"] for one in asked] == ["refund"] * 4 + ["notify"] * 2
    keys = [one["key"] for one in asked]
    assert len(set(keys[:4])) == len(set(keys[4:])) == 1 and keys[0] != keys[5]
    assert re.fullmatch("[0-9a-f]{32}", keys[0])
    assert all(one["args"] == asked[0]["args"] for one in asked[:4])
    assert {hint.task for hint in lab.hints if hint.tool} == {"t1"}


@needs_node
def test_a_second_life_says_the_same_in_the_same_words(tmp_path: Path) -> None:
    first = _run(tmp_path, [_calls("the goods broke"), DONE], [REPLY])
    second = _run(tmp_path, [_calls("as agreed"), DONE], [REPLY])
    (one,), (other,) = _asked(first), _asked(second)
    assert one == other and one["args"]["reason"] == "the goods broke"
    assert second.outcomes[0].status == "completed"


@needs_node
def test_what_cannot_be_known_is_said_so(tmp_path: Path) -> None:
    lab = _run(tmp_path, [_calls("a"), DONE], [ConnectionReset("gone")])
    assert lab.outcomes[0].status == "uncertain"
    assert len(_asked(lab)) == 4


@needs_node
def test_what_was_refused_is_told_to_the_model_and_not_called_done(tmp_path: Path) -> None:
    lab = _run(tmp_path, [_calls("a"), DONE], [BadRequest("no such order")])
    assert lab.outcomes[0].status == "failed" and len(_asked(lab)) == 1
    told = [asked for port, asked in lab.asked if port == "model"][-1]["messages"][-1]
    assert told["role"] == "tool" and "no such order" in str(told)


def test_its_contract_and_its_tasks_are_those_of_a_team() -> None:
    path = FOLDER / "chaoslab.toml"
    contract = load_contract(path)
    assert contract.target is not None and contract.target.submit.how == "queue"
    assert contract.tools["refund"].promise == "exactly-once"
    raw = {"tasks": tomllib.loads(path.read_text())["tasks"]}
    (kind,) = team_workload(raw, str(path), contract).kinds.values()
    assert [step.name for step in kind.plan] == ["refund", "notify"]
    assert all(f"{{{hole}}}" in path.read_text() for hole in ("model", "mcp", "queue", "state"))
