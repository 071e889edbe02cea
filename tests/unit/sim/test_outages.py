"""A fault that lasts for several tries of one action."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaoslab.contract import Contract
from chaoslab.faults import Placed, Site, place
from chaoslab.run.plan import counted

from .simlab import run, strike

STUBBORN = """
class Agent(Base):
    async def handle(self, task):
        for n in range(TRIES):
            try:
                await self.pay(task, "pay", "k", 1_000)
                return self.done(task)
            except (Refused, Indeterminate):
                await self.world.clock.sleep(100)
        return Outcome(task=task.id, status="uncertain")
"""


@pytest.mark.parametrize(("tries", "struck"), [(5, 3), (2, 2)])
def test_it_strikes_so_many_tries_of_the_action(tmp_path: Path, tries: int, struck: int) -> None:
    lasting = strike("tools.pay", "before-commit", "reset", times=3)
    found = run(tmp_path, STUBBORN.replace("TRIES", str(tries)), faults=[lasting])
    assert not found.end.broke, found.end.broke
    strikes = found.view.named("nemesis.strike")
    assert [op.attempt for op in strikes] == list(range(1, struck + 1))
    assert {(op.get("fault"), op.get("kind")) for op in strikes} == {(0, "reset")}
    assert found.end.fired == {0: struck}
    ends = [found.view.completion(op.index) for op in found.calls("tools.pay")]
    assert [end.type for end in ends if end] == ["info"] * struck + ["ok"] * (tries > struck)


def test_one_that_begins_later_leaves_the_first_tries_alone(tmp_path: Path) -> None:
    lasting = strike("tools.pay", "after-commit", "reset", attempt=1, times=2)
    late = strike("tools.pay", "before-send", "reset", attempt=3, times=1)
    found = run(tmp_path, STUBBORN.replace("TRIES", "5"), faults=[lasting, late])
    strikes = found.view.named("nemesis.strike")
    assert [(op.get("fault"), op.attempt) for op in strikes] == [(0, 1), (0, 2), (1, 3)]


def test_without_a_site_it_lasts_from_the_first_call_that_fits(tmp_path: Path) -> None:
    # Nothing in the fault-free run is a second try, so it waits for one.
    first = strike("tools.pay", "before-commit", "reset")
    later = strike("tools.pay", "before-commit", "silence", attempt=2, times=2)
    found = run(tmp_path, STUBBORN.replace("TRIES", "5"), faults=[first, later])
    strikes = found.view.named("nemesis.strike")
    assert [(op.get("fault"), op.attempt) for op in strikes] == [(0, 1), (1, 2), (1, 3)]


def test_all_its_strikes_are_planned() -> None:
    site = Site(session="s1", task="s1-t1", port="tools.pay", marker="o-1", attempt=1)
    lasting = strike("tools.pay", "before-commit", "reset", times=4)
    [placed] = place([lasting], [site], Contract())
    assert [one.attempt for one in placed.sites] == [1, 2, 3, 4]
    assert counted([placed], {"0": 2}) == {"planned": 4, "eligible": 2, "fired": 2}
    waiting = Placed(number=0, fault=lasting)
    assert counted([waiting], {})["planned"] == 4
