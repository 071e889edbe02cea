"""Memory and leases: who may write what over what, and what a failover costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.history import Recorder, Writer
from chaoslab.world import (
    ANY,
    BadRequest,
    Conflict,
    ConnectionRefused,
    Fenced,
    Held,
    Lease,
    Unavailable,
    Version,
    Write,
)
from chaoslab.world.leases import LeaseService
from chaoslab.world.memory import Copy, MemoryService, Row
from chaoslab.world.request import Caller

MS = 1_000_000


class Store:
    """Memory over some regions, with leases, a clock, and replication when one asks for it."""

    def __init__(self, *regions: str) -> None:
        self.now_ms = 0
        self.recorder = Recorder(Writer(None, {}), lambda: self.now_ms * MS)
        self.leases = LeaseService(self.recorder)
        self.under_way: list[tuple[Copy, Row]] = []
        names = regions or ("a",)
        self.memory = MemoryService(
            self.recorder, names, self.leases.session_of, lambda *item: self.under_way.append(item)
        )

    def caller(self, who: str = "p1", region: str = "a") -> Caller:
        return Caller(
            process=who,
            region=region,
            session="s",
            task="t",
            tenant="x",
            call=0,
            now_ns=self.now_ms * MS,
        )

    def write(
        self, id: str, value: Any = 1, *, region: str = "a", fence: int | None = None, **more: Any
    ) -> Version:
        return self.memory.write(
            self.caller(region=region), "memory.write", Write(id=id, value=value, **more), fence
        )

    def erase(self, id: str, fence: int | None = None) -> None:
        self.memory.erase(self.caller(), id, fence)

    def value(self, id: str, region: str = "a") -> Any:
        item = self.memory.read(self.memory.copies[region], id, self.now_ms * MS)
        return None if item is None else item.value

    def lease(self, who: str = "p1", session: str = "s", ttl_ms: int = 100) -> Lease:
        return self.leases.apply(self.caller(who), session, ttl_ms)

    def replicate(self) -> None:
        for copy, row in self.under_way:
            copy.put(row)
        self.under_way.clear()

    def cut(self, region: str) -> None:
        self.memory.copies[region].linked = False


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def pair() -> Store:
    return Store("a", "b")


# -- writes


def test_a_write_is_read_and_versions_grow(store: Store) -> None:
    versions = [store.write("x", n) for n in range(3)]
    assert versions == sorted(set(versions)) and versions[0][0] == 1
    assert store.value("x") == 2
    assert store.recorder.ops[-1].get("over") == list(versions[1])


def test_compare_and_set_takes_the_version_that_stands_and_no_other(store: Store) -> None:
    first = store.write("x")
    second = store.write("x", expect=first)
    with pytest.raises(Conflict) as caught:
        store.write("x", 9, expect=first)
    assert caught.value.details["current"] == second
    assert store.value("x") == 1
    assert store.write("x", expect=ANY) > second


def test_expect_none_means_that_nothing_may_be_there(store: Store) -> None:
    store.write("x", expect=None)
    with pytest.raises(Conflict):
        store.write("x", expect=None)
    with pytest.raises(Conflict) as caught:
        store.write("y", expect=(1, 1))
    assert caught.value.details["current"] is None


@given(st.integers(0, 20), st.integers(0, 20))
def test_an_item_is_gone_from_its_expiry_on(expires_ms: int, now_ms: int) -> None:
    store = Store()
    store.write("x", expires_ms=expires_ms)
    store.now_ms = now_ms
    alive = now_ms < expires_ms
    assert (store.value("x") is not None) == alive
    assert len(store.memory.scan(store.memory.copies["a"], "", now_ms * MS)) == int(alive)
    if alive:
        with pytest.raises(Conflict):
            store.write("x", expect=None)
    else:
        store.write("x", expect=None)
        assert store.recorder.ops[-1].get("over") is None


def test_an_erased_item_is_gone_and_erasing_nothing_is_fine(store: Store) -> None:
    store.erase("x")
    assert store.recorder.ops == []
    version = store.write("x")
    store.erase("x")
    assert store.value("x") is None
    last = store.recorder.ops[-1]
    assert last.f == "memory.erase" and last.get("erased") is True
    assert last.get("over") == list(version)
    store.write("x", 2, expect=None)
    assert store.value("x") == 2


@given(st.lists(st.text("abc/", min_size=1, max_size=4), max_size=8), st.text("ab", max_size=2))
def test_a_scan_is_in_order_of_id_and_has_the_prefix(ids: list[str], prefix: str) -> None:
    store = Store()
    for id in ids:
        store.write(id)
    found = [i.id for i in store.memory.scan(store.memory.copies["a"], prefix, 0)]
    assert found == sorted({i for i in ids if i.startswith(prefix)})


def test_a_group_stops_at_the_first_refusal_and_keeps_what_stands(store: Store) -> None:
    store.write("b")
    group = [Write(id="a", value=1), Write(id="b", value=2, expect=None), Write(id="c", value=3)]
    with pytest.raises(Conflict):
        list(store.memory.write_many(store.caller(), group, None))
    assert (store.value("a"), store.value("b"), store.value("c")) == (1, 1, None)
    first = [op for op in store.recorder.ops if op.f == "memory.write_many"]
    assert [(op.get("item"), op.get("of")) for op in first] == [(0, 3)]


# -- fences


def test_a_fence_is_refused_only_once_a_newer_one_was_seen(store: Store) -> None:
    old = store.lease("p1").fence
    store.now_ms = 200
    new = store.lease("p2").fence
    store.write("x", 1, fence=old)  # the store has seen no newer one yet
    store.write("x", 2, fence=new)
    for attempt in (lambda: store.write("x", 3, fence=old), lambda: store.erase("x", old)):
        with pytest.raises(Fenced):
            attempt()
    assert store.value("x") == 2
    store.write("x", 4)  # passing a fence is the agent's part


def test_fences_of_different_sessions_do_not_meet(store: Store) -> None:
    one, other = store.lease(session="s1").fence, store.lease(session="s2").fence
    assert other > one
    store.write("x", fence=other)
    store.write("y", fence=one)


@pytest.mark.parametrize("fence", [0, -1, 99])
def test_a_made_up_fence_is_refused(store: Store, fence: int) -> None:
    store.lease()
    with pytest.raises(Fenced):
        store.write("x", fence=fence)


# -- regions


def test_a_quorum_write_is_everywhere_at_once_and_a_local_one_later(pair: Store) -> None:
    pair.write("q", durability="quorum")
    pair.write("l")
    assert (pair.value("q", "b"), pair.value("l", "b")) == (1, None)
    pair.replicate()
    assert pair.value("l", "b") == 1


def test_a_quorum_is_refused_while_the_other_region_cannot_be_reached(pair: Store) -> None:
    pair.cut("b")
    before = len(pair.recorder.ops)
    with pytest.raises(Unavailable):
        pair.write("q", durability="quorum")
    assert len(pair.recorder.ops) == before
    pair.write("l")
    with pytest.raises(ConnectionRefused):
        pair.write("l", region="b")
    pair.memory.drop("b")
    pair.write("q", durability="quorum")


def test_a_promotion_begins_an_epoch_and_names_the_discarded_tail(pair: Store) -> None:
    pair.write("kept")
    pair.replicate()
    pair.write("safe", durability="quorum")
    lost = pair.write("lost")
    pair.cut("a")
    epoch, tail = pair.memory.promote("b")
    assert epoch == 2
    assert [(row.id, row.version) for row in tail] == [("lost", lost)]
    assert pair.recorder.ops[tail[0].op].get("id") == "lost"
    assert pair.write("new", region="b")[0] == 2
    assert (pair.value("safe", "b"), pair.value("kept", "b"), pair.value("lost", "b")) == (
        1,
        1,
        None,
    )


def test_a_tail_entry_that_a_newer_replicated_change_includes_is_not_lost(pair: Store) -> None:
    pair.write("x", 1)
    pair.write("x", 2)
    newest = pair.under_way[-1]
    newest[0].put(newest[1])
    pair.cut("a")
    assert pair.memory.promote("b")[1] == []


def test_what_a_cut_off_leader_still_writes_is_lost_at_its_return(pair: Store) -> None:
    pair.write("x", 1, durability="quorum")
    pair.cut("a")
    pair.memory.promote("b")
    zombie = pair.write("x", 66, region="a")
    pair.write("x", 2, region="b")
    assert (pair.value("x", "a"), pair.value("x", "b")) == (66, 2)
    lost = pair.memory.join("a")
    assert [(row.id, row.version) for row in lost] == [("x", zombie)]
    assert pair.value("x", "a") == 2
    assert not pair.memory.copies["a"].leads


def test_a_late_replica_of_a_lost_epoch_changes_nothing(pair: Store) -> None:
    pair.write("x", 1)
    pair.cut("a")
    pair.memory.promote("b")
    pair.write("x", 2, region="b")
    pair.replicate()
    assert pair.value("x", "b") == 2


def test_fences_seen_by_a_quorum_outlive_the_leader(pair: Store) -> None:
    old = pair.lease("p1").fence
    pair.now_ms = 200
    new = pair.lease("p2").fence
    pair.write("x", fence=new, durability="quorum")
    pair.cut("a")
    pair.memory.promote("b")
    with pytest.raises(Fenced):
        pair.write("x", region="b", fence=old)


@given(st.lists(st.sampled_from(["wa", "wb", "cut", "promote", "join", "ship"]), max_size=12))
@settings(max_examples=80, deadline=None)
def test_whatever_happens_versions_are_unique_and_one_leader_is_reachable(
    story: list[str],
) -> None:
    """After everything has joined there is one leader and every copy says the same."""
    pair = Store("a", "b")
    seen: list[Version] = []
    for step in story:
        home = next(n for n, c in pair.memory.copies.items() if c.leads)
        try:
            if step in ("wa", "wb"):
                seen.append(pair.write("x", len(seen), region=step[1]))
            elif step == "cut":
                pair.cut(home)
            elif step == "promote" and not pair.memory.copies["a"].linked:
                if pair.memory.copies["b"].linked and not pair.memory.copies["b"].leads:
                    pair.memory.promote("b")
            elif step == "join":
                pair.memory.join("a")
                pair.memory.join("b")
            elif step == "ship":
                pair.replicate()
        except (ConnectionRefused, Unavailable):
            pass
    pair.memory.join("a")
    pair.memory.join("b")
    assert len(set(seen)) == len(seen)
    assert [c.leads for c in pair.memory.copies.values()].count(True) == 1
    assert pair.value("x", "a") == pair.value("x", "b")


# -- leases


def test_a_lease_is_exclusive_until_it_ends(store: Store) -> None:
    first = store.lease("p1", ttl_ms=100)
    with pytest.raises(Held) as caught:
        store.lease("p2")
    assert caught.value.details["expires_ms"] == 100
    store.now_ms = 100
    assert store.lease("p2").fence > first.fence


def test_a_holder_extends_with_the_same_fence(store: Store) -> None:
    first = store.lease("p1", ttl_ms=100)
    store.now_ms = 50
    again = store.lease("p1", ttl_ms=100)
    assert again.fence == first.fence and again.expires_ms == 150
    store.now_ms = 120
    with pytest.raises(Held):
        store.lease("p2")


def test_given_up_is_free_at_once_and_the_next_fence_is_newer(store: Store) -> None:
    first = store.lease("p1")
    store.lease("p1", ttl_ms=0)
    second = store.lease("p2")
    assert second.fence > first.fence
    with pytest.raises(Held):
        store.lease("p1", ttl_ms=0)


@pytest.mark.parametrize("ttl_ms", [-1, 86_400_001])
def test_a_ttl_out_of_bounds_is_a_bad_request(store: Store, ttl_ms: int) -> None:
    with pytest.raises(BadRequest):
        store.lease(ttl_ms=ttl_ms)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["p1", "p2", "p3"]),
            st.sampled_from(["s1", "s2"]),
            st.integers(0, 50),
            st.integers(0, 40),
        ),
        max_size=25,
    )
)
@settings(max_examples=80, deadline=None)
def test_never_two_holders_and_fences_always_grow(story: list[tuple[str, str, int, int]]) -> None:
    store = Store()
    until: dict[str, tuple[str, int]] = {}
    newest = 0
    for who, session, ttl_ms, wait_ms in story:
        store.now_ms += wait_ms
        holder, end_ms = until.get(session, ("", 0))
        try:
            lease = store.lease(who, session, ttl_ms)
        except Held:
            assert holder not in ("", who) and end_ms > store.now_ms
            continue
        assert holder in ("", who) or end_ms <= store.now_ms
        if holder != who or end_ms <= store.now_ms:
            assert lease.fence > newest
        newest = max(newest, lease.fence)
        until[session] = (who, store.now_ms + ttl_ms)
