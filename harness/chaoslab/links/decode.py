"""JSON as the original reads it, down to the words of its complaints.

Clients of Toxiproxy compare error texts, so these are part of the interface. They come from a
reader with habits of its own: it takes the first value and ignores what follows, finds keys
whatever their case, and leaves a field alone that is null. The standard library's reader has
other habits and other words, hence this one.

>>> parse('{"a": [1, "x"]} rest')
[('a', [Number('1'), 'x'])]
>>> parse('{"a":1,}')
Traceback (most recent call last):
    ...
chaoslab.links.decode.BodyError: invalid character '}' looking for beginning of object key string
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from math import isinf
from typing import Final, NoReturn, TypeAlias

_SPACE: Final = " \t\r\n"
_DEPTH_MAX: Final = 200
_LITERALS: Final = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}
_ESCAPES: Final = '"\\/bfnrt'
_HEX: Final = "0123456789abcdefABCDEF"
# How a character stands between quotes in a complaint.
_SHOWN: Final = {
    "'": r"\'",
    "\\": r"\\",
    **{chr(n): f"\\x{n:02x}" for n in range(32)},
    **dict(zip("\a\b\t\n\v\f\r", (rf"\{c}" for c in "abtnvfr"), strict=True)),
}
_DIGITS: Final = "0123456789"
_INT_MAX: Final = 2**63
_WHOLE: Final = re.compile(r"-?\d+")


class BodyError(ValueError):
    """The body is not JSON, or not of the shape that is expected."""


class Number(str):
    """A number as it was written, since whether it fits depends on what it is for."""

    __slots__ = ()

    def __repr__(self) -> str:
        """As it was written, and that it is a number."""
        return f"Number({str(self)!r})"


class Members(list[tuple[str, "Value"]]):
    """What stood in braces, in order; a name may stand there twice."""

    __slots__ = ()


Value: TypeAlias = "Members | list[Value] | Number | str | bool | None"


def parse(text: str, /) -> Value:
    """The first value of a text: objects are pairs, in order."""
    reader = _Reader(text)
    return reader.value(0) if reader.peek(first=True) else None


class _Reader:
    """One pass over a text."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def peek(self, *, first: bool = False) -> str:
        """The next character that is no space; the text must not end here."""
        text = self._text
        while self._at < len(text) and text[self._at] in _SPACE:
            self._at += 1
        if self._at < len(text):
            return text[self._at]
        raise BodyError("EOF" if first else "unexpected EOF")

    def _next(self) -> str:
        """The next character, whatever it is."""
        if self._at == len(self._text):
            raise BodyError("unexpected EOF")
        self._at += 1
        return self._text[self._at - 1]

    def value(self, depth: int) -> Value:
        """A value of any kind."""
        if depth > _DEPTH_MAX:
            raise BodyError("exceeded max depth")
        found = self.peek()
        if found == "{":
            self._at += 1
            return Members(self._members(depth + 1))
        if found == "[":
            self._at += 1
            return list(self._items(depth + 1))
        if found == '"':
            return self._string()
        if found in "-" + _DIGITS:
            return self._number()
        if found in _LITERALS:
            return self._literal(*_LITERALS[found])
        _refuse(found, "looking for beginning of value")

    def _members(self, depth: int) -> Iterator[tuple[str, Value]]:
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            if (found := self.peek()) != '"':
                _refuse(found, "looking for beginning of object key string")
            key = self._string()
            if (found := self.peek()) != ":":
                _refuse(found, "after object key")
            self._at += 1
            yield key, self.value(depth)
            found = self.peek()
            self._at += 1
            if found == "}":
                return
            if found != ",":
                _refuse(found, "after object key:value pair")

    def _items(self, depth: int) -> Iterator[Value]:
        if self.peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value(depth)
            found = self.peek()
            self._at += 1
            if found == "]":
                return
            if found != ",":
                _refuse(found, "after array element")

    def _string(self) -> str:
        start = self._at
        self._at += 1
        while (found := self._next()) != '"':
            if found < " ":
                _refuse(found, "in string literal")
            if found != "\\":
                continue
            if (mark := self._next()) == "u":
                for _ in range(4):
                    if (digit := self._next()) not in _HEX:
                        _refuse(digit, r"in \u hexadecimal character escape")
            elif mark not in _ESCAPES:
                _refuse(mark, "in string escape code")
        said: str = json.loads(self._text[start : self._at])
        # Half of a pair of surrogates is no character.
        return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _literal(self, word: str, meaning: bool | None) -> bool | None:
        for wanted in word:
            if (found := self._next()) != wanted:
                _refuse(found, f"in literal {word} (expecting '{wanted}')")
        return meaning

    def _number(self) -> Number:
        start = self._at
        if self._text[self._at] == "-":
            self._at += 1
            if (found := self._next()) not in _DIGITS:
                _refuse(found, "in numeric literal")
            self._at -= 1
        if self._next() != "0":
            self._digits()
        if self._sees("."):
            if (found := self._next()) not in _DIGITS:
                _refuse(found, "after decimal point in numeric literal")
            self._digits()
        if self._sees("eE"):
            self._sees("+-")
            if (found := self._next()) not in _DIGITS:
                _refuse(found, "in exponent of numeric literal")
            self._digits()
        return Number(self._text[start : self._at])

    def _digits(self) -> None:
        while self._sees(_DIGITS):
            pass

    def _sees(self, some: str) -> bool:
        if self._at < len(self._text) and self._text[self._at] in some:
            self._at += 1
            return True
        return False


