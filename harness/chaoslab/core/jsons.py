"""JSON as evidence: one spelling per value, and no floats.

Two histories are compared byte by byte, so a value has exactly one text: sorted keys, no
spaces, no escapes beyond what JSON demands. Floats are refused since their text differs
between machines; ratios are integers in this code base.

>>> canonical({"b": 1, "a": [True, None]})
'{"a":[true,null],"b":1}'
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from chaoslab.core.errors import UsageError

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


# The encoder's own C part, made once instead of at each call; a third of the cost of an entry.
_CHUNKS = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", True, False, False
)


def canonical(value: Json, /) -> str:
    """The one text of a JSON value. TypeError or ValueError where it is not JSON."""
    if type(value) is str:
        return _ENCODER.encode(value)
    return "".join(_CHUNKS(value, 0))


def digest(value: Json, /, *, size: int = 8) -> str:
    """A short hexadecimal fingerprint of a JSON value; `size` in bytes.

    >>> digest({"a": 1}) == digest({"a": 1})
    True
    """
    return hashlib.blake2b(canonical(value).encode(), digest_size=size).hexdigest()


_BITS_MAX = 4096
_DEPTH_MAX = 40
_SMALL = 2**63


def _writable(text: str, where: str) -> str:
    """The text, where it can be written as UTF-8."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{where} is text that UTF-8 cannot hold: {error.reason}") from None
    return text


def plain(value: object, /, *, where: str, depth: int = 0) -> Json:
    """A deep copy made of plain dicts, lists, strings, integers, booleans and None.

    Whatever an agent hands to the world passes through here, so that nothing in a history
    can change afterwards. UsageError names the place of the first thing that is not JSON.

    >>> plain({"a": (1, 2)}, where="args")
    {'a': [1, 2]}
    """
    try:
        return _copied(value, depth)
    except _UnusualError:
        return _looked_at(value, where, depth)


class _UnusualError(Exception):
    """Something that is to be looked at with care."""


def _copied(value: Any, depth: int) -> Json:
    """The copy of what is plain already, which is nearly everything; it costs a tenth of each
    execution even so, hence the leaves inside the loop."""
    kind = type(value)
    if kind is dict and depth <= _DEPTH_MAX:
        out: dict[str, Json] = {}
        for key, item in value.items():
            if type(key) is not str or not (key.isascii() or _fits(key)):
                raise _UnusualError
            inner = type(item)
            if inner is str and (item.isascii() or _fits(item)):
                out[key] = item
            else:
                out[key] = _copied(item, depth + 1)
        return out
    if (kind is list or kind is tuple) and depth <= _DEPTH_MAX:
        return [_copied(item, depth + 1) for item in value]
    if kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is int and -_SMALL < value < _SMALL:
        return value  # type: ignore[no-any-return]
    if kind is str and (value.isascii() or _fits(value)):
        return value  # type: ignore[no-any-return]
    raise _UnusualError


def _fits(text: str) -> bool:
    """Whether it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _looked_at(value: object, where: str, depth: int) -> Json:
    kind = type(value)
    if kind is bool or value is None:
        return value  # type: ignore[return-value]
    if isinstance(value, str):
        return _writable(str(value), where)
    if isinstance(value, int):
        if value.bit_length() > _BITS_MAX:
            raise UsageError(f"{where} is an integer of more than {_BITS_MAX} bits")
        return int(value)
    if depth > _DEPTH_MAX:
        raise UsageError(f"{where} is nested deeper than {_DEPTH_MAX} levels", hint="flatten it")
    if kind is dict or isinstance(value, Mapping):
        out: dict[str, Json] = {}
        for key, item in value.items():  # type: ignore[attr-defined]
            if not isinstance(key, str):
                raise UsageError(
                    f"{where} has a key that is no string", value=key, allowed="string keys"
                )
            out[_writable(str(key), where)] = _looked_at(item, f"{where}.{key}", depth + 1)
        return out
    if isinstance(value, (list, tuple)):
        return [_looked_at(v, f"{where}[{i}]", depth + 1) for i, v in enumerate(value)]
    raise UsageError(
        f"{where} is not JSON without floats",
        value=value,
        allowed="None, bool, int, str, list, dict with string keys",
        hint="pass amounts in the smallest unit as integers, times in ms or ns",
    )
