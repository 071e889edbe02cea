"""The calls on one item, and the two cheap ways to see whether an order explains their answers.

All calls on one value, or one version, stand in a row: its write, and whoever read it. In an order
that explains the answers the rows come one after the other, so it is enough to compare rows.

- `by_zones`: every value is written once. From where a value was seen for certain to where somebody
  still asked for it no other value may have been there (Gibbons and Korach, "Testing shared
  memories", 1997).
- `by_versions`: the store numbers its writes, so there is only one order to look at.

The item begins empty. A write whose outcome is unknown never `ended`, so it may take place at any
time, or never. What nobody read of such writes cannot be in the way, and is left out.

>>> calls = [Call(0, 1, True, "A"), Call(2, 3, True, "B"), Call(4, 5, False, "A")]
>>> found = by_zones(rows_of_values(calls), calls)
>>> found.anomaly, found.late.begun, found.seen.token
('lost-write', 4, 'B')
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Final, Literal, NamedTuple, TypeAlias

Version: TypeAlias = tuple[int, ...]

NEVER: Final = 1 << 62
ANY: Final = "any"


class Call(NamedTuple):
    """One call on an item, from the entry where it `begun` to the one where it `ended`.

    `token`: the value written or read; None is absence, so a write of None is an erasure.
    `version`: that of the value, where the store told it. `expect`: what had to stand there before
    a write could succeed: anything, nothing (None), or a version. `told`: the call itself tells its
    version; that of another write is known from who read it.
    """

    begun: int
    ended: int
    writes: bool
    token: str | None
    version: Version | None = None
    expect: Version | Literal["any"] | None = ANY
    told: bool = True


class Contradiction(NamedTuple):
    """`late` cannot be, since `seen` was over before it began, or is the write that it saw.
    The proof also needs the entries `more`."""

    anomaly: str
    late: Call
    seen: Call | None = None
    more: tuple[int, ...] = ()


class _Row:
    """All calls on one value: the first that was over, the last that began."""

    __slots__ = ("first", "last", "over", "reads", "since", "write")

    def __init__(self, write: Call | None) -> None:
        self.write = write
        self.reads = 0
        # The empty item was there before all calls: it was over before, and began before.
        self.over = -1 if write is None else write.ended
        self.since = -1 if write is None else write.begun
        self.first = self.last = write

    def read(self, call: Call) -> None:
        self.reads += 1
        if call.ended < self.over:
            self.over, self.first = call.ended, call
        if call.begun > self.since:
            self.since, self.last = call.begun, call


# -- every value written once


def rows_of_values(calls: Sequence[Call]) -> dict[str | None, _Row] | None:
    """A row for each value; None where a value was written twice or the item was erased."""
    rows: dict[str | None, _Row] = {None: _Row(None)}
    unsure: list[Call] = []
    for call in calls:
        if call.writes:
            if call.ended == NEVER:
                unsure.append(call)
            elif call.token in rows:
                return None
            else:
                rows[call.token] = _Row(call)
    if unsure:
        read = {call.token for call in calls if not call.writes}
        for call in unsure:
            if call.token in read:
                if call.token in rows:
                    return None
                rows[call.token] = _Row(call)
    return rows


def by_zones(rows: dict[str | None, _Row], calls: Sequence[Call], /) -> Contradiction | None:
    """A pair of values of which each would have to come before the other.

    From where a value was seen for certain to where somebody still asked for it, no other value
    may have been there.
    """
    for call in calls:
        if not call.writes:
            row = rows.get(call.token)
            if row is None or (row.write is not None and call.ended < row.write.begun):
                return _nowhere(call, None if row is None else row.write)
            row.read(call)
    held = [row for row in rows.values() if row.over < row.since]
    held.sort(key=attrgetter("over"))
    found: list[Contradiction] = []
    widest: _Row | None = None
    for row in held:
        if widest is not None and row.over < widest.since:
            found.append(_crossed(widest, row))
        if widest is None or row.since > widest.since:
            widest = row
    if not found and held:
        starts = [row.over for row in held]
        for row in rows.values():
            since = row.since
            if since <= row.over:
                at = bisect_left(starts, since) - 1
                if at >= 0 and row.over < held[at].since:
                    found.append(_crossed(held[at], row))
    return _earliest(found)


def _crossed(one: _Row, other: _Row) -> Contradiction:
    """Two rows, some call of each over before some call of the other began."""
    stale, newer = (one, other) if one.since > other.since else (other, one)
    if _replaced(newer, stale):
        stale, newer = newer, stale
    assert stale.last is not None and newer.first is not None
    proof: tuple[int, ...] = ()
    if stale.first is not None:  # why the newer value is the newer one
        proof = (stale.over, newer.since)
        if newer.write is not None and newer.write.begun > stale.over:
            proof = (stale.over, newer.write.begun)
        elif newer.last is not None and not newer.last.writes:
            proof = (stale.over, newer.since, newer.last.ended)
    return stale_or_lost(stale.last, newer.first, proof, reads=newer.reads)


def _replaced(old: _Row, new: _Row) -> bool:
    """Whether a value was there before another was even asked for."""
    return old.write is None or (new.write is not None and new.write.begun > old.over)


def stale_or_lost(
    late: Call, seen: Call, more: tuple[int, ...] = (), /, *, reads: int
) -> Contradiction:
    """What it is called that `late` came after `seen`, which so many others have read."""
    if late.writes:
        return Contradiction("order", late, seen, more)
    return Contradiction("stale-read" if reads else "lost-write", late, seen, more)


def _nowhere(call: Call, write: Call | None, more: tuple[int, ...] = ()) -> Contradiction:
    return Contradiction("read-of-nothing", call, write, more)


def _earliest(found: Sequence[Contradiction]) -> Contradiction | None:
    return min(found, key=lambda c: (c.late.ended, c.late.begun), default=None)


def from_nowhere(calls: Sequence[Call]) -> Contradiction | None:
    """A read of what nobody had asked to write by then."""
    asked: dict[str | None, Call] = {}
    for call in calls:
        if call.writes and (call.token not in asked or call.begun < asked[call.token].begun):
            asked[call.token] = call
    for call in calls:
        if not call.writes and call.token is not None:
            write = asked.get(call.token)
            if write is None or call.ended < write.begun:
                return _nowhere(call, write)
    return None


# -- every write numbered by the store


class Told(NamedTuple):
    """What the versions of an item tell."""

    calls: list[Call]  # without unsure writes that nobody can have seen
    reads: dict[str | None, set[Version]]  # by value, the versions that reads alone tell
    unclear: bool  # a version was expected that nobody tells of


def told_by(calls: Sequence[Call], /) -> Told:
    """What the versions in some calls tell, and which of the calls matter."""
    known = {c.version for c in calls if c.writes and c.version}
    reads: dict[str | None, set[Version]] = {}
    wanted: set[str | None] = set()
    for call in calls:
        if not call.writes and call.version not in known:
            wanted.add(call.token)
            if call.version:
                reads.setdefault(call.token, set()).add(call.version)
        elif call.writes and call.expect is None:
            wanted.add(None)
    told = known.union(*reads.values(), (None, ANY))
    unclear = any(c.expect not in told for c in calls)  # any unsure write may be the expected one
    left = [
        c
        for c in sorted(calls, key=itemgetter(0))
        if not c.writes or c.ended < NEVER or c.version or unclear or c.token in wanted
    ]
    return Told(left, reads, unclear)


def numbered(told: Told) -> list[Call] | None:
    """The calls in the order of the store, if versions tell it: a write that did not learn its own
    has that of who read its value. None where that is not clear."""
    if told.unclear:
        return None
    without: dict[str | None, int] = {}
    for call in told.calls:
        if call.writes and not call.version:
            without[call.token] = without.get(call.token, 0) + 1
    out = []
    for call in told.calls:
        if call.version or not (call.writes or call.token):
            out.append(call)
        elif call.writes and without[call.token] == 1 and call.token in told.reads:
            out.append(call._replace(version=min(told.reads[call.token]), told=False))
        else:
            return None  # such as an erasure, which has no version
    return out


def by_versions(calls: Sequence[Call], /) -> Contradiction | None:
    """A call that saw or made a version although a newer one had been seen before it began."""
    empty: Version = ()
    rows: dict[Version, _Row] = {empty: _Row(None)}
    heard = {(c.token, c.version): c.ended for c in reversed(calls) if not c.writes}

    def hear(*those: Call | None) -> tuple[int, ...]:
        """The entries that tell the versions of some calls, where they do not do so themselves."""
        return tuple(heard[c.token, c.version] for c in those if c is not None and not c.told)

    for call in calls:
        if call.writes and call.version is not None:
            twin = rows.get(call.version)
            if twin is not None:
                return Contradiction("order", call, twin.write, hear(call, twin.write))
            rows[call.version] = _Row(call)
    for call in calls:
        if not call.writes:
            row = rows.get(call.version or empty)
            write = None if row is None else row.write
            early = write is not None and call.ended < write.begun
            if row is None or (early and write is not None and not write.told):
                # Every write of this value has another version; all of them have to be shown.
                same = [c for c in calls if c.writes and c.token == call.token and c is not write]
                ends = (c.ended for c in same if c.told and c.ended < NEVER)
                return _nowhere(call, None, (*hear(*same), *ends))
            if write is not None and (early or call.token != write.token):
                return _nowhere(call, write, hear(write))
            row.read(call)
    found: list[Contradiction] = []
    soonest: _Row | None = None  # of all newer versions
    ordered = sorted(rows)
    for place in range(len(ordered) - 1, -1, -1):
        row = rows[ordered[place]]
        if soonest is not None and soonest.over < row.since:
            assert row.last is not None and soonest.first is not None
            proof = hear(row.last, soonest.first)
            found.append(stale_or_lost(row.last, soonest.first, proof, reads=soonest.reads))
        if soonest is None or row.over < soonest.over:
            soonest = row
        write = row.write
        if write is not None and write.expect != ANY:
            before = rows[ordered[place - 1]]
            if ordered[place - 1] != (write.expect or empty):
                proof = hear(write, before.first)
                found.append(Contradiction("compare-and-set", write, before.first, proof))
    return _earliest(found)
