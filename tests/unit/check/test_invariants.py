"""The team's own rules: what a query sees, what it may not do, and how a breach is told."""

from __future__ import annotations

from typing import Any

import pytest

from chaoslab.check import Evidence, Finding, Violation, because
from chaoslab.check.invariants import by_function, by_query
from chaoslab.contract import Contract, Invariant, Limits, ToolContract
from chaoslab.contract.ledger import TABLES, problem
from chaoslab.core.jsons import Json
from chaoslab.history import Op, View

REFUND = ToolContract(name="refund", keys=True, promise="exactly-once")


def evidence(*ops: Op) -> Evidence:
    contract = Contract(tools={"refund": REFUND})
    return Evidence(history=View(ops), contract=contract, limits=Limits())


def story() -> Evidence:
    args: dict[str, Json] = {"order": "o-1", "cents": 9_900}
    return evidence(
        Op(index=0, time_ns=1_000_000, type="event", f="task.submit", process="p", session="s1",
           task="t1", value={"tenant": "acme", "data": {}}),
        Op(index=1, time_ns=2_000_000, type="invoke", f="tools.refund", process="p", session="s1",
           task="t1", marker="o-1", attempt=1, key="k", value={"args": args}),
        Op(index=2, time_ns=3_000_000, type="commit", f="tools.refund", process="p", session="s1",
           task="t1", marker="o-1", key="k", call=1,
           value={"ref": "refund:o-1#1", "args": args, "tenant": "acme"}),
        Op(index=3, time_ns=4_000_000, type="ok", f="tools.refund", process="p", session="s1",
           task="t1", marker="o-1", call=1, value={"ref": "refund:o-1#1"}),
        Op(index=4, time_ns=5_000_000, type="commit", f="memory.write", process="p", session="s1",
           task="t1", value={"id": "task/t1", "value": {"n": 1}, "version": [1, 1]}),
        Op(index=5, time_ns=6_000_000, type="event", f="task.outcome", process="p", session="s1",
           task="t1", value={"status": "completed", "claims": [
               {"tool": "refund", "marker": "o-1", "ref": "refund:o-1#1"}]}),
    )  # fmt: skip


def asked(sql: str, says: str = "") -> Finding:
    return by_query(Invariant(name="rule", sql=sql, says=says))(story())


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        ("select time_ms, tool, marker, ref, key, task, session, tenant, stands from effects",
         "time_ms 3, tool refund, marker o-1, ref refund:o-1#1, key k, task t1, session s1, "
         "tenant acme, stands 1"),
        ("select tool, attempt, answer, error from requests",
         "tool refund, attempt 1, answer ok, error None"),
        ("select status, counted from outcomes", "status completed, counted 1"),
        ("select task, tool, ref from claims", "task t1, tool refund, ref refund:o-1#1"),
        ("select task, tenant, deliveries, status from tasks",
         "task t1, tenant acme, deliveries 1, status completed"),
        ("select id, value, version, erased from memory",
         'id task/t1, value {"n":1}, version [1,1], erased 0'),
        ("select count(*) as n, max(op) as last from entries", "n 6, last 5"),
    ],
)  # fmt: skip
def test_each_table_tells_what_happened(sql: str, row: str) -> None:
    assert asked(sql).violations[0].explanation == f"the query of rule found a row: {row}"


def test_a_row_is_a_breach_with_its_witness_and_a_story() -> None:
    found = asked(
        "select r.op as request_op, e.op, e.tool, e.marker from effects e "
        "join requests r using (marker) where json_extract(e.args, '$.cents') > 5000",
        "a refund of more than 50 euros",
    )
    [breach] = found.violations
    assert breach.check == "invariant.rule"
    assert breach.code == "invariant-broken"
    assert breach.subject == "refund o-1"
    assert breach.tool == "refund"
    assert breach.witness == (1, 2)
    assert breach.explanation == "a refund of more than 50 euros: tool refund, marker o-1"
    lines = because(story().history, breach)
    assert any("the service commits it" in line for line in lines)


def test_no_row_means_held_and_an_empty_record_means_nothing() -> None:
    assert asked("select op from effects where not stands").verdict == "valid"
    rule = Invariant(name="rule", sql="select op from effects")
    assert by_query(rule)(evidence()).verdict == "not-applicable"


def test_a_query_without_an_end_is_unproven() -> None:
    found = asked("with recursive a(n) as (select 1 union all select n from a) select n from a "
                  "where n > 1")  # fmt: skip
    assert (found.verdict, found.reason) == ("unknown", "the query takes too long")


@pytest.mark.parametrize(
    "sql",
    ["drop table effects", "insert into effects values (1)", "attach 'x' as y", "select random()",
     "pragma user_version", "select datetime('now')", "select load_extension('x')", ""],
)  # fmt: skip
def test_only_a_query_is_taken(sql: str) -> None:
    assert problem(sql).startswith("only a query is allowed")


def test_a_wrong_name_is_told_with_the_tables() -> None:
    text = problem("select order_id from effects")
    assert "no such column: order_id" in text
    assert all(f"{name}(" in text for name in TABLES)


def test_a_function_gives_violations_under_the_name_of_its_rule() -> None:
    def late(seen: Evidence) -> list[Violation]:
        return [
            Violation(check="mine", code="late", subject="t1", explanation="late", witness=(5,))
            for op in seen.history.named("task.outcome")
            if op.time_ns > 0
        ]

    found = by_function(Invariant(name="on-time", check="x.py:late"), late)(story())
    assert [(v.check, v.code) for v in found.violations] == [("invariant.on-time", "late")]
    assert by_function(Invariant(name="n"), lambda seen: [])(story()).verdict == "valid"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"code": "Bad Code"}, "allowed: small letters"),
        ({"explanation": " "}, "explanation is empty"),
        ({"witness": (1.5,)}, "witness has 1.5"),
        ({"witness": (99,)}, "witness has 99"),
    ],
)
def test_what_is_no_breach_leaves_the_rule_unproven(wrong: dict[str, Any], words: str) -> None:
    whole = {"check": "", "code": "x", "subject": "s", "explanation": "e", "witness": (0,), **wrong}
    found = by_function(Invariant(name="n", check="a.py:f"), lambda seen: [Violation(**whole)])
    assert found(story()).verdict == "unknown"
    assert words in found(story()).reason


def test_a_breach_is_one_readable_line() -> None:
    long = Violation(
        check="", code="x", subject="a\nb", explanation="\x1b[2J" + "w " * 900, witness=(0,)
    )
    [told] = by_function(Invariant(name="n"), lambda seen: [long])(story()).violations
    assert told.subject == "a b"
    assert len(told.explanation) <= 300 and told.explanation.isprintable()
