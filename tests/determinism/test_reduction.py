"""The reduction of sweeps, proven where it can be: strikes are executed to their ends all the same,
and each that would be called equivalent must have ended as the one that it is called equivalent to.

The agents differ in what they do wrong, so that there are strikes that break this check or that
one beside others that break none; a digest that overlooks something takes one of these for the
other, which is shown with two digests that do. Of the smallest agents all strikes are executed; of
the others those that are ever compared, since any other is only ever taken for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache

import pytest

from chaoslab.backends.common.hub import Hub
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.sim.loop import SimLoop
from chaoslab.explore.scout import Scouted, scout
from chaoslab.explore.strikes import Candidate, candidates
from chaoslab.explore.work import Setting
from chaoslab.explore.worlds import World, worlds_of
from chaoslab.faults import Fault
from chaoslab.run import strikes as module
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.strikes import StrikeBatch, Struck, strike_all

HERE = Setting(in_process=True)
# What the smallest world breaks, by agent: the smallest two whole, ...
SMALLEST = {"minimal": "", "double_charge": "effects.delivery"}
# ... and copies of the reference agent with one line that is wrong.
PLANTED = {
    "attempt_number_in_key": ("keys.lineage", ("silence", "crash")),
    "swallows_timeout": ("outcome.honest", ("silence", "crash")),
    "starts_session_over": ("lifecycle.legal", ("pause",)),
    "waits_far_too_long": ("limits.recovery", ("silence", "pause")),
    "waits_for_ever": ("limits.tasks", ("silence", "pause")),
}
FIRST, SECOND = ("silence", "crash"), ("silence", "crash", "pause")


@cache
def scouted(name: str, kinds: tuple[str, ...] = ()) -> tuple[World, Scouted]:
    """One session with one task, and what can be struck there."""
    agent = f"fixtures/agents/{name}.py:make_agent" if name else REFERENCE
    specs = specs_for(scenario_files(["matrix/timeout-after-commit"]), agent, seeds=[0])
    [world] = worlds_of(specs, sessions=1, tasks=1)
    found = scout(HERE, kinds, world)
    assert found.control.word == "held"
    return world, found


def executed(
    world: World,
    found: Sequence[Candidate],
    *,
    before: tuple[Fault, ...] = (),
    whole: bool = True,
) -> tuple[Struck, ...]:
    """The strikes, each to its end with the moment that it left; or as a sweep does it."""
    batch = StrikeBatch(
        spec=world.spec,
        before=before,
        strikes=tuple(one.fault for one in found),
        groups=tuple(one.group for one in found),
        whole=whole,
        wants_sites=not before,
    )
    end = strike_all(batch)
    assert end.control.word == "held"
    return end.rows


@cache
def all_of(name: str) -> tuple[Struck, ...]:
    world, found = scouted(name)
    return executed(world, found.candidates)


def compared(found: Sequence[Candidate]) -> list[Candidate]:
    """Those that may be the same as another: no other is ever compared."""
    return [one for one in found if one.group >= 0]


Verdict = tuple[str, frozenset[str]]


def verdict(row: Struck) -> Verdict:
    """The word, and the fingerprints of what was broken."""
    return row.word, frozenset(breach[2] for breach in row.broken)


def alike(rows: Sequence[Struck]) -> list[list[Struck]]:
    """The executions whose strikes left the same moment."""
    found: dict[str, list[Struck]] = {}
    for row in rows:
        if row.strike_ns >= 0:  # a second strike may find that nothing is left to be done there
            assert row.moment
            found.setdefault(row.moment, []).append(row)
    return [one for one in found.values() if len(one) > 1]


def torn(rows: Sequence[Struck]) -> list[list[Verdict]]:
    """Where the same moment had different ends: the reduction would have hidden one of them."""
    verdicts = ([verdict(row) for row in one] for one in alike(rows))
    return [one for one in verdicts if len(set(one)) > 1]


@pytest.mark.parametrize("name", SMALLEST)
def test_all_strikes_of_a_small_world_end_as_those_they_are_equivalent_to(name: str) -> None:
    rows = all_of(name)
    assert len(rows) > 100
    assert alike(rows)
    assert torn(rows) == []
    checks = {breach[0] for row in rows for breach in row.broken}
    assert SMALLEST[name] in checks or not (SMALLEST[name] or checks)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_sweep_spares_these_and_no_others(name: str) -> None:
    world, found = scouted(name)
    rows = executed(world, found.candidates, whole=False)
    spared = [n for n, row in enumerate(rows) if row.word == "equivalent"]
    assert spared
    for n, row in enumerate(rows):
        end = all_of(name)[row.same_as if n in spared else n]
        assert verdict(all_of(name)[n]) == verdict(end)
        assert n in spared or verdict(row) == verdict(end)
        assert n not in spared or row.moment == end.moment


@pytest.mark.parametrize("name", PLANTED)
def test_strikes_that_break_another_check_are_not_mixed_up(name: str) -> None:
    check, kinds = PLANTED[name]
    world, found = scouted(name, kinds)
    rows = executed(world, compared(found.candidates))
    assert alike(rows)
    assert torn(rows) == []
    assert check in {breach[0] for row in rows for breach in row.broken}
    assert {row.word for row in rows} == {"held", "broken"}


def test_the_reference_agent_holds_wherever_it_is_struck_twice_alike() -> None:
    world, found = scouted("")
    rows = executed(world, compared(found.candidates))
    assert {row.word for row in rows} == {"held"}
    assert sum(len(one) - 1 for one in alike(rows)) > 40


def test_pairs_end_as_those_they_are_equivalent_to() -> None:
    world, found = scouted("double_charge", FIRST)
    words: set[str] = set()
    spared = 0
    some = found.candidates[::5]  # all of them take a minute
    for one, first in zip(some, executed(world, some), strict=True):
        seconds = compared(candidates(first.sites, {}, world.spec, SECOND))
        rows = executed(world, seconds, before=(one.fault,)) if seconds else ()
        assert torn(rows) == []
        spared += sum(len(same) - 1 for same in alike(rows))
        words |= {row.word for row in rows}
    assert spared
    assert words >= {"held", "broken"}


def test_equivalent_first_strikes_have_equivalent_seconds() -> None:
    world, found = scouted("double_charge", SECOND)
    rows = executed(world, found.candidates)
    by_moment: dict[str, list[int]] = {}
    for n, row in enumerate(rows):
        by_moment.setdefault(row.moment, []).append(n)
    same = [numbers for numbers in by_moment.values() if len(numbers) > 1]
    assert same
    for one, *others in same[::3]:
        seconds = candidates(rows[one].sites, {}, world.spec, ("silence",))
        before = (found.candidates[one].fault,)
        ends = [verdict(row) for row in executed(world, seconds, before=before)]
        for other in others:
            assert rows[other].sites == rows[one].sites
            before = (found.candidates[other].fault,)
            assert ends == [verdict(row) for row in executed(world, seconds, before=before)]


# -- digests that overlook something


Moment = Callable[[Hub, Supervisor, SimLoop], str]


def what_is_due(hub: Hub, supervisor: Supervisor, loop: SimLoop) -> str:
    """Too coarse: what is to happen, without what has happened."""
    return hashlib.blake2b(repr(sorted(row[:3] for row in loop.pending())).encode()).hexdigest()


def what_was_told(hub: Hub, supervisor: Supervisor, loop: SimLoop) -> str:
    """Too coarse: what is to happen and what agents were told, without what services did."""
    told = [
        (op.type, op.f, op.process, op.marker, op.attempt, op.key, repr(op.value))
        for op in hub.recorder.ops
        if op.type != "commit" and op.f != "nemesis.strike"
    ]
    both = repr((told, what_is_due(hub, supervisor, loop)))
    return hashlib.blake2b(both.encode()).hexdigest()


@pytest.mark.parametrize("coarse", [what_is_due, what_was_told])
def test_a_digest_that_overlooks_something_is_caught(
    coarse: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, found = scouted("double_charge", ("silence", "crash", "error-reply"))
    one_group = [Candidate(fault=one.fault, group=0) for one in found.candidates]
    assert torn(executed(world, one_group)) == []
    monkeypatch.setattr(module, "moment", coarse)
    assert torn(executed(world, one_group)) != []
    # And what a sweep would then have hidden: a breach that it never tells.
    rows = executed(world, one_group, whole=False)
    assert [row for row in rows if row.word == "equivalent"]
    whole = executed(world, one_group)
    hidden = [n for n, row in enumerate(rows) if row.word == "equivalent"]
    assert any(verdict(whole[n]) != verdict(whole[rows[n].same_as]) for n in hidden)
