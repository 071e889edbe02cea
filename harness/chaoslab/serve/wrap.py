"""Python tools that run inside the agent's own process, with the lab around each call.

Such a tool has no address that the lab could stand at, so the shim in the agent
(`fixtures/shim/chaoslab_shim.py`) asks before it runs the function and tells afterwards:

    POST wrap/begin  {"tool", "args", "key"?, "task"?}   → {"id", "go": true}, then it runs
    POST wrap/end    {"id", "result" | "error"}          → {} , then the function returns

Between the two lies one call on record. What strikes before the commit answers `begin`, and the
function never runs; what strikes after it answers `end`, and the function has run. If the agent
dies in between, the call stays open, as one that nobody can tell the end of.

>>> answer_of(Fields({"id": "w1", "result": {"cents": 1.5}}, where="the body")).error
''
>>> answer_of(Fields({"id": "w1", "error": "ValueError"}, where="the body")).error
'unsure'
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from chaoslab.core.jsons import Json, canonical
from chaoslab.serve.api import Answer, Hint, Lab
from chaoslab.serve.bodies import Fields, fields_of, task_of
from chaoslab.world.errors import ConnectionReset, NotFound, ServerError

END_MS: Final = 60_000
SHOWN_MAX: Final = 4096
_At = tuple[str, str, str]  # token of the execution, process, id


@dataclass(slots=True, eq=False)
class _Run:
    """One call between its begin and its end."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    told: bool = False  # the agent has heard how it began; nothing may start after that
    ended: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    relay: asyncio.Task[Answer] | None = None

    async def forward(self) -> Answer:
        """Lets the function run, and waits for its end."""
        if self.told and not self.go.is_set():
            # Held back until the agent had given up: the function will not run any more.
            return Answer(shown={"error": "nobody waits any more"}, error="refused")
        self.go.set()
        try:
            return await asyncio.wait_for(asyncio.shield(self.ended), END_MS / 1000)
        except TimeoutError:
            return Answer(shown={"error": "the function did not end"}, error="unsure")


class Wraps:
    """A handler of the prefix `wrap`, with the calls that are open."""

    def __init__(self) -> None:
        self._open: dict[_At, _Run] = {}
        self._count = 0

    async def __call__(self, lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
        """One request of the shim."""
        if request.method != "POST" or path not in ("begin", "end"):
            raise NotFound(f"nothing at wrap/{path}; allowed: POST wrap/begin, POST wrap/end")
        body = await fields_of(request)
        if path == "begin":
            return await self._begin(lab, process, body, task_of(request))
        return await self._end(lab, process, body)

    async def _begin(self, lab: Lab, process: str, body: Fields, task: str) -> ASGIApp:
        body.only("tool", "args", "key", "task")
        tool, args = _tool(lab, body.text("tool")), body.object("args")
        key = body.maybe_text("key") or None
        hint = Hint(task=body.maybe_text("task") or task, tool=tool, args=args)
        run = _Run()

        async def relayed() -> Answer:
            with lab.acting(process, hint):
                return await lab.relay(process, f"tools.{tool}", args, run.forward, key=key)

        self._count += 1
        at = (lab.token, process, f"w{self._count}")
        self._open[at] = run
        relay = run.relay = asyncio.create_task(relayed())
        relay.add_done_callback(lambda done: self._over(at, done))
        going = asyncio.create_task(run.go.wait())
        try:
            await asyncio.wait((relay, going), return_when=asyncio.FIRST_COMPLETED)
            if run.go.is_set():
                return JSONResponse({"id": at[2], "go": True})
            _raise_from(relay)
            raise ServerError("the call ended before it began")
        except asyncio.CancelledError:
            relay.cancel()  # nobody waits for the go any more
            raise
        finally:
            run.told = True
            going.cancel()

    async def _end(self, lab: Lab, process: str, body: Fields) -> ASGIApp:
        body.only("id", "result", "error")
        run = self._open.get((lab.token, process, body.text("id")))
        if run is None or run.relay is None:
            raise NotFound("there is no open call of that id")
        if not run.ended.done():
            run.ended.set_result(answer_of(body))
        await asyncio.wait((run.relay,))
        _raise_from(run.relay)
        return JSONResponse({})

    def _over(self, at: _At, done: asyncio.Task[Answer]) -> None:
        """Forgets a call. Its error is told to whoever asks; nobody may be left to ask."""
        self._open.pop(at, None)
        if not done.cancelled():
            done.exception()


handle: Final = Wraps()


def _tool(lab: Lab, function: str) -> str:
    """The declared tool that a wrapped function is; its own name where none is declared."""
    match = f"python {function}"
    found = (name for name, one in lab.contract.tools.items() if one.match == match)
    return next(found, function)


def _raise_from(relay: asyncio.Task[Answer]) -> None:
    """Raises what the lab answers instead of the service."""
    if relay.cancelled():
        raise ConnectionReset("the call was given up")
    relay.result()


def answer_of(body: Fields, /) -> Answer:
    """What the function came to. An exception tells nothing of what it had done by then."""
    if "error" in body:
        return Answer(shown={"error": body.text("error", "")[:SHOWN_MAX]}, error="unsure")
    result: Json = body.get("result")
    text = canonical(result)
    if len(text) > SHOWN_MAX:
        result = text[:SHOWN_MAX] + "…"
    return Answer(shown={"result": result}, raw=result)
