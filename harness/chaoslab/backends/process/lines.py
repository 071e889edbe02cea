"""The lines between the lab and regions, and among regions: direct, or each through a Toxiproxy.

With a Toxiproxy, a partition is what it does to a line: connections end and new ones are refused,
while both ends go on. And whoever watches an execution can do more to its lines, since each has a
name: `RUN-east-west` is how east reaches west.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeAlias

from chaoslab.links.client import Line, Links
from chaoslab.links.servers import stand

LAB: Final = "lab"
STORE: Final = "store"
Address: TypeAlias = tuple[str, int]


class Lines:
    """See the module. `how`: "" for direct lines, else what `links.servers.stand` takes. What
    the server keeps is below `folder`, so that it goes with the execution's."""

    def __init__(self, how: str, run: str, *, seed: int = 0, folder: Path | None = None) -> None:
        self.how, self._run, self._seed, self._folder = how, run, seed, folder
        self._stack = ExitStack()
        self._links: Links | None = None
        self._lines: dict[tuple[str, str], Line] = {}

    async def start(self) -> None:
        """Starts the server, where there is to be one."""
        if self.how:
            server = stand(self.how, seed=self._seed, folder=self._folder)
            # The library and the start of a child block, so they have a thread of their own.
            self._links = await asyncio.to_thread(self._stack.enter_context, server)

    async def between(self, a: str, b: str, upstream: Address, /) -> Address:
        """Where `a` finds `b`, which listens at `upstream`."""
        links = self._links
        if links is None:
            return upstream
        name, to = f"{self._run}-{a}-{b}", f"{upstream[0]}:{upstream[1]}"
        line = self._lines[a, b] = await asyncio.to_thread(links.create, name, to)
        return line.host, line.port

    def line(self, a: str, b: str, /) -> Line:
        """The line itself, for whoever wants more of it than to cut it."""
        return self._lines[a, b]

    async def cut(self, region: str, /) -> None:
        """Cuts every line between a region and the others, both ways; never the lab's own, nor that
        to its store."""
        await self._each(region, Line.cut)

    async def mend(self, region: str, /) -> None:
        """The lines are whole again."""
        await self._each(region, Line.mend)

    async def _each(self, region: str, what: Callable[[Line], None]) -> None:
        for ends, line in self._lines.items():
            if region in ends and not {LAB, STORE} & {*ends}:
                await asyncio.to_thread(what, line)

    async def close(self) -> None:
        """Ends what was started, and removes the lines where the server is somebody else's."""
        await asyncio.to_thread(self._stack.close)
