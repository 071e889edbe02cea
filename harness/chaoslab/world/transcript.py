"""What a transcript says, whoever wrote it: calls that the model asked for, and their results.

Agents and frameworks send the same conversation in several spellings: text as a string or as
blocks, arguments as an object or as JSON text, an error as JSON, as a flag or as a sentence. The
model must understand all of them alike, or it would test the spelling and not the agent.

>>> failure({"role": "tool", "content": '{"error": {"code": "conflict"}}'})
'conflict'
>>> failure({"role": "tool", "content": "Error: order not found\\n Please fix your mistakes."})
''
>>> failure({"role": "tool", "content": '{"ref": "r-1"}'}) is None
True
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaoslab.core.jsons import Json, canonical

_FLAGS: Final = ("is_error", "isError")
_FINE: Final = (None, False, "")  # what stands under "error" where there is none
# "Errors found: 0" and "Error-free" are no errors.
_SENTENCE = re.compile(r"\s*Error\b(?!-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A tool call as it stands in a transcript; `args` is None where they cannot be read."""

    id: str
    name: str
    args: Mapping[str, Json] | None


def text_of(content: object, /) -> str:
    """The text of a message: a string, or the text blocks of a list; else nothing.

    >>> text_of([{"type": "text", "text": "a"}, {"type": "image"}, "b"])
    'a\\nb'
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    parts = [p.get("text") if isinstance(p, Mapping) else p for p in content]
    return "\n".join(p for p in parts if isinstance(p, str))


def calls_in(message: Mapping[str, Any], /) -> list[Mapping[str, Any]]:
    """The tool calls of an assistant's message, as they stand there."""
    calls = message.get("tool_calls")
    if type(calls) is not list and type(calls) is not tuple:
        return []
    return [c for c in calls if isinstance(c, Mapping)]


def asked(call: Mapping[str, Any], /) -> Asked:
    """A tool call in one spelling.

    >>> asked({"id": "c1", "function": {"name": "refund", "arguments": '{"order": "A-1"}'}})
    Asked(id='c1', name='refund', args={'order': 'A-1'})
    """
    inner = call.get("function")
    said: Mapping[str, Any] = inner if isinstance(inner, Mapping) else call
    args = said.get("args", said.get("arguments"))
    if isinstance(args, str):
        args = parsed(args)
    return Asked(
        id=str(call.get("id", "")),
        name=str(said.get("name", "")),
        args=args if isinstance(args, Mapping) else None,
    )


def result_id(message: Mapping[str, Any], /) -> str:
    """The id of the call that a tool message answers; "" where it names none."""
    found = message.get("tool_call_id", message.get("id"))
    return found if isinstance(found, str) else ""


def parsed(text: str, /) -> Json:
    """The object or list that a text spells as JSON without floats; None where it does not."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        found: Json = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return found


def _refuse(text: str) -> None:
    raise ValueError(text)


def failure(message: Mapping[str, Any], pattern: str = "", /) -> str | None:
    """The code of a tool message that tells of an error, "" where it has none; None where it
    tells of no error. `pattern` is a team's own sign of errors, searched in the text; a group
    named `code` gives the code.

    >>> failure({"content": "FAILED: too late"}, r"^FAILED: (?P<code>.*)")
    'too late'
    """
    content = message.get("content")
    if type(content) is str and not pattern and "rror" not in content:
        # The common case, quickly: no sign of an error can be spelled without these letters.
        return "" if any(message.get(flag) is True for flag in _FLAGS) else None
    text = text_of(content)
    told: object = _loose(text)
    if isinstance(content, Mapping):
        told, text = content, canonical(dict(content))
    if pattern:
        found = re.search(pattern, text)
        if found is not None:
            return str(found.groupdict().get("code") or "")
    flagged = any(message.get(flag) is True for flag in _FLAGS)
    if isinstance(told, Mapping):
        flagged = flagged or any(told.get(flag) is True for flag in _FLAGS)
        error = told.get("error")
        if flagged or ("error" in told and error not in _FINE):
            return _code(told, error, pattern)
        return None
    broken = text.lstrip().startswith('{"error"')  # JSON that was cut
    return "" if flagged or broken or _SENTENCE.match(text) else None


def _loose(text: str) -> object:
    """As `parsed`, floats and all: a result is read here, not recorded."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _code(told: Mapping[str, Any], error: object, pattern: str) -> str:
    code = error
    if isinstance(error, Mapping):
        code, message = error.get("code"), error.get("message")
        # A wire that only marks a result as an error wraps what the tool said; its code is better.
        inner = failure({"content": message}, pattern) if isinstance(message, str) else None
        if inner:
            return inner
    if not isinstance(code, (str, int)) or isinstance(code, bool):
        code = told.get("code")
    return str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) else ""
