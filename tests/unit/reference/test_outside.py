"""Pages, money and sensitive attributes: what the model agent does where others are concerned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.reference.fake_world import FakeWorld, Shared, run

from chaoslab.reference import ReferenceAgent, make_agent
from chaoslab.reference.budget import ID, Budget
from chaoslab.reference.errors import NotNow
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.world import (
    BadRequest,
    Conflict,
    ConnectionRefused,
    ConnectionReset,
    DeadlineExceeded,
    NetworkReply,
    Outcome,
    Task,
    Unavailable,
)

SETTINGS = Settings()
WINDOW = SETTINGS.credits_window_ms
SECRET = "DE00 attr-iban:cnry-s1-0badcafe"
KB = "http://kb.example"


def task(name: str = "t1", session: str = "s1", data: Mapping[str, Any] | None = None) -> Task:
    own = {"customer": {"name": "Ada"}, "attributes": {"iban": SECRET}}
    return Task(
        id=name,
        session=session,
        tenant="x",
        delivery=1,
        prompt="Please.",
        data=own if data is None else data,
    )


def credit(order: str = "o-1") -> tuple[str, dict[str, Any]]:
    return "credit", {"order": order, "amount_cents": 700}


def browse(url: str) -> tuple[str, dict[str, Any]]:
    return "browse", {"url": url}


async def born(
    shared: Shared | None = None, *, process: str = "p1", plan: Any = ()
) -> tuple[ReferenceAgent, FakeWorld]:
    world, agent = FakeWorld(shared, process=process, plan=plan), make_agent()
    await agent.start(world.ports)
    return agent, world


def told(world: FakeWorld) -> Any:
    """What the model was told of its last tool call."""
    messages = world.model.calls[-1][1]
    return json.loads(messages[-1]["content"])


def leads_to(location: str, status: int = 302) -> NetworkReply:
    return NetworkReply(status=status, headers={"location": location})


# -- pages


async def reads(url: str, pages: Mapping[str, NetworkReply]) -> tuple[Outcome, FakeWorld]:
    agent, world = await born(plan=[browse(url)])
    world.network.pages.update(pages)
    return await agent.handle(task()), world


def test_a_page_is_read_over_redirects_and_nothing_is_claimed() -> None:
    async def main() -> None:
        pages = {
            f"{KB}/a": leads_to("/b"),
            f"{KB}/b": leads_to(f"{KB}/c", 301),
            f"{KB}/c": NetworkReply(status=200, body=b"It can be returned."),
        }
        outcome, world = await reads(f"{KB}/a", pages)
        assert (outcome.status, outcome.claims, outcome.reason) == ("completed", (), "")
        assert [c[2] for c in world.network.calls] == list(pages)
        assert told(world) == {"status": "done", "page": "It can be returned."}
        assert world.report.intents == [] and world.tools.calls == []

    run(main())


@pytest.mark.parametrize(
    "location",
    [
        "http://tracker.example/?from=kb",
        "//tracker.example/",
        "http://kb.example.evil.example/",
        "http://kb.example@tracker.example/",
        "http://user@kb.example/",
        "http://kb.example:8080/",
        "ftp://kb.example/",
        "http://[kb.example/",
        "javascript:alert(1)",
    ],
)
def test_a_page_that_leads_outside_is_declined_and_the_task_goes_on(location: str) -> None:
    async def main() -> None:
        outcome, world = await reads(f"{KB}/a", {f"{KB}/a": leads_to(location)})
        assert [c[2] for c in world.network.calls] == [f"{KB}/a"]
        assert told(world)["status"] == "declined"
        assert outcome.status == "completed" and "declined" in outcome.reason

    run(main())


def test_what_is_not_allowed_is_not_even_asked_for() -> None:
    async def main() -> None:
        outcome, world = await reads("http://tracker.example/", {})
        assert world.network.calls == []
        assert told(world)["status"] == "declined"
        assert outcome.status == "completed"

    run(main())


def test_redirects_are_followed_five_times_at_most() -> None:
    async def main() -> None:
        outcome, world = await reads(f"{KB}/a", {f"{KB}/a": leads_to("/a")})
        assert len(world.network.calls) == SETTINGS.redirects_max + 1 == 6
        assert told(world)["status"] == "declined"
        assert outcome.status == "completed"

    run(main())


def test_a_page_that_is_not_there_is_a_result_too() -> None:
    async def main() -> None:
        outcome, world = await reads(f"{KB}/nothing", {})
        assert "404" in told(world)["page"]
        assert outcome.status == "completed"

    run(main())


def test_a_page_is_asked_for_again_within_a_bound() -> None:
    async def main() -> None:
        agent, world = await born(plan=[browse(f"{KB}/a")])
        world.network.fail("request", DeadlineExceeded())
        world.network.fail("request", ConnectionRefused())
        assert (await agent.handle(task())).status == "completed"
        assert len(world.network.calls) == 3

        world.network.fail("request", ConnectionReset(), times=3)
        assert (await agent.handle(task("t2"))).status == "deferred"
        assert len(world.network.calls) == 6
        assert (await agent.handle(task("t2"))).status == "completed"

        world.network.fail("request", BadRequest())
        assert (await agent.handle(task("t3"))).status == "completed"
        assert told(world)["status"] == "declined"

    run(main())


def test_a_long_page_does_not_fill_the_record() -> None:
    async def main() -> None:
        page = NetworkReply(status=200, body=b"x" * 10**6)
        _, world = await reads(f"{KB}/a", {f"{KB}/a": page})
        assert len(told(world)["page"]) == 4_000

    run(main())


# -- attributes


def test_an_account_stands_in_the_request_and_in_its_own_item_and_nowhere_else() -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit()])
        outcome = await agent.handle(task())
        assert outcome.status == "completed"
        assert world.shared.effects[0][1] == {**credit()[1], "account": SECRET}
        items = {id: str(item.value) for id, item in world.shared.items.items()}
        assert [id for id in items if SECRET in items[id]] == ["attr/x/s1"]
        assert SECRET not in str(world.model.calls) and SECRET not in str(outcome)
        assert SECRET not in str(world.report.lines)

    run(main())


def test_the_same_account_is_sent_again_after_a_crash() -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit()])
        world.tools.fail("call", DeadlineExceeded(), times=3)
        assert (await agent.handle(task())).status == "deferred"
        again, second = await born(world.shared, process="p2", plan=[credit()])
        assert await again.recover() == ["t1"]
        await asyncio.sleep(60)
        assert [o.status for o in second.report.outcomes] == ["completed"]
        sent = {json.dumps(c[2]) + str(c[3]) for c in (*world.tools.calls, *second.tools.calls)}
        assert len(sent) == 1

    run(main())


def test_what_the_model_says_of_the_account_is_not_believed() -> None:
    async def main() -> None:
        name, args = credit()
        agent, world = await born(plan=[(name, {**args, "account": "DE99 mine"})])
        await agent.handle(task())
        assert world.shared.effects[0][1]["account"] == SECRET

    run(main())


def test_without_an_account_on_record_nothing_is_sent_and_no_slot_is_kept() -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit()])
        outcome = await agent.handle(task(data={"order": "o-1"}))
        assert outcome.status == "failed"
        assert world.tools.calls == []
        assert slots(world) == {}

    run(main())


# -- the budget


def slots(world: FakeWorld) -> dict[str, int]:
    value: Any = world.shared.items[ID].value
    found: dict[str, int] = value["slots"]
    return found


async def taking(world: FakeWorld, key: str, session: str = "s1") -> bool:
    budget = Budget(world.ports, SETTINGS, Store(world.ports, SETTINGS))
    async with Ownership(world.ports, SETTINGS, session).held() as own:
        try:
            await budget.take(own, key)
        except NotNow:
            return False
    return True


def test_only_so_many_get_a_slot_however_they_race() -> None:
    async def main() -> None:
        shared = Shared()
        worlds = [FakeWorld(shared, process=f"p{n}") for n in range(5)]
        got = await asyncio.gather(*(taking(w, f"k{n}", f"s{n}") for n, w in enumerate(worlds)))
        assert sum(got) == SETTINGS.credits_max == 2

    run(main())


def test_an_action_has_one_slot_however_often_it_asks() -> None:
    async def main() -> None:
        world = FakeWorld()
        assert await taking(world, "a") and await taking(world, "a") and await taking(world, "b")
        assert await taking(world, "a") and not await taking(world, "c")

    run(main())


def test_a_slot_whose_owner_was_never_heard_of_again_is_free_after_a_while() -> None:
    async def main() -> None:
        world = FakeWorld()
        assert await taking(world, "a") and await taking(world, "b")
        await asyncio.sleep((SETTINGS.in_flight_ms - SETTINGS.slot_patience_ms) / 1000 - 5)
        assert not await taking(world, "c")
        await asyncio.sleep(10)
        assert await taking(world, "c")
        assert set(slots(world)) == {"c"}

    run(main())


def test_a_slot_that_gets_free_soon_is_waited_for() -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit("o-1"), credit("o-2")])
        assert (await agent.handle(task())).status == "completed"
        await asyncio.sleep(WINDOW / 1000 - 4)
        began = world.clock.now_ms()
        assert await taking(world, "c")
        assert 3_000 <= world.clock.now_ms() - began < SETTINGS.slot_patience_ms

    run(main())


def test_a_slot_whose_write_lost_its_answer_is_not_taken_twice() -> None:
    async def main() -> None:
        world = FakeWorld()
        world.memory.fail("write", DeadlineExceeded(), after=True)
        assert await taking(world, "a")
        assert len(slots(world)) == 1

    run(main())


def test_the_window_counts_from_the_answer() -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit("o-1"), credit("o-2"), credit("o-3")])
        world.tools.duration_ms = 1_500
        first = await agent.handle(task())
        assert (first.status, len(world.shared.effects)) == ("deferred", 2)
        assert all(until >= WINDOW + 1_500 for until in slots(world).values())
        while (await agent.handle(task())).status != "completed":
            await asyncio.sleep(1)
        assert [e[1]["order"] for e in world.shared.effects] == ["o-1", "o-2", "o-3"]
        assert world.clock.now_ms() >= 1_500 + WINDOW + 1_500

    run(main())


def test_while_there_is_no_room_nothing_is_begun() -> None:
    async def main() -> None:
        world = FakeWorld()
        assert await taking(world, "a") and await taking(world, "b")
        agent, other = await born(world.shared, process="p2", plan=[credit()])
        outcome = await agent.handle(task())
        assert outcome.status == "deferred" and "budget" in outcome.reason
        assert other.report.intents == [] and other.tools.calls == []
        record: Any = world.shared.items["task/t1"].value
        assert record["steps"] == []

    run(main())


@pytest.mark.parametrize("error", [Unavailable(), BadRequest()])
def test_a_slot_is_given_back_where_certainly_nothing_was_done(error: Exception) -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit()])
        world.tools.fail("call", error, times=3)
        outcome = await agent.handle(task())
        assert outcome.status == ("failed" if isinstance(error, BadRequest) else "deferred")
        assert slots(world) == {}

    run(main())


@pytest.mark.parametrize(
    "errors",
    [[DeadlineExceeded()] * 3, [Conflict(in_flight=False)], [DeadlineExceeded(), BadRequest()]],
)
def test_a_slot_is_kept_where_something_may_have_been_done(errors: list[Exception]) -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit()])
        for error in errors:
            world.tools.fail("call", error)
        await agent.handle(task())
        assert len(slots(world)) == 1

    run(main())


def test_a_resumed_action_uses_the_slot_that_it_has() -> None:
    async def main() -> None:
        agent, world = await born(plan=[credit()])
        world.tools.fail("call", DeadlineExceeded(), after=True, times=3)
        assert (await agent.handle(task())).status == "deferred"
        assert await taking(world, "another")  # now the budget is used up
        again, _ = await born(world.shared, process="p2", plan=[credit()])
        assert (await again.handle(task())).status == "completed"
        assert len(world.shared.effects) == 1 and len(slots(world)) == 2

    run(main())
