"""Odd requests to the model: what is wrong is named in the vendor's form, and nothing is a 500."""

from __future__ import annotations

import gc
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.unit.serve.fake import FakeLab, served

from chaoslab.serve import models
from chaoslab.serve.models import chat, messages, responses
from chaoslab.serve.models import memory as memories
from chaoslab.serve.models.memory import Memory, memory_of
from chaoslab.serve.models.wire import Malformed
from chaoslab.world.api import ModelReply, ToolCall

USER: dict[str, Any] = {"role": "user", "content": "hello"}
CALL: dict[str, Any] = {"id": "c", "function": {"name": "refund", "arguments": "{}"}}
USE: dict[str, Any] = {"type": "tool_use", "id": "c", "name": "refund"}
PATHS = ("v1/chat/completions", "v1/responses", "v1/messages")
KEY = {PATHS[0]: "messages", PATHS[1]: "input", PATHS[2]: "messages"}


@pytest.fixture(scope="module")
def lab() -> FakeLab:
    return FakeLab(answers={"model": deque([ModelReply(text="hello")])})


@pytest.fixture(scope="module")
def client(lab: FakeLab) -> Iterator[httpx.Client]:
    with served(lab, {"model": models.handle}) as base:
        with httpx.Client(base_url=f"{base}/model/", trust_env=False) as client:
            yield client


def refusal(path: str, found: httpx.Response) -> str:
    """The words of a 400, after a look at the form of the vendor."""
    assert found.status_code == 400, found.text
    body = found.json()
    assert body["error"]["type"] == "invalid_request_error"
    if path.endswith("messages"):
        assert body["type"] == "error" and set(body["error"]) == {"type", "message"}
    else:
        assert set(body["error"]) == {"type", "message", "param", "code"}
    text: str = body["error"]["message"]
    return text


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not JSON"),
        (b'{"messages": [', "not JSON"),
        (b"[1]", "no JSON object"),
        (b'"text"', "no JSON object"),
        (b"\xff\xfe\xfd", "UTF-8"),
        (b'{"temperature": NaN}', "NaN"),
        (b"[" * 100_000, "nested"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "digits"),
        (b'{"model": 7}', "model: got 7 (int)"),
        (b'{"stream": "yes"}', "stream: got 'yes' (str)"),
        (b'{"user": "\\ud800"}', "UTF-8"),
        (b'{"user": ' + b"[" * 50 + b"]" * 50 + b"}", "40 levels"),
        (b"{}", "got None"),
    ],
)
def test_a_body_that_is_no_request(client: httpx.Client, path: str, raw: bytes, words: str) -> None:
    assert words in refusal(path, client.post(path, content=raw))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "empty"),
        (7, "got 7 (int)"),
        ({"role": "user"}, "a list"),
        (["hello"], "[0]: got 'hello' (str)"),
        ([{"role": 7, "content": "x"}], "[0].role: got 7"),
        ([{"role": "robot", "content": "x"}], "[0].role: got 'robot'"),
        ([{"role": "user", "content": 7}], "content: got 7"),
        ([{"role": "user", "content": ["x"]}], "content[0]: got 'x'"),
        ([{"role": "user", "content": [{"text": "x"}]}], "content[0].type is missing"),
        ([{"role": "user", "content": [{"type": "text"}]}], "content[0].text is missing"),
    ],
)
def test_a_conversation_that_is_none(
    client: httpx.Client, path: str, given: object, words: str
) -> None:
    assert words in refusal(path, client.post(path, json={KEY[path]: given}))


