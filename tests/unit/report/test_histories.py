"""A history as the page draws it: lanes, columns, short labels, values that a browser can hold."""

from __future__ import annotations

import json
from typing import Any

from chaoslab.check.masking import NO_MASK, Mask, mask_of
from chaoslab.contract import Attribute, Contract, ToolContract
from chaoslab.history import Op, View
from chaoslab.report.page.histories import (
    BLOCK,
    LABEL_MAX,
    browser_safe,
    label_of,
    skeleton,
    value_blocks,
)

CONTRACT = Contract(
    tools={"ship": ToolContract(name="ship"), "refund": ToolContract(name="refund")}
)


def history(*entries: dict[str, Any]) -> View:
    """A history of entries that name only what matters; each a millisecond after the last."""
    base = {"type": "event", "f": "report.log"}
    return View(
        Op(**{"index": i, "time_ns": i * 1_000_000, **base, **entry})
        for i, entry in enumerate(entries)
    )


def call(kind: str, f: str, **more: Any) -> dict[str, Any]:
    """One entry of a call."""
    return {"type": kind, "f": f, "process": "east-1", **more}


def lanes_of(shown: dict[str, Any]) -> list[str]:
    return [lane["id"] for lane in shown["lanes"]]


def at(shown: dict[str, Any], column: str) -> list[str]:
    """A column of lane numbers by the names of the lanes."""
    names = lanes_of(shown)
    return [names[n] if n >= 0 else "" for n in shown[column]]


def words(shown: dict[str, Any], column: str) -> list[str]:
    """A column of word numbers as words."""
    return [shown["strings"][n] if n >= 0 else "" for n in shown[column]]


def test_processes_come_first_then_services_then_the_lab() -> None:
    view = history(
        {"f": "nemesis.heal"},
        call("invoke", "network.request"),
        call("invoke", "leases.acquire"),
        call("invoke", "memory.read"),
        call("invoke", "model.complete"),
        call("invoke", "wasm.ticket"),
        call("invoke", "tools.refund"),
        call("invoke", "tools.ship.lookup"),
        {"f": "process.start", "process": "west-1", "value": {"region": "west"}},
    )
    shown = skeleton(view, CONTRACT, NO_MASK)
    assert lanes_of(shown) == [
        *("process.east-1", "process.west-1", "tools.ship", "tools.refund", "wasm.ticket"),
        *("model", "memory", "leases", "network", "lab"),
    ]
    assert [lane["kind"] for lane in shown["lanes"]] == [
        *("process", "process", "tool", "tool", "wasm"),
        *("model", "memory", "leases", "network", "lab"),
    ]
    assert [lane["region"] for lane in shown["lanes"][:2]] == ["", "west"]
    assert shown["lanes"][2]["label"] == "ship"
    assert at(shown, "lane")[0] == "lab"
    assert at(shown, "peer")[1:8] == [
        *("network", "leases", "memory", "model", "wasm.ticket", "tools.refund", "tools.ship")
    ]


def test_every_column_is_as_long_as_the_history() -> None:
    view = history(*(call("invoke", "tools.refund", marker=f"o-{i}") for i in range(7)))
    shown = skeleton(view, CONTRACT, NO_MASK)
    columns = {k: v for k, v in shown.items() if k not in ("ops", "strings", "lanes", "block")}
    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(columns, 7)
    assert shown["ops"] == 7 and shown["block"] == BLOCK
    assert shown["t_us"] == [0, *[1000] * 6]
    assert words(shown, "marker") == [f"o-{i}" for i in range(7)]
    assert shown["task"] == shown["key"] == shown["label"] == [-1] * 7


def test_what_a_killed_process_asked_stays_its_own() -> None:
    view = history(
        call("invoke", "tools.refund", process="east-1"),
        {"f": "process.kill", "process": "east-1", "value": {"why": "crash"}},
        {"f": "process.start", "process": "east-2"},
        call("info", "tools.refund", process="", call=0, value={"error": "killed"}),
        {"type": "commit", "f": "tools.refund", "call": 0, "value": {"ref": "r#1"}},
    )
    shown = skeleton(view, CONTRACT, NO_MASK)
    assert at(shown, "lane")[3:] == ["process.east-1", "tools.refund"]
    assert at(shown, "peer")[3:] == ["tools.refund", "process.east-1"]
    assert words(shown, "label") == ["", "crash", "", "killed", "r#1"]
    # There is no nameless process: the answer has an owner.
    assert lanes_of(shown)[:2] == ["process.east-1", "process.east-2"]


