"""From rows to findings: what is one mistake, which execution stands for it, and which run that
was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaoslab.core.errors import FormatError
from chaoslab.explore.findings import STRIKES_MAX, findings_of, spec_of, spread_over, strike_of
from chaoslab.explore.rows import Row
from chaoslab.explore.worlds import worlds_of
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.scenario.writing import scenario_toml

LOST = {"at": "tools.refund", "phase": "after-commit", "kind": "silence", "task": "s1-t1"}
DOUBLE = ("effects.delivery", "duplicate-effect", "aa", "2 x refund")
SLOW = ("limits.recovery", "too-slow", "bb", "it took 3 s")


def row(name: str, *breaches: Any, word: Any = "broken", **more: Any) -> Row:
    plain: dict[str, Any] = {"world": "w1", "seed": 0, "faults": (LOST,), "breaches": breaches}
    return Row(name=name, word=word, **{**plain, **more})


def worlds() -> list[RunSpec]:
    specs = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])
    return [world.spec for world in worlds_of(specs)]


def test_one_mistake_is_one_finding_and_its_smallest_execution_stands_for_it() -> None:
    rows = [
        row("a/2", DOUBLE, faults=(LOST, LOST)),
        row("a/1", DOUBLE, SLOW, faults=(LOST, LOST)),
        row("b/0", DOUBLE, world="w2"),
        row("c/0", SLOW, word="equivalent", same_as="a/1"),
        row("c/1", word="held"),
    ]
    double, slow = findings_of(rows, worlds())
    assert (double.fingerprint, double.executions, double.first.name) == ("aa", 3, "b/0")
    assert double.worlds == {"w1": 2, "w2": 1}
    # Two rows of the very same strikes are one strike.
    assert len(double.strikes) == 2
    assert (slow.code, slow.executions, slow.first.name) == ("too-slow", 1, "a/1")
    assert findings_of(reversed(rows), worlds()) == [double, slow]


def test_what_costs_most_comes_first_then_what_is_frequent() -> None:
    other = ("effects.delivery", "missing-effect", "cc", "0 x refund")
    rows = [row(f"a/{n}", SLOW) for n in range(9)] + [row("b/0", DOUBLE)]
    rows += [row(f"c/{n}", other) for n in range(2)]
    found = findings_of(rows, worlds())
    assert [one.fingerprint for one in found] == ["cc", "aa", "bb"]
    # Executions that are only counted count.
    counted = findings_of(rows, worlds(), executions={"aa": 70, "bb": 9, "cc": 2})
    assert (counted[0].fingerprint, counted[0].executions) == ("aa", 70)


def test_strikes_are_named_up_to_a_bound() -> None:
    rows = [row(f"a/{n}", DOUBLE, faults=({**LOST, "marker": str(n)},)) for n in range(300)]
    [found] = findings_of(rows, worlds())
    assert found.executions == 300 and len(found.strikes) == STRIKES_MAX


def test_a_strike_is_the_same_whatever_its_row_is_called() -> None:
    one = row("a/1", DOUBLE)
    assert strike_of(one) == strike_of(replace(one, name="z", word="held", breaches=()))
    others = [replace(one, seed=1), replace(one, world="w2"), replace(one, faults=())]
    assert len({strike_of(one), *map(strike_of, others)}) == 4


def test_the_run_of_a_row_of_a_sweep_is_its_world_with_its_strikes() -> None:
    [world] = worlds()
    spec = spec_of(row("a", DOUBLE, world=world.scenario.name, seed=7), [world])
    assert spec.seed == 7 and spec.scenario.schedule.seeds == (7,)
    assert [fault.where() for fault in spec.scenario.faults] == [
        "silence after-commit at tools.refund, task s1-t1"
    ]
    assert replace(spec.scenario, faults=(), schedule=world.scenario.schedule) == world.scenario
    with pytest.raises(FormatError, match="the world w9, which is none of this campaign"):
        spec_of(row("a", world="w9"), [world])
    with pytest.raises(FormatError, match="has no faults that can be read"):
        spec_of(row("a", world=world.scenario.name, faults=({"attt": "x"},)), [world])


def test_the_run_of_a_row_of_stress_is_what_it_says() -> None:
    [base] = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])
    drawn = replace(base.scenario, name="drawn-7", expect="effects.delivery")
    text = scenario_toml(drawn)
    spec = spec_of(row("a", DOUBLE, world="drawn", seed=11, scenario=text), [base])
    assert spec.scenario.name == "drawn-7" and spec.seed == 11
    # What was drawn is expected to hold, whatever its base was written for.
    assert spec.scenario.expect == "valid" and spec.expected_check == ""
    with pytest.raises(FormatError, match="has no scenario that can be read"):
        spec_of(row("a", scenario="format = 9"), [base])


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_samples_are_spread(count: int) -> None:
    names = [f"{n:03}" for n in range(100)]
    chosen = spread_over(names, count)
    assert len(set(chosen)) == count and chosen == sorted(chosen)
    gaps = [int(b) - int(a) for a, b in zip(["000", *chosen], [*chosen, "099"], strict=True)]
    assert max(gaps[1:-1], default=0) <= 100 // count + 1
    assert spread_over(names[:2], 5) == names[:2]
