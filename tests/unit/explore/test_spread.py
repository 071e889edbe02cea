"""Work that is spread comes back once each, whatever is killed, and stops when it must."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.live.spreading import HANGING, STOPPED_S, interrupted, marked, until

from chaoslab.core.errors import LabError, UsageError
from chaoslab.explore.executors import Threads, open_executor
from chaoslab.explore.spread import AHEAD, Spread
from chaoslab.explore.work import Setting, close_workers, trials_batch
from chaoslab.run import workers as workers_module
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.workers import Worker, Workers

LOST_REPLY = "matrix/timeout-after-commit"


class Mending(Executor):
    """Processes; a pool that a killed process has broken is replaced, as a cluster would."""

    def __init__(self) -> None:
        self._pool = self._fresh()
        self.broken = 0

    def _fresh(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        try:
            return self._pool.submit(fn, *args, **kwargs)
        except BrokenExecutor:
            self.broken += 1
            self._pool.shutdown()
            self._pool = self._fresh()
            raise

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def killed_once(folder: str, number: int) -> int:
    """Its process is killed at the first try of item 5."""
    flag = Path(folder) / str(number)
    if number == 5 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def killed_always(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_item_comes_back_once_with_its_index(jobs: int) -> None:
    items = [f"item {n}" for n in range(50)]
    with open_executor("", jobs=jobs) as executor:
        found = list(Spread(executor, jobs=jobs).each(str.upper, items))
        assert list(Spread(executor, jobs=jobs).each(str.upper, [])) == []
    assert sorted(found) == [(n, item.upper()) for n, item in enumerate(items)]


class Counted(Sequence[int]):
    """Items that say how far they were asked for."""

    last = -1

    def __len__(self) -> int:
        return 1_000

    def __getitem__(self, index: Any) -> Any:
        self.last = max(self.last, index)
        return index


def test_only_a_few_are_handed_over_at_a_time() -> None:
    items, came = Counted(), 0
    with open_executor("", jobs=2) as executor:
        for _ in Spread(executor, jobs=2).each(abs, items):
            assert items.last - came < 2 * AHEAD
            came += 1
    assert came == 1_000 and items.last == 999


def test_an_item_whose_process_was_killed_is_done_again(tmp_path: Path) -> None:
    with Mending() as executor:
        spread = Spread(executor, jobs=2, again_max=5)
        found = list(spread.each(partial(killed_once, str(tmp_path)), range(20)))
        assert executor.broken and (tmp_path / "5").exists()
    assert sorted(found) == [(n, n * n) for n in range(20)]


def test_an_item_that_always_kills_its_process_is_named() -> None:
    with Mending() as executor, pytest.raises(LabError, match=r"item 1 .* 3 times in a row"):
        list(Spread(executor, jobs=1, again_max=2).each(killed_always, [0, 1, 2]))


def test_an_error_of_the_function_is_passed_on_and_ends_the_rest() -> None:
    began: list[int] = []

    def function(number: int) -> int:
        began.append(number)
        if number == 3:
            raise ZeroDivisionError("three")
        return number

    with pytest.raises(ZeroDivisionError, match="three"), open_executor("", jobs=1) as executor:
        list(Spread(executor, jobs=1).each(function, range(1_000)))
    assert len(began) <= 4 + AHEAD


def test_who_leaves_the_loop_early_can_go_on_with_other_work() -> None:
    with open_executor("", jobs=2) as executor:
        for index, _ in Spread(executor, jobs=2).each(abs, range(1_000)):
            if index > 10:
                break
        assert sorted(Spread(executor, jobs=2).each(abs, [-1, -2])) == [(0, 1), (1, 2)]


class Gone(Threads):
    """A cluster of which nothing is left."""

    def trouble(self) -> str:
        return "the cluster is gone"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        lost: Future[Any] = Future()
        lost.set_exception(BrokenExecutor("gone"))
        return lost


def test_after_a_cluster_was_lost_what_is_left_is_done_here() -> None:
    with Gone(1) as executor:
        spread = Spread(executor, jobs=1)
        with pytest.raises(LabError, match="the cluster is gone"):
            list(spread.each(abs, [-1]))
        assert list(spread.each(abs, [-2])) == [(0, 2)]


def test_an_executor_that_is_shut_down_takes_nothing_more() -> None:
    executor = Threads(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, 1)


@pytest.fixture
def closed() -> Iterator[None]:
    yield
    close_workers()


# The first interpreter that makes this agent is killed from outside; it lives in the next ones.
ONCE = """
import os, signal
from pathlib import Path
from chaoslab.reference import make_agent as reference
def make_agent():
    flag = Path({flag!r})
    if not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return reference()
