"""What a run on real processes concludes before it strikes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.live.lab import SILENCE, scenario_file, spec_of, team_file

from chaoslab.backends.common import merged_contract
from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.target import Target, Upstream
from chaoslab.faults import Fault, Site, place
from chaoslab.history import Op, View
from chaoslab.run.live import miswired, unreachable
from chaoslab.run.team import shares

REFUND = Site(port="tools.refund", session="s1", task="s1-t1", marker="o-s1-t1", attempt=1)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({}, ""),
        ({"session": "s9"}, ""),  # it is called, for somebody else: that is a fault that missed
        ({"task": "s1-t9"}, ""),
        ({"marker": "o-9"}, ""),
        ({"at": "tools.ship"}, "the agent never calls tools.ship"),
        ({"at": "tools.ship", "session": "s1"}, "the agent never calls tools.ship"),
    ],
)
def test_a_fault_for_one_session_is_no_reason_to_say_that_a_tool_is_never_called(
    tmp_path: Path, fault: dict[str, Any], why: str
) -> None:
    team = team_file(tmp_path, tmp_path / "agent.py", "")
    spec = spec_of(team, scenario_file(tmp_path, "lost", SILENCE))
    one = replace(Fault(at="tools.refund", phase="after-commit", kind="silence"), **fault)
    placed = place([one], [REFUND], merged_contract(spec.contract, spec.workload))
    assert unreachable(spec, placed, [REFUND]) == why


CONTRACT = Contract(
    tools={"refund": ToolContract(name="refund", match="POST billing/v1/refund")},
    services={"billing": Upstream(name="billing", url="http://127.0.0.1:1")},
)


def seen(*ops: Op) -> View:
    return View(ops)


def test_a_service_that_is_down_is_not_held_against_the_agent() -> None:
    body = {"error": {"code": "unreachable", "message": "service billing: nobody listens"}}
    value: Any = {"error": "refused", "data": {"status": 502, "body": body}}
    down = Op(index=0, time_ns=0, type="fail", f="tools.refund", value=value)
    assert "service billing: nobody listens" in miswired(seen(down), CONTRACT)
    refused: Any = {"error": "refused", "data": {"status": 404, "body": {"error": "no such order"}}}
    assert miswired(seen(replace(down, value=refused)), CONTRACT) == ""


def test_a_match_that_fits_no_request_is_told_with_what_was_seen() -> None:
    request = Op(
        index=0,
        time_ns=0,
        type="invoke",
        f="network.request",
        marker="POST billing/v1/refunds",
        value={"service": "billing"},
    )
    row = Op(index=1, time_ns=1, type="commit", f="tools.refund", value={"ref": "1"})
    words = miswired(seen(request, row), CONTRACT)
    assert "no request fits its match" in words and "POST billing/v1/refunds" in words
    assert miswired(seen(request), CONTRACT) == ""  # nothing was done, so nothing is missed
    called = Op(index=2, time_ns=2, type="invoke", f="tools.refund")
    assert miswired(seen(request, row, called), CONTRACT) == ""


def test_executions_that_would_meet_run_one_after_the_other() -> None:
    own = Upstream(name="billing", url="http://127.0.0.1:{port}", start=("serve",))
    assert shares(CONTRACT)
    assert not shares(replace(CONTRACT, services={"billing": own}))
    below = replace(own, database="{state}/billing.db")
    assert not shares(replace(CONTRACT, services={"billing": below}))
    assert shares(replace(CONTRACT, services={"billing": replace(own, database="b.db")}))
    target = Target(commands=(("a",),), reset=("clean",))
    assert shares(Contract(target=target)) and not shares(Contract())
