"""Regions as containers: killed, paused, restarted and cut off, and nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chaoslab.backends.docker import boxes
from chaoslab.backends.docker.boxes import free_port
from chaoslab.backends.docker.homes import ContainerHomes
from chaoslab.backends.docker.leftovers import RUN_LABEL
from chaoslab.backends.process.homes import Homes, Place
from chaoslab.backends.process.leftovers import Home
from chaoslab.core.errors import LabError
from chaoslab.regions.rows import Change, Refusal, Row
from chaoslab.regions.wire import Asking

RUN = f"rhomes{os.getpid()}"


def left_of(client: Any, run: str) -> list[str]:
    """The containers and networks of an execution."""
    wanted = {"label": f"{RUN_LABEL}={run}"}
    containers = [c["Names"][0] for c in client.api.containers(all=True, filters=wanted)]
    return containers + [n["Name"] for n in client.api.networks(filters=wanted)]


@asynccontextmanager
async def homes_of(*regions: str) -> AsyncIterator[ContainerHomes]:
    """Homes in a folder of their own."""
    home = Home(RUN)
    try:
        homes = ContainerHomes(home, home.path, regions)
        try:
            yield homes
        finally:
            await homes.close()
    finally:
        home.close()


async def ask(homes: Homes, place: Place, do: str, /, **given: Any) -> Any:
    """One request of the lab."""
    asking = await Asking.at(place.host, place.port, homes.token)
    try:
        return await asyncio.wait_for(asking.ask(do, **given), 10)
    finally:
        await asking.close()


async def write(homes: Homes, place: Place, id: str, value: int) -> Row:
    """One write to a region that leads."""
    change = Change(uid=f"{id}-{value}", id=id, value=value)
    return Row.of_json(await ask(homes, place, "write", change=change.json()))


async def value_at(homes: Homes, place: Place, id: str) -> Any:
    """What a region holds."""
    raw = await ask(homes, place, "read", id=id)
    return None if raw is None else Row.of_json(raw).value


async def arrives(homes: Homes, place: Place, id: str, value: Any) -> bool:
    """Whether a region comes to hold a value."""
    for _ in range(600):
        if await value_at(homes, place, id) == value:
            return True
        await asyncio.sleep(0.05)
    return False


async def pair(homes: Homes) -> tuple[Place, Place]:
    """`eu` leads, `us` follows."""
    eu, us = await asyncio.gather(homes.start("eu"), homes.start("us"))
    await ask(homes, eu, "lead", epoch=1)
    await ask(homes, us, "follow", leader=[eu.peer_host, eu.peer_port])
    await ask(homes, eu, "peers", peers={"us": [us.peer_host, us.peer_port]})
    return eu, us


def test_replication_a_cut_and_a_mend(client: Any) -> None:
    async def scene() -> None:
        async with homes_of("eu", "us") as homes:
            eu, us = await pair(homes)
            await write(homes, eu, "cart", 1)
            assert await arrives(homes, us, "cart", 1)
            await homes.cut("eu")
            await homes.cut("eu")  # twice is once
            row = await write(homes, eu, "cart", 2)  # the lab still reaches it
            assert row.version == (1, 2)
            await asyncio.sleep(0.3)
            assert await value_at(homes, us, "cart") == 1
            refused = ask(homes, us, "follow", leader=[eu.peer_host, eu.peer_port])
            with pytest.raises(Refusal, match="cannot be reached"):
                await refused
            assert [r.value for r in await homes.ledger("eu", 1)] == [2]
            await homes.mend("eu")
            assert await arrives(homes, us, "cart", 2)

    asyncio.run(scene())
    assert left_of(client, RUN) == []


def test_a_killed_region_keeps_its_data_and_its_ports(client: Any) -> None:
    async def scene() -> None:
        async with homes_of("eu", "us") as homes:
            eu, us = await pair(homes)
            await write(homes, eu, "cart", 1)
            assert await arrives(homes, us, "cart", 1)
            await homes.kill("eu")
            await homes.kill("eu")
            with socket.socket() as probe:
                assert probe.connect_ex((eu.host, eu.port)) != 0
            assert [r.value for r in await homes.ledger("eu", 0)] == [1]
            assert await homes.start("eu") == eu
            assert await value_at(homes, eu, "cart") == 1
            await write(homes, eu, "cart", 2)
            assert [r.nth for r in await homes.ledger("eu", 0)] == [1, 2]
            # A region that was cut off when it died is cut off when it lives again.
            await homes.cut("eu")
            await homes.kill("eu")
            await homes.start("eu")
            await ask(homes, eu, "peers", peers={"us": [us.peer_host, us.peer_port]})
            await asyncio.sleep(0.3)
            assert await value_at(homes, us, "cart") == 1
            await homes.mend("eu")
            assert await arrives(homes, us, "cart", 2)

    asyncio.run(scene())
    assert left_of(client, RUN) == []


def test_a_paused_region_takes_connections_and_answers_late(client: Any) -> None:
    async def scene() -> None:
        async with homes_of("eu") as homes:
            eu = await homes.start("eu")
            await ask(homes, eu, "lead", epoch=1)
            await homes.pause("eu")
            asking = await Asking.at(eu.host, eu.port, homes.token)
            change = Change(uid="late", id="cart", value=1)
            late = asyncio.ensure_future(asking.ask("write", change=change.json()))
            done, _ = await asyncio.wait([late], timeout=0.4)
            assert not done and await homes.ledger("eu", 0) == []
            await homes.resume("eu")
            assert Row.of_json(await asyncio.wait_for(late, 20)).value == 1  # the zombie's write
            await asking.close()
            await homes.pause("eu")
            await homes.kill("eu")  # also one that is paused
            await homes.start("eu")
            assert await value_at(homes, eu, "cart") == 1

    asyncio.run(scene())
    assert left_of(client, RUN) == []


def test_what_stands_around_a_region(client: Any) -> None:
    async def scene() -> None:
        async with homes_of("eu central/1", "us") as homes:
            place = await homes.start("eu central/1")
            assert (await ask(homes, place, "state"))["name"] == "eu central/1"
            [found] = client.api.containers(filters={"label": f"{RUN_LABEL}={RUN}"})
            told = client.api.inspect_container(found["Id"])
            limits = told["HostConfig"]
            assert limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"]
            assert "no-new-privileges" in limits["SecurityOpt"] and limits["Memory"] == 256 << 20
            assert not told["Config"]["User"].startswith("0:") and not limits["Privileged"]
            [published] = found["Ports"]
            assert (published["IP"], published["PublicPort"]) == ("127.0.0.1", place.port)
            networks = sorted(told["NetworkSettings"]["Networks"])
            assert [name.rpartition("-")[2] for name in networks] == ["admin", "regions"]
            # Nothing beyond its peers and the lab: the outside is not there.
            code = (
                "import socket; s = socket.socket(); s.settimeout(1); "
                "print(s.connect_ex(('192.0.2.1', 80)))"
            )
            made = client.api.exec_create(found["Id"], ["python3", "-c", code])
            assert client.api.exec_start(made["Id"]).strip() != b"0"

    asyncio.run(scene())
    assert left_of(client, RUN) == []


def test_a_region_that_does_not_get_ready_says_why(client: Any) -> None:
    async def scene() -> None:
        async with homes_of("eu") as homes:
            homes._boxes.open()
            homes._open = True
            homes._boxes._token = ""  # refused by the program itself
            with pytest.raises(LabError, match=r"exit code 2: .*token") as caught:
                await homes.start("eu")
            assert "region eu" in str(caught.value)

    asyncio.run(scene())
    assert left_of(client, RUN) == []


def test_an_end_in_the_middle_of_a_start(client: Any) -> None:
    async def scene() -> None:
        async with homes_of("eu", "us") as homes:
            starting = [asyncio.ensure_future(homes.start(name)) for name in ("eu", "us")]
            await asyncio.wait(starting, timeout=0.3)
            for one in starting:
                one.cancel()
            await asyncio.wait(starting)

    asyncio.run(scene())
    assert left_of(client, RUN) == []


def test_the_folder_takes_the_containers_with_it(client: Any) -> None:
    home = Home(RUN)

    async def scene() -> None:
        homes = ContainerHomes(home, home.path, ["eu"])
        await homes.start("eu")
        assert len(left_of(client, RUN)) == 3
        home.close()  # as where the lab's own parent has died
        assert left_of(client, RUN) == [] and not home.path.exists()
        await homes.close()

    asyncio.run(scene())


def test_a_port_that_somebody_took_meanwhile(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            ports = [taken.getsockname()[1], free_port("another")]
            monkeypatch.setattr(boxes, "free_port", lambda name: ports.pop(0))
            async with homes_of("eu") as homes:
                place = await homes.start("eu")
                assert ports == [] and place.port != taken.getsockname()[1]
                assert (await ask(homes, place, "state"))["name"] == "eu"
                assert (
                    len(client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={RUN}"}))
                    == 1
                )

    asyncio.run(scene())
