"""A real model's answers, taken once and given again.

A recording is made for one task and used for all of its kind: the task's values (its order, the
customer's name) are kept as holes. So are the ids that differ each time: those of tool calls, and
the references that tool results give under `ref` or `id`. What an agent then asks must be what
was asked when it was recorded, apart from that and from white space; else it is told where it left
the recording.

A recording is a file of JSON lines, one for each answer:

    {"messages": [{"role": "user", "content": "Refund {order}."}], "reply": {"text": "Done."}}

>>> asked = [{"role": "user", "content": "Refund A-17."}]
>>> line = line_of(asked, ModelReply(text="A-17 is refunded."), {"order": "A-17"})
>>> line["reply"]
{'text': '{order} is refunded.'}
>>> other = Recording((line,), "Refund B-2.", {"order": "B-2"})
>>> other.lookup([{"role": "user", "content": "Refund  B-2."}])
ModelReply(text='B-2 is refunded.', tool_calls=(), finish='stop')
>>> print(other.lookup([{"role": "user", "content": "Refund B-2. Now!"}]).why)
message 1 (user) differs from the recording: got 'Refund B-2. Now!', recorded 'Refund B-2.'
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from chaoslab.core.jsons import Json, canonical, plain
from chaoslab.world.api import ModelReply, ToolCall
from chaoslab.world.transcript import asked, calls_in, parsed, result_id, text_of

Message: TypeAlias = Mapping[str, Any]

_HOLE = re.compile(r"\{([a-z_]+(?:\.[a-z0-9_]+)*)\}")
_REFERENCES: Final = ("ref", "id")
_STANDING: Final = ("system", "developer")
# Below these a value is likely to stand somewhere by chance.
_TEXT_LEAST, _NUMBER_LEAST = 2, 100
_SHOWN_MAX = 60
_AS_TEXT: Final = ".text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Where a transcript leaves the recording: the number of the message, from 1, and why."""

    message: int
    why: str


class Recording:
    """The lines of a recording, for the task that has these values.

    Of a transcript count what the agent tells its model once for all (`system`), and everything
    from the task's own prompt on; earlier tasks of the same conversation do not.
    """

    def __init__(self, lines: Sequence[Message], prompt: str, values: Mapping[str, Any], /) -> None:
        self._values = values
        self._prompt = _squeezed(prompt)
        self._lines: list[tuple[list[Message], Message]] = []
        own = _fill(values, {})
        for line in lines:
            shapes = _shapes(line["messages"])
            texts = [_filled(s, own) for s in shapes]
            part = [shapes[n] for n in self._part(texts)]
            names = _named(part, {})
            self._lines.append((_replaced(part, names), _replaced(line["reply"], names)))

    def lookup(self, messages: Sequence[Message], /) -> ModelReply | Departure:
        """What was answered to this transcript, with tool calls that have no ids yet; or where
        it leaves the recording."""
        shapes = _shapes(messages)
        part = self._part(shapes)
        live = [shapes[n] for n in part]
        names = _named(live, self._values)
        fill = _fill(self._values, names)
        best, recorded = -1, None
        for lines, reply in self._lines:
            same = _common(live, [_shape(_filled(line, fill)) for line in lines], names)
            if same == len(lines) == len(live):
                return _reply(reply, fill)
            if same > best or (same == best and recorded is None and same < len(lines)):
                best, recorded = same, lines[same] if same < len(lines) else None
        if best == len(live):
            last = part[-1] + 1
            return Departure(message=last, why=f"nothing was recorded after message {last}")
        number = part[best] + 1
        where = f"message {number} ({live[best]['role']})"
        if recorded is None:
            why = f"{where} goes on where the recording ends: got {_short(live[best])}"
        else:
            want = _short(_filled(recorded, fill))
            why = f"{where} differs from the recording: got {_short(live[best])}, recorded {want}"
        return Departure(message=number, why=why)

    def _part(self, shapes: Sequence[Message]) -> list[int]:
        """Which messages count: those that stand for all tasks, and those from the prompt on."""
        start = 0
        for number, shape in enumerate(shapes):
            if shape["role"] == "user" and self._prompt in str(shape.get("content", "")):
                start = number
        return [n for n, s in enumerate(shapes) if n >= start or s["role"] in _STANDING]


def line_of(
    messages: Sequence[Message], reply: ModelReply, values: Mapping[str, Any], /
) -> dict[str, Json]:
    """One line of a recording: a transcript and its answer, as templates."""
    shapes = _shapes(messages)
    names = _named(shapes, values)
    said: dict[str, Any] = {"text": reply.text} if reply.text else {}
    if reply.tool_calls:
        said["tool_calls"] = [{"name": c.name, "args": dict(c.args)} for c in reply.tool_calls]
    if reply.finish not in ("stop", "tool-calls"):
        said["finish"] = reply.finish
    return {
        "messages": plain(_replaced(shapes, names), where="messages"),
        "reply": plain(_replaced(said, names), where="reply"),
    }


def append(
    path: Path, messages: Sequence[Message], reply: ModelReply, values: Mapping[str, Any], /
) -> None:
    """Writes one more answer of a real model at the end of a recording. `values` are those of the
    task for which it was given. UsageError where something in it is no JSON without floats."""
    line = canonical(line_of(messages, reply, values))
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(line + "\n")


# -- one spelling


def _shapes(messages: Sequence[Message]) -> list[Message]:
    """The messages in one spelling, whoever wrote them."""
    return [_shape(m) for m in messages]


