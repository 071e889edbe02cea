"""The lab speaks with the regions of an execution: one connection each, made again when needed.

What a region answers becomes one of the world's errors where it is one: a refusal is certain, a
connection that ends while an answer is awaited is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from chaoslab.backends.process.homes import Homes, Place
from chaoslab.regions.rows import Refusal, Unsure
from chaoslab.regions.wire import Asking
from chaoslab.world.errors import (
    BadRequest,
    Conflict,
    ConnectionRefused,
    ConnectionReset,
    Fenced,
    Refused,
    ServerError,
    Unavailable,
)

_REFUSALS: Final[dict[str, type[Refused]]] = {
    one.code: one for one in (BadRequest, Conflict, ConnectionRefused, Fenced, Unavailable)
}


@asynccontextmanager
async def told(region: str, /) -> AsyncIterator[None]:
    """What a region says, as one of the world's errors."""
    try:
        yield
    except Refusal as refusal:
        kind = _REFUSALS.get(refusal.code, Refused)
        details = dict(refusal.details)
        if isinstance(details.get("current"), list):
            details["current"] = tuple(details["current"])
        raise kind(refusal.words, **details) from None
    except Unsure as unsure:
        raise ServerError(str(unsure)) from None
    except OSError:
        raise ConnectionReset(f"region {region} hung up") from None


class Speaking:
    """See the module. `places` is filled by whoever starts the regions."""

    def __init__(self, homes: Homes) -> None:
        self._homes = homes
        self.places: dict[str, Place] = {}
        self._open: dict[str, Asking] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def ask(self, region: str, do: str, /, **given: Any) -> Any:
        """One request. Refused: nothing happened. Indeterminate: it may have."""
        try:
            asking = await self._connected(region)
        except OSError:
            raise ConnectionRefused(f"region {region} does not listen") from None
        async with told(region):
            return await asking.ask(do, **given)

    async def _connected(self, region: str) -> Asking:
        async with self._locks.setdefault(region, asyncio.Lock()):
            asking = self._open.get(region)
            if asking is None or not asking.open:
                place = self.places[region]
                asking = await Asking.at(place.host, place.port, self._homes.token)
                self._open[region] = asking
            return asking

    async def hang_up(self, region: str, /) -> None:
        """Ends the connection to a region."""
        asking = self._open.pop(region, None)
        if asking is not None:
            with suppress(OSError):
                await asking.close()

    async def close(self) -> None:
        """Ends all of them."""
        for region in tuple(self._open):
            await self.hang_up(region)
