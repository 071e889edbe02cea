"""A campaign on a real Dask cluster on loopback: the same as here, whatever is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.live.spreading import (
    STOPPED_S,
    address_of,
    cluster,
    interrupted,
    loads,
    marked,
    until,
)
from tests.require import need

import chaoslab
from chaoslab.core.errors import LabError, UsageError
from chaoslab.explore import executors
from chaoslab.explore.executors import open_executor
from chaoslab.explore.spread import AHEAD, Spread
from chaoslab.explore.stress import Stress, StressShard, shards_of
from chaoslab.explore.work import Setting, trials_batch
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.trials import Trial

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = f"{ROOT}/fixtures/agents/double_charge.py:make_agent"
SCENARIOS = ("matrix/timeout-after-commit", "matrix/failover-zombie", "matrix/concurrent-2")
BATCH = 2
RUNS, SHARDS = 12, 3
Judged = dict[int, list[Trial]]

# The first interpreter that makes this agent says who it is, and spins until somebody ends it.
STUCK_ONCE = """
import os
from pathlib import Path
from chaoslab.reference import make_agent as reference
def make_agent():
    flag = Path({flag!r})
    if not flag.exists():
        part = flag.with_suffix(".part")
        part.write_text(f"{{os.getpid()}} {{os.getppid()}}")
        part.rename(flag)
        while True:
            pass
    return reference()
