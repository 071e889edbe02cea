"""One connection through a proxy: two sockets, and between them a flow for each direction.

Sockets are read and written as soon as they are ready, without tasks. Where no toxic stands, a
chunk goes from one socket straight to the other. Where the receiver is slow, or a toxic is full,
nothing is read, so that the sender feels it as it would without a proxy.

A flow ends in one of three ways. EOF: the sender has nothing more to say, and the receiver learns
just that, while the other direction goes on. Close: the connection is over. Reset: it is over, and
both sides see it break.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from chaoslab.links.model import Toxic
from chaoslab.links.toxics import STAGES, How, Stage, Taker

_READ_BYTES: Final = 256 * 1024
_READ_BYTES_STAGED: Final = 32 * 1024
_PENDING_BYTES_MAX: Final = 256 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
_buffer: Final = memoryview(bytearray(_READ_BYTES))  # one thread, one read at a time


class End:
    """One of the two sockets, and what could not be written to it yet."""

    def __init__(self, sock: socket.socket, lost: Callable[[], None]) -> None:
        self.sock = sock
        self.pending = bytearray()
        self.gone = False  # closed, by whomever
        self.drained: Callable[[], None] = lambda: None
        self._lost = lost
        self._last: How | None = None
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes | memoryview) -> None:
        """Writes, now or when there is room."""
        if self.gone or self._last is not None:
            return
        if self.pending:
            self.pending += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            self._lost()
            return
        if sent < len(data):
            self.pending += data[sent:]
            self._loop.add_writer(self.sock, self._writable)

    def _writable(self) -> None:
        try:
            sent = self.sock.send(self.pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            self._lost()
            return
        del self.pending[:sent]
        if not self.pending:
            self._loop.remove_writer(self.sock)
            if self._last is not None:
                self._finish(self._last)
        self.drained()

    def harden(self) -> None:
        """However it is closed from now on, the other side sees a reset."""
        if not self.gone:
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def finish(self, how: How) -> None:
        """After what is pending: no more is written (EOF), or all is over (close)."""
        if self.gone:
            return
        if how is How.RESET:
            self.harden()
            self.close()
            self._lost()
        elif self.pending:
            self._last = how
        else:
            self._finish(how)

    def _finish(self, how: How) -> None:
        self._last = how
        if how is How.EOF:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        else:
            self.close()
            self._lost()

    def close(self) -> None:
        """Now, whatever is pending."""
        if not self.gone:
            self.gone = True
            self.pending.clear()
            self._loop.remove_reader(self.sock)
            self._loop.remove_writer(self.sock)
            self.sock.close()


class _Sink:
    """What stands after the last toxic: the socket of the receiver."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def feed(self, data: bytes) -> None:
        """Writes."""
        self._flow.target.send(data)

    def end(self, how: How) -> None:
        """Ends."""
        self._flow.finished(how)


class Flow:
    """One direction of a connection, with its toxics in a row."""

    def __init__(
        self, source: End, target: End, draw: Callable[[str], Random], done: Callable[[], None]
    ) -> None:
        self.source, self.target = source, target
        self.over = False  # the receiver has been told
        self._draw, self._done = draw, done
        self._stages: list[Stage] = []
        self._sink = _Sink(self)
        self._first: Taker = self._sink
        self._heard = False  # the sender has ended
        self._reading = False
        self._loop = asyncio.get_running_loop()
        target.drained = self._drained

    def start(self, toxics: Sequence[Toxic]) -> None:
        """Reads from now on, through toxics that were there before."""
        for toxic in toxics:
            self._append(toxic)
        for stage in tuple(self._stages):
            stage.start()
        self.gauge()

    def _append(self, toxic: Toxic) -> Stage:
        stage = STAGES[toxic.type](toxic, self._draw(toxic.name), self._sink, self.gauge)
        if self._stages:
            self._stages[-1].next = stage
        else:
            self._first = stage
        self._stages.append(stage)
        return stage

    def add(self, toxic: Toxic) -> None:
        """A toxic comes at the end of the row, while the connection is open."""
        if not self.over:
            self._append(toxic).start()

    def change(self, toxic: Toxic) -> None:
        """A toxic has other numbers."""
        for stage in tuple(self._stages):
            if stage.toxic.name == toxic.name:
                stage.change(toxic)
        self.gauge()

    def remove(self, name: str) -> None:
        """A toxic goes."""
        for stage in tuple(self._stages):
            if stage.toxic.name == name:
                stage.remove()
                at = self._stages.index(stage)
                if at:
                    self._stages[at - 1].next = stage.next
                else:
                    self._first = stage.next
                del self._stages[at]
        self.gauge()

    def _drained(self) -> None:
        self.gauge()
        if self.over:
            self._done()

    def gauge(self) -> None:
        """Reads, or does not, by how much is held on the way."""
        if self.source.gone:
            return
        wanted = not (
            self._heard
            or self.target.gone
            or len(self.target.pending) > _PENDING_BYTES_MAX
            or any(stage.full for stage in self._stages)
        )
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self.source.sock, self._readable)
            else:
                self._loop.remove_reader(self.source.sock)

    def _readable(self) -> None:
        staged = self._stages
        room = _buffer[:_READ_BYTES_STAGED] if staged else _buffer
        try:
            size = self.source.sock.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.source.close()
            self.heard(How.CLOSE)
            self._done()
            return
        if size == 0:
            self.heard(How.EOF)
        elif staged:
            self._first.feed(bytes(room[:size]))
        else:
            self.target.send(room[:size])
            if self.target.pending:
                self.gauge()

    def heard(self, how: How) -> None:
        """The sender says no more."""
        if not self._heard:
            self._heard = True
            self.gauge()
            self._first.end(how)

    def finished(self, how: How) -> None:
        """The last toxic has let the end through."""
        if not self.over:
            self.over = True
            if how is How.RESET:
                self.source.harden()
            self.target.finish(how)
            if how is How.RESET:
                self.source.finish(how)
            self._done()

    def stop(self) -> None:
        """Nothing of it runs any more."""
        self._heard = self.over = True
        for stage in self._stages:
            stage.closed = True
            stage.stop()
        self.gauge()


class Pipe:
    """A client's connection and the one to the service that was made for it."""

    def __init__(
        self,
        client: socket.socket,
        service: socket.socket,
        draw: Callable[[str], Random],
        closed: Callable[[Pipe], None],
    ) -> None:
        self._client = End(client, self._lost)
        self._service = End(service, self._lost)
        self._closed = closed
        self._over = False
        self.flows = {
            "upstream": Flow(self._client, self._service, draw, self._settle),
            "downstream": Flow(self._service, self._client, draw, self._settle),
        }

    def start(self, toxics: Sequence[Toxic]) -> None:
        """Both directions are read from now on."""
        for direction, flow in self.flows.items():
            flow.start([one for one in toxics if one.direction == direction])

    def _lost(self) -> None:
        """One of the sockets is closed: nothing can come from it, and nothing can go to it."""
        for flow in self.flows.values():
            if flow.source.gone:
                flow.heard(How.CLOSE)
            if flow.target.gone:
                flow.stop()
        self._settle()

    def _settle(self) -> None:
        """Ends where nothing more can happen."""
        ends = (self._client, self._service)
        both_over = all(flow.over for flow in self.flows.values())
        if all(end.gone for end in ends) or (both_over and not any(end.pending for end in ends)):
            self.close()

    def close(self) -> None:
        """Ends at once, whatever is on its way."""
        if self._over:
            return
        self._over = True
        for flow in self.flows.values():
            flow.stop()
        for end in (self._client, self._service):
            end.close()
        self._closed(self)
