"""A batch of strikes: what each leaves, which share a verdict, and what a bad agent costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaoslab.contract import Limits
from chaoslab.faults import Fault, Site, exact
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.strikes import BatchEnd, StrikeBatch, strike_all
from chaoslab.run.trials import bound_to_sites, site_of
from chaoslab.run.workers import Workers

DOUBLE = "fixtures/agents/double_charge.py:make_agent"


def world(agent: str = REFERENCE) -> RunSpec:
    """One customer with one task."""
    [spec, *_] = specs_for(scenario_files(["timeout-after-commit"]), agent, seeds=[0])
    use = replace(spec.scenario.workload, sessions=1, tasks=1)
    return replace(spec, scenario=replace(spec.scenario, workload=use, faults=(), limits=Limits()))


def sites(spec: RunSpec) -> tuple[Site, ...]:
    return strike_all(StrikeBatch(spec=spec)).control.sites


def at(spec: RunSpec, port: str, phase: str, kind: str) -> Fault:
    """A strike at the first site of a port."""
    return exact(next(s for s in sites(spec) if s.port == port), phase=phase, kind=kind)


def test_an_exact_fault_meets_its_site_and_no_other() -> None:
    for site in sites(world()):
        fault = exact(site, phase="before-send", kind="silence")
        assert site_of(fault) == site
        assert bound_to_sites([fault])[0].sites == (site,)


def test_silences_of_a_reading_leave_the_same_moment_and_share_a_verdict() -> None:
    spec = world()
    strikes = tuple(
        at(spec, "memory.read", phase, "silence")
        for phase in ("after-commit", "before-commit", "before-send")
    )
    end = strike_all(StrikeBatch(spec=spec, strikes=strikes, groups=(0, 0, 0)))
    assert [row.word for row in end.rows] == ["held", "equivalent", "equivalent"]
    assert [row.same_as for row in end.rows] == [-1, 0, 0]
    whole = strike_all(StrikeBatch(spec=spec, strikes=strikes, whole=True))
    assert {row.moment for row in whole.rows} == {end.rows[0].moment}
    assert [(row.word, row.broken) for row in whole.rows] == [("held", ())] * 3


def test_what_a_service_did_tells_moments_apart() -> None:
    spec = world()
    strikes = tuple(
        at(spec, "tools.refund", phase, "silence") for phase in ("before-commit", "after-commit")
    )
    end = strike_all(StrikeBatch(spec=spec, strikes=strikes, groups=(0, 0)))
    assert [row.word for row in end.rows] == ["held", "held"]
    assert end.rows[0].moment != end.rows[1].moment


def test_without_a_group_nothing_is_compared() -> None:
    spec = world()
    twice = (at(spec, "memory.read", "before-commit", "silence"),) * 2
    alone = strike_all(StrikeBatch(spec=spec, strikes=twice, groups=(-1, -1)))
    assert [(row.word, row.moment) for row in alone.rows] == [("held", "")] * 2


def test_a_breach_is_told_with_its_fingerprint() -> None:
    spec = world(DOUBLE)
    strike = at(spec, "tools.refund", "after-commit", "silence")
    [row] = strike_all(StrikeBatch(spec=spec, strikes=(strike,))).rows
    assert row.word == "broken"
    assert "effects.delivery" in {check for check, *_ in row.broken}


def test_a_strike_that_finds_nothing_is_no_proof() -> None:
    spec = world()
    never = replace(at(spec, "tools.refund", "after-commit", "silence"), attempt=7)
    [row] = strike_all(StrikeBatch(spec=spec, strikes=(never,))).rows
    assert row.word == "never-struck" and row.why.endswith("(the agent made no such call)")


def test_a_call_that_was_made_and_ended_before_the_phase_is_told_as_such() -> None:
    spec = world()
    again = at(spec, "tools.refund", "before-send", "silence")
    # The refund was carried out; asked once more with its key, the tool answers without any work.
    lost = replace(again, phase="after-commit")
    late = replace(again, phase="before-commit", kind="reset", attempt=2)
    [row] = strike_all(StrikeBatch(spec=spec, before=(lost,), strikes=(late,))).rows
    assert row.word == "never-struck"
    assert row.why.endswith("(the call was made, and did not come to this phase)")
    thrice = replace(again, times=3)
    [row] = strike_all(StrikeBatch(spec=spec, strikes=(replace(thrice, attempt=2),))).rows
    assert row.why.endswith("(the agent made no such call)")


def test_the_sites_that_begin_after_a_crash_are_those_of_the_recovery() -> None:
    spec = world()
    crash = at(spec, "tools.refund", "after-commit", "crash")
    [row] = strike_all(StrikeBatch(spec=spec, strikes=(crash,), wants_sites=True)).rows
    assert any(site.attempt > 1 for site in row.sites)
    assert not set(row.sites) & {site_of(crash)}
    second = exact(row.sites[0], phase="before-send", kind="crash")
    [pair] = strike_all(StrikeBatch(spec=spec, before=(crash,), strikes=(second,))).rows
    assert pair.word == "held"


def test_calls_that_begin_after_the_lab_has_healed_are_no_sites() -> None:
    spec = world()
    hold = at(spec, "tools.refund", "before-commit", "hold")
    healed = replace(spec, scenario=replace(spec.scenario, heal_after_ms=1_000))
    [all_of_them] = strike_all(StrikeBatch(spec=spec, strikes=(hold,), wants_sites=True)).rows
    [early] = strike_all(StrikeBatch(spec=healed, strikes=(hold,), wants_sites=True)).rows
    assert len(early.sites) < len(all_of_them.sites)
    late = exact(all_of_them.sites[-1], phase="before-send", kind="silence")
    assert all_of_them.sites[-1] not in early.sites
    [pair] = strike_all(StrikeBatch(spec=healed, before=(hold,), strikes=(late,))).rows
    assert pair.word == "never-struck"


def test_digests_are_the_same_in_another_interpreter() -> None:
    spec = world()
    strikes = (at(spec, "tools.refund", "after-commit", "crash"),)
    batch = StrikeBatch(spec=spec, strikes=strikes, digests=True)
    here, workers = strike_all(batch), Workers()
    try:
        there = workers.strikes(batch, "repeat")
    finally:
        workers.close()
    assert here.rows[0].digest == there.rows[0].digest != ""
    assert BatchEnd.from_json(there.to_json()) == there


BAD = """
import os
from chaoslab.world import Outcome

class Bad:
    async def start(self, world):
        self.world = world
    async def handle(self, task):
        await self.world.tools.call("refund", {"order": task.data["order"], "amount_cents": 1},
                                    key=task.id, deadline_ms=1000)
        return Outcome(task=task.id, status="completed")
    async def stop(self):
        pass

class Ends(Bad):
    async def handle(self, task):
        try:
            return await super().handle(task)
        except Exception:
            os._exit(3)

def make_agent():
    return Ends()
"""


@pytest.mark.parametrize("in_batch", [1, 3])
def test_an_agent_that_ends_its_interpreter_costs_its_own_row(
    tmp_path: Path, in_batch: int
) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    spec = world(f"{tmp_path}/bad.py:make_agent")
    loss = at(spec, "tools.refund", "after-commit", "error-reply")
    plain = replace(at(spec, "tools.refund", "before-send", "delay"), for_ms=10)
    strikes = (loss, plain, plain)[:in_batch]
    workers = Workers()
    try:
        end = workers.strikes(StrikeBatch(spec=spec, strikes=strikes))
    finally:
        workers.close()
    words = [row.word for row in end.rows]
    assert words[0] == "broke" and "ended itself with code 3" in end.rows[0].why
    assert "broke" not in words[1:]
