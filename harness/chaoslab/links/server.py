"""Proxies that listen, and all of them together: what the interface's requests do.

Everything here but the dialling happens at once, in one thread: when a request is answered, what it
asked for is done, on the connections that are open as well.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

from chaoslab.core.rng import stream
from chaoslab.links.model import (
    STREAMS,
    Asked,
    Refused,
    Toxic,
    exists,
    not_found,
    read_changes,
    read_proxies,
    read_proxy,
    read_toxic,
    read_toxic_changes,
)
from chaoslab.links.pipes import Pipe

_BACKLOG: Final = 1024
_PORT_MAX: Final = 65_535
_TRY_AGAIN_S: Final = 0.05
_WORDS: Final = {
    errno.EADDRINUSE: "address already in use",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "cannot assign requested address",
}
_ANY: Final = ("", "localhost", "0.0.0.0", "::")  # noqa: S104 - understood as loopback


def split_address(address: str, /) -> tuple[str, int]:
    """Host and port; ValueError in the original's words.

    >>> split_address("[::1]:80")
    ('::1', 80)
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (address.startswith("[") and address.endswith("]")):
        raise ValueError(f"address {address}: missing port in address")
    if ":" in host and not bracketed:
        raise ValueError(f"address {address}: too many colons in address")
    if not (port.isascii() and port.isdigit()) and port:
        raise ValueError(f"lookup tcp/{port}: unknown port")
    if len(port) > 5 or int(port or 0) > _PORT_MAX:
        raise ValueError(f"address {port}: invalid port")
    return host[1:-1] if bracketed else host, int(port or 0)


def listening(address: str, /) -> socket.socket:
    """A socket that listens, on loopback and nowhere else."""
    try:
        host, port = split_address(address or ":0")
        host = "127.0.0.1" if host in _ANY else host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if not _is_loopback(host):
            raise ValueError(f"{address} is not on loopback, and proxies listen nowhere else")
    except ValueError as error:
        raise Refused(500, f"listen tcp: {error}") from None
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        words = _WORDS.get(error.errno or 0) or (error.strerror or str(error)).lower()
        raise Refused(500, f"listen tcp {spelled((host, port))}: bind: {words}") from None
    return sock


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ValueError(f"lookup {host}: no such host") from None


def spelled(address: tuple[str, int], /) -> str:
    """An address as one string.

    >>> spelled(("::1", 80))
    '[::1]:80'
    """
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def dial(address: str, /) -> socket.socket:
    """A connection to a service; OSError where there is none."""
    loop = asyncio.get_running_loop()
    try:
        host, port = split_address(address)
    except ValueError as error:
        raise OSError(str(error)) from None
    found = await loop.getaddrinfo(host or "localhost", port, type=socket.SOCK_STREAM)
    last: OSError = OSError("no address")
    for family, kind, protocol, _, where in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, where)
            return sock
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
    raise last


class Proxy:
    """One proxy: it listens where it is enabled, and pipes each connection to the service."""

    def __init__(self, asked: Asked, seed: int) -> None:
        self.now = replace(asked, enabled=False)
        self.toxics: list[Toxic] = []
        self._seed = seed
        self._count = 0
        self._sock: socket.socket | None = None
        self._pipes: set[Pipe] = set()
        self._dialling: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Listens from now on."""
        if self._sock is None:
            self._sock = listening(self.now.listen)
            name = self._sock.getsockname()
            self.now = replace(self.now, enabled=True, listen=spelled(name[:2]))
            self._loop.add_reader(self._sock, self._accept)

    def stop(self) -> None:
        """Listens no more, and every connection through it ends."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        self.now = replace(self.now, enabled=False)
        for task in tuple(self._dialling):
            task.cancel()
        for pipe in tuple(self._pipes):
            pipe.close()

    def update(self, asked: Asked) -> None:
        """Becomes what is asked; another address ends what goes through the old one."""
        if (asked.listen, asked.upstream) != (self.now.listen, self.now.upstream):
            self.stop()
            self.now = replace(self.now, listen=asked.listen, upstream=asked.upstream)
        if asked.enabled and not self.now.enabled:
            self.start()
        elif self.now.enabled and not asked.enabled:
            self.stop()

    def _accept(self) -> None:
        sock = self._sock
        if sock is None:
            return
        try:
            client, _ = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError:  # no file left; whoever waits goes on waiting
            self._loop.remove_reader(sock)
            self._loop.call_later(_TRY_AGAIN_S, self._listen_again, sock)
            return
        client.setblocking(False)
        self._count += 1
        task = self._loop.create_task(self._open(client, self._count))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    def _listen_again(self, sock: socket.socket) -> None:
        if sock is self._sock:
            self._loop.add_reader(sock, self._accept)

    async def _open(self, client: socket.socket, number: int) -> None:
        try:
            service = await dial(self.now.upstream)
        except BaseException as error:
            client.close()
            if isinstance(error, OSError):
                return
            raise
        pipe = Pipe(client, service, partial(self.draw, number), self._pipes.discard)
        self._pipes.add(pipe)
        pipe.start(self.toxics)

    def draw(self, number: int, toxic: str) -> Random:
        """The draws of a toxic on a connection, whenever it comes and whatever else happens."""
        return stream(self._seed, f"links/{self.now.name}/{number}/{toxic}")

    def ordered(self) -> Sequence[Toxic]:
        """The toxics as they are listed: those towards the service first."""
        return sorted(self.toxics, key=lambda toxic: STREAMS.index(toxic.direction))

    def toxic(self, name: str) -> Toxic:
        """The toxic of that name."""
        for one in self.toxics:
            if one.name == name:
                return one
        raise not_found("toxic")

    def add_toxic(self, toxic: Toxic) -> None:
        """It stands last in its row, on open connections as well."""
        self.toxics.append(toxic)
        for pipe in tuple(self._pipes):
            pipe.flows[toxic.direction].add(toxic)

    def change_toxic(self, toxic: Toxic) -> None:
        """It has other numbers, on open connections as well."""
        self.toxics = [toxic if one.name == toxic.name else one for one in self.toxics]
        for pipe in tuple(self._pipes):
            pipe.flows[toxic.direction].change(toxic)

    def remove_toxic(self, toxic: Toxic) -> None:
        """It is gone, on open connections as well."""
        self.toxics.remove(toxic)
        for pipe in tuple(self._pipes):
            pipe.flows[toxic.direction].remove(toxic.name)

    async def gone(self) -> None:
        """Waits until nothing of a stopped proxy is left."""
        tasks = tuple(self._dialling)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


