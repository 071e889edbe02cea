"""Agents that do what nobody foresaw cost an error in words, never a hang or a false history."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaoslab.contract import Contract

from .simlab import run, strike

BODY = """
class Agent(Base):
    async def handle(self, task):
        LINE
"""


def handles(line: str) -> str:
    return BODY.replace("LINE", line)


RUBBISH = {
    "return Outcome(task=task.id, status='completed', answer=type('Odd', (dict,), "
    "{'items': lambda s: 1 / 0})())": "ZeroDivisionError",
    "return None": "NoneType",
    "return 'completed'": "str",
    "return {'status': 'completed'}": "dict",
    "return Outcome": "type",
    "return Outcome(task='s9-t9', status='completed')": "s9-t9",
    "return Outcome(task=task.id, status='done')": "'done'",
    "return Outcome(task=task.id, status=['completed'])": "completed",
    "return Outcome(task=['x'], status='completed')": "['x']",
    "return Outcome(task=task.id, status='completed', claims=None)": "claims",
    "return Outcome(task=task.id, status='completed', claims=('x',))": "'x'",
    "return Outcome(task=task.id, status='completed', claims=(Claim(tool='pay', marker='m', "
    "ref=1.5),))": "1.5",
    "return Outcome(task=task.id, status='completed', claims=(Claim(tool='pay', marker='m', "
    "ref=object()),))": "object",
    "return Outcome(task=task.id, status='completed', answer=1.5)": "answer",
    "return Outcome(task=task.id, status='completed', answer={1: 2})": "answer",
    "return Outcome(task=task.id, status='completed', answer=chr(0xd800))": "answer",
    "return Outcome(task=task.id, status='completed', answer=10**5000)": "answer",
    "return Outcome(task=task.id, status='completed', reason=chr(0xd800))": "reason",
}


@pytest.mark.parametrize("line", RUBBISH)
def test_an_outcome_that_is_none_breaks_the_execution_in_words(tmp_path: Path, line: str) -> None:
    found = run(tmp_path, handles(line))
    assert RUBBISH[line] in found.end.broke
    assert not any(op.get("counted") for op in found.named("task.outcome"))


@pytest.mark.parametrize("line", [k for k in RUBBISH if "Outcome(" in k and "s9-t9" not in k])
def test_a_reported_outcome_is_looked_at_as_closely(tmp_path: Path, line: str) -> None:
    said = f"self.world.report.outcome({line.removeprefix('return ')}); return self.done(task)"
    assert RUBBISH[line] in run(tmp_path, handles(said)).end.broke


UNRECORDABLE = {
    "self.world.report.log(chr(0xd800))": "text",
    "self.world.report.log('x', amount=1.5)": "amount",
    "self.world.report.log('x', amount=10**5000)": "amount",
    "self.world.report.intent('pay', chr(0xdfff), None)": "marker",
    "self.world.report.intent('pay', 'm', 1.5)": "key",
    "self.world.report.transition('s1', 'active', chr(0xd800))": "why",
    "await self.world.memory.write('x', 1.5)": "value",
    "await self.world.memory.write(chr(0xd800), 1)": "id",
    "await self.world.memory.write(7, 1)": "id",
    "await self.world.memory.write('x', 1, fence=1.5)": "fence",
    "await self.world.memory.write('x', 1, expires_ms=1.5)": "expires_ms",
    "await self.world.memory.write('x', 1, expect=7)": "expect",
    "await self.world.memory.write('x', 1, expect=(1.5, 2))": "expect",
    "await self.world.memory.write('x', 1, durability='forever')": "durability",
    "await self.world.memory.write_many([('x', 1)])": "writes",
    "await self.world.memory.read('x', at='moon')": "at",
    "await self.world.memory.read(None)": "id",
    "await self.world.memory.scan(None)": "prefix",
    "await self.world.tools.call('pay', {'order': 1.5}, deadline_ms=5)": "args",
    "await self.world.tools.call('pay', {'order': 'o'}, key=chr(0xd800), deadline_ms=5)": "key",
    "await self.world.tools.call('pay', ['x'], deadline_ms=5)": "args",
    "await self.world.tools.call('pay', {'order': 'o'}, deadline_ms=1.5)": "deadline_ms",
    "await self.world.tools.call(7, {'order': 'o'}, deadline_ms=5)": "name",
    "await self.world.leases.acquire('s1', ttl_ms=1.5)": "ttl_ms",
    "await self.world.leases.acquire(None, ttl_ms=5)": "session",
    "await self.world.network.request('GET', 'http://a.b', body='text', deadline_ms=5)": "body",
    "await self.world.model.complete([{'role': 'x', 'content': 1.5}], deadline_ms=5)": "messages",
    "await self.world.model.complete(['hello'], deadline_ms=5)": "messages",
    "await self.world.model.complete('hello', deadline_ms=5)": "messages",
}


@pytest.mark.parametrize("line", UNRECORDABLE)
def test_what_cannot_be_recorded_is_refused_by_name_and_told(tmp_path: Path, line: str) -> None:
    """Under faults an agent's own exception is redelivered, not told: so a mistake in a call is
    remembered by the lab itself, as for values that are not JSON."""
    found = run(
        tmp_path,
        handles(f"{line}\n        return self.done(task)"),
        faults=[strike("tools.mail", "before-send", "silence")],
    )
    assert UNRECORDABLE[line] in found.end.broke


def test_no_float_ever_gets_into_a_history(tmp_path: Path) -> None:
    for line in (*UNRECORDABLE, *RUBBISH):
        end = line if line.startswith("return") else f"{line}\n        return self.done(task)"
        found = run(tmp_path, handles(end))
        text = "\n".join(op.line() for op in found.end.ops if op.f != "task.submit")
        assert "1.5" not in text, line


def test_a_task_left_running_after_the_outcome_still_acts(tmp_path: Path) -> None:
    found = run(
        tmp_path, handles("self.job = asyncio.create_task(self.pay(task)); return self.done(task)")
    )
    assert found.ends("tools.pay") == [("ok", "")]
    assert not found.end.broke


def test_an_agent_that_cancels_itself_gets_its_task_again(tmp_path: Path) -> None:
    line = (
        "if task.delivery == 1:\n"
        "            asyncio.current_task().cancel()\n"
        "            await asyncio.sleep(0)\n"
        "        return self.done(task)"
    )
    found = run(tmp_path, handles(line))
    assert [op.get("error") for op in found.named("task.raised")] == ["CancelledError"]
    assert found.outcomes() == {"s1-t1": "completed"}


@pytest.mark.parametrize("where", ["handle", "start", "beside"])
def test_an_agent_that_wants_to_end_the_interpreter_does_not_end_the_lab(
    tmp_path: Path, where: str
) -> None:
    body = """
    class Agent(Base):
        def leave(self, where):
            if where == WHERE: raise SystemExit(3)
        async def start(self, world):
            self.world = world
            self.leave("start")
        async def beside(self):
            self.leave("beside")
        async def handle(self, task):
            self.leave("handle")
            await asyncio.gather(self.beside(), return_exceptions=True)
            return self.done(task)
    """
    found = run(tmp_path, body.replace("WHERE", repr(where)))
    assert "SystemExit" in found.end.broke


def test_a_stubborn_task_that_swallows_its_cancellation_does_not_hold_the_lab(
    tmp_path: Path,
) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            async def stubborn():
                while True:
                    try:
                        await asyncio.sleep(100)
                    except asyncio.CancelledError:
                        self.say("no")
            job = asyncio.create_task(stubborn())
            await asyncio.sleep(0)
            job.cancel()
            return self.done(task)
        async def stop(self):
            await asyncio.Event().wait()
    """
    found = run(tmp_path, body)
    assert found.logs() == ["no"] and found.outcomes() == {"s1-t1": "completed"}