def arguments(text: object) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": "refund", "arguments": text}}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (PATHS[0], {"messages": [USER], "n": 2}, "n: got 2"),
        (PATHS[0], {"messages": [USER], "tools": {}}, ""),
        (PATHS[0], {"messages": [USER], "tools": "x"}, "tools: got 'x'"),
        (PATHS[0], {"messages": [USER], "tools": [{"type": "function"}]}, "tools[0].function"),
        (PATHS[0], {"messages": [USER], "tools": [{"name": "x"}]}, "tools[0].type is missing"),
        (
            PATHS[0],
            {"messages": [{"role": "function", "name": "x", "content": "y"}]},
            "'function'",
        ),
        (PATHS[0], {"messages": [{"role": "tool", "content": "x"}]}, "tool_call_id is missing"),
        (
            PATHS[0],
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "magic"}]}]},
            "'magic'",
        ),
        (
            PATHS[0],
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
            "tool_calls[0].function: got None",
        ),
        (
            PATHS[0],
            {"messages": [{"role": "assistant", "tool_calls": [arguments({})]}]},
            "function.arguments: got {}",
        ),
        (PATHS[1], {"input": "x", "conversation": "conv_1"}, "conversation is not offered"),
        (PATHS[1], {"input": "x", "background": True}, "background is not offered"),
        (PATHS[1], {"input": "x", "previous_response_id": 7}, "got 7"),
        (PATHS[1], {"input": [{"type": "computer_call"}]}, "'computer_call'"),
        (PATHS[1], {"input": [{"type": 7}]}, "type: got 7"),
        (PATHS[1], {"input": [{}]}, "input[0].id is missing"),
        (PATHS[1], {"input": "x", "tools": [{"type": "function"}]}, "tools[0].name is missing"),
        (PATHS[1], {"input": "x", "instructions": 7}, "instructions: got 7"),
        (PATHS[2], {"messages": [USER], "system": 7}, "system: got 7"),
        (PATHS[2], {"messages": [{"role": "user", "content": None}]}, "content: got None"),
        (
            PATHS[2],
            {"messages": [{"role": "assistant", "content": [USE]}]},
            "(tool_use).input: got None",
        ),
        (
            PATHS[2],
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "tool_use_id is missing",
        ),
    ],
)
def test_a_request_with_something_wrong_inside(
    client: httpx.Client, path: str, body: dict[str, Any], words: str
) -> None:
    found = client.post(path, json=body)
    if not words:  # an empty object of tools is no tools
        assert found.status_code == 200
        return
    assert words in refusal(path, found)


def test_arguments_that_a_history_cannot_hold_are_refused(client: httpx.Client) -> None:
    deep = '{"a":' * 39 + "1" + "}" * 39
    made = {"role": "assistant", "tool_calls": [arguments(deep)]}
    body = {"messages": [made, {"role": "tool", "tool_call_id": "c", "content": "x"}]}
    assert "40 levels" in refusal(PATHS[0], client.post(PATHS[0], json=body))


def test_a_body_without_end_is_refused(client: httpx.Client) -> None:
    found = client.post(PATHS[2], content=b" " * ((16 << 20) + 1))
    assert "longer than" in refusal(PATHS[2], found)


@pytest.mark.parametrize("path", ["chat/completions", "v1/responses", "v1/v1/messages"])
def test_addresses_with_and_without_a_version(client: httpx.Client, path: str) -> None:
    key = "input" if "responses" in path else "messages"
    assert client.post(path, json={key: [USER]}).json()["model"] == "chaoslab"
    assert client.get(path).status_code == 405


def test_other_addresses_are_told_what_there_is(client: httpx.Client) -> None:
    found = client.post("v1/embeddings", json={})
    assert found.status_code == 404
    assert "chat/completions, responses, messages, models" in found.json()["error"]["message"]
    assert client.post("v1/models", json={}).status_code == 405


def test_a_stream_ends_as_the_vendor_ends_it(client: httpx.Client) -> None:
    said = {"messages": [USER], "stream": True}
    found = client.post(PATHS[0], json=said)
    assert found.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in found.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
    named = client.post(PATHS[2], json=said).text.strip().split("\n\n")
    for block in named:
        head, data = block.split("\n")
        assert head == f"event: {json.loads(data.removeprefix('data: '))['type']}"


def test_developer_is_system_and_parts_are_joined() -> None:
    parts: list[Any] = [
        {"type": "text", "text": "look:"},
        {"type": "image_url", "image_url": {"url": "u"}},
    ]
    told = chat.asked(
        {"messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": parts}]}
    ).messages
    assert told[0] == {"role": "system", "content": "d"}
    head, image = told[1]["content"].split("\n")
    assert head == "look:" and image.startswith("[image_url ")
    parts[1]["image_url"] = {"url": "v"}
    again = chat.asked({"messages": [{"role": "user", "content": parts}]}).messages
    assert again[0]["content"] != told[1]["content"]


def test_a_cache_mark_changes_nothing() -> None:
    image = {"type": "image", "source": {"data": "AAAA"}}
    marked = {**image, "cache_control": {"type": "ephemeral"}}
    one, two = (
        messages.asked({"messages": [{"role": "user", "content": [part]}]}).messages
        for part in (image, marked)
    )
    assert one == two


