"""Every planted bug becomes a case of two faults at most, in a crowd if it shows itself there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.explore.test_shrink import every_planted, in_a_crowd, judged

from chaoslab.check import without
from chaoslab.explore.shrink import shrink
from chaoslab.run.model import RunSpec

FINDABLE = {check.id for check in without("repeats")}  # what one execution can show


def named(spec: RunSpec) -> str:
    return Path(spec.agent.partition(":")[0]).stem


BUGS = {named(spec): spec for spec in every_planted() if spec.expected_check in FINDABLE}


def test_all_bugs_but_those_of_repetitions_are_here() -> None:
    left_out = {named(spec) for spec in every_planted()} - set(BUGS)
    assert len(BUGS) >= 43 and left_out == {"order_of_a_set"}


@pytest.mark.parametrize("name", BUGS)
def test_it_becomes_two_faults_at_most(name: str) -> None:
    for spec in (in_a_crowd(name), BUGS[name]):
        shown = judged([spec])[0]
        marks = [row[2] for row in shown.broken if row[0] == spec.expected_check]
        if marks:
            break
    assert marks, "its own scenario shows it"
    small = shrink(spec, marks[0], judged)
    assert small.breach is not None and small.breach[0] == spec.expected_check
    faults = small.spec.scenario.faults
    assert len(faults) <= 2 and len(faults) <= len(spec.scenario.faults)
