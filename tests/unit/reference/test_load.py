"""How much the model agent takes in hand, and what it does with the rest."""

from __future__ import annotations

import asyncio

from tests.unit.reference.fake_world import FakeWorld, Shared, run
from tests.unit.reference.test_agent import REFUND, SHIP, born, names, task

from chaoslab.reference import ReferenceAgent, Settings

MOST = Settings().tasks_in_hand_max


class Narrow(ReferenceAgent):
    settings = Settings(tasks_in_hand_max=2)


async def narrow(shared: Shared | None = None, process: str = "p1") -> tuple[Narrow, FakeWorld]:
    world, agent = FakeWorld(shared, process=process, plan=[SHIP]), Narrow()
    await agent.start(world.ports)
    return agent, world


def asked(world: FakeWorld) -> int:
    """How many calls of any port there were."""
    return sum(len(p.calls) for p in (world.memory, world.leases, world.tools, world.model))


def test_what_is_more_than_it_can_bear_is_put_off_before_anything_is_touched() -> None:
    async def main() -> None:
        agent, world = await born(plan=[SHIP])
        world.tools.duration_ms = 30_000
        works = [asyncio.create_task(agent.handle(task(f"t{n}", f"s{n}"))) for n in range(MOST)]
        await asyncio.sleep(1)
        before, now = asked(world), world.clock.now_ms()
        late = await agent.handle(task("late", "s-late"))
        assert (late.task, late.status, late.claims) == ("late", "deferred", ())
        assert (asked(world), world.clock.now_ms()) == (before, now)
        assert "s-late" not in agent.sessions()
        assert {o.status for o in await asyncio.gather(*works)} == {"completed"}
        assert (await agent.handle(task("late", "s-late"))).status == "completed"

    run(main())


def test_room_comes_back_however_a_task_ends() -> None:
    async def main() -> None:
        agent, world = await narrow()
        world.memory.fail("read", RuntimeError("odd"), times=2)
        for n in range(2):
            (broken,) = await asyncio.gather(
                agent.handle(task(f"t{n}", f"s{n}")), return_exceptions=True
            )
            assert isinstance(broken, RuntimeError)
        work = asyncio.create_task(agent.handle(task("t3", "s3")))
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert not agent.full()
        assert (await agent.handle(task("t4", "s4"))).status == "completed"

    run(main())


def test_the_tasks_that_it_resumes_count() -> None:
    async def main() -> None:
        first, world = await born(plan=[SHIP])
        world.tools.duration_ms = 30_000
        works = [asyncio.create_task(first.handle(task(f"t{n}", f"s{n}"))) for n in range(3)]
        await asyncio.sleep(1)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

        again, second = await narrow(world.shared, "p2")
        second.tools.duration_ms = 30_000
        assert len(await again.recover()) == 2  # the third one will be handed out again
        assert again.full()
        assert (await again.handle(task("t2", "s2", delivery=2))).status == "deferred"
        await asyncio.sleep(100)
        assert [o.status for o in second.report.outcomes] == ["completed"] * 2
        assert (await again.handle(task("t2", "s2", delivery=3))).status == "completed"
        assert len(names(world.shared)) == 3

    run(main())


def test_a_session_that_the_store_has_forgotten_goes_on_where_it_is_known() -> None:
    async def main() -> None:
        agent, world = await born(plan=[REFUND])
        await agent.handle(task())
        del world.shared.items["session/s1"]
        await agent.handle(task("t2"))
        assert [state for _, state in world.report.moves].count("initialized") == 1
        other, second = await born(world.shared, process="p2", plan=[REFUND])
        del world.shared.items["session/s1"]
        await other.handle(task("t3"))
        assert second.report.moves[0] == ("s1", "initialized")

    run(main())
