"""The whole model agent in a small world: crashes, lost replies, races, quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.reference.fake_world import FakeWorld, Shared, run

from chaoslab.reference import ReferenceAgent, make_agent
from chaoslab.world import (
    Conflict,
    DeadlineExceeded,
    Observable,
    Outcome,
    RateLimited,
    Releasable,
    Resumable,
    ServerError,
    Task,
    Unavailable,
)

REFUND = ("refund", {"order": "o-1", "amount_cents": 500, "reason": "broken"})
NOTIFY = ("notify", {"order": "o-1", "template": "refunded", "text": "dear"})
SHIP = ("ship", {"order": "o-1", "street": "Elm", "city": "Springfield"})
TICKET = ("ticket", {"order": "o-1", "customer": "Ada", "subject": "x", "body": "y"})
DATA: dict[str, Any] = {
    "order": "o-1",
    "customer": {"name": "Ada", "token": "cnry-s1-0badcafe"},
    "profile": {"street": "Elm", "city": "Springfield"},
}


def task(name: str = "t1", session: str = "s1", delivery: int = 1) -> Task:
    return Task(
        id=name, session=session, tenant="x", delivery=delivery, prompt="Please.", data=DATA
    )


async def born(
    shared: Shared | None = None, *, process: str = "p1", plan: Sequence[Any] = (REFUND, NOTIFY)
) -> tuple[ReferenceAgent, FakeWorld]:
    world, agent = FakeWorld(shared, process=process, plan=plan), make_agent()
    await agent.start(world.ports)
    return agent, world


def names(shared: Shared) -> list[str]:
    return [name for name, _, _ in shared.effects]


async def killed_when(
    agent: ReferenceAgent, world: FakeWorld, port: Any, name: str, nth: int = 1
) -> None:
    """Hands a task out and stops everything at the nth call of a method, as a crash would: what
    runs in the `finally` blocks is cut off from the world."""
    original = port._do
    seen = 0

    async def do(called: str, what: tuple[Any, ...], action: Any) -> Any:
        nonlocal seen
        seen += called == name
        if called == name and seen >= nth:
            ports: list[Any] = [world.memory, world.leases, world.tools, world.model]
            for other in ports:
                other._do = _dead
            await asyncio.sleep(10**6)
        return await original(called, what, action)

    port._do = do
    work = asyncio.create_task(agent.handle(task()))
    await asyncio.sleep(4)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def _dead(*_: Any) -> Any:
    raise Unavailable("dead")


async def recovered(agent: ReferenceAgent, world: FakeWorld) -> list[Outcome]:
    named = await agent.recover()
    await asyncio.sleep(200)
    assert sorted(o.task for o in world.report.outcomes) == sorted(named)
    return world.report.outcomes


def test_it_offers_every_capability() -> None:
    agent = make_agent()
    assert isinstance(agent, Resumable)
    assert isinstance(agent, Observable)
    assert isinstance(agent, Releasable)


def test_a_task_without_trouble() -> None:
    async def main() -> None:
        agent, world = await born()
        outcome = await agent.handle(task())
        assert outcome.status == "completed"
        assert [(c.tool, c.marker) for c in outcome.claims] == [
            ("refund", "o-1"),
            ("notify", "o-1/refunded"),
        ]
        assert world.report.moves == [
            ("s1", state)
            for state in (
                "initialized",
                "active",
                "waiting-for-tool",
                "active",
                "waiting-for-tool",
                "active",
                "completed",
            )
        ]
        assert agent.sessions() == {"s1": "completed"}
        record: Any = world.shared.items["task/t1"].value
        assert record["policy"] == "policy/v1"
        assert "cnry" not in str(record)
        assert "cnry" in str(world.shared.items["attr/x/s1"].value)
        assert all("cnry" not in str(call) for call in world.model.calls)
        assert all(c[2] is not None for c in world.memory.calls if c[0] == "write")
        assert await agent.handle(task(delivery=2)) == outcome
        assert names(world.shared) == ["refund", "notify"]
        await agent.stop()

    run(main())


def test_a_lost_reply_of_a_keyed_tool_is_asked_for_with_the_same_key_and_words() -> None:
    async def main() -> None:
        agent, world = await born()
        world.tools.fail("call", DeadlineExceeded(), after=True)
        outcome = await agent.handle(task())
        assert outcome.status == "completed"
        assert names(world.shared) == ["refund", "notify"]
        first, second = world.tools.calls[:2]
        assert first == second

    run(main())


def test_a_lost_reply_of_an_unkeyed_tool_is_reported_and_not_repeated() -> None:
    async def main() -> None:
        agent, world = await born(plan=[NOTIFY])
        world.tools.fail("call", ServerError(), after=True)
        outcome = await agent.handle(task())
        assert outcome.status == "uncertain"
        assert outcome.claims == ()
        assert "notify o-1/refunded" in outcome.reason
        assert names(world.shared) == ["notify"]
        assert len(world.tools.calls) == 1

    run(main())


def test_a_refused_unkeyed_request_may_be_repeated() -> None:
    async def main() -> None:
        agent, world = await born(plan=[NOTIFY])
        world.tools.fail("call", RateLimited(retry_after_ms=700))
        outcome = await agent.handle(task())
        assert outcome.status == "completed"
        assert names(world.shared) == ["notify"]
        assert world.clock.now_ms() >= 700

    run(main())


def test_tries_are_bounded_over_all_deliveries() -> None:
    async def main() -> None:
        agent, world = await born(plan=[REFUND])
        world.tools.fail("call", DeadlineExceeded(), times=100)
        statuses = [(await agent.handle(task(delivery=n))).status for n in range(1, 6)]
        assert statuses == ["deferred", *["uncertain"] * 4]
        assert len(world.tools.calls) == agent.settings.tries_in_all

    run(main())


def test_a_key_in_flight_is_waited_for() -> None:
    async def main() -> None:
        agent, world = await born(plan=[SHIP])
        world.tools.fail("call", Conflict(in_flight=True))
        outcome = await agent.handle(task())
        assert outcome.status == "completed"
        assert world.clock.now_ms() >= 20_000

    run(main())


def test_a_plain_refusal_is_a_failure() -> None:
    async def main() -> None:
        agent, world = await born(plan=[REFUND, NOTIFY])
        world.tools.fail("call", Conflict(in_flight=False))
        outcome = await agent.handle(task())
        assert outcome.status == "failed"
        assert world.shared.effects == []

    run(main())


def test_the_policy_can_forbid_an_action() -> None:
    async def main() -> None:
        dear = ("refund", {**REFUND[1], "amount_cents": 10**9})
        agent, world = await born(plan=[dear])
        outcome = await agent.handle(task())
        assert outcome.status == "failed"
        assert "policy/v1 allows" in outcome.reason
        assert world.tools.calls == []

    run(main())


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_crash_at_any_write_is_recovered_from(nth: int) -> None:
    async def main() -> None:
        agent, world = await born()
        await killed_when(agent, world, world.memory, "write", nth)
        again, second = await born(world.shared, process="p2")
        outcomes = await recovered(again, second)
        outcome = outcomes[0] if outcomes else await again.handle(task(delivery=2))
        assert outcome.status in ("completed", "uncertain")
        assert sorted(names(world.shared)) in (["notify", "refund"], ["refund"])
        # Only where nobody can tell whether the note was sent is it not sent again.
        doubt = nth >= 2 and outcome.status == "uncertain"
        assert outcome.status == "completed" or (doubt and "notify" in outcome.reason)
        assert await again.handle(task(delivery=3)) == outcome

    run(main())


@pytest.mark.parametrize(("nth", "status"), [(1, "completed"), (2, "uncertain")])
def test_a_crash_while_a_tool_is_asked(nth: int, status: str) -> None:
    async def main() -> None:
        agent, world = await born()
        await killed_when(agent, world, world.tools, "call", nth)
        again, second = await born(world.shared, process="p2")
        (outcome,) = await recovered(again, second)
        assert outcome.status == status
        assert second.acted == ["t1"]
        keys = {c[3] for c in (*world.tools.calls, *second.tools.calls) if c[1] == "refund"}
        assert len(keys) == 1
        await again.stop()

    run(main())


def test_recovery_leaves_a_task_to_the_process_that_is_at_it() -> None:
    async def main() -> None:
        agent, world = await born(plan=[SHIP])
        world.tools.duration_ms = 30_000
        work = asyncio.create_task(agent.handle(task()))
        await asyncio.sleep(10)
        other, second = await born(world.shared, process="p2", plan=[SHIP])
        assert await other.recover() == ["t1"]
        outcome = await work
        await asyncio.sleep(10)
        assert second.report.outcomes == [outcome]
        assert second.tools.calls == []

    run(main())


def test_the_same_task_delivered_twice_at_once() -> None:
    async def main() -> None:
        agent, world = await born()
        other, _ = await born(world.shared, process="p2")
        outcomes = await asyncio.gather(
            agent.handle(task()), agent.handle(task(delivery=2)), other.handle(task(delivery=3))
        )
        assert outcomes[0] == outcomes[1] == outcomes[2]
        assert names(world.shared) == ["refund", "notify"]

    run(main())


def test_a_zombie_neither_records_nor_acts() -> None:
    async def main() -> None:
        agent, world = await born(plan=[SHIP, NOTIFY])
        world.tools.duration_ms = 30_000
        work = asyncio.create_task(agent.handle(task()))
        await asyncio.sleep(10)
        world.leases.fail("acquire", DeadlineExceeded(), times=1_000)  # it stands still
        other, second = await born(world.shared, process="p2", plan=[SHIP, NOTIFY])
        second.tools.duration_ms = 0
        (name,) = await other.recover()
        outcome = await work
        assert (name, outcome.status) == ("t1", "deferred")
        await asyncio.sleep(60)
        assert [o.status for o in second.report.outcomes] == ["completed"]
        assert names(world.shared).count("notify") == 1
        assert names(world.shared).count("ship") == 1

    run(main())


def test_three_traps_quarantine_the_session_until_the_operator_says_so() -> None:
    async def main() -> None:
        agent, world = await born(plan=[TICKET])
        world.wasm.traps = ["before", "after", "before"]
        outcome = await agent.handle(task())
        assert outcome.status == "quarantined"
        assert len(world.wasm.made) == 3
        assert all(i.retired for i in world.wasm.made)
        assert agent.sessions() == {"s1": "quarantined"}
        assert world.shared.items["session/s1"].expires_ms is None

        other, second = await born(world.shared, process="p2", plan=[TICKET])
        assert (await other.handle(task("t2"))).status == "quarantined"
        assert second.model.calls == []
        assert await other.recover() == ["t1"]
        await asyncio.sleep(10)
        assert [o.status for o in second.report.outcomes] == ["quarantined"]
        assert second.wasm.made == []

        await other.release("s1")
        assert other.sessions() == {"s1": "initialized"}
        assert (await other.handle(task("t2"))).status == "completed"
        assert (await other.handle(task("t1", delivery=2))).status == "completed"
        assert names(world.shared) == ["ticket"] * 2

    run(main())


def test_a_release_does_not_apply_to_a_quarantine_that_comes_later() -> None:
    async def main() -> None:
        agent, world = await born(plan=[TICKET])
        world.wasm.traps = ["before"] * 3
        outcome, _ = await asyncio.gather(agent.handle(task()), agent.release("s1"))
        assert outcome.status == "quarantined"
        assert agent.sessions() == {"s1": "quarantined"}

    run(main())


def test_stopping_leaves_nothing_running() -> None:
    async def main() -> None:
        agent, world = await born(plan=[SHIP])
        await killed_when(agent, world, world.tools, "call")
        again, second = await born(world.shared, process="p2", plan=[SHIP])
        second.tools.duration_ms = 40_000
        await again.recover()
        await again.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    run(main())
