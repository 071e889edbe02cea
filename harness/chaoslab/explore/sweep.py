"""Every applicable fault at every call, once; and every pair, the second where the first leads.

A sweep is planned from the fault-free executions of its worlds and cut into batches, whose content
depends on the campaign alone: not on who executes them, nor on how many do. Strikes that may turn
out equivalent stand in one batch. A second strike is planned where the execution with the first
one goes, so a crash while the agent recovers from a crash is such a pair.

>>> lost = Fault(at="memory.read", phase="before-send", kind="silence")
>>> batches([Candidate(fault=lost, group=g) for g in (-1, 0, 1, 0, 1, -1)], 2)
[[0, 1, 3], [2, 4], [5]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol, TypeVar, cast

from chaoslab.core.clock import monotonic_ms
from chaoslab.explore.claim import Counts, Coverage, WorldCoverage
from chaoslab.explore.rows import Row, Word
from chaoslab.explore.scout import Scouted, scout
from chaoslab.explore.strikes import SIMPLEST_FIRST, Candidate, candidates, fault_json, why_same
from chaoslab.explore.work import Setting, sweep_batch
from chaoslab.explore.worlds import World
from chaoslab.faults import Fault
from chaoslab.run.strikes import BatchEnd, StrikeBatch, Struck

_FIRSTS: Final = 64  # so many first strikes are followed up at a time
_AFTER_SAME: Final = "their first strikes were equivalent"
_T = TypeVar("_T")
_R = TypeVar("_R")

OnRows = Callable[[Sequence[Row]], object]


class Spreading(Protocol):
    """Who has items of work carried out; see `chaoslab.explore.spread`."""

    def each(
        self, function: Callable[[_T], _R], items: Sequence[_T], /
    ) -> Iterator[tuple[int, _R]]:
        """The results with the indexes of their items, as they come."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What is swept. `kinds`: only these kinds of fault; none: all. `reduce`: equivalent strikes
    are executed once."""

    worlds: Sequence[World]
    depth: int = 1
    kinds: tuple[str, ...] = ()
    batch_size: int = 24
    setting: Setting = field(default_factory=Setting)
    reduce: bool = True


def batch_of(row: Row, /) -> str:
    """The batch to which a row belongs, which is how it is named in a store.

    >>> batch_of(Row(name="w-1-s0/1-00002/07", world="w-1", seed=0, word="held"))
    'w-1-s0/1-00002'
    """
    return row.name.rpartition("/")[0]


def sweep(
    plan: SweepPlan,
    spread: Spreading,
    on_rows: OnRows,
    *,
    done: Mapping[str, Sequence[Row]] = {},
    until_ms: int | None = None,
) -> Coverage:
    """Carries a sweep out and tells what it has covered.

    `on_rows` gets the rows of one batch at a time. `done` are batches of an earlier command with
    their rows: they are counted and not executed again, unless rows of them are missing or, for
    pairs, what follows them must be known. `until_ms`: from that time on (of
    `core.clock.monotonic_ms`) nothing new is taken in.
    """
    return _Sweep(plan, spread, on_rows, done, until_ms).carried_out()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """A batch on its way: its name, whose it is, the numbers of its candidates, and what is
    sent."""

    name: str
    world: int
    pairs: bool
    numbers: tuple[int, ...]
    batch: StrikeBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    """A first strike that was executed, and the second ones that may follow it. `like`: so many
    other first strikes are equivalent to it."""

    world: int
    number: int
    fault: Fault
    seconds: tuple[Candidate, ...]
    like: int


class _Sweep:
    """The state of one sweep."""

    def __init__(
        self,
        plan: SweepPlan,
        spread: Spreading,
        on_rows: OnRows,
        done: Mapping[str, Sequence[Row]],
        until_ms: int | None,
    ) -> None:
        self._plan, self._spread, self._on_rows, self._done = plan, spread, on_rows, done
        self._until_ms = until_ms
        self._scouted: dict[int, Scouted] = {}
        self._struck: dict[tuple[int, int], Struck] = {}  # first strikes, for those that follow
        self.worlds = [
            WorldCoverage(
                world=one.id,
                seed=one.seed,
                scenarios=one.scenarios,
                heal_ms=one.spec.scenario.heal_after_ms,
            )
            for one in plan.worlds
        ]

    def carried_out(self) -> Coverage:
        """All of it, as far as the time goes."""
        plan = self._plan
        look = partial(scout, plan.setting, tuple(plan.kinds))
        for index, found in self._each(look, plan.worlds):
            self._arrived(index, found)
        for item, end in self._ends([one for w in sorted(self._scouted) for one in self._alone(w)]):
            self._counted(item, end)
        if plan.depth > 1:
            self._follow_up()
        return Coverage(worlds=tuple(self.worlds), depth=plan.depth, reduced=plan.reduce)

    # -- what there is to strike

    def _arrived(self, index: int, found: Scouted) -> None:
        """A world has been looked at."""
        world, coverage, control = self._plan.worlds[index], self.worlds[index], found.control
        coverage.control = control.word
        coverage.sites = len(found.sites)
        planned = {one.fault.kind for one in found.candidates}
        coverage.kinds = tuple(kind for kind in SIMPLEST_FIRST if kind in planned)
        coverage.first.planned = len(found.candidates)
        coverage.differs = found.differs
        if control.word != "held":
            coverage.why = control.why or "; ".join(one[3] for one in control.broken)
        row = _row(f"{world.name}/0-control/00", world, (), control)
        if batch_of(row) not in self._done:
            self._on_rows([row])
        self._scouted[index] = found

    def _alone(self, world: int) -> Iterator[_Item]:
        """The batches of single strikes in a world."""
        found = self._scouted[world].candidates
        for nth, numbers in enumerate(batches(found, self._plan.batch_size)):
            chosen = [found[n] for n in numbers]
            yield self._item(world, f"1-{nth:05d}", chosen, numbers, before=())

    def _item(
        self,
        world: int,
        name: str,
        chosen: Sequence[Candidate],
        numbers: Sequence[int],
        *,
        before: tuple[Fault, ...],
    ) -> _Item:
        plan, exact = self._plan, not self._scouted[world].differs
        batch = StrikeBatch(
            spec=plan.worlds[world].spec,
            before=before,
            strikes=tuple(one.fault for one in chosen),
            groups=tuple(one.group for one in chosen) if plan.reduce and exact else (),
            wants_sites=plan.depth > 1 and not before,
        )
        whole = f"{plan.worlds[world].name}/{name}"
        return _Item(
            name=whole, world=world, pairs=bool(before), numbers=tuple(numbers), batch=batch
        )

    # -- pairs

    def _follow_up(self) -> None:
        """Each pair, a few first strikes at a time: there may be hundreds of thousands."""
        firsts = self._firsts()
        while chunk := list(islice(firsts, _FIRSTS)):
            items = []
            for first in chunk:
                coverage = self.worlds[first.world]
                coverage.unpaired -= 1
                coverage.pairs.planned += len(first.seconds)
                coverage.pairs.spare(_AFTER_SAME, len(first.seconds) * first.like)
                items += list(self._seconds(first))
            for item, end in self._ends(items):
                self._counted(item, end)

    def _firsts(self) -> Iterator[_First]:
        """The first strikes that were executed and did strike, in order."""
        like: dict[tuple[int, int], int] = {}
        for (world, _), struck in self._struck.items():
            if struck.word == "equivalent":
                key = (world, struck.same_as)
                like[key] = like.get(key, 0) + 1
        leading = [
            key
            for key, struck in sorted(self._struck.items())
            if struck.word in ("held", "broken", "unproven")
        ]
        for world, _ in leading:
            self.worlds[world].unpaired += 1
        for world, number in leading:
            if self._time_is_up:
                return
            found = self._scouted[world]
            spec = self._plan.worlds[world].spec
            seconds = candidates(self._struck[world, number].sites, {}, spec, self._plan.kinds)
            yield _First(
                world=world,
                number=number,
                fault=found.candidates[number].fault,
                seconds=tuple(seconds),
                like=like.get((world, number), 0),
            )

    def _seconds(self, first: _First) -> Iterator[_Item]:
        for nth, numbers in enumerate(batches(first.seconds, self._plan.batch_size)):
            chosen = [first.seconds[n] for n in numbers]
            name = f"2-{first.number:05d}-{nth:03d}"
            yield self._item(first.world, name, chosen, numbers, before=(first.fault,))

    # -- carrying out

    @property
    def _time_is_up(self) -> bool:
        return self._until_ms is not None and monotonic_ms() >= self._until_ms

    def _each(self, function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[tuple[int, _R]]:
        """The results as they come, until the time is up."""
        if not items or self._time_is_up:
            return
        results = self._spread.each(function, items)
        try:
            for index, result in results:
                yield index, result
                if self._time_is_up:
                    return
        finally:
            close: Any = getattr(results, "close", None)
            if close is not None:
                close()  # what is still under way is given up

    def _ends(self, items: Sequence[_Item]) -> Iterator[tuple[_Item, BatchEnd]]:
        """The batches that are not done, each with its end."""
        todo = []
        for item in items:
            rows = self._done.get(item.name, ())
            if len(rows) < len(item.batch.strikes) or item.batch.wants_sites:
                todo.append(item)
            else:
                for row in rows:
                    self._into(item).add(row)
        act = partial(sweep_batch, self._plan.setting)
        for index, end in self._each(act, [item.batch for item in todo]):
            yield todo[index], end

    def _counted(self, item: _Item, end: BatchEnd) -> None:
        """A batch has come back."""
        world, batch = self._plan.worlds[item.world], item.batch
        struck = end.rows or tuple(_not_done(end.control) for _ in batch.strikes)
        rows = []
        for n, (fault, one) in enumerate(zip(batch.strikes, struck, strict=True)):
            row = _row(f"{item.name}/{n:02d}", world, (*batch.before, fault), one)
            if one.same_as >= 0:
                same = batch.strikes[one.same_as]
                row = replace(
                    row, same_as=f"{item.name}/{one.same_as:02d}", why=why_same(fault, same)
                )
            rows.append(row)
            self._into(item).add(row)
            if batch.wants_sites:
                as_number = item.numbers[one.same_as] if one.same_as >= 0 else -1
                self._struck[item.world, item.numbers[n]] = replace(one, same_as=as_number)
        if item.name not in self._done:
            self._on_rows(rows)

    def _into(self, item: _Item) -> Counts:
        coverage = self.worlds[item.world]
        return coverage.pairs if item.pairs else coverage.first


def batches(found: Sequence[Candidate], size: int, /) -> list[list[int]]:
    """The candidates' numbers, in order, in batches of about this size. A group is never torn, and
    stands where its first strike does."""
    units: dict[int, list[int]] = {}
    for number, one in enumerate(found):
        units.setdefault(one.group if one.group >= 0 else -1 - number, []).append(number)
    out: list[list[int]] = []
    for unit in units.values():
        if not out or len(out[-1]) >= size:
            out.append([])
        out[-1] += unit
    return out


def _not_done(control: Struck) -> Struck:
    """The strike of a batch that was given up, since its execution without strikes did not hold,
    although it had held before."""
    why = control.why or "; ".join(one[3] for one in control.broken) or "nothing came back"
    return Struck(word="broke", why=f"the execution without this strike did not hold: {why}")


def _row(name: str, world: World, faults: Sequence[Fault], struck: Struck) -> Row:
    return Row(
        name=name,
        world=world.id,
        seed=world.seed,
        word=cast(Word, struck.word),
        faults=tuple(fault_json(one) for one in faults),
        breaches=struck.broken,
        why=struck.why,
        ops=struck.ops,
        digest=struck.digest,
        recovery_ms=struck.recovery_ms,
        shown=struck.shown,
        spent_us=struck.spent_us,
    )
