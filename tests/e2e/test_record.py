"""`chaoslab record`: a provider answers once, and runs follow what it said."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.unit.serve.provider import Reply, called, provider, said

Run = Callable[..., "CompletedProcess[str]"]
AGENT = Path(__file__).resolve().parents[1] / "live" / "agents" / "queue_agent.py"
KEY = "sk-very-secret-0123456789"
TEAM = """
format = 1
name = "small"
[agent]
command = [{python!r}, "agent.py"]
silence_ms = 400
linger_ms = 200
[tools.refund]
keys = true
identity_fields = ["order"]
promise = "exactly-once"
[tasks.refund]
prompt = "Refund order {{order}}."
"""
NAMED = 'recording = "answers.jsonl"\n'
PLAN = """
[[tasks.refund.plan]]
tool = "refund"
args = { order = "{order}" }
"""


@pytest.fixture
def team(here: Path) -> Callable[[str], None]:
    """Writes the team's file, with further lines of its one kind of task."""
    # It shows its model the reference alone: that a repeat was absorbed was not recorded.
    agent = AGENT.read_text()
    shown = agent.replace("json.dumps(result)", 'json.dumps({"ref": result["ref"]})')
    assert shown != agent
    (here / "agent.py").write_text(shown)

    def write(more: str = "") -> None:
        (here / "chaoslab.toml").write_text(TEAM.format(python=sys.executable) + more)

    return write


def model(body: Mapping[str, Any]) -> Reply:
    """Asks for the refund, then tells of it, as a model would: in its own words."""
    order = next(re.findall(r"o-s\d-t\d", m["content"])[0] for m in body["messages"])
    last = body["messages"][-1]
    if last["role"] == "user":
        return called("refund", {"order": order, "why": "broken"}, f"call_{len(order)}_{order}")
    return said(f"I have refunded {order}; it is {json.loads(last['content'])['ref']}.")


def runs(here: Path) -> Mapping[str, Any]:
    (run,) = json.loads((here / "reports" / "latest" / "results.json").read_text())["runs"]
    found: Mapping[str, Any] = run
    return found


def test_recorded_once_and_followed(here: Path, chaoslab: Run, team: Callable[..., None]) -> None:
    team()
    with provider(model) as fake:
        done = chaoslab("record", "--provider", fake.url, OPENAI_API_KEY=KEY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [b["stream"] for b in fake.bodies] == [False, False]
    assert {h["Authorization"] for h in fake.headers} == {f"Bearer {KEY}"}
    path = here / "recordings" / "refund.jsonl"
    assert "2 answers for [tasks.refund]" in done.stdout
    line = 'recording = "recordings/refund.jsonl"'
    assert f"Add to [tasks.refund]: {line}" in done.stdout
    first, second = map(json.loads, path.read_text().splitlines())
    args = {"order": "{order}", "why": "broken"}
    assert first["reply"]["tool_calls"] == [{"name": "refund", "args": args}]
    assert second["reply"]["text"] == "I have refunded {order}; it is {given.1}."
    assert sorted(p.name for p in path.parent.iterdir()) == ["refund.jsonl"]
    for one in here.rglob("*"):
        assert one.is_dir() or KEY.encode() not in one.read_bytes()
    assert KEY not in done.stdout + done.stderr

    team(line)
    ran = chaoslab("run", "timeout-after-commit", "--in-process")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert runs(here)["verdict"] == "valid"

    agent = (here / "agent.py").read_text()
    other = agent.replace('"content": task["prompt"]', '"content": "Please. " + task["prompt"]')
    assert other != agent
    (here / "agent.py").write_text(other)
    chaoslab("run", "timeout-after-commit", "--in-process")
    found = runs(here)
    assert found["verdict"] == "unknown"
    assert "message 1 (user) differs from the recording: got 'Please. Refund" in found["vacuous"]

    team(line + PLAN)
    ran = chaoslab("run", "timeout-after-commit", "--in-process")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert runs(here)["verdict"] == "valid"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, {"error": {"message": f"bad key {KEY}"}}), "401: bad key [the key]"),
        ((429, {"error": {"message": "slow down"}}), "429: slow down"),
        ((500, b"oops"), "500: oops"),
        ((200, b"oops"), "is not JSON"),
    ],
)
def test_an_error_of_the_provider_leaves_nothing(
    here: Path, chaoslab: Run, team: Callable[..., None], reply: Reply, words: str
) -> None:
    team(NAMED)
    before = sorted(here.rglob("*"))

    def fails_later(body: Mapping[str, Any]) -> Reply:
        return model(body) if len(body["messages"]) == 1 else reply

    with provider(fails_later) as fake:
        done = chaoslab("record", "--provider", fake.url, "--key-env", "MINE", MINE=KEY)
    assert done.returncode == 4 and words in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert sorted(here.rglob("*")) == before


def test_what_is_refused_before_anything_runs(
    here: Path, chaoslab: Run, team: Callable[..., None]
) -> None:
    team(NAMED)
    (here / "answers.jsonl").write_text("mine")
    with provider(model) as fake:
        there = chaoslab("record", "--provider", fake.url)
        assert there.returncode == 2 and "is there already" in there.stderr
        assert (here / "answers.jsonl").read_text() == "mine" and fake.bodies == []
        unset = chaoslab("record", "--provider", fake.url, "--key-env", "NOBODY_SETS_THIS")
        assert unset.returncode == 2 and "holds no key" in unset.stderr
        forced = chaoslab("record", "--provider", fake.url, "--force", "--tasks", "2")
        assert forced.returncode == 0, forced.stdout + forced.stderr
        assert len((here / "answers.jsonl").read_text().splitlines()) == 4
    assert chaoslab("record", "--provider", fake.url, "--agent", "a.py:f").returncode == 2


def test_a_request_without_the_prompt_is_told(
    here: Path, chaoslab: Run, team: Callable[..., None]
) -> None:
    team()
    agent = (here / "agent.py").read_text()
    (here / "agent.py").write_text(agent.replace('task["prompt"]', '"Do " + task["id"]'))
    with provider(lambda body: said("Done.")) as fake:
        done = chaoslab("record", "--provider", fake.url)
    assert done.returncode == 4
    assert "no request for [tasks.refund] contains its prompt" in done.stderr
    assert not (here / "recordings").exists()
