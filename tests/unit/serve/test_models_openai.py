"""The lab's model as OpenAI's own client sees it: completions and responses, whole and streamed."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from tests.unit.serve.fake import FakeLab, served

from chaoslab.serve import models
from chaoslab.world.api import ModelReply, ToolCall
from chaoslab.world.errors import (
    BadRequest,
    ConnectionReset,
    DeadlineExceeded,
    RateLimited,
    ServerError,
    Unavailable,
)

FIRST = ToolCall(id="call_1", name="refund", args={"order": 7, "reason": "arrived broken, söm"})
SECOND = ToolCall(id="call_2", name="notify", args={})
CALLS = ModelReply(text="Two things to do.", tool_calls=(FIRST, SECOND), finish="tool-calls")
DONE = ModelReply(text="The refund is on its way; ¡adiós!")
CUT = ModelReply(text="The refund is on i", finish="truncated")
REFUSAL = ModelReply(text="I cannot help with that.", finish="refusal")
REFUND: dict[str, Any] = {"name": "refund", "parameters": {"type": "object"}}
USER: dict[str, Any] = {"role": "user", "content": "refund order 7"}


@contextmanager
def asking(*answers: object) -> Iterator[tuple[Any, FakeLab]]:
    """A client of a lab whose model answers these in order; the client's types are not for the
    plain dictionaries that tests are made of."""
    lab = FakeLab(answers={"model": deque(answers)})
    with served(lab, {"model": models.handle}) as base:
        with openai.OpenAI(base_url=f"{base}/model/v1", api_key="-", max_retries=0) as client:
            yield client, lab


def chat(client: Any, *messages: Any, **more: Any) -> Any:
    return client.chat.completions.create(model="any-name", messages=messages or [USER], **more)


def respond(client: Any, **more: Any) -> Any:
    return client.responses.create(model="any-name", **{"input": "refund order 7", **more})


def test_a_completion_carries_tools_there_and_calls_back() -> None:
    tools = [{"type": "function", "function": REFUND}]
    with asking(CALLS, DONE) as (client, lab):
        first = chat(client, USER, tools=tools, temperature=0.3)
        assert (first.model, first.choices[0].finish_reason) == ("any-name", "tool_calls")
        said = first.choices[0].message
        assert said.content == "Two things to do."
        assert [c.id for c in said.tool_calls] == ["call_1", "call_2"]
        assert json.loads(said.tool_calls[0].function.arguments) == dict(FIRST.args)
        results = [
            {"role": "tool", "tool_call_id": c.id, "content": '{"ref": "r-1", "share": 0.5}'}
            for c in said.tool_calls
        ]
        second = chat(client, USER, said.model_dump(exclude_none=True), *results, tools=tools)
    assert second.choices[0].message.content == DONE.text
    assert second.choices[0].finish_reason == "stop"
    assert second.usage.total_tokens == second.usage.prompt_tokens + second.usage.completion_tokens
    (_, one), (_, two) = lab.asked
    assert one == {"messages": [USER], "tools": ["refund"], "deadline_ms": 1_000}
    assert two["messages"] == [
        USER,
        {
            "role": "assistant",
            "content": "Two things to do.",
            "tool_calls": [
                {"id": "call_1", "name": "refund", "args": dict(FIRST.args)},
                {"id": "call_2", "name": "notify", "args": {}},
            ],
        },
        {"role": "tool", "id": "call_1", "name": "refund", "content": results[0]["content"]},
        {"role": "tool", "id": "call_2", "name": "notify", "content": results[1]["content"]},
    ]
    assert lab.hints[1].texts == ("refund order 7",)
    assert lab.hints[1].calls == ("call_1", "call_2")


def test_a_header_tells_the_task() -> None:
    with asking(DONE) as (client, lab):
        chat(client, extra_headers={"X-Chaoslab-Task": "t-9"})
        chat(client)
    assert [h.task for h in lab.hints] == ["t-9", ""]


@pytest.mark.parametrize("reply", [CALLS, DONE, CUT, REFUSAL], ids=lambda r: r.finish)
def test_a_streamed_completion_is_the_whole_one(reply: ModelReply) -> None:
    with asking(reply) as (client, _):
        whole = chat(client).choices[0]
        with client.chat.completions.stream(model="m", messages=[USER]) as stream:
            kinds = [e.type for e in stream]
            try:
                streamed = stream.get_final_completion().choices[0]
            except openai.LengthFinishReasonError as error:  # the client's own word for it
                streamed = error.completion.choices[0]
    assert streamed.finish_reason == whole.finish_reason
    assert (streamed.message.content or None) == (whole.message.content or None)
    assert streamed.message.refusal == whole.message.refusal
    calls = [
        [(c.id, c.function.name, c.function.arguments) for c in m.tool_calls or ()]
        for m in (streamed.message, whole.message)
    ]
    assert calls[0] == calls[1]
    assert kinds.count("chunk") > 2


def test_usage_is_streamed_where_it_was_asked_for() -> None:
    with asking(DONE) as (client, _):
        plain = list(chat(client, stream=True))
        counted = list(chat(client, stream=True, stream_options={"include_usage": True}))
        whole = chat(client)
    assert all(chunk.usage is None for chunk in plain) and plain[-1].choices
    assert counted[-1].choices == [] and counted[-1].usage == whole.usage
    assert [len(c.choices) for c in counted[:-1]] == [1] * (len(counted) - 1)
    assert {c.id for c in counted} == {"chatcmpl-p1_2"}


def test_broken_arguments_reach_the_agent_as_broken_text() -> None:
    broken = ToolCall(id="call_1", name="refund", args={"arguments": '{"order": "'})
    with asking(ModelReply(tool_calls=(broken,), finish="tool-calls")) as (client, lab):
        said = chat(client).choices[0].message
        assert said.tool_calls[0].function.arguments == '{"order": "'
        result = {"role": "tool", "tool_call_id": "call_1", "content": "no JSON"}
        chat(client, USER, said.model_dump(exclude_none=True), result)
    assert lab.asked[1][1]["messages"][1]["tool_calls"][0]["args"] == dict(broken.args)


def test_errors_are_those_that_the_client_knows() -> None:
    limited = RateLimited("not now", retry_after_ms=1_200)
    with asking(limited, ServerError("oops"), BadRequest("no"), Unavailable("later"), DONE) as (
        client,
        _,
    ):
        with pytest.raises(openai.RateLimitError) as rate:
            chat(client)
        with pytest.raises(openai.InternalServerError) as server:
            respond(client)
        with pytest.raises(openai.BadRequestError, match="no"):
            chat(client)
        with pytest.raises(openai.APIStatusError) as later:
            respond(client, stream=True)
        assert chat(client).choices
    headers = rate.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")
    assert (rate.value.code, rate.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert (server.value.status_code, server.value.type) == (500, "server_error")
    assert later.value.status_code == 503 and "retry-after" not in later.value.response.headers


@pytest.mark.parametrize("error", [ConnectionReset("gone"), DeadlineExceeded("silence")])
@pytest.mark.parametrize("stream", [False, True])
def test_no_answer_is_a_broken_connection(error: Exception, stream: bool) -> None:
    with asking(error, DONE) as (client, _):
        with pytest.raises(openai.APIConnectionError):
            chat(client, stream=stream)
        assert chat(client).choices[0].message.content == DONE.text


def test_an_agent_that_asks_again_is_answered() -> None:
    with asking(ServerError("oops"), DONE) as (client, lab):
        stubborn = client.with_options(max_retries=2)
        assert chat(stubborn).choices[0].message.content == DONE.text
    assert len(lab.asked) == 2


def test_a_response_is_continued_by_its_id() -> None:
    tools = [{"type": "function", **REFUND}, {"type": "web_search"}]
    with asking(CALLS, DONE, DONE) as (client, lab):
        first = respond(client, instructions="Be kind.", tools=tools)
        assert first.output_text == "Two things to do." and first.status == "completed"
        calls = [item for item in first.output if item.type == "function_call"]
        assert [(c.call_id, json.loads(c.arguments)) for c in calls] == [
            ("call_1", dict(FIRST.args)),
            ("call_2", {}),
        ]
        outputs = [
            {"type": "function_call_output", "call_id": c.call_id, "output": "ok"} for c in calls
        ]
        second = respond(
            client, input=outputs, previous_response_id=first.id, instructions="Be brief."
        )
        third = respond(client, input="and now?", previous_response_id=second.id)
    assert [first.id, second.id, third.id] == ["resp_p1_1", "resp_p1_2", "resp_p1_3"]
    assert second.previous_response_id == first.id and second.output_text == DONE.text
    told = [asked["messages"] for _, asked in lab.asked]
    assert told[0] == [{"role": "system", "content": "Be kind."}, USER]
    assert [m["role"] for m in told[1]] == ["system", "user", "assistant", "tool", "tool"]
    assert told[1][0]["content"] == "Be brief."
    assert [c["id"] for c in told[1][2]["tool_calls"]] == ["call_1", "call_2"]
    assert told[2][:-2] == told[1][1:]  # instructions are not handed on
    assert told[2][-2:] == [
        {"role": "assistant", "content": DONE.text},
        {"role": "user", "content": "and now?"},
    ]
    assert lab.asked[0][1]["tools"] == ["refund"]


def test_a_response_is_continued_by_its_items_or_by_their_ids() -> None:
    with asking(CALLS, DONE) as (client, lab):
        first = respond(client)
        outputs = [
            {"type": "function_call_output", "call_id": i, "output": [_text("ok")]}
            for i in ("call_1", "call_2")
        ]
        items = [i.model_dump(exclude_none=True) for i in first.output]
        thought = {"type": "reasoning", "id": "rs_1", "summary": []}
        respond(client, input=[USER, thought, *items, *outputs])
        named = [{"type": "item_reference", "id": i.id} for i in first.output]
        respond(client, input=[USER, *named, *outputs])
    assert lab.asked[1] == lab.asked[2]
    with asking(DONE) as (client, _):  # another execution knows nothing of them
        with pytest.raises(openai.BadRequestError, match="not known"):
            respond(client, input=[USER, *named])
        with pytest.raises(openai.BadRequestError) as unknown:
            respond(client, previous_response_id="resp_p1_1")
    assert unknown.value.code == "previous_response_not_found"
    assert unknown.value.param == "previous_response_id"


def _text(text: str) -> dict[str, str]:
    return {"type": "input_text", "text": text}


@pytest.mark.parametrize("reply", [CALLS, DONE, CUT, REFUSAL], ids=lambda r: r.finish)
def test_a_streamed_response_is_the_whole_one(reply: ModelReply) -> None:
    with asking(reply) as (client, _):
        whole = respond(client)
        events = list(respond(client, stream=True))
        with client.responses.stream(model="any-name", input="refund order 7") as stream:
            kinds = [event.type for event in stream]
            if reply is not CUT:  # the client keeps none that is incomplete
                assert stream.get_final_response().output_text == whole.output_text
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert [e.type for e in events[:3]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert events[-1].type == f"response.{whole.status}" == kinds[-1]
    last = events[-1].response.model_dump(exclude={"id", "output"})
    assert last == whole.model_dump(exclude={"id", "output"})
    ids = {"id": True}
    for one, other in zip(events[-1].response.output, whole.output, strict=True):
        assert one.model_dump(exclude=ids) == other.model_dump(exclude=ids)
    added = "".join(e.delta for e in events if e.type.endswith(".delta"))
    arguments = [i.arguments for i in whole.output if i.type == "function_call"]
    assert added == reply.text + "".join(arguments)
    done = [e.item for e in events if e.type == "response.output_item.done"]
    assert done == events[-1].response.output


def test_a_cut_response_and_a_refused_one_say_so() -> None:
    with asking(CUT, REFUSAL) as (client, _):
        cut, refused = respond(client), respond(client)
    assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    assert refused.output[0].content[0].refusal == REFUSAL.text and refused.output_text == ""


def test_a_transcript_torn_by_a_crash_is_refused_as_the_vendor_would() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "refund", "arguments": "{}"}}
    made = {"role": "assistant", "content": None, "tool_calls": [call]}
    lost = {"role": "tool", "tool_call_id": "c9", "content": "ok"}
    item = {"type": "function_call", "call_id": "c1", "name": "refund", "arguments": "{}"}
    with asking(DONE) as (client, lab):
        with pytest.raises(openai.BadRequestError, match="no result: c1"):
            chat(client, USER, made)
        with pytest.raises(openai.BadRequestError, match="no result: c1"):
            chat(client, USER, made, USER)
        with pytest.raises(openai.BadRequestError, match="no message before it made"):
            chat(client, USER, lost)
        with pytest.raises(openai.BadRequestError, match="no result: c1") as torn:
            respond(client, input=[USER, item])
        with pytest.raises(openai.BadRequestError):
            respond(client, input=[USER, item])
    assert torn.value.param == "input"
    assert lab.asked == []
    assert len(lab.notes) == 4 and all("refused" in note for note in lab.notes)  # each told once


def test_models_are_listed_and_any_name_exists() -> None:
    with asking(DONE) as (client, _):
        assert [m.id for m in client.models.list()] == ["chaoslab"]
        assert client.models.retrieve("gpt-x").id == "gpt-x"


def test_a_process_that_dies_while_it_asks_gets_no_answer() -> None:
    class Dying(FakeLab):
        """The process lives when the request arrives, and no longer when it has been read."""

        seen = 0

        def world(self, process: str, /) -> Any:
            self.seen += 1
            return super().world(process) if self.seen == 1 else None

    lab = Dying(answers={"model": deque([DONE])})
    with served(lab, {"model": models.handle}) as base:
        with openai.OpenAI(base_url=f"{base}/model/v1", api_key="-", max_retries=0) as client:
            with pytest.raises(openai.APIConnectionError):
                chat(client)
    assert lab.seen == 2 and lab.asked == []
