"""The ledgers of the team's own services: their rows become `commit` entries of the record.

The lab cannot see a commit happen in somebody else's database. It can read what stands there:
before anything ran, right after each request that was answered, and at the end, when a settle time
lets late ones in. A row that is new belongs to a request for certain only where no other request
could have made it. Every other row is recorded without a `call`, and the checks, which know all
requests and all strikes, say whose it counts as (`chaoslab.check.attribution`).

>>> from chaoslab.contract import ToolContract
>>> refund = ToolContract(name="refund", identity_fields=("body.order_id",))
>>> args = named_fields(Contract(), refund, {"id": 7, "order_id": "o-1"})
>>> args, marker_in(refund, args)
({'id': 7, 'body.order_id': 'o-1'}, 'o-1')
>>> marker_in(refund, {"id": 7})
''
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chaoslab.contract import Contract, ToolContract, marker_of
from chaoslab.contract.markers import field_of
from chaoslab.core.jsons import Json, canonical
from chaoslab.history import Recorder
from chaoslab.serve.sources import Row, Source, SourceError
from chaoslab.world.request import Caller

_SETTLES_MAX: Final = 5


@dataclass(slots=True, kw_only=True)
class _Effect:
    """One row that is on record."""

    tool: str
    marker: str
    args: Mapping[str, Json]
    compensated: bool = False


@dataclass(slots=True)
class _Ledger:
    """What is known of one tool's source."""

    tool: ToolContract
    source: Source
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    before: set[str] = field(default_factory=set)
    rows: dict[str, Row] = field(default_factory=dict)  # what stood at the last reading
    effects: dict[str, _Effect] = field(default_factory=dict)
    asked: bool = False
    problem: str = ""


