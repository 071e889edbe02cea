"""One HTTP request to a service of the team's own, and its answer read in full.

A library's client would follow redirects, keep connections, unpack bodies and try again; between
an agent and its service the lab must do none of it. What it must do is know whether anything was
sent: a connection that was never made is a certain "no", one that broke later is not.

>>> target_of("http://127.0.0.1:8000/api/", "v1/refunds", "dry=1")
'/api/v1/refunds?dry=1'
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import h11

Headers = Sequence[tuple[bytes, bytes]]

ANSWER_BYTES_MAX: Final = 16 << 20
CONNECT_S: Final = 5.0
ANSWER_S: Final = 120.0
_CHUNK: Final = 1 << 16

# What belongs to one connection and not to the message (RFC 9110, 7.6.1), and `expect`, which the
# lab's own server has answered already.
_HOP: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"),
        *(b"transfer-encoding", b"proxy-authenticate", b"proxy-authorization", b"expect"),
    )
)


class Unreached(Exception):
    """No connection was made: the request certainly did not arrive."""


class Broken(Exception):
    """The connection broke, or the answer made no sense: the request may have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """An answer, read in full."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: bytes, /) -> bytes:
        """The first header of a name in lower case, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), b"")

    def unpacked(self, most: int, /) -> bytes:
        """The first bytes of the body without its compression, as far as that is known here."""
        if self.header(b"content-encoding").lower() not in (b"gzip", b"x-gzip", b"deflate"):
            return self.body[:most]
        with suppress(zlib.error):
            return zlib.decompressobj(wbits=47).decompress(self.body, most)
        return b""


def end_to_end(headers: Iterable[tuple[bytes, bytes]], /) -> list[tuple[bytes, bytes]]:
    """The headers that are passed on.

    >>> end_to_end([(b"Connection", b"x-a"), (b"X-A", b"1"), (b"X-B", b"2")])
    [(b'X-B', b'2')]
    """
    kept = [(bytes(key), bytes(value)) for key, value in headers]
    named = {
        one.strip().lower()
        for key, value in kept
        if key.lower() == b"connection"
        for one in value.split(b",")
    }
    return [pair for pair in kept if pair[0].lower() not in _HOP | named]


def target_of(base: str, path: str, query: str, /) -> str:
    """The path and query to ask for, below the path of the base."""
    whole = urlsplit(base).path.rstrip("/") + "/" + path
    return f"{whole}?{query}" if query else whole


async def ask(
    base: str,
    method: str,
    target: str,
    /,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    answer_s: float = ANSWER_S,
) -> HttpReply:
    """One request to the server of `base`. Raises Unreached or Broken."""
    parts = urlsplit(base)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    try:
        reader, writer = await asyncio.wait_for(
            asyncio.open_connection(
                host, port, ssl=ssl.create_default_context() if secure else None
            ),
            CONNECT_S,
        )
    except (OSError, TimeoutError) as error:
        why = type(error).__name__
        raise Unreached(f"{parts.netloc} cannot be reached: {why}") from None
    try:
        request = _request(method, target, parts.netloc, headers, body)
        return await asyncio.wait_for(_exchange(reader, writer, request, body), answer_s)
    except h11.LocalProtocolError as error:
        raise Unreached(f"the request cannot be written as HTTP/1.1: {error}") from None
    except h11.RemoteProtocolError as error:
        raise Broken(f"{parts.netloc} did not answer in HTTP: {error}") from None
    except TimeoutError:
        raise Broken(f"{parts.netloc} did not answer within {answer_s:g} s") from None
    except OSError as error:
        raise Broken(f"{parts.netloc} broke the connection: {type(error).__name__}") from None
    finally:
        writer.transport.abort()


def _request(
    method: str, target: str, host: str, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> h11.Request:
    skipped = (b"host", b"content-length")
    sent = [(b"host", host.encode())]
    sent += [pair for pair in end_to_end(headers) if pair[0].lower() not in skipped]
    if body or method in ("POST", "PUT", "PATCH"):
        sent.append((b"content-length", str(len(body)).encode()))
    sent.append((b"connection", b"close"))
    return h11.Request(method=method, target=target, headers=sent)


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
) -> HttpReply:
    wire = h11.Connection(h11.CLIENT)
    writer.write(wire.send(request) or b"")
    if body:
        writer.write(wire.send(h11.Data(data=body)) or b"")
    writer.write(wire.send(h11.EndOfMessage()) or b"")
    # A server may answer, and close, before it has read everything: then its answer counts.
    sending = asyncio.ensure_future(writer.drain())
    sending.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        return await _answer(reader, wire)
    finally:
        sending.cancel()


async def _answer(reader: asyncio.StreamReader, wire: h11.Connection) -> HttpReply:
    status = 0
    found: list[tuple[bytes, bytes]] = []
    parts: list[bytes] = []
    size = 0
    while True:
        event = wire.next_event()
        if event is h11.NEED_DATA:
            wire.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status, found = event.status_code, list(event.headers.raw_items())
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size > ANSWER_BYTES_MAX:
                raise Broken(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
            parts.append(bytes(event.data))
        elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
            if not status:
                raise Broken("the connection was closed before an answer came")
            return HttpReply(status=status, headers=tuple(found), body=b"".join(parts))
