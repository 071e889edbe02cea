"""Rows of a service's own ledger as commits: whose they are, what stood before, what comes late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from chaoslab.backends.process.ledgers import Ledgers
from chaoslab.check import Evidence
from chaoslab.check.effects import CHECK
from chaoslab.contract import Budget, Contract, Limits, ToolContract
from chaoslab.contract.target import EffectSource
from chaoslab.history import Op, Recorder, View, Writer
from chaoslab.serve.sources import Row, SourceError
from chaoslab.world.request import Caller

REFUND = ToolContract(
    name="refund",
    keys=True,
    match="POST billing/v1/refunds",
    identity_fields=("body.order_id",),
    promise="exactly-once",
    compensate="void",
    effects=EffectSource(sql="select 1", settle_ms=20),
)
VOID = ToolContract(
    name="void",
    match="POST billing/v1/voids",
    identity_fields=("body.refund_id",),
    effects=EffectSource(sql="select 1", settle_ms=0),
)
CONTRACT = Contract(
    tools={"refund": REFUND, "void": VOID},
    budgets={"b": Budget(name="b", tool="refund", field="body.cents", most=100)},
)


@dataclass
class Table:
    """A source whose rows the test writes."""

    rows: list[Row] = field(default_factory=list)
    error: SourceError | None = None
    reads: int = 0
    late: dict[int, Row] = field(default_factory=dict)  # by the reading at which it appears

    def add(self, id: int, order: str | None, key: str | None = None, **more: Any) -> None:
        fields: dict[str, Any] = {"id": id, "order_id": order, **more}
        self.rows.append(Row(str(id), key, fields))

    async def read(self) -> tuple[Row, ...]:
        await asyncio.sleep(0)
        self.reads += 1
        if self.reads in self.late:
            self.rows.append(self.late[self.reads])
        if self.error is not None:
            raise self.error
        return tuple(self.rows)


class Bench:
    """A recorder, one or two tables, and requests that the test makes."""

    def __init__(self, contract: Contract = CONTRACT, **tables: Table) -> None:
        self.recorder = Recorder(Writer(None, {}), now_ns=lambda: len(self.recorder.ops))
        self.contract = contract
        self.ledgers = Ledgers(self.recorder, contract, tables)

    def ask(self, marker: str, key: str | None = None, tool: str = "refund") -> Caller:
        call = self.recorder.add(
            "invoke", f"tools.{tool}", {"args": {}}, process="p1", session="s", task="t",
            marker=marker, key=key,
        )  # fmt: skip
        return Caller(
            process="p1", region="r", session="s", task="t", tenant="a", call=call, now_ns=0
        )

    def after(self, caller: Caller, marker: str, tool: str = "refund") -> None:
        asyncio.run(self.ledgers.after(caller, tool, marker))

    def final(self) -> Mapping[str, Any]:
        return asyncio.run(self.ledgers.final())

    @property
    def commits(self) -> list[Op]:
        return [op for op in self.recorder.ops if op.type == "commit"]

    @property
    def calls(self) -> list[tuple[str, int]]:
        return [(str(op.get("ref")), op.call) for op in self.commits]

    def codes(self) -> list[str]:
        view = View(self.recorder.ops)
        evidence = Evidence(history=view, contract=self.contract, limits=Limits())
        return [violation.code for violation in CHECK(evidence).violations]


def test_a_row_of_an_answered_request_is_its_commit() -> None:
    table = Table()
    bench = Bench(refund=table)
    caller = bench.ask("o-1", "k1")
    table.add(7, "o-1", "k1", cents=5)
    bench.after(caller, "o-1")
    (op,) = bench.commits
    assert (op.f, op.call, op.marker, op.key) == ("tools.refund", caller.call, "o-1", "k1")
    assert (op.process, op.session, op.task) == ("p1", "s", "t")
    args = {"id": 7, "body.order_id": "o-1", "body.cents": 5}
    assert op.value == {"ref": "7", "args": args, "nth": 1, "tenant": "a"}
    bench.after(caller, "o-1")
    assert len(bench.commits) == 1
    found = bench.final()["refund"]
    told = {"ref": "7", "marker": "o-1", "key": "k1", "args": args, "compensated": False}
    assert found == [told]
    assert bench.recorder.ops[-1].f == "final.effects"
    assert bench.recorder.ops[-1].value == {"tool": "refund", "effects": [told]}
    assert bench.codes() == []


def test_what_stood_before_is_no_effect() -> None:
    table = Table()
    table.add(1, "o-1")
    table.add(2, None)
    bench = Bench(refund=table)
    assert asyncio.run(bench.ledgers.baseline()) == {"refund": ["o-1", ""]}
    bench.after(bench.ask("o-1"), "o-1")
    assert bench.commits == []
    assert bench.final() == {"refund": []}


def test_a_ledger_that_is_not_made_yet_stands_for_nothing() -> None:
    gone = SourceError("refund", "sql", "no such table: refunds", hint="…", absent=True)
    broken = SourceError("refund", "sql", "syntax error", hint="…")
    bench = Bench(refund=Table(error=gone))
    assert asyncio.run(bench.ledgers.baseline()) == {"refund": []}
    assert bench.final() == {"refund": []}  # nobody asked for anything
    assert bench.ledgers.problems == {}
    with pytest.raises(SourceError, match="syntax error"):
        asyncio.run(Bench(refund=Table(error=broken)).ledgers.baseline())


def test_rows_of_others_wait_for_their_own_request() -> None:
    table = Table()
    bench = Bench(refund=table)
    one, two = bench.ask("o-1"), bench.ask("o-2")
    table.add(1, "o-2")
    table.add(2, "o-1")
    bench.after(one, "o-1")
    assert bench.calls == [("2", one.call)]
    bench.after(two, "o-2")
    assert bench.calls == [("2", one.call), ("1", two.call)]


def test_a_request_without_an_answer_makes_the_next_row_uncertain() -> None:
    """A killed try may have made the row as well as the one that was answered: neither is named,
    and the check, which sees both requests, counts both rows."""
    table = Table()
    bench = Bench(refund=table)
    bench.ask("o-1")  # never answered
    second = bench.ask("o-1")
    table.add(1, "o-1")
    table.add(2, "o-1")
    bench.after(second, "o-1")
    assert bench.calls == [("1", -1), ("2", -1)]
    assert [op.process for op in bench.commits] == ["", ""]
    assert [op.get("nth") for op in bench.commits] == [1, 2]
    bench.final()
    assert bench.codes() == ["duplicate-effect"]


def test_one_row_after_a_lost_try_is_one_effect() -> None:
    table = Table()
    bench = Bench(refund=table)
    bench.ask("o-1", "k1")
    second = bench.ask("o-1", "k1")
    table.add(1, "o-1", "k1")
    bench.after(second, "o-1")
    bench.final()
    assert bench.calls == [("1", -1)]
    assert bench.codes() == []


def test_a_key_tells_which_try_it_was() -> None:
    table = Table()
    bench = Bench(refund=table)
    bench.ask("o-1", "k1")
    second = bench.ask("o-1", "k2")
    table.add(1, "o-1", "k1")
    table.add(2, "o-1", "k2")
    bench.after(second, "o-1")
    assert bench.calls == [("1", -1), ("2", second.call)]
    bench.final()
    assert bench.codes() == ["duplicate-effect"]


def test_a_row_without_its_identity_is_known_by_its_key_alone() -> None:
    table = Table()
    bench = Bench(refund=table)
    caller = bench.ask("o-1", "k1")
    table.add(1, None, "k1")
    table.add(2, None)
    bench.after(caller, "o-1")
    assert bench.calls == [("1", caller.call)]
    bench.final()
    assert bench.calls == [("1", caller.call), ("2", -1)]
    assert bench.commits[1].marker == ""


def test_what_comes_within_the_settle_time_is_still_seen() -> None:
    table = Table(late={3: Row("9", None, {"id": 9, "order_id": "o-1"})})
    bench = Bench(refund=table)
    bench.after(bench.ask("o-1"), "o-1")
    assert bench.commits == []
    found = bench.final()
    assert [row["ref"] for row in found["refund"]] == ["9"]
    assert bench.calls == [("9", -1)]
    assert table.reads == 4  # once more, since something was new
    assert bench.codes() == []


def test_an_effect_that_nobody_asked_for_is_unexpected() -> None:
    table = Table()
    bench = Bench(refund=table)
    bench.after(bench.ask("o-1"), "o-1")
    table.add(1, "o-1")
    table.add(2, "o-9")
    bench.final()
    assert bench.codes() == ["unexpected-effect"]


def test_only_what_stands_is_told_at_the_end() -> None:
    table = Table()
    bench = Bench(refund=table)
    caller = bench.ask("o-1")
    table.add(1, "o-1")
    bench.after(caller, "o-1")
    table.rows.clear()
    assert bench.final() == {"refund": []}
    assert bench.calls == [("1", caller.call)]


def test_a_compensation_names_the_effect_that_it_undoes() -> None:
    refunds, voids = Table(), Table()
    bench = Bench(refund=refunds, void=voids)
    first = bench.ask("o-1")
    refunds.add(5, "o-1")
    bench.after(first, "o-1")
    second = bench.ask("5", tool="void")
    voids.rows.append(Row("v1", None, {"id": "v1", "refund_id": 5}))
    bench.after(second, "5", tool="void")
    assert bench.commits[1].get("compensates") == "5"
    assert bench.final()["refund"][0]["compensated"] is True


def test_a_source_that_fails_is_told_and_invents_nothing() -> None:
    table = Table()
    bench = Bench(refund=table)
    caller = bench.ask("o-1")
    table.add(1, "o-1")
    table.error = SourceError("refund", "sql", "database is locked", hint="…")
    bench.after(caller, "o-1")
    assert "locked" in bench.ledgers.problems["refund"]
    table.error = None
    bench.after(caller, "o-1")
    assert bench.ledgers.problems == {}
    assert bench.calls == [("1", caller.call)]
    table.error = SourceError("refund", "sql", "database is locked", hint="…")
    bench.final()
    last = bench.recorder.ops[-1]
    assert last.get("error") and last.get("effects")[0]["ref"] == "1"


def test_tools_without_a_source_have_no_ledger() -> None:
    bench = Bench()
    bench.after(bench.ask("o-1"), "o-1")
    assert bench.final() == {}
    assert len(bench.recorder.ops) == 1


def test_requests_at_the_same_time_never_record_a_row_twice() -> None:
    table = Table()
    bench = Bench(refund=table)
    callers = [bench.ask(f"o-{n}") for n in range(5)]
    for n in range(5):
        table.add(n, f"o-{n}")

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for n, caller in enumerate(callers):
                group.create_task(bench.ledgers.after(caller, "refund", f"o-{n}"))

    asyncio.run(all_at_once())
    assert bench.calls == [(str(n), caller.call) for n, caller in enumerate(callers)]
