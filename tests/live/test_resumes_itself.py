"""Agents that resume by themselves: what they have is theirs, what they never got is not."""

from __future__ import annotations

import json
from pathlib import Path

from tests.live.lab import AGENTS, run, scenario_file, spec_of, team_file

AGENT = """
env = { BOOK = "{state}/book.sqlite" }
database = "{state}/book.sqlite"
done = { sql = "select state from tasks where id = {task} and state = 'done'" }
timeout_ms = 8000
"""
KILL = """
[[faults]]
at = "tools.refund"
phase = "after-commit"
kind = "crash"
"""


def test_a_task_that_nobody_fetched_is_handed_out_again(tmp_path: Path) -> None:
    """The first process is killed in its first task, while two more wait in the queue."""
    team = team_file(tmp_path, AGENTS / "recovering_agent.py", AGENT, top='resume = "self"')
    scenario = scenario_file(tmp_path, "killed", KILL, sessions=3)
    record = run(spec_of(team, scenario, repeats=1), tmp_path)
    assert (record.broke, [f.check for f in record.findings if f.verdict == "invalid"]) == ("", [])
    lines = (tmp_path / "out" / "fault.jsonl").read_text().splitlines()[1:]
    ops = [json.loads(line) for line in lines]
    submitted = [(o["process"], o["task"]) for o in ops if o["f"] == "task.submit"]
    first = {task for process, task in submitted if process == "home-1"}
    second = {task for process, task in submitted if process == "home-2"}
    assert first == {"s1-t1", "s2-t1", "s3-t1"}
    # The agent has this one, and finishes it by itself.
    [begun] = [o["task"] for o in ops if o["f"] == "nemesis.strike"]
    assert begun not in second
    # Which one it fetches first is up to the machine; what it had done by then stays done.
    done = {
        o["task"]
        for o in ops
        if (o["f"], o["type"], o.get("process")) == ("tools.refund", "commit", "home-1")
    }
    assert first - second <= done
    assert {o["task"] for o in ops if o["f"] == "task.outcome"} == first
