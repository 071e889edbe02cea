"""What every store of a region keeps, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from tests.live.postgres import Server, server
from tests.require import need

from chaoslab.regions.postgres import PostgresStore
from chaoslab.regions.rows import Change, Refusal, Row
from chaoslab.regions.schemas import Schema
from chaoslab.regions.sqlite import SqliteStore
from chaoslab.regions.store import Store

Opened: TypeAlias = Callable[[], Store]


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """Started only for those who ask for it."""
    need("postgres")
    with server() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens the same store, as often as asked."""
    made: list[Store] = []
    if request.param == "sqlite":
        yield lambda: kept(made, SqliteStore(tmp_path / "region.db"))
    else:
        url = request.getfixturevalue("database").url
        schema = Schema(url, "suite")
        yield lambda: kept(made, PostgresStore(url, "eu", schema=schema.name))
        assert schema.close() == ""
    for store in made:
        store.close()


def kept(made: list[Store], store: Store) -> Store:
    """To be closed at the end."""
    made.append(store)
    return store


def change(id: str, value: Any = 1, **more: Any) -> Change:
    """A change with a name of its own."""
    return Change(uid=f"{id}/{value}", id=id, value=value, caller={"process": "p"}, **more)


def leading(opened: Opened) -> Store:
    """A store that takes changes."""
    store = opened()
    store.lead(1, 0)
    return store


def ids(rows: list[Row]) -> list[str]:
    """Of which items."""
    return [row.id for row in rows]


def test_it_begins_empty_and_following(opened: Opened) -> None:
    state = opened().state()
    assert (state.epoch, state.leads, state.count, state.nth, state.fences) == (1, False, 0, 0, {})


def test_versions_go_up_and_each_row_says_what_it_went_over(opened: Opened) -> None:
    store = leading(opened)
    first, other = store.write(change("a")), store.write(change("b"))
    again = store.write(change("a", {"x": [1, None, "ü"]}, durability="quorum", item=1, of=2))
    assert [first.version, other.version, again.version] == [(1, 1), (1, 2), (1, 3)]
    assert [first.over, again.over] == [None, (1, 1)]
    assert store.read("a") == again and store.ledger(0) == [first, other, again]
    assert store.ledger(2) == [again] and again.nth == 3


def test_what_is_expected_is_held(opened: Opened) -> None:
    store = leading(opened)
    store.write(change("a", expect=None))
    for expect in (None, (1, 7)):
        with pytest.raises(Refusal) as refused:
            store.write(change("a", 2, expect=expect))
        assert refused.value.code == "conflict" and refused.value.details == {"current": (1, 1)}
    assert store.write(change("a", 2, expect=(1, 1))).over == (1, 1)
    assert len(store.ledger(0)) == 2  # of what was refused nothing is there


def test_what_has_expired_stands_no_more(opened: Opened) -> None:
    store = leading(opened)
    store.write(change("a", expires_ns=10))
    row = store.write(change("a", 2, expect=None, now_ns=10))
    assert row.over is None and row.version == (1, 2)


def test_an_erasure_is_a_change_where_something_stood(opened: Opened) -> None:
    store = leading(opened)
    nothing = store.write(change("a", None, erased=True))
    assert nothing.nth == 0 and store.ledger(0) == [] and store.read("a") is None
    store.write(change("a"))
    gone = store.write(change("a", None, erased=True))
    assert gone.gone and gone.over == (1, 1) and store.read("a") == gone


def test_an_older_fence_is_refused_once_a_newer_was_seen(opened: Opened) -> None:
    store = leading(opened)
    store.write(change("a", 1, fence=3, fence_session="s1"))
    store.write(change("b", 1, fence=2, fence_session="s2"))  # of another session
    for fence, session, words in ((2, "s1", "newer fence of s1"), (9, "", "ever granted")):
        with pytest.raises(Refusal, match=words) as refused:
            store.write(change("a", 2, fence=fence, fence_session=session))
        assert refused.value.code == "fenced"
    store.write(change("a", 2, fence=3, fence_session="s1"))
    assert dict(store.state().fences) == {"s1": 3, "s2": 2}


def test_a_scan_takes_a_prefix_literally(opened: Opened) -> None:
    store = leading(opened)
    for id in ("a/2", "a/1", "a%", "b", "a_/1", "A/1"):
        store.write(change(id))
    assert ids(store.scan("a/")) == ["a/1", "a/2"] and ids(store.scan("a_")) == ["a_/1"]
    assert len(store.scan("")) == 6


def test_replicated_rows_are_taken_where_they_are_newer(opened: Opened, tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "leader.db")) as leader:
        leader.lead(1, 0)
        old, new = leader.write(change("a")), leader.write(change("a", 2))
    store = opened()
    assert store.put([new], {"s1": 4}, 1) and store.put([old], {"s1": 3}, 1)
    assert store.read("a") == new and dict(store.state().fences) == {"s1": 4}
    assert store.ledger(0) == [] and store.state().count == 2
    assert not store.put([new], {}, 2)  # an epoch that it has not followed into
    store.lead(2, 0)
    assert not store.put([new], {}, 2)  # who leads takes no rows
    assert store.write(change("a", 3)).version == (2, 3)


def test_following_replaces_everything_but_the_ledger(opened: Opened, tmp_path: Path) -> None:
    store = leading(opened)
    alone = store.write(change("mine", 1, fence=5, fence_session="s1"))
    with closing(SqliteStore(tmp_path / "leader.db")) as leader:
        leader.lead(2, 7)
        theirs = leader.write(change("theirs"))
    store.follow(2, [theirs], {"s1": 1}, 8)
    state = store.state()
    assert (state.epoch, state.leads, state.count, dict(state.fences)) == (2, False, 8, {"s1": 1})
    assert store.scan("") == [theirs] and store.ledger(0) == [alone]


def test_all_of_it_is_there_after_it_was_opened_again(opened: Opened) -> None:
    store = leading(opened)
    row = store.write(change("a", fence=5, fence_session="s1"))
    state = store.state()
    again = opened()  # beside the first, as a referee reads it
    assert again.state() == state and again.ledger(0) == [row] and again.read("a") == row
