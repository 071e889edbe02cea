"""Memory in a real PostgreSQL: the same as in SQLite, and what only a database over a line can do
to it: collide, be killed in the middle of a transaction, lose the answer to COMMIT itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.live.postgres import Server, server
from tests.require import need

from chaoslab.regions.postgres import PostgresStore, with_schema
from chaoslab.regions.rows import Change, Refusal, Row, Unsure
from chaoslab.regions.schemas import Schema, drop_abandoned
from chaoslab.regions.sqlite import SqliteStore
from chaoslab.regions.store import Store
from chaoslab.regions.transactions import Patience, Transactions

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


@pytest.fixture
def store(database: Server, schema: str) -> Iterator[PostgresStore]:
    with closing(PostgresStore(database.url, "eu", schema=schema)) as made:
        made.lead(1, 0)
        yield made


def change(uid: str, id: str = "a", **more: Any) -> Change:
    return Change(uid=uid, id=id, value=more.pop("value", uid), **more)


# -- the same as every other store


def outcome(action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Refusal as refusal:
        return refusal.code, refusal.words, refusal.details


def asked(random: Random, number: int, standing: Row | None) -> Change:
    """A change that is right, stale, fenced, an erasure or out of date soon."""
    expect = random.choice(["any", "any", None, standing.version if standing else (1, 1)])
    return Change(
        uid=f"u{number}",
        id=random.choice(["a", "aa", "b", "ä\x00", "\U0001f600", "\uffff", "z'\"%s"]),
        value=random.choice([None, 1, "\x00", [1.5, {"x": "é"}], "\ud800"]),
        expect=expect,
        fence=random.choice([None, None, random.randrange(5)]),
        fence_session=random.choice(["s1", "s2", ""]),
        expires_ns=random.choice([None, None, random.randrange(60)]),
        erased=random.random() < 0.2,
        caller={"process": f"p{number}"},
        now_ns=number,
    )


def step(store: Store, random: Random, number: int, rows: list[Row]) -> Any:
    """One thing that is done to a store, and what it says; the same for the same random numbers."""
    match random.choice(["write"] * 6 + ["read", "scan", "ledger", "lead", "follow", "put"]):
        case "write":
            wanted = asked(random, number, rows[-1] if rows else None)
            return outcome(lambda: store.write(wanted))
        case "read":
            return store.read(random.choice(["a", "nobody", "ä\x00"]))
        case "scan":
            return store.scan(random.choice(["", "a", "ä", "\U0001f600", "\uffff"]))
        case "ledger":
            return store.ledger(random.randrange(4))
        case "lead":
            return store.lead(number, random.randrange(40))
        case "follow":
            return store.follow(number, rows[:3], {"s1": random.randrange(5)}, random.randrange(40))
        case _:
            epoch = store.state().epoch + random.randrange(2)
            return store.put(random.sample(rows, min(3, len(rows))), {"s2": 3}, epoch)


@pytest.mark.parametrize("seed", range(4))
def test_it_answers_as_sqlite_does(store: PostgresStore, tmp_path: Path, seed: int) -> None:
    with closing(SqliteStore(tmp_path / "region.db")) as other:
        other.lead(1, 0)
        rows: list[Row] = []
        written = 0
        for number in range(60):
            a, b = (step(one, Random(f"{seed} {number}"), number, rows) for one in (store, other))
            assert a == b, number
            assert store.state() == other.state(), number
            if isinstance(a, Row) and a.nth and a.id not in {row.id for row in rows}:
                rows.append(a)
            written += isinstance(a, Row)
        assert store.scan("") == other.scan("")
        assert store.ledger(0) == other.ledger(0)
        assert written > 5


def test_two_regions_share_a_schema_and_nothing_else(
    database: Server, schema: str, store: PostgresStore
) -> None:
    with closing(PostgresStore(database.url, 'us "; drop', schema=schema)) as other:
        store.write(change("c1"))
        other.lead(7, 3)
        assert other.read("a") is None
        assert other.write(change("c2")).version == (7, 4)
        assert store.state().epoch == 1


def test_a_region_is_there_again_with_all_that_it_had(
    database: Server, schema: str, store: PostgresStore
) -> None:
    row = store.write(change("c1", fence=4, fence_session="s"))
    before = store.state()
    store.close()
    with closing(PostgresStore(database.url, "eu", schema=schema)) as again:
        assert (again.read("a"), again.state(), again.ledger(0)) == (row, before, [row])


def test_a_change_is_never_committed_twice(store: PostgresStore) -> None:
    store.write(change("c1"))
    with pytest.raises(Refusal, match="duplicate key"):
        store.write(change("c1"))
    assert [row.uid for row in store.ledger(0)] == ["c1"]
    assert store.state().count == 1


# -- collisions


@pytest.fixture
def two(database: Server, schema: str) -> Iterator[tuple[Transactions, Transactions]]:
    """Two real connections to a table with rows a and b."""
    made = [
        Transactions(database.url, name=f"{schema}/{name}", path=schema, patience=Patience(tries=4))
        for name in "xy"
    ]
    first, second = made
    first.write(lambda base: base.execute("create table t (id text primary key, n int)"))
    first.write(lambda base: base.execute("insert into t values ('a', 0), ('b', 0)"))
    yield first, second
    for one in made:
        one.close()


def get(base: Any, id: str) -> int:
    found: int = base.execute("select n from t where id = %s", (id,)).fetchone()[0]
    return found


def add(base: Any, id: str) -> None:
    base.execute("update t set n = n + 1 where id = %s", (id,))


def test_a_serialization_failure_is_tried_again(two: tuple[Transactions, Transactions]) -> None:
    first, second = two
    seen = []

    def work(base: Any) -> None:
        seen.append(get(base, "a"))
        if len(seen) == 1:
            second.write(lambda other: add(other, "a"))
        add(base, "a")

    first.write(work)
    assert seen == [0, 1]
    assert first.retried == 1
    assert first.read(lambda base: get(base, "a")) == 2


def test_one_that_shows_only_at_commit_is_no_open_question(
    two: tuple[Transactions, Transactions],
) -> None:
    first, second = two
    seen = []

    def crosswise(mine: str, theirs: str) -> Callable[[Any], None]:
        def work(base: Any) -> None:
            seen.append((mine, get(base, mine)))
            add(base, theirs)

        return work

    def at_commit() -> None:
        first.at_commit = None
        second.write(crosswise("b", "a"))

    first.at_commit = at_commit
    first.write(crosswise("a", "b"))
    assert first.retried == 1
    assert seen == [("a", 0), ("b", 0), ("a", 1)]


def test_after_the_limit_it_is_refused_and_nothing_has_happened(
    two: tuple[Transactions, Transactions],
) -> None:
    first, second = two

    def work(base: Any) -> None:
        get(base, "a")
        second.write(lambda other: add(other, "a"))
        add(base, "a")

    with pytest.raises(Refusal) as refused:
        first.write(work)
    assert (refused.value.code, refused.value.details) == ("unavailable", {"tries": 4})
    assert first.read(lambda base: get(base, "a")) == 4  # all of them are the other's


def test_a_deadlock_is_tried_again(two: tuple[Transactions, Transactions]) -> None:
    first, second = two
    both = threading.Barrier(2)

    def crossing(one: str, other: str) -> Callable[[Any], None]:
        met: list[bool] = []

        def work(base: Any) -> None:
            add(base, one)
            if not met:
                met.append(True)
                both.wait(SECONDS)
            add(base, other)

        return work

    thread = threading.Thread(target=second.write, args=(crossing("b", "a"),))
    thread.start()
    first.write(crossing("a", "b"))
    thread.join(SECONDS)
    assert first.retried + second.retried >= 1
    assert first.read(lambda base: (get(base, "a"), get(base, "b"))) == (2, 2)


# -- the server dies


def test_killed_before_commit_was_sent_nothing_has_happened(
    database: Server, store: PostgresStore
) -> None:
    store.write(change("c1"))

    def work(base: Any) -> None:
        store._write(base, change("c2"))
        database.kill()
        base.execute("select 1")

    with pytest.raises(Refusal) as refused:
        store.transactions.write(work)
    assert refused.value.code == "connection-refused"
    with pytest.raises(Refusal) as refused:
        store.read("a")
    assert refused.value.code == "connection-refused"
    database.start()
    assert [row.uid for row in store.ledger(0)] == ["c1"]
    assert store.write(change("c3")).version == (1, 2)


def test_killed_at_commit_nobody_knows_until_the_ledger_is_read(
    database: Server, store: PostgresStore
) -> None:
    store.at_commit = database.restart
    with pytest.raises(Unsure):
        store.write(change("c1"))
    store.at_commit = None
    assert store.committed("c1") is None
    assert store.write(change("c2")).version == (1, 1)
    found = store.committed("c2")
    assert found is not None and found.nth == 1


def test_a_server_that_was_started_again_is_found_without_a_word(
    database: Server, store: PostgresStore
) -> None:
    row = store.write(change("c1"))
    database.restart()
    assert store.read("a") == row
    database.restart()
    assert store.write(change("c2")).nth == 2


def test_a_connection_that_is_ended_by_the_server_is_no_open_question(
    database: Server, store: PostgresStore
) -> None:
    """Within a transaction, yet before COMMIT."""
    import psycopg

    with psycopg.connect(database.url, autocommit=True) as base:

        def work(own: Any) -> None:
            store._write(own, change("c1"))
            base.execute("select pg_terminate_backend(%s, 5000)", (own.info.backend_pid,))
            own.execute("select 1")

        with pytest.raises(Refusal) as refused:
            store.transactions.write(work)
    assert refused.value.code == "connection-refused"
    assert store.ledger(0) == []


# -- the region dies

HELD = """
import sys
from chaoslab.contract.stores import store_from
from chaoslab.regions.postgres import PostgresStore
from chaoslab.regions.rows import Change
store = PostgresStore(sys.argv[1], "eu", schema=sys.argv[2])
def at_commit():
    print("held", flush=True)
    sys.stdin.read()
