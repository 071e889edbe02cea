"""The HTTP interface: which request does what, and HTTP as far as it takes.

The requests are few, small and from programs, so this reads HTTP/1.1 itself: a body of a known
length or in chunks, connections that stay open. What is not understood is answered 400 and closed.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from chaoslab import __version__
from chaoslab.links.model import Refused, encoded, proxy_text, toxic_text
from chaoslab.links.server import Proxies, Proxy

VERSION: Final = f"2.5.0-chaoslab-{__version__}"  # whose interface, and who speaks it
_BODY_BYTES_MAX: Final = 4 << 20
_HEAD_BYTES_MAX: Final = 64 << 10
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"


class _Malformed(Exception):
    """Not HTTP, or more of it than is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request."""

    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    stays: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered to it."""

    status: int
    body: str = ""
    type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


_NOWHERE: Final = Answer(status=404, body="404 page not found\n", type=_TEXT)


class Api:
    """The requests of the interface on a set of proxies."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies, self._count = proxies, 0
        one, toxics, toxic = r"/proxies/([^/]+)", r"/proxies/([^/]+)/toxics", ""
        toxic = toxics + r"/([^/]+)"
        routes: dict[str, dict[str, Callable[..., Answer]]] = {
            r"/reset": {"POST": self._reset},
            r"/proxies": {"GET": self._index, "POST": self._create},
            r"/populate": {"POST": self._populate},
            one: {
                "GET": self._show,
                "POST": self._update,
                "PATCH": self._update,
                "DELETE": self._delete,
            },
            toxics: {"GET": self._toxics, "POST": self._add},
            toxic: {
                "GET": self._toxic,
                "POST": self._change,
                "PATCH": self._change,
                "DELETE": self._remove,
            },
            r"/version": {"GET": lambda body: Answer(status=200, body=VERSION, type=_TEXT)},
        }
        self._routes = [(re.compile(pattern), does) for pattern, does in routes.items()]

    def answer(self, request: Request, /) -> Answer:
        """Does what is asked. Whatever is a request of the interface gets a number of its own."""
        answer = self._done(request)
        if answer.status in (301, 405) or answer is _NOWHERE:
            return answer
        self._count += 1
        return replace(answer, headers={"X-Toxiproxy-Request-Id": f"{self._count:020x}"})

    def _done(self, request: Request) -> Answer:
        tidy = posixpath.normpath(request.path) if request.path else "/"
        tidy = "/" + tidy.lstrip("/")
        if request.path.endswith("/") and tidy != "/":
            tidy += "/"
        if tidy != request.path:
            return Answer(status=301, headers={"Location": tidy})
        for pattern, does in self._routes:
            if (found := pattern.fullmatch(request.path)) is None:
                continue
            if (act := does.get(request.method)) is None:
                return Answer(status=405)
            # A page in a browser must not be able to send requests here.
            if request.headers.get("user-agent", "").startswith("Mozilla/"):
                return Answer(status=403, body="User agent not allowed\n", type=_TEXT)
            try:
                return act(*found.groups(), request.body)
            except Refused as refusal:
                return Answer(status=refusal.status, body=_complaint(refusal), type=_TEXT)
        return _NOWHERE

    def _reset(self, body: str) -> Answer:
        self._proxies.reset()
        return Answer(status=204)

    def _index(self, body: str) -> Answer:
        listed = [f"{encoded(name)}:{_shown(p)}" for name, p in self._proxies.by_name.items()]
        return _said(f"{{{','.join(listed)}}}")

    def _create(self, body: str) -> Answer:
        return _said(_shown(self._proxies.create(body)), 201)

    def _populate(self, body: str) -> Answer:
        try:
            done, refusal = self._proxies.populate(body)
        except Refused as early:
            done, refusal = (), early
        listed = f"[{','.join(map(_shown, done))}]" if done else "null"
        if refusal is None:
            return _said(f'{{"proxies":{listed}}}', 201)
        start = _complaint(refusal).rstrip("}\n")
        return _said(f'{start},"proxies":{listed}}}', refusal.status)

    def _show(self, name: str, body: str) -> Answer:
        return _said(_shown(self._proxies.get(name)))

    def _update(self, name: str, body: str) -> Answer:
        return _said(_shown(self._proxies.update(name, body)))

    def _delete(self, name: str, body: str) -> Answer:
        self._proxies.delete(name)
        return Answer(status=204)

    def _toxics(self, name: str, body: str) -> Answer:
        return _said(f"[{','.join(map(toxic_text, self._proxies.get(name).ordered()))}]")

    def _add(self, name: str, body: str) -> Answer:
        return _said(toxic_text(self._proxies.add_toxic(name, body)))

    def _toxic(self, name: str, toxic: str, body: str) -> Answer:
        return _said(toxic_text(self._proxies.get(name).toxic(toxic)))

    def _change(self, name: str, toxic: str, body: str) -> Answer:
        return _said(toxic_text(self._proxies.change_toxic(name, toxic, body)))

    def _remove(self, name: str, toxic: str, body: str) -> Answer:
        self._proxies.remove_toxic(name, toxic)
        return Answer(status=204)


def _said(text: str, status: int = 200) -> Answer:
    return Answer(status=status, body=text, type=_JSON)


def _shown(proxy: Proxy) -> str:
    return proxy_text(proxy.now, proxy.ordered())


def _complaint(refusal: Refused) -> str:
    return encoded({"error": refusal.words, "status": refusal.status}) + "\n"


class Server:
    """The interface on a socket that listens already."""

    def __init__(self, proxies: Proxies) -> None:
        self._api, self._proxies = Api(proxies), proxies
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listens from now on; the port."""
        self._server = await asyncio.start_server(self._talk, host, port, limit=_HEAD_BYTES_MAX)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Ends all, the proxies as well."""
        if self._server is not None:
            self._server.close()
        for talk in tuple(self._talks):
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)
        await self._proxies.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while (request := await _read(reader, writer)) is not None:
                    writer.write(_written(self._api.answer(request), stays=request.stays))
                    await writer.drain()
                    if not request.stays:
                        return
        except (_Malformed, ValueError, asyncio.LimitOverrunError):
            writer.write(_written(Answer(status=400, body="400 Bad Request", type=_TEXT)))
        finally:
            self._talks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request, or None when no more comes."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise _Malformed from None
        return None
    first, *lines = head.decode("latin-1").strip("\r\n").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise _Malformed
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _Malformed
        headers[name.lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(_size(headers.get("content-length", "0"), 10))
    wishes = headers.get("connection", "").lower()
    path = re.sub(r"^https?://[^/?]*", "", target).partition("?")[0]
    return Request(
        method=method,
        path=unquote(path),
        body=body.decode("utf-8", "replace"),
        headers=headers,
        stays="keep-alive" in wishes if version == "HTTP/1.0" else "close" not in wishes,
    )


def _size(text: str, base: int) -> int:
    if not re.fullmatch(r"[0-9a-fA-F]{1,12}", text) or (size := int(text, base)) > _BODY_BYTES_MAX:
        raise _Malformed
    return size


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        size = _size(line.decode("latin-1").partition(";")[0].strip(), 16)
        if size + len(body) > _BODY_BYTES_MAX:
            raise _Malformed
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise _Malformed


def _written(answer: Answer, *, stays: bool = False) -> bytes:
    body = answer.body.encode("utf-8", "replace")
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    if answer.type:
        lines.append(f"Content-Type: {answer.type}")
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    if answer.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(body)}")
    if not stays:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
