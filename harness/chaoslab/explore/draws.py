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
its row says. `Seen`, what fault-free executions have shown, narrows this to calls that are made,
and widens it to what each of them is about.

>>> from random import Random
>>> from chaoslab.run.select import REFERENCE, scenario_files, specs_for
>>> base = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE)
>>> spec = uniform(base, Random(7))
>>> spec.scenario.family, 1 <= len(spec.scenario.faults) <= 3, 0 <= spec.seed <= 2**16
('stress', True, True)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chaoslab.contract import Contract, Limits
from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import digest
from chaoslab.explore.worlds import worlds_of
from chaoslab.faults import KINDS, NONE, PHASES, PORTS, ROLES, Fault, Site, at_port, problem
from chaoslab.faults.model import TRAP_MODES
from chaoslab.run.model import RunSpec
from chaoslab.scenario import Scenario, Use, Workload
from chaoslab.scenario.writing import scenario_toml

FAMILY: Final = "stress"
DRAWS_MAX: Final = 30
SEEDS: Final = 2**16 + 1
_FAULTS_MAX: Final = 3
_TASKS_MAX: Final = 9
_BELOW: Final = 100
_TASKS_NAMED: Final = 90
_JITTER_MS: Final = (20, 200)
# How long things last, in orders that matter to an agent: less than it waits for an answer, more
# than that, and more than a lease or a failover takes.
_LENGTHS_MS: Final = {
    "delay": (1_500, 8_000, 40_000),
    "duplicate": (1_500, 20_000),
    "hold": (5_000, 40_000),
    "pause": (2_000, 12_000, 60_000),
    "partition": (10_000, 90_000),
}
_UNTIL_HEALED: Final = ("hold", "pause", "partition")  # where for_ms is left out
# In a world of days nothing is held back until its end: no key is kept for so long.
_HEALS_SOON_MS: Final = 3_600_000
_TRIES: Final = ((1, 1), (1, 1), (1, 1), (1, 1), (1, 1), (2, 1), (1, 2), (1, 3))
_SAME, _OTHER = "the same at the next try", "something else at the next try"
_TRIED_AGAIN: Final = ("silence", "reset", "error-reply", "crash", "trap", "rate-limit")

Number = Callable[[int], int]  # one of n: 0 <= it < n
Shape = tuple[str, str]  # a port, and a marker in which {task} and {session} stand for themselves


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """The sites of fault-free executions, by world."""

    sites: Mapping[str, tuple[Site, ...]] = field(default_factory=dict)


NOTHING_SEEN: Final = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A place, and which calls there may be struck: of which tasks, about what, and which tries
    (the first, and how many)."""

    at: str
    tasks: tuple[str, ...]
    markers: tuple[str, ...]
    tries: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """A world that is varied.

    `calls`: the places that a task of a kind can come by; `nobodys`: those where calls of no task
    are struck. Of its scenarios: `own`, what they do, by place; `shapes`, `tries`, `lengths` and
    `items`, which markers, late tries, durations and parts of a group they name; `calm`, whether
    one has no faults, so that its races alone are worth a look.
    """

    name: str
    spec: RunSpec
    calls: Mapping[str, tuple[str, ...]]
    own: Mapping[str, tuple[Fault, ...]]
    nobodys: tuple[str, ...]
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
    lengths = {kind: set(values) for kind, values in _LENGTHS_MS.items()}
    for fault in faults:
        if fault.for_ms is not None:
            lengths.setdefault(fault.kind, set()).add(fault.for_ms)
    sites = seen.sites.get(name, ())
    shapes = {(site.port, _shape(site.marker, site.task, site.session)) for site in sites}
    shapes |= {(f.at, _shape(f.marker, f.task, f.session)) for f in faults}
    return _Base(
        name=name,
        spec=spec,
        calls=_calls(spec, sites),
        own={at: _own(faults, at) for at in sorted({fault.at for fault in faults})},
        # What a process reads when it begins is asked for no task.
        nobodys=tuple(sorted({s.port for s in sites if not s.task})) or ("memory.scan",),
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


def _kinds(spec: RunSpec, tasks: int) -> list[str]:
    """The kinds of a session's tasks, in order."""
    mix = [k for k in spec.scenario.workload.mix if k in spec.workload.kinds]
    mix = mix or list(spec.workload.kinds)
    return [mix[n % len(mix)] for n in range(tasks)]


def _places(base: _Base, use: Use) -> list[_Place]:
    """What the tasks of a use can come by: tools first and in more than one way, since what an
    agent does to the world is done there."""
    kinds = _kinds(base.spec, use.tasks)
    tasks: dict[str, list[str]] = {}
    for s, (t, kind) in product(range(1, use.sessions + 1), enumerate(kinds, start=1)):
        for at in base.calls[kind]:
            tasks.setdefault(at, []).append(f"s{s}-t{t}")
    return [_place(base, at, ["", *tasks[at][:_TASKS_NAMED]]) for at in _ordered(tasks)]


def _place(base: _Base, at: str, tasks: list[str]) -> _Place:
    late = [n for port, n in base.tries if port == at]
    return _Place(
        at=at,
        markers=("", *(shape for port, shape in base.shapes if port == at)),
        tasks=(*tasks, NONE) if at in base.nobodys else tuple(tasks),
        tries=(*_TRIES, *((n, 1) for n in late), *((1, n) for n in late)),
    )


def _ordered(places: Iterable[str]) -> list[str]:
    acting = [at for at in places if at.startswith(("tools", "wasm", "network"))]
    return [*acting, *(at for at in places if at not in acting), *acting]