def test_endless_recursion_is_an_exception_like_any_other(tmp_path: Path) -> None:
    line = "return await self.handle(task) if task.delivery == 1 else self.done(task)"
    found = run(tmp_path, handles(line))
    assert [op.get("error") for op in found.named("task.raised")] == ["RecursionError"]
    assert found.outcomes() == {"s1-t1": "completed"}


def test_a_start_that_never_returns_is_a_deadlock_that_names_the_tasks(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def start(self, world):
            await asyncio.Event().wait()
    """
    found = run(tmp_path, body)
    assert found.named("lab.deadlock")[0].get("waiting") == ["s1-t1"]


def test_what_an_agent_changes_after_a_call_does_not_change_the_record(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            value = {"list": [1]}
            job = asyncio.create_task(self.world.memory.write("x", value))
            await asyncio.sleep(0)
            value["list"].append(2)
            await job
            item = await self.world.memory.read("x")
            item.value["list"].append(3)
            again = await self.world.memory.read("x")
            self.say(str(again.value))
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert found.calls("memory.write")[0].get("value") == {"list": [1]}
    assert found.commits("memory.write")[0].get("value") == {"list": [1]}
    assert found.logs() == ["{'list': [1]}"]


def test_what_an_agent_does_to_its_task_does_not_reach_the_next_delivery(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            self.say(str(sorted(task.data)))
            task.data.clear()
            if task.delivery == 1:
                raise ValueError
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert found.logs() == ["['order']"] * 2
    assert [op.get("data") for op in found.named("task.submit")] == [{"order": "o-s1-t1"}] * 2


def test_a_reply_that_the_agent_changes_is_its_own_copy(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            for _ in range(3):
                reply = await self.pay(task)
                self.say(str(reply.data))
                reply.data["nth"] = 66
            messages = [{"role": "user", "content": task.prompt}]
            for _ in range(2):
                answer = await self.world.model.complete(messages, deadline_ms=9_000)
                self.say(answer.tool_calls[0].args["order"])
                answer.tool_calls[0].args.clear()
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert found.logs() == ["{'nth': 1}", "{'nth': 1}", "{'nth': 1}", "o-s1-t1", "o-s1-t1"]
    oks = [op for op in found.named("model.complete") if op.type == "ok"]
    assert [op.get("tool_calls")[0]["args"]["order"] for op in oks] == ["o-s1-t1"] * 2


def test_an_unknown_task_that_an_agent_reports_is_told(tmp_path: Path) -> None:
    line = (
        "self.world.report.outcome(Outcome(task='nope', status='completed'))\n"
        "        return self.done(task)"
    )
    assert "unknown task: 'nope'" in run(tmp_path, handles(line)).end.broke


def test_another_tasks_outcome_may_be_reported_and_counts_for_that_one(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            if task.id == "s1-t1":
                self.world.report.outcome(Outcome(task="s2-t1", status="failed"))
            return self.done(task)
    """
    found = run(tmp_path, body, sessions=2)
    assert found.outcomes() == {"s1-t1": "completed", "s2-t1": "failed"}
    counted = [(op.task, op.get("counted")) for op in found.named("task.outcome")]
    assert sorted(counted) == [("s1-t1", True), ("s2-t1", False), ("s2-t1", True)]


def test_calls_for_nobody_are_recorded_for_nobody(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def start(self, world):
            self.world = world
            await world.memory.read("boot")
        async def recover(self): return []
    """
    found = run(tmp_path, body, contract=Contract(resume="self"))
    call = found.calls("memory.read")[0]
    assert (call.task, call.session, call.process) == ("", "", "home-1")


def test_an_agent_that_keeps_the_world_of_its_dead_self_reaches_nothing(tmp_path: Path) -> None:
    """A module may keep a world over a restart only by leaving the adapter; what it does with
    it then is not recorded as a living process."""
    body = """
    import sys
    class Agent(Base):
        async def start(self, world):
            self.world = world
            self.old = sys.__dict__.setdefault("bench_old_world", world)
        async def handle(self, task):
            self.old.report.log("from the grave")
            if task.delivery == 2:
                del sys.bench_old_world
                try:
                    async with asyncio.timeout(5):
                        await self.old.memory.write("x", 66)
                except TimeoutError:
                    pass
                return self.done(task)
            await self.patient(task)
    """
    found = run(tmp_path, body, faults=[strike("tools.pay", "after-commit", "crash")])
    kill = found.named("process.kill")[0].index
    late = [op.f for op in found.end.ops if op.index > kill and op.process == "home-1"]
    assert late == ["tools.pay"]  # the info of the call in flight
    assert found.outcomes() == {"s1-t1": "completed"}


@pytest.mark.parametrize("nap", ["0", "1e-9"])
def test_an_agent_that_spins_instead_of_waiting_is_told_so(tmp_path: Path, nap: str) -> None:
    found = run(tmp_path, handles(f"while True: await asyncio.sleep({nap})"))
    assert "spins" in found.end.broke
    assert not found.named("lab.deadlock")


def test_an_agent_cannot_close_the_loop_it_runs_on(tmp_path: Path) -> None:
    line = "asyncio.get_running_loop().close(); await self.pay(task); return self.done(task)"
    found = run(tmp_path, handles(line))
    assert not found.end.broke and found.outcomes() == {"s1-t1": "completed"}
