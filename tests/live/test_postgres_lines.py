"""Regions over PostgreSQL as processes: held at their COMMIT, killed there, and with the answer to
COMMIT itself lost on a line of Toxiproxy."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.live.postgres import Server, server
from tests.require import need

from chaoslab.backends.process.commits import OverToxiproxy, unanswered
from chaoslab.contract.stores import store_from
from chaoslab.links.client import Line, Links
from chaoslab.regions.postgres import PostgresStore, with_schema
from chaoslab.regions.rows import Change, Refusal, Row, Unsure
from chaoslab.regions.schemas import Schema
from chaoslab.regions.transactions import Patience
from chaoslab.regions.wire import Asking

HARNESS = str(Path(__file__).parents[2] / "harness")
SECONDS = 60.0


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    need("postgres")
    with server() as made:
        yield made


@pytest.fixture
def schema(database: Server) -> Iterator[str]:
    made = Schema(database.url, "test")
    yield made.name
    assert made.close() == ""


def change(uid: str, id: str = "a", **more: Any) -> Change:
    return Change(uid=uid, id=id, value=more.pop("value", uid), **more)


@asynccontextmanager
async def region(url: str, schema: str, data: Path) -> AsyncIterator[tuple[Asking, Any]]:
    """A region that leads, as a process of its own, and who speaks with it. The password is in its
    environment, as in an execution."""
    store = store_from(url, environment={})
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "chaoslab.regions", "--name", "eu", "--data", str(data)],
        *["--store", with_schema(str(store), schema)],
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": HARNESS, "CHAOSLAB_TOKEN": "t", **store.environment},
    )
    assert process.stdout is not None
    asking = None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
        asking = await Asking.at("127.0.0.1", json.loads(line)["port"], "t")
        await asking.ask("lead", epoch=1)
        yield asking, process
    finally:
        if asking is not None:
            await asking.close()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def test_a_region_stands_at_its_commit_until_it_is_released(
    database: Server, schema: str, tmp_path: Path
) -> None:
    async def played() -> None:
        async with region(database.url, schema, tmp_path) as (asking, _):
            await asking.ask("arm", point="commit")
            writing = asyncio.ensure_future(asking.ask("write", change=change("c1").json()))
            await asyncio.wait_for(asking.ask("held"), SECONDS)
            assert not writing.done()
            assert ledger(database.url, schema) == []
            await asking.ask("release")
            assert (await asyncio.wait_for(writing, SECONDS))["nth"] == 1
            assert ledger(database.url, schema) == ["c1"]

    asyncio.run(played())


def test_a_region_that_dies_at_its_commit_has_committed_nothing(
    database: Server, schema: str, tmp_path: Path
) -> None:
    async def played() -> None:
        async with region(database.url, schema, tmp_path) as (asking, process):
            await asking.ask("arm", point="commit")
            writing = asyncio.ensure_future(asking.ask("write", change=change("c1").json()))
            await asyncio.wait_for(asking.ask("held"), SECONDS)
            process.kill()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(writing, SECONDS)
        async with region(database.url, schema, tmp_path) as (asking, _):
            assert ledger(database.url, schema) == []
            await asking.ask("write", change=change("c2").json())
            assert ledger(database.url, schema) == ["c2"]

    asyncio.run(played())


@pytest.fixture
def line(links: Links, database: Server, schema: str) -> Iterator[Line]:
    made = links.create(schema, f"127.0.0.1:{database.port}")
    yield made
    made.delete()


def by(line: Line, database: Server) -> str:
    """The database by way of a line."""
    return database.url.replace(f":{database.port}/", f":{line.port}/")


def test_the_answer_to_commit_is_lost_and_what_was_committed_stays(
    database: Server, schema: str, line: Line, tmp_path: Path
) -> None:
    async def played() -> None:
        async with region(by(line, database), schema, tmp_path) as (asking, _):
            await asking.ask("write", change=change("c1").json())
            await asking.ask("arm", point="commit")
            writing = asyncio.ensure_future(asking.ask("write", change=change("c2").json()))
            await asyncio.wait_for(asking.ask("held"), SECONDS)
            toxic = line.add("timeout", timeout=0)
            await asking.ask("release")
            while ledger(database.url, schema) != ["c1", "c2"]:
                assert not writing.done()
                await asyncio.sleep(0.01)
            assert not writing.done()
            line.remove(toxic)  # which ends the connection
            with pytest.raises(Unsure):
                await asyncio.wait_for(writing, SECONDS)
            row = await asking.ask("write", change=change("c3").json())
            assert row["nth"] == 3
            assert row["over"] == [1, 2]  # what nobody answered for is what it goes over

    asyncio.run(asyncio.wait_for(played(), SECONDS))


def test_the_lab_knows_what_the_region_cannot(
    database: Server, schema: str, line: Line, tmp_path: Path
) -> None:
    """As the lab does it: for one change, while others go on."""

    async def committed() -> Row | None:
        with closing(PostgresStore(database.url, "eu", schema=schema, reader=True)) as reader:
            return next((row for row in reader.ledger(0) if row.uid == "lost"), None)

    async def played() -> None:
        swallowing = OverToxiproxy(line)
        async with region(by(line, database), schema, tmp_path) as (asking, _):
            lost = asyncio.ensure_future(
                unanswered(asking, change("lost"), swallowing, committed, limit_s=SECONDS)
            )
            others = [asking.ask("write", change=change(f"c{n}", "b").json()) for n in range(4)]
            told = await asyncio.gather(*others)
            row = await lost
            assert (row.uid, row.value) == ("lost", "lost")
            assert {one["nth"] for one in told} | {row.nth} == {1, 2, 3, 4, 5}
            assert (await asking.ask("read", id="a"))["version"] == list(row.version)
            assert line.toxics() == {}
            # What is refused before its COMMIT has no answer that could be lost.
            stale = change("stale", expect=(1, 99))
            with pytest.raises(Refusal) as refused:
                await unanswered(asking, stale, swallowing, committed)
            assert refused.value.code == "conflict"
            assert (await asking.ask("write", change=change("c9").json()))["nth"] == 6

    asyncio.run(asyncio.wait_for(played(), SECONDS))


def test_a_line_that_is_cut_at_commit_leaves_the_same_question_and_the_other_answer(
    database: Server, schema: str, line: Line, tmp_path: Path
) -> None:
    async def played() -> None:
        async with region(by(line, database), schema, tmp_path) as (asking, _):
            await asking.ask("arm", point="commit")
            writing = asyncio.ensure_future(asking.ask("write", change=change("c1").json()))
            await asyncio.wait_for(asking.ask("held"), SECONDS)
            line.cut()
            await asking.ask("release")
            with pytest.raises(Unsure):
                await asyncio.wait_for(writing, SECONDS)
            with pytest.raises(Refusal):  # and as long as it is cut, nothing happens
                await asking.ask("write", change=change("c2").json())
            line.mend()
            assert (await asking.ask("write", change=change("c3").json()))["nth"] == 1
            assert ledger(database.url, schema) == ["c3"]

    asyncio.run(asyncio.wait_for(played(), SECONDS))


def test_a_database_that_does_not_answer_in_time_counts_as_gone(
    database: Server, schema: str, line: Line
) -> None:
    patience = Patience(reply_ms=300)
    with closing(
        PostgresStore(by(line, database), "eu", schema=schema, patience=patience)
    ) as store:
        store.lead(1, 0)

        def at_commit() -> None:
            line.add("timeout", timeout=0)

        store.at_commit = at_commit
        with pytest.raises(Unsure):
            store.write(change("c1"))
        store.at_commit = None
        with pytest.raises(Refusal):
            store.read("a")
        line.remove("timeout_downstream")
        found = store.committed("c1")
        assert found is not None and found.nth == 1


def ledger(url: str, schema: str) -> list[str]:
    """What the referee reads."""
    with closing(PostgresStore(url, "eu", schema=schema, reader=True)) as reader:
        return [row.uid for row in reader.ledger(0)]
