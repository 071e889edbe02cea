"""OpenAI's Responses.

>>> from chaoslab.world.api import ModelReply
>>> ask = asked({"instructions": "be kind", "input": "hello"})
>>> ask.messages
({'role': 'system', 'content': 'be kind'}, {'role': 'user', 'content': 'hello'})
>>> [item["type"] for item in answer(ask, ModelReply(text="hello"), "p1_1")["output"]]
['message']
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from chaoslab.serve.models.chat import error
from chaoslab.serve.models.memory import Memory
from chaoslab.serve.models.transcript import Transcript, tool_names
from chaoslab.serve.models.wire import (
    Ask,
    Items,
    Malformed,
    Object,
    args_of,
    args_text,
    counts,
    event,
    objects,
    pieces,
    string,
    text_of,
)
from chaoslab.world.api import ModelReply

__all__ = ["answer", "asked", "error", "events"]

_ROLES: Final = ("system", "developer", "user", "assistant")
_TYPES: Final = (
    "message, function_call, function_call_output, custom_tool_call, custom_tool_call_output, "
    "reasoning, item_reference"
)
# What an answer repeats of the request, and what stands there where the request is silent.
_ECHOED: Final[Object] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "tool_choice": "auto",
    "tools": [],
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
}


def asked(body: Object, memory: Memory | None = None, /) -> Ask:
    """A request for a response; `memory` holds what it may refer to. Raises Malformed."""
    memory = memory or Memory()
    for key in ("background", "conversation", "prompt"):
        if body.get(key):
            raise Malformed(
                f"{key} is not offered by the lab's model",
                value=body[key],
                allowed="nothing",
                hint="send the conversation as input, or previous_response_id",
                param=key,
            )
    items = _earlier(body, memory) + _input(body, memory)
    if not items:
        raise Malformed("input is empty", allowed="a string or at least one item", param="input")
    told = Transcript(at_once=False)
    # Instructions hold for one response and are not remembered with it.
    if instructions := text_of(body.get("instructions"), "instructions"):
        told.say("system", instructions, "instructions")
    for index, item in enumerate(items):
        _hear(told, item, f"input[{index}]")
    tools = tool_names(body)
    return Ask(body=body, messages=told.done("input"), tools=tools, items=items)


def _earlier(body: Object, memory: Memory) -> Items:
    previous = body.get("previous_response_id")
    if previous is None:
        return ()
    if not isinstance(previous, str) or previous not in memory.responses:
        raise Malformed(
            "previous_response_id names no response of this execution",
            value=previous,
            allowed="an id that the lab's model gave",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return memory.responses[previous]


def _input(body: Object, memory: Memory) -> Items:
    given = body.get("input")
    if isinstance(given, str):
        return ({"role": "user", "content": given},)
    if not isinstance(given, list):
        raise Malformed("input", value=given, allowed="a string or a list of items", param="input")
    items = []
    for index, item in enumerate(objects(given, "input")):
        refers = item.get("type") == "item_reference" or ("type" not in item and "role" not in item)
        if not refers:
            items.append(item)
            continue
        where = f"input[{index}]"
        found = memory.items.get(string(item, "id", where))
        if found is None:
            raise Malformed(
                f"{where} refers to an item that is not known",
                value=item["id"],
                allowed="an id that the lab's model gave",
                param="input",
            )
        items.append(found)
    return tuple(items)


def _hear(told: Transcript, item: Object, where: str) -> None:
    kind = item.get("type", "message")
    if kind == "reasoning":
        return
    if kind == "message":
        role = string(item, "role", where)
        if role not in _ROLES:
            place = f"{where}.role"
            raise Malformed(place, value=role, allowed=", ".join(_ROLES), param=place)
        content = text_of(item.get("content"), f"{where}.content")
        told.say("system" if role == "developer" else role, content, where)
    elif kind == "function_call":
        args = args_of(string(item, "arguments", where))
        told.call(string(item, "call_id", where), string(item, "name", where), args)
    elif kind == "custom_tool_call":
        args = {"input": string(item, "input", where)}
        told.call(string(item, "call_id", where), string(item, "name", where), args)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        content = text_of(item.get("output"), f"{where}.output")
        told.result(string(item, "call_id", where), content, where)
    else:
        raise Malformed(f"{where}.type", value=kind, allowed=_TYPES, param=where)


def answer(ask: Ask, reply: ModelReply, name: str, /) -> dict[str, Any]:
    """A response.

    >>> refusal = ModelReply(text="I cannot.", finish="refusal")
    >>> answer(asked({"input": "hello"}), refusal, "p1_1")["output"][0]["content"]
    [{'type': 'refusal', 'refusal': 'I cannot.'}]
    """
    cut = reply.finish == "truncated"
    status = "incomplete" if cut else "completed"
    output: list[Object] = []
    if reply.text or not reply.tool_calls:
        part: Object = {"type": "output_text", "text": reply.text, "annotations": []}
        if reply.finish == "refusal":
            part = {"type": "refusal", "refusal": reply.text}
        output.append(
            {
                "id": f"msg_{name}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [part],
            }
        )
    for nth, call in enumerate(reply.tool_calls, 1):
        output.append(
            {
                "id": f"fc_{name}_{nth}",
                "type": "function_call",
                "status": status,
                "call_id": call.id,
                "name": call.name,
                "arguments": args_text(dict(call.args)),
            }
        )
    sent, got = counts(ask, reply)
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": ask.model,
        "output": output,
        **{
            k: default if ask.body.get(k) is None else ask.body[k] for k, default in _ECHOED.items()
        },
        "usage": {
            "input_tokens": sent,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": got,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sent + got,
        },
    }


def events(ask: Ask, answer: Object, /) -> Iterator[bytes]:
    """The events of a response, numbered."""
    for number, data in enumerate(_events(answer)):
        yield event({**data, "sequence_number": number}, name=data["type"])


def _events(answer: Object) -> Iterator[Object]:
    begun = {
        **answer,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(answer["output"]):
        where = {"output_index": index}
        empty: Object = {"content": []} if item["type"] == "message" else {"arguments": ""}
        added = {**item, "status": "in_progress", **empty}
        yield {"type": "response.output_item.added", **where, "item": added}
        where = {"item_id": item["id"], **where}
        yield from (_message if item["type"] == "message" else _call)(item, where)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{answer['status']}", "response": answer}


def _message(item: Object, where: Object) -> Iterator[Object]:
    for index, part in enumerate(item["content"]):
        place = {**where, "content_index": index}
        key = "refusal" if part["type"] == "refusal" else "text"
        kind = f"response.{part['type']}"
        more: Object = {"logprobs": []} if key == "text" else {}
        empty = {**part, key: ""}
        yield {"type": "response.content_part.added", **place, "part": empty}
        for piece in pieces(part[key]):
            yield {"type": f"{kind}.delta", **place, "delta": piece, **more}
        yield {"type": f"{kind}.done", **place, key: part[key], **more}
        yield {"type": "response.content_part.done", **place, "part": part}


def _call(item: Object, where: Object) -> Iterator[Object]:
    kind = "response.function_call_arguments"
    for piece in pieces(item["arguments"]):
        yield {"type": f"{kind}.delta", **where, "delta": piece}
    said = {"arguments": item["arguments"], "name": item["name"]}
    yield {"type": f"{kind}.done", **where, **said}
