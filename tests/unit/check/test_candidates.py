"""Keys that nobody passed: what a key could have been made of, scored by what was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.check.builder import History

from chaoslab.check.candidates import Candidate, KeyAdvice, candidates, words
from chaoslab.contract import Contract, ToolContract

REFUND = ToolContract(
    name="refund",
    match="POST billing/v1/refunds",
    identity_fields=("body.order_id",),
    key_at="header:Idempotency-Key",
)
PAY = ToolContract(name="pay", identity_fields=("order",), keys=True)
MAIL = ToolContract(name="mail", match="mcp crm/mail")  # no identity fields
CONTRACT = Contract(tools={t.name: t for t in (REFUND, PAY, MAIL)})

USER = {"role": "user", "content": "please"}


def think(
    h: History,
    *calls: tuple[str, str, dict[str, Any]],
    results: int = 0,
    task: str = "s1-t1",
    process: str = "p1",
    extends: int = 0,
) -> int:
    """The model is asked with so many tool results in the (new part of the) transcript, and gives
    out tool calls (id, name, args). Answers with the number of its answer."""
    messages = [] if extends else [USER]
    messages += [{"role": "tool", "id": f"r{n}", "content": "done"} for n in range(results)]
    value = {"messages": messages, "extends": extends, "tools": []}
    ask = h.invoke("model.complete", value, task, process, marker="turn")
    given = [{"id": i, "name": name, "args": args} for i, name, args in calls]
    return h.ok(ask, text="", tool_calls=given, finish="tool-calls")


def order(name: str) -> dict[str, Any]:
    return {"order": name}


def pay(h: History, marker: str, answer: str = "ok", key: str | None = None, **where: Any) -> int:
    call = h.ask("pay", marker, key=key, **where)
    if answer:
        getattr(h, answer)(call)
    return call


def only(*histories: History, tool: str = "pay") -> KeyAdvice:
    (found,) = (a for a in candidates([h.view() for h in histories], CONTRACT) if a.tool == tool)
    return found


def scored(advice: KeyAdvice) -> dict[str, str]:
    return {c.kind: c.verdict for c in advice.candidates}


def of(advice: KeyAdvice, kind: str) -> Candidate:
    (found,) = (c for c in advice.candidates if c.kind == kind)
    return found


def test_a_tool_that_always_had_a_key_needs_no_advice() -> None:
    h = History().submit("s1-t1")
    pay(h, "o-1", key="k")
    h.invoke("tools.pay.lookup", {"args": {}, "lookup": True}, "s1-t1", marker="o-1")
    assert candidates([h.view()], CONTRACT) == ()
    assert candidates([], CONTRACT) == ()


def test_one_bare_call_among_keyed_ones_is_enough() -> None:
    h = History().submit("s1-t1")
    pay(h, "o-1", key="k")
    pay(h, "o-2")
    assert (only(h).calls, only(h).bare) == (2, 1)


def test_asked_once_everything_is_untested_and_it_says_so() -> None:
    h = History().submit("s1-t1")
    think(h, ("call_1", "pay", order("o-1")))
    pay(h, "o-1")
    advice = only(h, h, h)  # the repetitions try it once each as well
    assert set(scored(advice).values()) == {"untested"}
    assert advice.best == advice.add == ""
    assert "only one try of every action was seen" in words(advice)


def test_a_retry_of_the_same_tool_call_keeps_every_candidate() -> None:
    h = History().submit("s1-t1")
    think(h, ("call_1", "pay", order("o-1")))
    pay(h, "o-1", "info")
    pay(h, "o-1")
    assert set(scored(only(h)).values()) == {"stable"}


def test_a_model_that_is_asked_again_gives_a_fresh_call_id() -> None:
    h = History().start("p1").submit("s1-t1")
    think(h, ("call_1", "pay", order("o-1")))
    first = pay(h, "o-1", "")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    think(h, ("call_2", "pay", order("o-1")), process="p2")
    second = pay(h, "o-1", process="p2")
    advice = only(h)
    assert scored(advice) == {"call-id": "unstable", "step": "stable", "identity": "stable"}
    call_id = of(advice, "call-id")
    assert (call_id.changed, call_id.changed_in) == ((first, second), (0, 0))
    assert call_id.collided == ()


def test_a_framework_that_resumes_from_its_checkpoint_keeps_the_call_id() -> None:
    """The new process never asks the model: what it carries out is the stored answer."""
    h = History().start("p1").submit("s1-t1")
    think(h, ("call_1", "pay", order("o-1")))
    pay(h, "o-1", "")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    pay(h, "o-1", process="p2")
    assert scored(only(h)) == {"call-id": "stable", "step": "stable", "identity": "stable"}


def test_parallel_tool_calls_share_their_step() -> None:
    h = History().submit("s1-t1")
    think(h, ("a", "pay", order("o-1")), ("b", "pay", order("o-2")))
    one, two = pay(h, "o-1", "info"), pay(h, "o-2")
    pay(h, "o-1")
    advice = only(h)
    assert scored(advice) == {"call-id": "stable", "step": "unstable", "identity": "stable"}
    assert of(advice, "step").collided == (one, two)


def test_parallel_calls_of_two_tools_are_no_collision() -> None:
    h = History().submit("s1-t1")
    think(h, ("a", "pay", order("o-1")), ("b", "mail", order("o-1")))
    pay(h, "o-1", "info")
    h.ok(h.ask("mail", "x", args=order("o-1")))
    pay(h, "o-1")
    assert scored(only(h))["step"] == "stable"


def test_a_step_id_shifts_where_recovery_skips_what_was_done() -> None:
    h = History().start("p1").submit("s1-t1")
    think(h, ("a", "pay", order("o-1")))
    one = pay(h, "o-1")
    think(h, ("b", "pay", order("o-2")), results=1, extends=1)
    two = pay(h, "o-2", "")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    think(h, ("c", "pay", order("o-2")), process="p2")  # a transcript of its own, from nothing
    again = pay(h, "o-2", process="p2")
    step = of(only(h), "step")
    assert (step.verdict, step.changed, step.collided) == ("unstable", (two, again), (one, again))


def test_without_a_model_the_actions_of_a_process_are_counted() -> None:
    def run(skips: bool) -> dict[str, str]:
        h = History().start("p1").submit("s1-t1")
        pay(h, "o-1")
        pay(h, "o-2", "")
        h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
        if not skips:
            pay(h, "o-1", process="p2")
        pay(h, "o-2", process="p2")
        return scored(only(h))

    assert run(skips=False) == {"call-id": "untested", "step": "stable", "identity": "stable"}
    assert run(skips=True)["step"] == "unstable"


def test_the_transcript_is_put_together_from_its_pieces() -> None:
    """The same step, told once as a suffix and once, after the restart, as a whole."""
    h = History().start("p1").submit("s1-t1")
    think(h, ("a", "pay", order("o-1")))
    pay(h, "o-1")
    think(h, ("b", "pay", order("o-2")), results=1, extends=1)
    pay(h, "o-2", "")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    think(h, ("c", "pay", order("o-2")), results=1, process="p2")
    pay(h, "o-2", process="p2")
    assert scored(only(h))["step"] == "stable"


def _wanted_twice(h: History, first: str, second: str, *, struck: bool = False) -> History:
    think(h, (first, "pay", order("o-1")))
    call = pay(h, "o-1", "info" if struck else "ok")
    if struck:
        h.strike(call, "silence", "after-commit")
        pay(h, "o-1")
    think(h, (second, "pay", order("o-1")), results=1, extends=1)
    pay(h, "o-1")
    return h


def test_the_same_thing_wanted_twice_is_no_retry() -> None:
    """Two refunds of one order in one task: the identity cannot tell them apart, the step can."""
    control = _wanted_twice(History().submit("s1-t1"), "a", "b")
    fault = _wanted_twice(History().submit("s1-t1"), "a", "b", struck=True)
    advice = only(control, fault)
    assert scored(advice) == {"call-id": "stable", "step": "stable", "identity": "unstable"}
    identity = of(advice, "identity")
    assert len(identity.collided) == 2 and identity.collided_in == (0, 0)
    assert advice.best == "step"
    # The fault-free execution alone tries nothing again, so it proves nothing of the others.
    assert scored(only(control)) == {
        "call-id": "untested",
        "step": "untested",
        "identity": "unstable",
    }


def test_wanted_twice_does_not_excuse_a_third_value() -> None:
    control = _wanted_twice(History().submit("s1-t1"), "a", "b")
    fault = History().start("p1").submit("s1-t1")
    think(fault, ("a", "pay", order("o-1")))
    fault.strike(pay(fault, "o-1", ""), "crash", "after-commit")
    fault.kill("p1").start("p2")
    _wanted_twice(fault, "c", "b")
    assert of(only(control, fault), "call-id").verdict == "unstable"


def test_twice_in_one_answer_gives_two_ids() -> None:
    control = History().submit("s1-t1")
    think(control, ("a", "pay", order("o-1")), ("b", "pay", order("o-1")))
    pay(control, "o-1")
    pay(control, "o-1")
    fault = History().submit("s1-t1")
    think(fault, ("a", "pay", order("o-1")), ("b", "pay", order("o-1")))
    fault.strike(pay(fault, "o-1", "info"), "silence", "after-commit")
    pay(fault, "o-1")
    pay(fault, "o-1")
    advice = only(control, fault)
    assert scored(advice) == {"call-id": "stable", "step": "unstable", "identity": "unstable"}


def _mailed(h: History, text: str, call: str, answer: str, **where: Any) -> int:
    think(h, (call, "mail", {"text": text}), **where)
    asked = h.ask("mail", f"digest of {text}", args={"text": text}, **where)
    getattr(h, answer)(asked)
    return asked


def test_a_reworded_retry_shows_that_the_wording_is_no_identity() -> None:
    control = History().submit("s1-t1")
    _mailed(control, "Hello Ada", "a", "ok")
    fault = History().start("p1").submit("s1-t1")
    first = _mailed(fault, "Hello Ada", "a", "info")
    fault.strike(first, "silence", "after-commit").kill("p1").start("p2")
    second = _mailed(fault, "Dear Ada", "b", "ok", process="p2")
    advice = only(control, fault, tool="mail")
    assert scored(advice) == {"call-id": "unstable", "step": "stable", "identity": "unstable"}
    assert of(advice, "identity").changed[1:] == (second,)
    assert "_meta" in advice.add


def test_the_wording_alone_proves_nothing_of_itself() -> None:
    """No fault-free execution says how often the mail was wanted."""
    h = History().submit("s1-t1")
    _mailed(h, "Hello Ada", "a", "info")
    h.ok(h.ask("mail", "digest of Hello Ada", args={"text": "Hello Ada"}))
    advice = only(h, tool="mail")
    assert scored(advice) == {"call-id": "stable", "step": "stable", "identity": "untested"}


def test_the_same_words_in_two_tasks_of_a_session_are_two_actions() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    one = h.ask("mail", "w", args={"text": "hi"}, task="s1-t1")
    two = h.ask("mail", "w", args={"text": "hi"}, task="s1-t2")
    assert of(only(h, tool="mail"), "identity").collided == (one, two)
    # With identity fields the contract says that it is one action, whoever asks.
    h = History().submit("s1-t1").submit("s1-t2")
    pay(h, "o-1", task="s1-t1")
    pay(h, "o-1", task="s1-t2")
    assert of(only(h), "identity").collided == ()


def test_the_tool_may_be_called_otherwise_in_the_model() -> None:
    h = History().submit("s1-t1")
    think(h, ("a", "refund_order", {"order_id": 7001, "why": "broken"}))
    for answer in ("info", "ok"):
        args = {"method": "POST", "body": {"order_id": 7001, "amount": 5}}
        getattr(h, answer)(h.ask("refund", "7001", args=args))
    advice = only(h, tool="refund")
    assert scored(advice)["call-id"] == "stable"
    # Another order in the model's call is another action: nothing gives this request an id.
    h = History().submit("s1-t1")
    think(h, ("a", "refund_order", {"order_id": 7002}))
    h.ask("refund", "7001", args={"body": {"order_id": 7001}})
    assert of(only(h, tool="refund"), "call-id").reason == "nothing on record tells it"


def test_a_value_that_is_another_one_in_each_repetition_is_no_change() -> None:
    one, two = History().submit("s1-t1"), History().submit("s1-t1")
    for h, call in ((one, "a"), (two, "b")):
        think(h, (call, "pay", order("o-1")))
        pay(h, "o-1")
    call_id = of(only(one, two), "call-id")
    assert (call_id.verdict, call_id.changed_in) == ("untested", ())


def test_a_request_of_no_known_task_tells_neither_call_nor_step() -> None:
    h = History()
    think(h, ("a", "pay", order("o-1")), task="")
    pay(h, "o-1", "info", task="")
    pay(h, "o-1", task="")
    assert scored(only(h)) == {"call-id": "untested", "step": "untested", "identity": "stable"}


def test_words_and_json() -> None:
    h = History().start("p1").submit("s1-t1")
    think(h, ("a", "refund", {"order_id": "o-1"}))
    h.ask("refund", "o-1", args={"body": {"order_id": "o-1"}})
    h.kill("p1").start("p2")
    think(h, ("b", "refund", {"order_id": "o-1"}), process="p2")
    h.ok(h.ask("refund", "o-1", args={"body": {"order_id": "o-1"}}, process="p2"))
    advice = only(h, tool="refund")
    assert words(advice) == (
        "2 of 2 calls of refund carried no key: the framework's call id changed for one "
        "action (#4 and #10 of history 1); an id made of task and step would have been stable over "
        "2 tries; session, tool and identity fields would have been stable over 2 tries. What to "
        "add: pass the session, refund and order_id, joined, as Idempotency-Key, and keys = "
        '{ header = "Idempotency-Key" } under [tools.refund], if its service takes keys.'
    )
    plain: Any = advice.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["words"] == words(advice)
    assert plain["candidates"][0]["changed"] == [4, 10]


@pytest.mark.parametrize(
    "value", [None, 7, {"messages": 3, "extends": "x"}, {"messages": [1, None]}]
)
def test_damaged_model_entries_do_no_harm(value: Any) -> None:
    h = History().submit("s1-t1")
    call = h.invoke("model.complete", value, "s1-t1")
    h.add("ok", "model.complete", {"tool_calls": [1, {"args": 3}]}, call=call, task="s1-t1")
    h.add("ok", "model.complete", value, call=-1, task="s1-t1")
    pay(h, "o-1")
    assert set(scored(only(h)).values()) == {"untested"}


def test_a_transcript_that_is_told_anew_counts_from_nothing() -> None:
    """The same process asks once more with the whole conversation, as after a useless answer."""
    h = History().submit("s1-t1")
    think(h, ("a", "pay", order("o-1")))
    pay(h, "o-1")
    think(h, ("b", "pay", order("o-2")), results=1, extends=1)
    pay(h, "o-2", "info")
    think(h, ("c", "pay", order("o-2")), results=1)
    pay(h, "o-2")
    assert scored(only(h)) == {"call-id": "unstable", "step": "stable", "identity": "stable"}


def test_a_retry_without_any_fault_of_the_labs_is_no_second_wish() -> None:
    control = History().submit("s1-t1")
    think(control, ("a", "pay", order("o-1")))
    pay(control, "o-1", "info")  # the service itself was slow
    pay(control, "o-1")
    think(control, ("b", "pay", order("o-1")), results=1, extends=1)
    pay(control, "o-1")
    assert scored(only(control))["step"] == "stable"