"""
ALWAYS = "import os, signal\ndef make_agent():\n    os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("others", [0, 2])
def test_a_killed_interpreter_costs_no_verdict(tmp_path: Path, others: int) -> None:
    agent = tmp_path / "once.py"
    agent.write_text(ONCE.format(flag=str(tmp_path / "flag")))
    files = scenario_files([LOST_REPLY])
    specs = specs_for(files, REFERENCE, seeds=range(2))[:others]
    specs += specs_for(files, f"{agent}:make_agent", seeds=[0])
    found = trials_batch(Setting(), specs)
    assert (tmp_path / "flag").exists()
    assert [(one.broke, one.broken, one.idle) for one in found] == [("", (), "")] * (others + 1)


@pytest.mark.usefixtures("closed")
def test_an_agent_that_always_crashes_costs_only_itself(tmp_path: Path) -> None:
    agent = tmp_path / "always.py"
    agent.write_text(ALWAYS)
    files = scenario_files([LOST_REPLY])
    good = specs_for(files, REFERENCE, seeds=range(2))
    bad = specs_for(files, f"{agent}:make_agent", seeds=[0])
    with open_executor("", jobs=2) as executor:
        spread = Spread(executor, jobs=2)
        items = [[good[0], *bad, good[1]], bad, good]
        found = dict(spread.each(partial(trials_batch, Setting()), items))
    assert [[bool(one.broke) for one in found[n]] for n in range(3)] == [
        [False, True, False],
        [True],
        [False, False],
    ]
    assert "was killed by signal 9" in found[1][0].broke
    assert "take fewer --jobs (twice in a row" in found[1][0].broke


def test_one_that_was_killed_while_it_was_idle_is_replaced() -> None:
    workers = Workers()
    try:
        workers.try_loading(REFERENCE)
        [idle] = workers._all
        os.kill(idle._process.pid, signal.SIGKILL)
        idle._process.wait()
        assert workers.try_loading(REFERENCE)
        [other] = workers._all
        assert other is not idle
    finally:
        workers.close()


def test_one_that_ends_itself_soon_is_not_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers()
    try:
        workers.try_loading(REFERENCE)
        [idle] = workers._all
        monkeypatch.setattr(workers_module, "IDLE_MS", 0)
        assert not idle.usable
    finally:
        workers.close()


def test_a_while_in_which_the_machine_stood_still_accuses_no_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = count(step=3_600_000)
    monkeypatch.setattr(workers_module, "monotonic_ms", lambda: next(hours))
    workers = Workers()
    try:
        workers.try_loading(REFERENCE)
    finally:
        workers.close()


def test_none_is_started_once_closing_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, begins, go_on = list[Worker](), threading.Event(), threading.Event()

    class Slow(Worker):
        def __init__(self, group: str, watchdog_ms: int) -> None:
            begins.set()
            go_on.wait(10)
            super().__init__(group, watchdog_ms)
            made.append(self)

    monkeypatch.setattr(workers_module, "Worker", Slow)
    agent = tmp_path / "hanging.py"
    agent.write_text(HANGING.format(began=str(tmp_path / "began")))
    workers = Workers()

    def ask() -> None:
        with suppress(LabError):
            workers.try_loading(f"{agent}:make_agent")

    asking = threading.Thread(target=ask)
    asking.start()
    assert begins.wait(10)
    closing = threading.Thread(target=workers.close)
    closing.start()
    assert until(lambda: workers._closed, 10)
    closing.join(0.2)  # a moment in which it could end too early
    go_on.set()
    closing.join(10)
    assert [one._process.poll() for one in made] == [-signal.SIGKILL]
    asking.join(10)
    assert not asking.is_alive()
    with pytest.raises(LabError, match="closed; nothing more is run"):
        workers.try_loading(REFERENCE)
    assert len(made) == 1


# A command that only waits for an agent, which only spins: in Python, or in a call that holds the
# interpreter's lock, so that no other thread of it runs.
WAITING = """
import sys
from chaoslab.run import workers
workers.Workers().try_loading(sys.argv[1])
"""
SPINS = {"python": "while True: pass", "c": "import re; re.match('(a*)*b', 'a' * 60)"}


@pytest.mark.parametrize("spins", SPINS)
def test_an_interpreter_ends_at_once_with_a_killed_command(tmp_path: Path, spins: str) -> None:
    began, agent, mark = tmp_path / "began", tmp_path / "spins.py", f"killed-{tmp_path}"
    agent.write_text(
        f"def make_agent():\n    open({str(began)!r}, 'w').close()\n    {SPINS[spins]}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, f"{agent}:make_agent"],
        env={**os.environ, "CHAOSLAB_MARK": mark},
    ) as command:
        try:
            assert until(began.exists, 20) and len(marked(mark)) == 1
        finally:
            command.kill()
        command.wait()
        assert until(lambda: not marked(mark), STOPPED_S)


def test_an_interpreter_outlives_the_thread_that_has_started_it() -> None:
    workers = Workers()
    try:
        asking = threading.Thread(target=workers.try_loading, args=(REFERENCE,))
        asking.start()
        asking.join()
        [before] = workers._all
        workers.try_loading(REFERENCE)
        assert workers._all == {before} and before.served == 2
    finally:
        workers.close()


def test_ctrl_c_ends_everything_at_once_and_keeps_what_came(tmp_path: Path) -> None:
    lines, code, seconds = interrupted("", tmp_path, f"here-{tmp_path}")
    assert (sorted(lines), code) == (["0 held", "1 held", "2 held"], 130)
    assert seconds < STOPPED_S


@pytest.mark.parametrize(
    "where", ["tcp://127.0.0.1:1", "dask://", "dask://127.0.0.1", "dask://x:y"]
)
def test_an_address_of_another_form_is_refused(where: str) -> None:
    with pytest.raises(UsageError, match="allowed: dask://HOST:PORT"):
        open_executor(where, jobs=1)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'chaoslab\[cluster\]'"):
        open_executor("dask://127.0.0.1:8786", jobs=1)


@pytest.mark.parametrize("listens", [False, True])
def test_where_nobody_answers_one_is_told_what_to_do(listens: bool) -> None:
    pytest.importorskip("distributed")
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        if listens:  # something that accepts and says nothing
            port.listen()
        where = f"dask://127.0.0.1:{port.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UsageError, match=r"no Dask scheduler answers .* next: start one"):
            open_executor(where, jobs=1)
        assert time.monotonic() - began < 8
