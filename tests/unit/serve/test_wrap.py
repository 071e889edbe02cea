"""Python tools inside the agent: what the shim asks, what runs, and what the agent is told."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.unit.serve.fake import FakeLab, served

from chaoslab.contract import Contract, ToolContract
from chaoslab.core.resources import resource_path
from chaoslab.serve import wrap
from chaoslab.world.errors import (
    Conflict,
    ConnectionReset,
    DeadlineExceeded,
    RateLimited,
    ServerError,
    WorldError,
)

SHIM = resource_path("fixtures/shim/chaoslab_shim.py")
GONE = (ConnectionReset("gone"), DeadlineExceeded("late"))


@pytest.fixture(scope="module")
def shim() -> Any:
    spec = importlib.util.spec_from_file_location("chaoslab_shim", SHIM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLab]:
    one = FakeLab()
    with served(one, {"wrap": wrap.Wraps()}) as base:
        monkeypatch.setenv("CHAOSLAB_URL", base)
        yield one


def refund_of(shim: Any, done: list[str]) -> Any:
    @shim.tool("refund", key="key")  # type: ignore[untyped-decorator]
    def refund(order: str, cents: int = 5, *more: int, key: str | None = None, **rest: Any) -> Any:
        done.append(order)
        return {"id": f"r-{order}", "share": 0.5}

    return refund


def test_without_a_lab_the_function_is_itself(shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAOSLAB_URL", raising=False)
    done: list[str] = []
    assert refund_of(shim, done)("o-1", key="k")["id"] == "r-o-1"
    assert done == ["o-1"]


def test_a_call_is_asked_run_and_told(shim: Any, lab: FakeLab) -> None:
    done: list[str] = []
    refund = refund_of(shim, done)
    with shim.acting_for("s1-t1"):
        assert refund("o-1", 7, 8, key="k1", note="x") == {"id": "r-o-1", "share": 0.5}
    assert done == ["o-1"]
    args = {"order": "o-1", "cents": 7, "more": [8], "note": "x"}
    asked = {"f": "tools.refund", "args": args, "key": "k1", "marker": None}
    assert lab.asked == [("relay", asked)]
    assert (lab.hints[0].task, lab.hints[0].tool) == ("s1-t1", "refund")
    refund("o-2")
    assert lab.asked[1][1]["key"] is None
    assert lab.hints[1].task == ""


def test_the_declared_name_of_a_function_counts(shim: Any, lab: FakeLab) -> None:
    lab.contract = Contract(tools={"pay": ToolContract(name="pay", match="python refund")})
    refund_of(shim, [])("o-1")
    assert lab.asked[0][1]["f"] == "tools.pay"


def test_an_async_tool_keeps_its_loop_free(shim: Any, lab: FakeLab) -> None:
    order: list[str] = []

    @shim.tool("refund")  # type: ignore[untyped-decorator]
    async def refund(name: str) -> str:
        order.append(f"{name} in")
        await asyncio.sleep(0)
        both.set() if len(order) == 2 else await both.wait()
        order.append(f"{name} out")
        return name

    async def main() -> list[str]:
        return list(await asyncio.gather(refund("a"), refund("b")))

    both = asyncio.Event()
    assert asyncio.run(main()) == ["a", "b"]
    assert sorted(order[:2]) == ["a in", "b in"]
    assert len(lab.asked) == 2


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (Conflict("in flight"), "ChaosRefused"),
        (RateLimited("429"), "ChaosRefused"),
        (ServerError("500"), "TimeoutError"),
        *((one, "ConnectionResetError") for one in GONE),
    ],
)
def test_what_strikes_before_keeps_the_function_from_running(
    shim: Any, lab: FakeLab, error: WorldError, raised: str
) -> None:
    done: list[str] = []
    lab.refuse = error
    with pytest.raises(OSError) as caught:
        refund_of(shim, done)("o-1")
    assert type(caught.value).__name__ == raised
    assert done == []


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ServerError("500"), TimeoutError), *((one, ConnectionResetError) for one in GONE)],
)
def test_what_strikes_after_takes_the_answer_of_a_function_that_ran(
    shim: Any, lab: FakeLab, error: WorldError, raised: type[Exception]
) -> None:
    done: list[str] = []
    lab.withhold = error
    with pytest.raises(raised):
        refund_of(shim, done)("o-1")
    assert done == ["o-1"]


def test_an_exception_of_the_function_is_its_own(shim: Any, lab: FakeLab) -> None:
    came: list[Any] = []
    plain = lab.relay

    async def kept(process: str, f: str, args: Any, forward: Any, /, **more: Any) -> Any:
        answer = await plain(process, f, args, forward, **more)
        came.append(answer)
        return answer

    lab.relay = kept  # type: ignore[method-assign]

    @shim.tool("refund")  # type: ignore[untyped-decorator]
    def refund() -> None:
        raise ValueError("<secret at 0x7f>")

    with pytest.raises(ValueError, match="secret"):
        refund()
    assert (came[0].error, came[0].shown) == ("unsure", {"error": "ValueError"})


def test_a_call_that_the_lab_lets_go_too_late_does_not_run(shim: Any, lab: FakeLab) -> None:
    later: list[Any] = []

    async def held(process: str, f: str, args: Any, forward: Any, /, **more: Any) -> Any:
        later.append(forward)
        raise DeadlineExceeded("held back")

    async def released() -> Any:
        return await later[0]()

    lab.relay = held  # type: ignore[method-assign]
    done: list[str] = []
    with pytest.raises(ConnectionResetError):
        refund_of(shim, done)("o-1")
    answer = asyncio.run(released())
    assert answer.error == "refused"
    assert done == []


def test_ends_are_accepted_once_and_only_for_open_calls(lab: FakeLab) -> None:
    base = os.environ["CHAOSLAB_URL"]
    begun = httpx.post(f"{base}/wrap/begin", json={"tool": "refund", "args": {}}).json()
    assert begun["go"] is True
    end = {"id": begun["id"], "result": None}
    assert httpx.post(f"{base}/wrap/end", json=end).status_code == 200
    assert httpx.post(f"{base}/wrap/end", json=end).status_code == 404
    assert httpx.post(f"{base}/wrap/begin", json={"args": {}}).status_code == 400
    assert httpx.get(f"{base}/wrap/begin").status_code == 404


def test_everything_an_argument_may_be_becomes_json(shim: Any) -> None:
    @dataclasses.dataclass
    class Order:
        id: str
        cents: Decimal

    class Odd:
        pass

    deep: list[Any] = []
    deep.append(deep)
    found = shim._plain(
        {"a": Order("o", Decimal("1.5")), 2: {3, 1}, "c": Odd(), "d": float("nan"), "e": (True,)}
    )
    assert found == {
        "a": {"id": "o", "cents": "1.5"},
        "2": [1, 3],
        "c": "<Odd>",
        "d": "nan",
        "e": [True],
    }
    assert "<list>" in str(shim._plain(deep))


def test_a_wrong_key_parameter_is_told_at_once(shim: Any) -> None:
    with pytest.raises(TypeError, match="no parameter 'idem'"):
        shim.tool("refund", key="idem")(lambda order: None)


def test_the_shim_needs_nothing_and_speaks_the_python_of_3_8() -> None:
    tree = ast.parse(SHIM.read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {
        a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)