def test_who_asked_without_a_name_has_a_lane_and_a_foreign_commit_has_no_asker() -> None:
    view = history(
        call("invoke", "tools.refund", process=""),
        {"type": "commit", "f": "tools.refund", "value": {"ref": "r#1"}},
        {"type": "ok", "f": "tools.refund", "call": 99},
    )
    shown = skeleton(view, CONTRACT, NO_MASK)
    assert shown["lanes"][0]["label"] == "the agent" and at(shown, "lane")[0] == "process."
    assert at(shown, "lane")[1] == "tools.refund" and at(shown, "peer")[1] == ""
    assert at(shown, "lane")[2] == "lab"
    assert shown["call"] == [-1, -1, -1]  # 99 is no entry of this history


def test_memory_has_a_lane_for_each_region_that_commits() -> None:
    west = {"id": "a", "region": "west", "version": [1, 2]}
    view = history(
        {"f": "process.start", "process": "east-1", "value": {"region": "east"}},
        call("invoke", "memory.write"),
        call("commit", "memory.write", call=1, value={**west, "region": "east"}),
        call("invoke", "memory.write"),
        call("commit", "memory.write", call=3, value=west),
        call("invoke", "memory.read"),
        call("ok", "memory.read", call=5, value={"found": False, "region": "west"}),
        call("invoke", "memory.scan"),
    )
    shown = skeleton(view, CONTRACT, NO_MASK)
    assert lanes_of(shown)[1:3] == ["memory.east", "memory.west"]
    assert shown["lanes"][2]["region"] == "west"
    assert [at(shown, "peer")[i] for i in (1, 3, 5, 6, 7)] == [
        *("memory.east", "memory.west", "memory.west", "memory.west", "memory.east")
    ]
    assert at(shown, "lane")[4] == "memory.west"


def test_an_instance_belongs_to_its_module() -> None:
    view = history(
        call("invoke", "wasm.instantiate", value={"module": "ticket"}),
        call("ok", "wasm.instantiate", call=0, value={"instance": "i-1", "module": "ticket"}),
        call("event", "wasm.poisoned", value={"instance": "i-1", "reason": "panic"}),
        call("event", "wasm.retired", value={"instance": "unheard of"}),
    )
    shown = skeleton(view, CONTRACT, NO_MASK)
    assert at(shown, "peer")[:2] == ["wasm.ticket"] * 2
    assert at(shown, "lane")[2:] == ["wasm.ticket", "lab"]


def test_labels_are_short_and_say_what_an_entry_brought() -> None:
    def label(kind: Any, f: str, value: Any) -> str:
        return label_of(Op(index=0, time_ns=0, type=kind, f=f, value=value))

    assert label("event", "nemesis.strike", {"kind": "trap", "phase": "mid-write", "mode": "loop"})
    assert label("event", "task.outcome", {"status": "completed"}) == "completed"
    assert label("event", "region.promote", {"region": "west", "lost": [1]}) == (
        "west, 1 write lost"
    )
    assert label("ok", "model.complete", {"tool_calls": [{"name": "refund"}]}) == "calls refund"
    assert label("ok", "wasm.ticket", {"output": {"ref": "t#1"}}) == "t#1"
    assert label("event", "tools.refund", {"absorbed": "r#1"}) == "repeat of r#1"
    assert label("invoke", "network.request", {"method": "GET", "url": "u"}) == "GET u"
    assert label("invoke", "tools.refund", {"args": {}}) == ""
    # What a foreign agent writes there may be anything.
    for odd in (None, "text", [1], {"error": {"a": 1}}, {"tool_calls": "x", "items": 3}):
        assert isinstance(label("info", "tools.refund", odd), str)
        assert isinstance(label("ok", "model.complete", odd), str)
    long = history({"f": "report.log", "process": "p", "value": {"text": "x" * 500}})
    [shown] = words(skeleton(long, CONTRACT, NO_MASK), "label")
    assert len(shown) == LABEL_MAX and shown.endswith("…")


