"""Where entries are born: it numbers and stamps them, and hands each to the writer at once.

>>> recorder = Recorder(Writer(None, {}), now_ns=lambda: 7)
>>> recorder.add("event", "nemesis.heal")
0
>>> recorder.ops[0].time_ns
7
"""

from __future__ import annotations

from collections.abc import Callable

from chaoslab.core.errors import LabError
from chaoslab.core.jsons import Json
from chaoslab.history.jsonl import Writer
from chaoslab.history.op import Op, OpType


class Recorder:
    """The only way into a history."""

    __slots__ = ("_limit", "_now_ns", "_writer", "ops")

    def __init__(
        self, writer: Writer, now_ns: Callable[[], int], *, limit: int = 2_000_000
    ) -> None:
        self._writer = writer
        self._now_ns = now_ns
        self._limit = limit
        self.ops: list[Op] = []

    def add(
        self,
        type: OpType,
        f: str,
        value: Json = None,
        /,
        *,
        process: str = "",
        session: str = "",
        task: str = "",
        call: int = -1,
        marker: str = "",
        attempt: int = 0,
        key: str | None = None,
    ) -> int:
        """Records one entry now and returns its number. LabError where somebody floods it."""
        if len(self.ops) >= self._limit:
            raise LabError("the history is full", value=self._limit, hint="the agent floods it")
        op = Op(
            index=len(self.ops),
            time_ns=self._now_ns(),
            type=type,
            f=f,
            process=process,
            session=session,
            task=task,
            call=call,
            marker=marker,
            attempt=attempt,
            key=key,
            value=value,
        )
        self._writer.append(op)
        self.ops.append(op)
        return op.index
