"""How to look for a bug in production: the queries find what they say, and nothing leaks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.unit.report.scenes import CONTRACT, REFUND, Record, once, scene, twice

from chaoslab.check.masking import Mask
from chaoslab.check.registry import CHECK_IDS
from chaoslab.contract import Budget, Contract, Invariant, Limits, ToolContract
from chaoslab.contract.target import EffectSource
from chaoslab.report.page import queries
from chaoslab.report.page.production import Hint, hints_of
from chaoslab.report.page.searches import SEARCHES

LEDGER = queries.ledger_for(REFUND)


@pytest.fixture
def base() -> Iterator[sqlite3.Connection]:
    """A ledger with one refund twice, and an agent's records that are wrong about two others."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        """
        create table refund ("order" text, idempotency_key text, created_at int);
        insert into refund values
          ('o-1', 'a', 1), ('o-1', 'b', 2), ('o-2', 'c', 9), ('o-3', 'c', 4),
          ('o-5', null, 1), ('o-6', null, 1);
        create table agent_records ("order" text, tool text, status text, ended_at int);
        insert into agent_records values
          ('o-1', 'refund', 'completed', 5), ('o-2', 'refund', 'completed', 5),
          ('o-3', 'refund', 'failed', 5), ('o-4', 'refund', 'completed', 5),
          ('o-4', 'notify', 'completed', 5), ('o-5', 'refund', 'completed', 5),
          ('o-6', 'refund', 'completed', 5);
        """
    )
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (queries.duplicates(LEDGER), [("o-1", 2)]),
        (queries.two_keys(LEDGER), [("o-1", 2)]),
        (queries.two_actions(LEDGER), [("c", 2)]),
        (queries.missing(LEDGER, "refund"), [("o-4",)]),
        (queries.denied(LEDGER, "refund"), [("o-3", "failed")]),
        (queries.late(LEDGER, "refund"), [("o-2", 9, 5, "completed")]),
    ],
)
def test_each_query_finds_its_own_kind_of_row(
    base: sqlite3.Connection, statement: str, rows: list[tuple[object, ...]]
) -> None:
    assert base.execute(statement).fetchall() == rows


def test_a_query_stands_around_the_teams_own_statement(base: sqlite3.Connection) -> None:
    sql = """select "order" as order_id, idempotency_key as idem_key
             from refund where 1 = 1;"""
    tool = replace(
        REFUND, identity_fields=("body.order_id",), effects=EffectSource(sql=sql), match="POST b/r"
    )
    ledger = queries.ledger_for(tool)
    assert (ledger.identity, ledger.key, ledger.guessed) == (("order_id",), "idem_key", ())
    assert base.execute(queries.duplicates(ledger)).fetchall() == [("o-1", 2)]
    assert base.execute(queries.two_keys(ledger)).fetchall() == [("o-1", 2)]


def test_names_and_values_cannot_end_a_query(base: sqlite3.Connection) -> None:
    evil = 'refund"; drop table refund; --'
    tool = ToolContract(name=evil, keys=True, identity_fields=("it's\n--",))
    ledger = queries.ledger_for(tool)
    base.execute(f"create table {queries.name(evil)} ({queries.name(ledger.identity[0])} text)")
    base.execute(queries.duplicates(ledger))
    base.execute(
        f"create table x as select {queries.value(evil)} as tool, {queries.value('a' * 3)} as y"
    )
    assert base.execute("select tool from x").fetchone() == (evil,)
    assert base.execute("select count(*) from refund").fetchone() == (6,)
    assert "\n--" not in queries.missing(ledger, evil)


def kinds(hints: tuple[Hint, ...]) -> list[str]:
    return [hint.kind for hint in hints]


def test_a_duplicate_is_looked_for_by_key_by_operation_in_the_ledger_and_in_traces() -> None:
    hints = hints_of(scene(twice(), once()))
    assert kinds(hints) == ["key", "operation", "query", "query", "query"]
    key, operation, first, second, traces = hints
    assert key.words.startswith("2 keys for one action")
    assert "A right key is made of the task and order" in key.words
    assert [line.split()[0] for line in key.code.split("\n")] == ["k1", "k2"]
    assert operation.code == "tool = refund\norder = o-1"
    assert first.code == queries.duplicates(LEDGER)
    assert "Guessed names: refund, order, idempotency_key" in first.words
    assert second.code == queries.two_keys(LEDGER)
    assert traces.code.split("\n") == [
        'gen_ai.operation.name = "execute_tool"',
        'gen_ai.tool.name = "refund"',
        "error.type is set",
        "group by gen_ai.conversation.id",
    ]
    assert "deadline" in traces.words


def test_a_key_nobody_passed_is_answered_by_what_the_run_advises() -> None:
    record = Record()
    record.task("s1-t1")
    for attempt in (1, 2):
        call = record.ask("o-1", key=None, attempt=attempt)
        record.commit(call, attempt)
    advice = {"tool": "refund", "best": "step", "words": "An id of task and step was stable."}
    found = scene(record.end(), once(), witness=[1], key_advice=[advice])
    key = hints_of(found)[0]
    assert key.words == (
        "refund takes keys, and was asked without one, so nobody can recognise a repeat. "
        "An id of task and step was stable."
    )
    unkeyed = Contract(tools={"refund": replace(REFUND, keys=False, promise="at-most-once")})
    hints = hints_of(scene(record.end(), once(), contract=unkeyed, witness=[1]))
    assert hints[0].words.startswith("refund takes no key")
    assert not any("two keys" in hint.words for hint in hints)


def test_an_action_that_was_never_asked_for_takes_its_example_from_the_other_run() -> None:
    record = Record()
    record.task("s1-t1")
    record.outcome(claims=[{"tool": "refund", "marker": "o-1", "ref": None}])
    found = scene(record.end(), once("o-1"), code="missing-effect", anomaly="claimed", witness=[1])
    hints = hints_of(found)
    assert kinds(hints) == ["operation", "query", "query"]
    assert hints[0].code == "tool = refund\norder = o-1"
    assert hints[1].code == queries.missing(LEDGER, "refund")
    assert "agent_records stands for the table" in hints[1].words


def test_a_commit_after_the_outcome_is_looked_for_by_its_time() -> None:
    record = Record()
    record.task("s1-t1")
    call = record.ask("o-1")
    record.outcome(status="failed")
    done = record.commit(call)
    found = scene(
        record.end(), once(), check="outcome.honest", code="failed-after-commit", witness=[2, done]
    )
    assert queries.late(LEDGER, "refund") in [hint.code for hint in hints_of(found)]


def test_holes_and_where_the_key_stands_are_told_for_a_teams_own_tool() -> None:
    own = replace(
        REFUND,
        match="POST billing/v1/refunds",
        key_at="header:Idempotency-Key",
        effects=EffectSource(sql='select id, idem_key, "order" from refunds where run = {run}'),
    )
    hints = hints_of(scene(twice(), once(), contract=Contract(tools={"refund": own})))
    assert "request = POST billing/v1/refunds" in hints[1].code
    assert "key in = header Idempotency-Key" in hints[1].code
    assert "Put values of yours for {run}" in hints[2].words
    assert "Guessed names" not in hints[2].words


def test_sensitive_values_are_in_no_hint() -> None:
    record = Record()
    record.task("s1-t1")
    for attempt in (1, 2):
        call = record.ask("DE02120300004711", key=f"k-DE02120300004711-{attempt}", attempt=attempt)
        record.commit(call, attempt)
    mask = Mask({"DE02120300004711": "‹iban of s1›"})
    contract = Contract(
        tools={"refund": replace(REFUND, identity_fields=("order", "DE02 1203 0000 4711"))}
    )
    found = scene(
        record.end(),
        once(),
        mask=mask,
        contract=contract,
        witness=[1],
        subject="refund ‹iban of s1›",
    )
    assert found.actions == (("refund", "DE02120300004711"),)
    text = " ".join(f"{hint.words} {hint.code}" for hint in hints_of(found))
    assert "4711" not in text and "‹iban of s1›" in text


def test_every_check_has_a_query_or_a_search() -> None:
    by_ledger = {"effects.delivery", "keys.lineage", "lineage.complete"}
    assert set(CHECK_IDS) == set(SEARCHES) | by_ledger


@pytest.mark.parametrize("check", sorted(SEARCHES))
def test_each_search_says_something_of_a_bug_without_a_tool(check: str) -> None:
    record = Record()
    record.task("s1-t1")
    record.add("event", "report.log", {"text": "x"}, task="s1-t1", session="s1")
    found = scene(
        record.end(), check=check, code="x", tool="", anomaly="", subject="s1", witness=[1]
    )
    [hint] = hints_of(found)
    assert hint.kind == "query" and len(hint.words) > 40


def test_the_numbers_in_a_search_are_those_of_the_contract() -> None:
    record = Record()
    record.task("s1-t1")
    contract = replace(CONTRACT, limits=Limits(recovery_ms_max=90_000))
    found = scene(record.end(), contract=contract, check="limits.recovery", tool="", witness=[0])
    assert "more than 90 s" in hints_of(found)[0].words


def test_a_budget_is_summed_in_the_ledger(base: sqlite3.Connection) -> None:
    base.executescript(
        'create table credit ("order" text, cents int, tenant text, created_at int);'
        "insert into credit values ('o-1', 60, 'a', 1), ('o-2', 60, 'a', 2), ('o-3', 60, 'b', 3)"
    )
    credit = ToolContract(name="credit", identity_fields=("order",))
    budget = Budget(name="goodwill", tool="credit", field="cents", per="tenant", most=100)
    contract = Contract(tools={"credit": credit}, budgets={"goodwill": budget})
    record = Record()
    record.task("s1-t1")
    call = record.ask("o-1", tool="credit")
    found = scene(
        record.end(),
        contract=contract,
        check="budgets.spend",
        tool="credit",
        subject="goodwill of a",
        witness=[call],
    )
    [operation, query] = hints_of(found)
    assert operation.kind == "operation"
    assert base.execute(query.code).fetchall() == [("a", 120)]


def test_a_rule_of_the_teams_own_is_its_own_query() -> None:
    rule = Invariant(name="one", sql="select 1 from effects")
    contract = replace(CONTRACT, invariants=(rule,))
    found = scene(once(), contract=contract, check="invariant.one", tool="", witness=[1])
    assert hints_of(found)[-1].code == "select 1 from effects"
