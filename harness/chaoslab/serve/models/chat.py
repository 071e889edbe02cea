"""OpenAI's chat completions.

>>> from chaoslab.world.api import ModelReply, ToolCall
>>> ask = asked({"messages": [{"role": "user", "content": "refund order 7"}]})
>>> ask.messages
({'role': 'user', 'content': 'refund order 7'},)
>>> call = ToolCall(id="call_1", name="refund", args={"order": 7})
>>> choice = answer(ask, ModelReply(tool_calls=(call,), finish="tool-calls"), "p1_1")["choices"][0]
>>> choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]
('tool_calls', {'name': 'refund', 'arguments': '{"order":7}'})
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from chaoslab.serve.models.transcript import Transcript, tool_names
from chaoslab.serve.models.wire import (
    Ask,
    Malformed,
    Object,
    args_of,
    args_text,
    counts,
    event,
    inside,
    objects,
    pieces,
    string,
    text_of,
)
from chaoslab.world.api import ModelReply

_ROLES: Final = ("system", "developer", "user", "assistant", "tool")
_TYPES: Final = {429: "rate_limit_error", 400: "invalid_request_error"}
_CODES: Final = {429: "rate_limit_exceeded"}


def asked(body: Object, /) -> Ask:
    """A request for a completion. Raises Malformed."""
    if body.get("n") not in (None, 1):
        raise Malformed("n", value=body["n"], allowed="1, the model gives one answer", param="n")
    told = Transcript(at_once=True)
    messages = objects(body.get("messages"), "messages")
    if not messages:
        raise Malformed("messages is empty", allowed="at least one message", param="messages")
    for index, message in enumerate(messages):
        _hear(told, message, f"messages[{index}]")
    tools = tool_names(body, nested=True)
    return Ask(body=body, messages=told.done("messages"), tools=tools)


def _hear(told: Transcript, message: Object, where: str) -> None:
    role = string(message, "role", where)
    if role not in _ROLES:
        place = f"{where}.role"
        raise Malformed(place, value=role, allowed=", ".join(_ROLES), param=place)
    content = text_of(message.get("content"), f"{where}.content")
    if role == "tool":
        told.result(string(message, "tool_call_id", where), content, where)
        return
    if role == "assistant":
        content = content or text_of(message.get("refusal"), f"{where}.refusal")
    told.say("system" if role == "developer" else role, content, where)
    if role == "assistant":
        calls = message.get("tool_calls") or []
        for index, call in enumerate(objects(calls, f"{where}.tool_calls")):
            _hear_call(told, call, f"{where}.tool_calls[{index}]")


def _hear_call(told: Transcript, call: Object, where: str) -> None:
    id = string(call, "id", where)
    kind = call.get("type", "function")
    if kind not in ("function", "custom"):
        raise Malformed(f"{where}.type", value=kind, allowed="function, custom", param=where)
    made, place = inside(call, kind, where), f"{where}.{kind}"
    if kind == "custom":
        told.call(id, string(made, "name", place), {"input": string(made, "input", place)})
    else:
        told.call(id, string(made, "name", place), args_of(string(made, "arguments", place)))


def answer(ask: Ask, reply: ModelReply, name: str, /) -> dict[str, Any]:
    """A completion with one choice."""
    refused = reply.finish == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if refused or (reply.tool_calls and not reply.text) else reply.text,
        "refusal": reply.text if refused else None,
        "annotations": [],
    }
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": args_text(dict(call.args))},
            }
            for call in reply.tool_calls
        ]
    finish = "tool_calls" if reply.tool_calls else "stop"
    sent, got = counts(ask, reply)
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 0,
        "model": ask.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "length" if reply.finish == "truncated" else finish,
            }
        ],
        "usage": {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got},
    }


def events(ask: Ask, answer: Object, /) -> Iterator[bytes]:
    """The chunks of a completion, and the line that ends a stream."""
    options = ask.body.get("stream_options")
    counted = isinstance(options, dict) and options.get("include_usage") is True
    head = {"id": answer["id"], "object": "chat.completion.chunk", "created": 0}
    head["model"] = answer["model"]
    usage = {"usage": None} if counted else {}
    choice = answer["choices"][0]
    for delta in _deltas(choice["message"]):
        step = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield event({**head, "choices": [step], **usage})
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
    yield event({**head, "choices": [last], **usage})
    if counted:
        yield event({**head, "choices": [], "usage": answer["usage"]})
    yield b"data: [DONE]\n\n"


def _deltas(message: Object) -> Iterator[Object]:
    content, refusal = message["content"], message["refusal"]
    yield {"role": "assistant", "content": None if content is None else "", "refusal": None}
    for piece in pieces(content or ""):
        yield {"content": piece}
    for piece in pieces(refusal or ""):
        yield {"refusal": piece}
    for index, call in enumerate(message.get("tool_calls", ())):
        made = call["function"]
        opening = {"name": made["name"], "arguments": ""}
        yield {"tool_calls": [{**call, "index": index, "function": opening}]}
        for piece in pieces(made["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def error(status: int, text: str, /, *, param: str = "", code: str = "") -> Object:
    """An error as OpenAI words it.

    >>> error(429, "not now")["error"]["code"]
    'rate_limit_exceeded'
    """
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    code = code or _CODES.get(status, "")
    return {"error": {"message": text, "type": kind, "param": param or None, "code": code or None}}
