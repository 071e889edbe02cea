"""`gap_ms`: how far apart the tasks of a session are."""

from __future__ import annotations

from typing import Any

import pytest

from chaoslab.core.errors import ScenarioError
from chaoslab.scenario import Use, scenario_from

HEAD = {"format": 1, "name": "n", "title": "t", "family": "f"}
YEAR_MS = 366 * 86_400_000


def use(**workload: Any) -> Use:
    return scenario_from({**HEAD, "workload": workload}, "x.toml").workload


def test_a_gap_is_read_and_is_none_by_itself() -> None:
    assert use(gap_ms=5).gap_ms == 5
    assert use().gap_ms == 0
    assert use(gap_ms=YEAR_MS, tasks=3).idle_ms == 2 * YEAR_MS


@pytest.mark.parametrize("wrong", [-1, YEAR_MS + 1, True, 1.5, "1"])
def test_what_is_no_gap_is_named(wrong: object) -> None:
    with pytest.raises(ScenarioError, match=r"workload\.gap_ms: got .*allowed"):
        use(gap_ms=wrong)


def test_a_gap_between_tasks_that_do_not_wait_for_each_other_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"gap_ms: got 9 \(int\) beside concurrent = true"):
        use(gap_ms=9, concurrent=True)
    assert use(gap_ms=0, concurrent=True).concurrent
