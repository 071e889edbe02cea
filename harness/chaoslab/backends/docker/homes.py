"""Regions as containers, for whoever speaks with regions and does not care where they live.

The daemon is asked in threads, since its client blocks, and one thing after the other for each
region. Nothing is left in doubt at the end: what is on its way is waited for, then everything that
carries the name of the execution goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from chaoslab.backends.docker.boxes import Boxes
from chaoslab.backends.docker.images import PEER_PORT
from chaoslab.backends.docker.leftovers import remove_quietly
from chaoslab.backends.process.homes import Place
from chaoslab.backends.process.leftovers import Home
from chaoslab.core.errors import LabError
from chaoslab.regions.rows import Refusal, Row
from chaoslab.regions.sqlite import read_ledger
from chaoslab.regions.wire import Asking

_HOST: Final = "127.0.0.1"
_READY_S: Final = 30.0
_ANSWER_S: Final = 2.0
_POLL_S: Final = 0.02
T = TypeVar("T")


class ContainerHomes:
    """See the module and `backends.process.homes.Homes`. `home` is the execution's folder, whose
    end is also that of the containers, whatever happens to this object; the regions' data is kept
    in `folder` below it."""

    def __init__(
        self, home: Home, folder: Path, regions: Sequence[str], /, *, base: str = ""
    ) -> None:
        # The name of an execution is its secret, too.
        self._run = self._token = home.run
        self._boxes = Boxes(home.run, regions, folder, self._token, base=base)
        self._locks = {name: asyncio.Lock() for name in regions}
        self._opening = asyncio.Lock()
        self._open = self._closed = False
        self._running: set[asyncio.Future[Any]] = set()
        home.at_end(partial(remove_quietly, home.run))

    @property
    def token(self) -> str:
        """See `Homes`."""
        return self._token

    async def start(self, region: str, /) -> Place:
        """See `Homes`."""
        async with self._opening:
            if not self._open:
                await self._do(self._boxes.open)
                self._open = True
        async with self._locks[region]:
            await self._do(partial(self._boxes.start, region))
            return await self._ready(region)

    async def _ready(self, region: str) -> Place:
        """Waits until it answers a request: that connections succeed says nothing, since Docker's
        own proxy takes them before anybody listens behind it."""
        box = self._boxes.boxes[region]
        end = asyncio.get_running_loop().time() + _READY_S
        while not await self._answers(box.port):
            words = await self._do(partial(self._boxes.last_words, region))
            if not words and asyncio.get_running_loop().time() > end:
                words = f"it did not answer within {_READY_S:.0f} s"
            if words:
                raise LabError(
                    f"the container of region {region} did not get ready: {words}",
                    hint="`docker logs` of it, while the lab is held by a debugger",
                )
            await asyncio.sleep(_POLL_S)
        return Place(
            host=_HOST,
            port=box.port,
            peer_host=self._boxes.peer_host(region),
            peer_port=PEER_PORT,
        )

    async def _answers(self, port: int) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S):
                asking = await Asking.at(_HOST, port, self._token)
                try:
                    await asking.ask("state")
                finally:
                    await asking.close()
        except (OSError, TimeoutError, Refusal):
            return False
        return True

    async def kill(self, region: str, /) -> None:
        """See `Homes`."""
        await self._of(region, self._boxes.kill)

    async def pause(self, region: str, /) -> None:
        """See `Homes`."""
        await self._of(region, self._boxes.pause)

    async def resume(self, region: str, /) -> None:
        """See `Homes`."""
        await self._of(region, self._boxes.resume)

    async def cut(self, region: str, /) -> None:
        """See `Homes`."""
        await self._of(region, self._boxes.cut)

    async def mend(self, region: str, /) -> None:
        """See `Homes`."""
        await self._of(region, self._boxes.mend)

    async def ledger(self, region: str, after: int, /) -> list[Row]:
        """See `Homes`."""
        path = self._boxes.data_of(region) / "region.db"
        return read_ledger(path, after)

    async def close(self) -> None:
        """See `Homes`."""
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.shield(asyncio.to_thread(self._boxes.close))

    async def _of(self, region: str, work: Callable[[str], None]) -> None:
        """Does it with a region that was started; any other is as good as killed."""
        async with self._locks[region]:
            if self._boxes.boxes[region].id:
                await self._do(partial(work, region))

    async def _do(self, work: Callable[[], T]) -> T:
        """Does it in a thread. Whoever waits may be cancelled, the daemon is not: so it is known
        what is on its way."""
        if self._closed:
            raise LabError("the regions are closed already")
        doing = asyncio.get_running_loop().run_in_executor(None, work)
        self._running.add(doing)
        doing.add_done_callback(self._done)
        return await asyncio.shield(doing)

    def _done(self, doing: asyncio.Future[Any]) -> None:
        self._running.discard(doing)
        if not doing.cancelled():
            doing.exception()  # it was told to whoever waited, if anybody still did
