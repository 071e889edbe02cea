"""Every way in which a task reaches an agent, times every way in which the lab learns of its end:
killed while it waits for the answer to what it has done, a right agent comes through."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live.lab import AGENTS, scenario_file, spec_of, team_file, verdicts, workers

from chaoslab.history import Op, read
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers

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
    return [op for op in ops if strike.call in (op.index, op.call) or op.f == "process.kill"]


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
    lines = f"submit = {{ run = {once(done)!r} }}\nresume = {once(done, 'again')!r}\n{ENDS[done]}"
    came_through(team(tmp_path, [], lines, commands=False), tmp_path, pool)
    assert [op.type for op in struck(tmp_path)] == ["invoke", "commit", "event", "event", "info"]
    for name, words in (("control", []), ("fault", ["again"])):  # the second is a resumption
        ops = read(tmp_path / "out" / f"{name}.jsonl").ops
        [answer] = [op.get("answer") for op in ops if op.f == "task.outcome"]
        assert answer == (words if done == "reply" else None)


def test_a_command_that_submits_beside_a_living_agent(tmp_path: Path, pool: Workers) -> None:
    lines = f"submit = {{ run = {once('poll')!r} }}\n{POLL}\n{WEB}"
    path = team(tmp_path, [sys.executable, str(AGENT), "web", "poll"], lines)
    came_through(path, tmp_path, pool)


CREW = """
[agent]
commands = [{web}, {a}, {b}]
restart = [{web}, {a_again}, {b_again}]
env = {{ PORT = "{{port}}" }}
submit = {{ post = "http://127.0.0.1:{{port}}/tasks" }}
database = "{{state}}/crew.db"
done = {{ sql = "select state from jobs where id = {{task}} and state = 'done'" }}
"""


def test_a_web_and_two_workers_of_which_one_is_killed(tmp_path: Path, pool: Workers) -> None:
    path = team_file(tmp_path, AGENT, "")
    head, _, tail = path.read_text().partition("[agent]")
    tail = tail[tail.index("[tools.refund]") :]
    crew = [sys.executable, str(AGENTS / "crew_agent.py")]
    words = {"web": [*crew, "web"]}
    for name in ("a", "b"):
        words |= {name: [*crew, "worker", name], f"{name}_again": [*crew, "worker", name, "again"]}
    path.write_text(head + CREW.format(**words) + tail)
    came_through(path, tmp_path, pool)
    ops = read(tmp_path / "out" / "fault.jsonl").ops
    told = [op.type for op in struck(tmp_path)]
    assert told == ["invoke", "commit", "event", "event", "info"]
    starts = [op.process for op in ops if op.f == "process.start"]
    [killed] = [op.process for op in ops if op.f == "process.kill"]
    assert starts == ["home-1", "home-2", "home-3", "home-4"] and killed in ("home-2", "home-3")
    # The web had taken the task on, and lives: it is not handed out again.
    assert [op.process for op in ops if op.f == "task.submit"] == ["home-1"]
    assert [op.process for op in ops if op.f == "task.outcome"] == ["home-1"]
    assert [op.process for op in ops if op.f == "tools.refund" and op.type == "ok"] == ["home-4"]


SHOW = """
import json, os
state = os.environ["CHAOSLAB_STATE"]
env, rows = json.load(open(state + "/environment.json")), open(state + "/rows.txt").read()
print(json.dumps({"env": env, "cwd": os.getcwd(), "rows": rows, "ratio": 0.5}))
"""
ADD = "import os; open(os.environ['CHAOSLAB_STATE'] + '/rows.txt', 'a').write(' and one')"


def test_where_an_agent_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for the agent")
    monkeypatch.setenv("WANTED", "for the agent")
    (tmp_path / "work" / "seed").mkdir(parents=True)
    (tmp_path / "work" / "seed" / "rows.txt").write_text("seven")
    lines = [
        'pass_env = ["WANTED"]',
        'cwd = "work"',
        'template = "work/seed"',
        'env = { HERE = "{state}/x" }',
        f"reset = {json.dumps([sys.executable, '-c', ADD])}",
        f"inspect = {json.dumps([sys.executable, '-c', SHOW])}",
    ]
    path = team(tmp_path, [sys.executable, str(AGENT), "queue", "reply"], "\n".join(lines))
    with workers() as own:
        came_through(path, tmp_path, own)
    for name in ("control", "fault"):
        ops = read(tmp_path / "out" / f"{name}.jsonl").ops
        [shown] = [op.get("state") for op in ops if op.f == "final.inspect"]
        env = shown["env"]
        assert env["WANTED"] == "for the agent" and "AWS_SECRET_ACCESS_KEY" not in env
        assert env["HERE"] == env["CHAOSLAB_STATE"] + "/x"
        assert (shown["cwd"], shown["rows"]) == (str(tmp_path / "work"), "seven and one")
        assert not Path(env["CHAOSLAB_STATE"]).exists()


@pytest.mark.parametrize(
    ("done", "words"),
    [("sql", "s1-t1 had ended before it was handed out"), ("reply", "was completed at once")],
)
def test_state_of_an_earlier_execution(
    tmp_path: Path, pool: Workers, done: str, words: str
) -> None:
    lines = f'env = {{ KEEP = "{tmp_path}" }}\n' + ENDS[done].replace("{state}", str(tmp_path))
    path = team(tmp_path, [sys.executable, str(AGENT), "queue", done], lines)
    spec = spec_of(path, scenario_file(tmp_path, "leak", CRASH), repeats=0)
    (tmp_path / "out").mkdir()
    record = perform(spec, pool, tmp_path / "out")
    assert "state of an earlier execution is still there" in record.broke
    assert words in record.broke and "{state}" in record.broke
    # The next run finds it at once.
    again = perform(spec, pool, tmp_path / "out")
    assert again.broke.startswith("the fault-free execution: ")
    assert words in again.broke or "without asking the lab for anything" in again.broke
