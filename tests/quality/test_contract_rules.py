"""The tables of the contract's page about data, money and load say what the loader asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from chaoslab.contract import Attribute, Budget, Capacity, Egress, MemoryClass
from chaoslab.contract.holes import PROCESS_HOLES, TASK_HOLES
from chaoslab.contract.loader import contract_from
from chaoslab.contract.target import EffectSource, Target, Upstream
from chaoslab.core.tables import Table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "contract.md"
TABLES: Mapping[str, tuple[str, Any]] = {
    "`[memory.NAME]`": ("memory.one", MemoryClass),
    "`[attributes.NAME]`": ("attributes.one", Attribute),
    "`[egress]`": ("egress", Egress),
    "`[budgets.NAME]`": ("budgets.one", Budget),
    "`[capacity]`": ("capacity", Capacity),
    "`[agent]`": ("agent", Target),
    "`[services.NAME]`": ("services.one", Upstream),
    "# Where effects are read": ("tools.refund.effects", EffectSource),
}
RAW: Mapping[str, Any] = {
    "format": 1,
    "tools": {"refund": {"match": "POST one/x", "effects": {"sql": "select 1"}}},
    "agent": {"command": "x"},
    "services": {"one": {"url": "http://127.0.0.1:9000"}},
    "memory": {"one": {"prefix": "x/"}},
    "attributes": {"one": {}},
    "egress": {},
    "budgets": {"one": {"tool": "refund", "max": 1}},
    "capacity": {"tasks_in_hand_max": 1},
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table of keys below a heading, without its head."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[-1]
    if heading.startswith("# "):
        section = PAGE.read_text(encoding="utf-8").split(f"\n##{heading}\n")[1]
    section = re.split(r"\n###? ", section)[0]
    found = re.findall(r"^\| (`.*) \|$", section, re.M)
    return [[cell.strip() for cell in row.split(" | ")] for row in found]


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_is_described(heading: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    original = Table.get

    def get(self: Table, key: str) -> Any:
        if self.path == TABLES[heading][0]:
            seen.add(key)
        return original(self, key)

    monkeypatch.setattr(Table, "get", get)
    contract_from(RAW, "x.toml")
    assert {row[0].strip("`") for row in rows(heading)} == seen


# Where the default is no value that a person could write.
SAID = {"cwd": "the file's folder", "submit": '`"queue"`', "done": '`"reply"`', "mcp": '`""`'}


@pytest.mark.parametrize("heading", TABLES)
def test_defaults_are_those_of_the_code(heading: str) -> None:
    defaults = {f.name: f.default for f in fields(TABLES[heading][1]) if f.default is not MISSING}
    looked_at = 0
    for name, _, said, *_ in rows(heading):
        bare = name.strip("`")
        default = defaults.get(bare, MISSING)
        if default is not MISSING and said != "required":
            shown = list(default) if isinstance(default, tuple) else default
            written = "none" if default is None else SAID.get(bare) or f"`{json.dumps(shown)}`"
            assert said == written, name
            looked_at += 1
    assert looked_at


def test_every_hole_is_described() -> None:
    named = {hole for row in rows("# Holes") for hole in re.findall(r"{([\w.]+)}", row[0])}
    assert named == {*PROCESS_HOLES, *TASK_HOLES, "services.NAME"}


def test_a_slip_in_the_name_of_a_table_is_recognised() -> None:
    with pytest.raises(Exception, match="did you mean egress") as caught:
        contract_from({"format": 1, "egres": {}, "capazity": {}}, "x.toml")
    assert "did you mean capacity" in str(caught.value)
