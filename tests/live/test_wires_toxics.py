"""One conformance suite for both servers of Toxiproxy's interface: what is done to bytes and time.

Lower bounds are strict, since nothing may come early; upper bounds only tell "soon" from "never".
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time

import pytest
from tests.live.wire_stories import ask
from tests.live.wires import (
    EARLY_S,
    LONG_S,
    Watch,
    Wire,
    ended,
    is_ours,
    service,
    silent,
    take,
)

from chaoslab.links.client import Links


def test_bytes_pass_both_ways(wire: Wire) -> None:
    client, served = wire.both()
    client.sendall(b"ask")
    assert take(served, 3) == b"ask"
    served.sendall(b"answer")
    assert take(client, 6) == b"answer"


def test_an_end_passes_both_ways(wire: Wire) -> None:
    client, served = wire.both()
    client.sendall(b"bye")
    client.close()
    assert take(served, 4) == b"bye"
    client, served = wire.both()
    served.sendall(b"bye")
    served.close()
    assert take(client, 4) == b"bye"


def test_half_an_end(wire: Wire) -> None:
    """A client that has said all may still listen. The original does not let it."""
    client, served = wire.both()
    client.sendall(b"all")
    client.shutdown(socket.SHUT_WR)
    assert take(served, 4) == b"all"
    if is_ours(wire.links):
        served.sendall(b"answer")
        served.close()
        assert take(client, 7) == b"answer"
    else:
        assert ended(client)


def test_much_passes_whole_in_both_directions_at_once(wire: Wire) -> None:
    client, served = wire.both()
    there, back = b"\x01\x02\x03" * 1_000_000, b"\x04\x05" * 1_000_000
    found: dict[str, str] = {}

    def takes(name: str, sock: socket.socket, size: int) -> None:
        found[name] = hashlib.sha256(take(sock, size)).hexdigest()

    works = [
        threading.Thread(target=client.sendall, args=(there,)),
        threading.Thread(target=served.sendall, args=(back,)),
        threading.Thread(target=takes, args=("there", served, len(there))),
        threading.Thread(target=takes, args=("back", client, len(back))),
    ]
    for work in works:
        work.start()
    for work in works:
        work.join(LONG_S)
    assert found["there"] == hashlib.sha256(there).hexdigest()
    assert found["back"] == hashlib.sha256(back).hexdigest()


def test_much_passes_whole_through_toxics(wire: Wire) -> None:
    wire.line.add("latency", latency=5, jitter=5)
    wire.line.add("slicer", average_size=900, size_variation=200)
    wire.line.add("bandwidth", rate=4000)
    client, served = wire.both()
    data = bytes(range(256)) * 2000

    def sends() -> None:
        served.sendall(data)
        served.close()

    sender = threading.Thread(target=sends)
    sender.start()
    found = take(client, len(data) + 1)
    sender.join(LONG_S)
    assert found == data


def test_who_does_not_read_slows_who_sends(wire: Wire) -> None:
    client, served = wire.both()
    served.settimeout(0.3)
    with pytest.raises(TimeoutError):
        for _ in range(2000):
            served.sendall(bytes(65536))
    client.close()


def test_latency(wire: Wire) -> None:
    client, served = wire.both()
    wire.line.add("latency", latency=60)
    for _ in range(2):
        watch = Watch()
        served.sendall(b"x")
        assert take(client, 1) == b"x"
        assert 0.06 - EARLY_S <= watch.s < LONG_S
    client.sendall(b"y")
    assert take(served, 1) == b"y"


def test_latency_towards_the_service(wire: Wire) -> None:
    wire.line.add("latency", stream="upstream", latency=60)
    client, served = wire.both()
    watch = Watch()
    client.sendall(b"x")
    assert take(served, 1) == b"x"
    assert watch.s >= 0.06 - EARLY_S


def test_latency_is_of_the_way_and_not_of_each_piece(wire: Wire) -> None:
    wire.line.add("latency", latency=300)
    client, served = wire.both()
    watch = Watch()
    for n in range(10):
        served.sendall(bytes([n]))
        time.sleep(0.005)
    assert take(client, 10) == bytes(range(10))
    assert 0.3 - EARLY_S <= watch.s < 2.9  # one after the other, it would be 3 s


def test_jitter_stays_in_its_bounds_and_keeps_the_order(wire: Wire) -> None:
    wire.line.add("latency", latency=40, jitter=30)
    client, served = wire.both()
    for n in range(8):
        watch = Watch()
        served.sendall(bytes([n, n + 100]))
        assert take(client, 2) == bytes([n, n + 100])
        assert watch.s >= 0.01 - EARLY_S


def test_latencies_add_up(wire: Wire) -> None:
    wire.line.add("latency", name="one", latency=40)
    wire.line.add("latency", name="two", latency=40)
    client, served = wire.both()
    watch = Watch()
    served.sendall(b"x")
    assert take(client, 1) == b"x"
    assert watch.s >= 0.08 - EARLY_S


def test_an_end_comes_after_what_is_on_its_way(wire: Wire) -> None:
    wire.line.add("latency", latency=60)
    client, served = wire.both()
    watch = Watch()
    served.sendall(b"last")
    served.close()
    assert take(client, 5) == b"last"
    assert watch.s >= 0.06 - EARLY_S


def test_what_a_latency_holds_goes_when_it_is_removed(wire: Wire) -> None:
    name = wire.line.add("latency", latency=60_000)
    client, served = wire.both()
    for part in (b"a", b"b", b"c"):
        served.sendall(part)
    assert silent(client, 0.05)
    wire.line.remove(name)
    served.sendall(b"d")
    assert take(client, 4) == b"abcd"


def test_a_latency_is_changed(wire: Wire) -> None:
    name = wire.line.add("latency", latency=60_000)
    client, served = wire.both()
    served.sendall(b"a")
    assert silent(client, 0.05)
    wire.line.change(name, latency=50)
    assert take(client, 1) == b"a"
    watch = Watch()
    served.sendall(b"b")
    assert take(client, 1) == b"b"
    assert watch.s >= 0.05 - EARLY_S


def test_bandwidth(wire: Wire) -> None:
    wire.line.add("bandwidth", rate=100)
    client, served = wire.both()
    watch = Watch()
    served.sendall(bytes(25_000))
    assert len(take(client, 25_000)) == 25_000
    assert 0.25 - 5 * EARLY_S <= watch.s < LONG_S


def test_bandwidth_gives_a_part_of_much_early(wire: Wire) -> None:
    wire.line.add("bandwidth", rate=5)
    client, served = wire.both()
    watch = Watch()
    served.sendall(bytes(25_000))
    assert take(client, 1) == b"\0"
    assert 0.1 - EARLY_S <= watch.s < 4.5  # all of it takes 5 s


def test_bandwidth_of_nothing(wire: Wire) -> None:
    client, served = wire.both()
    name = wire.line.add("bandwidth", rate=0)
    served.sendall(b"abc")
    assert silent(client, 0.15)
    wire.line.remove(name)
    assert take(client, 3) == b"abc"


def test_what_a_band_holds_goes_when_it_is_removed(wire: Wire) -> None:
    name = wire.line.add("bandwidth", rate=1)
    client, served = wire.both()
    served.sendall(bytes(20_000))
    assert take(client, 1) == b"\0"
    wire.line.remove(name)
    watch = Watch()
    assert len(take(client, 19_999)) == 19_999
    assert watch.s < 10  # at its rate it would be 20 s


def test_slow_close(wire: Wire) -> None:
    wire.line.add("slow_close", delay=80)
    client, served = wire.both()
    served.sendall(b"x")
    assert take(client, 1) == b"x"
    watch = Watch()
    served.close()
    assert ended(client)
    assert watch.s >= 0.08 - EARLY_S


def test_slow_close_ends_when_it_is_removed(wire: Wire) -> None:
    name = wire.line.add("slow_close", delay=60_000)
    client, served = wire.both()
    served.close()
    assert silent(client, 0.05)
    wire.line.remove(name)
    assert ended(client)


def test_timeout(wire: Wire) -> None:
    wire.line.add("timeout", timeout=80)
    watch = Watch()
    client, served = wire.both()
    served.sendall(b"lost")
    assert client.recv(4) == b""
    assert watch.s >= 0.08 - EARLY_S
    assert ended(served)


def test_timeout_of_an_open_connection(wire: Wire) -> None:
    client, served = wire.both()
    served.sendall(b"x")
    assert take(client, 1) == b"x"
    watch = Watch()
    wire.line.add("timeout", timeout=80)
    assert client.recv(1) == b""
    assert watch.s >= 0.08 - EARLY_S
    assert ended(served)


def test_timeout_without_an_end(wire: Wire) -> None:
    client, served = wire.both()
    name = wire.line.add("timeout", timeout=0)
    served.sendall(b"lost")
    assert silent(client, 0.15)
    client.sendall(b"there")
    assert take(served, 5) == b"there"
    wire.line.remove(name)
    assert client.recv(4) == b""
    assert ended(served)


def test_timeout_lets_an_end_through(wire: Wire) -> None:
    wire.line.add("timeout", timeout=0)
    client, served = wire.both()
    served.close()
    assert ended(client)


def test_reset_peer(wire: Wire) -> None:
    wire.line.add("reset_peer", timeout=0)
    client, served = wire.both()
    assert silent(client, 0.05)  # it takes a byte to start it
    served.sendall(b"lost")
    with pytest.raises(ConnectionResetError):
        client.recv(4)
    with pytest.raises(ConnectionResetError):
        served.recv(4)


def test_reset_peer_later(wire: Wire) -> None:
    wire.line.add("reset_peer", stream="upstream", timeout=80)
    client, served = wire.both()
    watch = Watch()
    client.sendall(b"lost")
    with pytest.raises(ConnectionResetError):
        client.recv(4)
    assert watch.s >= 0.08 - EARLY_S
    with pytest.raises(ConnectionResetError):
        served.recv(4)


def test_reset_peer_of_an_open_connection(wire: Wire) -> None:
    """The original closes it as usual; a reset is what was asked for."""
    client, served = wire.both()
    wire.line.add("reset_peer", timeout=0)
    served.sendall(b"lost")
    if is_ours(wire.links):
        with pytest.raises(ConnectionResetError):
            client.recv(4)
    else:
        assert ended(client)


def test_slicer(wire: Wire) -> None:
    wire.line.add("slicer", average_size=10, size_variation=0, delay=5000)
    client, served = wire.both()
    data = bytes(range(100))
    watch = Watch()
    served.sendall(data)
    parts: list[bytes] = []
    while sum(map(len, parts)) < 100:
        parts.append(client.recv(100))
    assert b"".join(parts) == data
    assert watch.s >= 0.07  # 16 pieces, 5 ms between them
    assert len(parts) > 3 and len(parts[0]) < 30


def test_limit_data(wire: Wire) -> None:
    wire.line.add("limit_data", bytes=10)
    for _ in range(2):  # each connection has a limit of its own
        client, served = wire.both()
        served.sendall(b"123456")
        assert take(client, 6) == b"123456"
        served.sendall(b"789012")
        assert take(client, 6) == b"7890"
        assert ended(served)


def test_limit_data_that_is_met_exactly(wire: Wire) -> None:
    wire.line.add("limit_data", bytes=3)
    client, served = wire.both()
    served.sendall(b"abc")
    assert take(client, 4) == b"abc"


def test_a_limit_counts_over_its_changes(wire: Wire) -> None:
    name = wire.line.add("limit_data", bytes=10)
    client, served = wire.both()
    served.sendall(b"1234")
    assert take(client, 4) == b"1234"
    wire.line.change(name, bytes=6)
    served.sendall(b"5678")
    assert take(client, 4) == b"56"


def test_toxics_stand_in_a_row(wire: Wire) -> None:
    wire.line.add("limit_data", bytes=3)
    wire.line.add("latency", latency=60)
    client, served = wire.both()
    watch = Watch()
    served.sendall(b"abcdef")
    assert take(client, 6) == b"abc"
    assert watch.s >= 0.06 - EARLY_S


def test_toxicity_of_nothing(wire: Wire) -> None:
    wire.line.add("timeout", toxicity=0, timeout=10)
    client, served = wire.both()
    served.sendall(b"x")
    assert take(client, 1) == b"x"
    assert silent(client, 0.05)


def test_toxicity_is_drawn_per_connection(wire: Wire) -> None:
    wire.line.add("limit_data", toxicity=0.5, bytes=0)
    struck = 0
    for _ in range(60):
        client, served = wire.both()
        served.sendall(b"ab")
        got = take(client, 2)
        assert got in (b"ab", b"")
        struck += got == b""
        client.close()
        served.close()
    assert 10 <= struck <= 50  # with a fair coin, outside once in 10 million


def test_a_cut_ends_what_is_open_and_refuses_what_comes(wire: Wire) -> None:
    client, served = wire.both()
    address = wire.line.address
    wire.line.cut()
    assert ended(client) and ended(served)
    with pytest.raises(ConnectionRefusedError):
        wire.connect()
    wire.line.mend()
    assert wire.line.address == address
    client, served = wire.both()
    client.sendall(b"x")
    assert take(served, 1) == b"x"


def test_a_line_that_is_deleted(wire: Wire) -> None:
    client, served = wire.both()
    wire.line.delete()
    assert ended(client) and ended(served)
    with pytest.raises(ConnectionRefusedError):
        wire.connect()


def test_reset_mends_and_cleans(wire: Wire) -> None:
    wire.line.add("timeout", timeout=0)
    wire.line.cut()
    wire.links.reset()
    assert wire.line.toxics() == {}
    client, served = wire.both()
    served.sendall(b"x")
    assert take(client, 1) == b"x"


def test_a_service_that_is_not_there(links: Links) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    line = links.create("wire", f"127.0.0.1:{port}")
    with socket.create_connection((line.host, line.port), timeout=LONG_S) as client:
        assert ended(client)
    links.clear()


def test_another_service(wire: Wire) -> None:
    client, served = wire.both()
    with service() as other:
        body = json.dumps({"upstream": f"127.0.0.1:{other.getsockname()[1]}"})
        assert ask(wire.links.address, ("POST", "/proxies/wire", body))[0] == 200
        assert ended(client) and ended(served)
        wire.listener, first = other, wire.listener
        client, served = wire.both()
        client.sendall(b"x")
        assert take(served, 1) == b"x"
        wire.listener = first


def test_many_connections_at_once(wire: Wire) -> None:
    pairs = [wire.both() for _ in range(60)]
    for n, (client, _) in enumerate(pairs):
        client.sendall(bytes([n]))
    assert [take(served, 1) for _, served in pairs] == [bytes([n]) for n in range(60)]
    wire.line.cut()
    assert all(ended(client) and ended(served) for client, served in pairs)
