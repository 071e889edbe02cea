"""The memory service: versioned items in a primary copy, replicated with a lag.

Versions are (epoch, n). A promotion begins a new epoch and discards what had not been replicated;
the `promote` entry names that tail. A region that is cut off keeps its copy: until it joins again
it may take local writes into an epoch that is already lost, as asynchronous stores do.

The store refuses a fence older than the newest it has seen for the same session; whether a fence
is passed at all is the agent's part.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chaoslab.core.jsons import Json
from chaoslab.history import Recorder
from chaoslab.world.api import Any_, Expect, Item, Version, Write
from chaoslab.world.errors import Conflict, ConnectionRefused, Fenced, Unavailable
from chaoslab.world.request import Caller


@dataclass(frozen=True, slots=True)
class Row:
    """One change, as the log and the copies keep it. `gone` marks an erasure."""

    id: str
    value: Json
    version: Version
    expires_ns: int | None
    op: int
    time_ns: int
    gone: bool = False


@dataclass(slots=True)
class Copy:
    """What one region holds."""

    region: str
    epoch: int
    leads: bool
    up: bool = True
    linked: bool = True
    rows: dict[str, Row] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)  # of rows, in order, so that a scan is short
    log: list[Row] = field(default_factory=list)  # changes this copy made while leading
    fences: dict[str, int] = field(default_factory=dict)

    def put(self, row: Row) -> None:
        """Takes a change unless a newer one of the same item stands."""
        old = self.rows.get(row.id)
        if old is None:
            insort(self.ids, row.id)
        if old is None or old.version < row.version:
            self.rows[row.id] = row

    def below(self, prefix: str) -> Iterator[Row]:
        """The rows whose id starts with `prefix`, by id."""
        for index in range(bisect_left(self.ids, prefix), len(self.ids)):
            id = self.ids[index]
            if not id.startswith(prefix):
                return
            yield self.rows[id]

    def follow(self, leader: Copy) -> None:
        """Becomes the same as a leader."""
        self.leads = False
        self.log = []
        self.epoch = leader.epoch
        self.rows = dict(leader.rows)
        self.ids = list(leader.ids)
        self.fences = dict(leader.fences)


class MemoryService:
    """One store over all regions. `ship(copy, row)` is asked to deliver a change later."""

    def __init__(
        self,
        recorder: Recorder,
        regions: Sequence[str],
        session_of: Callable[[int], str],
        ship: Callable[[Copy, Row], None],
    ) -> None:
        self._recorder = recorder
        self._session_of = session_of
        self._ship = ship
        self._count = 0
        self.copies = {
            name: Copy(region=name, epoch=1, leads=i == 0) for i, name in enumerate(regions)
        }
        self.members = set(regions)

    # -- where a request goes

    def leader(self, region: str) -> Copy:
        """The primary as a region sees it. ConnectionRefused where it sees none."""
        own = self.copies.get(region)
        if own is not None and not own.linked:
            if own.leads and own.up:
                return own
            raise ConnectionRefused("the primary cannot be reached")
        for copy in self.copies.values():
            if copy.leads and copy.linked and copy.up:
                return copy
        raise ConnectionRefused("there is no primary now")

    def replica(self, region: str) -> Copy:
        """The copy beside the caller, else the primary."""
        own = self.copies.get(region)
        return own if own is not None and own.up else self.leader(region)

    # -- reads

    def read(self, copy: Copy, id: str, now_ns: int) -> Item | None:
        """The live value of an item in a copy."""
        row = copy.rows.get(id)
        return None if row is None or _dead(row, now_ns) else _item(row)

    def scan(self, copy: Copy, prefix: str, now_ns: int) -> tuple[Item, ...]:
        """All live items whose id starts with `prefix`, by id."""
        return tuple(_item(row) for row in copy.below(prefix) if not _dead(row, now_ns))

    # -- writes

    def write(
        self, caller: Caller, f: str, write: Write, fence: int | None, item: int = -1, of: int = 0
    ) -> Version:
        """One change, all of it or nothing. Conflict, Fenced, Unavailable: nothing happened."""
        copy = self.leader(caller.region)
        self._check_fence(copy, fence)
        over = self._standing(copy, write.id, caller.now_ns)
        if not isinstance(write.expect, Any_) and not _as_expected(write.expect, over):
            raise Conflict("the version moved on", current=over)
        if write.durability == "quorum":
            self._check_quorum(copy)
        value: dict[str, Json] = {"id": write.id, "value": write.value}
        value |= {"durability": write.durability, "expires_ms": write.expires_ms}
        if item >= 0:
            value |= {"item": item, "of": of}
        expires = None if write.expires_ms is None else write.expires_ms * 1_000_000
        return self._commit(caller, f, copy, value, over, fence, expires)

    def erase(self, caller: Caller, id: str, fence: int | None) -> None:
        """Removes an item; erasing what is not there is fine."""
        copy = self.leader(caller.region)
        self._check_fence(copy, fence)
        over = self._standing(copy, id, caller.now_ns)
        if over is not None:
            value: dict[str, Json] = {"id": id, "erased": True, "durability": "local"}
            self._commit(caller, "memory.erase", copy, value, over, fence, None)

    def write_many(
        self, caller: Caller, writes: Sequence[Write], fence: int | None
    ) -> Iterator[Version]:
        """A group, in order and not atomic: each step of the iterator commits one item."""
        for number, write in enumerate(writes):
            yield self.write(caller, "memory.write_many", write, fence, number, len(writes))

    def _commit(
        self,
        caller: Caller,
        f: str,
        copy: Copy,
        value: dict[str, Json],
        over: Version | None,
        fence: int | None,
        expires_ns: int | None,
    ) -> Version:
        self._count += 1
        version = (copy.epoch, self._count)
        id = str(value["id"])
        value |= {"version": list(version), "fence": fence, "region": copy.region}
        value["over"] = None if over is None else list(over)
        op = self._recorder.add(
            "commit",
            f,
            value,
            process=caller.process,
            session=caller.session,
            task=caller.task,
            call=caller.call,
            marker=id,
        )
        row = Row(id, value.get("value"), version, expires_ns, op, caller.now_ns, "erased" in value)
        copy.put(row)
        copy.log.append(row)
        if fence is not None:
            session = self._session_of(fence)
            copy.fences[session] = max(copy.fences.get(session, 0), fence)
        for other in self.copies.values():
            if other is copy:
                continue
            if value["durability"] == "quorum" and other.region in self.members:
                other.put(row)
                other.fences |= copy.fences
            else:
                self._ship(other, row)
        return version

    def _standing(self, copy: Copy, id: str, now_ns: int) -> Version | None:
        row = copy.rows.get(id)
        return None if row is None or _dead(row, now_ns) else row.version

    def _check_fence(self, copy: Copy, fence: int | None) -> None:
        if fence is None:
            return
        session = self._session_of(fence)
        if not session:
            raise Fenced("no such fence was ever granted")
        if fence < copy.fences.get(session, 0):
            raise Fenced(f"a newer fence of {session} was seen")

    def _check_quorum(self, copy: Copy) -> None:
        for name in self.members:
            other = self.copies[name]
            if not other.up or (other is not copy and not (other.linked and copy.linked)):
                raise Unavailable(f"no quorum: {name} cannot be reached")

    # -- regions

    def promote(self, region: str) -> tuple[int, list[Row]]:
        """Makes a region the primary: a new epoch, and the discarded tail of the old one."""
        new = self.copies[region]
        tail: list[Row] = []
        for copy in self.copies.values():
            if copy is not new and copy.leads:
                tail += [row for row in copy.log if not _reached(new, row)]
                copy.log = []  # what it still writes while cut off is lost at its return
                if copy.linked and copy.up:
                    copy.leads = False
        new.epoch = max(c.epoch for c in self.copies.values()) + 1
        new.leads = True
        new.log = []
        self.members = {n for n, c in self.copies.items() if c.up and c.linked}
        for name in self.members:
            if name != region:
                self.copies[name].follow(new)
        return new.epoch, tail

    def drop(self, region: str) -> None:
        """Takes a region that cannot be reached out of the quorum."""
        self.members.discard(region)

    def join(self, region: str) -> list[Row]:
        """A region is back: it follows the primary; what it alone had is returned as lost."""
        back = self.copies[region]
        back.up = back.linked = True
        self.members.add(region)
        leader = max(
            (c for c in self.copies.values() if c.leads), key=lambda c: c.epoch, default=back
        )
        if leader is back:
            for other in self.copies.values():
                if other is not back and other.up and other.linked:
                    other.follow(back)
            return []
        lost = list(back.log) if back.leads else []
        back.follow(leader)
        return lost


def _reached(copy: Copy, row: Row) -> bool:
    """Whether a change, or a newer one of its item that includes it, is in a copy."""
    there = copy.rows.get(row.id)
    return there is not None and there.version[0] == row.version[0] and there.version >= row.version


def _dead(row: Row, now_ns: int) -> bool:
    return row.gone or (row.expires_ns is not None and row.expires_ns <= now_ns)


def _item(row: Row) -> Item:
    expires = None if row.expires_ns is None else row.expires_ns // 1_000_000
    return Item(id=row.id, value=row.value, version=row.version, expires_ms=expires)


def _as_expected(expect: Expect, over: Version | None) -> bool:
    if expect is None or over is None:
        return expect is over
    return not isinstance(expect, Any_) and tuple(expect) == over
