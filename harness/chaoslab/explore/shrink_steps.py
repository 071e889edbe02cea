"""What could be simpler about a failing scenario: pure functions from a case to candidates.

Nothing is executed here, and nothing is promised: a candidate is a guess that is worth a try,
the boldest first. Whether it still fails is for `chaoslab.explore.shrink` to find out.

>>> from chaoslab.faults import Fault
>>> case = Scenario(name="n", title="t", family="f", workload=Use(sessions=3, tasks=1),
...                 faults=(Fault(at="tools:*", phase="after-commit", kind="crash", task="s3-t1"),))
>>> [(s.words, s.scenario.faults[0].task) for s in fewer_sessions(case)]
[('1 session', 's1-t1'), ('2 sessions', 's1-t1'), ('2 sessions', 's2-t1')]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Final

from chaoslab.contract import Contract, Limits
from chaoslab.explore.strikes import SIMPLEST_FIRST
from chaoslab.faults import PHASES, Fault, Site, exact, matches, place, problem
from chaoslab.faults.model import NONE
from chaoslab.scenario import Regions, Scenario, Use, Workload

# With more faults than this, looking at all pairs of them costs more than thinning them out.
_PAIRS_FROM_MAX: Final = 8
_SESSION: Final = re.compile(r"(?<![A-Za-z0-9])s(\d+)(?![A-Za-z0-9])")
_TASK: Final = re.compile(r"(?<![A-Za-z0-9])(s\d+)-t(\d+)(?![A-Za-z0-9])")
_GAPS_MS: Final = (0, 60_000, 3_600_000)
_LENGTHS_MS: Final = (None, 1, 10, 100, 1_000, 10_000, 60_000)
_PLAIN: Final = Scenario(name="", title="", family="")
_Rename = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A candidate, and what is simpler about it in words."""

    words: str
    scenario: Scenario


# -- faults


def exact_faults(
    scenario: Scenario, control: Sequence[Site], sites: Sequence[Site], contract: Contract, /
) -> Iterator[Step]:
    """The scenario with each fault at the very sites that it struck: those of the fault-free run
    (`control`), else the first that fits in the execution with faults (`sites`)."""
    if all(_is_exact(fault) for fault in scenario.faults):
        return
    found: list[Fault] = []
    for placed in place(scenario.faults, control, contract):
        fault = placed.fault
        # What lasts for several tries stands at the first of them.
        begun = placed.sites[:: fault.times]
        there = begun or tuple(s for s in sites if matches(fault, s, contract))[:1]
        found += [at_site(fault, site) for site in there] if not _is_exact(fault) else [fault]
        if not there and not _is_exact(fault):
            found.append(fault)
    yield Step(words="each fault at one exact site", scenario=_with(scenario, found))


def at_site(fault: Fault, site: Site, /) -> Fault:
    """The same fault at exactly this site."""
    found = exact(
        site,
        phase=fault.phase,
        kind=fault.kind,
        mode=fault.mode,
        scope=fault.scope,
        after_items=fault.after_items,
        for_ms=fault.for_ms,
    )
    return replace(found, times=fault.times)


def fewest_faults(scenario: Scenario, /) -> Iterator[Step]:
    """No fault at all, each alone, each pair."""
    faults, count = scenario.faults, len(scenario.faults)
    for size in range(min(count, 3 if count <= _PAIRS_FROM_MAX else 2)):
        for some in combinations(faults, size):
            yield Step(words=_count(size, "fault"), scenario=_with(scenario, some))


def lasting_faults(scenario: Scenario, /) -> Iterator[Step]:
    """Faults at several tries of one action as one that lasts: all that stand at a place, else
    two of them, and as each of them is.

    >>> lost = Fault(at="tools:keyed", phase="after-commit", kind="reset")
    >>> case = Scenario(name="n", title="t", family="f", faults=(lost, replace(lost, attempt=3)))
    >>> [one.scenario.faults[0].times for one in lasting_faults(case)]
    [3]
    """
    places: dict[tuple[str, ...], list[Fault]] = {}
    for fault in scenario.faults:
        places.setdefault((fault.at, fault.session, fault.task, fault.marker), []).append(fault)
    for there in places.values():
        for some in dict.fromkeys((tuple(there), *combinations(there, 2))):
            first = min(one.attempt for one in some)
            times = max(one.attempt + one.times for one in some) - first
            others = [fault for fault in scenario.faults if fault not in some]
            whole = dict.fromkeys(replace(one, attempt=first, times=times) for one in some)
            if len(some) > 1:
                for one in whole:
                    yield Step(words=one.where(), scenario=_with(scenario, (*others, one)))


