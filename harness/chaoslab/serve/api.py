"""What the lab's HTTP face needs from whoever runs an execution, and how one is addressed.

Every address is `http://127.0.0.1:PORT/TOKEN/PROCESS/…`: the token is fresh for each execution,
and the process says which incarnation asks, without a header that an unmodified agent would not
send. What follows is one of

    model/v1/…            an OpenAI-compatible and an Anthropic-compatible model
    tools/NAME            a tool as plain REST, with `Idempotency-Key`
    mcp                   the tools over MCP
    memory/…              items
    queue/…               tasks to fetch, outcomes to report
    ports/…               the world's ports as JSON, for `chaoslab.adapters.remote`
    services/NAME/…       a service of the team's own, through the lab
    mcp-services/NAME     the same for an MCP server
    wrap/…                Python tools that run inside the agent

A handler translates a wire format into a call of the world and its errors back; which fault
strikes, and what is recorded, is none of its business.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from chaoslab.contract import Contract
from chaoslab.core.jsons import Json
from chaoslab.world.api import Outcome, Task, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What a request tells of the task for which it is made.

    `task`: an id that the agent passed (header `X-Chaoslab-Task`). `tool` and `args`: a tool
    call. `texts`: what a model request quotes. `calls`: ids of the model's tool calls.
    """

    task: str = ""
    tool: str = ""
    args: Mapping[str, Json] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolShape:
    """A tool as a model or an MCP client sees it; `schema` is a JSON schema of its arguments."""

    name: str
    description: str = ""
    schema: Mapping[str, Json] = field(default_factory=lambda: {"type": "object"})
    keyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a service of the team's own answered, read in full.

    `error`: "" for success, `refused` where the service says that nothing happened (4xx),
    `unsure` for 5xx. `shown` is what the history keeps of it. `raw` is whatever the handler
    needs to pass it on.
    """

    shown: Json = None
    error: str = ""
    raw: Any = None


class Lab(Protocol):
    """Whoever runs the execution."""

    @property
    def token(self) -> str:
        """The first part of every address."""
        ...

    @property
    def contract(self) -> Contract:
        """The contract in force: its tools and services."""
        ...

    @property
    def patience_ms(self) -> int:
        """The deadline of requests that name none."""
        ...

    def world(self, process: str, /) -> World | None:
        """The world of an incarnation; None where there is none of that name, or it is dead."""
        ...

    def acting(self, process: str, hint: Hint, /) -> AbstractContextManager[None]:
        """Calls inside are made for the task that the hint tells of, as far as can be known."""
        ...

    def tools(self) -> Sequence[ToolShape]:
        """The tools that the lab itself serves."""
        ...

    async def relay(
        self,
        process: str,
        f: str,
        args: Mapping[str, Json],
        forward: Callable[[], Awaitable[Answer]],
        /,
        *,
        key: str | None = None,
        marker: str | None = None,
        deadline_ms: int | None = None,
    ) -> Answer:
        """One request to a service of the team's own, as an entry `f` (`tools.NAME`, or
        `network.request` for what is no declared tool). Faults before the commit keep `forward`
        from being called; those after it withhold its answer. To be called within `acting`.
        Raises WorldError for what a fault answers instead."""
        ...

    async def next_task(self, process: str, wait_ms: int, /) -> Task | None:
        """The next task of the queue for this process, or None when none came in time."""
        ...

    def outcome(self, process: str, outcome: Outcome, /) -> None:
        """A task that came from the queue has ended."""
        ...

    def failed(self, error: BaseException, /) -> None:
        """A request could not be answered for a reason that is the lab's own: no verdict may be
        read from what follows."""
        ...

    def note(self, text: str, /) -> None:
        """Something that a person should read beside the result; no part of the evidence."""
        ...


def task_json(task: Task, /) -> dict[str, Json]:
    """A task as agents in processes of their own get it."""
    return {
        "id": task.id,
        "session": task.session,
        "tenant": task.tenant,
        "delivery": task.delivery,
        "prompt": task.prompt,
        "data": dict(task.data),
        "deadline_ms": task.deadline_ms,
    }
