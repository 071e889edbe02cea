"""A shrunk case goes into a team's repository, so it names nothing that must not be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.explore.test_shrink import BUG, Judge, at, case

from chaoslab.check.masking import Mask
from chaoslab.explore.shrink import Shrunk, fit_to_keep
from chaoslab.explore.testfile import as_regression
from chaoslab.scenario import Scenario, Use

VALUE = "DE02 1203 0000 4711"
MASK = Mask({VALUE: "‹iban of s1›"})


def kept(marker: str, rule: Callable[[Scenario], object]) -> Shrunk:
    """What of a case is fit to keep whose fault names its action by a marker."""
    spec = case(faults=(replace(at(1), marker=marker),), workload=Use(sessions=1, tasks=1))
    breach = ("effects.delivery", "duplicate-effect", BUG, f"2 × refund for one ({marker})")
    small = Shrunk(spec=as_regression(spec, breach), fingerprint=BUG, tried=4, breach=breach)
    return fit_to_keep(small, Judge(rule), MASK)


def test_a_case_is_said_without_a_value_that_must_not_be_read() -> None:
    found = kept(f"{VALUE}/refunded", lambda s: s.faults[0].marker == "")
    assert found.breach is not None and "‹iban of s1›" in found.breach[3]
    assert (found.private, found.tried) == (False, 5)
    assert found.spec.scenario.faults == (replace(at(1), marker=""),)
    whole = f"{found.spec.scenario_text} {found.spec.scenario.title} {found.breach}"
    assert "4711" not in whole and found.spec.scenario.name.endswith("-refund")


def test_a_case_that_only_such_a_value_can_say_is_private() -> None:
    found = kept(VALUE, lambda s: s.faults[0].marker == VALUE)
    assert found.private and found.spec.scenario.faults[0].marker == VALUE
    assert found.breach is not None and "4711" not in found.breach[3]


def test_a_case_without_such_a_value_stays_as_it_is() -> None:
    found = kept("o-s1-t1", lambda _: pytest.fail("nothing is to be tried"))
    assert not found.private and found.tried == 4
    assert found.spec.scenario.faults == (at(1),)