def _calls(spec: RunSpec, sites: Sequence[Site]) -> dict[str, tuple[str, ...]]:
    """The places that a task of a kind comes by: of those that there are, the ones that were
    seen, where tasks of the kind were seen at all."""
    kinds = _kinds(spec, spec.scenario.workload.tasks)
    seen: dict[str, set[str]] = {}
    for site in sites:
        _, dash, nth = site.task.partition("-t")
        if dash and nth.isdigit() and int(nth) <= len(kinds):
            seen.setdefault(kinds[int(nth) - 1], set()).add(site.port)
    out = {}
    for kind in spec.workload.kinds:
        there = tuple(_there(spec.workload, kind))
        only = {*seen.get(kind, there), *ROLES, *(at for at in there if at.startswith("tools."))}
        out[kind] = tuple(at for at in there if at in only)
    return out


def _there(workload: Workload, kind: str) -> Iterator[str]:
    names = {step.tool for step in workload.kinds[kind].plan} & set(workload.services)
    # A recorded model may call whatever there is.
    called = [workload.services[name] for name in sorted(names or workload.services)]
    tools = {one.contract.name: one.contract for one in called if not one.network and not one.wasm}
    modules = sorted({one.wasm for one in called} - {""})
    named = [*(f"tools.{name}" for name in tools), *(f"wasm.{name}" for name in modules)]
    yield from named
    for role in ROLES:
        if any(at_port(role, port, Contract(tools=tools)) for port in named):
            yield role
    absent = set() if modules else {"wasm.instantiate"}
    if not any(one.network for one in called):
        absent.add("network.request")
    yield from (port for port in PORTS if port not in absent)


def _shape(marker: str, task: str, session: str) -> str:
    """A marker with the task's own names taken out; "" where it names another task.

    >>> _shape("o-s1-t2/shipped", "s1-t2", "s1"), _shape("profile/s1", "", "s1")
    ('o-{task}/shipped', 'profile/{session}')
    """
    if task and task != NONE:
        marker = re.sub(rf"\b{re.escape(task)}\b", "{task}", marker)
        session = session or task.partition("-")[0]
    if session and session != NONE:
        marker = re.sub(rf"\b{re.escape(session)}\b(?!-t\d)", "{session}", marker)
    # A pattern that names no task (marker = "attr/tenant-s1/s1") means the one in its marker.
    if not task and not session:
        marker = re.sub(r"\bs\d+-t\d+\b", "{task}", marker)
        marker = re.sub(r"\bs\d+\b", "{session}", marker)
    return "" if re.search(r"\bs\d+(-t\d+)?\b", marker) else marker


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
    places = _places(base, use)
    last: Fault | None = None
    for _ in range(count):
        # Where a call has failed, its next try is worth as much as half of the world.
        share = len(places) // 4 if last and last.kind in _TRIED_AGAIN else 0
        place = one_of([*places, *[_SAME] * share, *[_OTHER] * share])
        if last and place == _SAME:
            last = replace(last, attempt=last.attempt + last.times)
        elif last and place == _OTHER:
            strike = _strike(base, last.at, one_of)
            next_try = last.attempt + last.times
            last = replace(strike, task=last.task, marker=last.marker, attempt=next_try)
        else:
            last = _at(_strike(base, place.at, one_of), place, one_of)
        yield last


def _strike(base: _Base, at: str, one_of: Callable[[Sequence[Any]], Any]) -> Fault:
    """What is done at a place: first of which kind, then in which phase and how. What the base's
    scenarios do there is worth as much as a third of all kinds, so that it is varied most."""
    scenario = base.spec.scenario
    heals = scenario.heal_after_ms <= _HEALS_SOON_MS
    kinds = _strikes(at, len(scenario.regions.names) > 1, heals, base.lengths, base.items)
    own = base.own.get(at)
    found: Fault = one_of(one_of([*kinds, *([own] * (len(kinds) // 3) if own else [])]))
    return found


def _at(strike: Fault, place: _Place, one_of: Callable[[Sequence[Any]], Any]) -> Fault:
    marker, task = one_of(place.markers), one_of(place.tasks)
    named = task if task not in ("", NONE) else "s1-t1"
    filled = marker.replace("{task}", named).replace("{session}", named.partition("-")[0])
    if task == NONE and filled != marker:
        filled = ""  # what belongs to no task may be about any
    attempt, times = one_of(place.tries)
    return replace(strike, task=task, marker=filled, attempt=attempt, times=times)


@lru_cache(maxsize=1_024)
def _strikes(
    at: str,
    regions: bool,
    heals: bool,
    lengths: tuple[tuple[str, tuple[int, ...]], ...],
    items: tuple[int, ...],
) -> tuple[tuple[Fault, ...], ...]:
    """What can be done at a place: a group for each kind, in it each phase and way."""
    found = []
    for kind in KINDS:
        if kind == "partition" and not regions:
            continue
        ways = tuple(
            fault
            for phase in PHASES
            for fault in _ways(at, phase, kind, dict(lengths).get(kind, ()), items)
            if not problem(fault)
            and (regions or fault.scope != "region")
            and (heals or kind not in _UNTIL_HEALED or fault.for_ms is not None)
        )
        if ways:
            found.append(ways)
    return tuple(found)


def _ways(
    at: str, phase: str, kind: str, lengths: Sequence[int], items: Sequence[int]
) -> Iterator[Fault]:
    plain = Fault(at=at, phase=phase, kind=kind)
    if kind == "trap":
        yield from (replace(plain, mode=mode) for mode in TRAP_MODES)
        return
    grouped = [plain]
    if phase == "mid-write":
        grouped = [replace(plain, after_items=count) for count in items]
    for fault in grouped:
        if kind != "delay":
            yield fault
        yield from (replace(fault, for_ms=length) for length in lengths)
        if kind == "crash":
            yield replace(fault, scope="region")
