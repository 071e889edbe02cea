"""What the graph tells of one action beside the breaches, and which intents it does not miss."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import History, check, codes, evidence

from chaoslab.check.anomalies import Anomaly
from chaoslab.check.facts import Facts
from chaoslab.check.graph import Lineage, lineage


def graph(h: History) -> Lineage:
    one = evidence(h)
    return lineage(one.facts, one.contract)


def only(h: History, kind: Any) -> Anomaly:
    (found,) = graph(h).of(kind)
    return found


def test_an_undoing_tells_what_was_undone_and_by_whom() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    ref = h.done("refund", "o-1", key="k")
    h.done("void", ref, task="s1-t2", args={"ref": ref}, undoes=ref)
    found = only(h, "compensated")
    assert (found.ref, found.task, found.legitimate) == (ref, "s1-t2", True)


@pytest.mark.parametrize("ref, told", [("refund:o-1#1", "refund:o-1#1"), (7, ""), (None, "")])
def test_a_repeat_that_only_the_reply_tells_has_the_reference_of_the_reply(
    ref: Any, told: str
) -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k", task="")
    h.ok(call, absorbed=True)
    h.ops[-1] = replace(h.ops[-1], value={"absorbed": True, "ref": ref})
    assert only(h, "absorbed").ref == told


def test_a_repeat_outside_of_tasks_is_of_the_task_that_meant_it() -> None:
    h = History().submit("s1-t1")
    h.commit(h.ask("refund", "o-1", key="k"))
    h.kill("p1")
    call = h.ask("refund", "o-1", key="k", task="", process="p2")
    h.ok(call, "refund:o-1#1", absorbed=True)
    found = graph(h)
    assert [a.task for a in found.of("absorbed")] == ["s1-t1"]
    assert [one.task for one in found.threads["refund", "o-1"].tries] == ["s1-t1", "s1-t1"]


def test_an_effect_without_a_reference_has_none() -> None:
    h = History()
    h.add("commit", "tools.refund", {}, marker="o-1")
    assert only(h, "orphan-effect").ref == ""


def test_an_effect_is_of_the_task_that_asked_where_two_tasks_did() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    h.done("audit", "o-1", task="s1-t1")
    h.commit(h.ask("audit", "o-1", task="s2-t1"))
    h.ops[-1] = replace(h.ops[-1], task="")
    assert [e.task for e in Facts(h.view()).effects["audit", "o-1"]] == ["s1-t1", "s2-t1"]


@pytest.mark.parametrize("end", ["refused", "done", "by a guest"])
def test_what_was_tried_was_followed_up(end: str) -> None:
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1")
    if end == "by a guest":
        call = h.wasm("i1", "o-7")
        h.commit(call, tool="refund", marker="o-1")
        h.ok(call)
    else:
        call = h.ask("refund", "o-1", key="k")
        if end == "done":
            h.commit(call)
        h.fail(call)
    assert codes("lineage.complete", h.outcome("s1-t1").end()) == []


def test_every_intent_of_an_action_is_looked_at() -> None:
    h = History().submit("s1-t1").submit("s2-t1").submit("s3-t1")
    h.intent("refund", "o-1", "s9-t1")  # nobody's
    h.intent("refund", "o-1", "s1-t1")  # given up
    h.intent("refund", "o-1", "s2-t1", key="k")  # followed under another spelling
    h.done("refund", "order 1", key="k", task="s2-t1")
    h.outcome("s1-t1", "failed").outcome("s2-t1").outcome("s3-t1").end()
    assert codes("lineage.complete", h) == []
    h.intent("refund", "o-1", "s3-t1")
    assert codes("lineage.complete", h) == ["dangling-intent"]


def test_of_a_task_without_an_end_nothing_was_said() -> None:
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1").end()
    (found,) = check("lineage.complete", h).violations
    assert "said nothing of what became of s1-t1" in found.explanation
