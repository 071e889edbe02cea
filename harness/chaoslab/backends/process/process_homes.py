"""Regions as processes of this machine: a data directory, a control port and a peer port each."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from chaoslab.backends.process.children import Child, reaped
from chaoslab.backends.process.commits import OverToxiproxy, unanswered
from chaoslab.backends.process.homes import Place
from chaoslab.backends.process.lines import STORE, Lines
from chaoslab.backends.process.stores import Files, Keep
from chaoslab.core.errors import LabError
from chaoslab.regions.rows import Change, Row
from chaoslab.regions.wire import Asking

_HOST: Final = "127.0.0.1"
_READY_S: Final = 20.0


class ProcessHomes:
    """See the module and `homes.Homes`. `env` is what every command of the execution gets; it
    names the execution, so that nothing of it can outlive the lab. `keep` is where the regions keep
    memory, by default each in a file of its folder; it is closed with the homes. `lines`, where
    they are given and lead through a server, also lead to the store."""

    def __init__(
        self,
        folder: Path,
        env: Mapping[str, str],
        *,
        keep: Keep | None = None,
        lines: Lines | None = None,
    ) -> None:
        self._folder = folder
        self._keep, self._lines = keep or Files(folder), lines
        self._stores: dict[str, tuple[str, int]] = {}  # where regions find theirs
        self._token = secrets.token_hex(16)
        package = str(Path(__file__).resolve().parents[3])
        self._env = {**env, "PYTHONPATH": package, "CHAOSLAB_TOKEN": self._token}
        self._env |= self._keep.environment()
        self._children: dict[str, Child] = {}
        self._places: dict[str, Place] = {}
        self._cut: set[str] = set()

    @property
    def token(self) -> str:
        """See `Homes`."""
        return self._token

    async def start(self, region: str, /) -> Place:
        """See `Homes`."""
        old = self._places.get(region)
        ready: asyncio.Future[Mapping[str, int]] = asyncio.get_running_loop().create_future()

        def on_line(line: bytes) -> None:
            if not ready.done():
                ready.set_result(json.loads(line))

        argv = [sys.executable, *self._keep.python(), "-m", "chaoslab.regions", "--name", region]
        argv += ["--data", str(self._data(region)), "--host", _HOST]
        argv += self._keep.arguments(region, at=await self._store_of(region))
        if old is not None:
            argv += ["--port", str(old.port), "--peer-port", str(old.peer_port)]
        child = await Child.start(argv, self._env, self._folder, on_line=on_line)
        self._children[region] = child
        ended = asyncio.ensure_future(child.wait())
        try:
            await asyncio.wait((ready, ended), timeout=_READY_S, return_when="FIRST_COMPLETED")
        finally:
            ended.cancel()
        if not ready.done():
            await child.drained()
            child.close()
            raise LabError(
                f"the process of region {region} did not get ready: "
                f"{child.last_words() or 'it said nothing'}",
                value=argv,
                hint="start the command by hand",
            )
        ports = ready.result()
        place = Place(host=_HOST, port=ports["port"], peer_host=_HOST, peer_port=ports["peer_port"])
        self._places[region] = place
        if region in self._cut:
            await self._tell(region, "sever")
        return place

    async def _store_of(self, region: str) -> tuple[str, int] | None:
        place, lines = self._keep.place, self._lines
        if place is None or lines is None or not lines.how:
            return None
        if region not in self._stores:
            self._stores[region] = await lines.between(region, STORE, place)
        return self._stores[region]

    @property
    def loses_answers(self) -> bool:
        """Whether there are lines to the stores, on which an answer can be lost."""
        return bool(self._keep.place and self._lines is not None and self._lines.how)

    async def unanswered(self, region: str, change: Change) -> Row:
        """Has a region commit a change without ever learning of it; see `commits`."""
        assert self._lines is not None
        place = self._places[region]
        swallowing = OverToxiproxy(self._lines.line(region, STORE))

        async def committed() -> Row | None:
            rows = await self.ledger(region, 0)
            return next((row for row in rows if row.uid == change.uid), None)

        asking = await Asking.at(place.host, place.port, self._token)
        try:
            return await unanswered(asking, change, swallowing, committed)
        finally:
            await asking.close()

    def _data(self, region: str) -> Path:
        return self._folder / region

    async def kill(self, region: str, /) -> None:
        """See `Homes`."""
        child = self._children.pop(region, None)
        if child is not None:
            child.close()
            await child.wait()

    async def pause(self, region: str, /) -> None:
        """See `Homes`."""
        if region in self._children:
            self._children[region].signal(signal.SIGSTOP)

    async def resume(self, region: str, /) -> None:
        """See `Homes`."""
        if region in self._children:
            self._children[region].signal(signal.SIGCONT)

    async def cut(self, region: str, /) -> None:
        """See `Homes`."""
        self._cut.add(region)
        await self._tell(region, "sever")

    async def mend(self, region: str, /) -> None:
        """See `Homes`."""
        self._cut.discard(region)
        await self._tell(region, "mend")

    async def _tell(self, region: str, what: str) -> None:
        """A dead region needs not be told; it hears of it when it starts again."""
        if region not in self._children:
            return
        place = self._places[region]
        with suppress(OSError):
            asking = await Asking.at(place.host, place.port, self._token)
            try:
                await asking.ask(what)
            finally:
                await asking.close()

    async def ledger(self, region: str, after: int, /) -> list[Row]:
        """See `Homes`."""
        dead = region not in self._children
        return await asyncio.to_thread(self._keep.ledger, region, after, dead=dead)

    async def close(self) -> None:
        """See `Homes`. What is in the folder goes with the folder."""
        for child in self._children.values():
            child.close()
        self._children.clear()
        await reaped()
        await asyncio.to_thread(self._keep.close)
