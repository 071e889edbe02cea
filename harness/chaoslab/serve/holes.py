"""Fills the holes in what the lab itself asks a service of the team's own.

In an address or a command a hole becomes text. In a query it becomes a parameter: what stands in
it may be a name that an agent was given, and no such text may become SQL.

>>> filled_json({"of": "{run}", "most": 5, "not": "{other}"}, {"run": "r1"})
{'of': 'r1', 'most': 5, 'not': '{other}'}
>>> bound("select id from refunds where run = {run}", {"run": "r1"})
('select id from refunds where run = :run', {'run': 'r1'})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from chaoslab.contract.holes import holes_in
from chaoslab.core.errors import LabError
from chaoslab.core.jsons import Json, canonical

_HOLE: Final = re.compile(r"\{([A-Za-z_][\w.-]*)\}")


def filled(text: str, holes: Mapping[str, Json], /) -> str:
    """A text with its known holes filled."""

    def value(hole: re.Match[str]) -> str:
        found = holes.get(hole[1], hole[0])
        return found if isinstance(found, str) else canonical(found)

    return _HOLE.sub(value, text)


def filled_json(value: Any, holes: Mapping[str, Json], /) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return filled(value, holes)
    if isinstance(value, Mapping):
        return {name: filled_json(part, holes) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled_json(part, holes) for part in value]
    return value


def bound(
    sql: str, holes: Mapping[str, Json], /, *, form: str = ":{}"
) -> tuple[str, dict[str, Json]]:
    """A query with a parameter for each hole, written as `form`, and their values."""
    values: dict[str, Json] = {}
    for name in holes_in(sql):
        if name not in holes:
            raise LabError(
                f"a query asks for {{{name}}}, and there is no value for it",
                hint=f"use one of {', '.join(f'{{{one}}}' for one in holes)}",
            )
        values[_parameter(name)] = holes[name]
    return _HOLE.sub(lambda hole: form.format(_parameter(hole[1])), sql), values


def _parameter(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")
