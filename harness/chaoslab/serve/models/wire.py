"""What the formats of the vendors have in common: JSON in, JSON and events out.

Two rules hold for all of them. A request that cannot be understood is refused with the place and
the reason, as the vendor would do, since an agent that sends rubbish after a crash must not be
told that all is well. And no float passes, since a history has none (see `serve.floats`).

>>> read(b'{"temperature": 0.7, "n": 2.0}')
{'temperature': '0.7', 'n': 2}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from chaoslab.core.errors import MISSING, UsageError
from chaoslab.core.jsons import Json, canonical, digest
from chaoslab.serve.floats import parsed
from chaoslab.world.api import ModelReply

Object: TypeAlias = Mapping[str, Any]
Items: TypeAlias = tuple[Object, ...]

MODEL: Final = "chaoslab"
_PIECE: Final = 16


class Malformed(UsageError):
    """A request that the vendor would answer with a 400; `param` is the key it is about."""

    def __init__(
        self,
        what: str,
        *,
        value: object = MISSING,
        allowed: str = "",
        hint: str = "",
        param: str = "",
        code: str = "",
    ) -> None:
        super().__init__(what, value=value, allowed=allowed, hint=hint)
        self.param, self.code = param, code


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request, understood. `items` is what a Responses client may refer to later."""

    body: Object
    messages: Items
    tools: tuple[str, ...] = ()
    items: Items = ()

    @property
    def model(self) -> str:
        """The name to echo."""
        name = self.body.get("model")
        return name if isinstance(name, str) else MODEL

    @property
    def streams(self) -> bool:
        """Whether the answer goes out as events."""
        return self.body.get("stream") is True


class Format(Protocol):
    """What a module for one vendor's format offers."""

    def asked(self, body: Object, /) -> Ask:
        """The request in the lab's words; raises Malformed."""

    def answer(self, ask: Ask, reply: ModelReply, name: str, /) -> dict[str, Any]:
        """The vendor's answer; `name` makes its ids."""

    def events(self, ask: Ask, answer: Object, /) -> Iterator[bytes]:
        """The same answer as server-sent events."""

    def error(self, status: int, text: str, /, *, param: str = "", code: str = "") -> Object:
        """The vendor's form of an error."""


def read(raw: bytes, /) -> Object:
    """The object that a request's body is, with what every format has checked."""
    try:
        body = parsed(raw, where="body")
    except ValueError as error:
        raise Malformed(str(error)) from None
    if not isinstance(body, dict):
        raise Malformed("the body is no JSON object", value=body, allowed="an object")
    if not isinstance(body.get("model", ""), str):
        raise Malformed("model", value=body["model"], allowed="a string", param="model")
    if not isinstance(body.get("stream"), (bool, type(None))):
        raise Malformed("stream", value=body["stream"], allowed="true or false", param="stream")
    return body


def objects(value: object, where: str, /) -> Sequence[Object]:
    """A list of objects."""
    if not isinstance(value, list):
        raise Malformed(where, value=value, allowed="a list of objects", param=where)
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            place = f"{where}[{index}]"
            raise Malformed(place, value=item, allowed="an object", param=place)
    return value


def inside(item: Object, key: str, where: str, /) -> Object:
    """An object that must be there."""
    value = item.get(key)
    if not isinstance(value, dict):
        place = f"{where}.{key}"
        raise Malformed(place, value=value, allowed="an object", param=place)
    return value


def string(item: Object, key: str, where: str, /) -> str:
    """A string that must be there."""
    value = item.get(key)
    if not isinstance(value, str):
        place = f"{where}.{key}"
        if key not in item:
            raise Malformed(f"{place} is missing", allowed="a string", param=place)
        raise Malformed(place, value=value, allowed="a string", param=place)
    return value


def text_of(content: object, where: str, /) -> str:
    """The text of a message: a string, or parts of which those that hold text are joined.

    What the model thought to itself is passed over. A part that is no text, such as an image, is
    named by what it holds, so that two transcripts with other images differ.

    >>> text_of([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "content")
    'a\\nb'
    >>> text_of([{"type": "image", "source": {"data": "AAAA"}}], "content")
    '[image 960085dd7853b8b6]'
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        allowed = "a string or a list of parts"
        raise Malformed(where, value=content, allowed=allowed, param=where)
    told = []
    for index, part in enumerate(objects(content, where)):
        place = f"{where}[{index}]"
        kind = string(part, "type", place)
        if kind in ("text", "input_text", "output_text"):
            told.append(string(part, "text", place))
        elif kind == "refusal":
            told.append(string(part, "refusal", place))
        elif kind not in ("thinking", "redacted_thinking"):
            # Where a cache is to begin moves from request to request and is no content.
            kept = {k: v for k, v in part.items() if k not in ("cache_control", "type")}
            told.append(f"[{kind} {digest(kept)}]")
    return "\n".join(told)


def args_of(text: str, /) -> dict[str, Any]:
    """The arguments of a tool call, from the text in which OpenAI's formats carry them.

    Broken ones go back into the form that the lab's model has for them, see `args_text`.

    >>> args_of('{"order": 7, "share": 0.5}'), args_of('{"order": "')
    ({'order': 7, 'share': '0.5'}, {'arguments': '{"order": "'})
    """
    if not text.strip():
        return {}
    try:
        found = parsed(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


def args_text(args: Object, /) -> str:
    """The other way round. A model whose arguments are malformed has only what it wrote:
    {"arguments": TEXT}, with a text that begins as an object and is none. It goes out as it is,
    since to an agent broken arguments are a text that it cannot parse.

    >>> args_text({"b": 1, "a": "é"}), args_text({"arguments": '{"order": "'})
    ('{"b":1,"a":"é"}', '{"order": "')
    """
    raw = args.get("arguments")
    if len(args) == 1 and isinstance(raw, str) and raw.startswith("{"):
        if args_of(raw) == {"arguments": raw}:
            return raw
    return compact(args)


def compact(value: Json, /) -> str:
    """JSON as a model writes it; the order of keys is the model's own."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tokens(value: Json, /) -> int:
    """A count that grows with the text as tokens would: a quarter of the characters."""
    return len(canonical(value)) // 4


def counts(ask: Ask, reply: ModelReply, /) -> tuple[int, int]:
    """How long a request and its answer are."""
    calls: list[Json] = [{"name": c.name, "args": dict(c.args)} for c in reply.tool_calls]
    return tokens(ask.messages), tokens([reply.text, calls])


def pieces(text: str, /) -> list[str]:
    """A text as a stream delivers it.

    >>> pieces("the refund is on its way"), pieces("")
    (['the refund is on', ' its way'], [])
    """
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]


def encoded(value: object, /) -> bytes:
    """JSON for the wire, in ASCII: a name that UTF-8 cannot hold is echoed all the same, and no
    line separator inside a text can end an event early."""
    return json.dumps(value, separators=(",", ":")).encode()


def event(data: Object, /, *, name: str = "") -> bytes:
    """One server-sent event.

    >>> event({"type": "ping"}, name="ping")
    b'event: ping\\ndata: {"type":"ping"}\\n\\n'
    """
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encoded(data) + b"\n\n"
