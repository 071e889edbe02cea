"""Draws scenarios: a world of the base, its size, and one to three faults anywhere in it.

Whoever tests by hand strikes what he thought of; this draws the rest. Everything that a world is
made for stays as its scenario says it (regions, gaps, builds, the operator, the kinds of task);
what can be varied is: how many customers and tasks, whether they come at once or twice, how the
network behaves, and what strikes where. The limits of a scenario were written about its own
faults, so a drawn one has none: the contract's count, and the defaults.

Each decision is one number below a hundred, 0 the plainest, and there are at most thirty. So few
and such small numbers are easy to repeat, and Hypothesis never mixes its lists of "interesting"
constants into them, which depend on the modules that happen to be loaded. Where nothing else is
known, a place is one that the world has, and a call that the agent never makes is never struck, as
its row says. `Seen`, what fault-free executions have shown, narrows this to places that a task
comes by, and widens it to what each call is about; which of these calls are worth drawing often
is said by `explore.reach`.

>>> from random import Random
>>> from chaoslab.run.select import REFERENCE, scenario_files, specs_for
>>> base = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE)
>>> spec = uniform(base, Random(7))
>>> spec.scenario.family, 1 <= len(spec.scenario.faults) <= 3, 0 <= spec.seed <= 2**16
('stress', True, True)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chaoslab.backends.common import merged_contract
from chaoslab.contract import DEFAULT_LIMITS, Contract, Limits
from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import digest
from chaoslab.explore.reach import (
    Calls,
    Turn,
    at_place,
    calls_of,
    calls_seen,
    clash,
    expected,
    first_call,
    kinds_of,
    mostly,
    places_of,
    shape,
    tried_again,
    tries_of,
    turn_of,
)
from chaoslab.explore.ways import ACTING, LENGTHS_MS, keeps_ms, ways_at
from chaoslab.explore.worlds import worlds_of
from chaoslab.faults import NONE, Fault, Site, at_port, matches
from chaoslab.run.model import RunSpec
from chaoslab.scenario import Scenario, Use
from chaoslab.scenario.writing import scenario_toml

FAMILY: Final = "stress"
DRAWS_MAX: Final = 30
SEEDS: Final = 2**16 + 1
_FAULTS_MAX: Final = 3
_TASKS_MAX: Final = 9
_BELOW: Final = 100
_TASKS_NAMED: Final = 90
_JITTER_MS: Final = (20, 200)
_SAME: Final = "the same at the next try"
_OTHER: Final = "something else at the next try"
_TRIED_AGAIN: Final = ("silence", "reset", "error-reply", "crash", "trap", "rate-limit")
_LASTING: Final = "the same at the next tries, as many as before"

Number = Callable[[int], int]  # one of n: 0 <= it < n
Shape = tuple[str, str]  # a port, and a marker in which {task} and {session} stand for themselves


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """The sites of fault-free executions, by world."""

    sites: Mapping[str, tuple[Site, ...]] = field(default_factory=dict)


NOTHING_SEEN: Final = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A place, and which calls there may be struck: of which tasks, those that come by there
    most often; about what, as scenarios and executions name it; and from which late tries on.

    `often`: whether anybody comes by there; `likely`: by task, what its calls are about and how
    many tries each has; `keyless`: whether what is asked there twice may come about twice.
    """

    at: str
    often: bool
    tasks: tuple[str, ...]
    markers: tuple[str, ...]
    late: tuple[int, ...]
    likely: Mapping[str, Mapping[str, int]]
    keyless: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Base:
    """A world that is varied.

    `calls`: the places that a task of a kind can come by; `nobodys`: those where calls of no task
    are struck, and what these are about; `seen`: the calls of tasks by where they stand;
    `keeps_ms`: how long a service knows a key at least. Of its scenarios: `own`, what they do, by
    place; `shapes`, `tries`, `lengths` and `items`, which markers, late tries, durations and parts
    of a group they name; `calm`, whether one has no faults, so that its races alone are worth a
    look.
    """

    name: str
    spec: RunSpec
    contract: Contract
    keeps_ms: int
    calls: Mapping[str, tuple[str, ...]]
    own: Mapping[str, tuple[Fault, ...]]
    nobodys: Mapping[str, Mapping[str, int]]
    seen: Mapping[Turn, Calls]
    shapes: tuple[Shape, ...]
    tries: tuple[tuple[str, int], ...]
    lengths: tuple[tuple[str, tuple[int, ...]], ...]
    items: tuple[int, ...]
    calm: bool


