"""One conformance suite for both servers of Toxiproxy's interface: the embedded and the original.

The exchanges are compared with what the original answered (`wire_stories.json`); the probes look at
what toxics do to bytes and time. Lower bounds are strict, since nothing may come early; upper
bounds only tell "soon" from "never".
"""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from tests.live.wire_stories import RECORD, STORIES, A, T, ask, empty, told
from tests.live.wires import LONG_S, Watch, Wire, ended, need_original, service, silent, take, wired

from chaoslab.links.client import Links
from chaoslab.links.servers import stand

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))
EARLY_S = 0.002  # clocks of two processes need not agree on the last millisecond


@pytest.fixture(scope="module", params=["embedded", "original"])
def links(request: pytest.FixtureRequest) -> Iterator[Links]:
    if request.param == "original":
        need_original()
    with stand(request.param) as found:
        yield found


@pytest.fixture
def wire(links: Links) -> Iterator[Wire]:
    with wired(links) as made:
        yield made


def is_ours(links: Links) -> bool:
    return "chaoslab" in links.version()


# What is said: requests and answers.


def test_there_are_enough_exchanges() -> None:
    assert sum(map(len, RECORDED.values())) >= 200


@pytest.mark.parametrize("story", STORIES)
def test_story(links: Links, story: str) -> None:
    try:
        assert told(links.address, story) == RECORDED[story]
    finally:
        empty(links.address)


def test_browsers_are_refused(links: Links) -> None:
    browser = {"User-Agent": "Mozilla/5.0 (X11)"}
    for path in ("/proxies", "/version"):
        assert ask(links.address, ("GET", path, ""), headers=browser) == (
            403,
            "User agent not allowed\n",
        )
    assert ask(links.address, ("GET", "/nope", ""), headers=browser)[0] == 404
    assert ask(links.address, ("GET", "/proxies", ""), headers={"User-Agent": "not Mozilla/"}) == (
        200,
        "{}",
    )


def test_types_of_what_is_answered(links: Links) -> None:
    for path, type in (
        ("/proxies", "application/json"),
        ("/proxies/a", "text/plain; charset=utf-8"),
        ("/nope", "text/plain; charset=utf-8"),
    ):
        connection = http.client.HTTPConnection(links.address, timeout=LONG_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == type
        assert len(answer.read()) == int(answer.getheader("Content-Length") or "-1")
        connection.close()


def test_many_requests_on_one_connection(links: Links) -> None:
    connection = http.client.HTTPConnection(links.address, timeout=LONG_S)
    connection.connect()
    sock = connection.sock
    for method, path, body in [
        ("GET", "/proxies", ""),
        ("POST", "/proxies", "{"),
        ("PUT", "/", "x"),
    ]:
        connection.request(method, path, body or None)
        connection.getresponse().read()
        assert connection.sock is sock
    connection.close()


def raw(address: str, text: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LONG_S) as sock:
        sock.sendall(text)
        found = b""
        while some := sock.recv(65536):
            found += some
        return found


def test_a_body_in_chunks(links: Links) -> None:
    head = b"POST /populate HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked"
    answer = raw(links.address, head + b"\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201 ") and b'{"proxies":null}' in answer


def test_a_head_that_comes_in_pieces(links: Links) -> None:
    host, _, port = links.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LONG_S) as sock:
        for part in (
            b"GET /pro",
            b"xies HTTP/1.1\r\nHo",
            b"st: x\r\nConnection: close\r\n\r",
            b"\n",
        ):
            sock.sendall(part)
            time.sleep(0.01)
        assert take(sock, 15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"rubbish\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\nHost: x\r\n\r\n",
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(links: Links, rubbish: bytes) -> None:
    assert raw(links.address, rubbish).startswith(b"HTTP/1.1 400 ")
    assert links.version()


def test_newer_originals_change_by_patch_too(links: Links) -> None:
    if not is_ours(links):
        pytest.skip("the original does so since 2.6, and may be older here")
    empty(links.address)
    ask(links.address, ("POST", "/proxies", A))
    ask(links.address, ("POST", T, '{"type": "latency"}'))
    changed = ask(links.address, ("PATCH", f"{T}/latency_downstream", '{"toxicity": 0.5}'))
    assert changed[0] == 200 and json.loads(changed[1])["toxicity"] == 0.5
    changed = ask(links.address, ("PATCH", "/proxies/a", '{"enabled": false}'))
    assert changed[0] == 200 and json.loads(changed[1])["enabled"] is False
    empty(links.address)


def test_the_port_is_known_where_the_system_chose_it(links: Links) -> None:
    body = '{"name": "a", "listen": "LISTEN", "upstream": "127.0.0.1:1"}'
    for listen in ("", ":0", "localhost:0", "127.0.0.1:0", "[::1]:0"):
        if listen == "[::1]:0" and not has_ipv6():
            continue
        status, text = ask(links.address, ("POST", "/proxies", body.replace("LISTEN", listen)))
        assert status == 201, text
        host, _, port = json.loads(text)["listen"].rpartition(":")
        assert int(port) > 0
        assert host in (
            ("127.0.0.1", "[::1]") if is_ours(links) else ("127.0.0.1", "[::1]", "[::]")
        )
        empty(links.address)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


# What is done: bytes and time.


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
    assert 0.3 - EARLY_S <= watch.s < 1.5  # one after the other, it would be 3 s


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
    wire.line.add("bandwidth", rate=50)
    client, served = wire.both()
    watch = Watch()
    served.sendall(bytes(25_000))
    assert take(client, 1) == b"\0"
    assert 0.1 - EARLY_S <= watch.s < 0.45  # all of it takes 0.5 s


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
