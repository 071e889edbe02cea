"""The lab of one execution as the HTTP face sees it: worlds by incarnation, whose request it is,
and calls that go on to a service of the team's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from chaoslab.backends.api import Answering
from chaoslab.backends.common.call import Call
from chaoslab.backends.common.flight import fly
from chaoslab.backends.common.hub import DOING, Doing, Process
from chaoslab.backends.common.outcomes import place
from chaoslab.backends.common.ports import SimModel, SimWorld
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.process.attribution import Attribution
from chaoslab.backends.process.hub import LiveHub
from chaoslab.backends.process.ledgers import Ledgers
from chaoslab.backends.process.region_memory import RegionMemory
from chaoslab.contract import Contract, ToolContract, marker_of
from chaoslab.contract.markers import field_of
from chaoslab.contract.target import Target
from chaoslab.core.errors import ChaosError
from chaoslab.core.jsons import Json
from chaoslab.history import OpType
from chaoslab.serve.api import Answer, Hint, ToolShape, task_json
from chaoslab.world.api import Instance, ModelReply, Outcome, Task, World
from chaoslab.world.errors import ServerError
from chaoslab.world.request import Caller

_CODES: Final[Mapping[str, OpType]] = {"": "ok", "refused": "fail", "unsure": "info"}
# What a status says, in the words of the world's own errors; checks tell a key that is taken from
# a request that is wrong.
_STATUSES: Final = {400: "bad-request", 404: "not-found", 429: "rate-limited", 503: "unavailable"}
_NOTES_MAX: Final = 40


class _Model(SimModel):
    """The model, which remembers for which task it gave out a tool call. With `answering` it is
    not the lab's own, and is asked outside of the record."""

    def __init__(
        self,
        hub: LiveHub,
        process: Process,
        attribution: Attribution,
        answering: Answering | None = None,
    ) -> None:
        super().__init__(hub, process)
        self._attribution = attribution
        self._answering = answering

    async def complete(
        self,
        messages: Sequence[Mapping[str, Json]],
        /,
        *,
        tools: Sequence[str] = (),
        deadline_ms: int,
    ) -> ModelReply:
        if self._answering is None:
            reply = await super().complete(messages, tools=tools, deadline_ms=deadline_ms)
        else:
            reply = await self._answered(self._answering, messages, tools)
        for call in reply.tool_calls:
            self._attribution.gave(call.id, DOING.get().task)
        return reply

    async def _answered(
        self, answering: Answering, messages: Sequence[Mapping[str, Json]], tools: Sequence[str]
    ) -> ModelReply:
        try:
            return await answering(DOING.get().task, messages, tools)
        except ChaosError as error:
            self._hub.broke.append(str(error))
            raise ServerError("the model cannot be asked") from None


