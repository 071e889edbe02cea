"""Reads the parts of a contract that are about data, money and load.

Each is optional, and what is left out was not promised: its check is then not applicable.

>>> from chaoslab.core.tables import Problems
>>> problems = Problems("chaoslab.toml")
>>> raw = {"iban": {"allowed": ["tools.credit", "memory:attr/"]}}
>>> attributes_from(Table(raw, problems, "attributes"))["iban"].allowed
('tools.credit', 'memory:attr/')
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from chaoslab.contract.consequences import CONSEQUENCES
from chaoslab.contract.ledger import problem
from chaoslab.contract.model import (
    Attribute,
    Budget,
    Capacity,
    Egress,
    Invariant,
    MemoryClass,
    Scope,
)
from chaoslab.core.tables import Table

SCOPES: Final = ("all", "tenant", "session", "task")
PLACES: Final = "model, network, log, report, answer, tools.NAME, wasm.MODULE, memory:PREFIX"
_PLACE: Final = re.compile(r"model|network|log|report|answer|(tools|wasm)\.[\w.-]+|memory:.+")
_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9_]*")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


def memory_from(group: Table, /) -> dict[str, MemoryClass]:
    """The `[memory.NAME]` tables."""
    found: dict[str, MemoryClass] = {}
    for name in group.raw:
        table = group.table(name)
        same = [n for n, c in found.items() if c.prefix == table.raw.get("prefix")]
        if same:
            table.complain("prefix", f"is that of memory.{same[0]}; allowed: one class a prefix")
        found[name] = MemoryClass(
            name=name,
            prefix=table.text("prefix", must=True),
            immutable=table.boolean("immutable"),
            retention_ms=table.maybe_integer("retention_ms", least=1),
            skew_ms=table.integer("skew_ms", 0),
        )
        table.close()
    return found


def attributes_from(group: Table, /) -> dict[str, Attribute]:
    """The `[attributes.NAME]` tables."""
    found = {}
    for name in group.raw:
        table = group.table(name)
        if not _ATTRIBUTE.fullmatch(name):
            group.complain(name, "a name of small letters, digits and _ is allowed")
        found[name] = Attribute(name=name, allowed=table.strings("allowed"))
        for place in found[name].allowed:
            if not _PLACE.fullmatch(place):
                table.complain("allowed", f"got {place!r} (str); allowed: {PLACES}")
        table.close()
    return found


def egress_from(top: Table, /) -> Egress | None:
    """The `[egress]` table; None where there is none."""
    if top.get("egress") is None:
        return None
    table = top.table("egress")
    egress = Egress(
        hosts=tuple(host.lower().removesuffix(".") for host in table.strings("hosts")),
        methods=tuple(m.upper() for m in table.strings("methods", ("GET", "HEAD"))),
        body_bytes_max=table.maybe_integer("body_bytes_max"),
    )
    for host in egress.hosts:
        if not host or set(host) & set("/:@*?#[]\\ "):
            table.complain("hosts", f"got {host!r} (str); allowed: plain host names")
    table.close()
    return egress


def budgets_from(group: Table, /) -> dict[str, Budget]:
    """The `[budgets.NAME]` tables."""
    found = {}
    for name in group.raw:
        table = group.table(name)
        if "max" not in table.raw:
            table.complain("max", "is missing; allowed: an integer of 0 or more")
        found[name] = Budget(
            name=name,
            tool=table.text("tool", must=True),
            field=table.text("field"),
            per=cast(Scope, table.text("per", "all", among=SCOPES)),
            most=table.integer("max", 0),
            window_ms=table.maybe_integer("window_ms", least=1),
        )
        table.close()
    return found


def capacity_from(top: Table, /) -> Capacity | None:
    """The `[capacity]` table; None where there is none."""
    if top.get("capacity") is None:
        return None
    table = top.table("capacity")
    if "tasks_in_hand_max" not in table.raw:
        table.complain("tasks_in_hand_max", "is missing; allowed: an integer of 1 or more")
    capacity = Capacity(
        tasks_in_hand_max=table.integer("tasks_in_hand_max", 1, least=1),
        defer_within_ms=table.integer("defer_within_ms", 1_000),
    )
    table.close()
    return capacity


def invariants_from(tables: Sequence[Table], folder: Path, /) -> tuple[Invariant, ...]:
    """The `[[invariants]]`; the path of a check is taken from the contract's folder on."""
    found: list[Invariant] = []
    for table in tables:
        check = table.text("check")
        invariant = Invariant(
            name=table.text("name", must=True),
            sql=table.text("sql"),
            check=check,
            says=table.text("says"),
            consequence=table.text("consequence", among=CONSEQUENCES),
        )
        if invariant.name and not _NAME.fullmatch(invariant.name):
            table.complain(
                "name", f"got {invariant.name!r} (str); allowed: small letters, digits and -"
            )
        if invariant.name in {other.name for other in found}:
            table.complain("name", f"{invariant.name!r} stands twice; allowed: once")
        if bool(invariant.sql) == bool(check):
            table.complain("", "allowed: one of sql and check")
        if invariant.sql and problem(invariant.sql):
            table.complain("sql", problem(invariant.sql))
        if check:
            path, colon, name = check.rpartition(":")
            if not colon or not path.endswith(".py") or not name.isidentifier():
                table.complain("check", f"got {check!r} (str); allowed: path.py:function")
            elif not (folder / path).is_file():
                table.complain("check", f"there is no file {folder / path}")
            else:
                invariant = Invariant(
                    name=invariant.name,
                    check=f"{(folder / path).resolve()}:{name}",
                    says=invariant.says,
                    consequence=invariant.consequence,
                )
        table.close()
        found.append(invariant)
    return tuple(found)
