"""Holes: the `{names}` in texts of a contract that the lab fills when it knows what stands there.

A process that starts with a literal `{modle}` in its environment fails far from the slip, so the
loader refuses every name that nobody could fill where it stands. In a query a hole is a value that
is bound, never text that is pasted: a task called `x' or 1=1` stays a task.

>>> filled("http://127.0.0.1:{port}/tasks/{task}", {"port": 8000, "task": "s1-t1"})
'http://127.0.0.1:8000/tasks/s1-t1'
>>> filled_json({"input": "{data}", "id": "t-{task}"}, {"data": {"order": "o-1"}, "task": "s1-t1"})
{'input': {'order': 'o-1'}, 'id': 't-s1-t1'}
>>> bound("select 1 from runs where id = {task} and note = {task}")
('select 1 from runs where id = :task and note = :task', ('task',))
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from chaoslab.core.jsons import Json, canonical

# Known for a whole execution.
RUN_HOLES: Final = ("run", "seed", "state")
# Known of whatever the lab starts: a service, or
SERVICE_HOLES: Final = (*RUN_HOLES, "port")
# a process of the agent, which is told how it reaches the lab (and services.NAME for each).
PROCESS_HOLES: Final = (
    *SERVICE_HOLES,
    "process",
    "model",
    "anthropic",
    "tools",
    "mcp",
    "memory",
    "queue",
    "lab",
    "token",
)
# Known only in what belongs to one task.
TASK_HOLES: Final = ("task", "session", "tenant", "prompt", "data", "delivery")

_HOLE: Final = re.compile(r"\{([A-Za-z_][\w.-]*)\}")


def holes_in(value: Any, /) -> Iterator[str]:
    """The names of the holes of a text, or of all texts in a JSON value, each as it comes."""
    if isinstance(value, str):
        yield from _HOLE.findall(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from holes_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from holes_in(part)


def filled(text: str, values: Mapping[str, Json], /) -> str:
    """The text with its holes filled; what is no text is written as JSON. A hole that has no
    value stays as it is."""
    return _HOLE.sub(lambda m: _written(values[m[1]]) if m[1] in values else m[0], text)


def filled_json(value: Json, values: Mapping[str, Json], /) -> Json:
    """A JSON value with the holes of all its texts filled; a text that is one hole and nothing
    else becomes the value itself."""
    if isinstance(value, str):
        whole = _HOLE.fullmatch(value)
        return values[whole[1]] if whole and whole[1] in values else filled(value, values)
    if isinstance(value, Mapping):
        return {k: filled_json(v, values) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled_json(v, values) for v in value]
    return value


def bound(sql: str, /) -> tuple[str, tuple[str, ...]]:
    """A query whose holes are named parameters, and the names of the holes. A point or a dash in
    a name is written `_` in its parameter."""
    names = tuple(dict.fromkeys(_HOLE.findall(sql)))
    return _HOLE.sub(lambda m: ":" + m[1].replace(".", "_").replace("-", "_"), sql), names


def quoted_hole(sql: str, /) -> str:
    """The first quoted text of a query that has a hole in it, where no value can be bound; or "".

    >>> quoted_hole("select 1 from runs where id = '{task}'")
    "'{task}'"
    """
    # What stands between two quoted texts is not quoted itself, so they are looked at one by one.
    found = [m for m in re.findall(r"'[^']*'", sql) if _HOLE.search(m)]
    return found[0] if found else ""


def _written(value: Json) -> str:
    return value if isinstance(value, str) else canonical(value)
