"""Every try of an action: what was asked, what came back, what it left behind, what hit it."""

from __future__ import annotations

import json

from tests.unit.report.scenes import CONTRACT, Record, once, scene, twice

from chaoslab.check.masking import Mask
from chaoslab.report.page.shown import PRETTY_MAX
from chaoslab.report.page.tries import TRIES_MAX, tries_of, tries_words


def test_each_try_has_its_key_its_answer_its_commit_and_what_hit_it() -> None:
    first, second = tries_of(scene(twice(), once()))
    assert (first.op, first.attempt, first.key, first.at) == (1, 1, "k1", "0.001 s")
    assert (first.process, first.task, first.tool, first.marker) == ("p1", "s1-t1", "refund", "o-1")
    assert first.time_ms == "1 ms"
    assert json.loads(first.request) == {"order": "o-1", "cents": 700}
    assert first.answer_type == "outcome unknown"
    assert json.loads(first.answer) == {"error": "deadline"}
    assert first.committed == ("refund:o-1#1",)
    assert first.strikes == ("silence, after-commit",)
    assert second.answer_type == "answered"
    assert (second.key, second.committed, second.strikes) == ("k2", ("refund:o-1#2",), ())
    assert first.proof and second.proof
    assert tries_words(scene(twice())) == "Every request for refund o-1."


def test_the_words_for_an_answer_are_plain() -> None:
    record = Record()
    record.task("s1-t1")
    refused = record.ask("o-1")
    record.answer(refused, "fail", error="rate-limited")
    record.ask("o-1", attempt=2)
    rows = tries_of(scene(record.end(), witness=[refused]))
    assert [row.answer_type for row in rows] == ["refused", "never answered"]
    assert (rows[1].answer, rows[1].answer_at) == ("", "")


def test_a_repeat_that_the_service_knew_says_what_was_there() -> None:
    record = Record()
    record.task("s1-t1")
    first = record.ask("o-1")
    record.commit(first)
    second = record.ask("o-1", attempt=2)
    record.add(
        "event", "tools.refund", {"absorbed": "refund:o-1#1"}, call=second, marker="o-1", key="k1"
    )
    rows = tries_of(scene(record.end(), witness=[first]))
    assert rows[1].committed == ("refund:o-1#1 (was there already)",)


def test_look_ups_of_the_action_stand_among_its_tries_and_other_actions_do_not() -> None:
    record = Record()
    record.task("s1-t1")
    call = record.ask("o-1")
    look = record.add(
        "invoke", "tools.refund.lookup", {"args": {"order": "o-1"}, "lookup": True}, marker="o-1"
    )
    record.ask("o-2")
    rows = tries_of(scene(record.end(), witness=[call]))
    assert [row.op for row in rows] == [call, look]
    assert rows[1].tool == "refund.lookup"


def test_long_texts_are_cut_with_a_mark_and_masked_before() -> None:
    record = Record()
    record.task("s1-t1")
    call = record.ask("o-1", note="DE02120300004711 " + "x" * 9_000, mark="\u202e\x1b[2J")
    mask = Mask({"DE02120300004711": "‹iban of s1›"})
    [row] = tries_of(scene(record.end(), witness=[call], mask=mask))
    assert "‹iban of s1›" in row.request and "DE0212" not in row.request
    assert len(row.request) < PRETTY_MAX + 100
    assert "cut here" in row.request
    assert "\u202e" not in row.request and "\x1b" not in row.request


def test_of_very_many_tries_the_first_the_last_and_the_proof_are_kept() -> None:
    record = Record()
    record.task("s1-t1")
    calls = [record.ask("o-1", attempt=n + 1) for n in range(200)]
    found = scene(record.end(), witness=[calls[100]])
    rows = tries_of(found)
    numbers = [row.op for row in rows]
    assert len(rows) == TRIES_MAX
    assert {calls[0], calls[100], calls[-1]} <= set(numbers)
    assert numbers == sorted(numbers)
    assert "of 200 requests" in tries_words(found)


def test_an_action_that_was_never_asked_for_shows_what_its_task_did_instead() -> None:
    record = Record()
    record.task("s1-t1")
    intent = record.add("event", "report.intent", {"tool": "refund"}, marker="o-1", task="s1-t1")
    read = record.add("invoke", "memory.read", {"id": "cart"}, marker="cart", task="s1-t1")
    record.answer(read, found=False)
    record.outcome()
    found = scene(
        record.end(), check="lineage.complete", code="dangling-intent", witness=[intent, 4]
    )
    assert [row.tool for row in tries_of(found)] == ["memory.read"]
    assert tries_words(found).startswith("refund o-1 was never asked for.")


def test_without_a_tool_the_calls_of_the_story_come_with_their_neighbours() -> None:
    record = Record()
    record.task("s1-t1")
    for n in range(30):
        record.add("invoke", "memory.read", {"id": f"m{n}"}, marker=f"m{n}", task="s1-t1")
        record.add("invoke", "model.complete", {"messages": []}, marker="turn-1", task="s1-t1")
    call = record.add("invoke", "memory.write", {"id": "x"}, marker="x", task="s1-t1")
    value = {"id": "x", "value": 1, "version": [1, 7], "over": None}
    done = record.add("commit", "memory.write", value, marker="x", task="s1-t1", call=call)
    record.add("invoke", "memory.read", {"id": "other"}, marker="other", task="s2-t1")
    found = scene(
        record.end(), check="memory.lost-update", tool="", witness=[done], contract=CONTRACT
    )
    rows = tries_of(found)
    assert [row.marker for row in rows] == ["m28", "m29", "x"]
    assert rows[-1].committed == ("x version 1.7",)
    assert [row.proof for row in rows] == [False, False, True]
