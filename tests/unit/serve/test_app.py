"""The one application: token, process, prefixes, and connections that break."""

from __future__ import annotations

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp
from tests.unit.serve.fake import FakeLab, served

from chaoslab.serve.api import Lab
from chaoslab.world.errors import Conflict, ConnectionReset


async def _echo(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
    return PlainTextResponse(f"{process} {path}")


def _raising(error: Exception) -> object:
    async def handler(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
        raise error

    return handler


def test_the_address_says_who_asks_what() -> None:
    with served(FakeLab(), {"tools": _echo}) as base:
        assert httpx.get(f"{base}/tools/refund/x").text == "p1 refund/x"
        assert httpx.get(f"{base}/nothing").status_code == 404
        assert httpx.get(base.replace("/token/", "/guess/") + "/tools/refund").status_code == 403
        assert httpx.get(base.replace("/p1", "/p9") + "/tools/refund").status_code == 410


def test_an_error_of_the_world_is_a_status_or_a_broken_connection() -> None:
    conflict, reset = _raising(Conflict("no", in_flight=True)), _raising(ConnectionReset("gone"))
    with served(FakeLab(), {"a": conflict, "b": reset}) as base:  # type: ignore[dict-item]
        found = httpx.get(f"{base}/a")
        assert found.status_code == 409
        assert found.json()["error"] == {"code": "conflict", "message": "no", "in_flight": True}
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{base}/b")
        assert httpx.get(f"{base}/a").status_code == 409  # others are left alone


def test_a_bug_of_the_labs_own_is_told_to_the_lab_and_answers_nothing() -> None:
    lab = FakeLab()
    with served(lab, {"a": _raising(KeyError("oops")), "b": _echo}) as base:  # type: ignore[dict-item]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{base}/a")
        assert [type(e) for e in lab.failures] == [KeyError]
        assert httpx.get(f"{base}/b/x").status_code == 200
    assert len(lab.failures) == 1
