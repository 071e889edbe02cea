"""The lab's side of regions that are processes of their own.

It has the face of `world.memory.MemoryService` where the hub needs one, and its semantics: who
leads, whom a region can reach, and what a promotion or a return loses. The copies themselves, their
versions, the fences they saw and their replication are the processes' own.

What a region committed goes on record when its answer comes. Where the answer was lost, the row is
read from the region's ledger later, as a referee would, and recorded then: no agent ever sees that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from chaoslab.backends.common.hub import Joined, Promoted
from chaoslab.backends.common.loop import Loop
from chaoslab.backends.process.homes import Homes, Place
from chaoslab.backends.process.lines import LAB, Lines
from chaoslab.backends.process.speaking import Speaking, told
from chaoslab.core.jsons import Json
from chaoslab.history import Recorder
from chaoslab.regions.rows import ANY, Change, Row
from chaoslab.world.api import Any_, Item, Version, Write
from chaoslab.world.errors import ConnectionRefused, Indeterminate, WorldError
from chaoslab.world.request import Caller

_PATIENCE_S: Final = 5.0
_AGAIN_S: Final = 0.02


@dataclass(slots=True)
class View:
    """What the lab knows of one region. `mark` is how much of its ledger is settled: what follows
    was committed by it alone since it began to lead, or since it was given up. `ops` says where
    each commit of the ledger stands on record."""

    epoch: int = 1
    leads: bool = False
    up: bool = True
    linked: bool = True
    mark: int = 0
    ops: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LostRow:
    """A commit that is gone; see `hub.Lost`."""

    id: str
    version: tuple[int, int]
    op: int


class Regional:
    """See the module. `session_of` names the session of a fence, "" where it was never granted."""

    def __init__(
        self,
        homes: Homes,
        names: Sequence[str],
        recorder: Recorder,
        loop: Loop,
        *,
        lines: Lines,
        session_of: Callable[[int], str],
        lag_ms: float,
    ) -> None:
        self._lines = lines
        self._addresses: dict[tuple[str, str], tuple[str, int]] = {}
        self._through = False  # whether lines between regions go through the server, too
        self._homes, self._recorder, self._loop = homes, recorder, loop
        self._session_of, self._lag_ms = session_of, lag_ms
        self._speaking = Speaking(homes)
        # How a region commits without learning of it, where its store is such that it can.
        self.unanswered: Callable[[str, Change], Awaitable[Row]] | None = None
        self.copies = {name: View(leads=i == 0) for i, name in enumerate(names)}
        self.members = set(names)
        self.busy = 0
        self._count = 0
        self._uids = 0
        self._one_at_a_time = asyncio.Lock()
        self._hit: dict[str, asyncio.Task[Any]] = {}  # kills and cuts that are under way
        self._joining: set[str] = set()
        self._standing: tuple[Item, ...] = ()

    async def boot(self) -> None:
        """Starts every region; the first leads."""
        names = list(self.copies)
        await self._lines.start()
        places = await asyncio.gather(*(self._homes.start(name) for name in names))
        for name, place in zip(names, places, strict=True):
            host, port = await self._lines.between(LAB, name, (place.host, place.port))
            self._speaking.places[name] = replace(place, host=host, port=port)
            self._through |= place.peer_host == place.host
            for other in names:
                if other != name:
                    await self._meet(other, name, place)
        await self._ask(names[0], "lead", epoch=1, count=0)
        await self._arrange(names[0])

    async def _meet(self, region: str, other: str, place: Place) -> None:
        """How a region finds another. Where regions have a network of their own, which a server on
        this machine is no part of, they find each other directly."""
        address = (place.peer_host, place.peer_port)
        if self._through:
            address = await self._lines.between(region, other, address)
        self._addresses[region, other] = address

    # -- where a request goes; the same rules as the simulator's

    def leader(self, region: str) -> str:
        """The primary as a region sees it. ConnectionRefused where it sees none."""
        own = self.copies.get(region)
        if own is not None and not own.linked:
            if own.leads and own.up:
                return region
            raise ConnectionRefused("the primary cannot be reached")
        for name, view in self.copies.items():
            if view.leads and view.linked and view.up:
                return name
        raise ConnectionRefused("there is no primary now")

    def replica(self, region: str) -> str:
        """The copy beside the caller, else the primary."""
        own = self.copies.get(region)
        return region if own is not None and own.up else self.leader(region)

    # -- what agents ask for

    async def read(self, region: str, id: str, now_ns: int) -> Item | None:
        """The live value of an item in a region's copy."""
        raw = await self._speaking.ask(region, "read", id=id)
        return None if raw is None else _live(Row.of_json(raw), now_ns)

    async def scan(self, region: str, prefix: str, now_ns: int) -> tuple[Item, ...]:
        """All live items whose id starts with `prefix`, by id."""
        raw = await self._speaking.ask(region, "scan", prefix=prefix)
        items = (_live(Row.of_json(one), now_ns) for one in raw)
        return tuple(item for item in items if item is not None)

    async def write(
        self,
        caller: Caller,
        f: str,
        write: Write,
        fence: int | None,
        *,
        item: int = -1,
        of: int = 0,
        unanswered: bool = False,
    ) -> Version:
        """One change, all of it or nothing; `unanswered`: so that the region never learns of its
        own commit."""
        expires_ns = None if write.expires_ms is None else write.expires_ms * 1_000_000
        row = await self._change(
            caller,
            f,
            id=write.id,
            value=write.value,
            expect=ANY if isinstance(write.expect, Any_) else write.expect,
            fence=fence,
            expires_ns=expires_ns,
            durability=write.durability,
            item=item,
            of=of,
            unanswered=unanswered,
        )
        return row.version

    async def erase(self, caller: Caller, id: str, fence: int | None) -> None:
        """Removes an item; erasing what is not there is fine."""
        await self._change(caller, "memory.erase", id=id, fence=fence, erased=True)

    async def _change(
        self,
        caller: Caller,
        f: str,
        /,
        *,
        fence: int | None,
        unanswered: bool = False,
        **what: Any,
    ) -> Row:
        region = self.leader(caller.region)
        self._uids += 1
        change = Change(
            uid=f"{caller.call}/{self._uids}",
            fence=fence,
            fence_session="" if fence is None else self._session_of(fence),
            caller={
                "f": f,
                "process": caller.process,
                "session": caller.session,
                "task": caller.task,
                "call": caller.call,
            },
            now_ns=caller.now_ns,
            **what,
        )
        try:
            if unanswered and self.unanswered is not None:
                async with told(region):
                    row = await self.unanswered(region, change)
            else:
                row = Row.of_json(await self._speaking.ask(region, "write", change=change.json()))
        except Indeterminate:
            self._later(partial(self._missed, region))
            raise
        self._record(region, row)
        return row

    # -- the record

    def _record(self, region: str, row: Row) -> None:
        """A commit goes on record, once."""
        view = self.copies[region]
        if not row.nth or row.nth in view.ops:
            return
        self._count = max(self._count, row.version[1])
        value: dict[str, Json] = {"id": row.id, "durability": row.durability}
        if row.gone:
            value["erased"] = True
        else:
            expires = None if row.expires_ns is None else row.expires_ns // 1_000_000
            value |= {"value": row.value, "expires_ms": expires}
        if row.item >= 0:
            value |= {"item": row.item, "of": row.of}
        value |= {"version": list(row.version), "fence": row.fence, "region": region}
        value["over"] = None if row.over is None else list(row.over)
        caller = row.caller
        view.ops[row.nth] = self._recorder.add(
            "commit",
            caller["f"],
            value,
            process=caller["process"],
            session=caller["session"],
            task=caller["task"],
            call=caller["call"],
            marker=row.id,
        )

    async def _missed(self, region: str) -> list[Row]:
        """Records what a region committed without its answer having come; all that is not settled
        of its ledger."""
        view = self.copies[region]
        rows = await self._homes.ledger(region, view.mark)
        for row in rows:
            self._record(region, row)
        return rows

    async def finish(self, home: str) -> None:
        """The last reads: what is on no record yet, and what stands."""
        async with self._one_at_a_time:
            for name in self.copies:
                await self._missed(name)
        try:
            asked = self.scan(home, "", self._loop.now_ns)
            self._standing = await asyncio.wait_for(asked, _PATIENCE_S)
        except (WorldError, TimeoutError):
            self._standing = ()

    def standing(self) -> tuple[Item, ...]:
        """What stood at the last reads."""
        return self._standing

    # -- regions

    def fell(self, region: str) -> None:
        """SIGKILL."""
        self.copies[region].up = False
        self._strike(region, self._homes.kill)

    def parted(self, region: str) -> None:
        """Its lines to the other regions are cut, both ways."""
        self.copies[region].linked = False
        self._strike(region, self._lines.cut if self._lined else self._homes.cut)

    def drop(self, region: str) -> None:
        """It counts for no quorum any more."""
        self.members.discard(region)
        leader = self._first()
        if leader is not None:
            self._later(partial(self._arrange, leader))

    def _strike(self, region: str, hit: Callable[[str], Coroutine[Any, Any, None]]) -> None:
        before = self._hit.get(region)

        async def after() -> None:
            if before is not None:
                await asyncio.wait([before])
            await hit(region)

        self._hit[region] = self._loop.create_task(after(), context=Context())

    def _later(self, action: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Something that takes a while; one after the other, in the order of asking."""
        self.busy += 1

        async def work() -> None:
            try:
                async with self._one_at_a_time:
                    await action()
            finally:
                self.busy -= 1

        self._loop.create_task(work(), context=Context())

    def promote(self, region: str, done: Promoted) -> None:
        """Makes a region the primary. Until it is, there is none that others could reach."""
        old = [name for name, view in self.copies.items() if view.leads and name != region]
        for name in old:
            view = self.copies[name]
            if view.linked and view.up:
                view.leads = False
        self._later(partial(self._promote, region, old, done))

    async def _promote(self, region: str, old: Sequence[str], done: Promoted) -> None:
        new, alone = self.copies[region], []
        for name in old:
            view = self.copies[name]
            await self._struck(name)
            if view.up and view.linked:
                await self._ask(name, "rest")  # it takes nothing more, so that its tail is known
            rows = await self._missed(name)
            alone += [(name, row) for row in rows]
            view.mark = max([view.mark, *(row.nth for row in rows)])
        epoch = max(view.epoch for view in self.copies.values()) + 1
        # From here on the new primary takes no row of the old epoch, so what it lacks is lost.
        state = await self._ask(region, "lead", epoch=epoch, count=self._count)
        new.mark = new.mark if state is None else state["nth"]
        there = {row.id: row for row in await self._rows(region)}
        lost = [self._lost(name, row) for name, row in alone if not _reached(there, row)]
        new.epoch, new.leads = epoch, True
        self.members = {n for n, view in self.copies.items() if view.up and view.linked}
        for name in self.members - {region}:
            await self._follow(name, region)
        await self._arrange(region)
        done(epoch, lost)

    def join(self, region: str, done: Joined) -> None:
        """A region is back: it follows the primary; what it alone had is lost."""
        if region not in self._joining:
            self._joining.add(region)
            self._later(partial(self._join, region, done))

    async def _join(self, region: str, done: Joined) -> None:
        view = self.copies[region]
        await self._struck(region)
        if not view.up:
            await self._speaking.hang_up(region)
            await self._homes.start(region)  # at the places it had
        leaders = [name for name, one in self.copies.items() if one.leads]
        leader = max(leaders, key=lambda name: self.copies[name].epoch, default=region)
        if leader != region and view.leads:
            await self._ask(region, "rest")
        rows = await self._missed(region)
        await (self._lines.mend if self._lined else self._homes.mend)(region)
        lost = []
        if leader == region:
            view.leads = True
            await self._ask(region, "lead", epoch=view.epoch, count=self._count)
            for name, other in self.copies.items():
                if name != region and other.up and other.linked:
                    await self._follow(name, region)
        else:
            lost = [self._lost(region, row) for row in rows] if view.leads else []
            await self._follow(region, leader)
        view.up = view.linked = True
        self._joining.discard(region)
        self.members.add(region)
        await self._arrange(leader)
        done(lost)

    async def _struck(self, region: str) -> None:
        """Waits until a kill or a cut is done."""
        if region in self._hit:
            await asyncio.wait([self._hit[region]])

    async def _follow(self, region: str, leader: str) -> None:
        view, address = self.copies[region], self._addresses[region, leader]
        # Where both run, a first try may still find the line between them in the making.
        for _ in range(10):
            state = await self._ask(region, "follow", leader=address)
            if state is not None or not self.copies[leader].up:
                break
            await asyncio.sleep(_AGAIN_S)
        view.leads, view.epoch = False, self.copies[leader].epoch
        view.mark = view.mark if state is None else state["nth"]

    async def _arrange(self, leader: str) -> None:
        """Tells a leader to whom it replicates, and who counts for a quorum."""
        peers = {
            name: self._addresses[leader, name]
            for name, view in self.copies.items()
            if name != leader and view.up and view.linked
        }
        members = sorted(self.members)
        await self._ask(leader, "peers", peers=peers, members=members, lag_ms=self._lag_ms)

    @property
    def _lined(self) -> bool:
        return bool(self._lines.how) and self._through

    def _first(self) -> str | None:
        for name, view in self.copies.items():
            if view.leads and view.linked and view.up:
                return name
        return None

    async def _rows(self, region: str) -> list[Row]:
        raw = await self._ask(region, "scan", prefix="")
        return [Row.of_json(one) for one in raw or ()]

    async def _ask(self, region: str, do: str, **given: Any) -> Any:
        """What the lab itself asks for. None where the region cannot answer: it was struck again,
        and hears of it when it joins."""
        try:
            return await asyncio.wait_for(self._speaking.ask(region, do, **given), _PATIENCE_S)
        except (WorldError, TimeoutError):
            return None

    def _lost(self, region: str, row: Row) -> LostRow:
        return LostRow(row.id, row.version, self.copies[region].ops[row.nth])

    async def close(self) -> None:
        """Ends every region."""
        await self._speaking.close()
        await self._homes.close()
        await self._lines.close()


def _live(row: Row, now_ns: int) -> Item | None:
    if row.dead(now_ns):
        return None
    expires = None if row.expires_ns is None else row.expires_ns // 1_000_000
    return Item(id=row.id, value=row.value, version=row.version, expires_ms=expires)


def _reached(there: dict[str, Row], row: Row) -> bool:
    """Whether a change, or a newer one of its item that includes it, is in a copy."""
    found = there.get(row.id)
    return found is not None and found.version[0] == row.version[0] and found.version >= row.version
