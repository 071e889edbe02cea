"""Runs of a small team file on real processes, for tests; the agent is a script of theirs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from chaoslab.contract.target import Target
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.select import specs_for
from chaoslab.run.workers import Workers

AGENTS = Path(__file__).parent / "agents"

TEAM = """
format = 1
name = "small"
{top}
[agent]
command = [{python!r}, {script!r}]
silence_ms = 400
linger_ms = 200
{agent}

[tools.refund]
keys = true
identity_fields = ["order"]
promise = "exactly-once"

[tasks.refund]
prompt = "Refund order {{order}}."
answer = "Order {{order}} is refunded."
[[tasks.refund.plan]]
tool = "refund"
args = {{ order = "{{order}}", amount_cents = "{{amount_cents}}" }}
"""

SCENARIO = """
format = 1
name = "{name}"
title = "{name}"
family = "live"
[workload]
sessions = {sessions}
tasks = {tasks}
[limits]
recovery_ms_max = 60000
{faults}
"""

SILENCE = """
[[faults]]
at = "tools:keyed"
phase = "after-commit"
kind = "silence"
"""


def team_file(folder: Path, script: Path, agent: str, top: str = "") -> Path:
    """A team's file for one script; `agent` are further lines of `[agent]`."""
    path = folder / "chaoslab.toml"
    text = TEAM.format(python=sys.executable, script=str(script), agent=agent, top=top)
    path.write_text(textwrap.dedent(text))
    return path


def scenario_file(
    folder: Path, name: str, faults: str = "", *, sessions: int = 1, tasks: int = 1
) -> Path:
    """A small scenario."""
    path = folder / f"{name}.toml"
    text = SCENARIO.format(name=name, faults=faults, sessions=sessions, tasks=tasks)
    path.write_text(text)
    return path


def spec_of(agent: str | Path, scenario: Path, *, repeats: int = 3, **changed: Any) -> RunSpec:
    """One run on real processes; `changed` are fields of the target."""
    [spec] = specs_for([scenario], str(agent), seeds=[0], backend="process", repeats=repeats)
    assert spec.target is not None
    target: Target = replace(spec.target, **changed)
    return replace(spec, target=target)


@contextmanager
def workers() -> Iterator[Workers]:
    """Workers that are closed at the end."""
    made = Workers()
    try:
        yield made
    finally:
        made.close()


def run(spec: RunSpec, folder: Path) -> RunRecord:
    """Performs a run."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    with workers() as made:
        return perform(spec, made, out)


def verdicts(record: RunRecord) -> Mapping[str, str]:
    """The verdict of each check."""
    return {f.check: f.verdict for f in record.findings}
