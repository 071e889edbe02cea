"""Promises of the isolation checks easily lost: what is carried on, and by which instance."""

from typing import Any

import pytest
from tests.unit.check.builder import History, check, codes

from chaoslab.contract import Capacity, Contract

ONE, TWO = "cnry-s1-0123abcd", "cnry-s2-89abcdef"


def two() -> History:
    return History().start("p1").submit("s1-t1", name=ONE).submit("s2-t1", name=TWO)


def test_a_mark_alone_hides_no_crossing() -> None:
    h = two()
    h.ask("audit", "o-1", task="s2-t1", args={"to": "x [home:r1:street]"})
    h.ask("audit", "o-2", task="s2-t1", args={"to": ONE})
    found = check("isolation.sessions", h)
    assert len(found.violations) == 1
    assert found.looked_at == 3


def test_a_group_carries_on_what_stands_in_its_items_only() -> None:
    h = two()
    h.write("journal", ONE, task="s1-t1")
    call = h.write_many({"journal": f"{ONE} {TWO}", "note": "n"}, task="s2-t1")
    h.ok(call)
    assert codes("isolation.sessions", h) == []
    h.write_many({"note": ONE, "other": "n"}, task="s2-t1", first=0)
    (found,) = check("isolation.sessions", h).violations
    assert "was written to note, other for s2" in found.explanation


def test_an_item_without_a_name_is_an_item() -> None:
    h = two()
    for task, text in (("s1-t1", ONE), ("s2-t1", f"{ONE} {TWO}")):
        call = h.invoke("memory.write", {"value": text}, task)
        session = h.ops[call].session
        h.add("commit", "memory.write", {"value": text}, call=call, task=task, session=session)
    assert codes("isolation.sessions", h) == []


def guest(h: History, instance: str | None, task: str, process: str, **more: Any) -> int:
    named = {} if instance is None else {"instance": instance}
    return h.invoke("wasm.ticket", {"export": "open", "args": {}, **named, **more}, task, process)


def trapped(h: History, instance: str | None, task: str, process: str) -> int:
    call = guest(h, instance, task, process)
    named = {} if instance is None else {"instance": instance}
    h.event("wasm.poisoned", named, call=call, session=h.ops[call].session)
    h.info(call, "trap")
    return call


@pytest.mark.parametrize("instance, process", [("i1", "p1"), (None, "p1"), (None, "")])
def test_a_broken_call_explains_what_the_guest_puts_out(instance: str | None, process: str) -> None:
    h = two()
    broken = trapped(h, instance, "s1-t1", process)
    call = guest(h, instance, "s2-t1", process)
    out = h.ok(call, output=f"for {ONE}")
    (found,) = check("isolation.sessions", h).violations
    assert found.witness == (broken, broken + 1, out)
    assert found.explanation.endswith("had broken off in a call for s1 before")
    (again,) = check("isolation.instance", h).violations
    assert again.explanation == f"instance {instance or ''} was called again after it was poisoned"
    assert again.anomaly == "next-session"


@pytest.mark.parametrize("instance, process", [("i2", "p1"), ("i1", "p2")])
def test_another_instance_explains_nothing(instance: str, process: str) -> None:
    h = two()
    trapped(h, "i1", "s1-t1", "p1")
    h.ok(guest(h, instance, "s2-t1", process), output=f"for {ONE}")
    (found,) = check("isolation.sessions", h).violations
    assert "broken off" not in found.explanation
    assert codes("isolation.instance", h) == []


def test_a_poisoning_that_belongs_to_no_call_is_of_the_process_that_it_names() -> None:
    h = two().event("wasm.poisoned", {"instance": "i1"}, process="p1")
    h.event("wasm.poisoned", {"instance": "i2"})
    h.ok(guest(h, "i2", "s2-t1", "p1"))
    assert codes("isolation.instance", h) == []
    h.ok(guest(h, "i1", "s2-t1", "p1"))
    assert codes("isolation.instance", h) == ["poisoned-instance-called"]


def test_a_deferral_that_is_reported_and_recorded_is_one() -> None:
    h = History().submit("s1-t1")
    h.event("report.outcome", {"status": "deferred"}, task="s1-t1", session="s1", process="p1")
    h.outcome("s1-t1", "deferred").end()
    one = Contract(capacity=Capacity(tasks_in_hand_max=1))
    (found,) = check("capacity.defers", h, contract=one).violations
    assert found.explanation == "s1-t1 was deferred 1 time and never done"
