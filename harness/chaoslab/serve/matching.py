"""Which declared tool an HTTP request is, and what its arguments and its key are.

A tool says `match = "POST billing/v1/orders/{order}/refunds"`: a method, the name of a service, and
a path in which `{name}` and `*` stand for any one part. What stood there, the query and the body
are the arguments, so that `identity_fields` reach everything by a path.

>>> refund = ToolContract(name="refund", match="POST billing/v1/orders/{order}/refunds")
>>> tool, path = match_of([refund], "POST", "billing", "/v1/orders/o%2F7/refunds")
>>> tool.name, path
('refund', {'order': 'o/7'})
>>> args_of(path, "dry=1", {"cents": 5})
{'path': {'order': 'o/7'}, 'query': {'dry': '1'}, 'body': {'cents': 5}}
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from chaoslab.contract import ToolContract
from chaoslab.contract.markers import field_of
from chaoslab.core.jsons import Json, canonical
from chaoslab.serve.floats import parsed

KEY_AT: Final = "header:Idempotency-Key"
_TEXT_MAX: Final = 1 << 16


def service_of(tool: ToolContract, /) -> str:
    """The service that a tool belongs to; "" for a tool of the lab's own and for a Python one.

    >>> service_of(ToolContract(name="refund", match="mcp crm/refund"))
    'crm'
    """
    how, _, where = tool.match.partition(" ")
    return "" if how == "python" else where.strip().lstrip("/").partition("/")[0]


def match_of(
    tools: Iterable[ToolContract], method: str, service: str, path: str, /
) -> tuple[ToolContract, dict[str, str]] | None:
    """The tool that a request is, and the parts of its path that have names. Where several fit,
    the one with the fewest open parts. `path` is as it was sent, still with its `%2F`."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    best: tuple[int, ToolContract, dict[str, str]] | None = None
    for tool in tools:
        named = _fits(tool.match, method, service, parts)
        if named is None:
            continue
        found, is_open = named
        if best is None or is_open < best[0]:
            best = (is_open, tool, found)
    return None if best is None else best[1:]


def _fits(
    match: str, method: str, service: str, parts: list[str]
) -> tuple[dict[str, str], int] | None:
    wanted, _, where = match.partition(" ")
    name, _, path = where.strip().strip("/").partition("/")
    pattern = path.split("/")
    if (wanted.upper(), name) != (method.upper(), service) or len(pattern) != len(parts):
        return None
    found: dict[str, str] = {}
    is_open = 0
    for want, part in zip(pattern, parts, strict=True):
        if want == "*" or (want.startswith("{") and want.endswith("}")):
            if not part:
                return None
            is_open += 1
            if want != "*":
                found[want[1:-1]] = part
        elif want != part:
            return None
    return found, is_open


def args_of(path: Mapping[str, str], query: str, body: Json, /) -> dict[str, Json]:
    """The arguments of a request; what is empty is left out. A name that stands several times in
    the query is a list."""
    asked = parse_qs(query, keep_blank_values=True)
    args: dict[str, Json] = {
        "path": dict(path),
        "query": {name: one[0] if len(one) == 1 else one for name, one in asked.items()},
        "body": body,
    }
    return {name: value for name, value in args.items() if value not in ({}, "", None)}


def body_as_json(body: bytes, kind: str, /) -> Json:
    """A body as it stands in the record: JSON where it is JSON, the fields of a form, text; and
    of what is neither, or too long, its size and a digest.

    >>> body_as_json(b"order=o-7&cents=5", "application/x-www-form-urlencoded")
    {'order': 'o-7', 'cents': '5'}
    >>> body_as_json(bytes([255, 0]), "")["bytes"]
    2
    """
    if not body:
        return ""
    if "urlencoded" in kind:
        try:
            form = parse_qs(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
            return {name: one[0] if len(one) == 1 else one for name, one in form.items()}
        except ValueError:
            pass
    try:
        return parsed(body)
    except ValueError:
        pass
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text and len(body) <= _TEXT_MAX:
        return text
    return {"bytes": len(body), "digest": hashlib.blake2b(body, digest_size=8).hexdigest()}


def key_of(
    tool: ToolContract, headers: Mapping[str, str], args: Mapping[str, Any], /
) -> str | None:
    """The idempotency key of a request, from where the contract says that it stands."""
    where, _, name = (tool.key_at or (KEY_AT if tool.keys else "")).partition(":")
    if where == "header":
        return headers.get(name) or None
    found = field_of(args, f"body.{name}") if where == "body" else None
    if found is None or found == "":
        return None
    return found if isinstance(found, str) else canonical(found)


def without_key(tool: ToolContract, args: Mapping[str, Any], /) -> dict[str, Any]:
    """The arguments without the key in the body: it says nothing of what is asked for, and a
    repeat with another key must be seen as a repeat.

    >>> keyed = ToolContract(name="refund", key_at="body:meta.key")
    >>> without_key(keyed, {"body": {"order": 7, "meta": {"key": "k", "by": "x"}}})
    {'body': {'order': 7, 'meta': {'by': 'x'}}}
    """
    where, _, name = tool.key_at.partition(":")
    if where != "body":
        return dict(args)
    return _without(args, ["body", *name.split(".")])


def _without(value: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    first, rest = path[0], path[1:]
    if not rest:
        return {key: part for key, part in value.items() if key != first}
    inner = value.get(first)
    return {**value, first: _without(inner, rest)} if isinstance(inner, Mapping) else dict(value)