def earlier_sites(
    scenario: Scenario, number: int, control: Sequence[Site], contract: Contract, /
) -> Iterator[Step]:
    """One fault at a few earlier sites of the fault-free run, the earliest first."""
    fault = scenario.faults[number]
    if not _is_exact(fault):
        return
    others = (*scenario.faults[:number], *scenario.faults[number + 1 :])
    here = next((n for n, s in enumerate(control) if matches(fault, s, contract)), len(control))
    moved = [at_site(fault, site) for site in control[:here]]
    fit = [one for one in moved if not problem(one) and one not in others]
    same = next((n for n, one in enumerate(fit) if one.at == fault.at), 0)
    last = len(fit) - 1
    for n in sorted({0, last // 4, last // 2, 3 * last // 4, last, same}) if fit else ():
        yield _changed(scenario, number, fit[n])


def simpler_kinds(scenario: Scenario, number: int, /) -> Iterator[Step]:
    """One fault of a simpler kind, else in an earlier phase."""
    fault = scenario.faults[number]
    plain = replace(fault, for_ms=None, scope="process", mode="panic", after_items=0)
    for kind in SIMPLEST_FIRST[: SIMPLEST_FIRST.index(fault.kind)]:
        for phase in dict.fromkeys((fault.phase, *PHASES)):
            found = replace(plain, kind=kind, phase=phase)
            if not problem(found):
                yield _changed(scenario, number, found)
                break
    for phase in PHASES[: PHASES.index(fault.phase)]:
        found = replace(fault, phase=phase, after_items=0)
        if not problem(found):
            yield _changed(scenario, number, found)


def simpler_parameters(scenario: Scenario, number: int, /) -> Iterator[Step]:
    """One fault with plainer parameters, one of them at a time."""
    fault = scenario.faults[number]
    found = [replace(fault, attempt=1), replace(fault, attempt=max(1, fault.attempt // 2))]
    found += [replace(fault, scope="process"), replace(fault, mode="panic")]
    found += [replace(fault, every=False)]
    if fault.times > 1:
        found += [replace(fault, times=n) for n in (1, fault.times // 2, fault.times - 1)]
    if fault.after_items:
        found += [replace(fault, after_items=n) for n in (1, fault.after_items - 1) if n]
    if fault.for_ms is not None:
        shorter = [n for n in _LENGTHS_MS if n is None or n < fault.for_ms]
        found += [replace(fault, for_ms=n) for n in (*shorter, max(1, fault.for_ms // 2))]
    for one in found:
        if one != fault:
            yield replace(_changed(scenario, number, one), words=_difference(fault, one))


def _difference(old: Fault, new: Fault) -> str:
    said = ((one.name, getattr(old, one.name), getattr(new, one.name)) for one in fields(Fault))
    changed = (f"{name} = {after}" for name, before, after in said if before != after)
    return f"{new.where()}: {', '.join(changed)}"


def _changed(scenario: Scenario, number: int, fault: Fault) -> Step:
    faults = (*scenario.faults[:number], fault, *scenario.faults[number + 1 :])
    return Step(words=fault.where(), scenario=_with(scenario, faults))


def _with(scenario: Scenario, faults: Sequence[Fault]) -> Scenario:
    return replace(scenario, faults=tuple(dict.fromkeys(faults)))


def _is_exact(fault: Fault) -> bool:
    """Whether it names one site: with a port, and with everything that a site has."""
    return all((fault.session, fault.task, fault.marker, ":" not in fault.at, not fault.every))


# -- tasks and sessions


def smallest(scenario: Scenario, workload: Workload, /) -> Iterator[Step]:
    """One task of one session; those that a fault names first."""
    if scenario.workload.sessions > 1 and scenario.workload.tasks > 1:
        for session in fewer_sessions(scenario):
            if session.scenario.workload.sessions == 1:
                for task in fewer_tasks(session.scenario, workload):
                    if task.scenario.workload.tasks == 1:
                        yield Step(words="1 session with 1 task", scenario=task.scenario)


def fewer_sessions(scenario: Scenario, /) -> Iterator[Step]:
    """Fewer sessions, the fewest first; what is named of the sessions that are gone is said of
    the remaining ones."""
    count = scenario.workload.sessions
    named = _numbers(scenario, _SESSION, 1)
    for size in _sizes(count):
        for new in _renamings(named, size):

            def rename(text: str, new: Mapping[int, int] = new) -> str:
                return _SESSION.sub(lambda m: f"s{new.get(int(m[1]), int(m[1]))}", text)

            use = replace(scenario.workload, sessions=size)
            for found in _renamed(scenario, use, rename):
                yield Step(words=_count(size, "session"), scenario=found)


def fewer_tasks(scenario: Scenario, workload: Workload, /) -> Iterator[Step]:
    """Fewer tasks a session, the fewest first, of the kinds that they were."""
    use = scenario.workload
    named = _numbers(scenario, _TASK, 2)
    cycle = _cycle(use, workload)
    for size in _sizes(use.tasks):
        ways = list(_renamings(named, size))
        if size == 1:  # also the tasks that no fault names, one of each kind
            ways += [{n: 1} for n in range(1, 1 + min(use.tasks, len(cycle)))]
        for new in ways:

            def rename(text: str, new: Mapping[int, int] = new) -> str:
                return _TASK.sub(lambda m: f"{m[1]}-t{new.get(int(m[2]), int(m[2]))}", text)

            old: dict[int, int] = {}
            for before, after in new.items():
                old.setdefault(after, before)
            mix = tuple(cycle[(old.get(n, n) - 1) % len(cycle)] for n in range(1, size + 1))
            kept = mix == tuple(cycle[n % len(cycle)] for n in range(size))
            smaller = replace(use, tasks=size, mix=use.mix if kept else _shortest(mix))
            for found in _renamed(scenario, smaller, rename):
                yield Step(words=f"{_count(size, 'task')} a session", scenario=found)


def _sizes(count: int) -> list[int]:
    return [n for n in sorted({1, 2, count // 2, 3 * count // 4, count - 1}) if 1 <= n < count]


def _numbers(scenario: Scenario, name: re.Pattern[str], group: int) -> list[int]:
    texts = [text for f in scenario.faults for text in (f.session, f.task, f.marker)]
    texts += [one.session for one in scenario.operator]
    return sorted({int(m[group]) for text in texts for m in name.finditer(text)})


def _renamings(named: Sequence[int], size: int) -> Iterator[Mapping[int, int]]:
    """Ways to say what was said of some numbers of `size` numbers from 1 on."""
    ways = [{old: min(n, size) for n, old in enumerate(named, start=1)}]
    if all(n <= size for n in named):
        ways.insert(0, {n: n for n in named})
    ways.append({old: max(1, size - n) for n, old in enumerate(reversed(named))})
    for n, way in enumerate(ways):
        if way not in ways[:n]:
            yield way


def _renamed(scenario: Scenario, use: Use, rename: _Rename) -> Iterator[Scenario]:
    """The scenario under new names; and where a marker tells nothing of the task that was renamed
    (a team's own orders), without it, so that any action of the task is meant."""
    faults = [
        replace(f, session=rename(f.session), task=rename(f.task), marker=rename(f.marker))
        for f in scenario.faults
    ]
    choices = scenario.schedule.choices
    if choices is not None:
        choices = {rename(name): value for name, value in choices.items()}
    found = replace(
        scenario,
        workload=use,
        operator=tuple(replace(r, session=rename(r.session)) for r in scenario.operator),
        schedule=replace(scenario.schedule, choices=choices),
    )
    yield _with(found, faults)
    loose = [
        replace(new, marker="")
        if new.task != old.task and new.marker == old.marker != NONE
        else new
        for old, new in zip(scenario.faults, faults, strict=True)
    ]
    if loose != faults:
        yield _with(found, loose)


def _cycle(use: Use, workload: Workload) -> tuple[str, ...]:
    return tuple(k for k in use.mix if k in workload.kinds) or tuple(workload.kinds)


def _shortest(mix: tuple[str, ...]) -> tuple[str, ...]:
    """The shortest beginning that gives the same when it is repeated.

    >>> _shortest(("refund", "ship", "refund")), _shortest(("ship", "ship"))
    (('refund', 'ship'), ('ship',))
    """
    for size in range(1, len(mix)):
        if all(kind == mix[n % size] for n, kind in enumerate(mix)):
            return mix[:size]
    return mix


# -- everything else that a workload says


def plainer(scenario: Scenario, workload: Workload, /) -> Iterator[Step]:
    """Everything about the workload and its surroundings at its plainest at once, then one thing
    after the other."""
    single = [step for step in _single(scenario, workload) if step.scenario != scenario]
    bold = replace(
        scenario,
        workload=Use(
            use=scenario.workload.use,
            sessions=scenario.workload.sessions,
            tasks=scenario.workload.tasks,
            mix=scenario.workload.mix,
            rewords=False,
        ),
        regions=Regions(),
        operator=(),
        limits=Limits(),
        heal_after_ms=_PLAIN.heal_after_ms,
        linger_ms=_PLAIN.linger_ms,
        schedule=replace(scenario.schedule, jitter_ms=_PLAIN.schedule.jitter_ms),
    )
    if len(single) > 1:
        yield Step(words="the plainest surroundings", scenario=bold)
    yield from single


def _single(scenario: Scenario, workload: Workload) -> Iterator[Step]:
    def step(words: str, **new: object) -> Step:
        return Step(words=words, scenario=replace(scenario, **new))  # type: ignore[arg-type]

    def used(words: str, **new: object) -> Step:
        return step(words, workload=replace(scenario.workload, **new))  # type: ignore[arg-type]

    use, regions, plain = scenario.workload, scenario.regions, Regions()
    for count in sorted({1, min(2, use.deliveries)}):
        yield used(f"handed out {count} × at once", deliveries=count)
    yield used("no tasks at the same time", concurrent=False)
    for gap_ms in _GAPS_MS:
        if gap_ms < use.gap_ms:
            yield used(f"{gap_ms} ms between tasks", gap_ms=gap_ms)
    cycle = _cycle(use, workload)
    for kind in dict.fromkeys(cycle[: use.tasks]) if use.tasks > 1 else ():
        yield used(f"only tasks of the kind {kind}", mix=(kind,))
    yield used("the shortest mix", mix=_shortest(use.mix[: use.tasks]))
    yield used("the model never rewords", rewords=False)
    for names in (regions.names[:1], regions.names[:-1]):
        if names:
            words = _count(len(names), "region")
            yield step(words, regions=replace(regions, names=names))
    if len(regions.names) == 1:
        yield step("the usual region", regions=replace(regions, names=plain.names))
    yield step("one active region", regions=replace(regions, active=plain.active))
    yield step("1 process", regions=replace(regions, processes=1))
    for name in ("lag_ms", "failover_after_ms", "restart_after_ms"):
        usual = {name: getattr(plain, name)}
        yield step(f"the usual {name}", regions=replace(regions, **usual))
    yield step("no operator", operator=())
    for one in scenario.operator:
        rest = tuple(other for other in scenario.operator if other is not one)
        yield step("fewer releases by the operator", operator=rest)
    yield used("the usual builds", wasm={})
    for name in ("heal_after_ms", "linger_ms"):
        yield step(f"the usual {name}", **{name: getattr(_PLAIN, name)})
    jitter_ms = _PLAIN.schedule.jitter_ms
    yield step("the usual jitter", schedule=replace(scenario.schedule, jitter_ms=jitter_ms))
    yield step("the usual limits", limits=Limits())


# -- the schedule


def with_choices(scenario: Scenario, choices: Mapping[str, int], /) -> Step:
    """The scenario with recorded decisions; those that are 0 need no word."""
    said = {name: value for name, value in choices.items() if value}
    words = _count(len(said), "recorded choice") if said else "the plainest schedule"
    return Step(
        words=words,
        scenario=replace(scenario, schedule=replace(scenario.schedule, choices=said)),
    )


def plainest_schedules(scenario: Scenario, /) -> Iterator[Step]:
    """Every decision at its plainest, under seed 0 if that does. The seed goes on to say what the
    model and the customers are like, and campaigns with other seeds shall end in one file.

    >>> case = replace(_PLAIN, schedule=replace(_PLAIN.schedule, seeds=(7,)))
    >>> [one.scenario.schedule.seeds for one in plainest_schedules(case)]
    [(0,), (7,)]
    """
    plain = with_choices(scenario, {})
    schedule = plain.scenario.schedule
    if schedule.seeds != (0,):
        first = replace(plain.scenario, schedule=replace(schedule, seeds=(0,)))
        yield Step(words="the plainest schedule, under seed 0", scenario=first)
    yield plain


def smaller_choices(scenario: Scenario, name: str, /) -> Iterator[Step]:
    """One decision with a smaller value, the smallest first."""
    choices = scenario.schedule.choices or {}
    value = choices.get(name, 0)
    for less in sorted({value // 8, value // 4, value // 2, value - 1 - value // 8, value - 1}):
        if 0 < less < value:
            found = with_choices(scenario, {**choices, name: less})
            yield replace(found, words=f"choice {name} = {less}")


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