class Ledgers:
    """See the module. A tool without a source has no ledger here."""

    def __init__(
        self, recorder: Recorder, contract: Contract, sources: Mapping[str, Source]
    ) -> None:
        self._recorder = recorder
        self._contract = contract
        self._ledgers = {n: _Ledger(contract.tool(n), source) for n, source in sources.items()}
        self._undoes = {t.compensate: t.name for t in contract.tools.values() if t.compensate}
        self._nth: dict[tuple[str, str], int] = {}
        # The requests for each action that have no effect yet, from the record as far as it was
        # looked at.
        self._open: dict[tuple[str, str], dict[int, str | None]] = {}
        self._looked_at = 0

    @property
    def problems(self) -> Mapping[str, str]:
        """By tool, why its effects could not be read at last."""
        return {name: one.problem for name, one in self._ledgers.items() if one.problem}

    async def baseline(self) -> dict[str, list[str]]:
        """What stands before anything ran is no effect. The markers of it, by tool; those of rows
        that tell no action are "". SourceError where a source cannot be read."""
        found = {}
        for name, ledger in self._ledgers.items():
            try:
                rows = await ledger.source.read()
            except SourceError as error:
                if not error.absent:
                    raise
                rows = ()  # the service has not made it yet
            ledger.before = {row.ref for row in rows}
            found[name] = [marker_in(ledger.tool, self._args(ledger, row)) for row in rows]
        return found

    async def after(self, caller: Caller, tool: str, marker: str) -> None:
        """A forwarded request was answered: its effect, if there is one, is recorded."""
        ledger = self._ledgers.get(tool)
        if ledger is None:
            return
        ledger.asked = True
        async with ledger.lock:
            key = self._key_of(caller.call)
            fitting = []
            for row in await self._new(ledger):
                found = marker_in(ledger.tool, self._args(ledger, row))
                if found == marker or (not found and row.key is not None and row.key == key):
                    fitting.append(row)
            for row in fitting:
                if self._certain(caller, tool, marker, row, fitting):
                    self._open[tool, marker].pop(caller.call)
                    self._record(ledger, row, marker, caller)
                elif marker_in(ledger.tool, self._args(ledger, row)):
                    self._record(ledger, row, marker, None, tenant=caller.tenant)

    async def final(self) -> dict[str, list[Json]]:
        """Reads until nothing new came within the settle time, records what is left, and what
        stands as `final.effects`; that by tool."""
        found: dict[str, list[Json]] = {}
        each = [self._settled(ledger) for ledger in self._ledgers.values()]
        await asyncio.gather(*each)
        for ledger in self._ledgers.values():
            for row in ledger.rows.values():
                if row.ref not in ledger.before and row.ref not in ledger.effects:
                    marker = marker_in(ledger.tool, self._args(ledger, row))
                    self._record(ledger, row, marker, None)
        for name, ledger in self._ledgers.items():
            found[name] = [
                self._told(row, ledger.effects[row.ref])
                for row in ledger.rows.values()
                if row.ref in ledger.effects
            ]
            value: dict[str, Json] = {"tool": name, "effects": found[name]}
            if ledger.problem:
                value["error"] = "unreadable"
            self._recorder.add("event", "final.effects", value)
        return found

    async def _settled(self, ledger: _Ledger) -> None:
        effects = ledger.tool.effects
        settle_s = 0 if effects is None else effects.settle_ms / 1000
        async with ledger.lock:
            await self._new(ledger)
            for _ in range(_SETTLES_MAX):
                before = set(ledger.rows)
                await asyncio.sleep(settle_s)
                await self._new(ledger)
                if set(ledger.rows) <= before:
                    return

    async def _new(self, ledger: _Ledger) -> Sequence[Row]:
        """Reads, and gives the rows that are not on record. What cannot be read now may be later;
        what stood before is then all that is known."""
        try:
            rows = await ledger.source.read()
            ledger.problem = ""
        except SourceError as error:
            # A table that is not there after a request is one that was never there.
            rows = () if error.absent else tuple(ledger.rows.values())
            ledger.problem = str(error) if ledger.asked or not error.absent else ""
        ledger.rows = {row.ref: row for row in rows}
        known = ledger.before | ledger.effects.keys()
        return [row for row in rows if row.ref not in known]

    # -- whose a row is

    def _certain(
        self, caller: Caller, tool: str, marker: str, row: Row, fitting: Sequence[Row]
    ) -> bool:
        """Whether only this request can have made the row: it is the only new one that fits, by
        its key if it has one, and no other request waits for its effect."""
        self._look()
        waiting = self._open.get((tool, marker), {})
        if caller.call not in waiting:
            return False
        if row.key is not None and waiting[caller.call] is not None:
            if row.key != waiting[caller.call]:
                return False
            rivals = [index for index, key in waiting.items() if key in (row.key, None)]
            same = [one for one in fitting if one.key in (row.key, None)]
        else:
            rivals, same = list(waiting), list(fitting)
        earlier = [index for index in rivals if index <= caller.call]
        return earlier == [caller.call] and len(same) == 1

    def _look(self) -> None:
        """Goes on through the record, and notes the requests to tools."""
        ops = self._recorder.ops
        for op in ops[self._looked_at :]:
            if op.type == "invoke" and op.f.startswith("tools."):
                self._open.setdefault((op.f[6:], op.marker), {})[op.index] = op.key
        self._looked_at = len(ops)

    def _key_of(self, call: int) -> str | None:
        ops = self._recorder.ops
        return ops[call].key if 0 <= call < len(ops) else None

    # -- what is recorded

    def _record(
        self, ledger: _Ledger, row: Row, marker: str, caller: Caller | None, *, tenant: str = ""
    ) -> None:
        tool, args = ledger.tool, self._args(ledger, row)
        nth = self._nth[tool.name, marker] = self._nth.get((tool.name, marker), 0) + 1
        value: dict[str, Json] = {
            "ref": row.ref,
            "args": args,
            "nth": nth,
            "tenant": caller.tenant if caller is not None else tenant,
        }
        undone = self._undone(tool, args)
        if undone is not None:
            undone[1].compensated = True
            value["compensates"] = undone[0]
        ledger.effects[row.ref] = _Effect(tool=tool.name, marker=marker, args=args)
        self._recorder.add(
            "commit",
            f"tools.{tool.name}",
            value,
            process=caller.process if caller is not None else "",
            session=caller.session if caller is not None else "",
            task=caller.task if caller is not None else "",
            call=caller.call if caller is not None else -1,
            marker=marker,
            key=row.key,
        )

    def _args(self, ledger: _Ledger, row: Row) -> dict[str, Json]:
        return named_fields(self._contract, ledger.tool, row.fields)

    def _undone(self, tool: ToolContract, args: Mapping[str, Json]) -> tuple[str, _Effect] | None:
        """The effect that a compensation undoes: the one whose reference it names."""
        other = self._ledgers.get(self._undoes.get(tool.name, ""))
        if other is None:
            return None
        for path in (*tool.identity_fields, "ref"):
            found = field_of(args, path)
            ref = found if isinstance(found, str) else canonical(found)
            if ref in other.effects:
                return ref, other.effects[ref]
        return None

    @staticmethod
    def _told(row: Row, effect: _Effect) -> Json:
        return {
            "ref": row.ref,
            "marker": effect.marker,
            "key": row.key,
            "args": effect.args,
            "compensated": effect.compensated,
        }


def named_fields(
    contract: Contract, tool: ToolContract, fields: Mapping[str, Json], /
) -> dict[str, Json]:
    """The fields of a row under the names by which the contract calls them: a column `order_id`
    is `body.order_id` where that is an identity field, or what a budget sums."""
    paths = [*tool.identity_fields]
    paths += [b.field for b in contract.budgets.values() if b.tool == tool.name and b.field]
    names: dict[str, str] = {}
    for path in dict.fromkeys(paths):
        last = path.rpartition(".")[2]
        if field_of(fields, path) is None and fields.get(last) is not None:
            names.setdefault(last, path)
    return {names.get(name, name): value for name, value in fields.items()}


def marker_in(tool: ToolContract, args: Mapping[str, Json], /) -> str:
    """The marker that a row tells; "" where it lacks an identity field, or none are declared."""
    fields = tool.identity_fields
    if not fields or any(field_of(args, path) is None for path in fields):
        return ""
    return marker_of(tool, args)
