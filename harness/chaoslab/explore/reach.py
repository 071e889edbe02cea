"""Which calls a drawn fault can meet: what is worth drawing often, and what is drawn seldom.

A fault that meets no call proves nothing, and a third try where nothing has failed is such a
fault, or a marker of somebody else's task. What fault-free executions have shown tells most of
that beforehand. But an agent that was struck does other things than before: it reads what it never
read, it does what another process left behind. So nothing is ruled out here; what was not seen is
only drawn more seldom.

>>> site = Site(session="s2", task="s2-t1", port="tools.ship", marker="o-s2-t1", attempt=2)
>>> calls_seen([site])[(False, 1)]
{'tools.ship': {'o-{task}': 2}}
>>> mostly(("likely",), ("seldom",)).count("likely")
49
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Final, TypeVar

from chaoslab.contract import Contract
from chaoslab.faults import NONE, PORTS, ROLES, Fault, Site, at_port, matches
from chaoslab.run.model import RunSpec
from chaoslab.scenario import Workload

Calls = Mapping[str, Mapping[str, int]]  # of a task, by port: what they are about, how many tries
Turn = tuple[bool, int]  # whether the session is the first one, and the how manieth task it is
_T = TypeVar("_T")

_LIKELY: Final = 49  # of fifty
_OPTIONS_MAX: Final = 100  # as many as one number tells apart
_TRIES_PLAIN: Final = 5
_SEEN_MAX: Final = 6
# Whoever waits for so long has given the call up, or another process has taken over.
_WAITS_MS: Final = 10_000
_FAILS: Final = ("silence", "reset", "error-reply", "trap", "crash")
_STOPS: Final = ("silence", "reset", "error-reply", "rate-limit", "crash", "reorder")
_ORDER: Final = ("before-send", "before-commit", "mid-write", "after-commit", "after-reply")
_HELD: Final = ("delay", "hold", "pause", "partition")
_WRITES: Final = ("memory.write", "memory.write_many", "memory.erase")


def shape(marker: str, task: str, session: str, /) -> str:
    """A marker with the task's own names taken out; "" where it names another task.

    >>> shape("o-s1-t2/shipped", "s1-t2", "s1"), shape("profile/s1", "", "s1")
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


def turn_of(task: str, /) -> Turn | None:
    """Where a task stands; None where it has another name than the lab's.

    >>> turn_of("s1-t3"), turn_of("s12-t1"), turn_of("-")
    ((True, 3), (False, 1), None)
    """
    found = re.fullmatch(r"s(\d+)-t(\d+)", task)
    return (found[1] == "1", int(found[2])) if found else None


def calls_seen(sites: Iterable[Site], /) -> dict[Turn, dict[str, dict[str, int]]]:
    """The calls of tasks by where the task stands: the first customer finds a world in which
    nothing is written yet, and a first task finds nothing of its own."""
    out: dict[Turn, dict[str, dict[str, int]]] = {}
    for site in sites:
        turn = turn_of(site.task)
        if turn is not None:
            about = out.setdefault(turn, {}).setdefault(site.port, {})
            what = shape(site.marker, site.task, site.session)
            about[what] = max(about.get(what, 0), site.attempt)
    return out


def calls_of(
    seen: Mapping[Turn, Calls], task: str, kinds: Sequence[str], alone: bool, /
) -> Calls | None:
    """What a task is likely to call: what one in its place did, else one of its kind, a later one
    first. None where nobody knows. Where the session is not `alone`, who comes first is a matter
    of chance: then it is what both the first and another one would call.

    >>> seen = {(True, 1): {"a": {"x": 1}, "b": {"y": 1}}, (False, 1): {"b": {"y": 2}}}
    >>> calls_of(seen, "s2-t1", ["refund"], False), calls_of(seen, "s1-t1", ["refund"], True)
    ({'b': {'y': 1}}, {'a': {'x': 1}, 'b': {'y': 1}})
    """
    turn = turn_of(task)
    if turn is None:
        return None
    _, nth = turn
    if not {(True, nth), (False, nth)} & seen.keys():
        kind = kinds[nth - 1]
        alike = [n for _, n in seen if n <= len(kinds) and kinds[n - 1] == kind]
        if not alike:
            return None
        nth = max(alike)
    first = seen.get((True, nth)) or seen[False, nth]
    other = seen.get((False, nth), first)
    if alone:
        return first
    return {
        port: {what: min(n, other[port][what]) for what, n in about.items() if what in other[port]}
        for port, about in first.items()
        if port in other
    }


def at_place(calls: Calls, at: str, contract: Contract, /) -> dict[str, int]:
    """What calls at a place are about, and how many tries each has; of a role at any of its tools.

    >>> at_place({"tools.ship": {"o-{task}": 2}}, "tools:*", Contract())
    {'o-{task}': 2}
    """
    found: dict[str, int] = {}
    for port, about in calls.items():
        if at_port(at, port, contract):
            for what, tries in about.items():
                found[what] = max(found.get(what, 0), tries)
    return found


