"""What an agent can be told by the world when something did not go well.

There are exactly two families, because an agent must know exactly one thing:

- `Refused`: it certainly did not happen. Trying again is safe.
- `Indeterminate`: it may have happened, or may still happen. Only an idempotency key, a
  look-up or an honest "uncertain" is safe.

Neither is a `ChaosError`: these belong to the simulated world, not to the lab.
"""

from __future__ import annotations


class WorldError(Exception):
    """Root of what a port can raise. `code` is what the history records."""

    code = "error"

    def __init__(self, message: str = "", /, **details: object) -> None:
        super().__init__(message or self.code)
        self.details = details


class Refused(WorldError):
    """It certainly did not happen."""

    code = "refused"


class BadRequest(Refused):
    """The service does not understand the request (4xx)."""

    code = "bad-request"


class NotFound(Refused):
    """No such tool, item or module."""

    code = "not-found"


class Conflict(Refused):
    """The key is in flight, or was used with another payload; or the item's version moved on.

    `details["in_flight"]` is True where waiting helps. For memory, `details["current"]` is the
    version that stands, or None where there is no item.
    """

    code = "conflict"


class Fenced(Refused):
    """A newer lease exists: whoever holds this fence is no longer the owner."""

    code = "fenced"


class Held(Refused):
    """The lease is held by somebody else until `details["expires_ms"]`."""

    code = "held"


class RateLimited(Refused):
    """Not now; `details["retry_after_ms"]` says when."""

    code = "rate-limited"


class ConnectionRefused(Refused):
    """Nobody listens, or the region cannot be reached; the request never left."""

    code = "connection-refused"


class Unavailable(Refused):
    """The service is there and cannot do it now, for example no quorum."""

    code = "unavailable"


class Retired(Refused):
    """The Wasm instance was retired; instantiate another."""

    code = "retired"


class Indeterminate(WorldError):
    """It may have happened."""

    code = "info"


class DeadlineExceeded(Indeterminate):
    """No answer within the deadline; the request may still be on its way."""

    code = "deadline"


class ConnectionReset(Indeterminate):
    """The connection broke while the answer was awaited."""

    code = "reset"


class ServerError(Indeterminate):
    """The service answered 5xx; it does not know either."""

    code = "server-error"


class Trapped(Indeterminate):
    """The Wasm guest trapped or panicked during the call.

    `details["trap"]` is the code; `details["poisoned"]` the reason why the instance is no
    longer to be trusted. Whether to retire it is the caller's decision.
    """

    code = "trap"


class PartialWrite(Indeterminate):
    """A group of writes stopped in its middle: `details["written"]` items stand, and
    `details["error"]` is the code of what stopped it."""

    code = "partial"