store.at_commit = at_commit
store.write(Change(uid="held", id="a"))
"""


def test_a_region_killed_before_its_commit_leaves_no_lock_and_no_row(
    database: Server, schema: str, store: PostgresStore
) -> None:
    store.write(change("c1"))
    store.close()
    with subprocess.Popen(
        [sys.executable, "-c", HELD, database.url, schema],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": HARNESS},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    with closing(PostgresStore(database.url, "eu", schema=schema)) as again:
        assert again.write(change("c2")).version == (1, 2)
        assert [row.uid for row in again.ledger(0)] == ["c1", "c2"]


def test_a_region_that_opens_takes_the_place_of_the_one_before_it(
    database: Server, schema: str, store: PostgresStore
) -> None:
    """As when a line is dead that the server has not noticed: its transaction must not stay."""
    opened = []

    def at_commit() -> None:
        store.at_commit = None
        opened.append(PostgresStore(database.url, "eu", schema=schema))

    store.at_commit = at_commit
    with pytest.raises(Unsure):
        store.write(change("c1"))
    [again] = opened
    with closing(again):
        assert again.ledger(0) == []
        again.write(change("c2"))
        assert [row.uid for row in again.ledger(0)] == ["c2"]


# -- schemas


def schemas(url: str) -> set[str]:
    import psycopg

    with psycopg.connect(url) as base:
        rows = base.execute("select nspname from pg_namespace where nspname like 'chaoslab%'")
        return {name for (name,) in rows}


MAKES = """
import sys
from chaoslab.regions.schemas import Schema
print(Schema(sys.argv[1], "dead").name, flush=True)
sys.stdin.read()
"""


def test_what_a_dead_lab_left_is_dropped_and_what_a_living_one_has_is_not(
    database: Server, schema: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAKES, database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": HARNESS},
    ) as process:
        assert process.stdout is not None
        other = process.stdout.readline().strip()
        assert {schema, other} <= schemas(database.url)
        assert drop_abandoned(database.url) == 0
        database.restart()  # with which all locks are gone
        assert drop_abandoned(database.url) == 0
        assert {schema, other} <= schemas(database.url)
        process.send_signal(signal.SIGKILL)
    assert drop_abandoned(database.url) == 1
    assert other not in schemas(database.url) and schema in schemas(database.url)


def test_a_schema_is_dropped_under_a_store_that_still_has_it_open(database: Server) -> None:
    made = Schema(database.url, "Odd name; drop")
    with closing(PostgresStore(database.url, "eu", schema=made.name)) as store:

        def at_commit() -> None:
            assert made.close() == ""

        store.at_commit = at_commit
        with suppress(Unsure):
            store.write(change("c1"))
        assert made.name not in schemas(database.url)


def test_an_address_with_a_schema_is_that_of_a_region_process(
    database: Server, schema: str, tmp_path: Path
) -> None:
    from chaoslab.regions.__main__ import store_of

    with closing(store_of(with_schema(database.url, schema), tmp_path, "eu")) as store:
        store.lead(1, 0)
        assert store.write(change("c1")).nth == 1
