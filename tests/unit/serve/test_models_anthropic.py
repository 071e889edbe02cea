"""The lab's model as Anthropic's own client sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import pytest
from tests.unit.serve.fake import FakeLab, served

from chaoslab.serve import models
from chaoslab.world.api import ModelReply, ToolCall
from chaoslab.world.errors import BadRequest, ConnectionReset, RateLimited, ServerError

FIRST = ToolCall(id="call_1", name="refund", args={"order": 7, "reason": "arrived broken, söm"})
SECOND = ToolCall(id="call_2", name="notify", args={})
CALLS = ModelReply(text="Two things to do.", tool_calls=(FIRST, SECOND), finish="tool-calls")
DONE = ModelReply(text="The refund is on its way; ¡adiós!")
CUT = ModelReply(text="", finish="truncated")
REFUSAL = ModelReply(text="I cannot help with that.", finish="refusal")
USER: dict[str, Any] = {"role": "user", "content": "refund order 7"}


@contextmanager
def asking(*answers: object, below: str = "model") -> Iterator[tuple[Any, FakeLab]]:
    """A client of a lab whose model answers these in order."""
    lab = FakeLab(answers={"model": deque(answers)})
    with served(lab, {"model": models.handle}) as base:
        with anthropic.Anthropic(base_url=f"{base}/{below}", api_key="-", max_retries=0) as client:
            yield client, lab


def ask(client: Any, *messages: Any, **more: Any) -> Any:
    given = list(messages) or [USER]
    return client.messages.create(model="any-name", max_tokens=100, messages=given, **more)


def test_a_message_carries_tools_there_and_uses_back() -> None:
    tools = [{"name": "refund", "input_schema": {"type": "object"}}]
    system = [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]
    with asking(CALLS, DONE) as (client, lab):
        first = ask(client, USER, tools=tools, system=system, extra_body={"temperature": 0.3})
        assert (first.id, first.model) == ("msg_p1_1", "any-name")
        assert first.stop_reason == "tool_use"
        assert [b.type for b in first.content] == ["text", "tool_use", "tool_use"]
        uses = first.content[1:]
        assert [(u.id, u.name, u.input) for u in uses] == [
            ("call_1", "refund", dict(FIRST.args)),
            ("call_2", "notify", {}),
        ]
        results = [
            {"type": "tool_result", "tool_use_id": "call_1", "content": '{"ref": "r-1"}'},
            {
                "type": "tool_result",
                "tool_use_id": "call_2",
                "content": [{"type": "text", "text": "no such order"}],
                "is_error": True,
            },
            {"type": "text", "text": "go on"},
        ]
        said = {"role": "assistant", "content": [b.model_dump() for b in first.content]}
        answers = {"role": "user", "content": results}
        second = ask(client, USER, said, answers, tools=tools, system="Be kind.")
    assert (second.stop_reason, second.content[0].text) == ("end_turn", DONE.text)
    assert second.usage.input_tokens > first.usage.input_tokens > 0
    one, two = (asked for _, asked in lab.asked)
    opening = [{"role": "system", "content": "Be kind."}, USER]
    assert one == {"messages": opening, "tools": ["refund"], "deadline_ms": 1_000}
    assert two["messages"] == [
        *opening,
        {
            "role": "assistant",
            "content": "Two things to do.",
            "tool_calls": [
                {"id": "call_1", "name": "refund", "args": dict(FIRST.args)},
                {"id": "call_2", "name": "notify", "args": {}},
            ],
        },
        {"role": "tool", "id": "call_1", "name": "refund", "content": '{"ref": "r-1"}'},
        {
            "role": "tool",
            "id": "call_2",
            "name": "notify",
            "content": {"error": {"code": "tool-error", "message": "no such order"}},
        },
        {"role": "user", "content": "go on"},
    ]
    assert lab.hints[1].texts == ("refund order 7", "go on")
    assert lab.hints[1].calls == ("call_1", "call_2")


@pytest.mark.parametrize("reply", [CALLS, DONE, CUT, REFUSAL], ids=lambda r: r.finish)
def test_a_streamed_message_is_the_whole_one(reply: ModelReply) -> None:
    with asking(reply) as (client, _):
        whole = ask(client)
        raw = [event.type for event in ask(client, stream=True)]
        with client.messages.stream(model="any-name", max_tokens=9, messages=[USER]) as stream:
            text = "".join(stream.text_stream)
            streamed = stream.get_final_message()
    assert streamed.model_dump(exclude={"id"}) == whole.model_dump(exclude={"id"})
    assert text == reply.text
    blocks = len(whole.content)
    assert (raw[0], raw[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert raw.count("content_block_start") == raw.count("content_block_stop") == blocks


def test_a_cut_message_and_a_refused_one_say_so() -> None:
    with asking(CUT, REFUSAL) as (client, _):
        cut, refused = ask(client), ask(client)
    assert (cut.stop_reason, cut.content) == ("max_tokens", [])
    assert (refused.stop_reason, refused.stop_details.explanation) == ("refusal", REFUSAL.text)


def test_errors_are_those_that_the_client_knows() -> None:
    limited = RateLimited("not now", retry_after_ms=400)
    with asking(limited, ServerError("oops"), BadRequest("no"), DONE) as (client, _):
        with pytest.raises(anthropic.RateLimitError) as rate:
            ask(client)
        with pytest.raises(anthropic.InternalServerError) as server:
            ask(client, stream=True)
        with pytest.raises(anthropic.BadRequestError) as bad:
            ask(client)
        assert ask(client).content
    assert rate.value.response.headers["retry-after"] == "1"
    assert rate.value.response.headers["retry-after-ms"] == "400"
    bodies: list[Any] = [rate.value.body, server.value.body, bad.value.body]
    assert [b["error"] for b in bodies] == [
        {"type": "rate_limit_error", "message": "not now"},
        {"type": "api_error", "message": "oops"},
        {"type": "invalid_request_error", "message": "no"},
    ]
    assert {b["type"] for b in bodies} == {"error"}


@pytest.mark.parametrize("stream", [False, True])
def test_no_answer_is_a_broken_connection(stream: bool) -> None:
    with asking(ConnectionReset("gone"), DONE) as (client, _):
        with pytest.raises(anthropic.APIConnectionError):
            ask(client, stream=stream)
        assert ask(client).content[0].text == DONE.text


def test_a_transcript_torn_by_a_crash_is_refused_as_the_vendor_would() -> None:
    use = {"type": "tool_use", "id": "c1", "name": "refund", "input": {}}
    said = {"role": "assistant", "content": [use]}
    lost = {"type": "tool_result", "tool_use_id": "c9", "content": "ok"}
    with asking(DONE) as (client, lab):
        with pytest.raises(anthropic.BadRequestError, match="no result: c1"):
            ask(client, USER, said)
        with pytest.raises(anthropic.BadRequestError, match="no result: c1"):
            ask(client, USER, said, USER)
        with pytest.raises(anthropic.BadRequestError, match="no message before it made"):
            ask(client, USER, said, {"role": "user", "content": [lost]})
    assert lab.asked == []


@pytest.mark.parametrize("below", ["model", "model/v1"])
def test_a_base_url_may_have_the_version_already(below: str) -> None:
    with asking(DONE, below=below) as (client, _):
        assert ask(client).content[0].text == DONE.text
        listed = client.models.list()
        assert [(m.id, m.type) for m in listed.data] == [("chaoslab", "model")]
