"""A request of the agent's, said again as chat completions: for a provider that answers instead of
the lab's own model.

The world's model is asked with messages and names of tools alone. A real one must also be told
what the tools are, so the request as it came lies in `ASKING` while it is answered. One that came
as chat completions goes on as it is, but for what is about the connection; of any other format go
the messages, the tools, and which of them may be chosen.

>>> completion([{"role": "user", "content": "Refund A-1."}], ["refund"], model="m")["tools"]
[{'type': 'function', 'function': {'name': 'refund', 'parameters': {'type': 'object'}}}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from chaoslab.serve.models import chat
from chaoslab.serve.models.wire import Ask, Format, Object, args_text, compact


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request, and the format in which it came."""

    form: Format
    ask: Ask


ASKING: ContextVar[Asking | None] = ContextVar("chaoslab_asking", default=None)

# What is about the connection, or about what the vendor keeps.
_OURS: Final = ("model", "stream", "stream_options", "store", "metadata", "user")
# Keys whose value is a number with a fraction; the lab has read it as a text.
_FRACTIONS: Final = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
)
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "none": "none", "any": "required"}


def completion(messages: Sequence[Object], tools: Sequence[str], /, *, model: str) -> Object:
    """The body for a provider, as far as possible from the request that is being answered.
    `model` empty: the name that the agent gave."""
    asking = ASKING.get()
    body: dict[str, Any]
    if asking is not None and asking.form is chat:
        body = {k: v for k, v in asking.ask.body.items() if k not in _OURS}
    else:
        body = {"messages": [_message(m) for m in messages]}
        told = [_plain_tool(name) for name in tools]
        if asking is not None:
            told = [t for t in map(_tool, asking.ask.body.get("tools") or ()) if t is not None]
            choice = _choice(asking.ask.body.get("tool_choice"))
            if told and choice is not None:
                body["tool_choice"] = choice
        if told:
            body["tools"] = told
    named = model or ("" if asking is None else str(asking.ask.body.get("model") or ""))
    head = {"model": named} if named else {}
    found: Object = _with_fractions({**head, **body, "stream": False})
    return found


def _message(message: Object) -> Object:
    """A message in the lab's words, as chat completions have it."""
    content = message.get("content", "")
    text = content if isinstance(content, str) else compact(content)
    if message["role"] == "tool":
        return {"role": "tool", "tool_call_id": message["id"], "content": text}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": args_text(call["args"])},
        }
        for call in message.get("tool_calls", ())
    ]
    if calls:
        return {"role": message["role"], "content": text or None, "tool_calls": calls}
    return {"role": message["role"], "content": text}


def _plain_tool(name: str) -> Object:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def _tool(tool: Object) -> Object | None:
    """A tool of another format. None for what only that vendor's own servers can run."""
    schema = tool.get("input_schema", tool.get("parameters"))
    if "name" not in tool or not isinstance(schema, Mapping):
        return None
    about = {"description": tool["description"]} if tool.get("description") else {}
    return {"type": "function", "function": {"name": tool["name"], **about, "parameters": schema}}


def _choice(choice: object) -> object:
    """Which tool may be chosen; None where nothing is said of it that all formats know."""
    if isinstance(choice, str):
        return choice
    if not isinstance(choice, Mapping):
        return None
    if "name" in choice:
        return {"type": "function", "function": {"name": choice["name"]}}
    return _CHOICES.get(str(choice.get("type")))


def _with_fractions(value: Any) -> Any:
    """The same with its fractions as numbers again."""
    if isinstance(value, Mapping):
        return {
            k: _number(v) if k in _FRACTIONS and isinstance(v, str) else _with_fractions(v)
            for k, v in value.items()
        }
    return [_with_fractions(v) for v in value] if isinstance(value, (list, tuple)) else value


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
