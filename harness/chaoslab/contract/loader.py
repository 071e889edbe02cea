"""Reads a contract from `chaoslab.toml`, or from `[tool.chaoslab]` of a pyproject.toml.

`exactly-once` for a tool without keys is refused: no agent can keep it, also not with a look-up,
since a delayed request can still commit after the look-up said no.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from chaoslab.contract.consequences import CONSEQUENCES
from chaoslab.contract.model import Contract, Limits, Promise, Resume, ToolContract
from chaoslab.contract.rules import (
    attributes_from,
    budgets_from,
    capacity_from,
    egress_from,
    invariants_from,
    memory_from,
)
from chaoslab.contract.target import Upstream
from chaoslab.contract.target_rules import services_from, target_from
from chaoslab.contract.tool_rules import effects_from, key_fits, keys_from, match_from
from chaoslab.core.errors import ContractError
from chaoslab.core.tables import Problems, Table, load_toml

FORMAT = 1
PROMISES = ("exactly-once", "at-most-once", "at-least-once")
RULESETS = ("2026.1",)


def raw_contract(path: Path, /) -> Mapping[str, Any] | None:
    """The contract's table in a file; None for a pyproject.toml that has none."""
    raw = load_toml(path, ContractError)
    if path.name == "pyproject.toml":
        tools = raw.get("tool")
        found = tools.get("chaoslab") if isinstance(tools, Mapping) else None
        return found if isinstance(found, Mapping) else None
    return raw


def load_contract(path: Path, /, *, check_ids: Collection[str] = ()) -> Contract:
    """The contract in a file. ContractError names every problem of the file at once."""
    return contract_from(raw_contract(path) or {}, str(path), check_ids=check_ids)


def contract_from(
    raw: Mapping[str, Any], file: str, /, *, check_ids: Collection[str] = ()
) -> Contract:
    """A contract from its table; `file` is named in messages."""
    problems = Problems(file)
    table = Table(raw, problems)
    table.format_is(FORMAT)
    folder = Path(file).parent
    services = services_from(table.table("services"), folder)
    contract = Contract(
        name=table.text("name", Path(file).stem),
        target=target_from(table, services, folder),
        services=services,
        tools={t.name: t for t in _tools(table, services, folder)},
        resume=cast(Resume, table.text("resume", "redelivery", among=("self", "redelivery"))),
        fencing=table.boolean("fencing"),
        loss_ms_max=table.maybe_integer("loss_ms_max"),
        limits=limits_from(table.table("limits")),
        memory=memory_from(table.table("memory")),
        attributes=attributes_from(table.table("attributes")),
        egress=egress_from(table),
        budgets=budgets_from(table.table("budgets")),
        capacity=capacity_from(table),
        invariants=invariants_from(table.tables("invariants"), folder),
        consequences=_consequences(table.table("consequences"), check_ids),
        required=table.strings("required"),
        ruleset=table.text("ruleset", RULESETS[-1], among=RULESETS),
    )
    for key in ("tasks", "error_pattern"):  # of the workload, which stands in the same file
        table.get(key)
    own = tuple(f"invariant.{one.name}" for one in contract.invariants)
    for name in contract.required:
        if check_ids and name not in check_ids and name not in own:
            allowed = ", ".join((*check_ids, *own))
            table.complain("required", f"no check {name!r}; allowed: {allowed}")
    for budget in contract.budgets.values():
        if budget.tool and budget.tool not in contract.tools:
            table.complain(
                f"budgets.{budget.name}.tool", f"{budget.tool!r} is no tool of this contract"
            )
    table.close()
    problems.raise_if_any(ContractError)
    return contract


def limits_from(table: Table, /) -> Limits:
    """A `[limits]` table."""
    found = Limits(**{f.name: table.maybe_integer(f.name) for f in fields(Limits)})
    table.close()
    return found


def _consequences(table: Table, check_ids: Collection[str]) -> dict[str, str]:
    """The `[consequences]`: a word for each check that the contract names, with quotes around
    the name of the check or without."""
    found = {}
    for name, value in table.raw.items():
        group = table.table(name) if isinstance(value, Mapping) else table
        for part in value if isinstance(value, Mapping) else (name,):
            check = f"{name}.{part}" if group is not table else name
            found[check] = group.text(part, among=CONSEQUENCES)
            if check_ids and check not in check_ids and not check.startswith("invariant."):
                table.complain(check, f"is no check; allowed: {', '.join(check_ids)}")
    return found


def _tools(table: Table, services: Mapping[str, Upstream], folder: Path) -> list[ToolContract]:
    group = table.table("tools")
    out: list[ToolContract] = []
    for name in group.raw:
        own = group.table(name)
        match = match_from(own, services)
        tool = replace(
            tool_from(name, own, also=("match", "effects")),
            match=match,
            effects=effects_from(own, services, folder),
        )
        if tool.promise == "exactly-once" and not tool.keys:
            group.complain(
                name,
                "promise exactly-once is impossible without keys, with a look-up too (a delayed "
                "request can commit after it); allowed: keys = true, or promise = "
                "at-most-once / at-least-once",
            )
        if tool.compensate and tool.compensate not in group.raw:
            group.complain(name, f"compensate names no tool of this contract: {tool.compensate!r}")
        if key_fits(match, tool.key_at):
            own.complain("keys", key_fits(match, tool.key_at))
        if tool.effects is not None and "match" not in own.raw:
            own.complain(
                "effects",
                "the lab keeps the ledger of a tool that it serves; allowed: only with a match",
            )
        twin = [t.name for t in out if match and t.match == match]
        if twin:
            own.complain("match", f"is that of tools.{twin[0]}; allowed: one tool a request")
        out.append(tool)
    return out


def tool_from(name: str, table: Table, /, *, also: Collection[str] = ()) -> ToolContract:
    """One `[tools.NAME]` table; `also` are keys of it that somebody else reads."""
    tool = ToolContract(
        name=name,
        **keys_from(table),
        lookup=table.boolean("lookup"),
        compensate=table.text("compensate"),
        identity_fields=table.strings("identity_fields"),
        promise=cast(Promise, table.text("promise", "at-least-once", among=PROMISES)),
        long_running=table.boolean("long_running"),
        description=table.text("description"),
        consequence=table.text("consequence", among=CONSEQUENCES),
    )
    for key in also:
        table.get(key)
    table.close()
    return tool
