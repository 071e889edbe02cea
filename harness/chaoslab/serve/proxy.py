"""The lab between an agent and its own HTTP services: `services/NAME/…`.

The agent gets the lab's address instead of the service's in a variable of its environment, and
nothing else of it changes. Each request becomes a call on record that a fault may strike: before
it is forwarded, or after the service has answered in full. What is passed on is what was sent, byte
for byte, except for what belongs to the connection; what is recorded of it has no headers.

A service that cannot be reached is answered with a 502 of the lab's own. The record tells the two
cases apart: `refused` where no connection was made, `unsure` where one broke half way.

>>> answer_of(HttpReply(status=409, body=b'{"rate": 0.5}'), ToolContract(name="refund")).shown
{'status': 409, 'body': {'rate': '0.5'}}
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from chaoslab.contract import ToolContract
from chaoslab.contract.markers import field_of
from chaoslab.contract.target import Upstream
from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import Json, canonical
from chaoslab.serve.api import Answer, Hint, Lab
from chaoslab.serve.app import body_of
from chaoslab.serve.bodies import raw_path_of, task_of
from chaoslab.serve.loopback import check_address
from chaoslab.serve.matching import args_of, body_as_json, key_of, match_of, without_key
from chaoslab.serve.upstream import Broken, HttpReply, Unreached, ask, end_to_end, target_of
from chaoslab.world.errors import NotFound

SHOWN_MAX: Final = 4096


async def handle(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    """One request to a service of the team's own."""
    name, _, rest = raw_path_of(request).partition("/")
    name = unquote(name)
    upstream = _upstream(lab, name)
    query = request.scope.get("query_string", b"").decode("latin-1")
    body = await body_of(request)
    headers = end_to_end(request.scope["headers"])
    target = target_of(upstream.url, rest, query)
    found = match_of(lab.contract.tools.values(), request.method, name, rest)

    async def forward() -> Answer:
        try:
            reply = await ask(upstream.url, request.method, target, headers=headers, body=body)
        except Unreached as error:
            return _own("refused", "unreachable", f"service {name}: {error}")
        except Broken as error:
            return _own("unsure", "broken", f"service {name}: {error}")
        return answer_of(reply, found[0] if found else None)

    hint, f, key, marker = _entry(lab, request, found, name, rest, query, body)
    with lab.acting(process, hint):
        answer = await lab.relay(process, f, hint.args, forward, key=key, marker=marker)
    return _passed_on(answer.raw, upstream, request, name)


def _entry(
    lab: Lab,
    request: Request,
    found: tuple[ToolContract, dict[str, str]] | None,
    name: str,
    rest: str,
    query: str,
    body: bytes,
) -> tuple[Hint, str, str | None, str | None]:
    """What goes on record: for whom and with which arguments, as what, its key and marker. The
    marker of a declared tool follows from its identity fields."""
    args: dict[str, Json]
    if found is None:
        where = f"{name}/{rest}"
        url = f"{where}?{query}" if query else where
        args = {"method": request.method, "url": url, "body": body.decode("utf-8", "replace")}
        hint = Hint(task=task_of(request), args=args)
        return hint, "network.request", None, f"{request.method} {where}"
    tool, path = found
    args = args_of(path, query, body_as_json(body, request.headers.get("content-type", "")))
    key = key_of(tool, request.headers, args)
    args = without_key(tool, args)
    _note_missing(lab, tool, args)
    hint = Hint(task=task_of(request), tool=tool.name, args=args)
    return hint, f"tools.{tool.name}", key, None


def _upstream(lab: Lab, name: str) -> Upstream:
    upstream = lab.contract.services.get(name)
    if upstream is None or not upstream.url:
        known = ", ".join(n for n, one in lab.contract.services.items() if one.url)
        raise NotFound(
            f"there is no HTTP service {name!r}; allowed: {known or 'none'}; next: add "
            f"[services.{name}] with a url to the contract"
        )
    try:
        check_address(upstream.url, upstream.hosts)
    except UsageError as error:
        raise ValueError(f"services.{name}: {error}") from None
    return upstream


def answer_of(reply: HttpReply, tool: ToolContract | None, /) -> Answer:
    """What a reply means, and what is recorded of it."""
    status = reply.status
    if 400 <= status < 500 or (tool is not None and status == tool.conflict):
        error = "refused"
    else:
        error = "unsure" if status >= 500 else ""
    return Answer(shown={"status": status, "body": _shown(reply)}, error=error, raw=reply)


def _shown(reply: HttpReply) -> Json:
    """The body as the record keeps it: JSON, or the first part of its text."""
    raw = reply.unpacked(16 * SHOWN_MAX)
    kind = reply.header(b"content-type").decode("latin-1")
    found = body_as_json(raw, "" if "urlencoded" in kind else kind)
    text = found if isinstance(found, str) else canonical(found)
    return found if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"


def _own(error: str, code: str, message: str) -> Answer:
    body: Json = {"error": {"code": code, "message": message}}
    reply = HttpReply(
        status=502, headers=((b"content-type", b"application/json"),), body=canonical(body).encode()
    )
    return Answer(shown={"status": 502, "body": {"error": {"code": code}}}, error=error, raw=reply)


def _note_missing(lab: Lab, tool: ToolContract, args: dict[str, Json]) -> None:
    for path in tool.identity_fields:
        if field_of(args, path) is None:
            lab.note(
                f"{tool.name}: a request has no {path}, which is one of its identity_fields; "
                "requests that lack it cannot be told apart"
            )


def _passed_on(reply: HttpReply, upstream: Upstream, request: Request, name: str) -> Response:
    """The answer as it came. Its length is that of what was read, and an address of the service
    in `Location` becomes the lab's, or whoever follows it would leave the lab."""
    response = Response(reply.body, status_code=reply.status)
    headers = []
    for key, value in end_to_end(reply.headers):
        small = key.lower()
        if small == b"content-length" and request.method != "HEAD":
            continue
        if small == b"location":
            here = _kept_here(value.decode("latin-1"), upstream, request, name)
            headers.append((small, here.encode("latin-1")))
        else:
            headers.append((small, value))
    if request.method != "HEAD" and reply.status not in (204, 304):
        headers.append((b"content-length", str(len(reply.body)).encode()))
    response.raw_headers = headers
    return response


def _kept_here(location: str, upstream: Upstream, request: Request, name: str) -> str:
    base = urlsplit(upstream.url)
    here = request.scope["path"].split("/")[:3]
    ours = "/".join([*here, "services", name])
    origin, folder = f"{base.scheme}://{base.netloc}", base.path.rstrip("/")
    path = location[len(origin) :] if location.startswith(origin + "/") else location
    if path.startswith(folder + "/") and not path.startswith("//"):
        return ours + path[len(folder) :]
    return location
