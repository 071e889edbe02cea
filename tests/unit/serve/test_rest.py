"""Tools, memory and queue over plain HTTP: what comes in, what goes out, and what is refused."""

from __future__ import annotations

from collections import deque
from typing import Any

import httpx
import pytest
from tests.unit.serve.fake import FakeLab, served

from chaoslab.serve import rest
from chaoslab.serve.api import ToolShape
from chaoslab.world.api import ANY, Claim, Item, Outcome, Task, ToolReply, Write
from chaoslab.world.errors import Conflict, ConnectionReset, Fenced, ServerError

HANDLERS = {"tools": rest.tools, "memory": rest.memory, "queue": rest.queue}


def lab_with(**answers: Any) -> FakeLab:
    return FakeLab(answers={name: deque([found]) for name, found in answers.items()})


# -- tools


def test_a_tool_call_carries_arguments_key_and_task() -> None:
    lab = lab_with(tools=ToolReply(ref="refund:o-1#1", data={"n": 1}, absorbed=True))
    with served(lab, HANDLERS) as base:
        headers = {"Idempotency-Key": "k1", "X-Chaoslab-Task": "s1-t1"}
        reply = httpx.post(f"{base}/tools/refund", json={"order": "o-1"}, headers=headers)
    assert reply.status_code == 200
    assert reply.json() == {"ref": "refund:o-1#1", "data": {"n": 1}, "absorbed": True}
    asked = {"name": "refund", "args": {"order": "o-1"}, "key": "k1", "deadline_ms": 1_000}
    assert lab.asked == [("tools", asked)]
    (hint,) = lab.hints
    assert (hint.task, hint.tool, hint.args) == ("s1-t1", "refund", {"order": "o-1"})


def test_a_look_up_is_a_call_of_its_own_and_the_list_shows_what_there_is() -> None:
    lab = lab_with(tools=ToolReply(ref="", data={"refs": []}))
    lab.shapes = (ToolShape(name="refund", description="gives back", keyed=True),)
    with served(lab, HANDLERS) as base:
        assert httpx.post(f"{base}/tools/refund/lookup", json={"order": "o-1"}).status_code == 200
        shown = httpx.get(f"{base}/tools").json()
    assert lab.asked[0][1]["name"] == "refund.lookup"
    assert lab.asked[0][1]["key"] is None
    (tool,) = shown["tools"]
    assert tool == {
        "name": "refund",
        "description": "gives back",
        "schema": {"type": "object"},
        "keyed": True,
    }


def test_numbers_with_a_fraction_are_written_otherwise_at_the_border() -> None:
    lab = lab_with(tools=ToolReply(ref="r"))
    body = '{"whole": 12.0, "rate": 0.10, "big": 1e3, "deep": [{"x": -0.5}], "huge": 1e9999}'
    with served(lab, HANDLERS) as base:
        assert httpx.post(f"{base}/tools/t", content=body).status_code == 200
    assert lab.asked[0][1]["args"] == {
        "whole": 12,
        "rate": "0.1",
        "big": 1000,
        "deep": [{"x": "-0.5"}],
        "huge": "1e9999",
    }


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "is not JSON: Expecting property name"),
        (b"[1]", "allowed: a JSON object"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": "\\ud800"}', "text that UTF-8 cannot hold"),
        (b'{"a": "\xff"}', "is not UTF-8"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "nested deeper than 40 levels"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b'{"a": ' + b"7" * 2_000 + b"}", "integer of more than 4096 bits"),
    ],
)
def test_a_body_that_cannot_be_recorded_is_a_clear_400(body: bytes, says: str) -> None:
    lab = FakeLab()
    with served(lab, HANDLERS) as base:
        reply = httpx.post(f"{base}/tools/refund", content=body)
    assert reply.status_code == 400
    assert says in reply.json()["error"]["message"]
    assert lab.asked == []