def _shape(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": str(message.get("role", ""))}
    content = message.get("content")
    if isinstance(content, Mapping):
        out["content"] = dict(content)
    else:
        text = _squeezed(str(content) if type(content) is int else text_of(content))
        told = parsed(text) if out["role"] == "tool" else None
        if told is not None or text:
            out["content"] = text if told is None else told
    calls = [asked(c) for c in calls_in(message)]
    if calls:
        out["tool_calls"] = [{"id": c.id, "name": c.name, "args": c.args} for c in calls]
    if out["role"] == "tool" and result_id(message):
        out["id"] = result_id(message)
    return out


def _squeezed(text: str) -> str:
    return " ".join(text.split())


# -- names: what stands for a value that is another one next time

_Names: TypeAlias = Mapping[str | int, str]


def _named(shapes: Sequence[Message], values: Mapping[str, Any]) -> _Names:
    """The names of the task's values, and of the ids that were given on the way."""
    names: dict[str | int, str] = {v: path for path, v in _flat(values) if _telling(v)}
    counts = {"call": 0, "given": 0}
    for shape in shapes:
        for kind, id in _ids(shape):
            # In a recording such an id is a hole already, and is counted anew: what came before
            # the task's own prompt was cut off.
            hole = _HOLE.fullmatch(id)
            if id not in names and (hole is None or hole[1].startswith(f"{kind}.")):
                counts[kind] += 1
                names[id] = f"{kind}.{counts[kind]}"
    return names


def _ids(shape: Message) -> Iterator[tuple[str, str]]:
    for call in shape.get("tool_calls", ()):
        if call["id"]:
            yield "call", call["id"]
    content = shape.get("content")
    if shape["role"] == "tool":
        if shape.get("id"):
            yield "call", shape["id"]
        if isinstance(content, Mapping):
            for key in _REFERENCES:
                found = content.get(key)
                if isinstance(found, str) and len(found) >= _TEXT_LEAST:
                    yield "given", found


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str | int]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        elif isinstance(value, str):
            yield f"{path}{key}", _squeezed(value)
        elif type(value) is int:
            yield f"{path}{key}", value


def _telling(value: str | int) -> bool:
    if isinstance(value, int):
        return abs(value) >= _NUMBER_LEAST
    return len(value) >= _TEXT_LEAST and (len(value) > _TEXT_LEAST or not value.isalpha())


def _fill(values: Mapping[str, Any], names: _Names) -> Mapping[str, str | int]:
    """What stands in each hole, also in those of values that are too short to be recognised."""
    return dict(_flat(values)) | {hole: value for value, hole in names.items()}


def _replaced(value: Any, names: _Names) -> Any:
    """The value with holes in place of what has a name, the longest first, whole words only."""
    by_text = {_squeezed(str(name)): hole for name, hole in names.items()}
    if not by_text:
        return value
    texts = sorted(by_text, key=lambda text: (-len(text), text))
    words = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, texts))})(?![A-Za-z0-9])")

    def walk(part: Any) -> Any:
        if isinstance(part, str):
            if part in by_text and part not in names:  # a number that was said as text
                return f"{{{by_text[part]}{_AS_TEXT}}}"
            return words.sub(lambda found: f"{{{by_text[found[0]]}}}", part)
        if type(part) is int:
            return f"{{{names[part]}}}" if part in names else part
        if isinstance(part, Mapping):
            return {k: walk(v) for k, v in part.items()}
        return [walk(v) for v in part] if isinstance(part, (list, tuple)) else part

    return walk(value)


def _filled(value: Any, fill: Mapping[str, str | int]) -> Any:
    """The value with its holes filled, as far as they are known. A whole hole keeps the type."""
    if isinstance(value, str):
        whole = _HOLE.fullmatch(value)
        if whole and whole[1] in fill:
            return fill[whole[1]]
        if whole and whole[1].removesuffix(_AS_TEXT) in fill:
            return str(fill[whole[1].removesuffix(_AS_TEXT)])
        return _HOLE.sub(lambda hole: str(fill.get(hole[1], hole[0])), value)
    if isinstance(value, Mapping):
        return {k: _filled(v, fill) for k, v in value.items()}
    return [_filled(v, fill) for v in value] if isinstance(value, (list, tuple)) else value


def _common(live: Sequence[Message], lines: Sequence[Message], names: _Names) -> int:
    """How many messages are the same from the start.

    The lines were filled with the values of this task, and now both sides lose them in the same
    way: so a constant of the agent's that equals one of its values by chance is no difference.
    """
    same = 0
    for message, line in zip(live, lines, strict=False):
        if _replaced(line, names) != _replaced(message, names):
            break
        same += 1
    return same


def _reply(reply: Message, fill: Mapping[str, str | int]) -> ModelReply:
    calls = tuple(
        ToolCall(id="", name=str(c["name"]), args=_filled(c.get("args", {}), fill))
        for c in reply.get("tool_calls", ())
    )
    text = str(_filled(reply.get("text", ""), fill))
    finish = str(reply.get("finish", "tool-calls" if calls else "stop"))
    return ModelReply(text=text, tool_calls=calls, finish=finish)


def _short(shape: Message) -> str:
    """A message in a few words: its text, or what it asks for."""
    said = shape.get("content", shape.get("tool_calls", ""))
    text = said if isinstance(said, str) else canonical(said)
    return repr(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…")
