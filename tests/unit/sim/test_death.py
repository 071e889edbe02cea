"""A killed process runs nothing any more: no except, no finally, no context manager, ever."""

from __future__ import annotations

import gc
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaoslab.history import Op
from chaoslab.scenario import Regions

from .simlab import Result, run, strike, write_agent

# Around every await of this agent stands everything that Python offers for the last word.
CLINGS = """
import bench_trace
import contextlib

class Grip:
    def __init__(self, say): self.say = say
    async def __aenter__(self): return self
    async def __aexit__(self, *exc):
        self.say("aexit")
        return True
    def __enter__(self): return self
    def __exit__(self, *exc):
        self.say("exit")
        return True
    def __del__(self): self.say("del")

class Agent(Base):
    def say(self, text):
        bench_trace.said.append((self.world.process, text))
        self.world.report.log(text)
    async def stream(self, task):
        try:
            yield await self.patient(task)
            yield 2
        finally:
            self.say("generator")
    async def last_word(self, task):
        try:
            async for _ in self.stream(task):
                self.say("next")
        except BaseException as error:
            self.say("except " + type(error).__name__)
            raise
        finally:
            self.say("finally")
    @contextlib.asynccontextmanager
    async def managed(self):
        try:
            yield
        finally:
            self.say("managed")
    async def handle(self, task):
        self.say("begin")
        current = asyncio.current_task()
        if current is not None:
            current.add_done_callback(lambda t: self.say("callback"))
        beside = asyncio.ensure_future(self.beside())
        async with Grip(self.say), self.managed(), asyncio.timeout(10_000):
            with Grip(self.say):
                while True:
                    try:
                        await asyncio.shield(asyncio.gather(self.last_word(task)))
                        break
                    except BaseException:
                        self.say("again")
        beside.cancel()
        return self.done(task)
    async def beside(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.say("beside")
"""


@pytest.fixture
def trace() -> Iterator[list[tuple[str, str]]]:
    said: list[tuple[str, str]] = []
    module = types.ModuleType("bench_trace")
    module.said = said  # type: ignore[attr-defined]
    sys.modules["bench_trace"] = module
    yield said
    del sys.modules["bench_trace"]


def last_words(found: Result, process: str) -> list[str]:
    """What the history has of a process after its end."""
    ends = [op.index for op in found.named("process.kill") if op.process == process]
    return [
        op.f
        for op in found.end.ops
        if op.process == process
        and op.index > ends[0]
        and op.type in ("event", "invoke")
        and op.f != "process.kill"
    ]


@pytest.mark.parametrize("phase", ["before-send", "before-commit", "after-commit", "after-reply"])
def test_nothing_of_a_killed_agent_runs_in_any_phase(
    tmp_path: Path, trace: list[tuple[str, str]], phase: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = run(tmp_path, CLINGS, faults=[strike("tools.pay", phase, "crash")])
        gc.collect()
    assert [text for process, text in trace if process == "home-1"] == ["begin"]
    assert last_words(found, "home-1") == []
    assert "finally" in [text for process, text in trace if process == "home-2"]
    assert found.outcomes() == {"s1-t1": "completed"}


def test_the_region_takes_all_of_its_processes_with_it(
    tmp_path: Path, trace: list[tuple[str, str]]
) -> None:
    found = run(
        tmp_path,
        CLINGS,
        sessions=4,
        faults=[strike("tools.pay", "before-commit", "crash", scope="region")],
        regions=Regions(names=("near", "far"), processes=2),
    )
    gc.collect()
    dead = {op.process for op in found.named("process.kill")}
    assert dead == {"near-1", "near-2"}
    assert {text for process, text in trace if process in dead} == {"begin"}
    assert all(last_words(found, process) == [] for process in dead)


def test_the_end_of_an_execution_is_no_last_word_either(
    tmp_path: Path, trace: list[tuple[str, str]]
) -> None:
    """An agent that hangs when everything is over is not woken by its own collection."""
    body = CLINGS.replace("yield await self.patient(task)", "yield await asyncio.Event().wait()")
    found = run(tmp_path, body)
    del found
    gc.collect()
    assert trace == [("home-1", "begin")]


def test_each_call_in_flight_of_a_dead_process_gets_exactly_one_end(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.delivery == 1:
                async def one(n):
                    await self.world.tools.call("haul", {"order": n}, key=n, deadline_ms=90_000)
                await asyncio.gather(*(one(f"o{n}") for n in range(6)), self.pay(task))
            return self.done(task)
    """
    found = run(tmp_path, body, faults=[strike("tools.pay", "after-commit", "crash")])
    for call in [*found.calls("tools.haul"), *found.calls("tools.pay")]:
        ends = [
            op
            for op in found.end.ops
            if op.call == call.index and op.type in ("ok", "fail", "info")
        ]
        assert [(op.type, op.get("error")) for op in ends] == [("info", "killed")]
    # The requests were already at the service: they commit all the same.
    assert len(found.commits("tools.haul")) == 6


def test_a_dead_process_is_never_named_again(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            await self.patient(task)
            return self.done(task)
    """
    found = run(
        tmp_path,
        body,
        sessions=3,
        tasks=2,
        faults=[strike("tools.pay", "after-commit", "crash", attempt=n) for n in (1, 2)],
    )
    starts = [op.process for op in found.named("process.start")]
    assert len(starts) == len(set(starts)) == 3
    assert found.end.broke == "" and set(found.outcomes().values()) == {"completed"}


def test_what_a_zombie_says_is_recorded_as_its_own_and_counts_once(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            await self.patient(task)
            self.world.report.outcome(self.done(task))
            return self.done(task)
    """
    found = run(tmp_path, body, faults=[strike("tools.pay", "after-reply", "pause", for_ms=9_000)])
    outcomes = found.named("task.outcome")
    assert [op.get("counted") for op in outcomes].count(True) == 1
    assert {op.process for op in outcomes} == {"home-1", "home-2"}
    assert not found.end.broke


def test_the_immortal_tasks_of_the_dead_keep_no_history_alive(tmp_path: Path) -> None:
    """What is never collected must not hold on to the entries: a worker performs thousands of
    executions, and each of them may kill a process."""
    body = """
    class Agent(Base):
        async def handle(self, task):
            await self.patient(task)
            return self.done(task)
    """
    agent = write_agent(tmp_path, body)

    def alive() -> int:
        run(tmp_path, agent, faults=[strike("tools.pay", "after-commit", "crash")])
        gc.collect()
        return sum(isinstance(o, Op) for o in gc.get_objects())

    first = alive()
    assert [alive() for _ in range(3)] == [first] * 3
