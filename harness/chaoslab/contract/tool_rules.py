"""Reads what a contract says of a tool of the team's own services: which requests are it, where
its key stands, and where its effects are read.

>>> from chaoslab.core.tables import Problems
>>> problems = Problems("chaoslab.toml")
>>> keys_from(Table({"keys": {"header": "Idempotency-Key", "retention_s": 60}}, problems))
{'key_retention_ms': 60000, 'key_at': 'header:Idempotency-Key', 'conflict': 409, 'keys': True}
>>> match_from(Table({"match": "POST billing/refunds"}, problems), {})
'POST billing/refunds'
>>> problems.lines[0].partition(";")[0]
"match: got 'POST billing/refunds' (str) with no service 'billing'"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chaoslab.contract.holes import RUN_HOLES
from chaoslab.contract.reading import Holes, argv, database, function_at, sql, url
from chaoslab.contract.target import EffectSource, Upstream
from chaoslab.core.errors import shown
from chaoslab.core.tables import Table

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SOURCES: Final = ("sql", "get", "tool", "command", "function")
_MATCH: Final = '"POST SERVICE/path", "mcp SERVICE/TOOL" or "python FUNCTION"'


def keys_from(table: Table, /) -> dict[str, Any]:
    """What `keys` of a tool says: true or false, or a table that tells where the key stands."""
    out: dict[str, Any] = {"key_retention_ms": table.integer("key_retention_ms", 86_400_000)}
    if not isinstance(table.get("keys"), Mapping):
        return {**out, "keys": table.boolean("keys")}
    part = table.table("keys")
    places = [p for p in ("header", "body", "meta") if p in part.raw]
    if len(places) != 1:
        part.complain(
            "",
            f'got {shown(dict(part.raw))}; allowed: one of header = "Idempotency-Key", body = '
            '"path" and meta = "name"',
        )
    for place in ("header", "body", "meta"):
        name = part.text(place)
        if place in part.raw and not name.strip():
            part.complain(place, f"got {shown(part.raw[place])}; allowed: the name of a field")
        elif name:
            out["key_at"] = f"{place}:{name}"
    out["conflict"] = part.integer("conflict", 409, least=400, most=599)
    kept = part.maybe_integer("retention_s")
    if kept is not None:
        if "key_retention_ms" in table.raw:
            part.complain("retention_s", "stands beside key_retention_ms; allowed: one of them")
        out["key_retention_ms"] = kept * 1_000
    part.close()
    return {**out, "keys": True}


def match_from(table: Table, services: Mapping[str, Upstream], /) -> str:
    """Which requests are this tool: `POST billing/v1/refunds`, `mcp crm/refund`, `python refund`;
    "" for a tool that the lab itself serves."""
    text = table.text("match")
    if not text:
        return ""
    kind, _, rest = text.partition(" ")
    service, slash, path = rest.partition("/")
    at = kind.upper()
    known = kind in ("mcp", "python") or at in METHODS
    if not known or not rest or rest != rest.strip() or " " in rest:
        table.complain("match", f"got {shown(text)}; allowed: {_MATCH}")
        return text
    if kind == "python":
        if not all(part.isidentifier() for part in rest.split(".")):
            table.complain("match", f"got {shown(text)}; allowed: the name of a function")
        return text
    if not service or not slash or (kind == "mcp" and not path):
        table.complain("match", f"got {shown(text)}; allowed: {_MATCH}")
    elif service not in services:
        allowed = ", ".join(services) or f"none yet; write [services.{service}]"
        table.complain(
            "match", f"got {shown(text)} with no service {service!r}; allowed: {allowed}"
        )
    elif (kind == "mcp") == bool(services[service].url):
        has = (
            "url, so its tools match as METHOD"
            if kind == "mcp"
            else "mcp, so its tools match as mcp"
        )
        table.complain("match", f"got {shown(text)}, but services.{service} has {has} {service}/…")
    return text if kind == "mcp" else f"{at} {rest}"


def effects_from(
    table: Table, services: Mapping[str, Upstream], folder: Path, /
) -> EffectSource | None:
    """The `effects` of a tool: where they are read; None where nobody says so."""
    if table.get("effects") is None:
        return None
    part = table.table("effects")
    holes = Holes(RUN_HOLES, services)
    given = [name for name in SOURCES if name in part.raw]
    if len(given) != 1:
        part.complain("", f"got {shown(dict(part.raw))}; allowed: one of {', '.join(SOURCES)}")
    source = EffectSource(
        sql=sql(part, "sql", Holes(RUN_HOLES)),
        database=database(part, folder, holes),
        get=url(part, "get", holes),
        path=part.text("path"),
        tool=part.text("tool"),
        args=dict(part.table("args").raw) if part.get("args") is not None else {},
        command=argv(part, "command", holes),
        function=function_at(part, folder),
        ref=part.text("ref"),
        key=part.text("key"),
        settle_ms=part.integer("settle_ms", 300, most=600_000),
    )
    for extra, owner in (("database", "sql"), ("args", "tool")):
        if extra in part.raw and given and owner not in given:
            part.complain(extra, f"belongs to {owner}, and this source is {given[0]}")
    if "path" in part.raw and given and given[0] not in ("get", "tool"):
        part.complain("path", f"belongs to get and tool, and this source is {given[0]}")
    holes.check(part, "args", source.args)
    service, slash, name = source.tool.partition("/")
    if source.tool and (not slash or not name or service not in services):
        allowed = ", ".join(f"{s}/TOOL" for s, one in services.items() if not one.url)
        part.complain("tool", f"got {shown(source.tool)}; allowed: {allowed or 'SERVICE/TOOL'}")
    elif source.tool and services[service].url:
        part.complain("tool", f"got {shown(source.tool)}, but services.{service} is not over MCP")
    part.close()
    return source


def key_fits(match: str, key_at: str, /) -> str:
    """What is wrong with a key at this place of such a request; "" where it fits.

    >>> key_fits("mcp crm/refund", "header:Idempotency-Key")
    'header is for HTTP; allowed: meta or body for an mcp tool'
    """
    kind, place = match.partition(" ")[0], key_at.partition(":")[0]
    if not match or not key_at:
        return ""
    if place == "header" and kind in ("mcp", "python"):
        allowed = "meta or body for an mcp tool" if kind == "mcp" else "body for a python tool"
        return f"header is for HTTP; allowed: {allowed}"
    if place == "meta" and kind != "mcp":
        return (
            "meta is for MCP; allowed: header or body"
            if kind != "python"
            else ("meta is for MCP; allowed: body, the name of an argument")
        )
    return ""
