"""Holes: the `{names}` in texts of a contract that the lab fills when it knows what stands there.

A process that starts with a literal `{modle}` in its environment fails far from the slip, so the
loader refuses every name that nobody could fill where it stands.

>>> list(holes_in({"input": "{data}", "ids": ["{run}-{task}", 3]}))
['data', 'run', 'task']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

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


def quoted_hole(sql: str, /) -> str:
    """The first quoted text of a query that has a hole in it, where no value can be bound; or "".

    >>> quoted_hole("select 1 from runs where id = '{task}'")
    "'{task}'"
    """
    # What stands between two quoted texts is not quoted itself, so they are looked at one by one.
    found = [m for m in re.findall(r"'[^']*'", sql) if _HOLE.search(m)]
    return found[0] if found else ""
