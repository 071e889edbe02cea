"""What stress draws: valid, small, in reach of what is packaged, and the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaoslab.contract import Limits
from chaoslab.contract.target import Target
from chaoslab.core.errors import UsageError
from chaoslab.explore import draws, reach
from chaoslab.explore.draws import DRAWS_MAX, NOTHING_SEEN, Seen, scenarios, uniform
from chaoslab.explore.worlds import worlds_of
from chaoslab.faults import KINDS, NONE, PHASES, Fault, Site, problem
from chaoslab.faults.model import TRAP_MODES
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, known_scenarios, scenario_files, specs_for
from chaoslab.scenario import scenario_from
from chaoslab.scenario.writing import scenario_toml

QUIET = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@cache
def packaged() -> list[RunSpec]:
    return specs_for(scenario_files(known_scenarios()), REFERENCE)


@cache
def only(*names: str) -> list[RunSpec]:
    return specs_for(scenario_files(names), REFERENCE)


def seen_in(specs: list[RunSpec]) -> Seen:
    """Sites as the reference agent has them, of every world of some specs."""
    about = {
        "memory.read": ("profile/s1", "session/s1", "policy/current"),
        "memory.write": ("attr/tenant-s1/s1", "session/s1", "task/s1-t1"),
        "model.complete": ("turn-2", "turn-4"),
        "network.request": ("GET http://kb.example/returns",),
        "tools.refund": ("o-s1-t1",),
        "tools.notify": ("o-s1-t1/refunded",),
    }
    sites = [
        Site(session="s1", task="s1-t1", port=port, marker=marker, attempt=1)
        for port, markers in about.items()
        for marker in markers
    ]
    sites.append(Site(session="", task="", port="memory.scan", marker="task/", attempt=1))
    return Seen(sites={world.id: tuple(sites) for world in worlds_of(specs)})


def check(spec: RunSpec) -> None:
    """Every promise about a drawn run."""
    scenario = spec.scenario
    read = scenario_from(tomllib.loads(scenario_toml(scenario)), "drawn")
    assert read == scenario, "the loader refuses nothing, and reads the same"
    assert len(scenario.faults) <= 3
    assert 0 <= spec.seed <= 2**16 and scenario.schedule.seeds == (spec.seed,)
    assert scenario.limits == Limits() and scenario.expect == "valid"
    assert scenario.schedule.choices is None and spec.choices is None
    assert (spec.role, spec.expected_check, spec.scenario_text) == ("subject", "", "")
    use = scenario.workload
    assert not (use.concurrent and use.gap_ms)
    assert use.sessions * use.tasks <= 20, "as many as the largest base has"
    named = {f"s{s}-t{t}" for s in range(1, use.sessions + 1) for t in range(1, use.tasks + 1)}
    for fault in scenario.faults:
        assert problem(fault) == ""
        assert fault.task in {"", NONE, *named}
        if fault.scope == "region" or fault.kind == "partition":
            assert len(scenario.regions.names) > 1
    sessions = {f"s{n}" for n in range(1, use.sessions + 1)}
    assert {one.session for one in scenario.operator} <= sessions


@QUIET
@given(scenarios(packaged()))
def test_whatever_is_drawn_is_a_scenario(spec: RunSpec) -> None:
    check(spec)


@QUIET
@given(scenarios(packaged(), seen=seen_in(packaged())))
def test_whatever_is_drawn_where_something_was_seen_is_a_scenario(spec: RunSpec) -> None:
    check(spec)


@pytest.mark.parametrize("seed", range(3))
def test_the_uniform_draw_is_from_the_same_space(seed: int) -> None:
    random = Random(seed)
    for _ in range(150):
        check(uniform(packaged(), random))


@pytest.mark.parametrize("seen", [NOTHING_SEEN, seen_in(packaged())], ids=["unseen", "seen"])
def test_a_scenario_is_at_most_thirty_numbers_below_a_hundred(seen: Seen) -> None:
    worlds = draws._bases(packaged(), seen)
    random, most = Random(0), 0
    for pick in (random.randrange, lambda below: below - 1, lambda below: 0):
        for _ in range(100):
            taken: list[int] = []

            def number(below: int, pick: Any = pick, taken: list[int] = taken) -> int:
                assert 2 <= below <= 100, "Hypothesis has no constants of its own down there"
                taken.append(below)
                return int(pick(below))

            draws._drawn(worlds, number)
            most = max(most, len(taken))
    assert 20 <= most <= DRAWS_MAX


def test_thirty_is_what_hypothesis_counts_too() -> None:
    from hypothesis.internal.conjecture.data import ConjectureData

    strategy, most = scenarios(packaged()), 0
    for seed in range(100):
        data = ConjectureData(random=Random(seed))
        data.draw(strategy)
        most = max(most, len(data.choices))
    assert 20 <= most <= DRAWS_MAX


def test_even_more_than_a_hundred_worlds_cost_one_number_more() -> None:
    [spec] = only("matrix/timeout-after-commit")[:1]
    many = [
        replace(
            spec,
            scenario=replace(
                spec.scenario, regions=replace(spec.scenario.regions, restart_after_ms=n)
            ),
        )
        for n in range(1, 111)
    ]
    worlds, random, found, most = draws._bases(many, NOTHING_SEEN), Random(1), set(), 0
    for _ in range(900):
        count = Counter[str]()

        def number(below: int, count: Counter[str] = count) -> int:
            count["taken"] += 1
            return random.randrange(below)

        found.add(draws._drawn(worlds, number).scenario.regions.restart_after_ms)
        most = max(most, count["taken"])
    assert len(found) > 100 and most <= DRAWS_MAX


def test_the_first_of_everything_is_the_plainest() -> None:
    worlds = draws._bases(only("matrix/timeout-after-commit"), NOTHING_SEEN)
    spec = draws._drawn(worlds, lambda below: 0)
    use = spec.scenario.workload
    assert (use.sessions, use.tasks, use.concurrent, use.deliveries) == (1, 1, False, 1)
    [fault] = spec.scenario.faults
    assert (fault.task, fault.attempt, fault.kind, spec.seed) == ("", 1, "silence", 0)


def test_a_smaller_sample_shrinks_to_the_plainest() -> None:
    """Hypothesis finds the smallest run with a crash, though we shrink by other means."""
    from hypothesis import find

    found = find(
        scenarios(only("matrix/timeout-after-commit")),
        lambda spec: any(fault.kind == "crash" for fault in spec.scenario.faults),
        settings=settings(database=None, deadline=None),
    )
    assert [fault.kind for fault in found.scenario.faults] == ["crash"]
    assert (found.scenario.workload.sessions, found.seed) == (1, 0)


# -- what is in reach


def tries_in(base: Any, fault: Fault, place: Any) -> tuple[tuple[int, int], ...]:
    again = reach.tried_again(fault, place.keyless)
    return reach.tries_of(again, 1, place.late, draws._tries_max(base))


@pytest.mark.parametrize("name", known_scenarios())
def test_every_packaged_fault_can_be_drawn(name: str) -> None:
    """Where, how, of which task, about what and at which try: each as its file says it."""
    spec = only(name)[0]
    [base] = draws._bases([spec], NOTHING_SEEN)
    use = spec.scenario.workload
    places = draws._places(base, use.sessions, use.tasks)
    for fault in spec.scenario.faults:
        ways = draws._strikes(base, fault.at)
        # One that strikes everybody is as many strikes, each of which can be drawn.
        bare = replace(fault, session="", task="", marker="", attempt=1, every=False)
        assert bare in [way for group in ways for way in group]
        shape = reach.shape(fault.marker, fault.task, fault.session)
        assert [
            place
            for place in places
            if place.at == fault.at
            and fault.task in place.tasks
            and shape in ("", *place.markers)
            and bool(shape) == bool(fault.marker)
            and (fault.attempt, fault.times) in tries_in(base, fault, place)
        ]


def test_a_call_that_failed_is_struck_again_at_its_next_try() -> None:
    """As a quarantine needs it: three traps of one action in a row."""
    random = Random(8)
    for _ in range(6_000):
        faults = uniform(only("lifecycle/quarantine"), random).scenario.faults
        if [(f.kind, f.attempt) for f in faults] == [("trap", 1), ("trap", 2), ("trap", 3)]:
            if len({(f.at, f.task) for f in faults}) == 1:
                return
    raise AssertionError("never drawn")


def test_an_outage_of_several_tries_is_drawn_as_one_fault() -> None:
    random = Random(8)
    drawn = [uniform(only("delivery/no-answer-five-times"), random) for _ in range(600)]
    lasting = {(f.attempt, f.times) for spec in drawn for f in spec.scenario.faults}
    assert {(1, 1), (2, 1), (1, 2), (1, 3), (1, 5)} <= lasting


def test_the_settings_of_a_base_are_kept() -> None:
    for spec in packaged():
        [world] = draws._bases([spec], NOTHING_SEEN)
        drawn = draws._drawn([world], lambda below: below - 1).scenario
        plain = spec.scenario
        assert drawn.regions == plain.regions and drawn.needs == plain.needs
        assert drawn.workload.wasm == plain.workload.wasm
        assert drawn.workload.gap_ms == plain.workload.gap_ms
        assert drawn.workload.mix == plain.workload.mix
        assert (drawn.heal_after_ms, drawn.linger_ms) == (plain.heal_after_ms, plain.linger_ms)
        assert drawn.workload.sessions >= plain.workload.sessions
        size = drawn.workload.sessions * drawn.workload.tasks
        assert size >= plain.workload.sessions * plain.workload.tasks
        assert drawn.operator == plain.operator


def test_each_size_way_and_fault_turns_up() -> None:
    random, seen = Random(4), Counter[Any]()
    for _ in range(2_000):
        scenario = uniform(packaged(), random).scenario
        use = scenario.workload
        seen.update(
            [
                ("sessions", use.sessions),
                ("tasks", use.tasks),
                ("concurrent", use.concurrent),
                ("deliveries", use.deliveries),
                ("rewords", use.rewords),
                ("jitter", scenario.schedule.jitter_ms),
                ("faults", len(scenario.faults)),
                ("processes", scenario.regions.processes),
                ("active", scenario.regions.active),
            ]
        )
        seen.update(("kind", fault.kind) for fault in scenario.faults)
        seen.update(("phase", fault.phase) for fault in scenario.faults)
        seen.update(("mode", fault.mode) for fault in scenario.faults if fault.kind == "trap")
        seen.update(("scope", fault.scope) for fault in scenario.faults)
    for name, values in {
        "sessions": (1, 2, 3, 5, 20),
        "tasks": (1, 2, 3, 4, 8),
        "concurrent": (True, False),
        "deliveries": (1, 2),
        "rewords": (True, False),
        "jitter": (1, 20, 200),
        "faults": (0, 1, 2, 3),
        "processes": (1, 2),
        "active": ("primary", "all"),
        "kind": tuple(KINDS),
        "phase": PHASES,
        "mode": TRAP_MODES,
        "scope": ("process", "region"),
    }.items():
        assert {value for key, value in seen if key == name} >= set(values), name


def test_a_world_without_faults_is_also_drawn_without_any_and_others_never() -> None:
    random = Random(2)
    with_none = {
        len(uniform(only("matrix/concurrent-2"), random).scenario.faults) for _ in range(80)
    }
    assert with_none == {0, 1, 2, 3}
    others = {
        len(uniform(only("matrix/timeout-after-commit"), random).scenario.faults) for _ in range(80)
    }
    assert others == {1, 2, 3}


def test_what_was_seen_narrows_the_places_and_names_what_calls_are_about() -> None:
    base = only("matrix/timeout-after-commit")
    [world] = draws._bases(base, seen_in(base))
    ports = {at for at in world.calls["refund"] if not at.startswith("tools")}
    assert ports == {"memory.read", "memory.write", "model.complete"}
    random, about, nobodys = Random(1), Counter[str](), set()
    for _ in range(2_000):
        for fault in uniform(base, random, seen=seen_in_once(base)).scenario.faults:
            about[fault.marker] += 1
            if fault.task == NONE:
                nobodys.add(fault.at)
    assert {"profile/s2", "attr/tenant-s3/s3", "turn-4", "task/s2-t1", ""} <= set(about)
    assert nobodys <= {"memory.scan"}


@cache
def _seen_once(names: tuple[str, ...]) -> Seen:
    return seen_in(only(*names))


def seen_in_once(base: list[RunSpec]) -> Seen:
    return _seen_once(("matrix/timeout-after-commit",))


@pytest.mark.parametrize("seen", [False, True])
def test_whatever_was_ever_drawable_is(seen: bool) -> None:
    """What is unlikely to be struck is drawn more seldom; nothing is ruled out."""
    base = packaged()
    for world in draws._bases(base, seen_in(base) if seen else NOTHING_SEEN):
        places = draws._places(world, 2, 3)
        kinds = reach.kinds_of(world.spec, 3)
        assert len(places) <= 100 and {p.at for p in places} == {
            at for kind in kinds for at in world.calls[kind]
        }
        for place in places:
            tasks = {f"s{s}-t{t}" for s in (1, 2) for t in (1, 2, 3)}
            tasks = {one for one in tasks if place.at in world.calls[kinds[int(one[-1]) - 1]]}
            assert set(place.tasks) - {NONE} == {"", *tasks} and len(place.tasks) <= 100
            assert (NONE in place.tasks) == (place.at in world.nobodys)
            for again in (True, False):
                tries = reach.tries_of(again, 1, place.late, 5)
                late = [*((n, 1) for n in place.late), *((1, n) for n in place.late)]
                assert {(1, 1), (2, 1), (1, 2), (1, 3), *late} == set(tries) and len(tries) <= 100
                assert tries[0] == (1, 1)
            for group in draws._strikes(world, place.at):
                kind, lengths = group[0].kind, dict(world.lengths)
                there = {way.for_ms for way in group if way.phase != "mid-write"}
                assert there >= set(lengths.get(kind, ())), (place.at, kind)
                assert {way.phase for way in group} == {
                    phase
                    for phase in PHASES
                    if not problem(replace(group[0], phase=phase, after_items=phase == "mid-write"))
                }


def test_a_marker_that_nobody_was_seen_with_is_drawn_seldom_and_not_never() -> None:
    base, random, about = only("matrix/timeout-after-commit"), Random(6), Counter[bool]()
    sites = [
        Site(
            session="s1",
            task=f"s1-t{n}",
            port="tools.notify",
            marker=f"o-s1-t{n}/{what}",
            attempt=1,
        )
        for n, what in ((1, "refunded"), (2, "shipped"))
    ]
    seen = Seen(sites={world.id: tuple(sites) for world in worlds_of(base)})
    for _ in range(3_000):
        for fault in uniform(base, random, seen=seen).scenario.faults:
            if fault.at == "tools.notify" and fault.marker and fault.task:
                about[fault.marker.endswith("refunded") == fault.task.endswith("t2")] += 1
    assert about[True] > 0 and about[False] > 10 * about[True]


def test_two_faults_of_which_one_ends_the_call_are_at_two_calls() -> None:
    base, random, pairs = only("matrix/timeout-after-commit"), Random(7), 0
    seen = seen_in_once(base)
    [world] = draws._bases(base, seen)
    for _ in range(600):
        scenario = uniform(base, random, seen=seen).scenario
        use = scenario.workload
        calls = draws._expected(world, use.sessions, use.tasks)
        met = [reach.first_call(one, calls, world.contract) for one in scenario.faults]
        if len(met) == 2 and met[0] is not None and met[0] == met[1]:
            pairs += 1
            assert not reach.clash(*scenario.faults), scenario.faults
    assert pairs > 5, "two faults at one call are drawn all the same"


def test_nothing_is_kept_back_for_longer_than_a_service_knows_a_key() -> None:
    """Whoever has his answer cannot call back what the lab still holds."""
    [spec] = only("matrix/failover-zombie")[:1]
    tools = {n: replace(t, key_retention_ms=30_000) for n, t in spec.contract.tools.items()}
    short = replace(spec, contract=replace(spec.contract, tools=tools))
    own = {(one.at, one.kind, one.for_ms) for one in spec.scenario.faults}
    random, kinds = Random(5), Counter[str]()
    for _ in range(500):
        for fault in uniform([short], random).scenario.faults:
            kinds[fault.kind] += 1
            if (fault.at, fault.kind, fault.for_ms) in own:
                continue  # its author says it
            if fault.kind in ("hold", "pause", "partition") or fault.scope == "region":
                assert fault.for_ms is not None, fault
            if fault.kind in ("hold", "delay", "duplicate", "pause", "partition"):
                assert (fault.for_ms or 0) <= 30_000, fault
            assert fault.kind != "reorder" or not fault.at.startswith(("tools", "wasm"))
    assert {"hold", "pause", "partition", "delay", "crash", "reorder"} <= set(kinds)


def test_in_a_world_of_days_nothing_is_held_until_its_end() -> None:
    random = Random(3)
    for _ in range(400):
        for fault in uniform(only("memory/expired-crash"), random).scenario.faults:
            assert fault.for_ms is not None or fault.kind not in ("hold", "pause", "partition")


# -- refusals, and the same everywhere


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to draw from"):
        scenarios([])
    with pytest.raises(UsageError, match="nothing to draw from"):
        uniform([], Random(0))


def test_an_agent_in_processes_of_its_own_is_refused() -> None:
    [spec] = only("matrix/timeout-after-commit")[:1]
    live = replace(spec, target=Target(commands=(("true",),)))
    with pytest.raises(UsageError, match="the simulator"):
        scenarios([live])


PROGRAM = """
from random import Random
from chaoslab.explore.draws import uniform
from chaoslab.run.select import REFERENCE, known_scenarios, scenario_files, specs_for
specs = specs_for(scenario_files(known_scenarios()), REFERENCE)
random = Random(11)
print([uniform(specs, random).scenario.name for _ in range(60)])
"""


def test_the_same_numbers_mean_the_same_scenario_under_any_hash_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": "harness"},
        capture_output=True,
        text=True,
        check=True,
    )
    random = Random(11)
    here = [uniform(packaged(), random).scenario.name for _ in range(60)]
    assert done.stdout.strip() == str(here) and done.stdout.count("w-") == 60


@QUIET
@given(st.integers(0, 2**32))
def test_a_name_tells_two_scenarios_apart(seed: int) -> None:
    random = Random(seed)
    one, two = uniform(packaged(), random), uniform(packaged(), random)
    assert (one.scenario.name == two.scenario.name) == (one.scenario == two.scenario)
