"""Recordings: made once for one task, given again for all of its kind, left where they end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import canonical
from chaoslab.scenario import Scenario, Step, Use, load_workload
from chaoslab.world import ModelReply, ToolCall
from chaoslab.world.cast import Script, cast_of
from chaoslab.world.model import ModelService
from chaoslab.world.recording import Departure, Recording, append, line_of

Message = Mapping[str, Any]
PLAN = (Step(tool="refund", args={"order": "{order}"}),)


def values(order: str, name: str, cents: int, **more: Any) -> dict[str, Any]:
    return {"order": order, "customer": {"name": name}, "amount_cents": cents, **more}


ANN = values("o-s1-t1", "Ann Lee", 4321)
BOB = values("o-s2-t7", "Bob Ray", 987)


def prompt(of: Mapping[str, Any]) -> str:
    return f"Refund order {of['order']} of {of['customer']['name']}: {of['amount_cents']} cents."


def conversation(of: Mapping[str, Any], ref: str, ids: Sequence[str]) -> list[Message]:
    """What an agent and a real model said: a refund, a note that quotes its reference, an end."""
    order, name, cents = of["order"], of["customer"]["name"], of["amount_cents"]
    return [
        {"role": "system", "content": "You help customers."},
        {"role": "user", "content": prompt(of)},
        calls(ids[0], "refund", order=order, cents=cents, text=f"{cents} to {name}"),
        {"role": "tool", "tool_call_id": ids[0], "content": json.dumps({"ref": ref})},
        calls(ids[1], "notify", order=order, about=ref, cents=str(cents)),
        {"role": "tool", "tool_call_id": ids[1], "content": "sent"},
        {"role": "assistant", "content": f"{name} has {ref} for {order}."},
    ]


def calls(id: str, name: str, **args: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(args)}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": id, "function": function}]}


def replied(message: Message) -> ModelReply:
    found = tuple(
        ToolCall(id="x", name=c["function"]["name"], args=json.loads(c["function"]["arguments"]))
        for c in message.get("tool_calls", ())
    )
    return ModelReply(
        text=message["content"], tool_calls=found, finish="tool-calls" if found else "stop"
    )


def recorded(
    of: Mapping[str, Any] = ANN, ref: str = "re_83kd", before: Sequence[Message] = ()
) -> tuple[Message, ...]:
    said = [*before, *conversation(of, ref, ["call_aa11", "call_bb22"])]
    turns = [n for n, m in enumerate(said) if m["role"] == "assistant" and n >= len(before)]
    return tuple(line_of(said[:n], replied(said[n]), of) for n in turns)


def replay(lines: Sequence[Message], of: Mapping[str, Any], ref: str) -> list[ModelReply]:
    """What the recording says at each turn of another task's conversation."""
    said = conversation(of, ref, ["call_0001", "call_0002"])
    recording = Recording(lines, prompt(of), of)
    found = [recording.lookup(said[:n]) for n in (2, 4, 6)]
    assert all(isinstance(f, ModelReply) for f in found), found
    return [f for f in found if isinstance(f, ModelReply)]


# -- templates


def test_made_for_one_task_it_answers_for_another() -> None:
    one, two, three = replay(recorded(), BOB, "re_zz99")
    assert one.tool_calls[0].name == "refund" and one.finish == "tool-calls"
    assert one.tool_calls[0].args == {"order": "o-s2-t7", "cents": 987, "text": "987 to Bob Ray"}
    assert two.tool_calls[0].args == {"order": "o-s2-t7", "about": "re_zz99", "cents": "987"}
    assert (three.text, three.finish) == ("Bob Ray has re_zz99 for o-s2-t7.", "stop")


def test_nothing_of_the_recorded_customer_is_kept() -> None:
    text = canonical(list(recorded()))
    for secret in ("Ann Lee", "o-s1-t1", "4321", "re_83kd", "call_aa11"):
        assert secret not in text


def test_for_the_same_task_it_is_the_same() -> None:
    said = conversation(ANN, "re_83kd", ["a", "b"])
    found = replay(recorded(), ANN, "re_83kd")
    assert [f.text for f in found] == ["", "", said[6]["content"]]


def test_what_was_said_before_the_tasks_own_prompt_does_not_count() -> None:
    earlier = conversation(BOB, "re_old", ["call_e1", "call_e2"])
    assert replay(recorded(before=earlier[1:]), BOB, "re_n") == replay(recorded(), BOB, "re_n")
    recording = Recording(recorded(), prompt(BOB), BOB)
    said = conversation(BOB, "re_zz99", ["c1", "c2"])
    found = recording.lookup([*conversation(ANN, "re_1", ["e1", "e2"]), *said[1:4]])
    assert isinstance(found, ModelReply) and found.tool_calls[0].args["about"] == "re_zz99"