def test_hostile_words_are_spelled_out_everywhere() -> None:
    bad = "a\u202eb\x1b[2J\n</script>"
    view = history(
        {"f": f"tools.{bad}", "type": "invoke", "process": bad, "session": bad, "task": bad}
        | {"marker": bad, "key": bad, "value": {bad: [bad]}},
        {"f": "report.log", "process": bad, "value": {"text": bad}},
    )
    text = json.dumps(skeleton(view, CONTRACT, NO_MASK), ensure_ascii=False)
    text += json.dumps(list(value_blocks(view, NO_MASK)), ensure_ascii=False)
    assert "\u202e" not in text and "\\u001b" not in text
    assert "\\\\u202e" in text and "</script>" in text  # the words are there, and are harmless


def test_the_mask_reaches_words_labels_and_values() -> None:
    contract = Contract(attributes={"iban": Attribute(name="iban")})
    iban = "DE02 1203 0000 4711"
    view = history(
        {"f": "task.submit", "session": "s1", "value": {"data": {"iban": iban}}},
        {"type": "invoke", "f": "tools.pay", "process": "p", "key": f"pay-{iban}"},
        {"f": "report.log", "process": "p", "value": {"text": "x" * 50 + f" to {iban}"}},
        {"f": "report.log", "process": "p", "value": {"fields": {iban: [{"to": iban}]}}},
    )
    mask = mask_of(contract, [view])
    shown = json.dumps([skeleton(view, contract, mask), list(value_blocks(view, mask))])
    assert "4711" not in shown and "1203" not in shown
    assert json.dumps("‹iban of s1›")[1:-1] in shown
    open_ = json.dumps([skeleton(view, contract, NO_MASK), list(value_blocks(view, NO_MASK))])
    assert "4711" in open_


def test_masked_values_are_what_the_mask_makes_of_each() -> None:
    """The blocks take short cuts; none of them may change what comes out."""
    mask = Mask({"Elm Street 5": "‹address›", "12345678901": "‹phone›"})
    part = {"street": "Elm Street 5", "n": [1, True, None, {"password": "hunter22"}]}
    values: list[Any] = [None, 7, "Elm Street 5", part, {"a": part, "b": [part, "x\ny"]}]
    values += [{"phone": 12345678901, "same": part}, [[], {}, ""], {"Elm Street 5": 1}]
    view = history(*({"value": value} for value in values))
    [block] = value_blocks(view, mask)
    assert block == [mask.json(value) for value in values]
    assert "hunter22" not in json.dumps(block)


def test_two_words_that_look_alike_under_the_mask_stay_two() -> None:
    mask = Mask({"first-secret": "‹secret›", "other-secret": "‹secret›"})
    view = history(
        call("invoke", "tools.pay", key="first-secret"),
        call("invoke", "tools.pay", key="other-secret"),
    )
    shown = skeleton(view, CONTRACT, mask)
    assert words(shown, "key") == ["‹secret›", "‹secret›"]
    assert shown["key"][0] != shown["key"][1]


def test_values_come_in_blocks_and_numbers_survive_the_browser() -> None:
    view = history(*({"value": {"n": 2**60 if i == BLOCK else i}} for i in range(BLOCK + 1)))
    first, second = value_blocks(view, NO_MASK)
    assert len(first) == BLOCK and first[5] == {"n": 5}
    assert second == [{"n": str(2**60)}]
    assert [len(b) for b in value_blocks(view, Mask({"abcd": "x"}))] == [BLOCK, 1]
    assert browser_safe([True, -(2**53), float("nan"), 0.5]) == [True, str(-(2**53)), "nan", 0.5]


def test_a_history_without_entries_is_drawn_as_an_empty_one() -> None:
    shown = skeleton(View(()), CONTRACT, NO_MASK)
    assert shown["ops"] == 0 and lanes_of(shown) == ["lab"] and shown["type"] == ""
