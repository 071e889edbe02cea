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


def test_ones_own_token_hides_no_other() -> None:
    h = two()
    h.ask("crm.update", "o-1", task="s2-t1", args={"to": [TWO, ONE]})
    (found,) = check("isolation.sessions", h).violations
    assert (found.tool, found.subject) == ("crm.update", "s1 into s2")


def test_what_the_world_hands_out_is_not_the_agents_doing() -> None:
    h = two().submit("s2-t2", note=ONE)
    h.event("report.log", {"text": TWO}, session="s2")
    assert codes("isolation.sessions", h) == []


def test_what_was_only_asked_for_does_not_stand_there() -> None:
    h = two()
    h.invoke("memory.write", {"id": "journal", "value": ONE}, "s1-t1")
    h.write("journal", f"{ONE} {TWO}", task="s2-t1")
    assert codes("isolation.sessions", h) == ["canary-crossed/memory"]


def test_what_a_guest_is_told_did_not_come_out_of_it() -> None:
    h = two()
    trapped(h, "i1", "s1-t1", "p1")
    guest(h, "i1", "s2-t1", "p1", note=ONE)
    (found,) = check("isolation.sessions", h).violations
    assert "broken off" not in found.explanation


def test_only_a_call_of_the_owner_that_broke_before_explains_it() -> None:
    h = two().submit("s3-t1")
    trapped(h, "i1", "s3-t1", "p1")
    broken = trapped(h, "i1", "s1-t1", "p1")
    out = h.ok(guest(h, "i1", "s2-t1", "p1"), output=ONE)
    trapped(h, "i1", "s1-t1", "p1")
    (found,) = check("isolation.sessions", h).violations
    assert found.witness == (broken, broken + 1, out)


def test_a_resumed_task_is_in_hand_until_it_ends() -> None:
    one = Contract(capacity=Capacity(tasks_in_hand_max=1))
    h = History().submit("s1-t1").submit("s2-t1").kill("p1").start("p2")
    h.event("process.recovers", {"tasks": ["s1-t1", "s2-t1"]}, process="p2")
    h.outcome("s1-t1", process="p2").wait(5_000).outcome("s2-t1", process="p2").end()
    assert codes("capacity.defers", h, contract=one) == []


def test_who_is_put_off_for_ever_is_told_though_others_are_not() -> None:
    one = Contract(capacity=Capacity(tasks_in_hand_max=9))
    h = History().submit("s1-t1").outcome("s1-t1").submit("s2-t1")
    h.event("report.outcome", {"status": "deferred"}, task="s2-t1", session="s2", process="p1")
    h.outcome("s2-t1", "deferred").submit("s3-t1").outcome("s3-t1", "deferred")
    h.submit("s3-t1", delivery=2).wait(2_000).submit("s4-t1").outcome("s4-t1", "deferred").end()
    found = check("capacity.defers", h, contract=one).violations
    assert [v.subject for v in found] == ["s2-t1", "s4-t1"]
