"""One region: serves its copy of memory to the lab, and replicates it to its peers by itself.

Two listeners: one for requests, one for the other regions. The store is used by one thread of its
own, so that a database that hangs does not silence the region.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, TypeVar

from chaoslab.regions.peers import Line
from chaoslab.regions.rows import Change, Refusal, Row, State, Unsure, judged
from chaoslab.regions.store import Store
from chaoslab.regions.wire import LINE_BYTES_MAX, Asking, answering

_QUORUM_S: Final = 2.0
T = TypeVar("T")
POINTS: Final = ("before-commit", "commit", "before-answer")


class Region:
    """See the module. `opened` makes the store, in the thread that will use it."""

    def __init__(self, name: str, token: str, opened: Callable[[], Store]) -> None:
        self.name, self._token, self._opened = name, token, opened
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._store: Store
        self._lines: dict[str, Line] = {}
        self._members: list[str] = []
        self._lag_s = 0.0
        self._severed = False
        self._resting = False
        self._visitors: set[asyncio.StreamWriter] = set()
        self._committed_s: dict[int, float] = {}
        self._armed = self._armed_uid = ""
        self._at_point, self._let_go = asyncio.Event(), asyncio.Event()
        self._commit_goes_on = threading.Event()
        self.stopped = asyncio.Event()
        self._doings: Mapping[str, Callable[..., Awaitable[Any]]] = {
            "state": self._state,
            "read": self._read,
            "scan": self._scan,
            "write": self._write,
            "ledger": self._ledger,
            "lead": self._lead,
            "rest": self._rest,
            "follow": self._follow,
            "peers": self._peers,
            "sever": self._sever,
            "mend": self._mend,
            "arm": self._arm,
            "held": self._held,
            "release": self._release,
            "stop": self._stop,
        }

    # -- life

    async def serve(
        self, host: str, port: int, peer_port: int, ready: Callable[[int, int], None], /
    ) -> None:
        """Serves until `stopped`. `ready` is told both ports."""
        async with AsyncExitStack() as stack:
            stack.callback(self._thread.shutdown, wait=False, cancel_futures=True)
            self._store = await self._in_thread(self._opened)
            stack.push_async_callback(self._in_thread, self._store.close)
            stack.push_async_callback(self._hang_up)
            own = await asyncio.start_server(self._asked, host, port, limit=LINE_BYTES_MAX)
            peers = await asyncio.start_server(self._visited, host, peer_port, limit=LINE_BYTES_MAX)
            stack.callback(own.close)
            stack.callback(peers.close)
            ready(own.sockets[0].getsockname()[1], peers.sockets[0].getsockname()[1])
            await self.stopped.wait()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(reader, writer, self._token, self._answer)

    async def _visited(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._severed:
            writer.close()
            return
        self._visitors.add(writer)
        try:
            await answering(reader, writer, self._token, self._answer_peer)
        finally:
            self._visitors.discard(writer)

    async def _answer(self, do: str, given: dict[str, Any]) -> Any:
        if do not in self._doings:
            raise Refusal("bad-request", f"no such request: {do!r}; one of {sorted(self._doings)}")
        return await self._doings[do](**given)

    async def _answer_peer(self, do: str, given: dict[str, Any]) -> Any:
        if do == "put":
            rows = [Row.of_json(raw) for raw in given["rows"]]
            return await self._in_thread(
                lambda: self._store.put(rows, given["fences"], given["epoch"])
            )
        if do == "copy":
            return await self._in_thread(self._copied)
        raise Refusal("bad-request", f"no such request of a peer: {do!r}; put or copy")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # -- reads

    async def _state(self) -> dict[str, Any]:
        state = await self._in_thread(self._store.state)
        lines = {name: line.acked for name, line in self._lines.items()}
        return {"name": self.name, **state.json(), "severed": self._severed, "acked": lines}

    async def _read(self, id: str) -> Any:
        row = await self._in_thread(lambda: self._store.read(id))
        return None if row is None else row.json()

    async def _scan(self, prefix: str) -> list[Any]:
        return [row.json() for row in await self._in_thread(lambda: self._store.scan(prefix))]

    async def _ledger(self, after: int = 0) -> list[Any]:
        return [row.json() for row in await self._in_thread(lambda: self._store.ledger(after))]

    def _copied(self) -> dict[str, Any]:
        state = self._store.state()
        rows = [row.json() for row in self._store.scan("")]
        return {"rows": rows, **state.json()}

    # -- writes

    async def _write(self, change: Mapping[str, Any]) -> Any:
        asked = Change.of_json(change)
        if asked.durability == "quorum":
            await self._quorum(asked)
        if self._armed == "before-commit":
            await self._hold()
        hook = partial(self._hold_commit, asyncio.get_running_loop(), asked.uid)
        try:
            row = await self._in_thread(lambda: self._committed(asked, hook))
        except Unsure:
            self._nudge()  # the ledger knows, and what is in it is replicated
            raise
        if row.nth:
            self._committed_s[row.nth] = asyncio.get_running_loop().time()
            self._nudge()
        if self._armed == "before-answer":
            await self._hold()
        if row.nth and asked.durability == "quorum":
            await self._acknowledged(row.nth)
        return row.json()

    def _committed(self, change: Change, hook: Callable[[], None]) -> Row:
        """In the store's thread."""
        if self._resting or not self._store.state().leads:
            raise Refusal("connection-refused", f"{self.name} does not lead")
        # Only a store that commits over a line has something to show between its last statement and
        # its COMMIT.
        if hasattr(self._store, "at_commit"):
            self._store.at_commit = hook
        elif self._armed == "commit":
            raise Refusal("bad-request", "this store commits without a point to be held at")
        return self._store.write(change)

    def _nudge(self) -> None:
        for line in self._lines.values():
            line.nudge()

    async def _quorum(self, change: Change) -> None:
        """Refuses, before anything is written, what could not be acknowledged by all members."""

        def look() -> State:
            state = self._store.state()
            judged(change, self._store.read(change.id), state.fences)
            return state

        state = await self._in_thread(look)
        for name in self._members:
            line = self._lines.get(name)
            try:
                if line is not None and await asyncio.wait_for(line.push(state, ()), _QUORUM_S):
                    continue
            except (OSError, TimeoutError, Refusal):
                pass
            raise Refusal("unavailable", f"no quorum: {name} cannot be reached")

    async def _acknowledged(self, nth: int) -> None:
        lines = [self._lines[name].until(nth) for name in self._members if name in self._lines]
        try:
            await asyncio.wait_for(asyncio.gather(*lines), _QUORUM_S)
        except TimeoutError:
            raise Unsure("committed here; not every member has acknowledged it") from None

    # -- points at which a write is held

    async def _arm(self, point: str, uid: str = "") -> dict[str, Any]:
        """The next write stands at the point; at `commit` the one with this uid, where one is
        named."""
        if point not in POINTS:
            raise Refusal("bad-request", f"no such point: {point!r}; one of {POINTS}")
        self._armed, self._armed_uid = point, uid
        self._at_point.clear()
        self._let_go.clear()
        self._commit_goes_on.clear()
        return {"armed": point}

    async def _held(self) -> dict[str, Any]:
        """Answers when a write stands at the armed point."""
        await self._at_point.wait()
        return {"held": True}

    async def _release(self) -> dict[str, Any]:
        self._armed = ""
        self._let_go.set()
        self._commit_goes_on.set()
        return {"released": True}

    async def _hold(self) -> None:
        self._armed = ""
        self._at_point.set()
        await self._let_go.wait()

    def _hold_commit(self, loop: asyncio.AbstractEventLoop, uid: str) -> None:
        """In the store's thread, right before COMMIT is sent."""
        if self._armed == "commit" and self._armed_uid in ("", uid):
            self._armed = ""
            loop.call_soon_threadsafe(self._at_point.set)
            self._commit_goes_on.wait()

    # -- who leads, and who follows

    async def _rest(self) -> dict[str, Any]:
        """Takes no change any more, until it leads or follows anew."""
        self._resting = True
        return await self._state()  # behind every write that had been let through

    async def _lead(self, epoch: int, count: int = 0) -> dict[str, Any]:
        self._resting = False
        await self._in_thread(lambda: self._store.lead(epoch, count))
        return await self._state()

    async def _follow(self, leader: Sequence[Any]) -> dict[str, Any]:
        """Fetches the leader's copy over the line between the two and becomes the same."""
        if self._severed:
            raise Refusal("unavailable", "the line to the leader is cut")
        try:
            asking = await Asking.at(str(leader[0]), int(leader[1]), self._token)
            try:
                raw = await asyncio.wait_for(asking.ask("copy"), 5)
            finally:
                await asking.close()
        except (OSError, TimeoutError):
            raise Refusal("unavailable", "the leader cannot be reached") from None
        if not raw["leads"]:
            raise Refusal("unavailable", "it does not lead")
        rows = [Row.of_json(row) for row in raw["rows"]]
        await self._peers({})
        await self._in_thread(
            lambda: self._store.follow(raw["epoch"], rows, raw["fences"], raw["count"])
        )
        self._resting = False
        return await self._state()

    async def _peers(
        self,
        peers: Mapping[str, Sequence[Any]],
        members: Sequence[str] = (),
        lag_ms: float = 0,
    ) -> dict[str, Any]:
        """To whom a leader replicates from now on, and who has to acknowledge a quorum."""
        old, self._lines = self._lines, {}
        for line in old.values():
            await line.close()
        self._lag_s, self._members = lag_ms / 1000, [m for m in members if m != self.name]
        for name, address in peers.items():
            self._lines[name] = Line(
                address,
                self._token,
                pending=self._pending,
                due=self._due_s,
                whole=lambda: not self._severed,
            )
        return {"peers": list(self._lines)}

    async def _pending(self, after: int) -> tuple[State, Sequence[Row]]:
        return await self._in_thread(lambda: (self._store.state(), self._store.ledger(after)))

    def _due_s(self, row: Row) -> float:
        since = self._committed_s.get(row.nth)
        if since is None:  # of an earlier life
            return 0.0
        return since + self._lag_s - asyncio.get_running_loop().time()

    # -- lines

    async def _sever(self) -> dict[str, Any]:
        """Cuts the lines to and from all peers."""
        self._severed = True
        await self._hang_up()
        return {"severed": True}

    async def _mend(self) -> dict[str, Any]:
        self._severed = False
        for line in self._lines.values():
            line.nudge()
        return {"severed": False}

    async def _hang_up(self) -> None:
        for line in self._lines.values():
            await line.hang_up()
        for writer in tuple(self._visitors):
            writer.close()

    async def _stop(self) -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(self.stopped.set)
        return {"stopping": True}
