"""Memory calls that survive lost replies, races and short outages, each within a bound.

- Reading has no effect, so it is simply tried again.
- Writing is always compare-and-set on a version that was read. When no answer comes, reading
  decides whether the write was ours: each one carries a `writer` that nobody else has.
- A change is a function of what stands there, so that after a conflict it is applied to the
  newer value instead of overwriting it. That protects against lost updates, not against zombies;
  against those there is the fence, which is asked for anew before every try.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from chaoslab.reference.errors import NotNow
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings, pause_ms
from chaoslab.world import (
    Conflict,
    ConnectionRefused,
    Durability,
    Fenced,
    Indeterminate,
    Item,
    RateLimited,
    Unavailable,
    World,
    Write,
)

T = TypeVar("T")
# From the value that stands (None where none does) to the one that shall; None: leave it.
Change = Callable[[Any], Mapping[str, Any] | None]

LATER = (Unavailable, ConnectionRefused, RateLimited)


class Store:
    """The memory of one process."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings
        self.process = world.process
        self._writes = 0

    async def read(self, id: str) -> Item | None:
        """The item as the primary has it. A decision is never based on a replica."""
        return await self._patiently(lambda: self._world.memory.read(id))

    async def scan(self, prefix: str) -> tuple[Item, ...]:
        """All items below a prefix, as the primary has them."""
        return await self._patiently(lambda: self._world.memory.scan(prefix))

    async def amend(
        self,
        id: str,
        known: Item | None,
        change: Change,
        own: Ownership,
        *,
        ttl_ms: int | None,
        durability: Durability = "quorum",
    ) -> Item:
        """Applies a change to an item, which `known` is the last reading of.

        `OwnershipLost` where the session is no longer ours; `NotNow` where memory stays away.
        """
        writer = self._writer()
        patience = _Patience(self._world, self._settings)
        while True:
            changed = change(None if known is None else known.value)
            if changed is None and known is not None:
                return known
            value = {**(changed or {}), "writer": writer}
            expires = None if ttl_ms is None else self._world.clock.now_ms() + ttl_ms
            fence = own.fence()
            try:
                version = await self._world.memory.write(
                    id,
                    value,
                    expect=None if known is None else known.version,
                    fence=fence,
                    expires_ms=expires,
                    durability=durability,
                )
                return Item(id=id, value=value, version=version, expires_ms=expires)
            except Fenced as error:
                raise own.lost("the store has seen a newer owner") from error
            except LATER:
                await patience.wait(f"{id} cannot be written now")
            except (Conflict, Indeterminate):
                known = await self.read(id)
                if known is not None and _writer_of(known) == writer:
                    return known
                await patience.wait(f"{id} cannot be written now")

    async def write_group(self, writes: Sequence[Write], own: Ownership) -> None:
        """Writes a group that need not arrive whole. `Conflict` and `Indeterminate` are the
        caller's to judge, since only he knows how to do the whole group again."""
        patience = _Patience(self._world, self._settings)
        while True:
            fence = own.fence()
            try:
                await self._world.memory.write_many(writes, fence=fence)
                return
            except Fenced as error:
                raise own.lost("the store has seen a newer owner") from error
            except LATER:
                await patience.wait("a group cannot be written now")

    async def erase(self, id: str, own: Ownership) -> None:
        """Removes an item. One try: what is left behind does no harm."""
        fence = own.fence()
        try:
            await self._world.memory.erase(id, fence=fence)
        except Fenced as error:
            raise own.lost("the store has seen a newer owner") from error
        except (Indeterminate, *LATER):
            return

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        patience = _Patience(self._world, self._settings)
        while True:
            try:
                return await call()
            except (Indeterminate, *LATER):
                await patience.wait("memory cannot be read now")

    def _writer(self) -> str:
        """A name for one write that no other write has: a process id is never used again."""
        self._writes += 1
        return f"{self._world.process}/{self._writes}"


class _Patience:
    """The bound of a loop: so many turns, so much time."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings
        self._until = world.clock.now_ms() + settings.memory_patience_ms
        self._nth = 0

    async def wait(self, what: str) -> None:
        """Waits for the next turn, longer each time. `NotNow` where the patience is over."""
        self._nth += 1
        over = self._world.clock.now_ms() >= self._until
        if over or self._nth >= self._settings.memory_tries:
            raise NotNow(what)
        await self._world.clock.sleep(
            pause_ms(
                self._nth,
                self._world.random,
                first_ms=self._settings.memory_first_ms,
                most_ms=self._settings.memory_most_ms,
            )
        )


def _writer_of(item: Item) -> object:
    return item.value.get("writer") if isinstance(item.value, Mapping) else None