class LiveLab:
    """See the module; `chaoslab.serve.api.Lab` says what each method is for."""

    def __init__(
        self,
        hub: LiveHub,
        supervisor: Supervisor,
        target: Target,
        contract: Contract,
        ledgers: Ledgers,
        answering: Answering | None = None,
    ) -> None:
        self._answering = answering
        self.hub, self.supervisor, self.target = hub, supervisor, target
        self.ledgers = ledgers
        self.attribution = Attribution(hub.cast, contract)
        self._contract = contract
        self._worlds: dict[str, SimWorld] = {}
        self.agents: dict[str, Any] = {}  # by incarnation; see `agent`
        self._instances: dict[str, dict[str, Instance]] = {}

    @property
    def token(self) -> str:
        """The first part of every address."""
        return self.hub.run

    @property
    def contract(self) -> Contract:
        """The contract in force."""
        return self._contract

    @property
    def patience_ms(self) -> int:
        """The deadline of requests that name none, on the lab's clock. Where a fault is silent,
        the hub ends the waiting sooner; a service that is only slow is waited for."""
        return self.target.timeout_ms * self.target.speed

    def process(self, name: str, /) -> Process | None:
        """A living incarnation by name."""
        return next((p for p in self.hub.processes if p.id == name and p.alive), None)

    def world(self, process: str, /) -> World | None:
        """The world of a living incarnation."""
        found = self.process(process)
        if found is None:
            return None
        if process not in self._worlds:
            world = SimWorld(self.hub, found)
            world.model = _Model(self.hub, found, self.attribution, self._answering)
            if self.hub.regional is not None:
                world.memory = RegionMemory(self.hub, found, self.hub.regional)
            self._worlds[process] = world
        return self._worlds[process]

    @contextmanager
    def acting(self, process: str, hint: Hint, /) -> Iterator[None]:
        """Calls inside are made for the task that the hint tells of."""
        token = DOING.set(self.doing(process, hint))
        try:
            yield
        finally:
            DOING.reset(token)

    def doing(self, process: str, hint: Hint) -> Doing:
        """The task of a request; what a process does not hold, the others might have given it."""
        work = self.supervisor.work.values()
        open_tasks = [w for w in work if w.outcome is None and w.deliveries]
        own = [w.task.id for w in open_tasks if any(h.id == process for h in w.holders)]
        return self.attribution.doing(hint, own or [w.task.id for w in open_tasks])

    def tools(self) -> Sequence[ToolShape]:
        """The tools that the lab itself serves, as the workload's plans use them."""
        known: dict[str, dict[str, Json]] = {}
        for kind in self.hub.spec.workload.kinds.values():
            for step in kind.plan:
                known.setdefault(step.tool, {}).update({name: {} for name in step.args})
        shapes = []
        for name, tool in self._contract.tools.items():
            if not tool.match:
                fields: dict[str, Json] = dict(known.get(name, {}))
                schema: dict[str, Json] = {"type": "object", "properties": fields}
                shapes.append(
                    ToolShape(
                        name=name,
                        description=tool.description or f"The tool {name}.",
                        schema=schema,
                        keyed=tool.keys,
                    )
                )
        return shapes

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
        """One request to a service of the team's own; see `Lab.relay`."""
        found = self.process(process)
        if found is None:
            raise ChaosError(f"there is no living process {process}")
        port, _, tool = f.partition(".")
        line = self._contract.tool(tool)
        if marker is None:
            marker = told_marker(line, args)
        name = marker

        async def remote(caller: Caller) -> Answer:
            answer = await forward()
            if port == "tools":
                await self.ledgers.after(caller, tool, name)
            return answer

        call = Call(
            f=f,
            value={"args": dict(args)} if port == "tools" else _outside(args),
            key=key,
            marker=marker,
            deadline_ms=deadline_ms or self.patience_ms,
            remote=remote,
            type_of=lambda answer: _CODES[answer.error],
            result=lambda answer: _shown(answer, line.conflict),
        )
        answer: Answer = await fly(self.hub, found, call)
        return answer

    async def next_task(self, process: str, wait_ms: int, /) -> Task | None:
        """The next task of the queue for this process."""
        order = await self._next(process, wait_ms)
        if not isinstance(order, Task):
            return None
        if self.target.done.how != "reply":
            self.agents[process].took(order)
        return order

    async def _next(self, process: str, wait_ms: int) -> Task | str | None:
        agent = self.agents.get(process)
        if agent is None:
            return None
        wait_s = self.hub.live.real_s(wait_ms * 1_000_000)
        try:
            order: Task | str = await asyncio.wait_for(
                agent.queue.get(), max(0.05, min(wait_s, 30))
            )
        except TimeoutError:
            return None
        return order

    def outcome(self, process: str, outcome: Outcome, /) -> None:
        """A task that came from the queue has ended."""
        agent, found = self.agents.get(process), self.process(process)
        waiting = None if agent is None else agent.waiting.get(outcome.task)
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)
        elif found is not None:
            self.supervisor.reported(found, outcome)

    # -- for the lab's own runner; see `chaoslab.serve.ports.Home`

    def hello(self, process: str, /) -> dict[str, Json]:
        """What an incarnation must know of itself."""
        found = self.process(process)
        assert found is not None
        return {
            "process": process,
            "region": found.region,
            "seed": self.hub.spec.seed,
            "speed": self.target.speed,
            "now_ms": self.hub.loop.now_ns // 1_000_000,
            "recover": self.agents[process].restarted and self._contract.resume == "self",
            "identity": {n: list(t.identity_fields) for n, t in self._contract.tools.items()},
        }

    def ready(self, process: str, recovers: list[str], offers: list[str], /) -> None:
        """The agent has started; the tasks that it finishes by itself."""
        self.agents[process].started(recovers, offers)

    async def next_order(self, process: str, wait_ms: int, /) -> dict[str, Json]:
        """What the runner is to do next."""
        order = await self._next(process, wait_ms)
        if isinstance(order, Task):
            return {"handle": task_json(order)}
        return {} if order is None else {"release": order}

    def raised(self, process: str, task: str, error: str, words: str, /) -> None:
        """The handler of a task raised an exception."""
        waiting = self.agents[process].waiting.get(task)
        if waiting is not None and not waiting.done():
            waiting.set_exception(type(error, (Exception,), {})(words))

    def instances(self, process: str, /) -> dict[str, Instance]:
        """The Wasm instances of an incarnation."""
        return self._instances.setdefault(process, {})

    def failed(self, error: BaseException, /) -> None:
        """A request could not be answered for a reason that is the lab's own."""
        self.hub.broke.append(words_of(error))

    def note(self, text: str, /) -> None:
        """Something that a person should read beside the result."""
        if len(self.hub.notes) < _NOTES_MAX and text not in self.hub.notes:
            self.hub.notes.append(text)


def words_of(error: BaseException, /) -> str:
    """Why the lab could not go on."""
    if isinstance(error, ChaosError):
        return str(error)
    return f"the lab itself failed: {type(error).__name__}: {error} ({place(error)})"


def told_marker(tool: ToolContract, args: Mapping[str, Json], /) -> str:
    """The marker of a request; "" where it has none of the identity fields: it does not say which
    action it is, and none may be made up.

    >>> refund = ToolContract(name="refund", identity_fields=("body.order",))
    >>> told_marker(refund, {"body": {"order": "o-1"}}), told_marker(refund, {"body": {"n": 2}})
    ('o-1', '')
    """
    fields = tool.identity_fields
    if fields and all(field_of(args, path) is None for path in fields):
        return ""
    return marker_of(tool, args)


def _outside(args: Mapping[str, Json]) -> dict[str, Json]:
    """A request that is no declared tool; its service is the team's own, and so not the outside."""
    return {**args, "service": str(args.get("url", "")).partition("/")[0]}


def _shown(answer: Answer, conflict: int) -> Json:
    """What the history keeps of an answer."""
    if not answer.error:
        return {"data": answer.shown}
    status = answer.shown.get("status") if isinstance(answer.shown, Mapping) else None
    if answer.error == "unsure":
        code = "server-error"
    elif status in (conflict, 409):
        code = "conflict"
    else:
        code = _STATUSES.get(status, "refused") if isinstance(status, int) else "refused"
    return {"error": code, "data": answer.shown}