class Proxies:
    """All proxies of a server, by name. Its methods do what the requests of the same name do."""

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._proxies: dict[str, Proxy] = {}

    @property
    def by_name(self) -> Mapping[str, Proxy]:
        """Them all, in the order in which they are listed."""
        return dict(sorted(self._proxies.items()))

    def get(self, name: str) -> Proxy:
        """One of them."""
        if (found := self._proxies.get(name)) is None:
            raise not_found("proxy")
        return found

    def create(self, body: str) -> Proxy:
        """Makes one."""
        asked = read_proxy(body)
        if asked.name in self._proxies:
            raise exists("proxy")
        return self._put(asked)

    def _put(self, asked: Asked) -> Proxy:
        proxy = Proxy(asked, self._seed)
        if asked.enabled:
            proxy.start()
        self._proxies[asked.name] = proxy
        return proxy

    def populate(self, body: str) -> tuple[Sequence[Proxy], Refused | None]:
        """Makes those that are not there, or there with another address, up to the first refusal.

        As with the original, the answer shows what is as asked already as if it were off.
        """
        done: list[Proxy] = []
        for asked in read_proxies(body):
            there = self._proxies.get(asked.name)
            if there is not None:
                if (there.now.listen, there.now.upstream) == (asked.listen, asked.upstream):
                    done.append(Proxy(asked, self._seed))
                    continue
                there.stop()
            try:
                done.append(self._put(asked))
            except Refused as refusal:
                return done, refusal
        return done, None

    def update(self, name: str, body: str) -> Proxy:
        """Changes one."""
        proxy = self.get(name)
        proxy.update(read_changes(body, proxy.now))
        return proxy

    def delete(self, name: str) -> None:
        """Ends one."""
        self.get(name).stop()
        del self._proxies[name]

    def reset(self) -> None:
        """All are enabled, and no toxic is left."""
        for proxy in self.by_name.values():
            proxy.start()
            for toxic in tuple(proxy.toxics):
                proxy.remove_toxic(toxic)

    def add_toxic(self, name: str, body: str) -> Toxic:
        """Adds a toxic to one."""
        proxy = self.get(name)
        toxic = read_toxic(body, taken=[one.name for one in proxy.toxics])
        proxy.add_toxic(toxic)
        return toxic

    def change_toxic(self, name: str, toxic_name: str, body: str) -> Toxic:
        """Changes a toxic of one."""
        proxy = self.get(name)
        toxic = read_toxic_changes(body, proxy.toxic(toxic_name))
        proxy.change_toxic(toxic)
        return toxic

    def remove_toxic(self, name: str, toxic_name: str) -> None:
        """Takes a toxic from one."""
        proxy = self.get(name)
        proxy.remove_toxic(proxy.toxic(toxic_name))

    async def close(self) -> None:
        """Ends them all."""
        for proxy in tuple(self._proxies.values()):
            proxy.stop()
            await proxy.gone()
        self._proxies.clear()
