"""The lab between an agent and its services: what goes on, what is recorded, what is unsure."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.unit.serve.fake import FakeLab, served

from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.target import Upstream
from chaoslab.serve import proxy
from chaoslab.serve.api import Answer
from chaoslab.serve.matching import match_of
from chaoslab.serve.upstream import ANSWER_BYTES_MAX, HttpReply
from chaoslab.world.errors import ConnectionReset, ServerError

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-Own: 1\r\n\r\n{"id": "7"}'
REFUND = ToolContract(
    name="refund",
    keys=True,
    identity_fields=("body.order_id",),
    match="POST billing/v1/refunds",
    key_at="header:Idempotency-Key",
)
CANCEL = ToolContract(
    name="cancel", match="DELETE billing/v1/orders/{order}", identity_fields=("path.order",)
)
CHARGE = ToolContract(name="charge", match="POST billing/v1/charges", key_at="body:meta.key")


@dataclass
class Service:
    """A server on a plain socket: it reads one request a connection and sends what it was given."""

    answer: bytes = OK
    reset: bool = False
    got: list[bytes] = field(default_factory=list)
    port: int = 0

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                self.got.append(self._request(connection))
                connection.sendall(self.answer)
                if self.reset:
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    @staticmethod
    def _request(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += connection.recv(65536)
        return head + b"\r\n\r\n" + body


@contextmanager
def service(answer: bytes = OK, *, reset: bool = False) -> Iterator[Service]:
    one = Service(answer=answer, reset=reset)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one.port = listener.getsockname()[1]
        thread = threading.Thread(target=one.serve, args=(listener,), daemon=True)
        thread.start()
        yield one
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@dataclass
class Shown(FakeLab):
    """Keeps what each forwarded request came to."""

    came: list[Answer] = field(default_factory=list)

    async def relay(
        self, process: str, f: str, args: Mapping[str, Any], forward: Any, /, **more: Any
    ) -> Answer:
        async def kept() -> Answer:
            answer: Answer = await forward()
            self.came.append(answer)
            return answer

        return await super().relay(process, f, args, kept, **more)


@contextmanager
def between(one: Service, path: str = "", **more: Any) -> Iterator[tuple[Shown, str]]:
    contract = Contract(
        tools={tool.name: tool for tool in (REFUND, CANCEL, CHARGE)},
        services={
            "billing": Upstream(name="billing", url=f"http://127.0.0.1:{one.port}{path}"),
            "far": Upstream(name="far", url="http://billing.example.com/"),
        },
    )
    lab = Shown(contract=contract, **more)
    with served(lab, {"services": proxy.handle}) as base:
        yield lab, f"{base}/services/billing"


def test_a_declared_request_is_the_tool_that_it_is() -> None:
    with service() as one, between(one) as (lab, base):
        reply = httpx.post(
            f"{base}/v1/refunds?dry=1",
            json={"order_id": "o-1", "share": 0.5},
            headers={"Idempotency-Key": "k1", "X-Chaoslab-Task": "t1"},
        )
    assert (reply.status_code, reply.json(), reply.headers["x-own"]) == (200, {"id": "7"}, "1")
    args = {"query": {"dry": "1"}, "body": {"order_id": "o-1", "share": "0.5"}}
    asked = {"f": "tools.refund", "args": args, "key": "k1", "marker": None}
    assert lab.asked == [("relay", asked)]
    (hint,) = lab.hints
    assert (hint.task, hint.tool, hint.args) == ("t1", "refund", args)
    (answer,) = lab.came
    assert (answer.error, answer.shown) == ("", {"status": 200, "body": {"id": "7"}})
    assert lab.notes == []


def test_what_is_sent_arrives_byte_for_byte_but_for_the_connection() -> None:
    body = b'{"order_id":   "o-1", "x": 1.50}'
    with service() as one, between(one, "/api/") as (_, base):
        httpx.request(
            "POST",
            f"{base}/v1/refunds/../a%2Fb?q=%20x",
            content=body,
            headers={"Connection": "x-hop", "X-Hop": "1", "X-Mine": "2", "TE": "trailers"},
        )
    head, _, sent = one.got[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert sent == body
    assert lines[0].startswith(b"POST /api/v1/") and lines[0].endswith(b"/a%2Fb?q=%20x HTTP/1.1")
    small = [line.lower() for line in lines]
    assert f"host: 127.0.0.1:{one.port}".encode() in small
    assert b"x-mine: 2" in small
    assert not any(line.startswith((b"x-hop", b"te:")) for line in small)
    assert small.count(b"connection: close") == 1


def test_what_no_tool_declares_is_a_plain_request() -> None:
    with service() as one, between(one) as (lab, base):
        httpx.put(f"{base}/v1/other?x=1", content=b"hello")
    args = {"method": "PUT", "url": "billing/v1/other?x=1", "body": "hello"}
    asked = {"f": "network.request", "args": args, "key": None, "marker": "PUT billing/v1/other"}
    assert lab.asked == [("relay", asked)]


def test_parts_of_the_path_and_keys_in_the_body_are_found() -> None:
    with service() as one, between(one) as (lab, base):
        httpx.delete(f"{base}/v1/orders/o%2F7")
        httpx.post(f"{base}/v1/charges", json={"cents": 5, "meta": {"key": "k9", "by": "x"}})
        httpx.post(f"{base}/v1/charges", data={"cents": "5"})
        httpx.post(f"{base}/v1/charges", json={"cents": 5, "meta": {"key": ""}})
    asked = [found for _, found in lab.asked]
    assert asked[0]["args"] == {"path": {"order": "o/7"}}
    # The key is no part of what is asked for, or a repeat with another key would be another action.
    assert asked[1]["args"] == {"body": {"cents": 5, "meta": {"by": "x"}}}
    assert asked[1]["key"] == "k9"
    assert asked[2]["args"] == {"body": {"cents": "5"}}
    assert asked[2]["key"] is None and asked[3]["key"] is None


def test_a_request_without_its_identity_is_told_to_a_person() -> None:
    with service() as one, between(one) as (lab, base):
        httpx.post(f"{base}/v1/refunds", json={"order": "o-1"})
    (note,) = lab.notes
    assert "refund" in note and "body.order_id" in note


@pytest.mark.parametrize(
    ("status", "error"), [(201, ""), (302, ""), (404, "refused"), (409, "refused"), (503, "unsure")]
)
def test_a_status_says_whether_it_happened(status: int, error: str) -> None:
    answer = f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno".encode()
    with service(answer) as one, between(one) as (lab, base):
        reply = httpx.post(f"{base}/v1/refunds", json={"order_id": "o-1"})
    assert (reply.status_code, reply.text) == (status, "no")
    assert (lab.came[0].error, lab.came[0].shown) == (error, {"status": status, "body": "no"})


def test_a_status_that_the_tool_calls_a_conflict_is_a_refusal() -> None:
    tool = ToolContract(name="refund", match="POST billing/v1/refunds", conflict=599)
    found = proxy.answer_of(HttpReply(status=599), tool)
    assert found.error == "refused"
    assert proxy.answer_of(HttpReply(status=599), REFUND).error == "unsure"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),  # noqa: E501
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
    ],
)  # fmt: skip
def test_answers_are_read_in_full_however_they_end(answer: bytes, body: str) -> None:
    with service(answer) as one, between(one) as (_, base):
        reply = httpx.get(f"{base}/v1/x")
    assert reply.text == body
    assert reply.status_code < 300


def test_a_packed_answer_goes_on_packed_and_is_recorded_readable() -> None:
    packed = gzip.compress(json.dumps({"id": 7, "rate": 0.5}).encode())
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with service(head + packed) as one, between(one) as (lab, base):
        with httpx.stream("GET", f"{base}/v1/x") as reply:
            assert b"".join(reply.iter_raw()) == packed
    assert lab.came[0].shown == {"status": 200, "body": {"id": 7, "rate": "0.5"}}


def test_the_record_keeps_a_bounded_part_of_a_long_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with service(head + b"x" * 100_000) as one, between(one) as (lab, base):
        assert len(httpx.get(f"{base}/v1/x").content) == 100_000
    shown: Any = lab.came[0].shown
    assert shown["body"] == "x" * 4096 + "…"


def test_a_head_request_keeps_the_length_without_a_body() -> None:
    with (
        service(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n") as one,
        between(one) as (_, base),
    ):
        reply = httpx.head(f"{base}/v1/x")
    assert (reply.headers["content-length"], reply.content) == ("11", b"")


@pytest.mark.parametrize("whole", [True, False])
def test_a_redirect_is_passed_on_and_leads_back_to_the_lab(whole: bool) -> None:
    with service() as one, between(one, "/api") as (_, base):
        origin = f"http://127.0.0.1:{one.port}" if whole else ""
        one.answer = (
            f"HTTP/1.1 307 X\r\nLocation: {origin}/api/v1/refunds/\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        reply = httpx.get(f"{base}/v1/refunds", follow_redirects=False)
        assert reply.status_code == 307
        assert str(reply.url.join(reply.headers["location"])) == f"{base}/v1/refunds/"
        assert len(one.got) == 1
        one.answer = one.answer.replace(b"/api/", b"//elsewhere.example/")
        far = httpx.get(f"{base}/v1/refunds", follow_redirects=False).headers["location"]
        assert "elsewhere.example" in far


def test_a_service_that_nobody_runs_refuses_for_certain() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = Service(port=free.getsockname()[1])
        with between(closed) as (lab, base):
            reply = httpx.post(f"{base}/v1/refunds", json={"order_id": "o-1"})
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "unreachable"
    assert lab.came[0].error == "refused"
    assert lab.came[0].shown == {"status": 502, "body": {"error": {"code": "unreachable"}}}


@pytest.mark.parametrize(
    ("answer", "reset"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", True),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False),
    ],
)
def test_a_service_that_dies_half_way_leaves_it_open(answer: bytes, reset: bool) -> None:
    with service(answer, reset=reset) as one, between(one) as (lab, base):
        reply = httpx.post(f"{base}/v1/refunds", json={"order_id": "o-1"})
    assert len(one.got) == 1
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "broken"
    assert lab.came[0].error == "unsure"


def test_an_endless_answer_is_cut_off() -> None:
    with service() as one, between(one) as (lab, base):
        one.answer = b"HTTP/1.0 200 OK\r\n\r\n" + bytes(ANSWER_BYTES_MAX + 1)
        reply = httpx.get(f"{base}/v1/x", timeout=20)
    assert reply.status_code == 502
    assert lab.came[0].error == "unsure"


def test_faults_keep_the_request_back_or_withhold_the_answer() -> None:
    with service() as one, between(one, refuse=ServerError("500")) as (_, base):
        assert httpx.post(f"{base}/v1/refunds", json={"order_id": "o-1"}).status_code == 500
    assert one.got == []
    with service() as one, between(one, withhold=ConnectionReset("gone")) as (_, base):
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{base}/v1/refunds", json={"order_id": "o-1"})
    assert len(one.got) == 1


def test_nothing_beyond_this_machine_is_asked() -> None:
    with service() as one, between(one) as (lab, base):
        far = httpx.get(base.replace("/billing", "/far") + "/x")
        none = httpx.get(base.replace("/billing", "/nowhere") + "/x")
    assert far.status_code == 400
    assert 'hosts = ["billing.example.com"]' in far.json()["error"]["message"]
    assert none.status_code == 404
    assert "allowed: billing, far" in none.json()["error"]["message"]
    assert lab.asked == []


def test_the_most_exact_match_counts() -> None:
    tools = [
        ToolContract(name="any", match="GET s/*/{id}"),
        ToolContract(name="one", match="GET s/orders/{id}"),
        ToolContract(name="exact", match="GET s/orders/mine"),
    ]
    found = {
        path: match_of(tools, "GET", "s", path)
        for path in ("/orders/mine", "/orders/7/", "/x/7", "/x", "/x/7/8", "/orders//")
    }
    named = {path: hit and (hit[0].name, hit[1]) for path, hit in found.items()}
    assert named == {
        "/orders/mine": ("exact", {}),
        "/orders/7/": ("one", {"id": "7"}),
        "/x/7": ("any", {"id": "7"}),
        "/x": None,
        "/x/7/8": None,
        "/orders//": None,
    }
    assert match_of(tools, "POST", "s", "/orders/mine") is None
    assert match_of(tools, "get", "s", "/orders/mine") is not None
    assert match_of(tools, "GET", "t", "/orders/mine") is None
