"""The lab's side of regions that are processes: what goes on record of what they did, and what a
promotion or a return loses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.live.wires import need_original

from chaoslab.backends.process.lines import Lines
from chaoslab.backends.process.loop import LiveLoop
from chaoslab.backends.process.process_homes import ProcessHomes
from chaoslab.backends.process.regional import LostRow, Regional
from chaoslab.history import Op, Recorder, Writer
from chaoslab.world.api import Item, Write
from chaoslab.world.errors import ConnectionRefused, ConnectionReset, Fenced, Unavailable
from chaoslab.world.request import Caller

PATIENCE_S = 30


class Lab:
    """Regions with the lab's side of them."""

    def __init__(self, folder: Path, names: Sequence[str], lines: str, lag_ms: float) -> None:
        self.errors: list[BaseException] = []
        self.loop = LiveLoop(1, self.errors.append)
        self.recorder = Recorder(Writer(None, {}), lambda: self.loop.now_ns)
        self.homes = ProcessHomes(folder, {"PATH": os.environ["PATH"]})
        self.regional = Regional(
            self.homes,
            names,
            self.recorder,
            self.loop,
            lines=Lines(lines, folder.name),
            session_of=lambda fence: "s1" if fence < 100 else "",
            lag_ms=lag_ms,
        )

    async def write(self, region: str, id: str, value: Any = 1, **more: Any) -> tuple[int, int]:
        """A write of an agent in a region."""
        fence = more.pop("fence", None)
        write = Write(id=id, value=value, **more)
        return await self.regional.write(caller(region), "memory.write", write, fence)

    async def read(self, region: str, id: str) -> Item | None:
        """What an agent in a region reads of the primary."""
        return await self.regional.read(self.regional.leader(region), id, 0)

    async def promote(self, region: str) -> tuple[int, list[LostRow]]:
        """Waits for a promotion."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.regional.promote(region, lambda epoch, lost: done.set_result((epoch, list(lost))))
        epoch, lost = await asyncio.wait_for(done, PATIENCE_S)
        return epoch, lost

    async def join(self, region: str) -> list[LostRow]:
        """Waits for a return."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.regional.join(region, lambda lost: done.set_result(list(lost)))
        lost: list[LostRow] = await asyncio.wait_for(done, PATIENCE_S)
        return lost

    async def arrives(self, region: str, id: str) -> None:
        """Waits until a region's own copy has an item."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.regional.read(region, id, 0) is None:
                await asyncio.sleep(0.005)

    def commits(self) -> list[Op]:
        """What is on record."""
        return [op for op in self.recorder.ops if op.type == "commit"]


def caller(region: str) -> Caller:
    """An agent in a region."""
    return Caller(
        process=f"{region}-1", region=region, session="s1", task="t", tenant="", call=0, now_ns=0
    )


@asynccontextmanager
async def lab(folder: Path, *names: str, lines: str = "", lag_ms: float = 0) -> AsyncIterator[Lab]:
    """Regions that run, of which the first leads."""
    made = Lab(folder, names, lines, lag_ms)
    try:
        await made.regional.boot()
        yield made
        assert made.errors == []
    finally:
        await made.regional.close()
        made.loop.shut()
        await asyncio.sleep(0)


def play(story: Callable[[], Any]) -> None:
    """Runs a story."""
    asyncio.run(story())


def test_what_is_committed_goes_on_record_as_in_the_simulator(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path, "east", "west") as made:
            assert await made.write("west", "a", {"x": 1}, fence=2, expires_ms=50) == (1, 1)
            await made.regional.erase(caller("east"), "a", 2)
            with pytest.raises(Fenced):
                await made.write("east", "a", fence=1)
            first, gone = made.commits()
            assert (first.f, first.process, first.marker) == ("memory.write", "west-1", "a")
            assert first.value == {
                "id": "a",
                "value": {"x": 1},
                "durability": "local",
                "expires_ms": 50,
                "version": [1, 1],
                "fence": 2,
                "region": "east",
                "over": None,
            }
            assert gone.f == "memory.erase" and gone.get("erased") and gone.get("over") == [1, 1]

    play(story)


def test_a_commit_whose_answer_was_lost_is_recorded_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path, "east", "west", lag_ms=60_000) as made:
            ask = made.regional._speaking.ask
            await ask("east", "arm", point="before-answer")
            writing = asyncio.create_task(made.write("east", "a"))
            await ask("east", "held")
            assert made.commits() == []  # nobody has heard of it
            made.regional.fell("east")
            with pytest.raises(ConnectionReset):  # the agent never learns
                await writing
            epoch, lost = await made.promote("west")
            [commit] = made.commits()
            assert epoch == 2 and lost == [LostRow("a", (1, 1), commit.index)]
            assert commit.get("region") == "east" and commit.get("version") == [1, 1]
            # It counts on, and the dead one comes back without what it alone had.
            assert await made.write("west", "b") == (2, 2)
            assert await made.join("east") == []
            assert await made.read("east", "a") is None
            await made.regional.finish("west")
            assert [item.id for item in made.regional.standing()] == ["b"]
            assert len(made.commits()) == 2

    play(story)


@pytest.mark.parametrize("lines", ["", "embedded", "original"])
def test_a_cut_off_primary_goes_on_alone_until_it_is_back(tmp_path: Path, lines: str) -> None:
    if lines == "original":
        need_original()

    async def story() -> None:
        async with lab(tmp_path, "east", "west", lines=lines) as made:
            await made.write("east", "both")
            await made.arrives("west", "both")
            made.regional.parted("east")
            with pytest.raises(ConnectionRefused, match="no primary"):
                await made.write("west", "a")
            await made.regional._struck("east")
            await made.write("east", "before", 1)
            with pytest.raises(Unavailable, match="west cannot be reached"):
                await made.write("east", "q", durability="quorum")
            _, lost = await made.promote("west")
            assert [row.id for row in lost] == ["before"]
            assert await made.write("east", "alone", 1) == (1, 3)
            assert await made.write("west", "a") == (2, 3)
            assert [row.id for row in await made.join("east")] == ["alone"]
            assert await made.write("east", "a", 2) == (2, 4)  # by the primary in the west
            await made.arrives("east", "a")
            assert await made.regional.read("east", "alone", 0) is None
            await made.write("east", "q", durability="quorum")
            assert await made.regional.read("east", "q", 0) is not None

    play(story)


def test_a_primary_that_is_back_before_anybody_missed_it_leads_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path, "east", "west", lag_ms=60_000) as made:
            await made.write("east", "a")
            made.regional.fell("east")
            with pytest.raises(ConnectionRefused):
                await made.read("east", "a")
            assert await made.join("east") == []
            found = await made.read("west", "a")
            assert found is not None and found.version == (1, 1)
            assert await made.write("west", "a", 2) == (1, 2)
            await made.arrives("west", "a")  # which follows it anew

    play(story)


def test_a_healthy_primary_that_is_replaced_loses_only_what_was_on_its_way(tmp_path: Path) -> None:
    async def story() -> None:
        async with lab(tmp_path, "east", "west", "north", lag_ms=60_000) as made:
            await made.write("east", "q", durability="quorum")
            await made.write("east", "late")
            _, lost = await made.promote("north")
            assert [row.id for row in lost] == ["late"]
            for region in ("east", "west", "north"):
                assert await made.regional.read(region, "late", 0) is None
                assert await made.regional.read(region, "q", 0) is not None
            assert (await made.write("east", "q", 2, durability="quorum"))[0] == 2

    play(story)
