"""A shard of stress: counted exactly, the same everywhere, and it goes on after a failure."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from chaoslab.core.errors import LabError, UsageError
from chaoslab.explore import stress
from chaoslab.explore.database import Examples
from chaoslab.explore.stress import (
    ShardEnd,
    StressShard,
    database_key,
    shards_of,
    stress_shard,
)
from chaoslab.explore.work import Setting, close_workers, workers_here
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.trials import Trial
from chaoslab.scenario import scenario_from

Judge = Callable[[RunSpec], Trial]
MATRIX = ("matrix/timeout-after-commit", "matrix/partial-write-crash-1")


@cache
def base(*names: str, agent: str = REFERENCE) -> tuple[RunSpec, ...]:
    wanted = names or MATRIX
    return tuple(specs_for(scenario_files(wanted), agent))


class Pool:
    """Interpreters that are not there: what an execution comes to is read off its scenario."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.asked: list[RunSpec] = []
        self.looked, self.hangs = 0, False
        self._lock = Lock()

    def trials(self, specs: Sequence[RunSpec], *, whole: bool = False) -> list[Trial]:
        if whole:
            self.looked += len(specs)
            assert all(not spec.scenario.faults for spec in specs)
            if self.hangs:
                return [Trial(scenario=s.scenario.id, seed=s.seed, broke="it hung") for s in specs]
            return [Trial(scenario=spec.scenario.id, seed=spec.seed) for spec in specs]
        with self._lock:
            self.asked += specs
        return [self.judge(spec) for spec in specs]


def by_kind(spec: RunSpec) -> Trial:
    """A bug for crashes, another for delays; one kind breaks the lab, one is never struck."""
    kinds = [fault.kind for fault in spec.scenario.faults]
    plain = Trial(
        scenario=spec.scenario.id,
        seed=spec.seed,
        ops=len(kinds),
        spent_us={"agent": 10, "world": 20, "checks": 5},
    )
    broken = tuple(
        ("effects.delivery", code, f"fp-{code}", "it broke")
        for code in ("crash", "delay")
        if code in kinds
    )
    if broken:
        return replace(plain, broken=broken, fired=len(kinds))
    if "pause" in kinds:
        return replace(plain, broke="it hung")
    if "reorder" in kinds:
        return replace(plain, idle="never struck: reorder (the agent made no such call)")
    return replace(plain, idle="no effect was committed" if "rate-limit" in kinds else "")


def all_held(spec: RunSpec) -> Trial:
    return Trial(scenario=spec.scenario.id, seed=spec.seed, ops=1)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Callable[[Judge], Pool]:
    def use(judge: Judge) -> Pool:
        made = Pool(judge)
        monkeypatch.setattr(stress, "workers_here", lambda setting: made)
        return made

    return use


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shard(runs: int = 60, **more: Any) -> StressShard:
    return StressShard(name="s", base=base(), seed=5, runs=runs, **more)


def judgements(end: ShardEnd) -> list[tuple[Any, ...]]:
    return [row.judgement for row in end.rows]


# -- counted exactly


@pytest.mark.parametrize("runs", [1, 2, 7, 60, 130])
@pytest.mark.parametrize("judge", [by_kind, all_held])
def test_every_execution_is_a_row_once_and_there_are_as_many_as_asked_for(
    pool: Callable[[Judge], Pool], judge: Judge, runs: int
) -> None:
    asked = pool(judge)
    end = stress_shard(shard(runs))
    assert end.cut == "" and len(end.rows) == runs
    names = [(spec.scenario.name, spec.seed) for spec in asked.asked]
    assert len(set(names)) == len(names) == runs, "nothing is executed twice"
    assert [row.name for row in end.rows] == [f"s/{n:06d}" for n in range(1, runs + 1)]
    for row, spec in zip(end.rows, asked.asked, strict=True):
        found = judge(spec)
        assert (row.seed, row.ops, row.breaches) == (spec.seed, found.ops, found.broken)
        assert spec.scenario.name.startswith(row.world)


