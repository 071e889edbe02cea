"""The ticket tool, which is a Wasm module inside this process.

One instance serves many calls, because making one costs time. A panic or a trap may leave
anything half done in its memory, and the next call may then mix two customers without a sign; so
an instance that did not come back from a call, or that the runtime calls poisoned, never answers
again. Nothing is lost with it: the truth about a ticket lives in the host, under the key of the
action, so the call is simply made again on a fresh instance.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from chaoslab.world import Indeterminate, Instance, Retired, ToolReply, World

_FUEL = 10_000_000


class Tickets:
    """The instance of this process, and its replacement."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._instance: Instance | None = None
        self._turn = asyncio.Lock()  # an instance is never entered twice at once

    async def open(self, args: Mapping[str, Any], key: str | None) -> ToolReply:
        """Opens a ticket. `Trapped`: it may have been opened or not."""
        data = json.dumps({**args, "key": key}, ensure_ascii=False, sort_keys=True).encode()
        async with self._turn:
            if self._instance is None:
                self._instance = await self._world.wasm.instantiate("ticket")
            instance = self._instance
            came_back = False
            try:
                output = await instance.call("open_ticket", data, fuel=_FUEL)
                came_back = True
            except Retired as error:
                self._instance = None
                raise Indeterminate("the instance had been retired") from error
            finally:
                if self.must_retire(instance, came_back):
                    instance.retire()
                    self._instance = None
        return _reply(output)

    def must_retire(self, instance: Instance, came_back: bool) -> bool:
        """Whether an instance must not be used again. A refusal by the host is an ordinary end,
        but it costs little to be strict."""
        return not came_back or instance.poisoned != ""


def _reply(output: bytes) -> ToolReply:
    try:
        said = json.loads(output)
        return ToolReply(ref=said["ref"], data=said, absorbed=bool(said["absorbed"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Indeterminate("the module's answer cannot be read") from error
