"""Why work on a task stops before its end, as exceptions with the outcome they lead to.

    Stop
    ├── NotNow          what is needed cannot be had now; the task will be handed out again
    │   └── OwnershipLost   another process owns the session now, or may: hands off
    ├── Quarantined     the session is suspected of silent damage; only the operator lets it go
    └── GaveUp          the task itself cannot be finished

None of them is an error of the code; each ends in an honest `Outcome`.
"""

from __future__ import annotations

from typing import ClassVar

from chaoslab.world import Status


class Stop(Exception):
    """Root. `status` is the outcome's."""

    status: ClassVar[Status] = "failed"


class NotNow(Stop):
    """Nothing is lost: what was done is on record, and the rest can be done later."""

    status: ClassVar[Status] = "deferred"


class OwnershipLost(NotNow):
    """From here on this process must neither write nor act for the session."""


class Quarantined(Stop):
    """The session stands still until an operator releases it."""

    status: ClassVar[Status] = "quarantined"


class GaveUp(Stop):
    """The model refuses, the deadline has passed, or the like."""
