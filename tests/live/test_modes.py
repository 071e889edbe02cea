"""Every way in which a task reaches an agent, times every way in which the lab learns of its end:
killed while it waits for the answer to what it has done, a right agent comes through."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaoslab.history import Op, read
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers
from tests.live.lab import AGENTS, scenario_file, spec_of, team_file, verdicts, workers

AGENT = AGENTS / "modes_agent.py"
CRASH = """
[[faults]]
at = "tools:keyed"
phase = "after-commit"
kind = "crash"
"""
BODY = 'body = { session = "{session}", what = { name = "{task}", in = "{data}" } }'
HEADERS = 'headers = { X-Session = "{session}" }'
POST = f'submit = {{ post = "http://127.0.0.1:{{port}}/t", {HEADERS}, {BODY} }}'
SQL = """database = "{state}/agent.db"
done = { sql = "select state from runs where id = {task}" }"""
WORDS = 'field = "result.phase", completed = ["finished"]'
POLL = f'done = {{ poll = "http://127.0.0.1:{{port}}/{{task}}", {WORDS} }}'
ENDS = {"reply": "", "sql": SQL, "poll": POLL}
WEB = 'env = { PORT = "{port}" }\nready = "http://127.0.0.1:{port}/health"'


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    """One worker for all: starting one costs more than a run here."""
    with workers() as made:
        yield made


def team(folder: Path, command: list[str], lines: str, *, commands: bool = True) -> Path:
    """A team's file with another command."""
    path = team_file(folder, AGENT, lines)
    text = path.read_text()
    [old] = [line for line in text.splitlines() if line.startswith("command =")]
    path.write_text(text.replace(old, f"command = {command!r}" if commands else ""))
    return path


def once(done: str, *more: str) -> list[str]:
    """The command for one task."""
    return [sys.executable, str(AGENT), "once", done, "{task}", "{data}", *more]


def struck(folder: Path) -> list[Op]:
    """What is on record of the first request to a tool, with the strike and the kill."""
    ops = read(folder / "out" / "fault.jsonl").ops
    [strike] = [op for op in ops if op.f == "nemesis.strike"]
    return [
        op
        for op in ops
        if op.index == strike.call or op.call == strike.call or op.f == "process.kill"
    ]


def came_through(path: Path, folder: Path, pool: Workers, *, fault: str = CRASH) -> RunRecord:
    """Runs it, and holds what every right agent must come to."""
    spec = spec_of(path, scenario_file(folder, "mode", fault), repeats=0)
    (folder / "out").mkdir()
    record = perform(spec, pool, folder / "out")
    assert (record.broke, record.violations, record.vacuous) == ("", (), "")
    assert verdicts(record)["effects.delivery"] == "valid"
    assert verdicts(record)["keys.lineage"] == "valid"
    return record


@pytest.mark.parametrize("done", ENDS)
@pytest.mark.parametrize("submit", ["post", "stdin", "queue"])
def test_a_living_agent(tmp_path: Path, pool: Workers, submit: str, done: str) -> None:
    how = POST if submit == "post" else f'submit = "{submit}"'
    lines = f"{how}\n{ENDS[done]}"
    if submit == "post" or done == "poll":
        lines += f"\n{WEB}"
    path = team(tmp_path, [sys.executable, str(AGENT), submit, done], lines)
    came_through(path, tmp_path, pool)
    told = [(op.type, op.f) for op in struck(tmp_path)]
    assert told == [
        ("invoke", "tools.refund"),
        ("commit", "tools.refund"),
        ("event", "nemesis.strike"),
        ("event", "process.kill"),
        ("info", "tools.refund"),
    ]


@pytest.mark.parametrize("done", ["reply", "sql"])
def test_a_command_for_each_task(tmp_path: Path, pool: Workers, done: str) -> None:
    show = [sys.executable, "-c", "print(open('starts').read().split())"]
    lines = f"submit = {{ run = {once(done)!r} }}\nresume = {once(done, 'again')!r}\n{ENDS[done]}"
    came_through(team(tmp_path, show, lines, commands=False), tmp_path, pool)
    assert [op.type for op in struck(tmp_path)] == ["invoke", "commit", "event", "event", "info"]


def test_a_command_that_submits_beside_a_living_agent(tmp_path: Path, pool: Workers) -> None:
    lines = f"submit = {{ run = {once('poll')!r} }}\n{POLL}\n{WEB}"
    path = team(tmp_path, [sys.executable, str(AGENT), "web", "poll"], lines)
    came_through(path, tmp_path, pool)