"""


@pytest.fixture(scope="module")
def mark() -> str:
    return f"dask-{os.getpid()}"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, mark: str) -> Iterator[Any]:
    """One cluster for all of these tests; what its workers start carries a mark."""
    need("distributed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAOSLAB_MARK", mark)
        # It gives up what a killed worker had at once, so that it is we who must do it again.
        once = {"dashboard": False, "allowed_failures": 0}
        with cluster(tmp_path_factory.mktemp("dask"), scheduler_kwargs=once) as made:
            yield made
    assert until(lambda: not marked(mark), 10), "interpreters outlive the cluster"


def batches() -> list[list[RunSpec]]:
    """12 runs of a right and of a wrong agent, cut in the same way wherever they are done."""
    files = scenario_files(SCENARIOS)
    specs = [s for agent in (REFERENCE, DOUBLE) for s in specs_for(files, agent, seeds=range(2))]
    assert len(specs) == 12
    return [specs[n : n + BATCH] for n in range(0, len(specs), BATCH)]


def parts() -> list[StressShard]:
    """A campaign of stress in its parts."""
    specs = specs_for(scenario_files(SCENARIOS[:1]), DOUBLE, seeds=[0])
    return shards_of(specs, seed=3, runs=RUNS, shards=SHARDS)


def judged(executor: Executor, items: list[list[RunSpec]], *, jobs: int) -> Judged:
    """What each item came to, without the time that it took; none may come twice."""
    found: Judged = {}
    for index, trials in Spread(executor, jobs=jobs).each(partial(trials_batch, Setting()), items):
        assert index not in found
        found[index] = [replace(one, spent_us={}) for one in trials]
    return found


def test_the_same_campaign_gives_the_same_on_one_two_and_a_cluster(started: Any) -> None:
    items, drawn = batches(), parts()
    found, rows = [], []
    for where, jobs in (("", 1), ("", 2), (address_of(started), 2)):
        with open_executor(where, jobs=jobs) as executor:
            found.append(judged(executor, items, jobs=jobs))
            ends = dict(Spread(executor, jobs=jobs).each(Stress(), drawn))
        rows.append([replace(row, spent_us={}) for n in sorted(ends) for row in ends[n].rows])
    one, two, there = found
    assert sorted(one) == list(range(len(items)))
    assert one == two == there
    trials = [trial for index in sorted(one) for trial in one[index]]
    assert not any(trial.broke for trial in trials)
    assert not any(trial.broken for trial in trials[:6])
    assert any("effects.delivery" in {row[0] for row in trial.broken} for trial in trials[6:])
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == RUNS == len({row.name for row in rows[0]})
    assert len({(row.word, row.scenario) for row in rows[0]}) > 1, "they are all alike"


def ended(interpreter: int, mark: str) -> bool:
    """Whether an interpreter that was started under a mark is gone."""
    return interpreter not in marked(mark)


def test_a_worker_killed_in_the_middle_costs_only_time(
    started: Any, tmp_path: Path, mark: str
) -> None:
    flag, agent = tmp_path / "flag", tmp_path / "stuck_once.py"
    agent.write_text(STUCK_ONCE.format(flag=str(flag)))
    files = scenario_files(SCENARIOS[:1])
    stuck = specs_for(files, f"{agent}:make_agent", seeds=[0])
    items = batches()
    items.insert(3, stuck)
    found: Judged = {}
    worker = interpreter = 0
    with open_executor(address_of(started), jobs=2) as executor:
        for index, trials in Spread(executor, jobs=2).each(partial(trials_batch, Setting()), items):
            assert index not in found
            found[index] = trials
            if len(found) == 3:
                assert until(flag.exists, 20)
                interpreter, worker = map(int, flag.read_text().split())
                assert worker in {one.pid for one in started.workers.values()}
                assert interpreter in marked(mark)
                os.kill(worker, signal.SIGKILL)
                # Its parent is gone, and an agent that spins does not keep it alive.
                assert until(partial(ended, interpreter, mark), STOPPED_S)
    assert sorted(found) == list(range(len(items)))
    assert found[3][0].broke == "" and found[3][0].broken == ()
    assert worker not in {one.pid for one in started.workers.values()}
    assert until(lambda: len(started.scheduler.workers) == 2, 60), "no other was started"


def test_ctrl_c_ends_everything_there_too(started: Any, tmp_path: Path, mark: str) -> None:
    lines, code, seconds = interrupted(address_of(started), tmp_path, mark)
    assert (sorted(lines), code) == (["0 held", "1 held", "2 held"], 130)
    assert seconds < STOPPED_S
    with open_executor(address_of(started), jobs=1) as executor:  # the cluster itself lives on
        assert sorted(Spread(executor, jobs=1).each(abs, [-1, 2])) == [(0, 1), (1, 2)]


def test_an_error_of_the_function_is_passed_on(started: Any) -> None:
    with open_executor(address_of(started), jobs=1) as executor:
        with pytest.raises(ValueError, match="invalid literal"):
            list(Spread(executor, jobs=1).each(int, ["1", "two", "3"]))


def test_a_scheduler_holds_only_a_few_items(started: Any) -> None:
    with open_executor(address_of(started), jobs=1) as executor:
        seen, held = 0, 0
        for _ in Spread(executor, jobs=1).each(abs, range(200)):
            seen, held = seen + 1, max(held, len(started.scheduler.tasks))
    assert seen == 200 and 0 < held <= 2 * AHEAD + 4  # those released a moment ago


def test_another_version_there_is_refused(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaoslab, "__version__", "99.0")
    with pytest.raises(UsageError, match=r"has chaoslab .* allowed: chaoslab 99\.0 on Python"):
        open_executor(address_of(started), jobs=1)


def test_other_code_of_the_same_version_is_refused(
    started: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "__init__.py").touch()  # ours is another one now, and theirs is as it was
    monkeypatch.setattr(chaoslab, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UsageError, match=r"has other code of chaoslab"):
        open_executor(address_of(started), jobs=1)


def test_an_agent_that_does_not_load_there_is_refused(started: Any, tmp_path: Path) -> None:
    missing = f"{tmp_path}/nowhere.py:make_agent"
    with open_executor(address_of(started), jobs=1, ready=partial(loads, DOUBLE)):
        pass
    with pytest.raises(UsageError, match=r"not every worker .*nowhere\.py"):
        open_executor(address_of(started), jobs=1, ready=partial(loads, missing))


def test_workers_that_take_nothing_are_said_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed.core import Status

    monkeypatch.setattr(executors, "_ALONE_MS", 0)
    # Without a limit there is nobody to set them to work again.
    with cluster(tmp_path, processes=False, protocol="tcp://", memory_limit=0) as mine:
        with open_executor(address_of(mine), jobs=1) as executor:
            assert executor.trouble() == ""
            for worker in mine.workers.values():
                worker.status = Status.paused  # as where its memory is used up
            assert until(lambda: "(2 paused, mostly for want of memory)" in executor.trouble(), 10)
            with pytest.raises(LabError, match="no workers that take work"):
                list(Spread(executor, jobs=1).each(abs, [-1]))


def test_a_lost_scheduler_is_said_and_not_waited_for(tmp_path: Path) -> None:
    # Its workers are threads here, which start sooner; they talk over the network all the same.
    with (
        cluster(tmp_path, processes=False, protocol="tcp://") as mine,
        pytest.raises(LabError, match=r"^the Dask scheduler at .* is gone"),
    ):
        with open_executor(address_of(mine), jobs=2) as executor:
            for index, _ in Spread(executor, jobs=2).each(time.sleep, [0.1] * 400):
                if index == 4:
                    mine.close()
