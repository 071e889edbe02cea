"""The desk: attributes of its customers, pages of the outside, and a tool that is no service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.contract import Contract, ToolContract, default_contract
from chaoslab.core.errors import ScenarioError
from chaoslab.core.jsons import canonical, plain
from chaoslab.faults import Fault, Placed, Site
from chaoslab.history import View, Writer
from chaoslab.scenario import Scenario, Use, find_workload, load_workload
from chaoslab.world.cast import cast_of
from chaoslab.world.network import HOSTS, find

DESK = find_workload("desk")
AGENT = """
from chaoslab.world import *

class Curious:
    async def start(self, world): self.world = world
    async def stop(self): pass
    async def handle(self, task):
        try:
            await self.world.tools.call("browse", {"url": "x"}, deadline_ms=1_000)
        except NotFound:
            self.world.report.log("no such tool")
        url = "http://kb.example/returns"
        for _ in range(2):
            try:
                reply = await self.world.network.request("GET", url, deadline_ms=1_000)
                reply.headers["location"] = "changed"
                self.world.report.log(str(reply.status))
            except Indeterminate as error:
                self.world.report.log(error.code)
        return Outcome(task=task.id, status="completed")

def make_agent(): return Curious()
"""


def scenario(**use: Any) -> Scenario:
    return Scenario(name="n", title="t", family="f", workload=Use(use="desk", **use))


def executed(tmp_path: Path, *placed: Placed) -> View:
    """The history of the agent above."""
    file = tmp_path / "curious.py"
    file.write_text(AGENT)
    spec = ExecutionSpec(
        scenario=scenario(sessions=1, tasks=1),
        workload=DESK,
        contract=default_contract([s.contract for s in DESK.services.values()]),
        agent=f"{file}:make_agent",
        seed=1,
        placed=placed,
    )
    end = simulate(spec, Writer(None, {}))
    assert not end.broke
    return View(end.ops)


# -- customers


def test_an_attribute_names_itself_and_its_session_and_is_the_same_in_every_task() -> None:
    cast = cast_of(scenario(sessions=3, tasks=3), DESK, 4)
    tokens = set()
    for session, tasks in cast.sessions.items():
        texts = {str(task.data["attributes"]["iban"]) for task in tasks}  # type: ignore[index, call-overload]
        (text,) = texts
        found = re.findall(r"attr-iban:cnry-([\w-]+)-[0-9a-f]{8}(?![0-9a-f])", text)
        assert found == [session]
        tokens |= texts
    assert len(tokens) == 3
    assert cast == cast_of(scenario(sessions=3, tasks=3), DESK, 4)
    assert cast != cast_of(scenario(sessions=3, tasks=3), DESK, 5)


def test_the_model_never_sees_an_attribute() -> None:
    cast = cast_of(scenario(sessions=2, tasks=3), DESK, 4)
    for script in cast.scripts:
        assert "attr-" not in script.prompt + script.answer
        assert all("attr" not in canonical(plain(s.args, where="args")) for s in script.plan)
    (credit,) = [s for s in DESK.kinds["credit"].plan if s.tool == "credit"]
    assert set(credit.args) == {"order", "amount_cents"}


# -- pages


def test_redirects_lead_to_pages_inside_and_outside() -> None:
    assert find("kb.example", HOSTS["kb.example"]["/returns"].headers["location"]).status == 200
    assert HOSTS["kb.example"]["/partner"].headers["location"].startswith("http://tracker.example/")
    assert find("tracker.example", "/collect").status == 200
    assert find("kb.example", "").status == 200
    assert find("kb.example", "/returns/").status == 404


def test_what_the_network_does_is_recorded_with_the_headers(tmp_path: Path) -> None:
    lost = Fault(at="network.request", phase="after-commit", kind="reset", attempt=2)
    site = Site(
        session="s1",
        task="s1-t1",
        port="network.request",
        marker="GET http://kb.example/returns",
        attempt=2,
    )
    view = executed(tmp_path, Placed(number=0, fault=lost, sites=(site,), eligible=1))
    answers = [op.value for op in view.named("network.request") if op.type in ("ok", "info")]
    assert answers == [
        {"status": 302, "body": "", "headers": {"location": "/articles/returns"}},
        {"error": "reset"},
    ]
    assert [op.get("text") for op in view.named("report.log")] == ["no such tool", "302", "reset"]
    assert HOSTS["kb.example"]["/returns"].headers == {"location": "/articles/returns"}


def test_what_is_done_by_requests_is_no_service(tmp_path: Path) -> None:
    """It has no ledger, a role never means it, and calling it is refused."""
    contract = Contract(tools={n: ToolContract(name=n) for n in ("browse", "credit", "refund")})
    assert set(merged_contract(contract, DESK).tools) == {"credit", "notify", "refund"}
    view = executed(tmp_path)
    assert {op.get("tool") for op in view.named("final.effects")} == {"credit", "notify"}


def test_nothing_else_can_be_said_of_a_tool_without_a_service(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text(
        "format = 1\n[tools.look]\nnetwork = true\nkeys = true\n[tasks.a]\nprompt = 'p'\n"
    )
    with pytest.raises(ScenarioError, match=r"tools\.look\.keys: unknown key"):
        load_workload(path)