def test_the_example_that_ends_a_round_is_asked_for_again_and_not_executed_again(
    pool: Callable[[Judge], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hypothesis makes sure that a failure is none of chance; that call is answered from memory."""
    calls: list[str] = []
    really = stress._Shard._one

    def counted(self: Any, spec: RunSpec) -> None:
        calls.append(spec.scenario.name)
        really(self, spec)

    monkeypatch.setattr(stress._Shard, "_one", counted)
    asked = pool(by_kind)
    end = stress_shard(shard(60))
    first = next(n for n, row in enumerate(end.rows) if row.word == "broken")
    assert calls[first] == calls[first + 1], "asked for twice"
    assert Counter(s.scenario.name for s in asked.asked)[calls[first]] == 1, "executed once"
    assert len(calls) > len(end.rows) == 60


def test_it_goes_on_after_a_failure_and_finds_the_other_bug(
    pool: Callable[[Judge], Pool],
) -> None:
    pool(by_kind)
    end = stress_shard(shard(120))
    found = Counter(fingerprint for row in end.rows for _, _, fingerprint, _ in row.breaches)
    assert set(found) == {"fp-crash", "fp-delay"} and sum(found.values()) > 10
    assert Counter(row.word for row in end.rows).keys() == {
        "held",
        "broken",
        "broke",
        "never-struck",
        "unproven",
    }


def test_a_row_says_what_it_was(pool: Callable[[Judge], Pool]) -> None:
    asked = pool(by_kind)
    end = stress_shard(shard(60))
    for row, spec in zip(end.rows, asked.asked, strict=True):
        assert [fault["kind"] for fault in row.faults] == [f.kind for f in spec.scenario.faults]
        if row.word == "held":
            sample = int(row.name.rpartition("/")[2]) % 100 == 1
            assert bool(row.scenario) == sample and row.why == ""
        else:
            assert scenario_from(tomllib.loads(row.scenario), row.name) == spec.scenario
            assert (row.why == "") == (row.word == "broken")


def test_a_known_breach_ends_no_round(pool: Callable[[Judge], Pool]) -> None:
    pool(by_kind)
    known = stress_shard(shard(80, known=("fp-crash", "fp-delay")))
    assert known.saved == () and len(known.rows) == 80
    assert any(row.word == "broken" for row in known.rows)


def test_a_space_that_is_used_up_ends_the_shard_with_words(
    pool: Callable[[Judge], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaoslab.explore.draws.SEEDS", 1)
    monkeypatch.setattr("chaoslab.explore.draws._JITTER_MS", ())
    monkeypatch.setattr("chaoslab.explore.draws._FAULTS_MAX", 0)
    asked = pool(all_held)
    end = stress_shard(
        StressShard(name="s", base=base("matrix/concurrent-2")[:1], seed=1, runs=500)
    )
    assert end.cut == "nothing else can be drawn"
    # sessions, tasks, concurrent, deliveries, rewords
    assert len(end.rows) == len(asked.asked) == 3 * 3 * 2 * 2 * 2


# -- refusals and limits


def test_nothing_to_do_is_refused_with_words() -> None:
    with pytest.raises(UsageError, match="needs executions: got 0"):
        stress_shard(shard(0))
    with pytest.raises(UsageError, match="nothing to draw from"):
        stress_shard(StressShard(name="s", base=(), seed=0, runs=5))
    with pytest.raises(UsageError, match="nothing to draw from"):
        shards_of((), seed=0, runs=5)
    for runs, shards in ((0, 8), (5, 0), (-3, 8)):
        with pytest.raises(UsageError, match="must be positive"):
            shards_of(base(), seed=0, runs=runs, shards=shards)


def test_time_that_runs_out_ends_between_executions_and_keeps_what_is_done(
    pool: Callable[[Judge], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0]
    monkeypatch.setattr(stress, "monotonic_ns", lambda: now[0])

    def slow(spec: RunSpec) -> Trial:
        now[0] += 40_000_000
        return all_held(spec)

    pool(slow)
    end = stress_shard(shard(500, time_ms=200))
    assert (len(end.rows), end.cut, end.saved) == (5, "time ran out", ())
    assert end.spent_us["hypothesis"] == 0


def test_what_hypothesis_takes_is_what_executions_do_not(
    pool: Callable[[Judge], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0]

    def clock() -> int:
        now[0] += 1_000
        return now[0]

    monkeypatch.setattr(stress, "monotonic_ns", clock)
    pool(by_kind)
    end = stress_shard(shard(30))
    assert end.spent_us["hypothesis"] > 0
    assert (end.spent_us["agent"], end.spent_us["world"], end.spent_us["checks"]) == (300, 600, 150)


def test_interpreters_that_are_ended_meanwhile_cost_only_what_is_left(
    pool: Callable[[Judge], Pool],
) -> None:
    def ended(spec: RunSpec) -> Trial:
        if len(asked.asked) > 12:
            raise LabError("the execution was interrupted")
        return by_kind(spec)

    asked = pool(ended)
    end = stress_shard(shard(60))
    assert (len(end.rows), end.cut) == (12, "the execution was interrupted")


def test_a_lab_that_cannot_work_at_all_is_an_error(pool: Callable[[Judge], Pool]) -> None:
    def never(spec: RunSpec) -> Trial:
        raise LabError("a worker interpreter cannot be started")

    pool(never)
    with pytest.raises(LabError, match="cannot be started"):
        stress_shard(shard(60))


def test_ctrl_c_goes_through(pool: Callable[[Judge], Pool]) -> None:
    def stopped(spec: RunSpec) -> Trial:
        raise KeyboardInterrupt

    pool(stopped)
    with pytest.raises(KeyboardInterrupt):
        stress_shard(shard(60))


# -- the same everywhere


def test_shards_are_fixed_by_their_numbers() -> None:
    parts = shards_of(base(), seed=3, runs=103, shards=8)
    assert [part.runs for part in parts] == [13] * 7 + [12]
    assert len({part.seed for part in parts}) == len({part.name for part in parts}) == 8
    assert parts == shards_of(base(), seed=3, runs=103, shards=8)
    assert {p.seed for p in parts}.isdisjoint(
        p.seed for p in shards_of(base(), seed=4, runs=103, shards=8)
    )
    assert [part.runs for part in shards_of(base(), seed=3, runs=3, shards=8)] == [1, 1, 1]
    assert pickle.loads(pickle.dumps(parts[0])) == parts[0]


def test_threads_at_once_give_the_rows_of_one_after_the_other(
    pool: Callable[[Judge], Pool],
) -> None:
    parts = shards_of(base(), seed=9, runs=40, shards=4)
    pool(by_kind)
    alone = [stress_shard(part) for part in parts]
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that the shards really take turns
    try:
        with ThreadPoolExecutor(4) as threads:
            at_once = list(threads.map(stress_shard, parts))
    finally:
        sys.setswitchinterval(often)
    assert [judgements(end) for end in at_once] == [judgements(end) for end in alone]
    assert [end.saved for end in at_once] == [end.saved for end in alone]


PROGRAM = """
import json, sys
import chaoslab.report.terminal, chaoslab.cli  # other modules are loaded than elsewhere
sys.path.insert(0, sys.argv[1])
import test_stress as here
from chaoslab.explore import stress
pool = here.Pool(here.by_kind)
stress.workers_here = lambda setting: pool
parts = stress.shards_of(here.base(), seed=9, runs=12, shards=2)
print(json.dumps([[row.to_json() for row in stress.stress_shard(part).rows] for part in parts]))
"""


def test_another_interpreter_gives_the_same_rows(
    pool: Callable[[Judge], Pool], folder: Path
) -> None:
    """And writes no file beside the lab's own, though Hypothesis would."""
    here = Path(__file__).resolve()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(here.parent)],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("HYPOTHESIS")},
            "PYTHONHASHSEED": "777",
            "PYTHONPATH": str(here.parents[3] / "harness"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert {path.name for path in folder.iterdir()} <= {".chaoslab"}
    pool(by_kind)
    parts = shards_of(base(), seed=9, runs=12, shards=2)
    mine = [[row.to_json() for row in stress_shard(part).rows] for part in parts]
    assert json.loads(done.stdout) == json.loads(json.dumps(mine))


# -- the database


def test_what_failed_is_tried_first_the_next_time(
    pool: Callable[[Judge], Pool], tmp_path: Path
) -> None:
    pool(by_kind)
    examples = Examples(str(tmp_path / "examples"), database_key(base()))
    first = stress_shard(shard(60, database=examples.read()))
    assert len(first.saved) == 2 and first.dropped == ()
    examples.write([value for _, value in first.saved])

    again = stress_shard(replace(shard(60, database=examples.read()), seed=77))
    early = {f for row in again.rows[:2] for _, _, f, _ in row.breaches}
    assert early == {"fp-crash", "fp-delay"}
    assert set(again.saved) == set(first.saved) and again.dropped == ()
    assert len(again.rows) == 60


def test_what_is_mended_is_dropped(pool: Callable[[Judge], Pool]) -> None:
    pool(by_kind)
    first = stress_shard(shard(60))
    database = {database_key(base()): tuple(value for _, value in first.saved)}
    pool(all_held)
    mended = stress_shard(shard(40, database=database))
    assert mended.saved == () and set(mended.dropped) == set(first.saved)
    assert len(mended.rows) == 40 and {row.word for row in mended.rows} == {"held"}


def test_rubbish_in_the_database_costs_nothing(pool: Callable[[Judge], Pool]) -> None:
    pool(by_kind)
    plain = stress_shard(shard(30))
    rubbish = {database_key(base()): (b"\xff\xfe rubbish", b"")}
    end = stress_shard(shard(30, database=rubbish))
    assert len(end.rows) == 30 and len(end.dropped) == 2
    assert {word for _, word in end.dropped} == {b"\xff\xfe rubbish", b""}
    assert Counter(r.word for r in end.rows)["broken"] > 0 and plain.dropped == ()


def test_examples_are_dealt_out_and_shards_do_not_see_each_others() -> None:
    key = database_key(base())
    parts = shards_of(base(), seed=1, runs=40, shards=4, database={key: (b"c", b"a", b"b")})
    assert [part.database[key] for part in parts] == [(b"a",), (b"b",), (b"c",), ()]


def test_the_key_is_of_the_worlds_and_of_the_agent() -> None:
    assert database_key(base()) == database_key(tuple(reversed(base())))
    assert database_key(base()) != database_key(base("matrix/concurrent-2"))
    other = tuple(replace(spec, agent="my.py:make") for spec in base())
    assert database_key(base()) != database_key(other)


# -- real agents


@pytest.fixture
def real() -> Iterator[Setting]:
    yield Setting()
    close_workers()


def test_a_planted_bug_is_found_and_its_case_shows_it_again(real: Setting) -> None:
    root = Path(__file__).resolve().parents[3]
    agent = f"{root / 'fixtures/agents/double_charge.py'}:make_agent"
    [part] = shards_of(
        base("matrix/timeout-after-commit", agent=agent), seed=1, runs=25, shards=1, setting=real
    )
    end = stress_shard(part)
    assert len(end.rows) == 25 and end.cut == ""
    broken = [row for row in end.rows if row.word == "broken"]
    assert {check for row in broken for check, *_ in row.breaches} >= {"effects.delivery"}
    first = broken[0]
    scenario = scenario_from(tomllib.loads(first.scenario), first.name)
    spec = replace(part.base[0], scenario=scenario, seed=first.seed, scenario_text=first.scenario)
    [found] = workers_here(real).trials([spec])
    assert found.broken == first.breaches
    assert all(end.spent_us[what] > 0 for what in ("agent", "world", "checks", "hypothesis"))


def test_the_reference_agent_holds(real: Setting) -> None:
    [part] = shards_of(base(), seed=2, runs=16, shards=1, setting=real)
    end = stress_shard(part)
    words = Counter(row.word for row in end.rows)
    assert not words["broken"] and not words["broke"], end.rows
    assert words["held"] >= 12 and words["never-struck"] <= 3, "most of it strikes"
    assert any("marker" in fault for row in end.rows for fault in row.faults)
