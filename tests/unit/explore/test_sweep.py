"""Sweeps: what is planned, what is counted, and what may be claimed of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from chaoslab.core.clock import monotonic_ms
from chaoslab.explore import scout as scouting
from chaoslab.explore import sweep as module
from chaoslab.explore.claim import Coverage
from chaoslab.explore.rows import Row
from chaoslab.explore.scout import Scouted, Until, scout
from chaoslab.explore.strikes import Candidate, candidates, fault_from
from chaoslab.explore.sweep import SweepPlan, batch_of, batches, stored_as, sweep
from chaoslab.explore.work import Setting, close_workers, sweep_batch
from chaoslab.explore.worlds import World, worlds_of
from chaoslab.faults import Site
from chaoslab.run import strikes as striking
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.strikes import BatchEnd, StrikeBatch, Struck

MINIMAL = "fixtures/agents/minimal.py:make_agent"
HERE = Setting(in_process=True)
_T = TypeVar("_T")
_R = TypeVar("_R")


class Alone:
    """Carries items out one after the other, here; `turned`: the last one first."""

    def __init__(self, *, turned: bool = False) -> None:
        self.turned = turned
        self.items: list[Any] = []

    def each(
        self, function: Callable[[_T], _R], items: Sequence[_T], /
    ) -> Iterator[tuple[int, _R]]:
        self.items += items
        numbered = list(enumerate(items))
        for index, item in reversed(numbered) if self.turned else numbered:
            yield index, function(item)

    @property
    def sent(self) -> list[StrikeBatch]:
        return [item for item in self.items if isinstance(item, StrikeBatch)]


def worlds(agent: str = MINIMAL, name: str = "matrix/timeout-after-commit") -> list[World]:
    specs = specs_for(scenario_files([name]), agent, seeds=[0])
    return worlds_of(specs, sessions=1, tasks=1)


Told = tuple[Coverage, list[Row], Alone]


def carried_out(plan: SweepPlan, spread: Alone | None = None, **more: Any) -> Told:
    rows: list[Row] = []
    spread = spread or Alone()
    return sweep(plan, spread, rows.extend, **more), rows, spread


def small(**more: Any) -> SweepPlan:
    """A few strikes over the smallest agent."""
    plan: dict[str, Any] = {
        "worlds": worlds(),
        "kinds": ("rate-limit", "malformed"),
        "setting": HERE,
    }
    return SweepPlan(**{**plan, **more})


@pytest.fixture(scope="module")
def told() -> Told:
    return carried_out(small(kinds=("silence", "crash", "pause"), batch_size=7))


def test_every_strike_is_counted_once(told: Told) -> None:
    coverage, rows, spread = told
    [world] = coverage.worlds
    found = scout(HERE, ("silence", "crash", "pause"), worlds()[0])
    planned = [one.fault for one in found.candidates]
    assert world.first.planned == len(planned) == world.first.ran + world.first.equivalent
    control, *struck = rows
    assert control.faults == ()
    assert control.word == "held"
    told_of = [fault_from(row.faults[0]) for row in struck]
    assert sorted(told_of, key=repr) == sorted(planned, key=repr)
    assert len({row.name for row in rows}) == len(rows)
    assert sum(len(batch.strikes) for batch in spread.sent) == len(planned)


def test_a_right_agent_holds_and_the_claim_says_under_what(told: Told) -> None:
    coverage, _, _ = told
    assert coverage.complete
    [world] = coverage.worlds
    assert world.first.words == {"held": world.first.ran}
    claim = " ".join(coverage.claim)
    assert f"ran {world.first.ran} of {world.first.planned}" in claim
    assert "under seeds 0" in claim
    assert "0 were broken" in claim
    assert "Left out" not in claim
    assert coverage.to_json()["claim"] == coverage.claim
    [row] = coverage.rows
    assert row["held"] == str(world.first.ran)
    assert all(type(text) is str for text in row.values())


def test_what_is_equivalent_names_the_strike_that_was_executed(told: Told) -> None:
    coverage, rows, _ = told
    by_name = {row.name: row for row in rows}
    same = [row for row in rows if row.word == "equivalent"]
    assert len(same) == coverage.worlds[0].first.equivalent > 0
    for row in same:
        other = by_name[row.same_as]
        assert other.word == "held"
        assert batch_of(other) == batch_of(row)
        assert row.why in coverage.worlds[0].first.reasons
    claim = " ".join(coverage.claim)
    assert "equivalent because" in claim
    assert all(reason in claim for reason in coverage.worlds[0].first.reasons)
    assert any(reason.startswith("pause") for reason in coverage.worlds[0].first.reasons)


def test_every_port_is_begun_before_any_is_gone_on_with(told: Told) -> None:
    ports = [batch.strikes[0].at for batch in told[2].sent]
    first = len(set(ports))
    assert len(set(ports[:first])) == first < len(ports)


def test_who_comes_first_changes_nothing(told: Told) -> None:
    coverage, rows, _ = told
    again, others, _ = carried_out(
        small(kinds=("silence", "crash", "pause"), batch_size=7), Alone(turned=True)
    )
    assert {row.judgement for row in others} == {row.judgement for row in rows}
    assert again.to_json() == coverage.to_json()


def test_without_reduction_everything_is_executed(told: Told) -> None:
    whole, rows, spread = carried_out(small(kinds=("pause",), reduce=False))
    assert whole.worlds[0].first.ran == whole.worlds[0].first.planned
    assert not [row for row in rows if row.word == "equivalent"]
    assert all(batch.groups == () for batch in spread.sent)
    assert "as was asked" in " ".join(whole.claim)


def test_what_is_done_is_counted_and_not_done_again(told: Told) -> None:
    coverage, rows, _ = told
    done: dict[str, list[Row]] = {}
    for row in rows:
        done.setdefault(batch_of(row), []).append(row)
    plan = small(kinds=("silence", "crash", "pause"), batch_size=7)
    again, new, spread = carried_out(plan, done=done)
    assert spread.sent == []
    assert new == []
    assert again.to_json() == coverage.to_json()
    torn = max(done)  # of which a store has kept a part
    done[torn] = done[torn][:-1]
    again, new, spread = carried_out(plan, done=done)
    assert len(spread.sent) == 1
    assert new == []
    assert again.to_json() == coverage.to_json()


def test_when_the_time_is_up_before_it_began_nothing_is_done() -> None:
    coverage, rows, spread = carried_out(small(), until_ms=monotonic_ms())
    assert rows == spread.items == []
    assert not coverage.complete
    assert coverage.worlds[0].control == ""


def test_when_the_time_is_up_the_rest_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0]

    def late(setting: Setting, batch: StrikeBatch) -> BatchEnd:
        try:
            return sweep_batch(setting, batch)
        finally:
            now[0] += 1

    for one in (module, scouting, striking):
        monkeypatch.setattr(one, "monotonic_ms", lambda: now[0])
    monkeypatch.setattr(module, "sweep_batch", late)
    coverage, rows, _ = carried_out(small(batch_size=1), until_ms=1)
    [world] = coverage.worlds
    assert world.first.ran == 1
    assert world.first.cut == world.first.planned - 1 > 0
    assert len(rows) == 2
    assert f"Left out: {world.first.cut:,} planned executions" in " ".join(coverage.claim)
    assert coverage.rows[0]["left out"] == f"{world.first.cut:,}"


FAILS = """
from chaoslab.world import Outcome
class Fails:
    async def start(self, world): self.world = world
    async def stop(self): ...
    async def handle(self, task):
        return Outcome(task=task.id, status="failed", reason="it always does")
