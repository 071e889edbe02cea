"""The ledger against the fault-free run's, and the tables for bugs that are about no tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.report.scenes import (
    CONTRACT,
    REFUND,
    RUN,
    Record,
    bug,
    files,
    once,
    scene,
    twice,
)

from chaoslab.check.masking import Mask
from chaoslab.contract import Contract, Egress, ToolContract
from chaoslab.contract.target import EffectSource
from chaoslab.history import View
from chaoslab.report.page.ledgers import LedgerTable, ledger_of
from chaoslab.report.page.rows import DIFFERING_MAX, ROWS_MAX, LedgerRow, fold
from chaoslab.report.page.scene import Joined, Scene, scene_of


def table(found: Scene) -> LedgerTable:
    shown = ledger_of(found)
    assert shown is not None
    return shown


def states(shown: LedgerTable) -> list[tuple[str, str]]:
    return [(row.cells[0], row.state) for row in shown.rows]


def column(shown: LedgerTable, name: str) -> list[str]:
    at = shown.columns.index(name)
    return [row.cells[at] for row in shown.rows]


def test_the_extra_row_is_the_one_that_the_fault_free_run_does_not_have() -> None:
    shown = table(scene(twice(), once()))
    assert states(shown) == [("o-1", "same"), ("o-1", "extra")]
    assert column(shown, "reference") == ["refund:o-1#1", "refund:o-1#2"]
    assert column(shown, "key") == ["k1", "k2"]
    assert column(shown, "asked by") == ["p1/s1-t1", "p1/s1-t1"]
    assert column(shown, "committed at") == ["0.002 s", "0.006 s"]
    assert [row.op for row in shown.rows] == [2, 6]
    assert all(row.proof for row in shown.rows)
    assert "1 row too many" in shown.words
    assert "against the fault-free run" in shown.title


def test_rows_are_compared_by_action_whatever_their_order_and_keys() -> None:
    shown = table(scene(once("o-2", "o-1", "o-3"), once("o-3", "o-1", "o-2"), witness=[]))
    assert {state for _, state in states(shown)} == {"same"}
    assert shown.words.startswith("The same rows.")


def test_a_missing_row_stands_where_it_would_have_been_and_says_whose_it_was() -> None:
    shown = table(scene(once("o-1"), once("o-1", "o-2"), witness=[]))
    assert states(shown) == [("o-1", "same"), ("o-2", "missing")]
    assert shown.rows[1].op is None
    assert column(shown, "committed at")[1] == "never"
    assert column(shown, "asked by")[1] == "p1/s2-t1 in the fault-free run"


def refund_of(cents: int, note: str = "sorry") -> View:
    record = Record()
    record.task("s1-t1")
    call = record.ask("o-1", cents=cents, note=note)
    record.commit(call)
    return record.end()


def test_other_values_are_shown_beside_those_of_the_fault_free_run() -> None:
    shown = table(scene(refund_of(900), refund_of(700), witness=[2]))
    assert states(shown) == [("o-1", "changed")]
    assert column(shown, "cents") == ["900 (was 700)"]
    assert "1 row with other values" in shown.words


def test_free_text_that_a_model_words_anew_is_told_apart_from_other_values() -> None:
    shown = table(scene(refund_of(700, "sorry!"), refund_of(700, "sorry"), witness=[2]))
    assert "1 row worded otherwise" in shown.words
    crossed = scene(
        refund_of(700, "for Ada"),
        refund_of(700, "for Bob"),
        witness=[2],
        check="isolation.sessions",
    )
    assert "1 row with other values" in table(crossed).words


def test_what_was_undone_is_marked_and_is_not_compared_with_what_stands() -> None:
    record = Record()
    record.task("s1-t1")
    first = record.ask("o-1")
    record.commit(first)
    undo = record.ask("refund:o-1#1", tool="unrefund")
    undone = record.commit(undo, compensates="refund:o-1#1")
    again = record.ask("o-1", key="k2")
    record.commit(again, 2)
    shown = table(scene(record.end(), once(), witness=[1]))
    assert states(shown) == [("o-1", "extra"), ("o-1", "same")]
    assert column(shown, "stands") == [f"undone by #{undone}", "yes"]


def test_where_no_action_is_in_both_runs_the_table_says_so() -> None:
    shown = table(scene(once("a-1"), once("b-1"), witness=[2]))
    assert sorted(state for _, state in states(shown)) == ["extra", "missing"]
    assert "No action is in both" in shown.words


def test_a_breach_without_any_fault_is_compared_with_nothing() -> None:
    shown = table(scene(twice(), where="control"))
    assert not shown.compared
    assert {state for _, state in states(shown)} == {"proof"}
    assert "without any fault" in shown.words


def test_a_table_that_is_compared_with_nothing_calls_no_row_the_same() -> None:
    record = Record()
    for n in range(40):
        value = {"id": "cart", "value": n, "version": [1, n], "over": None}
        record.add("commit", "memory.write", value, marker="cart")
    shown = table(scene(record.end(), check="memory.lost-update", tool="", witness=[7]))
    assert {row.state for row in shown.rows} == {"proof", "listed"}
    assert [row.op for row in shown.rows if row.state == "proof"] == [7]
    assert shown.more == 0 and "28 further rows are left out." in shown.words


def test_only_so_many_rows_are_shown_and_the_others_are_counted() -> None:
    orders = [f"o-{n}" for n in range(60)]
    shown = table(scene(once(*orders, "o-x"), once(*orders), witness=[]))
    assert len(shown.rows) == ROWS_MAX
    assert shown.more == 61 - ROWS_MAX
    assert ("o-x", "extra") in states(shown)


def test_fold_keeps_what_differs_before_what_is_the_same() -> None:
    rows = [LedgerRow(cells=(str(n),), state="extra" if n % 2 else "same") for n in range(200)]
    kept, more, more_differing = fold(rows)
    assert len(kept) == DIFFERING_MAX
    assert {row.state for row in kept} == {"extra"}
    assert (more, more_differing) == (100, 100 - DIFFERING_MAX)


def test_values_are_masked_and_made_visible_in_every_cell() -> None:
    record = Record()
    record.task("s1-t1")
    call = record.ask("DE02120300004711", key="k-DE02120300004711\u202e")
    record.commit(call)
    mask = Mask({"DE02120300004711": "‹iban of s1›"})
    contract = Contract(tools={"refund": replace(REFUND, identity_fields=())})
    shown = table(scene(record.end(), None, contract=contract, mask=mask, witness=[2]))
    text = " ".join(cell for row in shown.rows for cell in row.cells)
    assert "DE0212" not in text
    assert "‹iban of s1›" in text
    assert "\u202e" not in text and "\\u202e" in text


def late(*rows: tuple[str, str, str, str]) -> View:
    """A ledger of the team's own: reference, key, order and time of each row."""
    record = Record()
    record.task("s1-t1")
    for _, key, order, _ in rows:
        record.ask(order, key=key)
    for ref, key, order, at in rows:
        args = {"id": ref, "idem_key": key, "order": order, "created_at": at}
        record.add("commit", "tools.refund", {"ref": ref, "args": args}, marker=order, key=key)
    return record.end()