def test_errors_of_the_world_are_statuses_and_silence_breaks_the_connection() -> None:
    lab = lab_with(tools=Conflict("in flight", in_flight=True))
    with served(lab, HANDLERS) as base:
        reply = httpx.post(f"{base}/tools/refund", json={})
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "conflict")
        lab.answers["tools"] = deque([ServerError("500")])
        assert httpx.post(f"{base}/tools/refund", json={}).status_code == 500
        lab.answers["tools"] = deque([ConnectionReset("gone")])
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{base}/tools/refund", json={})
        assert httpx.get(f"{base}/tools/refund").status_code == 400
        assert httpx.post(f"{base}/tools/refund/undo", json={}).status_code == 404


# -- memory


def test_an_item_is_read_with_its_version_or_is_not_there() -> None:
    lab = lab_with(memory=Item(id="order/7", value={"n": 1}, version=(1, 4), expires_ms=9))
    with served(lab, HANDLERS) as base:
        found = httpx.get(f"{base}/memory/order/7%3Fa", params={"at": "replica"})
        assert found.json() == {"value": {"n": 1}, "version": [1, 4], "expires_ms": 9}
        lab.answers["memory"] = deque([None, None])
        assert httpx.get(f"{base}/memory/order/7").status_code == 404
    assert lab.asked[0] == ("memory", {"read": "order/7?a", "at": "replica"})


def test_a_write_says_what_it_expects() -> None:
    lab = lab_with(memory=(2, 5))
    with served(lab, HANDLERS) as base:
        url = f"{base}/memory/order/7"
        assert httpx.put(url, json={"value": 1}).json() == {"version": [2, 5]}
        httpx.put(url, json={"value": None, "expect": None, "fence": 3})
        more = {"value": 1, "expect": [2, 5], "expires_ms": 10, "durability": "quorum"}
        httpx.put(url, json=more)
    first, second, third = (asked for _, asked in lab.asked)
    assert first["expect"] is ANY and first["durability"] == "local" and first["fence"] is None
    assert second["value"] is None and second["expect"] is None and second["fence"] == 3
    assert (third["expect"], third["expires_ms"], third["durability"]) == ((2, 5), 10, "quorum")


def test_groups_scans_and_erasures() -> None:
    lab = lab_with(memory=((1, 1), (1, 2)))
    with served(lab, HANDLERS) as base:
        body = {"writes": [{"id": "a", "value": 1}, {"id": "b/c", "value": 2, "expect": None}]}
        assert httpx.post(f"{base}/memory", json={**body, "fence": 7}).json() == {
            "versions": [[1, 1], [1, 2]]
        }
        lab.answers["memory"] = deque([(Item(id="a", value=1, version=(1, 1)),)])
        items = httpx.get(f"{base}/memory", params={"prefix": "a"}).json()["items"]
        lab.answers["memory"] = deque([None])
        assert httpx.delete(f"{base}/memory/b/c", params={"fence": 7}).status_code == 204
    assert lab.asked[0][1] == {
        "write_many": [Write(id="a", value=1), Write(id="b/c", value=2, expect=None)],
        "fence": 7,
    }
    assert items == [{"id": "a", "value": 1, "version": [1, 1], "expires_ms": None}]
    assert lab.asked[1][1] == {"scan": "a", "at": "primary"}
    assert "fence" in lab.asked[2][1] and lab.asked[2][1]["fence"] == 7


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", "memory/a", {}, "the field 'value' is missing"),
        ("PUT", "memory/a", {"value": 1, "expect": [1]}, "null or a version [epoch, n]"),
        ("PUT", "memory/a", {"value": 1, "fence": "7"}, "'fence' is '7' (str)"),
        ("PUT", "memory/a", {"value": 1, "fence": True}, "'fence' is True (bool)"),
        ("PUT", "memory/a", {"value": 1, "durability": "both"}, "allowed: local, quorum"),
        ("PUT", "memory/a", {"value": 1, "ttl": 1}, "there is no field 'ttl'"),
        ("POST", "memory", {"writes": [{"id": "a"}]}, "writes[0]: the field 'value' is missing"),
        ("POST", "memory", {"writes": [7]}, "a list of objects"),
        ("POST", "memory", {"fence": 1}, "the field 'writes' is missing"),
        ("GET", "memory/a?at=moon", None, "allowed: primary, replica"),
        ("DELETE", "memory/a?fence=-1", None, "a whole number of 0 or more"),
        ("PATCH", "memory/a", {}, "allowed: GET, PUT, DELETE"),
    ],
)
def test_bad_requests_to_memory_say_what_is_wrong(
    method: str, path: str, body: Any, says: str
) -> None:
    lab = FakeLab()
    with served(lab, HANDLERS) as base:
        reply = httpx.request(method, f"{base}/{path}", json=body)
    assert reply.status_code == 400
    assert says in reply.json()["error"]["message"]
    assert lab.asked == []


