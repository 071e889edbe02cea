"""Both ends of a line, for tests: the client and the service are sockets of the test itself."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from chaoslab.links.client import Line, Links
from chaoslab.links.servers import missing_original

# Where something must happen, this is long enough on a machine that is very busy.
LONG_S = 15.0
EARLY_S = 0.002  # clocks of two processes need not agree on the last millisecond


def need_original() -> None:
    """Skips where the original server is not there, or fails where it is required."""
    if words := missing_original():
        if "toxiproxy" in re.split(r"[\s,]+", os.environ.get("CHAOSLAB_REQUIRE", "")):
            pytest.fail(words)
        pytest.skip(words)


@dataclass(slots=True, kw_only=True)
class Wire:
    """A line to a service that the test plays."""

    line: Line
    links: Links
    listener: socket.socket
    stack: ExitStack = field(default_factory=ExitStack)

    def connect(self) -> socket.socket:
        """A client's connection to the line."""
        sock = socket.create_connection((self.line.host, self.line.port), timeout=LONG_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.stack.enter_context(sock)

    def accept(self) -> socket.socket:
        """The service's end of the connection that was made last."""
        sock, _ = self.listener.accept()
        sock.settimeout(LONG_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.stack.enter_context(sock)

    def both(self) -> tuple[socket.socket, socket.socket]:
        """Client and service."""
        client = self.connect()
        return client, self.accept()


@contextmanager
def service() -> Iterator[socket.socket]:
    """Something that listens."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        listener.settimeout(LONG_S)
        yield listener


@contextmanager
def wired(links: Links, name: str = "wire") -> Iterator[Wire]:
    """A line, and nothing of it afterwards."""
    with ExitStack() as stack, service() as listener:
        line = links.create(name, f"127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield Wire(line=line, links=links, listener=listener, stack=stack)
        finally:
            links.clear()


def take(sock: socket.socket, size: int) -> bytes:
    """So many bytes; fewer where the connection ends before."""
    data = bytearray()
    while len(data) < size and (some := sock.recv(size - len(data))):
        data += some
    return bytes(data)


def silent(sock: socket.socket, seconds: float) -> bool:
    """Whether nothing comes, no end either, for so long."""
    sock.settimeout(seconds)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(LONG_S)
    return False


def ended(sock: socket.socket) -> bool:
    """Whether the connection is over, in whatever way; waits for it."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


@dataclass(slots=True)
class Watch:
    """How long something took."""

    began: float = field(default_factory=time.monotonic)

    @property
    def s(self) -> float:
        """Seconds until now."""
        return time.monotonic() - self.began


def is_ours(links: Links) -> bool:
    """Whether it is the embedded server."""
    return "chaoslab" in links.version()
