"""One HTTP application for everything that an agent may ask the lab.

It knows the addresses and nothing of what stands behind them: token and incarnation are taken off
the path, the rest goes to the handler of its prefix. Where a fault says that no answer comes, the
connection is broken, with a reset, as a network would do it.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from chaoslab.serve.api import Lab
from chaoslab.serve.errors import breaks, error_json, status_of
from chaoslab.world.errors import WorldError

# (lab, process, path below the prefix, request) -> what answers
Handler: TypeAlias = Callable[[Lab, str, str, Request], Awaitable[ASGIApp]]

BODY_BYTES_MAX: Final = 16 << 20
_NO_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Connection:
    transport: Any
    gone: asyncio.Event


_open: dict[tuple[str, int], _Connection] = {}


class Protocol(H11Protocol):
    """HTTP/1.1 whose connections can be broken from within a request."""

    def connection_made(self, transport: Any) -> None:
        """Remembers the connection by its peer."""
        super().connection_made(transport)
        _open[transport.get_extra_info("peername")] = _Connection(transport, asyncio.Event())

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        found = _open.pop(self.transport.get_extra_info("peername"), None)
        if found is not None:
            found.gone.set()
        super().connection_lost(exc)


def break_connection(scope: Scope, /) -> None:
    """Resets the connection on which a request came."""
    found = _connection(scope)
    if found is None:
        return
    transport = found.transport
    with suppress(OSError):
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_RESET)
    transport.abort()


def _connection(scope: Scope) -> _Connection | None:
    return _open.get(tuple(scope["client"])) if scope.get("client") else None


async def _unless_gone(scope: Scope, answering: Awaitable[ASGIApp]) -> ASGIApp:
    """The answer; where whoever asked hangs up, the work on it is cancelled."""
    found = _connection(scope)
    if found is None:
        return await answering
    work = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(found.gone.wait())
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


async def body_of(request: Request, /) -> bytes:
    """The whole body, bounded. ValueError where it is too long."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise ValueError(f"the body is longer than {BODY_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


class App:
    """See the module. `handlers` are found by the longest prefix that fits."""

    def __init__(self, lab: Lab, handlers: Mapping[str, Handler]) -> None:
        self._lab = lab
        self._handlers = dict(sorted(handlers.items(), key=lambda item: -len(item[0])))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        try:
            answer = await _unless_gone(scope, self._answer(request))
            await answer(scope, receive, send)
        except WorldError as error:
            if breaks(error):
                break_connection(scope)
                return
            await JSONResponse(error_json(error), status_of(error))(scope, receive, send)
        except ValueError as error:
            await _said(400, str(error))(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:
            # A bug of ours must not pass for something that an agent has to live with.
            if self._lab.world(_parts(request)[1]) is not None:
                self._lab.failed(error)
            break_connection(scope)

    async def _answer(self, request: Request) -> ASGIApp:
        token, process, path = _parts(request)
        if not hmac.compare_digest(token.encode(), self._lab.token.encode()):
            return _said(
                403,
                "this address lacks the token of the execution; use the base URL from the "
                "environment as it is, and join paths below it",
            )
        if self._lab.world(process) is None:
            return _said(410, f"there is no living process {process!r}")
        for prefix, handler in self._handlers.items():
            if path == prefix or path.startswith(prefix + "/"):
                return await handler(self._lab, process, path[len(prefix) :].lstrip("/"), request)
        return _said(404, f"the lab has nothing at {path!r}; it has {', '.join(self._handlers)}")


def _parts(request: Request) -> tuple[str, str, str]:
    """Token, incarnation, and the path below."""
    token, _, rest = request.url.path.lstrip("/").partition("/")
    process, _, path = rest.partition("/")
    return token, process, path


def _said(status: int, text: str) -> ASGIApp:
    return JSONResponse({"error": {"code": "lab", "message": text}}, status)