def test_a_refused_write_tells_why() -> None:
    with served(lab_with(memory=Fenced("a newer lease", newest=4)), HANDLERS) as base:
        reply = httpx.put(f"{base}/memory/a", json={"value": 1, "fence": 3})
    assert reply.status_code == 412
    assert reply.json()["error"]["newest"] == 4


# -- the queue


def test_tasks_are_fetched_until_there_are_none() -> None:
    task = Task(id="t1", session="s1", tenant="a", delivery=2, prompt="go", data={"order": "o-1"})
    lab = FakeLab(tasks=deque([task]))
    with served(lab, HANDLERS) as base:
        assert httpx.get(f"{base}/queue/next", params={"wait_ms": 10}).json() == {
            "id": "t1",
            "session": "s1",
            "tenant": "a",
            "delivery": 2,
            "prompt": "go",
            "data": {"order": "o-1"},
            "deadline_ms": 600_000,
        }
        empty = httpx.get(f"{base}/queue/next", params={"wait_ms": 0})
        assert (empty.status_code, empty.content) == (204, b"")
        assert httpx.get(f"{base}/queue/next?wait_ms=soon").status_code == 400
        assert httpx.get(f"{base}/queue/last").status_code == 404


def test_an_outcome_arrives_with_its_claims() -> None:
    lab = FakeLab()
    said = {
        "task": "t1",
        "status": "completed",
        "answer": {"share": 0.5},
        "claims": [{"tool": "refund", "marker": "o-1", "ref": "7"}, {"tool": "a", "marker": "b"}],
    }
    with served(lab, HANDLERS) as base:
        assert httpx.post(f"{base}/queue/outcome", json=said).status_code == 204
    assert lab.outcomes == [
        Outcome(
            task="t1",
            status="completed",
            answer={"share": "0.5"},
            claims=(
                Claim(tool="refund", marker="o-1", ref="7"),
                Claim(tool="a", marker="b", ref=None),
            ),
        )
    ]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"status": "completed"}, "the field 'task' is missing"),
        ({"task": "t1", "status": "fine"}, "allowed: completed, failed, deferred, uncertain"),
        ({"task": "t1", "status": "failed", "claims": {}}, "'claims' is {}"),
        ({"task": "t1", "status": "failed", "claims": [{"tool": "x"}]}, "claims[0]"),
        ({"task": "t1", "status": "failed", "result": 1}, "there is no field 'result'"),
        ({"task": 1, "status": "failed"}, "'task' is 1 (int); allowed: text"),
    ],
)
def test_a_bad_outcome_is_refused_by_name(body: Any, says: str) -> None:
    lab = FakeLab()
    with served(lab, HANDLERS) as base:
        reply = httpx.post(f"{base}/queue/outcome", json=body)
    assert reply.status_code == 400
    assert says in reply.json()["error"]["message"]
    assert lab.outcomes == []
