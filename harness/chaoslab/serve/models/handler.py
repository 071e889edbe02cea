"""Joins the formats to the lab: one request in, one question to the world's model, one answer out.

The model's answer is complete before the first byte of a stream leaves, so no fault strikes in
the middle of one. What never reaches the model, because it cannot be understood, leaves no entry
in the history; a note tells a person of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import plain
from chaoslab.serve.api import Hint, Lab
from chaoslab.serve.app import body_of
from chaoslab.serve.errors import breaks, status_of
from chaoslab.serve.models import chat, messages, responses
from chaoslab.serve.models.asking import ASKING, Asking
from chaoslab.serve.models.memory import Memory, memory_of
from chaoslab.serve.models.transcript import call_ids, texts
from chaoslab.serve.models.wire import MODEL, Ask, Format, Malformed, Object, encoded, read
from chaoslab.world.errors import ConnectionReset, WorldError

_FORMATS: Final[Mapping[str, Format]] = {
    "chat/completions": chat,
    "responses": responses,
    "messages": messages,
}
_MESSAGES_DEEP: Final = 4  # how deep the messages lie in an entry of the history


async def handle(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """Answers what comes below `model/`; see `chaoslab.serve.app.Handler`."""
    while path.startswith("v1/"):  # some clients add it to a base URL that has it already
        path = path.removeprefix("v1/")
    head, _, name = path.partition("/")
    if head == "models":
        if request.method != "GET":
            return _said(405, chat.error(405, f"models knows GET only, not {request.method}"))
        return _said(200, _model(name) if name else _models())
    form = _FORMATS.get(path)
    if form is None:
        known = ", ".join((*_FORMATS, "models"))
        return _said(
            404, chat.error(404, f"the lab's model has nothing at {path!r}; it has {known}")
        )
    if request.method != "POST":
        return _said(405, form.error(405, f"{path} knows POST only, not {request.method}"))
    memory = memory_of(lab)
    try:
        ask = await _asked(form, memory, request)
    except UsageError as error:
        if memory.first(f"{process} {error}"):
            lab.note(f"{process}: a request to the model was refused, {error}")
        about = {"param": error.param, "code": error.code} if isinstance(error, Malformed) else {}
        return _said(400, form.error(400, str(error), **about))
    return await _answered(lab, process, request, form, ask)


async def _asked(form: Format, memory: Memory, request: Request) -> Ask:
    try:
        raw = await body_of(request)
    except ValueError as error:
        raise Malformed(str(error)) from None
    body = read(raw)
    ask = responses.asked(body, memory) if form is responses else form.asked(body)
    # Arguments came as text and were read later than the body.
    plain([ask.messages, ask.tools], where="the conversation", depth=_MESSAGES_DEEP)
    return ask


async def _answered(lab: Lab, process: str, request: Request, form: Format, ask: Ask) -> ASGIApp:
    world = lab.world(process)
    if world is None:
        raise ConnectionReset(f"process {process} died while it was sending")
    hint = Hint(
        task=request.headers.get("x-chaoslab-task", ""),
        texts=texts(ask.messages),
        calls=call_ids(ask.messages),
    )
    ASKING.set(Asking(form=form, ask=ask))
    try:
        with lab.acting(process, hint):
            reply = await world.model.complete(
                ask.messages, tools=ask.tools, deadline_ms=lab.patience_ms
            )
    except WorldError as error:
        if breaks(error):
            raise
        status = status_of(error)
        return _said(status, form.error(status, str(error)), _pause(error))
    memory = memory_of(lab)
    answer = form.answer(ask, reply, memory.name(process))
    if form is responses:
        memory.keep(answer["id"], ask.items, tuple(answer["output"]))
    if not ask.streams:
        return _said(200, answer)
    events = list(form.events(ask, answer))
    return StreamingResponse(_sent(events), media_type="text/event-stream")


async def _sent(events: Iterable[bytes]) -> AsyncIterator[bytes]:
    for event in events:
        yield event


def _pause(error: WorldError) -> Mapping[str, str]:
    """When to come again: in whole seconds, as HTTP has it, and exactly, as both vendors' own
    clients read it."""
    wait_ms = error.details.get("retry_after_ms", 1_000 if status_of(error) == 429 else None)
    if not isinstance(wait_ms, int):
        return {}
    return {"retry-after": str(-(-wait_ms // 1_000)), "retry-after-ms": str(wait_ms)}


def _said(status: int, body: Object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encoded(body), status, headers, media_type="application/json")


def _model(name: str) -> Object:
    """A model as both vendors describe one; any name is answered, so any name exists."""
    openai = {"id": name, "object": "model", "created": 0, "owned_by": MODEL}
    anthropic = {"type": "model", "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {**openai, **anthropic, "lifecycle": "active"}


def _models() -> Object:
    page = {"has_more": False, "first_id": MODEL, "last_id": MODEL}
    return {"object": "list", "data": [_model(MODEL)], **page}
