"""Owning a session: a lease, a fence, and the habit of asking before every act.

A lease alone does not protect: a process that was paused wakes up and still believes in it. So

- every memory write carries the lease's fence, and the store refuses an old one;
- before anything is done to the outside the process looks at its own lease first;
- once in doubt the process stops. It never "takes the lease again and goes on", since somebody
  else may have worked in between; it starts over from the record instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from chaoslab.reference.errors import NotNow, OwnershipLost
from chaoslab.reference.settings import Settings, pause_ms
from chaoslab.world import Held, Indeterminate, Lease, Refused, World, WorldError


class Ownership:
    """The right to work for one session, for as long as one task takes."""

    def __init__(self, world: World, settings: Settings, session: str) -> None:
        self._world, self._settings, self.session = world, settings, session
        self._lease: Lease | None = None
        self._why_lost = ""
        self._to_return = False  # whether there is a lease that others wait for
        self._calling = asyncio.Lock()  # renewing and giving up must not overtake each other

    def check(self) -> None:
        """Raises `OwnershipLost` unless the session is certainly still ours."""
        if self._lease is None:
            raise OwnershipLost("the lease was given up")
        if not self._why_lost and self._world.clock.now_ms() >= self._lease.expires_ms:
            self.lost("the lease ran out")
        if self._why_lost:
            raise OwnershipLost(self._why_lost)

    def fence(self) -> int | None:
        """The fence that goes with every memory write of the session."""
        self.check()
        assert self._lease is not None
        return self._lease.fence

    def lost(self, why: str) -> OwnershipLost:
        """Notes that the session is no longer ours. Returns the error to raise."""
        self._why_lost = self._why_lost or why
        self._to_return = False
        return OwnershipLost(self._why_lost)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Ownership]:
        """Owns the session inside the block, and gives it up after, so that others need not wait
        for the lease to end."""
        await self._take()
        keeper = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            async with self._calling:
                keeper.cancel()
                await self._give_up()

    async def _take(self) -> None:
        """Waits for the lease. `NotNow` where another process keeps it for too long."""
        clock, settings = self._world.clock, self._settings
        until = clock.now_ms() + settings.lease_patience_ms
        nth = 0
        while clock.now_ms() < until:
            nth += 1
            wait = pause_ms(nth, self._world.random, first_ms=100, most_ms=2_000)
            try:
                lease = await self._world.leases.acquire(self.session, ttl_ms=settings.lease_ttl_ms)
            except Held as held:
                ends = held.details.get("expires_ms")
                if isinstance(ends, int):
                    wait = min(wait, max(ends - clock.now_ms(), 0) + 1)
            except (Refused, Indeterminate):
                pass
            else:
                if clock.now_ms() < lease.expires_ms:
                    self._lease, self._to_return = lease, True
                    return
            await clock.sleep(wait)
        raise NotNow(f"another process keeps session {self.session}")

    async def _keep(self) -> None:
        """Renews the lease in good time until it is cancelled or the session is lost."""
        usual = self._settings.lease_renew_ms
        wait = usual
        while not self._why_lost:
            await self._world.clock.sleep(wait)
            async with self._calling:
                # One that has run out is not renewed: that would take the session away from
                # whoever owns it next, or may have owned it in between.
                with suppress(OwnershipLost):
                    self.check()
                    # One lost reply must not cost the lease: then it is asked again at once.
                    wait = usual if await self._renew() else usual // 10

    async def _renew(self) -> bool:
        """One try. Whether there was an answer."""
        assert self._lease is not None
        try:
            lease = await self._world.leases.acquire(
                self.session, ttl_ms=self._settings.lease_ttl_ms
            )
        except Held:
            self.lost("another process took the session")
        except WorldError:
            return False  # if nobody answers until the lease ends, `check` says so
        else:
            if lease.fence == self._lease.fence:
                self._lease = lease
            else:
                # It ended on the way there: what happened meanwhile is unknown here.
                self.lost("the lease had run out before it was renewed")
                self._to_return = True
        return True

    async def _give_up(self) -> None:
        self._lease = None
        if self._to_return:
            with suppress(WorldError):
                await self._world.leases.acquire(self.session, ttl_ms=0)
