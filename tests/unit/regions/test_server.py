"""Regions as processes: what they answer, replicate, refuse and keep."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chaoslab.backends.process.homes import Place
from chaoslab.backends.process.process_homes import ProcessHomes
from chaoslab.regions.rows import Refusal, Unsure
from chaoslab.regions.wire import Asking

PATIENCE_S = 30


class Lab:
    """Some regions, and a connection to each."""

    def __init__(self, folder: Path) -> None:
        self.homes = ProcessHomes(folder, {"PATH": os.environ["PATH"]})
        self.places: dict[str, Place] = {}
        self._open: dict[str, Asking] = {}
        self._uids = 0

    async def start(self, *names: str) -> None:
        """Starts regions, or starts them again."""
        for name in names:
            self.places[name] = await self.homes.start(name)

    async def ask(self, name: str, do: str, **given: Any) -> Any:
        """One request."""
        if name not in self._open or not self._open[name].open:
            place = self.places[name]
            self._open[name] = await Asking.at(place.host, place.port, self.homes.token)
        return await asyncio.wait_for(self._open[name].ask(do, **given), PATIENCE_S)

    async def write(self, name: str, id: str, value: Any = 1, **more: Any) -> Any:
        """One change."""
        self._uids += 1
        change = {"uid": f"c{self._uids}", "id": id, "value": value, **more}
        return await self.ask(name, "write", change=change)

    def peers(self, *names: str) -> dict[str, list[Any]]:
        """Their addresses."""
        return {n: [self.places[n].peer_host, self.places[n].peer_port] for n in names}

    async def close(self) -> None:
        """Ends it all."""
        for asking in self._open.values():
            await asking.close()
        await self.homes.close()


@asynccontextmanager
async def lab(folder: Path, *names: str, lag_ms: float = 0) -> AsyncIterator[Lab]:
    """Regions, of which the first leads."""
    made = Lab(folder)
    try:
        await made.start(*names)
        await made.ask(names[0], "lead", epoch=1)
        await made.ask(
            names[0], "peers", peers=made.peers(*names[1:]), members=names, lag_ms=lag_ms
        )
        yield made
    finally:
        await made.close()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Waits until something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():
            await asyncio.sleep(0.005)


def reads(made: Lab, name: str, id: str, value: Any) -> Callable[[], Awaitable[bool]]:
    """Whether a region has a value."""

    async def look() -> bool:
        row = await made.ask(name, "read", id=id)
        return row is not None and row["value"] == value

    return look


def test_a_change_reaches_the_peers_by_itself(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east", "west") as made:
            row = await made.write("east", "a", {"x": 1}, fence=3, fence_session="s1")
            assert row["version"] == [1, 1] and row["nth"] == 1
            await until(reads(made, "west", "a", {"x": 1}))
            assert (await made.ask("west", "state"))["fences"] == {"s1": 3}
            with pytest.raises(Refusal, match="west does not lead"):
                await made.write("west", "b")

    asyncio.run(play())


def test_a_killed_region_comes_back_with_what_it_had(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east") as made:
            await made.write("east", "a")
            before = made.places["east"]
            await made.homes.kill("east")
            with pytest.raises(OSError):
                await Asking.at(before.host, before.port, made.homes.token)
            assert [row.id for row in await made.homes.ledger("east", 0)] == ["a"]
            await made.start("east")
            assert made.places["east"] == before
            assert (await made.write("east", "a", 2))["over"] == [1, 1]

    asyncio.run(play())


def test_a_cut_line_delays_and_loses_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east", "west") as made:
            await made.homes.cut("west")
            await made.write("east", "a", 1)
            await made.write("east", "b", 2)
            with pytest.raises(Refusal, match="west cannot be reached"):
                await made.write("east", "c", durability="quorum")
            assert await made.ask("west", "scan", prefix="") == []
            assert len(await made.ask("east", "scan", prefix="")) == 2  # nothing of the third
            await made.homes.mend("west")
            await until(reads(made, "west", "b", 2))
            assert len(await made.ask("west", "scan", prefix="")) == 2

    asyncio.run(play())


def test_a_quorum_is_on_every_member_when_it_answers(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east", "west", "north", lag_ms=60_000) as made:
            await made.write("east", "late")  # which the lag keeps back
            await made.write("east", "a", durability="quorum")
            for name in ("west", "north"):
                assert (await made.ask(name, "read", id="a"))["value"] == 1
            await made.write("east", "b")
            for id in ("late", "b"):  # nobody waits for these
                assert await made.ask("west", "read", id=id) is None

    asyncio.run(play())


def test_what_a_quorum_overtook_arrives_later(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east", "west", lag_ms=400) as made:
            await made.write("east", "late")
            await made.write("east", "a", durability="quorum")
            await made.write("east", "b")
            for id in ("late", "b"):
                await until(reads(made, "west", id, 1))
            assert (await made.ask("east", "state"))["acked"] == {"west": 3}

    asyncio.run(play())


def test_a_member_that_stands_still_makes_a_quorum_impossible(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east", "west") as made:
            await made.homes.pause("west")
            with pytest.raises((Refusal, Unsure)):
                await made.write("east", "a", durability="quorum")
            assert await made.ask("east", "read", id="a") is None
            await made.homes.resume("west")
            await made.write("east", "a", durability="quorum")

    asyncio.run(play())


def test_who_follows_has_the_leaders_copy_and_keeps_its_ledger(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east", "west") as made:
            await made.homes.cut("east")
            await made.write("east", "alone")
            await made.ask("west", "lead", epoch=2, count=1)
            assert (await made.write("west", "a"))["version"] == [2, 2]
            with pytest.raises(Refusal, match="cut"):
                await made.ask("east", "follow", leader=made.peers("west")["west"])
            await made.homes.mend("east")
            state = await made.ask("east", "follow", leader=made.peers("west")["west"])
            assert (state["epoch"], state["leads"], state["nth"]) == (2, False, 1)
            assert [row["id"] for row in await made.ask("east", "scan", prefix="")] == ["a"]
            assert [row.id for row in await made.homes.ledger("east", 0)] == ["alone"]

    asyncio.run(play())


def test_it_can_be_killed_between_the_commit_and_the_answer(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east") as made:
            await made.ask("east", "arm", point="before-answer")
            writing = asyncio.create_task(made.write("east", "a"))
            await made.ask("east", "held")
            await made.homes.kill("east")
            with pytest.raises(ConnectionError):
                await writing
            assert [row.uid for row in await made.homes.ledger("east", 0)] == ["c1"]

    asyncio.run(play())


def test_two_writes_can_be_made_to_race(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east") as made:
            await made.ask("east", "arm", point="before-commit")
            slow = asyncio.create_task(made.write("east", "a", "slow", expect=None))
            await made.ask("east", "held")
            await made.write("east", "a", "fast", expect=None)
            await made.ask("east", "release")
            with pytest.raises(Refusal, match="moved on"):
                await slow

    asyncio.run(play())


def test_nobody_without_the_token_is_answered(tmp_path: Path) -> None:
    async def play() -> None:
        async with lab(tmp_path, "east") as made:
            place = made.places["east"]
            for port in (place.port, place.peer_port):
                asking = await Asking.at(place.host, port, "guessed")
                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(asking.ask("state"), PATIENCE_S)
                await asking.close()
            for do in ("unheard", "read"):  # no such request; one with something missing
                with pytest.raises(Refusal) as refused:
                    await made.ask("east", do)
                assert refused.value.code == "bad-request"

    asyncio.run(play())
