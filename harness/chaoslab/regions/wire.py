"""The lines that regions, and the lab, speak with each other: one JSON value per line.

Whoever connects says the token first. Then each request carries a number that its answer repeats,
so that a request that is held up holds up no other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from chaoslab.regions.rows import Refusal, Unsure

_CONNECT_S: Final = 2.0
LINE_BYTES_MAX: Final = 64 << 20  # a whole copy travels as one line
Answer: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Asking:
    """A connection to a region. Several requests may be on their way at once.

    OSError where the region cannot be reached; Refusal and Unsure as the region answered;
    ConnectionError where the connection ended before the answer came.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def at(cls, host: str, port: int, token: str, /) -> Asking:
        """Connects, and says the token. Behind a network that was taken away nobody refuses, and
        the system would try for minutes."""
        opening = asyncio.open_connection(host, port, limit=LINE_BYTES_MAX)
        reader, writer = await asyncio.wait_for(opening, _CONNECT_S)
        writer.write(line_of({"token": token}))
        return cls(reader, writer)

    async def ask(self, do: str, /, **given: Any) -> Any:
        """One request and its answer."""
        if self._reading.done():
            raise ConnectionResetError("the region has hung up")
        self._asked += 1
        number = self._asked
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(line_of({"n": number, "do": do, **given}))
            return await answer
        finally:
            self._waiting.pop(number, None)

    @property
    def open(self) -> bool:
        """Whether the region has not hung up."""
        return not self._reading.done()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            with suppress(OSError, ValueError):
                while line := await reader.readline():
                    raw = json.loads(line)
                    answer = self._waiting.get(raw["n"])
                    if answer is not None and not answer.done():
                        _settle(answer, raw)
        finally:
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionResetError("the region has hung up"))

    async def close(self) -> None:
        """Hangs up."""
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


def _settle(answer: asyncio.Future[Any], raw: Mapping[str, Any]) -> None:
    if "refused" in raw:
        code, words, details = raw["refused"]
        answer.set_exception(Refusal(code, words, **details))
    elif "unsure" in raw:
        answer.set_exception(Unsure(raw["unsure"]))
    else:
        answer.set_result(raw.get("ok"))


async def answering(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, answer: Answer, /
) -> None:
    """Serves one connection until it ends, each request in a task of its own."""
    tasks: set[asyncio.Task[None]] = set()
    try:
        with suppress(OSError, ValueError):  # what is no JSON line, or one too long, ends it
            first = json.loads(await reader.readline())
            if not isinstance(first, dict) or first.get("token") != token:
                return
            while line := await reader.readline():
                task = asyncio.create_task(_one(json.loads(line), writer, answer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        for task in tuple(tasks):
            task.cancel()
        writer.close()


async def _one(raw: dict[str, Any], writer: asyncio.StreamWriter, answer: Answer) -> None:
    number, do = raw.pop("n", 0), raw.pop("do", "")
    said: dict[str, Any] = {"n": number}
    try:
        said["ok"] = await answer(do, raw)
    except Refusal as refusal:
        said["refused"] = [refusal.code, refusal.words, refusal.details]
    except Unsure as unsure:
        said["unsure"] = str(unsure)
    except (KeyError, TypeError, ValueError) as error:
        said["refused"] = ["bad-request", f"{do}: {type(error).__name__}: {error}", {}]
    if not writer.is_closing():
        writer.write(line_of(said))


def line_of(value: Any, /) -> bytes:
    """A value as one line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
