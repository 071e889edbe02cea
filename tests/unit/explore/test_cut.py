"""A shard that was cut off, or whose tools have failed: what is done is done once and is kept."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies
from tests.unit.explore.test_stress import MATRIX, Judge, Pool, all_held, base, by_kind, shard

from chaoslab.core.errors import LabError
from chaoslab.explore import stress
from chaoslab.explore.rows import Row
from chaoslab.explore.stress import ShardEnd, Stress, StressShard, stress_shard
from chaoslab.run.model import RunSpec
from chaoslab.run.trials import Trial


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Callable[[Judge], Pool]:
    def use(judge: Judge) -> Pool:
        made = Pool(judge)
        monkeypatch.setattr(stress, "workers_here", lambda setting: made)
        return made

    return use


@pytest.mark.parametrize("judge", [by_kind, all_held])
def test_what_was_cut_off_and_gone_on_with_is_what_one_go_makes(
    pool: Callable[[Judge], Pool], judge: Judge
) -> None:
    pool(judge)
    whole = stress_shard(shard(60))

    def ended(spec: RunSpec) -> Trial:
        if len(first.asked) > 25:
            raise LabError("the execution was interrupted")
        return judge(spec)

    first = pool(ended)
    cut = stress_shard(shard(60))
    assert (len(cut.rows), cut.whole, whole.whole) == (25, False, True)
    second = pool(judge)
    kept = tuple(Row.from_json(json.loads(json.dumps(row.to_json()))) for row in cut.rows)
    rest = stress_shard(shard(60, earlier=kept, counted=25))
    assert len(second.asked) == 35, "what is done is not executed again"
    assert [row.name for row in rest.rows] == [f"s/{n:06d}" for n in range(26, 61)]
    ran = [(row.world, row.seed, row.faults, row.breaches) for row in (*cut.rows, *rest.rows)]
    assert ran == [(row.world, row.seed, row.faults, row.breaches) for row in whole.rows]
    assert set(rest.saved) == set(whole.saved) and rest.whole


def test_rows_that_the_bound_on_disk_use_left_out_are_not_counted_twice(
    pool: Callable[[Judge], Pool],
) -> None:
    asked = pool(by_kind)
    rest = stress_shard(shard(40, counted=25))
    assert len(asked.asked) == 40
    assert [row.name for row in rest.rows] == [f"s/{n:06d}" for n in range(26, 41)]


def test_rows_of_other_executions_answer_for_none(pool: Callable[[Judge], Pool]) -> None:
    pool(all_held)
    others = stress_shard(replace(shard(10), seed=6)).rows
    asked = pool(all_held)
    end = stress_shard(shard(20, earlier=others, counted=10))
    assert len(asked.asked) == len(end.rows) or len(asked.asked) >= 19
    assert {row.name for row in others}.isdisjoint(row.name for row in end.rows)


def test_shards_under_way_can_be_kept_at_any_moment(pool: Callable[[Judge], Pool]) -> None:
    seen: list[ShardEnd] = []

    def looked_at(spec: RunSpec) -> Trial:
        if len(asked.asked) == 13:
            seen.append(work.so_far()["s"])
        return by_kind(spec)

    asked, work = pool(looked_at), Stress()
    end = work(shard(30))
    assert seen[0].rows == end.rows[:12] and not seen[0].whole and end.whole
    assert set(seen[0].saved) <= set(end.saved)
    assert work.so_far()["s"].rows == end.rows
    assert pickle.loads(pickle.dumps(work)).so_far() == {}, "elsewhere nothing is under way"


def test_a_world_is_looked_at_once_and_no_further_where_the_agent_hangs(
    pool: Callable[[Judge], Pool],
) -> None:
    both, work, asked = base(), Stress(), pool(all_held)
    for name in ("a", "b"):
        work(StressShard(name=name, base=both, seed=1, runs=2))
    assert asked.looked == len({stress._world(spec) for spec in both})
    hung = pool(all_held)
    hung.hangs = True
    end = Stress()(StressShard(name="c", base=base("matrix/concurrent-2", *MATRIX), seed=1, runs=2))
    assert hung.looked == 1 and len(end.rows) == 2


def test_trouble_of_hypothesis_is_told_and_costs_no_traceback(
    pool: Callable[[Judge], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(*_: Any, **__: Any) -> Any:
        return strategies.integers().filter(lambda _: False)

    pool(all_held)
    monkeypatch.setattr(stress, "scenarios", torn)
    end = stress_shard(shard(20))
    assert end.rows == () and end.cut.startswith("Hypothesis gave up: Unsatisfiable")
    assert not end.whole
