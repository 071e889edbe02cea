"""The memory port of an agent whose regions are processes of their own: each call is carried out
by the process of the region that leads, or of the agent's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from chaoslab.backends.common.hub import Hub, Process
from chaoslab.backends.common.ports import SimMemory
from chaoslab.backends.process.regional import Regional
from chaoslab.world.api import Item, Place, Version, Write
from chaoslab.world.request import Caller


class RegionMemory(SimMemory):
    """See the module."""

    def __init__(self, hub: Hub, process: Process, regional: Regional) -> None:
        super().__init__(hub, process)
        self._regional = regional

    def _where(self, caller: Caller, at: Place) -> str:
        here = caller.region
        return self._regional.leader(here) if at == "primary" else self._regional.replica(here)

    def _by_read(self, id: str, at: Place) -> dict[str, Any]:
        async def look(caller: Caller) -> tuple[Item | None, str]:
            region = self._where(caller, at)
            return await self._regional.read(region, id, caller.now_ns), region

        return {"remote": look}

    def _by_scan(self, prefix: str, at: Place) -> dict[str, Any]:
        async def look(caller: Caller) -> tuple[Item, ...]:
            return await self._regional.scan(self._where(caller, at), prefix, caller.now_ns)

        return {"remote": look}

    def _by_write(self, write: Write, fence: int | None) -> dict[str, Any]:
        async def put(caller: Caller) -> Version:
            return await self._regional.write(caller, "memory.write", write, fence)

        async def lost(caller: Caller) -> Version:
            return await self._regional.write(caller, "memory.write", write, fence, unanswered=True)

        return {"remote": put, "unanswered": lost if self._regional.unanswered else None}

    def _by_group(self, group: Sequence[Write], fence: int | None) -> dict[str, Any]:
        async def steps(caller: Caller) -> AsyncIterator[Version]:
            for number, write in enumerate(group):
                yield await self._regional.write(
                    caller, "memory.write_many", write, fence, item=number, of=len(group)
                )

        return {"remote_steps": steps}

    def _by_erase(self, id: str, fence: int | None) -> dict[str, Any]:
        async def gone(caller: Caller) -> bool:
            await self._regional.erase(caller, id, fence)
            return True

        return {"remote": gone}
