"""What the checks read off the lineage graph and what not; odd corners of the drawing."""

from dataclasses import replace
from typing import Any

from tests.unit.check.builder import CONTRACT, REFUND, History, check, codes

from chaoslab.check.facts import Facts
from chaoslab.check.graph import lineage
from chaoslab.contract import Contract

KEYS, COMPLETE = "keys.lineage", "lineage.complete"
DELIVERY, HONEST = "effects.delivery", "outcome.honest"


def test_a_claim_may_still_come_true_in_a_record_that_was_cut_short() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="k"))
    h.outcome("s1-t1", "completed", ("refund", "o-1"))
    for id in (DELIVERY, HONEST):
        assert (check(id, h).verdict, check(id, h).violations) == ("unknown", ())
    h.end()
    assert codes(DELIVERY, h) == ["missing-effect/claimed"]
    assert codes(HONEST, h) == ["claimed-not-done"]


def test_a_foreign_reference_is_no_missing_effect() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    h.outcome("s1-t1", "completed", ("refund", "o-1", "refund:o-2#1"))
    assert codes(DELIVERY, h.end()) == []
    (found,) = check(HONEST, h).violations
    assert (found.code, found.explanation) == (
        "wrong-ref",
        "s1-t1 names refund:o-2#1 for refund o-1; the ledger has refund:o-1#1",
    )


def test_the_right_reference_is_named_also_where_its_commit_came_after_the_report() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    h.outcome("s1-t1", "completed", ("refund", "o-1", "x"))
    h.commit(call)
    (found,) = check(HONEST, h.end()).violations
    assert found.explanation.endswith("the ledger has refund:o-1#1")


def test_only_promised_tools_are_looked_at() -> None:
    weak = replace(REFUND, name="weak", promise="at-least-once")
    contract = Contract(tools={**CONTRACT.tools, "weak": weak})
    h = History().submit("s1-t1")
    h.done("weak", "o-1")
    h.done("weak", "o-1", key="a")
    h.done("weak", "o-1", key="b")
    assert check(KEYS, h, contract=contract).verdict == "not-applicable"
    h.done("refund", "o-1", key="a")
    found = check(KEYS, h.end(), contract=contract)
    assert (found.verdict, found.looked_at) == ("valid", 1)


def test_what_is_in_order_is_no_violation() -> None:
    h = History().submit("s1-t1")
    h.done("audit", "o-1")
    h.done("audit", "o-1")  # at least once
    h.done("elsewhere", "o-1")  # not in the contract
    ref = h.done("refund", "o-1", key="a")
    h.done("void", ref, undoes=ref)  # undone: nothing to claim, nor is the undoing
    h.outcome("s1-t1", "completed", ("audit", "o-1")).end()
    for id in (KEYS, COMPLETE, DELIVERY, HONEST):
        assert (check(id, h).verdict, codes(id, h)) == ("valid", [])


def drawn(h: History, kind: str) -> list[tuple[str, str]]:
    raw: Any = lineage(Facts(h.view()), CONTRACT).to_json()
    return [(e["from"], e["to"]) for e in raw["edges"] if e["type"] == kind]


def test_an_intent_without_a_key_leads_to_the_next_try() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("notify", "o-1"))
    h.intent("notify", "o-1", "s1-t1")
    again = h.ask("notify", "o-1")
    h.ask("notify", "o-1")
    h.intent("notify", "o-1", "s1-t1")  # followed by nothing
    assert drawn(h, "intent-try") == [("intent:3", f"try:{again}")]


def test_a_claim_leads_from_what_it_names() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    first = h.done("audit", "o-1")
    h.done("audit", "o-1")
    h.outcome("s1-t1", "completed", ("audit", "o-1", first))
    assert drawn(h, "commit-reply") == [("commit:3", "reply:8")]
    h.outcome("s2-t1", "completed", ("audit", "o-1"))
    assert drawn(h, "commit-reply") == [
        ("commit:3", "reply:8"), ("commit:3", "reply:9"), ("commit:6", "reply:9")
    ]  # fmt: skip


def test_a_retry_is_one_of_the_same_task() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    one = h.ask("say", "hello", key="a")
    h.ask("say", "hello", key="b", task="s2-t1")
    two = h.ask("say", "hello", key="a")
    assert drawn(h, "retry-of") == [(f"try:{two}", f"try:{one}")]


def test_a_key_stands_where_it_was_first_used() -> None:
    h = History().submit("s1-t1")
    h.intent("refund", "o-1", "s1-t1")
    early = h.ask("refund", "o-2", key="k")
    h.ask("refund", "o-1", key="k")  # the thread of o-1 began first, but not with this key
    raw: Any = lineage(Facts(h.view()), CONTRACT).to_json()
    assert [n["op"] for n in raw["nodes"] if n["type"] == "key"] == [early]
