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
from chaoslab.explore.scout import Scouted, Until, clock_here, scout
from chaoslab.explore.strikes import SIMPLEST_FIRST, Candidate, candidates, fault_json, why_same
from chaoslab.explore.ways import ends_ms
from chaoslab.explore.work import Setting, sweep_batch
from chaoslab.explore.worlds import World
from chaoslab.faults import Fault
from chaoslab.run.strikes import BatchEnd, StrikeBatch, Struck

_FIRSTS: Final = 64  # so many first strikes are followed up at a time
_GRACE_MS: Final = 2_000  # to end what was begun in time, beside one execution's wall time
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


def stored_as(rows: Sequence[Row], /) -> str:
    """The name under which a store keeps rows that came together: that of their batch; a row that
    came by itself has its own, since the rest of its batch may come later.

    >>> stored_as([Row(name="w-1-s0/1-00002/07", world="w-1", seed=0, word="broke")])
    'w-1-s0/1-00002/07'
    """
    return batch_of(rows[0]) if len(rows) > 1 else rows[0].name


def sweep(
    plan: SweepPlan,
    spread: Spreading,
    on_rows: OnRows,
    *,
    done: Mapping[str, Sequence[Row]] = {},
    until_ms: int | None = None,
) -> Coverage:
    """Carries a sweep out and tells what it has covered.

    `on_rows` gets the rows of one batch at a time, or where the time was up within it each of them
    by itself. `done` are the rows of an earlier command as a store has them (see `stored_as`): they
    are counted and not executed again, unless others of their batch are missing or, for pairs, what
    follows them must be known. `until_ms`: from that time on (of `core.clock.monotonic_ms`) no
    execution is begun; what was seen until then is counted.
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
    second ones follow other first strikes that are equivalent to it."""

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
        self._until = None if until_ms is None else Until(ms=until_ms, clock=clock_here())
        self._scouted: dict[int, Scouted] = {}
        self._struck: dict[tuple[int, int], Struck] = {}  # first strikes, for those that follow
        self.worlds = [
            WorldCoverage(
                world=one.id,
                seed=one.seed,
                scenarios=one.scenarios,
                heal_ms=ends_ms(one.spec) or one.spec.scenario.heal_after_ms,
                ruled=bool(one.spec.contract.invariants),
            )
            for one in plan.worlds
        ]

    def carried_out(self) -> Coverage:
        """All of it, as far as the time goes."""
        plan = self._plan
        look = partial(scout, plan.setting, tuple(plan.kinds), until=self._until)
        for index, found in self._each(look, plan.worlds):
            if found.control.word:
                self._arrived(index, found)
        alone = [one for w in sorted(self._scouted) for one in self._alone(w)]
        for item, end in self._ends(_every_place_first(alone)):
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
        coverage.differs, coverage.ended, coverage.twice = found.differs, found.ended, found.twice
        if control.word != "held":
            why = control.why or "; ".join(one[3] for one in control.broken)
            coverage.why = why.removeprefix("without any fault: ")
        row = _row(f"{world.name}/0-control/00", world, (), control)
        if not self._stored(batch_of(row), [row]):
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
        plan, exact = self._plan, not (self._scouted[world].differs or self.worlds[world].ruled)
        broke = {} if before else dict(self._scouted[world].broke)
        whole = f"{plan.worlds[world].name}/{name}"
        batch = StrikeBatch(
            spec=plan.worlds[world].spec,
            before=before,
            strikes=tuple(one.fault for one in chosen),
            groups=tuple(one.group for one in chosen) if plan.reduce and exact else (),
            wants_sites=plan.depth > 1 and not before,
            done=tuple((k, broke[n]) for k, n in enumerate(numbers) if n in broke),
        )
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
                coverage.pairs.spare(_AFTER_SAME, first.like)
                items += list(self._seconds(first))
            for item, end in self._ends(items):
                self._counted(item, end)

    def _firsts(self) -> Iterator[_First]:
        """The first strikes that were executed and did strike, in order; and of those that are
        equivalent to one of them the few after which more comes than after that one: calls that
        began between the two, at one instant."""
        leading, like = list[tuple[int, int]](), dict[tuple[int, int], list[int]]()
        for (world, number), struck in sorted(self._struck.items()):
            same = self._struck.get((world, struck.same_as))
            if same is not None and set(struck.sites) <= set(same.sites):
                like.setdefault((world, struck.same_as), []).append(number)
            elif struck.word in ("held", "broken", "unproven", "equivalent"):
                leading.append((world, number))
        for world, _ in leading:
            self.worlds[world].unpaired += 1
        for world, number in leading:
            if self._time_is_up:
                return
            yield _First(
                world=world,
                number=number,
                fault=self._scouted[world].candidates[number].fault,
                seconds=self._after(world, number),
                like=sum(len(self._after(world, n)) for n in like.get((world, number), ())),
            )

    def _after(self, world: int, number: int) -> tuple[Candidate, ...]:
        """The strikes that may follow a first one."""
        sites = self._struck[world, number].sites
        spec = self._plan.worlds[world].spec
        return tuple(candidates(sites, {}, spec, self._plan.kinds))

    def _seconds(self, first: _First) -> Iterator[_Item]:
        for nth, numbers in enumerate(batches(first.seconds, self._plan.batch_size)):
            chosen = [first.seconds[n] for n in numbers]
            name = f"2-{first.number:05d}-{nth:03d}"
            yield self._item(first.world, name, chosen, numbers, before=(first.fault,))

    # -- carrying out

    @property
    def _time_is_up(self) -> bool:
        return self._until is not None and monotonic_ms() >= self._until.ms

    def _each(self, function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[tuple[int, _R]]:
        """The results as they come. When the time is up, each item ends by itself; what does not,
        as where it was sent to a machine with another clock, is given up."""
        if not items or self._time_is_up:
            return
        grace_ms = self._plan.setting.watchdog_ms + _GRACE_MS
        results = self._spread.each(function, items)
        try:
            for index, result in results:
                yield index, result
                if self._until is not None and monotonic_ms() >= self._until.ms + grace_ms:
                    return
        finally:
            close: Any = getattr(results, "close", None)
            if close is not None:
                close()  # what is still under way is given up

    def _ends(self, items: Sequence[_Item]) -> Iterator[tuple[_Item, BatchEnd]]:
        """The batches that are not done, each with its end. Of those that nobody came to, what is
        known all the same."""
        todo = []
        for item in items:
            rows = self._rows_of(item)
            if len(rows) < len(item.batch.strikes) or item.batch.wants_sites:
                todo.append(_without_broken(item, rows))
            else:
                for row in rows.values():
                    self._into(item).add(row)
        came = set[int]()
        act = partial(_carried_out, self._plan.setting, self._until)
        for index, end in self._each(act, [one.batch for one in todo]):
            came.add(index)
            yield todo[index], end
        for index, item in enumerate(todo):
            if index not in came:
                yield item, _untouched(item.batch)

    def _rows_of(self, item: _Item) -> dict[str, Row]:
        """The rows of a batch that a store has, by name."""
        rows = list(self._done.get(item.name, ()))
        for n in range(len(item.batch.strikes)):
            rows += self._done.get(_named(item, n), ())
        return {row.name: row for row in rows}

    def _stored(self, batch: str, rows: Sequence[Row]) -> bool:
        """Whether a store has all of these, be it that it has only counted some."""
        return batch in self._done or all(row.name in self._done for row in rows)

    def _counted(self, item: _Item, end: BatchEnd) -> None:
        """A batch has come back. What a store has already is what counts, whatever came now."""
        there, rows = self._rows_of(item), []
        struck = end.rows
        if not struck and end.control.word in ("broken", "broke"):
            struck = tuple(_not_done(end.control) for _ in item.batch.strikes)
        struck = struck or _untouched(item.batch).rows
        for n, one in enumerate(struck):
            name = _named(item, n)
            if not one.word and name not in there:
                continue
            row = there.get(name) or self._told(item, n, one)
            rows.append(row)
            self._into(item).add(row)
            if item.batch.wants_sites:
                as_number = item.numbers[one.same_as] if one.same_as >= 0 else -1
                seen = replace(one, word=one.word or row.word, same_as=as_number)
                self._struck[item.world, item.numbers[n]] = seen
        if item.name in self._done:
            return
        if len(rows) == len(item.batch.strikes) and not there:
            self._on_rows(rows)
            return
        for row in rows:
            if row.name not in there:
                self._on_rows([row])

    def _told(self, item: _Item, n: int, one: Struck) -> Row:
        """The row of an execution."""
        batch, world = item.batch, self._plan.worlds[item.world]
        fault = batch.strikes[n]
        row = _row(_named(item, n), world, (*batch.before, fault), one)
        if one.same_as < 0:
            return row
        same = batch.strikes[one.same_as]
        return replace(row, same_as=_named(item, one.same_as), why=why_same(fault, same))

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


def _every_place_first(items: Sequence[_Item]) -> list[_Item]:
    """The batches in the order in which they are begun: of each world and port the first one, then
    the second ones. Whoever stops early, or has a limit of time, has seen a little of everything.
    """
    seen: dict[tuple[int, str], int] = {}
    turns = []
    for item in items:
        there = (item.world, item.batch.strikes[0].at)
        seen[there] = seen.get(there, 0) + 1
        turns.append(seen[there])
    return [item for _, item in sorted(zip(turns, items, strict=True), key=lambda one: one[0])]


def _named(item: _Item, n: int) -> str:
    return f"{item.name}/{n:02d}"


def _without_broken(item: _Item, rows: Mapping[str, Row]) -> _Item:
    """The same where no execution is done again that is known to break an interpreter."""
    done = dict(item.batch.done)
    for n in range(len(item.batch.strikes)):
        row = rows.get(_named(item, n))
        if row is not None and row.word == "broke":
            done[n] = Struck(word="broke", why=row.why)
    return replace(item, batch=replace(item.batch, done=tuple(sorted(done.items()))))


def _carried_out(setting: Setting, until: Until | None, batch: StrikeBatch, /) -> BatchEnd:
    """One item of an executor's work."""
    until_ms = None if until is None else until.here
    return sweep_batch(setting, batch if until_ms is None else replace(batch, until_ms=until_ms))


def _untouched(batch: StrikeBatch) -> BatchEnd:
    """The end of a batch to which nobody came."""
    known = dict(batch.done)
    rows = tuple(known.get(n, Struck(word="")) for n in range(len(batch.strikes)))
    return BatchEnd(control=Struck(word=""), rows=rows)


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
