"""Agents that are wrong where it is hard to see: past the lab, in one execution of four, or just
before they break down."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.live.lab import AGENTS, SILENCE, run, scenario_file, spec_of

from chaoslab.core.resources import resource_path
from chaoslab.run.gate import exit_code
from chaoslab.run.model import RunRecord, run_json

TEAM = """
format = 1
name = "wrapped"

[agent]
command = [{python!r}, {script!r}, {habit!r}, "{number}"]
env = {{ LEDGER = "{{state}}/own.db", COUNT = {count!r}, PYTHONPATH = {shim!r} }}
silence_ms = 300
linger_ms = 100
stop_grace_ms = 500
timeout_ms = 8000

[tools.refund]
match = "python refund"
keys = {{ body = "key" }}
identity_fields = ["order_id"]
promise = "exactly-once"
effects = {{ sql = "select id, idem_key, order_id from refunds", database = "{{state}}/own.db" }}

[tasks.refund]
prompt = "Refund order {{order}}."
data = {{ order_id = "{{order}}" }}
"""


def _run(folder: Path, habit: str, number: int, repeats: int = 3) -> RunRecord:
    """`number`: from which task on the agent is wrong, over the fault-free execution (0), the one
    with the fault (1) and its repetitions (2, 3, 4)."""
    team = folder / "chaoslab.toml"
    team.write_text(
        TEAM.format(
            python=sys.executable,
            script=str(AGENTS / "wrapped_agent.py"),
            habit=habit,
            number=number,
            count=str(folder / "count"),
            shim=str(resource_path("fixtures/shim")),
        )
    )
    scenario = scenario_file(folder, "lost", SILENCE)
    return run(spec_of(team, scenario, repeats=repeats), folder)


def _codes(record: RunRecord) -> dict[str, str]:
    return {v.code: v.where for v in record.violations}


def test_an_effect_that_went_past_the_lab(tmp_path: Path) -> None:
    """One request, two rows; the second one has a key that nobody sent."""
    record = _run(tmp_path, "past", 0)
    assert record.verdict == "invalid"
    assert _codes(record) == {"unexpected-effect": "control", "orphan-effect": "control"}


def test_wrong_in_the_last_of_four_executions_is_wrong(tmp_path: Path) -> None:
    record = _run(tmp_path, "once", 4)
    assert (record.verdict, exit_code([run_json(record)])) == ("invalid", 1)
    assert _codes(record)["duplicate-effect"] == "repeat-3"
    reasons = {f.check: f.reason for f in record.findings}
    assert "in 1 of 4 executions" in reasons["effects.delivery"]


def test_nothing_done_in_one_execution_is_no_state_of_an_earlier_one(tmp_path: Path) -> None:
    record = _run(tmp_path, "idle", 2, repeats=1)
    assert (record.verdict, record.broke) == ("invalid", "")
    assert _codes(record)["diverged"] == "repeat-1"


def test_what_was_proven_before_the_agent_broke_down_stays_proven(tmp_path: Path) -> None:
    """Its second repetition cannot be done, and its keys are new for each try."""
    record = _run(tmp_path, "gone", 3)
    assert (record.verdict, record.broke) == ("invalid", "")
    assert _codes(record)["key-changed"] == "fault"
    assert "judged without what could not be done" in record.notes[-1]


def test_an_agent_that_broke_down_and_did_nothing_wrong_has_not_held(tmp_path: Path) -> None:
    record = _run(tmp_path, "gone", 1)
    assert (record.verdict, record.violations) == ("unknown", ())
    assert "ends again and again" in record.broke
