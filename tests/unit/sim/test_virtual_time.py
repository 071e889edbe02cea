"""Time jumps, ties fall by choice, and sets of tasks have an order."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from .simlab import NS_PER_MS, run, write_agent


def test_a_day_of_waiting_takes_no_time_and_ends_on_the_millisecond(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            await self.world.clock.sleep(1)
            await asyncio.sleep(0.25)
            await asyncio.sleep(0)
            for _ in range(1000):
                await self.world.clock.sleep(50)
            self.say(str(self.world.clock.now_ms()))
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert found.logs() == ["50251"]
    assert found.named("task.outcome")[0].time_ns == 50_251 * NS_PER_MS


def test_asyncio_and_the_world_share_one_clock(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            loop = asyncio.get_running_loop()
            before = loop.time()
            await self.world.clock.sleep(1_500)
            self.say(str(loop.time() - before))
            try:
                async with asyncio.timeout(0.5):
                    await self.world.clock.sleep(501)
            except TimeoutError:
                self.say(str(self.world.clock.now_ms()))
            try:
                await asyncio.wait_for(asyncio.Event().wait(), 0.5)
            except TimeoutError:
                self.say(str(self.world.clock.now_ms()))
            return self.done(task)
    """
    assert run(tmp_path, body).logs() == ["1.5", "2000", "2500"]


@pytest.mark.parametrize("ms", ["-1", "1.5", "True", "None", "'1'"])
def test_a_sleep_that_is_no_time_is_refused_in_words(tmp_path: Path, ms: str) -> None:
    body = f"""
    class Agent(Base):
        async def handle(self, task):
            try:
                await self.world.clock.sleep({ms})
            except Exception as error:
                self.say(str(error))
            return self.done(task)
    """
    assert "whole milliseconds" in run(tmp_path, body).logs()[0]


TIMERS = """
class Agent(Base):
    async def handle(self, task):
        async def nap(n):
            await self.world.clock.sleep(10)
            self.say(str(n))
        async with asyncio.TaskGroup() as group:
            for n in range(6):
                group.create_task(nap(n))
        return self.done(task)
"""


def test_timers_of_one_moment_fire_in_the_order_that_choices_give(tmp_path: Path) -> None:
    agent = write_agent(tmp_path, TIMERS)
    plain = run(tmp_path, agent).logs()
    assert plain == list("012345")
    names = {f"home-1/s1-t1/{n + 1}/timer": 15 - n for n in range(6)}
    assert run(tmp_path, agent, choices=names).logs() == plain[::-1]
    orders = {tuple(run(tmp_path, agent, by_seed=True, seed=s).logs()) for s in range(12)}
    assert len(orders) > 3


MANY = """
class Agent(Base):
    async def handle(self, task):
        async def one(n):
            try:
                await asyncio.Event().wait()
            finally:
                self.say(str(n))
        async def bad():
            await self.world.clock.sleep(5)
            raise ValueError("x")
        junk = [object() for _ in range(task.delivery * 1_000)]
        try:
            async with asyncio.TaskGroup() as group:
                for n in range(200):
                    group.create_task(one(n))
                group.create_task(bad())
        except* ValueError:
            pass
        done, pending = await asyncio.wait(
            {asyncio.ensure_future(self.pay(task, key=str(n))) for n in range(20)})
        self.say(str([task.get_name() for task in done] and len(done)))
        return self.done(task)
"""


def test_a_group_of_200_tasks_is_torn_down_in_the_order_of_its_making(tmp_path: Path) -> None:
    agent = write_agent(tmp_path, MANY)
    first = run(tmp_path, agent)
    ballast = [bytearray(100 + n) for n in range(3_000)]  # other addresses, the same order
    second = run(tmp_path, agent)
    assert first.logs()[:-1] == [str(n) for n in range(200)]
    assert first.end.digest == second.end.digest
    del ballast


DROPPED = """
class Loop:
    def __init__(self, agent): self.me, self.agent = self, agent
    def __del__(self): self.agent.say("collected")

class Agent(Base):
    async def stream(self):
        me = self.stream
        try:
            yield 1
            yield 2
        finally:
            self.say("closed")
    async def handle(self, task):
        for n in range(30):
            Loop(self)
            ring = [self.stream()]
            ring.append(ring)
            await anext(ring[0])
            del ring
            await self.world.clock.sleep(10)
            self.say(str(n))
        return self.done(task)
"""


def test_the_collector_of_garbage_decides_nothing(tmp_path: Path) -> None:
    """Abandoned generators and `__del__` in reference cycles end when Python collects them; that
    depends on what else the interpreter did and must not reach the history."""
    agent = write_agent(tmp_path, DROPPED)
    old = gc.get_threshold()
    digests = set()
    try:
        for threshold in (1, 50, 100_000):
            gc.set_threshold(threshold)
            digests.add(run(tmp_path, agent).end.digest)
    finally:
        gc.set_threshold(*old)
    assert len(digests) == 1


def test_names_that_python_gives_do_not_reach_the_history(tmp_path: Path) -> None:
    """Task names count over the life of an interpreter; a second run must see the same ones."""
    body = """
    class Agent(Base):
        async def handle(self, task):
            self.say(asyncio.create_task(asyncio.sleep(0)).get_name())
            return self.done(task)
    """
    agent = write_agent(tmp_path, body)
    assert run(tmp_path, agent).end.digest == run(tmp_path, agent).end.digest


def test_two_executions_do_not_share_a_loop_or_leave_one_running(tmp_path: Path) -> None:
    import asyncio

    run(tmp_path, "class Agent(Base): pass\n")
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()

    async def own() -> int:
        return 7

    assert asyncio.run(own()) == 7


@pytest.mark.parametrize("line", ["asyncio.sleep(float('inf'))", "asyncio.sleep(1e300)"])
def test_one_may_sleep_for_ever(tmp_path: Path, line: str) -> None:
    """Real loops take an endless timer; it only never comes."""
    body = f"""
    class Agent(Base):
        async def handle(self, task):
            try:
                await asyncio.wait_for({line}, 1)
            except TimeoutError:
                self.say(str(self.world.clock.now_ms()))
            return self.done(task)
    """
    assert run(tmp_path, body).logs() == ["1000"]


def test_an_agent_cannot_take_the_order_out_of_the_loop(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            async def one(n):
                try:
                    await asyncio.sleep(9)
                finally:
                    self.say(str(n))
            async def bad():
                raise ValueError
            try:
                asyncio.get_running_loop().set_task_factory(None)
                async with asyncio.TaskGroup() as group:
                    for n in range(100):
                        group.create_task(one(n))
                    await asyncio.sleep(0)
                    group.create_task(bad())
            except* ValueError:
                pass
            return self.done(task)
    """
    agent = write_agent(tmp_path, body)
    assert run(tmp_path, agent).logs() == [str(n) for n in range(100)]