def test_thoughts_are_passed_over() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": "yes"}]}
    assert messages.asked({"messages": [USER, said]}).messages[1]["content"] == "yes"


def test_numbers_in_arguments_are_whole_or_text() -> None:
    made = {"role": "assistant", "tool_calls": [arguments('{"a": 1.0, "b": [0.1], "c": 1e2}')]}
    result = {"role": "tool", "tool_call_id": "c", "content": '{"x": 0.5}'}
    told = chat.asked({"messages": [made, result]}).messages
    assert told[0]["tool_calls"][0]["args"] == {"a": 1, "b": ["0.1"], "c": 100}
    assert told[1]["content"] == '{"x": 0.5}'  # text stays text


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", {}),
        ("  ", {}),
        ("null", {"arguments": "null"}),
        ("[1]", {"arguments": "[1]"}),
        ("{", {"arguments": "{"}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
    ],
)
def test_arguments_that_are_no_object_are_kept_as_text(text: str, args: dict[str, Any]) -> None:
    made = {"role": "assistant", "tool_calls": [arguments(text)]}
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    told = chat.asked({"messages": [made, result]}).messages
    assert told[0]["tool_calls"][0]["args"] == args


@pytest.mark.parametrize("args", [{"arguments": "-l"}, {"arguments": '{"a":1}'}, {"arguments": 1}])
def test_a_tool_may_have_an_argument_named_arguments(args: dict[str, Any]) -> None:
    reply = ModelReply(tool_calls=(ToolCall(id="c", name="run", args=args),), finish="tool-calls")
    said = chat.answer(chat.asked({"messages": [USER]}), reply, "p1_1")["choices"][0]["message"]
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == args


def test_calls_and_results_of_responses_may_come_in_any_order_of_turns() -> None:
    def call(id: str) -> dict[str, Any]:
        return {"type": "function_call", "call_id": id, "name": "refund", "arguments": "{}"}

    def output(id: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": id, "output": id}

    told = responses.asked(
        {
            "input": [
                USER,
                call("a"),
                call("b"),
                USER,
                output("b"),
                output("a"),
                call("c"),
                output("c"),
            ]
        }
    ).messages
    assert [m["role"] for m in told] == [
        "user", "assistant", "user", "tool", "tool", "assistant", "tool",
    ]  # fmt: skip
    assert [len(m["tool_calls"]) for m in told if "tool_calls" in m] == [2, 1]


def test_custom_tools_of_openai_have_one_argument() -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    completion = chat.asked(
        {
            "messages": [{"role": "assistant", "tool_calls": [custom]}, result],
            "tools": [{"type": "custom", "custom": {"name": "sh"}}],
        }
    )
    item = {"type": "custom_tool_call", "call_id": "c", "name": "sh", "input": "ls"}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": "x"}
    response = responses.asked(
        {"input": [item, output], "tools": [{"type": "custom", "name": "sh"}]}
    )
    assert completion.messages == response.messages and completion.tools == response.tools
    assert completion.messages[0]["tool_calls"] == [
        {"id": "c", "name": "sh", "args": {"input": "ls"}}
    ]


def test_one_result_of_two_is_not_enough() -> None:
    calls = [{**CALL, "id": "a"}, {**CALL, "id": "b"}]
    made = {"role": "assistant", "tool_calls": calls}
    result = {"role": "tool", "tool_call_id": "a", "content": "x"}
    with pytest.raises(Malformed, match="no result: b"):
        chat.asked({"messages": [made, result, USER]})


def test_an_answer_of_another_incarnation_is_remembered_under_its_own_id() -> None:
    memory, ids = Memory(), []
    for process in ("p1", "p2"):
        ask = responses.asked({"input": f"from {process}"}, memory)
        answer = responses.answer(ask, ModelReply(text="ok"), memory.name(process))
        memory.keep(answer["id"], ask.items, tuple(answer["output"]))
        ids.append(answer["id"])
    assert ids == ["resp_p1_1", "resp_p2_1"]
    resumed = responses.asked({"input": "on", "previous_response_id": ids[0]}, memory).messages
    assert [m["content"] for m in resumed] == ["from p1", "ok", "on"]


def test_what_is_remembered_goes_with_its_lab() -> None:
    lab = FakeLab()
    assert memory_of(lab) is memory_of(lab) and memory_of(FakeLab()) is not memory_of(lab)
    key = id(lab)
    assert key in memories._BY_LAB
    del lab
    gc.collect()
    assert key not in memories._BY_LAB
