"""Worlds: which scenarios share one, and what is left of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chaoslab.contract import Limits
from chaoslab.explore.worlds import World, worlds_of
from chaoslab.run.plan import limits_in_force
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.scenario import load_scenario


def worlds(names: Sequence[str], *, seeds: Sequence[int] = (0,), **sizes: int) -> list[World]:
    return worlds_of(specs_for(scenario_files(names), REFERENCE, seeds=seeds), **sizes)


def test_scenarios_that_differ_in_their_faults_alone_share_a_world() -> None:
    failover = [f"matrix/failover-{how}" for how in ("killed", "partitioned", "zombie")]
    [world] = worlds(failover)
    assert world.scenarios == tuple(failover)
    assert world.spec.scenario.faults == ()


def test_a_race_is_its_own_world_with_or_without_a_crash_among_it() -> None:
    found = worlds(["matrix/concurrent-2", "matrix/concurrent-2-crash", "matrix/concurrent-8"])
    assert [w.scenarios for w in found] == [
        ("matrix/concurrent-2", "matrix/concurrent-2-crash"),
        ("matrix/concurrent-8",),
    ]
    assert found[0].spec.scenario.workload.concurrent
    assert found[0].id != found[1].id


def test_each_seed_is_swept_by_itself_and_keeps_the_name_of_the_world() -> None:
    one, two = worlds(["matrix/failover-killed"], seeds=[3, 4])
    assert one.id == two.id
    assert (one.seed, two.seed) == (3, 4) == (one.spec.seed, two.spec.seed)
    assert one.name != two.name


def test_a_scenario_named_twice_is_told_once() -> None:
    specs = specs_for(scenario_files(["matrix/failover-killed"]), REFERENCE, seeds=[0])
    [world] = worlds_of([*specs, *specs])
    assert world.scenarios == ("matrix/failover-killed",)


def test_resizing_makes_more_of_them_the_same() -> None:
    names = ["matrix/concurrent-2", "matrix/concurrent-8", "matrix/timeout-after-commit"]
    assert len(worlds(names)) == 3
    assert len(worlds(names, tasks=2)) == 2
    small = worlds(names, sessions=1, tasks=1)
    # Alone, no task is beside another; that two processes serve makes the one difference left.
    assert [w.spec.scenario.regions.processes for w in small] == [2, 1]
    assert all(w.spec.scenario.workload.sessions == 1 for w in small)


def test_a_mix_counts_only_as_far_as_there_are_tasks() -> None:
    names = ["matrix/partial-write-crash-1", "matrix/timeout-after-commit"]
    assert len(worlds(names, sessions=1)) == 2  # three tasks, and two
    assert len(worlds(names, sessions=1, tasks=2)) == 1
    wasm = ["matrix/panic-after-commit-abort", "matrix/panic-after-commit-unwind"]
    assert len(worlds(wasm, sessions=1, tasks=1)) == 2  # two builds of the guest


def test_the_operator_lets_go_only_sessions_that_are_there() -> None:
    [spec] = specs_for(scenario_files(["lifecycle/release"]), REFERENCE, seeds=[0])
    [release, *_] = spec.scenario.operator
    far = replace(release, session="s9")
    scenario = replace(spec.scenario, operator=(release, far))
    [world] = worlds_of([replace(spec, scenario=scenario)], sessions=1)
    assert release.session == "s1"
    assert world.spec.scenario.operator == (release,)


def test_limits_that_were_written_for_other_faults_do_not_count() -> None:
    [spec] = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])
    assert spec.scenario.limits.uncertain_tasks_max == 0
    [world] = worlds_of([spec])
    limits = limits_in_force(world.spec)
    assert limits.uncertain_tasks_max is None
    assert limits.attempts_per_operation_max == spec.contract.limits.attempts_per_operation_max
    assert world.spec.scenario.limits == Limits()


def test_the_file_of_a_world_reads_back_to_it(tmp_path: Path) -> None:
    for world in worlds(["matrix"], seeds=[7], sessions=1):
        path = tmp_path / f"{world.id}.toml"
        path.write_text(world.spec.scenario_text, encoding="utf-8")
        assert load_scenario(path) == world.spec.scenario
        assert world.spec.scenario.schedule.seeds == (7,)
        assert world.spec.scenario.id == f"sweep/{world.id}"
