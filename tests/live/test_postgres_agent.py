"""The reference agent with its memory in a PostgreSQL: its guarantees are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.live.lab import spec_of, verdicts, workers
from tests.live.postgres import Server, server
from tests.live.test_regions import AGENTS, RIGHT, SCENARIO, ZOMBIE, commits, events
from tests.require import need

from chaoslab.backends.live import check_store
from chaoslab.backends.process import process_homes
from chaoslab.backends.process.commits import unanswered
from chaoslab.contract.stores import StoreAt, store_from
from chaoslab.history import View, read
from chaoslab.regions.rows import Change, Row
from chaoslab.regions.wire import Asking
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    need("postgres")
    with server() as made:
        yield made


@pytest.fixture(scope="module")
def store(database: Server) -> StoreAt:
    return check_store(store_from(database.url, environment={}))


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with workers() as made:
        yield made


def struck(
    folder: Path,
    pool: Workers,
    store: StoreAt,
    fault: str,
    *,
    agent: str = RIGHT,
    toxiproxy: str = "",
    strikes: int = 1,
) -> tuple[RunRecord, View]:
    path = folder / "regions.toml"
    path.write_text(SCENARIO.format(fault=fault, kind="refund", sessions=1, lag_ms=100))
    (folder / "out").mkdir()
    times = {"linger_ms": 100, "silence_ms": 200}
    spec = spec_of(agent, path, repeats=0, store=store, toxiproxy=toxiproxy, **times)
    record = perform(spec, pool, folder / "out")
    assert (record.broke, record.not_applicable) == ("", "")
    assert record.faults["fired"] == strikes
    text = "".join(one.read_text() for one in (folder / "out").glob("*.jsonl"))
    assert store.password not in text
    return record, View(read(folder / "out" / "fault.jsonl").ops)


def left(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as base:
        query = "select count(*) from pg_namespace where nspname like 'chaoslab%'"
        return int((base.execute(query).fetchone() or (0,))[0])


def transactions(url: str) -> int:
    """How many the server has seen that wrote anything."""
    import psycopg

    with psycopg.connect(url) as base:
        found = base.execute("select pg_current_xact_id()::text::bigint").fetchone()
        return int((found or (0,))[0])


@pytest.mark.parametrize(
    ("fault", "happened"),
    [
        (
            'at = "memory.write"\nphase = "after-commit"\nkind = "crash"\nscope = "region"\n'
            "for_ms = 12000",
            ["down east", "promote west", "join east"],
        ),
        (
            'at = "tools:keyed"\nphase = "after-commit"\nkind = "partition"\nfor_ms = 12000',
            ["partition east", "promote west", "join east"],
        ),
        ('at = "memory.write"\nphase = "after-commit"\nkind = "silence"', []),
    ],
    ids=["region-crash", "partition", "silence"],
)
def test_a_right_agent_stays_right(
    tmp_path: Path,
    pool: Workers,
    database: Server,
    store: StoreAt,
    fault: str,
    happened: list[str],
) -> None:
    before = transactions(database.url)
    record, view = struck(tmp_path, pool, store, fault)
    assert record.violations == ()
    assert verdicts(record)["effects.delivery"] == "valid"
    assert events(view) == happened
    versions = [tuple(op.get("version")) for op in commits(view)]
    assert versions and len(set(versions)) == len(versions)
    assert transactions(database.url) - before > len(versions)  # it was really there
    assert left(database.url) == 0


@pytest.mark.parametrize("kind", ["silence", "reset"])
def test_the_answer_to_commit_itself_is_lost(
    tmp_path: Path,
    database: Server,
    store: StoreAt,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = []

    async def noted(*given: Any, **more: Any) -> Row:
        lost.append(await unanswered(*given, **more))
        return lost[-1]

    monkeypatch.setattr(process_homes, "unanswered", noted)
    here = Workers(in_process=True)
    fault = f'at = "memory.write"\nphase = "after-commit"\nkind = "{kind}"'
    record, view = struck(tmp_path, here, store, fault, toxiproxy="embedded")
    assert record.violations == ()
    assert verdicts(record)["effects.delivery"] == "valid"
    # The agent was told nothing, and the record has the commit as the ledger has it.
    [row] = lost
    [strike] = view.named("nemesis.strike")
    [made] = [op for op in commits(view) if op.call == strike.call]
    assert (made.get("id"), tuple(made.get("version"))) == (row.id, row.version)
    assert left(database.url) == 0


def test_the_server_is_killed_in_the_middle_of_a_transaction(
    tmp_path: Path, database: Server, store: StoreAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before a COMMIT, of which then nothing is left. The fault of the scenario is how that
    write is picked; it strikes nothing, since there is no commit after which it could."""
    killed: list[str] = []

    async def noted(region: Asking, change: Change, *given: Any) -> Row:
        killed.append(change.uid)
        await region.ask("arm", point="commit", uid=change.uid)
        writing = asyncio.ensure_future(region.ask("write", change=change.json()))
        await asyncio.wait_for(region.ask("held"), 60)
        await asyncio.to_thread(database.restart)
        await region.ask("release")
        return Row.of_json(await writing)

    monkeypatch.setattr(process_homes, "unanswered", noted)
    fault = 'at = "memory.write"\nphase = "after-commit"\nkind = "silence"'
    here = Workers(in_process=True)
    record, view = struck(tmp_path, here, store, fault, toxiproxy="embedded", strikes=0)
    assert len(killed) == 1
    assert record.violations == ()
    assert verdicts(record)["effects.delivery"] == "valid"
    versions = [tuple(op.get("version")) for op in commits(view)]
    assert versions == [(1, n) for n in range(1, len(versions) + 1)]
    assert left(database.url) == 0


def test_a_wrong_agent_is_found(tmp_path: Path, pool: Workers, store: StoreAt) -> None:
    agent = f"{AGENTS}/zombie_without_fence.py:make_agent"
    record, _ = struck(tmp_path, pool, store, ZOMBIE, agent=agent)
    assert "regions.fenced" in {v.check for v in record.violations}


def test_a_database_that_is_gone_is_the_labs_trouble_in_one_line(
    tmp_path: Path, pool: Workers, store: StoreAt
) -> None:
    path = tmp_path / "regions.toml"
    path.write_text(SCENARIO.format(fault=ZOMBIE, kind="refund", sessions=1, lag_ms=100))
    (tmp_path / "out").mkdir()
    gone = replace(store, port=1)
    record = perform(spec_of(RIGHT, path, repeats=0, store=gone), pool, tmp_path / "out")
    assert "the store cannot be used" in record.broke and str(gone) in record.broke
    assert store.password not in record.broke
