"""Plans: what the model does after an error, several calls in one answer, and other names; all of
it a function of the transcript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.scenario import Step
from chaoslab.world import ModelReply, ToolCall
from chaoslab.world.cast import Script
from chaoslab.world.model import ModelService

PROMPT = "Refund order A-1 now."
REFUND = {"order": "A-1", "reason": "{words}"}
FINE = '{"ref": "r-1"}'
CONFLICT = '{"error": {"code": "conflict", "message": "the key is in flight"}}'

Message = Mapping[str, Any]


def step(tool: str = "refund", on_error: Any = None, **more: Any) -> Step:
    reactions: Any = {"default": on_error} if isinstance(on_error, str) else on_error or {}
    return Step(tool=tool, args=more.pop("args", REFUND), on_error=reactions, **more)


def model(*plan: Step, prompt: str = PROMPT, pattern: str = "", rewords: bool = True) -> Any:
    script = Script(
        task="s1-t1",
        prompt=prompt,
        plan=plan,
        answer="Done.",
        values={"order": "A-1"},
        error_pattern=pattern,
    )
    return ModelService(3, [script], rewords=rewords)


def user(text: Any = PROMPT) -> Message:
    return {"role": "user", "content": text}


def asked(reply: ModelReply, only: Sequence[int] | None = None) -> Message:
    calls = [c for n, c in enumerate(reply.tool_calls) if only is None or n in only]
    return {
        "role": "assistant",
        "tool_calls": [{"id": c.id, "name": c.name, "args": dict(c.args)} for c in calls],
    }


def told(call: ToolCall, content: Any = FINE, **more: Any) -> Message:
    return {"role": "tool", "id": call.id, "name": call.name, "content": content, **more}


def talk(service: Any, results: Sequence[Any]) -> list[ModelReply]:
    """A conversation in which the nth tool call gets the nth result."""
    messages, replies = [user()], [service.apply([user()], ())]
    waiting = list(results)
    while replies[-1].tool_calls and len(waiting) >= len(replies[-1].tool_calls):
        messages.append(asked(replies[-1]))
        messages += [told(c, waiting.pop(0)) for c in replies[-1].tool_calls]
        replies.append(service.apply(messages, ()))
    return replies


def names(replies: Sequence[ModelReply]) -> list[str]:
    return [c.name for r in replies for c in r.tool_calls]


# -- reactions


def test_retry_is_the_same_call_with_a_fresh_id() -> None:
    first, second, last = talk(model(step(on_error="retry")), [CONFLICT, FINE])
    (one,), (two,) = first.tool_calls, second.tool_calls
    assert one.args == two.args and one.name == two.name and one.id != two.id
    assert last.text == "Done."


def test_retry_repeats_what_was_asked_and_not_what_the_plan_would_word_now() -> None:
    service = model(step(on_error="retry"))
    service.apply([user()], ())
    reworded = service.apply([user()], ())  # asked again, so with other words
    sent = [user(), asked(reworded), told(reworded.tool_calls[0], CONFLICT)]
    assert service.apply(sent, ()).tool_calls[0].args == reworded.tool_calls[0].args
    assert model(step()).apply([user()], ()).tool_calls[0].args != reworded.tool_calls[0].args


def test_retry_after_a_malformed_call_is_a_proper_one() -> None:
    service = model(step(on_error="retry"))
    spoiled = service.apply([user()], (), "malformed")
    sent = [user(), asked(spoiled), told(spoiled.tool_calls[0], "Error: no such argument")]
    assert service.apply(sent, ()).tool_calls[0].args["order"] == "A-1"


@pytest.mark.parametrize("rewords", [True, False])
@pytest.mark.parametrize("times_asked", [1, 2, 3, 4, 5])
def test_ask_again_is_the_same_action_in_other_words(rewords: bool, times_asked: int) -> None:
    service = model(step(on_error="ask-again"), rewords=rewords)
    for _ in range(times_asked):
        first = service.apply([user()], ())
    (one,) = first.tool_calls
    (two,) = service.apply([user(), asked(first), told(one, CONFLICT)], ()).tool_calls
    assert two.args["order"] == one.args["order"] == "A-1"
    assert two.args["reason"] != one.args["reason"] and two.id != one.id


@pytest.mark.parametrize("reaction", ["retry", "ask-again"])
@pytest.mark.parametrize("most", [0, 1, 3])
def test_repetitions_are_bounded_and_then_it_gives_up(reaction: str, most: int) -> None:
    replies = talk(model(step(on_error=reaction, retries_max=most)), [CONFLICT] * 9)
    assert len(names(replies)) == 1 + most
    assert replies[-1].text.startswith("One of the actions did not succeed")


def test_the_bound_is_that_of_each_step() -> None:
    plan = (step(on_error="retry", retries_max=1), step("notify", "retry", retries_max=1))
    replies = talk(model(*plan), [CONFLICT, FINE, CONFLICT, FINE])
    assert names(replies) == ["refund", "refund", "notify", "notify"]
    assert replies[-1].text == "Done."


def test_carry_on_goes_to_the_next_step() -> None:
    replies = talk(model(step(on_error="carry-on"), step("notify")), [CONFLICT, FINE])
    assert names(replies) == ["refund", "notify"] and replies[-1].text == "Done."


@pytest.mark.parametrize(
    ("content", "after"),
    [
        (CONFLICT, "notify"),
        ('{"error": {"code": "rate-limited"}}', "refund"),
        ('{"error": "rate-limited"}', "refund"),
        ({"error": {"message": "no"}, "code": "rate-limited"}, "refund"),
        ({"error": {"code": 429}}, "refund"),
        ('{"error": {"code": "not-found"}}', None),
        ("Error: it broke", None),
    ],
)
def test_the_reaction_goes_by_the_code_of_the_error(content: Any, after: str | None) -> None:
    reactions = {"conflict": "carry-on", "rate-limited": "retry", "429": "retry"}
    second = talk(model(step(on_error=reactions), step("notify")), [content])[1]
    assert [c.name for c in second.tool_calls] == ([after] if after else [])


def test_without_a_code_the_default_decides() -> None:
    reactions = {"default": "carry-on", "conflict": "give-up"}
    assert talk(model(step(on_error=reactions)), ["Error: x"])[1].text == "Done."
    assert talk(model(step(on_error=reactions)), [CONFLICT])[1].text != "Done."


def test_an_agent_that_goes_on_after_the_model_gave_up_is_answered_by_the_plan() -> None:
    sent = [user(), {"role": "tool", "content": CONFLICT}, {"role": "tool", "content": FINE}]
    reply = model(step(), step("notify"), step("close")).apply(sent, ())
    assert reply.tool_calls[0].name == "close"


@given(
    st.lists(st.sampled_from([FINE, CONFLICT, "Error: x", '{"error": "late"}']), max_size=8),
    st.lists(st.sampled_from(["retry", "ask-again", "give-up", "carry-on"]), min_size=3),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_model_that_comes_in_late_says_the_same(
    results: list[str], reactions: list[str], parallel: bool
) -> None:
    """The whole state is in the transcript: a model that has seen nothing before agrees."""

    def fresh() -> Any:
        return model(
            step("a", reactions[0], retries_max=2),
            step("b", {"late": reactions[1]}, parallel=parallel),
            step("c", reactions[2], args={"n": "1"}),
        )

    lasting, messages, waiting = fresh(), [user()], list(results)
    while True:
        reply = lasting.apply(messages, ())
        assert reply == fresh().apply(messages, ())
        if not reply.tool_calls or len(waiting) < len(reply.tool_calls):
            break
        messages.append(asked(reply))
        messages += [told(c, waiting.pop(0)) for c in reply.tool_calls]


# -- what an error is


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ("Error: order not found\n Please fix your mistakes.", {}),
        ("Error executing tool refund: timed out", {}),
        ("  Error calling tool", {}),
        ('{"error": "x"}', {}),
        ('{"ok": false, "error": {"code": "x"}}', {}),
        ('{"error": {"mess', {}),
        ('{"is_error": true, "text": "no"}', {}),
        ({"isError": True}, {}),
        ({"error": {}}, {}),
        ("no", {"is_error": True}),
        ([{"type": "text", "text": "Error: no"}], {}),
        ([{"type": "text", "text": '{"error": "x"}'}], {}),
    ],
)
def test_every_usual_sign_of_an_error_is_understood(content: Any, more: Any) -> None:
    first = model(step()).apply([user()], ())
    sent = [user(), asked(first), told(first.tool_calls[0], content, **more)]
    assert model(step()).apply(sent, ()).text.startswith("One of the actions")


@pytest.mark.parametrize(
    "content",
    [
        FINE,
        "Errors found: 0",
        "Error-free.",
        "No Error: all well",
        '{"error": null, "ref": "r"}',
        {"error": None},
        {"error": False},
        {"isError": False},
        '["error"]',
        None,
        17,
        [],
        '{"rate": 0.5}',
    ],
)
def test_what_is_no_error_is_taken_for_none(content: Any) -> None:
    assert talk(model(step()), [content])[-1].text == "Done."


def test_a_team_tells_its_own_sign_of_errors_and_their_codes() -> None:
    plan = step(on_error={"E7": "carry-on"})
    for content in ("FAILED E7 sorry", {"status": "FAILED E7"}):
        assert talk(model(plan), [content])[-1].text == "Done."
        with_pattern = model(plan, pattern=r"FAILED (?P<code>\w+)")
        assert talk(with_pattern, [content])[-1].text == "Done."
        without_code = model(plan, pattern=r"FAILED")
        assert talk(without_code, [content])[-1].text.startswith("One of the actions")


@pytest.mark.parametrize("said", [CONFLICT, "FAILED conflict"])
def test_a_code_inside_what_a_wire_has_wrapped_is_found(said: str) -> None:
    wrapped = {"error": {"code": "tool-error", "message": said}}
    service = model(step(on_error={"conflict": "carry-on"}), pattern=r"^FAILED (?P<code>\w+)")
    assert talk(service, [wrapped])[-1].text == "Done."


# -- several calls in one answer


PAIR = (step(on_error={"conflict": "retry"}), step("notify", parallel=True), step("close"))


def test_parallel_steps_stand_in_one_answer_and_the_plan_waits_for_all() -> None:
    first, second, last = talk(model(*PAIR), [FINE, FINE, FINE])
    assert [c.name for c in first.tool_calls] == ["refund", "notify"]
    assert len({c.id for c in first.tool_calls}) == 2
    assert [c.name for c in second.tool_calls] == ["close"] and last.text == "Done."


def test_only_what_has_no_result_yet_is_asked_for() -> None:
    service = model(*PAIR)
    first = service.apply([user()], ())
    for done, left in ((0, "notify"), (1, "refund")):
        for only in (None, [done]):  # an agent may keep the calls that it did not carry out
            sent = [user(), asked(first, only), told(first.tool_calls[done])]
            assert [c.name for c in service.apply(sent, ()).tool_calls] == [left]


def test_results_may_come_in_any_order_and_twice() -> None:
    service = model(*PAIR)
    first = service.apply([user()], ())
    refund, notify = first.tool_calls
    for results in ([notify, refund], [refund, refund], [refund, notify, refund]):
        sent = [user(), asked(first), *(told(c) for c in results)]
        want = "close" if notify in results else "notify"
        assert [c.name for c in service.apply(sent, ()).tool_calls] == [want]


def test_results_of_calls_without_ids_count_one_by_one() -> None:
    bare: list[Message] = [{"id": "", "name": n, "args": {}} for n in ("refund", "notify")]
    results = [{"role": "tool", "id": "", "name": n, "content": FINE} for n in ("notify", "refund")]
    sent = [user(), {"role": "assistant", "tool_calls": bare}, *results]
    assert names([model(*PAIR).apply(sent, ())]) == ["close"]
    assert names([model(*PAIR).apply(sent[:-1], ())]) == ["refund"]


def test_an_error_of_one_of_them_concerns_that_one_only() -> None:
    service = model(*PAIR)
    first = service.apply([user()], ())
    refund, notify = first.tool_calls
    sent = [user(), asked(first), told(notify), told(refund, CONFLICT)]
    (again,) = service.apply(sent, ()).tool_calls
    assert again.name == "refund" and again.args == refund.args
    sent[-1:] = [told(refund, "Error: no")]
    assert service.apply(sent, ()).text.startswith("One of the actions")
    sent[-2:] = [told(refund), told(notify, "Error: no")]
    assert service.apply(sent, ()).text.startswith("One of the actions")


def test_two_calls_of_one_tool_are_told_apart_by_their_ids() -> None:
    plan = (
        step("notify", "retry", args={"to": "ann"}),
        step("notify", "retry", args={"to": "bob"}, parallel=True),
    )
    service = model(*plan)
    first = service.apply([user()], ())
    ann, bob = first.tool_calls
    sent = [user(), asked(first), told(bob, CONFLICT), told(ann)]
    assert [c.args for c in service.apply(sent, ()).tool_calls] == [{"to": "bob"}]


def test_a_mishap_spoils_the_first_call_of_an_answer_only() -> None:
    one, two = model(*PAIR).apply([user()], (), "unknown-tool").tool_calls
    assert (one.name, two.name) == ("refund_v2", "notify")


# -- how a transcript may be spelled


def openai(reply: ModelReply) -> Message:
    calls = [
        {
            "id": c.id,
            "type": "function",
            "function": {"name": c.name, "arguments": json.dumps(dict(c.args))},
        }
        for c in reply.tool_calls
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def test_the_spelling_of_the_wire_is_understood_too() -> None:
    service = model(*PAIR)
    first = service.apply([user()], ())
    refund, notify = first.tool_calls
    results = [
        {"role": "tool", "tool_call_id": notify.id, "content": FINE},
        {"role": "tool", "tool_call_id": refund.id, "content": CONFLICT},
    ]
    (again,) = service.apply([user(), openai(first), *results], ()).tool_calls
    assert again.name == "refund" and again.args == refund.args


def test_the_model_asks_by_the_name_of_the_agents_function() -> None:
    replies = talk(model(step(call="issue_refund"), step("notify")), [FINE, FINE])
    assert names(replies) == ["issue_refund", "notify"]


@pytest.mark.parametrize(
    "said",
    [
        [{"type": "text", "text": PROMPT}],
        f"Today's task:\n{PROMPT}\nBe quick.",
        "Refund  order\n A-1 now.",
        [{"type": "image"}, {"type": "text", "text": f"So: {PROMPT}"}],
    ],
)
def test_the_prompt_is_found_however_it_is_wrapped(said: Any) -> None:
    assert names([model(step()).apply([user(said)], ())]) == ["refund"]


def test_a_prompt_that_begins_like_another_is_not_taken_for_it() -> None:
    scripts = [
        Script(task=t, prompt=f"Refund {t}", plan=(step(args={"o": t}),), answer="", values={})
        for t in ("A-1", "A-10", "A-100")
    ]
    service = ModelService(0, scripts, rewords=False)
    for script in scripts:
        reply = service.apply([user(f"Please: {script.prompt}\n")], ())
        assert reply.tool_calls[0].args == {"o": script.task}
