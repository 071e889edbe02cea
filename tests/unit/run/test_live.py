"""What a run on real processes concludes before it strikes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.live.lab import SILENCE, scenario_file, spec_of, team_file

from chaoslab.backends.common import merged_contract
from chaoslab.faults import Fault, Site, place
from chaoslab.run.live import unreachable

REFUND = Site(port="tools.refund", session="s1", task="s1-t1", marker="o-s1-t1", attempt=1)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({}, ""),
        ({"session": "s9"}, ""),  # it is called, for somebody else: that is a fault that missed
        ({"task": "s1-t9"}, ""),
        ({"marker": "o-9"}, ""),
        ({"at": "tools.ship"}, "the agent never calls tools.ship"),
        ({"at": "tools.ship", "session": "s1"}, "the agent never calls tools.ship"),
    ],
)
def test_a_fault_for_one_session_is_no_reason_to_say_that_a_tool_is_never_called(
    tmp_path: Path, fault: dict[str, Any], why: str
) -> None:
    team = team_file(tmp_path, tmp_path / "agent.py", "")
    spec = spec_of(team, scenario_file(tmp_path, "lost", SILENCE))
    one = replace(Fault(at="tools.refund", phase="after-commit", kind="silence"), **fault)
    placed = place([one], [REFUND], merged_contract(spec.contract, spec.workload))
    assert unreachable(spec, placed, [REFUND]) == why
