"""The client of a real provider: what goes out, what comes back, and that its key stays hidden."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.serve.provider import Reply, called, provider, said

from chaoslab.core.errors import LabError, UsageError
from chaoslab.serve.models import chat, messages, responses
from chaoslab.serve.models.asking import ASKING, Asking, completion
from chaoslab.serve.models.memory import Memory
from chaoslab.serve.models.wire import read
from chaoslab.serve.provider import Provider, reply_of
from chaoslab.world.api import ModelReply, ToolCall

KEY = "sk-very-secret-0123456789"
ASKED = [{"role": "user", "content": "Refund A-1."}]


def ask(url: str, key: str = KEY) -> ModelReply:
    return asyncio.run(Provider.at(url, key=key, model="m").complete(ASKED, ["refund"]))


def test_an_answer_with_a_tool_call_is_read() -> None:
    with provider(lambda body: called("refund", {"order": "A-1", "share": 0.5}, "c1")) as fake:
        reply = ask(fake.url)
    # No float enters the lab.
    made = ToolCall(id="c1", name="refund", args={"order": "A-1", "share": "0.5"})
    assert reply == ModelReply(tool_calls=(made,), finish="tool-calls")
    assert fake.paths == ["/v1/chat/completions"]
    assert fake.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert fake.bodies[0]["stream"] is False and fake.bodies[0]["model"] == "m"


def test_without_a_key_none_is_sent() -> None:
    with provider(lambda body: said("Done.")) as fake:
        assert ask(fake.url, key="").text == "Done."
    assert "Authorization" not in fake.headers[0]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            (401, {"error": {"message": f"Incorrect API key: {KEY}"}}),
            "401: Incorrect API key: [the",
        ),
        ((429, {"error": {"message": "slow down"}}), "429: slow down"),
        ((500, b"x" * 250 + KEY.encode() * 20), "answered with 500: xxx"),
        ((302, b""), "answered with 302"),
        ((200, b"<html>"), "is not JSON"),
        ((200, {"choices": []}), "choices[0].message is missing"),
        ((200, said(f"your key is {KEY}")[1]), "put the key itself into an answer"),
    ],
)
def test_what_is_no_answer_is_an_error_without_the_key(reply: Reply, words: str) -> None:
    with provider(lambda body: reply) as fake, pytest.raises(LabError) as caught:
        ask(fake.url)
    assert words in str(caught.value) and KEY[:12] not in str(caught.value)
    assert caught.value.exit_code == 4 and len(fake.bodies) == 1


def test_a_provider_that_is_not_there() -> None:
    with provider(lambda body: said("")) as fake:
        pass
    with pytest.raises(LabError, match="cannot be asked"):
        ask(fake.url)


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        ("http://api.example.com/v1", KEY, "unencrypted"),
        ("ftp://127.0.0.1/v1", "", "neither HTTP nor HTTPS"),
        ("https://me@api.example.com/v1", "", "has a user name"),
        ("https://", "", "has no plain host name"),
        ("https://api.example.com/v1?x=1", "", "has a query"),
        ("https://api.example.com/v1", "sk-a\nHost: b", "blanks or signs"),
    ],
)
def test_addresses_and_keys_that_are_refused(url: str, key: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Provider.at(url, key=key)
    assert not key or key not in str(caught.value)


def test_finishes() -> None:
    def finish(message: Mapping[str, Any], ended: str) -> str:
        return reply_of({"choices": [{"message": message, "finish_reason": ended}]}).finish

    assert finish({"content": "a"}, "stop") == "stop"
    assert finish({"content": "a"}, "length") == "truncated"
    assert finish({"content": "a"}, "content_filter") == "refusal"
    assert finish({"content": None, "refusal": "no"}, "stop") == "refusal"


SCHEMA = {"type": "object", "properties": {"share": {"type": "number", "maximum": 1}}}
NESTED = {"type": "function", "function": {"name": "refund", "parameters": SCHEMA}}
CHAT = b"""{"model": "agent's", "stream": true, "stream_options": {}, "temperature": 0.7,
  "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters":
    {"type": "object", "properties": {"share": {"type": "number", "maximum": 0.5}}}}}]}"""


def test_chat_completions_go_on_as_they_are() -> None:
    ask = chat.asked(read(CHAT))
    token = ASKING.set(Asking(form=chat, ask=ask))
    try:
        body = completion(ask.messages, ask.tools, model="")
    finally:
        ASKING.reset(token)
    assert body["model"] == "agent's" and body["stream"] is False and "stream_options" not in body
    assert body["temperature"] == 0.7
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    limits = body["tools"][0]["function"]["parameters"]["properties"]["share"]
    assert limits["maximum"] == 0.5


def test_messages_and_responses_are_said_as_chat_completions() -> None:
    anthropic = {
        "model": "a",
        "max_tokens": 10,
        "system": "Be kind.",
        "tools": [{"name": "refund", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any"},
        "messages": [
            {"role": "user", "content": "Refund A-1."},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "refund", "input": {"o": 1}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "ok"}],
            },
        ],
    }
    openai = {
        "model": "a",
        "instructions": "Be kind.",
        "tools": [{"type": "function", "name": "refund", "parameters": SCHEMA}],
        "tool_choice": "required",
        "input": [
            {"role": "user", "content": "Refund A-1."},
            {"type": "function_call", "call_id": "c1", "name": "refund", "arguments": '{"o":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
        ],
    }
    call = {"id": "c1", "type": "function"}
    call["function"] = {"name": "refund", "arguments": '{"o":1}'}  # type: ignore[assignment]
    for form, asked in (
        (messages, messages.asked(anthropic)),
        (responses, responses.asked(openai, Memory())),
    ):
        token = ASKING.set(Asking(form=form, ask=asked))
        try:
            body = completion(asked.messages, asked.tools, model="real")
        finally:
            ASKING.reset(token)
        assert body["model"] == "real" and body["tool_choice"] == "required"
        assert body["tools"] == [NESTED]
        assert body["messages"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Refund A-1."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        ]
