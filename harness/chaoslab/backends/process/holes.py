"""What stands in the holes of commands, environments and addresses, and in what form a task goes to
an agent."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence

from chaoslab.core.jsons import Json
from chaoslab.serve.holes import filled
from chaoslab.world.api import Task


def fill_all(texts: Sequence[str], holes: Mapping[str, str], /) -> tuple[str, ...]:
    """Each text filled."""
    return tuple(filled(text, holes) for text in texts)


def fill_json(value: Json, holes: Mapping[str, str], /) -> Json:
    """Every text in a JSON value filled; `{data}` alone becomes the task's data itself.

    >>> fill_json({"id": "{task}", "in": "{data}"}, {"task": "t1", "data": '{"n": 1}'})
    {'id': 't1', 'in': {'n': 1}}
    """
    if isinstance(value, str):
        found: Json = json.loads(holes["data"]) if value == "{data}" else filled(value, holes)
        return found
    if isinstance(value, Mapping):
        return {k: fill_json(v, holes) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [fill_json(v, holes) for v in value]
    return value


def of_task(task: Task, /) -> dict[str, str]:
    """The holes that belong to one task."""
    return {
        "task": task.id,
        "session": task.session,
        "tenant": task.tenant,
        "prompt": task.prompt,
        "delivery": str(task.delivery),
        "data": json.dumps(dict(task.data)),
    }


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
