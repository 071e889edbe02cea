"""How an error of the world looks over HTTP.

`Refused` is a 4xx: the agent may rely on it that nothing happened. `Indeterminate` is a 5xx,
except where a fault says that no answer comes at all: then the connection breaks, which no status
can express.

>>> status_of(Conflict("the key is in flight")), status_of(ServerError("500"))
(409, 500)
>>> breaks(ConnectionReset("the connection broke"))
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from chaoslab.core.jsons import Json
from chaoslab.world.errors import (
    BadRequest,
    Conflict,
    ConnectionRefused,
    ConnectionReset,
    DeadlineExceeded,
    Fenced,
    Held,
    NotFound,
    RateLimited,
    Retired,
    ServerError,
    Unavailable,
    WorldError,
)

_STATUS: Final[Mapping[type[WorldError], int]] = {
    BadRequest: 400,
    NotFound: 404,
    Conflict: 409,
    Retired: 410,
    Fenced: 412,
    Held: 423,
    RateLimited: 429,
    ServerError: 500,
    Unavailable: 503,
}


def breaks(error: WorldError, /) -> bool:
    """Whether no answer comes: the connection is to be broken."""
    return isinstance(error, (ConnectionReset, DeadlineExceeded, ConnectionRefused))


def status_of(error: WorldError, /) -> int:
    """The HTTP status of an error that is answered."""
    for kind in type(error).__mro__:
        if kind in _STATUS:
            return _STATUS[kind]
    return 500


def error_json(error: WorldError, /) -> dict[str, Json]:
    """The body of an error: its code, its words and what else it tells."""
    details: dict[str, Json] = {}
    for name, value in error.details.items():
        if isinstance(value, tuple):
            details[name] = list(value)
        elif value is None or isinstance(value, (bool, int, str)):
            details[name] = value
    return {"error": {"code": error.code, "message": str(error), **details}}