def _refuse(found: str, where: str) -> NoReturn:
    shown = _SHOWN.get(found, found)
    raise BodyError(f"invalid character '{shown}' {where}")


def members(value: Value, /, *, into: str) -> dict[str, Value]:
    """The members of an object by their names in lower case; null is an object without any.

    `into` names what was expected in complaints.
    """
    if value is None:
        return {}
    if not isinstance(value, Members):
        raise BodyError(f"json: cannot unmarshal {kind_of(value)} into {into}")
    return {name.lower(): one for name, one in value}


def kind_of(value: Value, /) -> str:
    """What the original calls a value in its complaints."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Number):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Members) else "array"


def fields(
    found: Mapping[str, Value], kinds: Mapping[str, str], /, *, at: str
) -> dict[str, str | bool | int | float]:
    """Those members that are named in `kinds` (name to type), each of its type; null is left out.

    >>> fields({"rate": Number("5")}, {"rate": "int64"}, at="X.")
    {'rate': 5}
    """
    read: dict[str, str | bool | int | float] = {}
    for name, value in found.items():
        if value is None or (kind := kinds.get(name)) is None:
            continue
        read[name] = _typed(value, kind, f"Go struct field {at}{name} of type {kind}")
    return read


def _typed(value: Value, kind: str, where: str) -> str | bool | int | float:
    if kind == "bool" and isinstance(value, bool):
        return value
    if isinstance(value, Number):
        if kind in ("int", "int64"):
            if _WHOLE.fullmatch(value) and -_INT_MAX <= (whole := int(value[:40])) < _INT_MAX:
                return whole
            raise BodyError(f"json: cannot unmarshal number {value} into {where}")
        if kind == "float32":
            if isinf(float(value)):
                raise BodyError(f"json: cannot unmarshal number {value} into {where}")
            try:
                return float(struct.unpack("<f", struct.pack("<f", float(value)))[0])
            except OverflowError:
                raise BodyError(f"json: cannot unmarshal number {value} into {where}") from None
    elif kind == "string" and isinstance(value, str):
        return value
    raise BodyError(f"json: cannot unmarshal {kind_of(value)} into {where}")


def number_text(value: float, /) -> str:
    """The shortest text that is the same 32-bit number, spelled as the original spells it.

    >>> number_text(1.0), number_text(0.10000000149011612), number_text(1e-09)
    ('1', '0.1', '1e-9')
    """
    shown = next(
        text
        for digits in range(1, 18)
        if digits == 17 or struct.pack("<f", float(text := f"{value:.{digits}g}")) == _raw(value)
    )
    if "e" not in shown:
        return shown
    if 1e-6 <= abs(value) < 1e21:
        return f"{float(shown):.30f}".rstrip("0").rstrip(".")
    mantissa, _, power = shown.partition("e")
    return f"{mantissa}e{'-' if power[0] == '-' else '+'}{power[1:].lstrip('0')}"


def _raw(value: float) -> bytes:
    return struct.pack("<f", value)