def test_white_space_and_the_spelling_of_calls_do_not_count() -> None:
    said = conversation(BOB, "r-77", ["c1", "c2"])[:4]
    other: list[Message] = [
        {"role": "system", "content": "You  help\ncustomers. "},
        {"role": "user", "content": [{"type": "text", "text": f" {prompt(BOB)}\n"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {
                    "id": "z",
                    "name": "refund",
                    "args": {"text": "987 to Bob Ray", "cents": 987, "order": "o-s2-t7"},
                }
            ],
        },
        {"role": "tool", "id": "z", "name": "refund", "content": '{"ref":"r-77"}'},
    ]
    recording = Recording(recorded(), prompt(BOB), BOB)
    assert isinstance(recording.lookup(said), ModelReply)
    assert recording.lookup(other) == recording.lookup(said)


@pytest.mark.parametrize("whose", ["recorded", "live"])
def test_a_constant_that_equals_a_value_by_chance_is_no_difference(whose: str) -> None:
    """The system's own words say 500: an amount of one of the two tasks, and no amount here."""
    standing: Message = {"role": "system", "content": "Never more than 500 {order} cents."}
    one = ANN | ({"amount_cents": 4321} if whose == "live" else {"amount_cents": 500})
    two = BOB | ({"amount_cents": 500} if whose == "live" else {"amount_cents": 987})
    said: list[list[Message]]
    said = [[standing, *conversation(of, "re_1", ["a1", "b1"])[1:]] for of in (one, two)]
    line = line_of(said[0][:2], ModelReply(text="Well."), one)
    found = Recording((line,), prompt(two), two).lookup(said[1][:2])
    if whose == "live":
        assert found == ModelReply(text="Well.")
    else:  # it cannot be known that the recorded 500 was none of the task's
        assert isinstance(found, Departure) and found.message == 1


def test_a_line_written_by_hand_in_the_spelling_of_the_wire_will_do() -> None:
    said = conversation(values("{order}", "{customer.name}", 0), "re_h", ["h1", "h2"])
    said[1] = {
        "role": "user",
        "content": "Refund order {order} of {customer.name}: {amount_cents} cents.",
    }
    said[2] = calls("h1", "refund", order="{order}", cents="{amount_cents}", text="x")
    line = {"messages": said[:4], "reply": {"text": "Done with {order}."}}
    live = conversation(BOB, "re_live", ["l1", "l2"])
    live[2] = calls("l1", "refund", order="o-s2-t7", cents=987, text="x")
    found = Recording((line,), prompt(BOB), BOB).lookup(live[:4])
    assert found == ModelReply(text="Done with o-s2-t7.")


@given(st.text(alphabet="ab {}.o-1", max_size=12), st.text(alphabet="ab -1", max_size=8))
@settings(max_examples=150, deadline=None)
def test_whatever_was_said_is_recognised_when_it_is_said_again(word: str, order: str) -> None:
    of = values(order, "Ann Lee", 4321)
    said = [{"role": "user", "content": f"Refund {order} {word}"}, {"role": "x", "content": word}]
    recording = Recording((line_of(said, ModelReply(text="k"), of),), f"Refund {order}", of)
    assert recording.lookup(said) == ModelReply(text="k")


def test_what_no_history_can_hold_is_refused_when_it_is_recorded(tmp_path: Path) -> None:
    reply = ModelReply(tool_calls=(ToolCall(id="", name="pay", args={"rate": 0.5}),))
    with pytest.raises(UsageError, match=r"reply\.tool_calls\[0\]\.args\.rate"):
        append(tmp_path / "r.jsonl", [{"role": "user", "content": "x"}], reply, {})
    assert not (tmp_path / "r.jsonl").exists()


def test_a_value_too_short_to_be_recognised_is_filled_in_all_the_same() -> None:
    few = values("o-s2-t7", "Bob Ray", 7)
    one, two, _ = replay(recorded(), few, "re_zz99")
    assert one.tool_calls[0].args == {"order": "o-s2-t7", "cents": 7, "text": "7 to Bob Ray"}
    assert two.tool_calls[0].args["cents"] == "7"


# -- departures


def departure(said: Sequence[Message], lines: Sequence[Message] = recorded()) -> Departure:
    found = Recording(lines, prompt(BOB), BOB).lookup(said)
    assert isinstance(found, Departure)
    return found


def test_the_first_message_that_differs_is_named() -> None:
    said = conversation(BOB, "re_1", ["a1", "b1"])
    said[3] = {"role": "tool", "id": "a1", "content": "Error: timed out"}
    found = departure(said[:4])
    assert found.message == 4
    assert found.why.startswith("message 4 (tool) differs from the recording: ")
    assert "got 'Error: timed out', recorded '{\"ref\"" in found.why


def test_other_standing_instructions_are_another_conversation() -> None:
    said = conversation(BOB, "re_1", ["a1", "b1"])
    said[0] = {"role": "system", "content": "You are rude."}
    assert departure(said[:2]).message == 1


def test_what_goes_on_after_the_end_of_the_recording_is_named() -> None:
    said = [*conversation(BOB, "re_1", ["a1", "b1"]), {"role": "user", "content": "And now?"}]
    found = departure(said, recorded()[:1])
    assert found.message == 3
    assert "message 3 (assistant) goes on where the recording ends" in found.why
    lines = recorded()
    found = departure(said[:3], lines)
    assert (found.message, found.why) == (3, "nothing was recorded after message 3")


def test_the_number_counts_all_messages_that_were_sent() -> None:
    earlier = conversation(ANN, "re_0", ["e1", "e2"])
    said = conversation(BOB, "re_1", ["a1", "b1"])[1:4]
    said[2] = {"role": "tool", "id": "a1", "content": "no"}
    assert departure([*earlier, *said]).message == len(earlier) + 3


# -- in the model


def model(plan: tuple[Step, ...] = (), lines: Sequence[Message] = recorded()) -> ModelService:
    scripts = [
        Script(
            task=task,
            prompt=prompt(of),
            plan=plan,
            answer="By plan.",
            values=of,
            recording=tuple(lines),
        )
        for task, of in (("s1-t1", ANN), ("s2-t7", BOB))
    ]
    return ModelService(5, scripts, rewords=True)


def test_the_model_follows_the_recording_with_fresh_ids() -> None:
    service = model()
    said: list[Message] = [*conversation(BOB, "", ["", ""])[:2]]
    one, again = service.apply(said, ()), service.apply(said, ())
    assert one.tool_calls[0].args == again.tool_calls[0].args
    assert one.tool_calls[0].id != again.tool_calls[0].id
    asked = [{"id": c.id, "name": c.name, "args": c.args} for c in one.tool_calls]
    said.append({"role": "assistant", "tool_calls": asked})
    said.append({"role": "tool", "id": one.tool_calls[0].id, "content": {"ref": "re_7"}})
    two = service.apply(said, ())
    assert two.tool_calls[0].args["about"] == "re_7"
    assert two.tool_calls[0].id.startswith("call_")
    assert service.departed == [] and service.departures == {}


def test_where_the_transcript_leaves_it_the_plan_goes_on() -> None:
    service = model(PLAN)
    said = [{"role": "user", "content": f"{prompt(BOB)} Please!"}]
    (call,) = service.apply(said, ()).tool_calls
    assert (call.name, call.args) == ("refund", {"order": "o-s2-t7"})
    said.append({"role": "tool", "id": "x", "content": "fine"})
    assert service.apply(said, ()).text == "By plan."
    assert service.departed == []
    assert {t: d.message for t, d in service.departures.items()} == {"s2-t7": 1}


def test_without_a_plan_it_refuses_and_names_the_first_difference_once() -> None:
    service = model()
    said = conversation(BOB, "re_1", ["a1", "b1"])[:4]
    said[3] = {"role": "tool", "id": "a1", "content": "Error: timed out"}
    for _ in range(2):
        reply = service.apply(said, ())
        assert reply.finish == "refusal" and not reply.tool_calls and reply.text
    (text,) = service.departed
    assert text.startswith("s2-t7: message 4 (tool) differs from the recording: ")
    assert service.departures["s2-t7"].message == 4


# -- as a file


def test_a_file_that_was_appended_to_is_read_with_its_workload(tmp_path: Path) -> None:
    said = conversation(ANN, "re_83kd", ["call_aa11", "call_bb22"])
    for n in (2, 4, 6):
        append(tmp_path / "refund.jsonl", said[:n], replied(said[n]), ANN)
    path = tmp_path / "shop.toml"
    path.write_text(
        "format = 1\n[tasks.refund]\n"
        'prompt = "Refund order {order} of {customer.name}: {amount_cents} cents."\n'
        'recording = "refund.jsonl"\n'
    )
    workload = load_workload(path)
    assert len(workload.kinds["refund"].recording) == 3
    scenario = Scenario(name="n", title="t", family="f", workload=Use(sessions=2, tasks=2))
    cast = cast_of(scenario, workload, 1)
    service = ModelService(1, cast.scripts, rewords=True)
    for script in cast.scripts:
        live = conversation(script.values, "re_live", ["l1", "l2"])
        replies = [service.apply(live[:n], ()) for n in (2, 4, 6)]
        assert [c.name for r in replies for c in r.tool_calls] == ["refund", "notify"]
        assert replies[0].tool_calls[0].args["order"] == script.values["order"]
        assert replies[2].text.startswith(script.values["customer"]["name"])
    assert service.departed == []