def test_references_keys_and_times_of_a_teams_own_rows_are_not_compared() -> None:
    own = replace(REFUND, match="POST b/r", effects=EffectSource(sql="select 1"))
    fault = late(("7", "x", "o-1", "9:00"), ("8", "y", "o-2", "9:01"), ("9", "z", "o-2", "9:02"))
    control = late(("1", "a", "o-1", "8:00"), ("2", "b", "o-2", "8:01"))
    contract = Contract(tools={"refund": own})
    shown = table(scene(fault, control, contract=contract, deterministic=False, witness=[]))
    assert states(shown) == [("o-1", "same"), ("o-2", "same"), ("o-2", "extra")]
    assert not {"id", "idem_key", "created_at"} & set(shown.columns)
    assert "Not compared, since it is another in every row: created_at." in shown.words
    assert column(shown, "committed at") == ["when it was read, at the end"] * 3


def test_two_executions_of_the_same_choices_are_compared_with_each_other(tmp_path: Path) -> None:
    one = bug(check="recovery.deterministic", code="recovery-differs", anomaly="keys", witness=[])
    fault, control, repeat = once("o-1"), once("o-1", "o-2"), twice()
    run = files({"fault": fault, "control": control, "repeat": repeat}, one, folder=tmp_path)
    run.folder.mkdir()
    for name in ("fault", "control", "repeat"):
        (run.folder / f"{name}.jsonl").touch()
    found = scene_of(Joined(), run, one)
    assert found is not None and found.run.folder.name == RUN
    shown = table(found)
    assert states(shown) == [("o-1", "changed"), ("o-1", "missing")]
    assert column(shown, "key")[0] == "key-o-1 (was k1)"
    assert "against the repetition" in shown.title