make_agent = Fails
"""
GUESSES = """
from chaoslab.world import Outcome
class Guesses:
    async def start(self, world): self.world = world
    async def stop(self): ...
    async def handle(self, task):
        said = await self.world.model.complete(
            [{"role": "user", "content": task.prompt}], deadline_ms=10_000)
        order = list({"one", "two", "three", "four", "five", "six", "seven"})
        self.world.report.log("an order of strings", order=order)
        return Outcome(task=task.id, status="completed", answer=said.text)
make_agent = Guesses
"""


def test_an_agent_that_fails_without_faults_is_not_struck(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    found = worlds(f"{tmp_path}/fails.py:make_agent")
    coverage, rows, spread = carried_out(small(worlds=found))
    assert spread.sent == []
    assert [row.word for row in rows] == ["broken"]
    assert rows[0].breaches[0][0] == "limits.tasks"
    assert not coverage.complete
    assert "was not swept: already without any fault" in " ".join(coverage.claim)


def test_nothing_is_equivalent_for_an_agent_that_follows_the_order_of_a_set(
    tmp_path: Path,
) -> None:
    (tmp_path / "guesses.py").write_text(GUESSES)
    found = worlds(f"{tmp_path}/guesses.py:make_agent")
    try:
        plan = small(worlds=found, kinds=("pause",), setting=Setting())
        coverage, _, spread = carried_out(plan)
    finally:
        close_workers()
    [world] = coverage.worlds
    assert world.differs == "the execution without any fault"
    assert world.first.equivalent == 0
    assert spread.sent
    assert all(batch.groups == () for batch in spread.sent)
    assert "nothing was called equivalent" in " ".join(coverage.claim)


def test_each_trap_in_each_phase_strikes_the_guest() -> None:
    found = worlds(REFERENCE, "matrix/panic-after-commit-unwind")
    coverage, rows, _ = carried_out(small(worlds=found, kinds=("trap",)))
    [world] = coverage.worlds
    assert world.first.planned >= 12
    assert "never-struck" not in world.first.words
    assert not coverage.to_json()["worlds"][0]["first"]["words"].get("broken")
    modes = {(row.faults[0].get("mode", "panic"), row.faults[0]["phase"]) for row in rows[1:]}
    assert len(modes) == 12


def test_work_can_be_sent_anywhere() -> None:
    for item in (small(), worlds()[0], scout(HERE, (), worlds()[0])):
        assert pickle.loads(pickle.dumps(item)) == item


def test_groups_are_never_torn_and_batches_are_full() -> None:
    site = Site(session="s1", task="s1-t1", port="memory.read", marker="a", attempt=1)
    sites = [replace(site, attempt=n) for n in range(1, 9)]
    found = candidates(sites, {}, worlds()[0].spec)
    cut = batches(found, 10)
    assert sorted(n for batch in cut for n in batch) == list(range(len(found)))
    assert all(len(batch) >= 10 for batch in cut[:-1])
    where = {found[n].group: k for k, batch in enumerate(cut) for n in batch}
    for k, batch in enumerate(cut):
        assert all(found[n].group < 0 or where[found[n].group] == k for n in batch)


# -- pairs, with executions that are made up


FIRST = Site(session="s1", task="s1-t1", port="memory.write", marker="a", attempt=1)
NEXT = replace(FIRST, marker="b")


def made_up(
    setting: Setting, kinds: tuple[str, ...], world: World, *, until: Until | None = None
) -> Scouted:
    found = candidates([FIRST, NEXT], {}, world.spec, kinds)
    return Scouted(control=Struck(word="held", ops=9), sites=(FIRST, NEXT), candidates=tuple(found))


def struck(setting: Setting, batch: StrikeBatch) -> BatchEnd:
    """Resets hold, and lead to the next site; of a silent pair the second is like the first."""
    rows: list[Struck] = []
    seen: Mapping[int, int]
    seen = {}
    for number, fault in enumerate(batch.strikes):
        group = batch.groups[number] if batch.groups else -1
        sites = (replace(NEXT, attempt=2),) if batch.wants_sites else ()
        if group >= 0 and group in seen:
            rows.append(Struck(word="equivalent", same_as=seen[group], sites=sites))
            continue
        seen = {**seen, group: number}
        missed = fault.kind == "reset" and fault.phase == "after-commit"
        rows.append(Struck(word="never-struck" if missed else "held", sites=sites))
    return BatchEnd(control=Struck(word="held"), rows=tuple(rows))


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "scout", made_up)
    monkeypatch.setattr(module, "sweep_batch", struck)


PAIRS: dict[str, Any] = {"depth": 2, "kinds": ("silence", "reset"), "batch_size": 4}


@pytest.mark.usefixtures("invented")
def test_pairs_follow_each_first_strike_that_was_executed() -> None:
    coverage, rows, spread = carried_out(small(**PAIRS))
    [world] = coverage.worlds
    # At each of two sites: three silences, two of which are one, and three resets, one in vain.
    assert world.first.planned == 12
    assert world.first.words == {"held": 8, "never-struck": 2}
    assert world.first.equivalent == 2
    # After each of the eight: the same six, once more for the two that are like another.
    assert world.pairs.planned == 8 * 6 + 2 * 6
    assert world.pairs.words == {"held": 8 * 4, "never-struck": 8}
    assert world.pairs.reasons["their first strikes were equivalent"] == 2 * 6
    assert world.pairs.equivalent == 2 * 6 + 8
    assert world.pairs.cut == world.unpaired == 0
    assert coverage.complete
    pairs = [row for row in rows if len(row.faults) == 2]
    assert len(pairs) == 8 * 6
    assert {row.faults[1]["attempt"] for row in pairs} == {2}
    assert {len(batch.before) for batch in spread.sent} == {0, 1}
    assert len({row.name for row in rows}) == len(rows)
    assert any("Each pair of strikes" in sentence for sentence in coverage.claim)


@pytest.mark.usefixtures("invented")
def test_pairs_go_on_where_they_were_left() -> None:
    coverage, rows, _ = carried_out(small(**PAIRS))
    done: dict[str, list[Row]] = {}
    for row in rows:
        done.setdefault(batch_of(row), []).append(row)
    missing = [name for name in done if "/2-" in name][-3:]
    left = {name: found for name, found in done.items() if name not in missing}
    again, new, spread = carried_out(small(**PAIRS), done=left)
    assert {batch_of(row) for row in new} == set(missing)
    assert len([batch for batch in spread.sent if batch.before]) == 3
    assert again.to_json() == coverage.to_json()


@pytest.mark.usefixtures("invented")
def test_first_strikes_that_nothing_followed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(module, "monotonic_ms", lambda: now[0])

    def late(setting: Setting, batch: StrikeBatch) -> BatchEnd:
        now[0] += 1
        return struck(setting, batch)

    monkeypatch.setattr(module, "sweep_batch", late)
    alone = len(batches(made_up(HERE, PAIRS["kinds"], worlds()[0]).candidates, 4))
    coverage, _, _ = carried_out(small(**PAIRS), until_ms=alone)
    [world] = coverage.worlds
    assert world.first.cut == 0
    assert world.unpaired == 8
    assert world.pairs.planned == 0
    assert not coverage.complete
    assert "what would come second after 8 first strikes" in " ".join(coverage.claim)


@pytest.mark.usefixtures("invented")
def test_a_batch_that_was_given_up_costs_its_strikes(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = BatchEnd(control=Struck(word="broke", why="the interpreter ended itself"))
    monkeypatch.setattr(module, "sweep_batch", lambda setting, batch: lost)
    coverage, rows, _ = carried_out(small(kinds=("silence",)))
    assert coverage.worlds[0].first.words == {"broke": 6}
    assert all("the interpreter ended itself" in row.why for row in rows[1:])
    assert "6 could not run" in " ".join(coverage.claim)


def test_batches_of_nothing_are_none() -> None:
    assert batches([], 24) == []
    one = Candidate(fault=fault_from({"at": "x", "phase": "before-send", "kind": "silence"}))
    assert batches([one], 24) == [[0]]


# -- time that is up, and interpreters that differ


@pytest.mark.usefixtures("invented")
def test_what_was_seen_when_the_time_was_up_is_a_row_and_comes_again_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0]

    def cut(setting: Setting, batch: StrikeBatch) -> BatchEnd:
        """The first of each batch hangs, and then the time is up."""
        whole = struck(setting, replace(batch, until_ms=None))
        hung = Struck(word="broke", why="the execution did not end within 5 ms of wall time")
        left = tuple(Struck(word="") for _ in whole.rows[1:])
        now[0] = 10
        return replace(whole, rows=(hung, *left))

    monkeypatch.setattr(module, "monotonic_ms", lambda: now[0])
    monkeypatch.setattr(module, "sweep_batch", cut)
    plan = small(kinds=("silence", "reset"), batch_size=20)
    coverage, rows, _ = carried_out(plan, until_ms=5)
    [world] = coverage.worlds
    assert [row.word for row in rows] == ["held", "broke"]
    assert (world.first.ran, world.first.cut) == (1, 11)
    claim = " ".join(coverage.claim)
    assert "swept in part" in claim
    assert "1 could not run" in claim
    assert "Left out: 11 planned executions" in claim
    monkeypatch.setattr(module, "sweep_batch", struck)
    again, new, spread = carried_out(plan, done={stored_as([row]): [row] for row in rows})
    assert [dict(batch.done)[0].word for batch in spread.sent] == ["broke"]
    assert {row.name for row in new}.isdisjoint(row.name for row in rows)
    assert len(new) + len(rows) == 1 + 12
    assert again.complete
    assert again.worlds[0].first.words["broke"] == 1


class TwoInterpreters:
    """The first one ends every execution but one; the second one hangs in that of the last strike,
    which comes first there."""

    def __init__(self) -> None:
        self.there: list[StrikeBatch] = []

    def strikes(self, batch: StrikeBatch, group: str = "first") -> BatchEnd:
        rows = [Struck(word="held", digest="d") for _ in batch.strikes]
        if group == "first":
            rows[0] = Struck(word="broke", why="the interpreter ended itself")
        else:
            self.there.append(batch)
            rows[0] = Struck(word="broke", why="the execution did not end within 9 ms")
        return BatchEnd(control=Struck(word="held", digest="d"), rows=tuple(rows))


def test_what_hangs_in_the_second_interpreter_alone_is_not_repeatable() -> None:
    workers = TwoInterpreters()
    fault = fault_from({"at": "x", "phase": "before-send", "kind": "silence"})
    last = replace(fault, kind="reset")
    told = scouting._compared(cast(Any, workers), worlds()[0], [fault, fault, last], None)
    assert told.differs == last.where()
    assert told.ended == "it did not end there"
    # What broke here is known already: it is told, and not tried there.
    assert [number for number, _ in told.broke] == [0]
    assert [number for number, _ in workers.there[0].done] == [2]
