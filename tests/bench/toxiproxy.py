"""What a proxy on a link costs: no proxy, the embedded server and the original, in one run.

Throughput is that of one connection, in one direction. Latency is that of one byte there and back,
which passes the proxy twice; what is said to be added is for one way. "A toxic" is a latency of
0 ms in each direction: what it costs that there is one. The rounds take turns, so that a machine
that gets slower meanwhile slows all alike.

    python -m tests.bench.toxiproxy
"""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from multiprocessing.synchronize import Event

from chaoslab.links.servers import missing_original, stand

ROUNDS = 5
BYTES = 256 << 20
PIECE = bytes(256 << 10)
ASKS = 1000


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")


def serve(listener: socket.socket, ready: Event) -> None:
    """A service: after `s` it counts bytes until the end, and else gives each byte back."""
    ready.set()
    room = bytearray(1 << 20)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with sock:
            if sock.recv(1) == b"s":
                left = BYTES
                while left > 0 and (size := sock.recv_into(room)):
                    left -= size
                sock.sendall(b"!")
                continue
            while data := sock.recv(1):
                sock.sendall(data)


def connect(port: int) -> socket.socket:
    """A client's connection."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def megabytes_per_second(port: int) -> float:
    """Of one connection."""
    with connect(port) as sock:
        sock.sendall(b"s")
        began = time.perf_counter()
        for _ in range(BYTES // len(PIECE)):
            sock.sendall(PIECE)
        sock.recv(1)
        return BYTES / 1e6 / (time.perf_counter() - began)


def round_trip_ms(port: int) -> float:
    """The median of many."""
    found = []
    with connect(port) as sock:
        sock.sendall(b"e")
        for _ in range(ASKS):
            began = time.perf_counter()
            sock.sendall(b"x")
            sock.recv(1)
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def main() -> None:
    """Prints one line for each of the three, and the ratios."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        service = context.Process(target=serve, args=(listener, ready), daemon=True)
        service.start()
        stack.callback(service.terminate)
        ready.wait()
        port = listener.getsockname()[1]
        ports = {"none": port}
        kinds = ["embedded", *([] if missing_original() else ["original"])]
        for kind in kinds:
            links = stack.enter_context(stand(kind))
            ports[kind] = links.create("bench", f"127.0.0.1:{port}").port
            toxic = links.create("toxic", f"127.0.0.1:{port}")
            for stream in ("upstream", "downstream"):
                toxic.add("latency", stream=stream, latency=0)
            ports[f"{kind}, a toxic"] = toxic.port
        rates: dict[str, list[float]] = {name: [] for name in ports}
        trips: dict[str, list[float]] = {name: [] for name in ports}
        for _ in range(ROUNDS):
            for name, where in ports.items():
                rates[name].append(megabytes_per_second(where))
                trips[name].append(round_trip_ms(where))
        rate = {name: statistics.median(found) for name, found in rates.items()}
        trip = {name: statistics.median(found) for name, found in trips.items()}
    for name in ports:
        added = (trip[name] - trip["none"]) / 2
        words = f", {added:6.3f} ms added to one way" if name != "none" else ""
        say(f"{name:<18} {rate[name]:7.0f} MB/s, {trip[name]:6.3f} ms there and back{words}")
    if words := missing_original():
        say(f"no comparison: {words}")
        return
    for more in ("", ", a toxic"):
        ratio = rate[f"embedded{more}"] / rate[f"original{more}"]
        say(f"the embedded server has {ratio:.0%} of the original's rate{more}")


if __name__ == "__main__":
    main()
