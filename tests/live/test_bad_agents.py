"""Agents that behave badly: each gets a clear verdict, and nothing of it is left running."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from tests.live.lab import AGENTS, SILENCE, run, scenario_file, spec_of, team_file, verdicts

QUEUE = AGENTS / "queue_agent.py"
WEB = 'env = { PORT = "{port}" }\nsubmit = { post = "http://127.0.0.1:{port}/tasks" }'


def left_running(folder: Path) -> list[str]:
    """Processes whose working folder is the agent's."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").resolve() == folder.resolve():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def habit(folder: Path, name: str, script: Path = QUEUE, agent: str = "") -> Path:
    """The team's file of an agent with a bad habit."""
    path = team_file(folder, script, agent)
    path.write_text(path.read_text().replace(f"'{script}'", f"'{script}', '{name}'"))
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exits", "ends again and again by itself, with exit code 1: there is no configuration"),
        ("dies", "ends again and again by itself, with exit code 7"),
        ("silent", "without any fault, s1-t1 did not end: it had no outcome within 2000 ms"),
        ("floods", "floods the lab"),
    ],
)
def test_what_cannot_be_judged_is_said_in_words(tmp_path: Path, name: str, words: str) -> None:
    path = habit(tmp_path, name, agent="timeout_ms = 2000" if name == "silent" else "")
    spec = spec_of(path, scenario_file(tmp_path, name, SILENCE))
    record = run(spec, tmp_path)
    assert words in record.broke
    assert left_running(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("broken-json", "is no JSON"), ("half", "no answer from")],
)
def test_a_web_agent_that_answers_badly(tmp_path: Path, name: str, words: str) -> None:
    path = habit(tmp_path, name, AGENTS / "web_agent.py", WEB + "\ntimeout_ms = 3000")
    record = run(spec_of(path, scenario_file(tmp_path, name, SILENCE)), tmp_path)
    assert "s1-t1 did not end" in record.broke and words in record.broke
    assert left_running(tmp_path) == []


@pytest.mark.parametrize("name", ["forks", "deaf", "prints"])
def test_what_does_no_harm_is_judged_and_ended(tmp_path: Path, name: str) -> None:
    path = habit(tmp_path, name, agent="stop_grace_ms = 300")
    record = run(spec_of(path, scenario_file(tmp_path, name, SILENCE)), tmp_path)
    assert (record.verdict, record.broke) == ("valid", "")
    assert left_running(tmp_path) == []
    if name == "deaf":
        assert any("did not end within 300 ms of SIGTERM" in n for n in record.notes)


def test_a_fresh_key_for_each_try_is_found_in_every_repetition(tmp_path: Path) -> None:
    record = run(
        spec_of(habit(tmp_path, "fresh-keys"), scenario_file(tmp_path, "fresh", SILENCE)), tmp_path
    )
    assert record.verdict == "invalid"
    assert verdicts(record)["effects.delivery"] == "invalid"
    [reason] = [f.reason for f in record.findings if f.check == "effects.delivery"]
    assert "executions)" not in reason  # in all of them