def scenarios(base: Sequence[RunSpec], /, *, seen: Seen = NOTHING_SEEN) -> SearchStrategy[RunSpec]:
    """The strategy that draws a run from the worlds of `base`."""
    worlds = _bases(base, seen)

    @st.composite
    def drawn(draw: st.DrawFn) -> RunSpec:
        return _drawn(worlds, lambda below: draw(st.integers(0, below - 1)))

    return drawn()


def uniform(base: Sequence[RunSpec], random: Random, /, *, seen: Seen = NOTHING_SEEN) -> RunSpec:
    """A run from the same space, each decision by itself and all values alike."""
    return _drawn(_bases(base, seen), random.randrange)


# -- what there is to vary


def _bases(base: Sequence[RunSpec], seen: Seen) -> tuple[_Base, ...]:
    if not base:
        raise UsageError(
            "there is nothing to draw from", allowed="at least one scenario", hint="chaoslab list"
        )
    if any(spec.target is not None for spec in base):
        raise UsageError(
            "stress draws executions of the simulator, and this agent is a set of commands",
            value=base[0].agent,
            allowed="an adapter such as path.py:make_agent",
            hint="chaoslab run",
        )
    return _grouped(_Same(tuple(base)), seen)


class _Same:
    """Runs as a key of a cache: the very same objects, since equal ones cannot all be hashed."""

    __slots__ = ("runs",)

    def __init__(self, runs: tuple[RunSpec, ...]) -> None:
        self.runs = runs

    def __hash__(self) -> int:
        return len(self.runs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or len(other.runs) != len(self.runs):
            return False
        return all(mine is theirs for mine, theirs in zip(self.runs, other.runs, strict=True))


@lru_cache(maxsize=32)
def _grouped(same: _Same, seen: Seen) -> tuple[_Base, ...]:
    groups: dict[tuple[str, str], list[RunSpec]] = {}
    for spec in same.runs:
        [world] = worlds_of([spec])
        groups.setdefault((world.id, spec.agent), []).append(spec)
    return tuple(_base(name, group, seen) for (name, _), group in groups.items())


def _base(name: str, group: Sequence[RunSpec], seen: Seen) -> _Base:
    faults = [fault for spec in group for fault in spec.scenario.faults]
    # The scenario with the largest use stands for all: smaller ones are drawn from it.
    spec = max(group, key=lambda one: (one.scenario.workload.tasks, one.scenario.workload.mix))
    contract = merged_contract(spec.contract, spec.workload)
    lengths = {kind: set(values) for kind, values in LENGTHS_MS.items()}
    for fault in faults:
        if fault.for_ms is not None:
            lengths.setdefault(fault.kind, set()).add(fault.for_ms)
    sites = seen.sites.get(name, ())
    shapes = {(site.port, shape(site.marker, site.task, site.session)) for site in sites}
    shapes |= {(f.at, shape(f.marker, f.task, f.session)) for f in faults}
    nobodys: dict[str, dict[str, int]] = {}
    for site in sites:
        if not site.task:
            nobodys.setdefault(site.port, {})[shape(site.marker, "", site.session)] = site.attempt
    return _Base(
        name=name,
        spec=spec,
        contract=contract,
        keeps_ms=keeps_ms(spec),
        calls=places_of(spec, sites),
        own={at: _own(faults, at) for at in sorted({fault.at for fault in faults})},
        # What a process reads when it begins is asked for no task.
        nobodys=nobodys or {"memory.scan": {}},
        seen=calls_seen(sites),
        shapes=tuple(sorted(one for one in shapes if one[1])),
        tries=tuple(sorted({(f.at, f.attempt) for f in faults if f.attempt > 2})),
        lengths=tuple((kind, tuple(sorted(values))) for kind, values in lengths.items()),
        items=tuple(sorted({1, 2, *(f.after_items for f in faults)} - {0})),
        calm=any(not spec.scenario.faults for spec in group),
    )


def _own(faults: Sequence[Fault], at: str) -> tuple[Fault, ...]:
    """What faults do at a place, each once, without what says to whom."""
    bare = (replace(f, session="", task="", marker="", attempt=1) for f in faults if f.at == at)
    return tuple(dict.fromkeys(bare))


@lru_cache(maxsize=1_024)
def _places(base: _Base, sessions: int, each: int) -> tuple[_Place, ...]:
    """What the tasks of so many sessions can come by: tools first and in more than one way, since
    what an agent does to the world is done there."""
    kinds = kinds_of(base.spec, each)
    tasks: dict[str, list[str]] = {}
    calls: dict[str, Calls | None] = {}
    for s, (t, kind) in product(range(1, sessions + 1), enumerate(kinds, start=1)):
        calls[f"s{s}-t{t}"] = calls_of(base.seen, f"s{s}-t{t}", kinds, sessions == 1)
        for at in base.calls[kind]:
            tasks.setdefault(at, []).append(f"s{s}-t{t}")
    there = {at: _place(base, at, tasks[at][:_TASKS_NAMED], calls) for at in tasks}
    often = [there[at] for at in _ordered(tasks) if there[at].often]
    return mostly(often, [one for one in there.values() if not one.often])


def _place(base: _Base, at: str, tasks: list[str], calls: Mapping[str, Calls | None]) -> _Place:
    # Of whom nothing is known, all is as likely.
    likely = {
        task: at_place(known, at, base.contract)
        for task in tasks
        if (known := calls[task]) is not None
    }
    comes_by = [task for task in tasks if likely.get(task) != {}]
    seldom = [task for task in tasks if task not in comes_by]
    turns = {turn_of(task) for task in tasks}
    # What only the first customer calls is called by somebody.
    somebody = comes_by or any(
        at_place(found, at, base.contract) for turn, found in base.seen.items() if turn in turns
    )
    often = ["", *comes_by] if somebody else []
    if base.seen:
        likely[""] = at_place(base.seen.get((True, 1), {}), at, base.contract)
    if at in base.nobodys:
        likely[NONE] = dict(base.nobodys[at])
        often.append(NONE)
    return _Place(
        at=at,
        often=bool(often),
        tasks=mostly(often, [one for one in ("", *seldom) if one not in often]),
        markers=tuple(what for port, what in base.shapes if port == at),
        late=tuple(n for port, n in base.tries if port == at),
        likely=likely,
        keyless=_keyless(base, at),
    )


def _keyless(base: _Base, at: str) -> bool:
    """Whether a tool at a place takes no keys."""
    tools = base.contract.tools.items()
    return any(at_port(at, f"tools.{name}", base.contract) and not one.keys for name, one in tools)


def _ordered(places: Iterable[str]) -> list[str]:
    acting = [at for at in places if at.startswith(ACTING)]
    return [*acting, *(at for at in places if at not in acting), *acting]


# -- one scenario


def _drawn(worlds: Sequence[_Base], number: Number) -> RunSpec:
    def one_of(options: Sequence[Any]) -> Any:
        return options[_number(len(options), number)]

    base: _Base = one_of(worlds)
    plain = base.spec.scenario
    use = _use(plain.workload, one_of)
    jitter = one_of(_first(plain.schedule.jitter_ms, *_JITTER_MS))
    counts = [*range(1, _FAULTS_MAX + 1), *([0] if base.calm else [])]
    faults = tuple(_faults(base, use, one_of(counts), one_of))
    seed = _number(SEEDS, number)
    left = {f"s{n}" for n in range(1, use.sessions + 1)}
    scenario = replace(
        plain,
        name="drawn",
        title=f"Drawn from {plain.id}",
        family=FAMILY,
        workload=use,
        schedule=replace(plain.schedule, seeds=(seed,), jitter_ms=jitter, choices=None),
        faults=faults,
        operator=tuple(one for one in plain.operator if one.session in left),
        limits=Limits(),
        expect="valid",
    )
    scenario = replace(scenario, name=f"{base.name}-{_content(scenario)}")
    return replace(
        base.spec,
        scenario=scenario,
        scenario_text="",
        seed=seed,
        role="subject",
        expected_check="",
        choices=None,
    )


def _content(scenario: Scenario) -> str:
    """What a drawn scenario is, in eight characters."""
    return digest(scenario_toml(scenario), size=4)


def _number(below: int, number: Number) -> int:
    """One of `below`, put together of numbers below a hundred."""
    if below <= 1:
        return 0
    if below <= _BELOW:
        return number(below)
    head = _number(-(-below // _BELOW), number)
    return min(head * _BELOW + number(_BELOW), below - 1)


def _use(plain: Use, one_of: Callable[[Sequence[Any]], Any]) -> Use:
    # As many tasks in all as the base has, or nine: how fast an agent recovers is promised for its
    # own load, not for any.
    most = max(_TASKS_MAX, plain.sessions * plain.tasks)
    sessions = one_of(_first(1, 2, 3, plain.sessions))
    tasks = one_of([n for n in _first(1, 2, 3, plain.tasks) if n == 1 or sessions * n <= most])
    deliveries = _first(1, 2, plain.deliveries)
    handed = [(False, n) for n in deliveries]
    if not plain.gap_ms:  # where tasks are far apart, none is beside another
        handed += [(True, n) for n in deliveries]
    concurrent, times = one_of(handed)
    return replace(
        plain,
        sessions=sessions,
        tasks=tasks,
        concurrent=concurrent,
        deliveries=times,
        rewords=one_of((plain.rewords, not plain.rewords)),
    )


def _first(*options: int) -> list[int]:
    """Each once, in this order."""
    return list(dict.fromkeys(options))


def _faults(
    base: _Base, use: Use, count: int, one_of: Callable[[Sequence[Any]], Any]
) -> Iterator[Fault]:
    places = _places(base, use.sessions, use.tasks)
    calls = _expected(base, use.sessions, use.tasks) if count > 1 else ()
    struck: list[Fault] = []
    last: Fault | None = None
    for _ in range(count):
        place = one_of([*places, *_next(base, last, len(places) // 4)])
        if last and place in (_SAME, _LASTING):
            times = last.times if place == _LASTING else 1
            fault = replace(last, attempt=last.attempt + last.times, times=times)
        elif last and place == _OTHER:
            strike = _strike(base, last.at, one_of)
            next_try = last.attempt + last.times
            fault = replace(strike, task=last.task, marker=last.marker, attempt=next_try)
        else:
            fault = _at(base, _strike(base, place.at, one_of), place, one_of)
        apart = _apart(base, fault, calls, struck)
        if apart is not None:
            last = apart
            struck.append(apart)
            yield apart


def _apart(
    base: _Base, fault: Fault, calls: Sequence[Site], others: Sequence[Fault]
) -> Fault | None:
    """A fault where another one ends the very call that it was drawn for, so that both can never
    strike: it is one at the next try, or else at the same call of another task; None where there
    is no other."""
    taken = {first_call(one, calls, base.contract): one for one in others}
    before = taken.get(first_call(fault, calls, base.contract))
    if before is None or not clash(before, fault):
        return fault
    next_try = before.attempt + before.times
    if next_try <= _tries_max(base) and tried_again(before, _keyless(base, before.at)):
        return replace(fault, attempt=next_try)
    anywhere = replace(fault, session="", task="", marker="", attempt=1)
    for call in calls:
        if call not in taken and matches(anywhere, call, base.contract):
            other = replace(fault, task=call.task, marker=call.marker if fault.marker else "")
            if first_call(other, calls, base.contract) == call:
                return other
    return None


def _tries_max(base: _Base) -> int:
    return base.contract.limits.over(DEFAULT_LIMITS).attempts_per_operation_max or _FAULTS_MAX


@lru_cache(maxsize=1_024)
def _expected(base: _Base, sessions: int, each: int) -> tuple[Site, ...]:
    return expected(base.seen, kinds_of(base.spec, each), sessions)


def _next(base: _Base, last: Fault | None, share: int) -> list[str]:
    """Where a call has failed, its next try is worth as much as half of the world."""
    if last is None or last.kind not in _TRIED_AGAIN:
        return []
    gone = last.attempt + last.times > _tries_max(base)
    if gone or not tried_again(last, _keyless(base, last.at)):
        share = min(share, 1)
    return [_SAME] * share + [_OTHER] * share + [_LASTING] * (share > 0 and last.times > 1)


def _strike(base: _Base, at: str, one_of: Callable[[Sequence[Any]], Any]) -> Fault:
    """What is done at a place: first of which kind, then in which phase and how. What the base's
    scenarios do there is worth as much as a third of all kinds, so that it is varied most."""
    kinds = _strikes(base, at)
    own = base.own.get(at)
    found: Fault = one_of(one_of([*kinds, *([own] * (len(kinds) // 3) if own else [])]))
    return found


def _at(base: _Base, strike: Fault, place: _Place, one_of: Callable[[Sequence[Any]], Any]) -> Fault:
    task = one_of(place.tasks)
    likely = place.likely.get(task)
    whats = [one for one in place.markers if likely is None or one in likely]
    marker = one_of(mostly(["", *whats], [what for what in place.markers if what not in whats]))
    named = task if task not in ("", NONE) else "s1-t1"
    filled = marker.replace("{task}", named).replace("{session}", named.partition("-")[0])
    if task == NONE and filled != marker:
        filled = ""  # what belongs to no task may be about any
    tries = [n for what, n in (likely or {}).items() if marker in ("", what)]
    attempt, times = one_of(
        tries_of(
            tried_again(strike, place.keyless),
            min(tries, default=1),
            place.late,
            _tries_max(base),
        )
    )
    return replace(strike, task=task, marker=filled, attempt=attempt, times=times)


def _strikes(base: _Base, at: str) -> tuple[tuple[Fault, ...], ...]:
    scenario = base.spec.scenario
    return ways_at(
        at,
        regions=len(scenario.regions.names) > 1,
        heals_ms=scenario.heal_after_ms,
        keeps_ms=base.keeps_ms,
        lengths=base.lengths,
        items=base.items,
    )
