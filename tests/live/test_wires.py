"""One conformance suite for both servers of Toxiproxy's interface: what is said.

The exchanges are compared with what the original answered (`wire_stories.json`); what is done to
bytes and time is in `test_wires_toxics.py`.
"""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest
from tests.live.wire_stories import RECORD, STORIES, A, T, ask, empty, told
from tests.live.wires import LONG_S, is_ours, take

from chaoslab.links.client import Links

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


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


def test_requests_have_numbers_of_their_own(links: Links) -> None:
    found = []
    for path in ("/version", "/version", "/proxies/a", "/nope"):
        connection = http.client.HTTPConnection(links.address, timeout=LONG_S)
        connection.request("GET", path)
        found.append(connection.getresponse().getheader("X-Toxiproxy-Request-Id"))
        connection.close()
    assert all(found[:3]) and len(set(found)) == 4 and found[3] is None


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
