"""Of a tool of the team's own services: its match, its key and the source of its effects."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from chaoslab.contract.loader import contract_from
from chaoslab.contract.target import EffectSource
from chaoslab.core.errors import ContractError

BILLING = {"billing": {"url": "http://127.0.0.1:9000"}}
CRM = {"crm": {"mcp": ["python", "crm.py"]}}


def problems_of(raw: dict[str, Any]) -> str:
    with pytest.raises(ContractError) as caught:
        contract_from({"format": 1, **raw}, "chaoslab.toml")
    return str(caught.value)


def tool_problems(**tool: Any) -> str:
    return problems_of({"services": {**BILLING, **CRM}, "tools": {"refund": tool}})


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("true", (True, "", 409, 86_400_000)),
        ("false", (False, "", 409, 86_400_000)),
        ('{ body = "meta.key", conflict = 422 }', (True, "body:meta.key", 422, 86_400_000)),
        ('{ header = "X-Key", retention_s = 0 }', (True, "header:X-Key", 409, 0)),
    ],
)
def test_keys(keys: str, wanted: tuple[bool, str, int, int]) -> None:
    raw = {"match": "POST billing/t", **tomllib.loads(f"keys = {keys}")}
    tool = contract_from({"format": 1, "services": BILLING, "tools": {"t": raw}}, "c.toml").tool(
        "t"
    )
    assert (tool.keys, tool.key_at, tool.conflict, tool.key_retention_ms) == wanted


@pytest.mark.parametrize(
    ("match", "stored"),
    [
        ("post billing/v1/{id}/refunds", "POST billing/v1/{id}/refunds"),
        ("DELETE billing/", "DELETE billing/"),
        ("mcp crm/refund", "mcp crm/refund"),
        ("python shop.refund", "python shop.refund"),
    ],
)
def test_matches(match: str, stored: str) -> None:
    contract = contract_from(
        {"format": 1, "services": {**BILLING, **CRM}, "tools": {"t": {"match": match}}}, "c.toml"
    )
    assert contract.tool("t").match == stored
    assert not contract.tool("t").observed


@pytest.mark.parametrize(
    ("match", "part"),
    [
        ("billing/v1", 'allowed: "POST SERVICE/path"'),
        ("FETCH billing/v1", 'allowed: "POST SERVICE/path"'),
        ("POST billing", 'allowed: "POST SERVICE/path"'),
        ("POST /v1/refunds", 'allowed: "POST SERVICE/path"'),
        ("POST  billing/x", 'allowed: "POST SERVICE/path"'),
        ("mcp crm/", 'allowed: "POST SERVICE/path"'),
        ("python re-fund", "allowed: the name of a function"),
        ("POST biling/x", "with no service 'biling'; allowed: billing, crm"),
        ("POST crm/x", "services.crm has mcp, so its tools match as mcp crm/…"),
        ("mcp billing/x", "services.billing has url, so its tools match as METHOD billing/…"),
    ],
)
def test_a_slip_in_a_match(match: str, part: str) -> None:
    text = tool_problems(match=match)
    assert "tools.refund.match: got" in text and part in text


def test_a_match_without_any_service_says_what_to_write() -> None:
    text = problems_of({"tools": {"refund": {"match": "POST billing/x"}}})
    assert "allowed: none yet; write [services.billing]" in text


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ({"sql": "select 1 where r = {run}"}, EffectSource(sql="select 1 where r = {run}")),
        (
            {"get": "{services.billing}/refunds?run={run}", "path": "items", "ref": "id"},
            EffectSource(get="{services.billing}/refunds?run={run}", path="items", ref="id"),
        ),
        (
            {"tool": "crm/list", "args": {"run": "{run}"}, "key": "k"},
            EffectSource(tool="crm/list", args={"run": "{run}"}, key="k"),
        ),
        (
            {"command": "python rows.py {state}", "settle_ms": 0},
            EffectSource(command=("python", "rows.py", "{state}"), settle_ms=0),
        ),
    ],
)
def test_effect_sources(raw: dict[str, Any], wanted: EffectSource) -> None:
    contract = contract_from(
        {
            "format": 1,
            "services": {**BILLING, **CRM},
            "tools": {"t": {"match": "POST billing/t", "effects": raw}},
        },
        "c.toml",
    )
    assert contract.tool("t").effects == wanted
    assert contract.tool("t").observed


@pytest.mark.parametrize(
    ("effects", "part"),
    [
        ({}, "tools.refund.effects: got {} (dict); allowed: one of sql, get, tool, command"),
        ({"sql": "select 1", "get": "http://x"}, "tools.refund.effects: got {"),
        ({"sql": "select '{run}'"}, "allowed: {run} without quotes"),
        ({"sql": "select {task}"}, "with the hole {task}, which is only known where a task is"),
        ({"get": "http://x", "database": "x.db"}, "effects.database: belongs to sql"),
        ({"sql": "select 1", "path": "a"}, "effects.path: belongs to get"),
        ({"sql": "select 1", "args": {"a": 1}}, "effects.args: belongs to tool"),
        ({"tool": "list"}, "effects.tool: got 'list' (str); allowed: crm/TOOL"),
        ({"tool": "billing/list"}, "services.billing is not over MCP"),
        ({"function": "rows"}, "effects.function: got 'rows' (str); allowed: path.py:function"),
        ({"function": "no.py:rows"}, "effects.function: there is no file no.py"),
        ({"sqll": "select 1"}, "effects.sqll: unknown key; did you mean sql?"),
        ("select 1", "tools.refund.effects: got 'select 1' (str); allowed: a table"),
    ],
)
def test_a_slip_in_effects(effects: Any, part: str) -> None:
    assert part in tool_problems(match="POST billing/refunds", effects=effects)


@pytest.mark.parametrize(
    ("tool", "part"),
    [
        (
            {"match": "POST billing/x", "promise": "exactly-once"},
            "promise exactly-once is impossible without keys",
        ),
        ({"match": "POST billing/x", "keys": {}}, "tools.refund.keys: got {} (dict)"),
        (
            {"match": "POST billing/x", "keys": {"header": "a", "body": "b"}},
            "allowed: one of header",
        ),
        ({"keys": {"header": " "}}, "tools.refund.keys.header: got ' ' (str)"),
        ({"keys": {"body": "a", "conflict": 200}}, "tools.refund.keys.conflict: got 200 (int)"),
        (
            {"keys": {"body": "a", "retention_s": 1}, "key_retention_ms": 1},
            "tools.refund.keys.retention_s: stands beside key_retention_ms",
        ),
        ({"match": "mcp crm/x", "keys": {"header": "K"}}, "tools.refund.keys: header is for HTTP"),
        ({"match": "POST billing/x", "keys": {"meta": "k"}}, "tools.refund.keys: meta is for MCP"),
        ({"match": "python x", "keys": {"header": "k"}}, "allowed: body for a python tool"),
        ({"effects": {"sql": "select 1"}}, "the lab keeps the ledger of a tool that it serves"),
    ],
)
def test_a_slip_of_a_tool(tool: dict[str, Any], part: str) -> None:
    assert part in tool_problems(**tool)


def test_two_tools_cannot_be_the_same_request() -> None:
    match = {"match": "POST billing/x"}
    text = problems_of({"services": BILLING, "tools": {"a": match, "b": match}})
    assert "tools.b.match: is that of tools.a" in text