def test_tasks_are_shown_by_how_they_ended() -> None:
    record = Record()
    record.task("s1-t1")
    broken = record.outcome("s1-t1", "failed", reason="gave up")
    control = Record()
    control.task("s1-t1")
    control.outcome("s1-t1")
    control.task("s2-t1")
    control.outcome("s2-t1")
    found = scene(
        record.end(), control.end(), check="limits.tasks", tool="", anomaly="", witness=[broken]
    )
    shown = table(found)
    assert [row.cells[:4] for row in shown.rows] == [
        ("s1-t1", "s1", "failed", "completed"),
        ("s2-t1", "s2", "never handed out", "completed"),
    ]
    assert [row.state for row in shown.rows] == ["changed", "missing"]
    assert shown.words == "2 of 2 tasks ended otherwise."
    assert "gave up" in shown.rows[0].cells


def test_memory_is_shown_by_its_versions_and_who_wrote_them() -> None:
    record = Record()
    record.task("s1-t1")
    for n, process in enumerate(("p1", "p2")):
        record.add(
            "commit",
            "memory.write",
            {"id": "cart", "value": n, "version": [1, n + 1], "over": [1, n] if n else None},
            process=process,
            task="s1-t1",
            marker="cart",
        )
    shown = table(
        scene(record.end(), check="memory.lost-update", tool="", subject="cart", witness=[1, 2])
    )
    assert column(shown, "version") == ["1.1", "1.2"]
    assert column(shown, "over") == ["nothing", "1.1"]
    assert column(shown, "written by") == ["p1/s1-t1", "p2/s1-t1"]
    assert all(row.proof for row in shown.rows) and not shown.compared


def test_a_write_of_one_who_lost_the_session_stands_among_the_leases() -> None:
    record = Record()
    for fence, process in ((1, "p1"), (1, "p1"), (2, "p2")):
        value = {"session": "s1", "fence": fence, "expires_ns": 9, "holder": process}
        record.add("commit", "leases.acquire", value, session="s1", process=process)
    value = {"id": "task/1", "value": 1, "version": [1, 1], "over": None, "fence": 1}
    late_write = record.add("commit", "memory.write", value, session="s1", marker="task/1")
    shown = table(
        scene(record.end(), check="regions.fenced", tool="", witness=[2, late_write], subject="s1")
    )
    assert column(shown, "fence") == ["1", "2", "1"]
    assert column(shown, "written by")[1] == "goes to p2"


def test_sessions_are_shown_by_their_moves() -> None:
    record = Record()
    for state in ("quarantined", "active"):
        record.add("event", "report.transition", {"state": state, "why": "x"}, session="s1")
    record.add("event", "report.transition", {"state": "active", "why": ""}, session="s2")
    shown = table(
        scene(record.end(), check="lifecycle.legal", tool="", subject="s1", witness=[0, 1])
    )
    assert column(shown, "state") == ["quarantined", "active"]


def test_requests_to_the_outside_are_shown_with_what_they_led_to() -> None:
    record = Record()
    for url, headers in (("http://a/x", {"location": "http://b/"}), ("http://b/", {})):
        call = record.add("invoke", "network.request", {"method": "GET", "url": url}, task="s1-t1")
        record.answer(call, status=302 if headers else 200, headers=headers)
    contract = replace(CONTRACT, egress=Egress(hosts=("a",)))
    shown = table(
        scene(record.end(), contract=contract, check="egress.policy", tool="", witness=[2])
    )
    assert column(shown, "led on to") == ["http://b/", ""]
    assert [row.proof for row in shown.rows] == [False, True]
    assert "Allowed hosts: a." in shown.words


def test_a_bug_about_nothing_that_has_a_table_has_none() -> None:
    record = Record()
    record.add("event", "report.log", {"text": "x"}, session="s1")
    assert ledger_of(scene(record.end(), check="memory.access", tool="", witness=[0])) is None


@pytest.mark.parametrize("promise", ["exactly-once", "at-most-once"])
def test_a_guest_may_commit_through_a_tool_of_another_name(promise: str) -> None:
    record = Record()
    record.task("s1-t1")
    call = record.add(
        "invoke", "wasm.guest", {"instance": "g1"}, marker="o-1", key="k", task="s1-t1"
    )
    value = {"ref": "ticket:1", "args": {"order": "o-1"}}
    record.add("commit", "tools.ticket", value, marker="o-1", key="k", call=call, task="s1-t1")
    ticket = ToolContract(name="ticket", identity_fields=("order",), promise=promise)  # type: ignore[arg-type]
    found = scene(
        record.end(), contract=Contract(tools={"ticket": ticket}), tool="guest", witness=[call]
    )
    shown = table(found)
    assert shown.tool == "ticket"
    assert column(shown, "reference") == ["ticket:1"]
