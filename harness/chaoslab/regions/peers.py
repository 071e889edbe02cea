"""The leader's side of replication: one line to each peer, and what it has acknowledged.

A line sends what the ledger of the running epoch holds beyond the last acknowledgement, and after
every reconnect begins there again. So cutting a line delays and loses nothing; only a promotion
elsewhere makes a lost tail of what never arrived.

A row that a quorum waits for goes at once, and alone: what was written before it without that wish
stays as late as it is, as in the simulator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from chaoslab.regions.rows import Refusal, Row, State
from chaoslab.regions.wire import Asking

_AGAIN_S: Final = 0.02
_ANSWER_S: Final = 5.0
Pending: TypeAlias = Callable[[int], Awaitable[tuple[State, Sequence[Row]]]]


class Line:
    """See the module. `pending(after)` reads the state and the ledger; `due(row)` says for how
    many seconds a row has to wait yet; `whole()` whether lines may be used at all."""

    def __init__(
        self,
        address: Sequence[Any],
        token: str,
        *,
        pending: Pending,
        due: Callable[[Row], float],
        whole: Callable[[], bool],
    ) -> None:
        self._host, self._port, self._token = str(address[0]), int(address[1]), token
        self._pending, self._due, self._whole = pending, due, whole
        self._asking: Asking | None = None
        self.acked = 0  # all up to here
        self._urgent: set[int] = set()
        self._ahead: set[int] = set()  # acknowledged, though something before them is not
        self._wake, self._moved = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())

    def nudge(self, urgent: int = 0) -> None:
        """There is something to send; the row `urgent` at once."""
        if urgent > self.acked:
            self._urgent.add(urgent)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                wait_s = await self._send()
            except (OSError, TimeoutError, Refusal):
                await self.hang_up()
                wait_s = _AGAIN_S
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                continue

    async def _send(self) -> float | None:
        """Sends what is due. How long to wait until there may be more; None: until nudged."""
        state, rows = await self._pending(self.acked)
        rows = [row for row in rows if row.version[0] == state.epoch]
        rows = [row for row in rows if row.nth not in self._ahead]
        now = [row for row in rows if row.nth in self._urgent or self._due(row) <= 0]
        if now:
            if not await self.push(state, now):
                return _AGAIN_S  # it does not follow yet, or follows somebody else
            self._took([row.nth for row in now], rows)
        late = [row for row in rows if row.nth not in self._ahead and row.nth > self.acked]
        return max(0.001, self._due(late[0])) if late else None

    def _took(self, now: Sequence[int], rows: Sequence[Row]) -> None:
        """The peer has these of the rows that it lacked."""
        self._ahead.update(now)
        self._urgent.difference_update(now)
        lacks = min((row.nth for row in rows if row.nth not in self._ahead), default=None)
        newest = max(self._ahead)
        self.acked = max(self.acked, newest if lacks is None else min(lacks - 1, newest))
        self._ahead = {nth for nth in self._ahead if nth > self.acked}
        self._moved.set()

    async def push(self, state: State, rows: Sequence[Row]) -> bool:
        """Whether the peer follows this epoch, and has taken the rows."""
        if not self._whole():
            raise ConnectionRefusedError("the line is cut")
        if self._asking is None or not self._asking.open:
            self._asking = await Asking.at(self._host, self._port, self._token)
        sent = [row.json() for row in rows]
        given = {"rows": sent, "fences": dict(state.fences), "epoch": state.epoch}
        asked = self._asking.ask("put", **given)
        return bool(await asyncio.wait_for(asked, _ANSWER_S))

    async def until(self, nth: int) -> None:
        """Waits until the peer has the row `nth`."""
        self.nudge(nth)
        while self.acked < nth and nth not in self._ahead:
            self._moved.clear()
            await self._moved.wait()

    async def hang_up(self) -> None:
        """Ends the connection; the next thing to send makes another."""
        asking, self._asking = self._asking, None
        if asking is not None:
            await asking.close()

    async def close(self) -> None:
        """Ends it all."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.hang_up()
