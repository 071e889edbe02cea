"""isolation.sessions and isolation.instance."""

from typing import Any

import pytest
from tests.unit.check.builder import History, check, codes

SESSIONS = "isolation.sessions"
INSTANCE = "isolation.instance"
C1, C2 = "cnry-s1-0123abcd", "cnry-s2-89abcdef"


def _start() -> History:
    return History().submit("s1-t1", token=C1).submit("s2-t1", token=C2)


def test_everyone_keeps_their_own() -> None:
    h = _start()
    h.ask("notify", "o-1", args={"to": C1})
    h.ask("notify", "o-2", task="s2-t1", args={"to": C2})
    found = check(SESSIONS, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 4)


def test_no_canary() -> None:
    assert check(SESSIONS, History().submit("s1-t1").end()).verdict == "not-applicable"


def _leak(h: History, port: str, text: Any) -> None:
    if port == "tools":
        h.ask("notify", "o-2", task="s2-t1", args={"nested": [{"to": text}]})
    elif port == "name of a field":
        h.ask("notify", "o-2", task="s2-t1", args={text: 1})
    elif port == "key":
        h.ask("refund", "o-2", key=text, task="s2-t1")
    elif port == "model":
        h.invoke("model.complete", {"messages": [{"content": text}], "extends": 0}, "s2-t1")
    elif port == "memory":
        h.invoke("memory.write", {"id": "x", "value": text}, "s2-t1")
    elif port == "report":
        h.event("report.log", {"text": "t", "fields": {"a": text}}, session="s2")
    elif port == "task":
        h.outcome("s2-t1", answer=text)
    elif port == "wasm":
        h.ok(h.wasm("i1", task="s2-t1"), output={"t": text})


@pytest.mark.parametrize(
    ("port", "anomaly"),
    [(p, p) for p in ("tools", "model", "memory", "report", "task", "wasm")]
    + [("key", "tools"), ("name of a field", "tools")],
)
def test_crossing(port: str, anomaly: str) -> None:
    h = _start()
    _leak(h, port, f"for {C1}, thanks")
    found = check(SESSIONS, h.end())
    assert [(v.code, v.anomaly, v.subject) for v in found.violations] == [
        ("canary-crossed", anomaly, "s1 into s2")
    ]
    assert found.violations[0].witness[0] == 0  # where it belongs
    assert len(found.violations[0].witness) == 2


def test_effect_of_a_guest() -> None:
    h = _start()
    call = h.wasm("i1", "o-2", task="s2-t1")
    h.add(
        "commit",
        "tools.ticket",
        {"ref": "r", "args": {"c": C1}},
        call=call,
        session="s2",
        marker="o-2",
    )
    assert codes(SESSIONS, h.end()) == ["canary-crossed/tools"]


def test_reading_is_not_crossing() -> None:
    h = _start()
    call = h.invoke("memory.scan", {"prefix": ""}, "s2-t1")
    h.ok(call, items=[{"id": "x", "value": C1, "version": [1, 1]}])
    h.ok(h.invoke("model.complete", {"messages": []}, "s2-t1"), text=C1)
    assert codes(SESSIONS, h.end()) == []


def test_a_shared_journal_carries_on_what_stood_in_it() -> None:
    h = _start()
    h.write("journal", [C1], task="s1-t1")
    h.write("journal", [C1, C2], task="s2-t1")
    assert codes(SESSIONS, h.end()) == []
    h.write("other", [C1], task="s2-t1")
    assert codes(SESSIONS, h) == ["canary-crossed/memory"]


def test_work_for_no_session_is_not_judged() -> None:
    h = _start()
    h.ask("notify", "o-1", task="", args={"to": C1})
    assert codes(SESSIONS, h.end()) == []


def test_two_canaries_with_a_dash_between_them() -> None:
    h = _start()
    h.ask("notify", "o-2", task="s2-t1", args=f"{C2}-{C1}")
    assert [v.subject for v in check(SESSIONS, h.end()).violations] == ["s1 into s2"]


def test_a_flood_is_one_line() -> None:
    h = _start()
    for n in range(5):
        h.ask("notify", f"o-{n}", task="s2-t1", args=C1)
    assert len(codes(SESSIONS, h.end())) == 1


# -- instances


def _poisoned(reason: str = "trap") -> History:
    h = History()
    call = h.wasm("i1", "o-1")
    h.event(
        "wasm.poisoned", {"instance": "i1", "reason": reason}, call=call, process="p1", session="s1"
    )
    h.info(call, "trap")
    return h


def test_called_after_poisoning() -> None:
    h = _poisoned()
    again = h.wasm("i1", "o-2", task="s2-t1")
    found = check(INSTANCE, h.end())
    assert [(v.code, v.witness, v.anomaly) for v in found.violations] == [
        ("poisoned-instance-called", (1, again), "next-session")
    ]


def test_replaced_after_poisoning() -> None:
    h = _poisoned()
    h.event("wasm.retired", {"instance": "i1", "reason": "trap"}, process="p1")
    h.ok(h.wasm("i2", "o-1"))
    found = check(INSTANCE, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 2)


def test_retired_but_answers() -> None:
    def after(answer: str) -> list[str]:
        h = History()
        running = h.wasm("i1", "o-0")
        h.event("wasm.retired", {"instance": "i1", "reason": ""}, process="p1")
        h.ok(running)  # it was under way already
        call = h.wasm("i1", "o-1")
        if answer == "ok":
            h.ok(call)
        else:
            h.fail(call, "retired")
        return codes(INSTANCE, h.end())

    assert after("ok") == ["retired-instance-answered"]
    assert after("fail") == []


def test_same_name_in_another_process() -> None:
    h = _poisoned()
    h.invoke("wasm.ticket", {"instance": "i1", "export": "e", "args": {}}, process="p2")
    assert codes(INSTANCE, h.end()) == []


def test_no_wasm() -> None:
    assert check(INSTANCE, History().end()).verdict == "not-applicable"
