"""What `--resume` takes for a change of a team's agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chaoslab.run import select
from chaoslab.run.model import RunSpec

TEAM = """
format = 1
name = "small"
[agent]
command = ["node", "agent.mjs"]
[tools.refund]
[tasks.refund]
prompt = "Refund order {order}."
"""
SCENARIO = """
format = 1
name = "calm"
title = "calm"
family = "mine"
[[faults]]
at = "tools.refund"
phase = "after-commit"
kind = "crash"
"""


def fingerprint(folder: Path) -> str:
    """The fingerprint of a run, read anew from the files."""
    select._team_digest.cache_clear()
    [spec] = select.specs_for([folder / "calm.scenario"], str(folder / "chaoslab.toml"), seeds=[0])
    assert isinstance(spec, RunSpec)
    return spec.fingerprint


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's folder with an environment of thousands of files that sort before the agent's."""
    (tmp_path / "chaoslab.toml").write_text(TEAM)
    (tmp_path / "calm.scenario").write_text(SCENARIO)
    (tmp_path / "agent.mjs").write_text("work()")
    for folder in (".venv", "node_modules", "reports"):
        (tmp_path / folder).mkdir()
    for number in range(select._FILES_MAX):
        (tmp_path / ".venv" / f"m{number}.py").touch()
    return tmp_path


def edit_agent(folder: Path) -> None:
    (folder / "agent.mjs").write_text("work(twice)")


def add_source(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "tools.py").write_text("def refund(): ...")


def edit_package(folder: Path) -> None:
    (folder / ".venv" / "m1.py").write_text("x = 1")
    (folder / "node_modules" / "x.js").write_text("x = 1")


def run_before(folder: Path) -> None:
    (folder / "reports" / "scenario.toml").write_text(SCENARIO)
    (folder / "state.sqlite").write_text("rows")


@pytest.mark.parametrize(
    ("change", "differs"),
    [(edit_agent, True), (add_source, True), (edit_package, False), (run_before, False)],
)
def test_only_the_teams_own_sources_make_another_run(
    team: Path, change: Callable[[Path], None], differs: bool
) -> None:
    before = fingerprint(team)
    assert fingerprint(team) == before
    change(team)
    assert (fingerprint(team) != before) == differs
