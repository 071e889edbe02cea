"""A lab without faults or record, for tests of the wire formats: ports note what they were asked
and answer what the test put there, and a real server carries it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from chaoslab.contract import Contract
from chaoslab.serve.api import Answer, Hint, ToolShape
from chaoslab.serve.app import App, Handler, Protocol
from chaoslab.world.api import ModelReply, Outcome, Task, ToolReply

TOKEN = "token"


@dataclass
class FakePort:
    """Answers in order; an exception is raised, the last answer is repeated."""

    lab: FakeLab
    name: str

    async def _next(self, asked: dict[str, Any]) -> Any:
        self.lab.asked.append((self.name, asked))
        queue = self.lab.answers.get(self.name, deque())
        found = queue.popleft() if len(queue) > 1 else queue[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def complete(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[str] = (),
        deadline_ms: int,
    ) -> ModelReply:
        asked = {"messages": list(messages), "tools": list(tools), "deadline_ms": deadline_ms}
        reply: ModelReply = await self._next(asked)
        return reply

    async def call(
        self, name: str, args: Mapping[str, Any], /, *, key: str | None = None, deadline_ms: int
    ) -> ToolReply:
        asked = {"name": name, "args": dict(args), "key": key, "deadline_ms": deadline_ms}
        reply: ToolReply = await self._next(asked)
        return reply

    async def read(self, id: str, /, *, at: str = "primary") -> Any:
        return await self._next({"read": id, "at": at})

    async def write(self, id: str, value: Any, /, **more: Any) -> Any:
        return await self._next({"write": id, "value": value, **more})

    async def write_many(self, writes: Any, /, **more: Any) -> Any:
        return await self._next({"write_many": list(writes), **more})

    async def scan(self, prefix: str, /, *, at: str = "primary") -> Any:
        return await self._next({"scan": prefix, "at": at})

    async def erase(self, id: str, /, **more: Any) -> Any:
        return await self._next({"erase": id, **more})


class FakeWorld:
    """As much of a world as the handlers use."""

    def __init__(self, lab: FakeLab) -> None:
        self.model = FakePort(lab, "model")
        self.tools = FakePort(lab, "tools")
        self.memory = FakePort(lab, "memory")


@dataclass
class FakeLab:
    """See the module. `answers` by port: model, tools, memory, relay."""

    answers: dict[str, deque[Any]] = field(default_factory=dict)
    contract: Contract = field(default_factory=Contract)
    shapes: tuple[ToolShape, ...] = ()
    token: str = TOKEN
    patience_ms: int = 1_000
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    tasks: deque[Task] = field(default_factory=deque)
    withhold: Exception | None = None  # raised after a relay was forwarded
    refuse: Exception | None = None  # raised instead of forwarding

    def world(self, process: str, /) -> Any:
        return FakeWorld(self) if process == "p1" else None

    def acting(self, process: str, hint: Hint, /) -> Any:
        self.hints.append(hint)
        return nullcontext()

    def tools(self) -> Sequence[ToolShape]:
        return self.shapes

    async def relay(
        self,
        process: str,
        f: str,
        args: Mapping[str, Any],
        forward: Callable[[], Awaitable[Answer]],
        /,
        *,
        key: str | None = None,
        marker: str | None = None,
        deadline_ms: int | None = None,
    ) -> Answer:
        self.asked.append(("relay", {"f": f, "args": dict(args), "key": key, "marker": marker}))
        if self.refuse is not None:
            raise self.refuse
        answer = await forward()
        if self.withhold is not None:
            raise self.withhold
        return answer

    async def next_task(self, process: str, wait_ms: int, /) -> Task | None:
        return self.tasks.popleft() if self.tasks else None

    def outcome(self, process: str, outcome: Outcome, /) -> None:
        self.outcomes.append(outcome)

    def failed(self, error: BaseException, /) -> None:
        self.failures.append(error)

    def note(self, text: str, /) -> None:
        self.notes.append(text)


@contextmanager
def served(lab: FakeLab, handlers: Mapping[str, Handler]) -> Iterator[str]:
    """Serves a lab's face in a thread; the base address of process p1."""
    config = uvicorn.Config(
        App(lab, handlers), host="127.0.0.1", port=0, http=Protocol, log_level="error"
    )
    server = uvicorn.Server(config)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve()), daemon=True)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/{TOKEN}/p1"
    finally:
        server.should_exit = True
        thread.join(5)
        loop.close()
