"""The lease service: linearizable, in one place, never replicated.

Fences grow over all sessions, so that a store can tell from a fence alone whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaoslab.history import Recorder
from chaoslab.world.api import Lease
from chaoslab.world.errors import BadRequest, Held
from chaoslab.world.request import Caller


@dataclass(slots=True)
class _Grant:
    fence: int
    holder: str
    expires_ns: int


class LeaseService:
    """Grants a session to one process at a time."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._grants: dict[str, _Grant] = {}
        self._session_of: dict[int, str] = {}
        self._last = 0

    def session_of(self, fence: int, /) -> str:
        """The session that a fence was granted for; "" for a made-up one."""
        return self._session_of.get(fence, "")

    def apply(self, caller: Caller, session: str, ttl_ms: int) -> Lease:
        """Grants, extends, gives up (`ttl_ms` 0), or raises `Held`."""
        if ttl_ms < 0 or ttl_ms > 86_400_000:
            raise BadRequest("ttl_ms must be 0 to 86400000")
        now = caller.now_ns
        grant = self._grants.get(session)
        free = grant is None or grant.expires_ns <= now
        if grant is not None and not free and grant.holder != caller.process:
            expires_ms = -(-grant.expires_ns // 1_000_000)
            raise Held(f"held by {grant.holder}", expires_ms=expires_ms)
        if grant is None or free:
            self._last += 1
            self._session_of[self._last] = session
            grant = _Grant(fence=self._last, holder=caller.process, expires_ns=0)
            self._grants[session] = grant
        grant.expires_ns = now + ttl_ms * 1_000_000
        self._recorder.add(
            "commit",
            "leases.acquire",
            {
                "session": session,
                "fence": grant.fence,
                "expires_ns": grant.expires_ns,
                "holder": caller.process,
            },
            process=caller.process,
            session=caller.session,
            task=caller.task,
            call=caller.call,
            marker=session,
        )
        return Lease(session=session, fence=grant.fence, expires_ms=grant.expires_ns // 1_000_000)
