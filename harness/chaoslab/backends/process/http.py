"""The few requests that the lab itself makes to an agent: submit, ready, poll.

The standard library's client in a thread: an agent that breaks the protocol costs an exception,
never the loop.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from chaoslab.core.errors import UsageError
from chaoslab.serve.loopback import check_address
from chaoslab.world.errors import ConnectionReset

_BODY_BYTES_MAX = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An agent's answer."""

    status: int
    body: bytes
    json: bool = False  # by its content type


async def request(
    method: str,
    url: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
) -> Reply:
    """One request to loopback. ConnectionReset where no whole answer comes."""
    check_address(url, ())
    try:
        return await asyncio.to_thread(_request, method, url, body, dict(headers or {}), timeout_s)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionReset(f"no answer from {url}: {error or type(error).__name__}") from None


def _request(
    method: str, url: str, body: bytes, headers: dict[str, str], timeout_s: float
) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=timeout_s
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        kind = answer.headers.get_content_type()
        body_read = answer.read(_BODY_BYTES_MAX)
        if answer.length:  # `read` with a bound says nothing of what is missing
            raise http.client.IncompleteRead(body_read, answer.length)
        return Reply(
            status=answer.status,
            body=body_read,
            json=kind == "application/json" or kind.endswith("+json"),
        )
    finally:
        connection.close()


async def reachable(url: str, *, http: bool = False) -> bool:
    """Whether somebody listens there; with `http`, whether it answers below 500."""
    if http:
        try:
            return (await request("GET", url, timeout_s=1)).status < 500
        except ConnectionReset:
            return False
    parts = urlsplit(url)
    if parts.port is None:
        raise UsageError("an address needs a port", value=url, allowed="http://127.0.0.1:PORT/…")
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port, family=socket.AF_INET)
    except OSError:
        return False
    writer.close()
    return True