def expected(
    seen: Mapping[Turn, Calls], kinds: Sequence[str], sessions: int, /
) -> tuple[Site, ...]:
    """The calls of so many sessions with tasks of these kinds, as nothing strikes them, in the
    order in which faults are bound to them."""
    found = []
    for session, nth in product(range(1, sessions + 1), range(1, len(kinds) + 1)):
        task = f"s{session}-t{nth}"
        calls = calls_of(seen, task, kinds, session == 1) or {}
        for port, about in sorted(calls.items()):
            for what in sorted(about):
                marker = what.replace("{task}", task).replace("{session}", f"s{session}")
                found.append(
                    Site(session=f"s{session}", task=task, port=port, marker=marker, attempt=1)
                )
    return tuple(found)


def first_call(fault: Fault, calls: Sequence[Site], contract: Contract, /) -> Site | None:
    """The first try of the action that a fault is expected to strike."""
    first = replace(fault, attempt=1)
    return next((one for one in calls if matches(first, one, contract)), None)


def clash(one: Fault, other: Fault, /) -> bool:
    """Whether of two faults at one action the earlier one leaves nothing for the later one.

    >>> lost = Fault(at="tools.refund", phase="before-commit", kind="silence")
    >>> late = Fault(at="tools.refund", phase="after-commit", kind="duplicate")
    >>> clash(late, lost), clash(replace(lost, kind="delay"), late)
    (True, False)
    """
    if one.attempt >= other.attempt + other.times or other.attempt >= one.attempt + one.times:
        return False
    first, second = sorted((one, other), key=lambda fault: _ORDER.index(fault.phase))
    if first.phase == second.phase:
        return False
    waits = first.kind == "hold" and (first.for_ms is None or first.for_ms > _WAITS_MS)
    return waits or first.kind in _STOPS


def tried_again(fault: Fault, keyless: bool, /) -> bool:
    """Whether an agent is likely to make the same call again after a fault. Nobody repeats what
    may have happened where the service takes no key (`keyless`), unless he was told that it did
    not; and what was written stands there, for whoever looks.

    >>> lost = Fault(at="tools.refund", phase="after-commit", kind="silence")
    >>> tried_again(lost, False), tried_again(lost, True)
    (True, False)
    """
    if fault.kind == "rate-limit":
        return True
    written = fault.at in _WRITES and fault.phase in ("after-commit", "after-reply")
    if keyless or written:
        return False
    if fault.kind in _HELD:
        return fault.for_ms is None or fault.for_ms > _WAITS_MS
    return fault.kind in _FAILS


def tries_of(
    again: bool, seen: int, late: Sequence[int], tries_max: int, /
) -> tuple[tuple[int, int], ...]:
    """Which tries are struck, (the first, and how many), the plainest first: `seen` of them are
    made without any fault, `late` are those that scenarios of the place name.

    >>> found = tries_of(False, 2, (), 5)
    >>> found.count((1, 1)) > 3 * found.count((2, 1)) > 3 * found.count((1, 3)) > 0
    True
    """
    lasting = [n for n in dict.fromkeys((2, 3, *late)) if again and n <= tries_max]
    likely = [(1, 1)] * _TRIES_PLAIN
    likely += [(nth, 1) for nth in range(2, min(seen, _SEEN_MAX) + 1)]
    likely += [(1, n) for n in lasting]
    all_there_are = [(2, 1), (1, 2), (1, 3), *((n, 1) for n in late), *((1, n) for n in late)]
    return mostly(likely, [one for one in dict.fromkeys(all_there_are) if one not in likely])


def kinds_of(spec: RunSpec, tasks: int, /) -> list[str]:
    """The kinds of a session's tasks, in order."""
    mix = [k for k in spec.scenario.workload.mix if k in spec.workload.kinds]
    mix = mix or list(spec.workload.kinds)
    return [mix[n % len(mix)] for n in range(tasks)]


def places_of(spec: RunSpec, sites: Sequence[Site], /) -> dict[str, tuple[str, ...]]:
    """The places that a task of a kind comes by: of those that there are, the ones that were
    seen, where tasks of the kind were seen at all."""
    kinds = kinds_of(spec, spec.scenario.workload.tasks)
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


def mostly(likely: Sequence[_T], seldom: Sequence[_T], /) -> tuple[_T, ...]:
    """Options for one number below a hundred, of which `seldom` make up a fiftieth if there is
    room for that; where nothing is likely, all are alike."""
    if not likely or not seldom:
        return (*likely, *seldom)
    times = -(-_LIKELY * len(seldom) // len(likely))
    room = max(1, (_OPTIONS_MAX - len(seldom)) // len(likely))
    return (*(tuple(likely) * min(times, room)), *seldom)
