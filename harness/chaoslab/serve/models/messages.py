"""Anthropic's messages.

>>> from chaoslab.world.api import ModelReply, ToolCall
>>> use = {"type": "tool_use", "id": "c1", "name": "refund", "input": {"order": 7}}
>>> failed = {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True}
>>> asked({"messages": [
...     {"role": "assistant", "content": [use]}, {"role": "user", "content": [failed]},
... ]}).messages[1]["content"]
{'error': {'code': 'tool-error', 'message': 'no'}}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from chaoslab.serve.models.transcript import Transcript, tool_names
from chaoslab.serve.models.wire import (
    Ask,
    Malformed,
    Object,
    compact,
    counts,
    event,
    inside,
    objects,
    pieces,
    string,
    text_of,
)
from chaoslab.world.api import ModelReply

_ROLES: Final = ("user", "assistant", "system")
_TYPES: Final = {
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
_STOPS: Final = {"truncated": "max_tokens", "refusal": "refusal"}


def asked(body: Object, /) -> Ask:
    """A request for a message. Raises Malformed."""
    told = Transcript(at_once=True)
    if system := text_of(body.get("system"), "system"):
        told.say("system", system, "system")
    messages = objects(body.get("messages"), "messages")
    if not messages:
        raise Malformed("messages is empty", allowed="at least one message", param="messages")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = string(message, "role", where)
        if role not in _ROLES:
            raise Malformed(f"{where}.role", value=role, allowed=", ".join(_ROLES))
        blocks = _blocks(message.get("content"), f"{where}.content")
        if role == "assistant":
            _hear_assistant(told, blocks, where)
        else:
            _hear_others(told, role, blocks, where)
    return Ask(body=body, messages=told.done("messages"), tools=tool_names(body))


def _blocks(content: object, where: str) -> list[Object]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise Malformed(where, value=content, allowed="a string or a list of blocks")
    return list(objects(content, where))


def _hear_assistant(told: Transcript, blocks: list[Object], where: str) -> None:
    uses = [b for b in blocks if b.get("type") == "tool_use"]
    said = [b for b in blocks if b.get("type") != "tool_use"]
    told.say("assistant", text_of(said, f"{where}.content"), where)
    for use in uses:
        place = f"{where}.content (tool_use)"
        told.call(string(use, "id", place), string(use, "name", place), inside(use, "input", place))


def _hear_others(told: Transcript, role: str, blocks: list[Object], where: str) -> None:
    """Results come first, then what was said beside them, as the vendor wants it."""
    results = [b for b in blocks if b.get("type") == "tool_result"]
    for result in results:
        place = f"{where}.content (tool_result)"
        content: str | Object = text_of(result.get("content"), f"{place}.content")
        if result.get("is_error") is True:
            content = {"error": {"code": "tool-error", "message": content}}
        told.result(string(result, "tool_use_id", place), content, place)
    said = [b for b in blocks if b.get("type") != "tool_result"]
    if said or not results:
        told.say(role, text_of(said, f"{where}.content"), where)


def answer(ask: Ask, reply: ModelReply, name: str, /) -> dict[str, Any]:
    """A message.

    >>> ask = asked({"messages": [{"role": "user", "content": "hello"}]})
    >>> answer(ask, ModelReply(text="half a sen", finish="truncated"), "p1_1")["stop_reason"]
    'max_tokens'
    """
    content: list[Object] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.args)}
        for call in reply.tool_calls
    ]
    sent, got = counts(ask, reply)
    refusal = {"type": "refusal", "category": None, "explanation": reply.text or None}
    return {
        "id": f"msg_{name}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": _STOPS.get(reply.finish, "tool_use" if reply.tool_calls else "end_turn"),
        "stop_sequence": None,
        "stop_details": refusal if reply.finish == "refusal" else None,
        "usage": {"input_tokens": sent, "output_tokens": got},
    }


def events(ask: Ask, answer: Object, /) -> Iterator[bytes]:
    """The events of a message."""
    for data in _events(answer):
        yield event(data, name=data["type"])


def _events(answer: Object) -> Iterator[Object]:
    ends = {k: answer[k] for k in ("stop_reason", "stop_sequence", "stop_details")}
    usage = {**answer["usage"], "output_tokens": 0}
    opening = {**answer, **dict.fromkeys(ends), "content": [], "usage": usage}
    yield {"type": "message_start", "message": opening}
    yield {"type": "ping"}
    for index, block in enumerate(answer["content"]):
        if block["type"] == "text":
            empty, kind, key = {**block, "text": ""}, "text_delta", "text"
            whole = block["text"]
        else:
            empty, kind, key = {**block, "input": {}}, "input_json_delta", "partial_json"
            whole = compact(block["input"])
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for piece in pieces(whole):
            delta = {"type": kind, key: piece}
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": ends, "usage": answer["usage"]}
    yield {"type": "message_stop"}


def error(status: int, text: str, /, *, param: str = "", code: str = "") -> Object:
    """An error as Anthropic words it. It knows neither a parameter nor a code.

    >>> error(400, "messages is empty")["error"]["type"]
    'invalid_request_error'
    """
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": text}}
