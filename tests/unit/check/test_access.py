"""memory.access: attributes, the places for them, and that their values are never shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import CONTRACT, History, check, evidence

from chaoslab.check import because
from chaoslab.check.sentences import sentence
from chaoslab.check.tokens import attributes_in, masked, scan
from chaoslab.contract import Attribute, Contract

ACCESS = "memory.access"
SECRET = "DE00 0000 0000 12345678 00"
IBAN = f"{SECRET} attr-iban:cnry-s1-0123abcd"


def contract(*allowed: str) -> Contract:
    return replace(CONTRACT, attributes={"iban": Attribute(name="iban", allowed=allowed)})


def leaks(h: History, *allowed: str) -> list[tuple[str, str, str]]:
    found = check(ACCESS, h.end(), contract=contract(*allowed))
    assert {v.code for v in found.violations} <= {"attribute-leaked"}
    return [(v.anomaly, v.tool, v.subject) for v in found.violations]


def send(h: History, place: str, value: Any = IBAN) -> None:
    if place == "answer":
        h.outcome("s1-t1", answer={"account": value})
    elif place == "log":
        h.event("report.log", {"text": "x", "fields": {"a": value}}, session="s1", task="s1-t1")
    elif place == "report":
        h.event("report.transition", {"state": "active", "why": value}, session="s1")
    elif place == "model":
        h.invoke("model.complete", {"messages": [{"content": value}], "extends": 0}, "s1-t1")
    elif place == "network":
        h.invoke("network.request", {"method": "GET", "url": f"http://x/?a={value}"}, "s1-t1")
    elif place.startswith("memory:"):
        h.invoke("memory.write", {"id": place[7:], "value": [value]}, "s1-t1")
    else:
        h.invoke(place, {"args": {"account": value}}, "s1-t1")


@pytest.mark.parametrize(
    ("place", "kind", "tool"),
    [
        ("model", "model", ""),
        ("network", "network", ""),
        ("log", "log", ""),
        ("report", "report", ""),
        ("answer", "answer", ""),
        ("tools.credit", "tools", "credit"),
        ("wasm.ticket", "wasm", "ticket"),
        ("memory:task/s1-t1", "memory", ""),
    ],
)
def test_each_place(place: str, kind: str, tool: str) -> None:
    group = "memory:task" if kind == "memory" else place
    h = History().submit("s1-t1", iban=IBAN)
    send(h, place)
    send(h, place)
    assert leaks(h) == [(kind, tool, f"iban into {group}")]
    assert leaks(h, "memory:task/" if kind == "memory" else place) == []
    found = check(ACCESS, h, contract=contract("memory:attr/")).violations[0]
    assert found.witness == (0, 1)
    assert found.explanation.startswith("the iban of s1 was ")
    assert found.explanation.endswith("; it may go to memory:attr/ only")


def test_what_is_said_of_it() -> None:
    h = History()
    send(h, "tools.credit")
    send(h, "memory:task/1")
    h.event("report.log", {"text": IBAN})
    found = check(ACCESS, h.end(), contract=contract("model")).violations
    assert [(v.explanation, v.witness) for v in found] == [
        ("the iban of s1 was sent to credit for s1-t1; it may go to model only", (0,)),
        ("the iban of s1 was written to task/1 for s1-t1; it may go to model only", (0, 1)),
        ("the iban of s1 was sent to the log; it may go to model only", (0, 2)),
    ]


def test_no_promise_and_no_attribute() -> None:
    h = History()
    send(h, "log")
    assert check(ACCESS, h.end()).verdict == "not-applicable"
    other = replace(CONTRACT, attributes={"phone": Attribute(name="phone")})
    assert check(ACCESS, h, contract=other).verdict == "not-applicable"
    assert check(ACCESS, h, contract=contract()).violations[0].explanation.endswith("go nowhere")


def test_a_request_that_brings_it_is_enough_to_look_at() -> None:
    found = check(ACCESS, History().submit("s1-t1", iban=IBAN).end(), contract=contract())
    assert (found.verdict, found.looked_at) == ("valid", 1)


def test_reading_and_what_the_lab_records_are_no_use() -> None:
    h = History().submit("s1-t1", iban=IBAN)
    h.ok(h.invoke("memory.read", {"id": IBAN}, "s1-t1"), value=IBAN)
    h.invoke("memory.scan", {"prefix": IBAN}, "s1-t1")
    h.ok(h.invoke("model.complete", {"messages": []}, "s1-t1"), text=IBAN)
    h.event("final.memory", {"items": [IBAN]}).event("wasm.poisoned", {"reason": IBAN})
    h.add("commit", "tools.credit", {"args": IBAN})
    h.add("commit", "memory.write", {"id": "x", "value": IBAN})
    assert leaks(h) == []


def test_of_a_group_each_item_is_a_place() -> None:
    h = History()
    h.write_many({"attr/s1": IBAN, "task/s1-t1": "x"}, task="s1-t1")
    assert leaks(h, "memory:attr/") == []
    h.write_many({"attr/s1": "x", "task/s1-t1": {"deep": [IBAN]}}, task="s1-t1")
    assert leaks(h, "memory:attr/") == [("memory", "", "iban into memory:task")]


def test_an_item_named_after_it_is_a_write_of_it() -> None:
    h = History()
    h.invoke("memory.write", {"id": f"by/{IBAN}", "value": 1}, "s1-t1")
    found = check(ACCESS, h.end(), contract=contract("memory:attr/"))
    assert [v.subject for v in found.violations] == ["iban into memory:by"]
    assert SECRET not in found.violations[0].explanation


def test_a_look_up_is_the_same_place_as_its_tool() -> None:
    h = History()
    h.invoke("tools.credit.lookup", {"lookup": True, "args": IBAN}, "s1-t1", marker="o-1")
    assert leaks(h, "tools.credit") == []
    assert leaks(h, "tools.refund") == [("tools", "credit", "iban into tools.credit")]


def test_keys_and_intents_carry_it_too() -> None:
    h = History()
    h.ask("refund", "o-1", key=IBAN)
    assert leaks(h) == [("tools", "refund", "iban into tools.refund")]


def test_another_attribute_and_another_port() -> None:
    h = History()
    h.ask("refund", "o-1", args="attr-phone:cnry-s1-0123abcd")
    h.invoke("leases.acquire", {"session": IBAN}, "s1-t1")
    assert leaks(h, "tools.ship") == [("leases", "", "iban into leases.acquire")]


# -- tokens, and what people see


def test_an_attribute_is_a_canary_too() -> None:
    (seen,) = scan(History().submit("s1-t1", a=IBAN, b="[g:r:p]").view())
    assert seen.attributes == [("attr-iban:cnry-s1-0123abcd", "iban", "s1")]
    assert (seen.canaries, seen.marks) == ([("cnry-s1-0123abcd", "s1")], [("g", "r", "p")])
    assert attributes_in("attr-Iban:cnry-s1-0123abcd attr-iban:s1") == []


def test_masked() -> None:
    both = f"{IBAN} and attr-phone:cnry-s-2-89abcdef"
    assert masked(both) == "(text with the iban of s1 and the phone of s-2)"
    assert masked("attr-iban is set") == "attr-iban is set"


def test_no_sentence_shows_a_value() -> None:
    h = History().submit("s1-t1", iban=IBAN, prompt=IBAN)
    for place in ("model", "network", "log", "report", "answer", "tools.credit", "wasm.ticket"):
        send(h, place)
    send(h, "memory:x")
    h.write(f"{IBAN}/x", IBAN, task="s1-t1")
    h.read(IBAN, version=[1, 1])
    call = h.ask("refund", IBAN, key=IBAN, args=IBAN)
    h.ok(call, h.commit(call, ref=f"refund:{IBAN}"))
    h.ok(h.wasm("i1", account=IBAN), output=IBAN)
    h.ok(h.invoke("network.request", {"url": "http://x"}), headers={"location": f"/{IBAN}"})
    h.event("process.recovers", {"tasks": [IBAN]}, process="p1")
    for op in h.ops:
        text = sentence(op, h.ops)
        assert SECRET not in text and "0123abcd" not in text and SECRET[:9] not in text, text
    found = evidence(h, contract=contract())
    for violation in check(ACCESS, h, contract=contract()).violations:
        story = "\n".join(because(found.history, violation))
        assert "the iban of s1" in story and "0000" not in story
