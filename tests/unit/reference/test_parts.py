"""The parts of the model agent, each alone in a small world."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.reference.fake_world import FakeWorld, run

from chaoslab.reference.dialogue import Dialogue, opening, problem_of, transcript
from chaoslab.reference.errors import GaveUp, NotNow, OwnershipLost
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.profile import Profiles
from chaoslab.reference.records import Step, TaskRecord
from chaoslab.reference.settings import Settings, pause_ms
from chaoslab.reference.store import Store
from chaoslab.reference.tickets import Tickets
from chaoslab.reference.toolbox import TOOLS, key_of, missing_args
from chaoslab.world import (
    BadRequest,
    ConnectionRefused,
    DeadlineExceeded,
    Item,
    ModelReply,
    PartialWrite,
    ToolCall,
    Trapped,
    Unavailable,
)

SETTINGS = Settings()


def owned(world: FakeWorld) -> Ownership:
    return Ownership(world.ports, SETTINGS, "s1")


# -- keys and tools


def test_a_key_depends_on_the_action_and_on_nothing_else() -> None:
    key = key_of("s1", "t1", "refund", "o-1")
    assert key == key_of("s1", "t1", "refund", "o-1")
    others = {
        key_of("s2", "t1", "refund", "o-1"),
        key_of("s1", "t2", "refund", "o-1"),
        key_of("s1", "t1", "ship", "o-1"),
        key_of("s1", "t1", "refund", "o-2"),
        key_of("s1t", "1", "refund", "o-1"),
    }
    assert len(others | {key}) == 6


def test_arguments_of_another_type_count_as_missing() -> None:
    assert missing_args(TOOLS["refund"], {"order": None, "amount_cents": True}) == [
        "order",
        "amount_cents",
        "reason",
    ]


def test_pauses_grow_and_stay_below_their_cap() -> None:
    random = FakeWorld().random
    waits = [pause_ms(n, random, first_ms=100, most_ms=1_000) for n in range(1, 60)]
    assert all(50 <= w <= 1_000 for w in waits)
    assert min(waits[10:]) >= 500


# -- memory


def count_up(there: Any) -> Mapping[str, Any]:
    return {"n": (there["n"] if there else 0) + 1}


async def amend(store: Store, own: Ownership, known: Item | None, n: str = "x") -> Item:
    return await store.amend(n, known, count_up, own, ttl_ms=None)


def test_a_write_whose_reply_is_lost_is_recognised_and_not_done_again() -> None:
    async def main() -> None:
        world = FakeWorld()
        store = Store(world.ports, SETTINGS)
        async with owned(world).held() as own:
            world.memory.fail("write", DeadlineExceeded(), after=True)
            item = await amend(store, own, None)
        assert world.shared.items["x"] == item
        assert item.value["n"] == 1  # type: ignore[index, call-overload]
        assert [c[0] for c in world.memory.calls] == ["write", "read"]

    run(main())


def test_a_write_that_was_lost_is_done_again() -> None:
    async def main() -> None:
        world = FakeWorld()
        store = Store(world.ports, SETTINGS)
        async with owned(world).held() as own:
            world.memory.fail("write", DeadlineExceeded(), times=2)
            await amend(store, own, None)
        assert world.shared.items["x"].value["n"] == 1  # type: ignore[index, call-overload]

    run(main())


def test_a_change_is_applied_to_what_somebody_else_wrote_in_between() -> None:
    async def main() -> None:
        world = FakeWorld()
        store = Store(world.ports, SETTINGS)
        async with owned(world).held() as own:
            old = await amend(store, own, None)
            await amend(store, own, old)
            item = await amend(store, own, old)  # `old` is out of date by now
        assert item.value["n"] == 3  # type: ignore[index, call-overload]

    run(main())


def test_memory_that_stays_away_ends_in_not_now_after_its_patience() -> None:
    async def main() -> None:
        world = FakeWorld()
        store = Store(world.ports, SETTINGS)
        world.memory.fail("read", ConnectionRefused(), times=1_000)
        with pytest.raises(NotNow):
            await store.read("x")
        assert 55_000 <= world.clock.now_ms() <= 70_000
        async with owned(world).held() as own:
            world.memory.fail("write", Unavailable(), times=1_000)
            with pytest.raises(NotNow):
                await amend(store, own, None)
        assert len(world.memory.calls) <= 2 * SETTINGS.memory_tries

    run(main())


def test_a_newer_fence_ends_the_ownership() -> None:
    async def main() -> None:
        world = FakeWorld()
        store = Store(world.ports, SETTINGS)
        async with owned(world).held() as own:
            world.shared.fences["s1"] = 99
            with pytest.raises(OwnershipLost):
                await amend(store, own, None)
            with pytest.raises(OwnershipLost):
                own.check()

    run(main())


# -- ownership


def test_the_lease_is_renewed_and_given_up() -> None:
    async def main() -> None:
        world = FakeWorld()
        async with owned(world).held() as own:
            fence = own.fence()
            await world.clock.sleep(20_000)
            assert own.fence() == fence
        assert world.shared.grants["s1"][2] <= world.clock.now_ms()

    run(main())


def test_one_lost_renewal_does_not_cost_the_lease() -> None:
    async def main() -> None:
        world = FakeWorld()
        async with owned(world).held() as own:
            await world.clock.sleep(1_000)
            original = world.leases.acquire

            async def slow(session: str, /, *, ttl_ms: int) -> Any:
                world.leases.acquire = original  # type: ignore[method-assign]
                await world.clock.sleep(2_000)
                raise DeadlineExceeded

            world.leases.acquire = slow  # type: ignore[method-assign]
            await world.clock.sleep(9_000)
            own.check()

    run(main())


def test_a_second_process_waits_until_the_first_gives_up() -> None:
    async def main() -> list[str]:
        one = FakeWorld()
        two = FakeWorld(one.shared, process="p2")
        order: list[str] = []

        async def work(world: FakeWorld) -> None:
            async with owned(world).held():
                order.append(f"{world.process} in")
                await world.clock.sleep(8_000)
                order.append(f"{world.process} out")

        await asyncio.gather(work(one), work(two))
        return order

    assert run(main()) == ["p1 in", "p1 out", "p2 in", "p2 out"]


def test_the_lease_of_a_dead_process_is_waited_for() -> None:
    async def main() -> None:
        one = FakeWorld()
        await one.leases.acquire("s1", ttl_ms=5_000)
        two = FakeWorld(one.shared, process="p2")
        async with owned(two).held() as own:
            assert own.fence() == 2
        assert 5_000 <= two.clock.now_ms() <= 6_000

    run(main())


def test_a_process_that_stood_still_neither_acts_nor_takes_the_lease_back() -> None:
    async def main() -> None:
        world = FakeWorld()
        async with owned(world).held() as own:
            world.shared.grants["s1"] = (77, "p2", 50_000)
            world.leases.fail("acquire", DeadlineExceeded(), times=3)
            await world.clock.sleep(6_000)
            with pytest.raises(OwnershipLost):
                own.fence()
            asked = len(world.leases.calls)
            await world.clock.sleep(20_000)
            assert len(world.leases.calls) == asked
        assert world.shared.grants["s1"] == (77, "p2", 50_000)

    run(main())


def test_waiting_for_a_session_is_bounded() -> None:
    async def main() -> None:
        world = FakeWorld()
        world.shared.grants["s1"] = (1, "p2", 10**9)
        with pytest.raises(NotNow):
            async with owned(world).held():
                pass
        assert world.clock.now_ms() <= SETTINGS.lease_patience_ms + 5_000

    run(main())


# -- the group


PARTS = {"street": "Elm", "city": "Springfield", "phone": "1"}


@pytest.mark.parametrize("written", [1, 2])
def test_a_torn_group_is_never_seen_and_written_again(written: int) -> None:
    async def main() -> None:
        world = FakeWorld()
        profiles = Profiles(Store(world.ports, SETTINGS), SETTINGS)
        async with owned(world).held() as own:
            await profiles.save(own, "r1", PARTS, 0)
            for name in sorted(PARTS)[:written]:  # what a crash leaves of the next revision
                await world.memory.write(f"profile/s1/r2/{name}", "torn")
            assert await profiles.load("s1") == PARTS
            moved = {name: f"new {value}" for name, value in PARTS.items()}
            await profiles.save(own, "r2", moved, 0)
            assert await profiles.load("s1") == moved
        left = sorted(i for i in world.shared.items if i.startswith("profile/"))
        assert left == ["profile/s1", *(f"profile/s1/r2/{n}" for n in sorted(PARTS))]

    run(main())


def test_a_group_whose_write_stopped_in_its_middle_is_written_whole() -> None:
    async def main() -> None:
        world = FakeWorld()
        profiles = Profiles(Store(world.ports, SETTINGS), SETTINGS)
        world.memory.fail("write_many", PartialWrite(written=1))
        world.memory.fail("write_many", DeadlineExceeded(), after=True)
        async with owned(world).held() as own:
            await profiles.save(own, "r1", PARTS, 0)
        assert await profiles.load("s1") == PARTS

    run(main())


def test_a_manifest_whose_parts_are_gone_gives_nothing() -> None:
    async def main() -> None:
        world = FakeWorld()
        profiles = Profiles(Store(world.ports, SETTINGS), SETTINGS)
        async with owned(world).held() as own:
            await profiles.save(own, "r1", PARTS, 0)
        del world.shared.items["profile/s1/r1/city"]
        assert await profiles.load("s1") == {}

    run(main())


# -- the Wasm tool


def test_an_instance_serves_many_calls_and_is_replaced_after_a_trap() -> None:
    async def main() -> None:
        world = FakeWorld()
        tickets = Tickets(world.ports)
        for n in range(3):
            await tickets.open({"order": f"o-{n}"}, f"k{n}")
        assert len(world.wasm.made) == 1
        world.wasm.traps = ["after"]
        with pytest.raises(Trapped):
            await tickets.open({"order": "o-9"}, "k9")
        assert world.wasm.made[0].retired
        reply = await tickets.open({"order": "o-9"}, "k9")
        assert reply.absorbed
        assert len(world.wasm.made) == 2

    run(main())


# -- the model


CALL = ToolCall(id="c1", name="refund", args={"order": "o", "amount_cents": 1, "reason": "r"})


@pytest.mark.parametrize(
    "reply",
    [
        ModelReply(text="half a sent", finish="truncated"),
        ModelReply(text="no", finish="refusal"),
        ModelReply(),
        ModelReply(tool_calls=(ToolCall(id="c", name="refund_v2", args={}),)),
        ModelReply(tool_calls=(ToolCall(id="c", name="refund", args={"arguments": "{"}),)),
    ],
)
def test_rubbish_from_the_model_is_asked_again_within_a_bound(reply: ModelReply) -> None:
    assert problem_of(reply)

    async def main() -> None:
        world = FakeWorld(plan=[("refund", CALL.args)])
        dialogue = Dialogue(world.ports, SETTINGS)
        world.model.mishaps = [reply] * (SETTINGS.model_tries - 1)
        said = await dialogue.ask(opening("Please", {}))
        assert isinstance(said, ToolCall)
        world.model.mishaps = [reply] * SETTINGS.model_tries
        with pytest.raises(GaveUp):
            await dialogue.ask(opening("Please", {}))

    run(main())


def test_a_model_that_cannot_be_reached_is_no_failure_of_the_task() -> None:
    async def main() -> None:
        world = FakeWorld()
        world.model.fail("complete", DeadlineExceeded(), times=SETTINGS.model_tries)
        with pytest.raises(NotNow):
            await Dialogue(world.ports, SETTINGS).ask(opening("Please", {}))

    run(main())


def test_the_transcript_is_told_from_the_record_and_names_doubt() -> None:
    steps = [
        Step(tool="refund", marker="o", key="k", args={}, call="c1", state="done", ref="r1"),
        Step(tool="notify", marker="o/x", key=None, args={}, call="c2", state="uncertain", why="?"),
    ]
    first = opening("Please", {"street": "Elm", "city": "Springfield"})
    told = transcript(first, steps)
    assert "city=Springfield; street=Elm" in told[0]["content"]
    assert [m["role"] for m in told] == ["system", "user", *["assistant", "tool"] * 2]
    assert '"error"' not in told[3]["content"]
    assert '"error"' in told[5]["content"]


# -- records


def test_a_record_says_what_is_certain_and_what_is_not() -> None:
    steps = [
        Step(tool="refund", marker="o", key="k", args={}, call="c1", state="done", ref="r1"),
        Step(tool="ship", marker="o", key="k2", args={}, call="c2", state="failed", why="no"),
    ]
    record = TaskRecord(task="t", session="s", tenant="x", prompt="?", steps=steps)
    assert record.verdict() == "failed"
    assert [c.tool for c in record.claims()] == ["refund"]
    steps[1].state = "intent"
    assert record.verdict() == "uncertain"
    assert "ship o is intent" in record.why()


def test_a_record_of_a_later_version_can_still_be_read() -> None:
    value = TaskRecord(task="t", session="s", tenant="x", prompt="?").to_json()
    assert TaskRecord.from_json({**value, "writer": "p1/1", "mood": "good"}).task == "t"


def test_a_refusal_of_the_module_reaches_the_caller() -> None:
    async def main() -> None:
        world = FakeWorld()
        tickets = Tickets(world.ports)
        await tickets.open({"order": "o"}, "k")

        async def refuse(export: str, data: bytes, /, *, fuel: int) -> bytes:
            raise BadRequest("too long")

        world.wasm.made[0].call = refuse  # type: ignore[method-assign]
        with pytest.raises(BadRequest):
            await tickets.open({"order": "o"}, "k2")

    run(main())
