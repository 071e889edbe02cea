"""`memory.linearizable`: by hand, and against an oracle that tries everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.unit.check.register import Record, explained, histories

from chaoslab.check import Evidence, Violation, because
from chaoslab.check.linearizable import CHECK, calls_of
from chaoslab.check.linearizable_rows import NEVER, Call
from chaoslab.check.linearizable_search import by_search, decide
from chaoslab.contract import Contract, Limits
from chaoslab.history import Op, View

# -- by hand


def test_a_store_that_tells_its_own_order_is_not_asked() -> None:
    r = Record()
    call = r.ask("write", value="A")
    r.add("commit", "memory.write", {"id": "cart", "value": "A", "version": [1, 1]}, call=call)
    r.end(call, version=[1, 1])
    r.read(None)
    assert (r.judged().verdict, r.judged().reason) == (
        "not-applicable",
        "the order of the store is on record",
    )
    assert Record().judged().verdict == "not-applicable"


def test_one_after_the_other() -> None:
    r = Record()
    r.read(None)
    r.write("A")
    r.read("A")
    r.write("B")
    r.read("B")
    assert (r.judged().verdict, r.judged().looked_at) == ("valid", 5)


def test_calls_under_way_may_take_place_in_either_order() -> None:
    r = Record()
    a, b = r.ask("write", value="A"), r.ask("write", "p2", value="B")
    first = r.ask("read", "p3")
    r.saw(first, "B")
    r.end(b)
    r.end(a)
    r.read("A")
    assert r.judged().verdict == "valid"


@pytest.mark.parametrize("answer", ["info", None])
def test_a_write_without_an_answer_may_take_place_late_or_never(answer: Any) -> None:
    for late in ("A", "B"):
        r = Record()
        lost = r.ask("write", value="A")
        if answer:
            r.end(lost, answer, error="deadline")
        r.write("B", "p2")
        r.read("B")
        r.read(late)
        assert r.judged().verdict == "valid"


def test_a_refused_write_did_nothing_and_proves_nothing() -> None:
    r = Record()
    r.write("A")
    r.end(r.ask("write", "p2", value="B", expect=None), "fail", error="conflict")
    r.end(r.ask("write", "p2", value="C", expect=[1, 1]), "fail", error="conflict")
    r.read("A")
    assert r.judged().verdict == "valid"
    r.read("B")
    found = r.broken()
    assert found.anomaly == "read-of-nothing"
    assert found.explanation == "p2 read B from cart, which nobody had asked to write"


def test_replicas_and_scans_promise_nothing() -> None:
    r = Record()
    r.write("A")
    r.saw(r.ask("read", "p2", at="replica"), None)
    r.end(r.add("invoke", "memory.scan", {"prefix": "", "at": "primary"}), items=[])
    assert (r.judged().verdict, r.judged().looked_at) == ("valid", 1)


@pytest.mark.parametrize("versions", [True, False])
def test_a_stale_read(versions: bool) -> None:
    one, two = ([1, 1], [1, 2]) if versions else (None, None)
    r = Record()
    r.write("A", version=one)
    done = r.write("B", version=two)
    r.read("B", "p3", version=two)
    late = r.read("A", version=one)
    found = r.broken()
    assert found.anomaly == "stale-read"
    assert found.explanation == "p2 read A from cart after B, which had replaced A, was confirmed"
    assert {done, late - 1, late} <= set(found.witness)
    assert len(found.witness) <= 5
    story = because(View(r.ops), found)
    assert any("p2" in line and "reads cart" in line for line in story)


@pytest.mark.parametrize("versions", [True, False])
def test_a_write_that_was_confirmed_and_lost(versions: bool) -> None:
    one, two = ([1, 1], [1, 2]) if versions else (None, None)
    r = Record()
    r.write("A", version=one)
    r.write("B", "p3", version=two)
    r.read("A", version=one)
    assert r.broken().anomaly == "lost-write"
    r = Record()
    r.write("A", version=one)
    r.read(None)
    assert r.broken().anomaly == "lost-write"
    assert r.broken().explanation == "p2 found nothing in cart after A was confirmed"


def test_back_and_forth_without_a_write() -> None:
    r = Record()
    a, b = r.ask("write", value="A"), r.ask("write", "p2", value="B")
    for seen in "ABAB":
        r.read(seen, "p3")
    r.end(a)
    r.end(b)
    found = r.broken()
    assert found.anomaly == "stale-read"
    assert found.explanation == "p3 read B from cart after p3 had read A, which had replaced B"


def test_a_read_before_the_write() -> None:
    r = Record()
    r.read("A")
    r.write("A")
    assert r.broken().explanation == "p2 read A from cart before anybody asked to write it"


def test_versions_tell_more_than_values() -> None:
    r = Record()
    r.write("A", version=[1, 1])
    r.write("A", version=[1, 2])
    r.read("A", version=[1, 1])
    assert r.broken().anomaly == "lost-write"
    r = Record()
    r.write("A", version=[1, 2])
    r.write("B", "p2", version=[1, 1])
    assert r.broken().anomaly == "order"
    assert "version 1.1, although the newer version 1.2" in r.broken().explanation
    r = Record()
    r.write("A", version=[1, 1])
    r.write("B", "p2", version=[1, 1])
    assert r.broken().explanation.endswith("version 1.1, which p1's write of A already had")
    r = Record()
    r.write("A", version=[1, 1])
    r.write("B", version=[1, 2])
    r.read("A", version=[1, 2])
    assert r.broken().explanation == "p2 read A from cart as version 1.2, which is that of B"
    r = Record()
    r.write("A", version=[1, 1])
    r.read("A", version=[1, 2])
    assert r.broken().anomaly == "read-of-nothing"


@pytest.mark.parametrize("versions", [True, False])
def test_two_that_both_created_it(versions: bool) -> None:
    one, two = ([1, 1], [1, 2]) if versions else (None, None)
    r = Record()
    a = r.ask("write", value="A", expect=None)
    b = r.ask("write", "p2", value="B", expect=None)
    r.end(a, version=one)
    r.end(b, version=two)
    assert r.broken().anomaly == "compare-and-set"
    assert r.broken().explanation.endswith("although it existed already")


def test_a_version_replaced_twice() -> None:
    r = Record()
    r.write("A", version=[1, 1])
    r.write("B", "p2", version=[1, 2], expect=[1, 1])
    assert r.judged().verdict == "valid"
    r.write("C", "p3", version=[1, 3], expect=[1, 1])
    assert r.broken().anomaly == "compare-and-set"
    assert r.broken().explanation.startswith("p3 replaced version 1.1 of cart by C")


def test_erasures_and_values_that_repeat() -> None:
    r = Record()
    r.write("A")
    r.erase()
    r.read(None)
    r.write("A")
    r.read("A")
    r.write("B")
    assert r.judged().verdict == "valid"
    r.read("A")
    assert r.broken().anomaly == "lost-write"
    r = Record()
    r.write("A")
    r.erase("p3")
    r.read("A")
    assert r.broken().explanation == "p2 read A from cart after its erasure was confirmed"


def test_the_proof_of_a_search_leaves_out_what_it_does_not_need() -> None:
    r = Record()
    for n in range(20):
        r.write("A" if n % 2 else "B")
        r.read("A" if n % 2 else "B", "p3")
    r.write("C")
    done = r.write("A")
    late = r.read("C")
    found = r.broken()
    assert found.witness == (done - 3, done - 2, done - 1, done, late - 1, late)


def test_a_group_is_one_write_for_each_item() -> None:
    def group(type: str, **value: Any) -> Record:
        r = Record()
        rows = [{"id": "cart", "value": "A"}, {"id": "note", "value": "B"}]
        r.end(r.add("invoke", "memory.write_many", {"writes": rows}, process="p1"), type, **value)
        return r

    r = group("ok", versions=[[1, 1], [1, 2]])
    r.read(None)
    assert r.broken().anomaly == "lost-write"
    r = group("info", error="partial", written=1)
    r.saw(r.ask("read", id="note"), None)
    assert r.judged().verdict == "valid"
    r.read(None)
    assert r.broken().anomaly == "lost-write"
    for type in ("fail", "info"):
        r = group(type)
        r.read(None)
        assert r.judged().verdict == "valid"


def test_what_expires_may_be_gone() -> None:
    for expires_ms, verdict in ((60_002, "valid"), (70_000, "invalid"), (None, "invalid")):
        r = Record()
        r.write("A", expires_ms=expires_ms)
        r.read(None)
        r.write("B", expect=None)
        assert r.judged().verdict == verdict


def test_what_the_lab_delivers_twice_may_take_place_twice() -> None:
    r = Record()
    call = r.ask("write", value="A")
    r.end(call)
    r.write("B")
    r.read("A")
    assert r.judged().verdict == "invalid"
    r.add("event", "nemesis.strike", {"kind": "duplicate"}, call=call)
    assert r.judged().verdict == "valid"


def test_what_the_lab_delivered_twice_may_be_refused_once() -> None:
    r = Record()
    call = r.ask("write", value="A", expect=None)
    r.end(call, "fail", error="conflict")
    r.read("A")
    assert r.judged().verdict == "invalid"
    r.add("event", "nemesis.strike", {"kind": "duplicate"}, call=call)
    assert r.judged().verdict == "valid"


def test_each_epoch_by_itself() -> None:
    r = Record()
    r.write("A", version=[1, 1])
    r.write("B", version=[1, 2])
    early = len(r.ops)
    r.add("event", "region.promote", {"region": "west", "epoch": 2, "lost": []})
    r.read("A", version=[1, 1])  # the failover lost B
    r.write("C", version=[2, 3])
    r.read("C", version=[2, 3])
    assert r.judged().verdict == "valid"
    before = Record()
    before.ops = r.ops[:early]
    before.read("A", version=[1, 1])
    before.add("event", "region.promote", {"region": "west", "epoch": 2, "lost": []})
    assert before.broken().anomaly == "lost-write"
    r.write("D", version=[2, 4])
    r.read("C", version=[2, 3])
    assert r.broken().anomaly == "lost-write"


def test_a_search_that_is_given_up_is_unknown() -> None:
    r = Record()
    r.erase()
    writers = [r.ask("write", f"p{n}", value=f"v{n}") for n in range(24)]
    for call in writers:
        r.end(call)
    r.read(None)
    found = r.judged()
    assert (found.verdict, found.reason) == (
        "unknown",
        "the search for an order of the calls on cart was given up",
    )
    calls = calls_of(View(r.ops))["cart"]
    assert decide(calls, steps=10).decided is False


def test_damage_is_not_judged() -> None:
    r = Record()
    group: dict[str, Any] = {"writes": [None, {}, {"id": []}], "id": None}
    damaged: tuple[Any, ...] = (None, "text", {"id": 7}, group)
    for f in ("memory.write", "memory.write_many", "memory.erase", "memory.read"):
        for value in damaged:
            r.end(r.add("invoke", f, value), versions=7, found=True, version="x")
            r.add("ok", f, "text", call=r.add("invoke", f, value))
    assert r.judged().verdict in ("valid", "not-applicable")


@settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(histories())
def test_the_check_agrees_with_all_orders(ops: list[Op]) -> None:
    agrees(ops)


def agrees(ops: list[Op]) -> bool:
    """The check, and the search alone, say what trying everything says."""
    view = View(ops)
    right = explained(ops)
    found = CHECK(Evidence(history=view, contract=Contract(), limits=Limits()))
    assert found.verdict in (("valid", "not-applicable") if right else ("invalid",)), found
    for calls in calls_of(view).values():
        by_all = by_search(calls)
        assert by_all.decided
        assert (by_all.contradiction is None) == right
    for violation in found.violations:
        assert violation.witness == tuple(sorted(set(violation.witness)))
        assert all(0 <= n < len(ops) for n in violation.witness)
        _proves(ops, violation)
    return right


def _proves(ops: list[Op], violation: Violation) -> None:
    """Without the answers that are not in the witness it is a breach all the same."""
    kept = set(violation.witness)
    calls = {op.call for op in ops if op.index in kept and op.call >= 0}
    weaker = Record()
    moved: dict[int, int] = {}
    for op in ops:
        if op.type == "invoke":
            moved[op.index] = weaker.add("invoke", op.f, op.value, process=op.process)
        elif op.call in calls or op.type == "fail":
            weaker.add(op.type, op.f, op.value, call=moved[op.call], process=op.process)
    assert not explained(weaker.ops), (violation.explanation, violation.witness)


def test_the_oracle_can_say_no() -> None:
    r = Record()
    r.write("A")
    r.write("B")
    assert explained(r.ops)
    r.read("A")
    assert not explained(r.ops)


def test_a_call_is_over_when_it_says_so() -> None:
    calls = [Call(0, NEVER, True, "A"), Call(1, 2, True, "B"), Call(3, 4, False, "A")]
    assert decide(calls).contradiction is None
    assert by_search(calls).contradiction is None
