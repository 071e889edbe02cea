"""What `doctor --agent` says: what is offered, what cannot be judged, what to add."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from chaoslab.check import CHECK_IDS
from chaoslab.contract import Attribute, Budget, Capacity, Contract, Egress, MemoryClass
from chaoslab.contract.loader import contract_from
from chaoslab.contract.model import ToolContract
from chaoslab.contract.target import Done, EffectSource, Submit, Target, Upstream
from chaoslab.history import Op, View
from chaoslab.run.advice import Advice, advise

BILLING = {"billing": Upstream(name="billing", url="http://127.0.0.1:9000")}
COMMAND = Target(commands=(("python", "web.py"), ("python", "worker.py")))
WORLD = {
    "lifecycle.legal",
    "lifecycle.quarantine",
    "memory.atomic",
    "memory.lost-update",
    "regions.loss",
    "regions.fenced",
    "isolation.sessions",
    "isolation.instance",
}


def view(*entries: dict[str, Any], canary: str = "") -> View:
    first: dict[str, Any] = {
        "type": "event",
        "f": "task.submit",
        "task": "t1",
        "value": {"prompt": "Refund o-1.", "data": {"order": "o-1", "token": canary}},
    }
    return View(
        Op(**{"index": n, "time_ns": n, "type": "invoke", **entry})
        for n, entry in enumerate((first, *entries))
    )


def called(tool: str, key: str | None = None) -> dict[str, Any]:
    return {"f": f"tools.{tool}", "task": "t1", "key": key, "value": {"args": {"order": "o-1"}}}


def refund(**more: Any) -> ToolContract:
    return ToolContract(**{"name": "refund", "match": "POST billing/refunds", **more})


def asked(found: Advice) -> list[list[str]]:
    return [list(one.lines) for one in found.add]


def words(found: Advice) -> str:
    return "\n".join(found.offers)


# -- what it offers


def test_the_optional_methods_of_an_adapter() -> None:
    told = words(advise(None, Contract(), {"recover", "release"}))
    assert "recover: after a restart it names the tasks" in told
    assert "no sessions: " in told
    assert "release: an operator can" in told
    assert "nothing was run" in told


@pytest.mark.parametrize(
    ("submit", "done", "parts"),
    [
        (Submit(), Done(), ("it fetches them from the lab's queue", "known from its reply")),
        (
            Submit(how="post", url="http://127.0.0.1:{port}/t"),
            Done(how="poll", url="http://127.0.0.1:{port}/t/{task}"),
            ("by a POST to http://127.0.0.1:{port}/t", "from http://127.0.0.1:{port}/t/{task}"),
        ),
        (Submit(how="stdin"), Done(how="sql", sql="x"), ("standard input", "from its database")),
    ],
)
def test_a_command_is_told_in_words(submit: Submit, done: Done, parts: tuple[str, ...]) -> None:
    target = Target(commands=COMMAND.commands, submit=submit, done=done)
    told = words(advise(None, Contract(target=target), ()))
    assert "started as python web.py and as python worker.py" in told
    assert "after a kill it is started as before" in told
    assert "no inspect" in told
    for part in parts:
        assert part in told, part
    assert "recover" not in told


def test_a_process_for_each_task_and_its_restart() -> None:
    target = Target(
        commands=(), submit=Submit(how="run", argv=("node", "a.js", "{prompt}")), inspect=("x",)
    )
    told = words(advise(None, Contract(target=target), ()))
    assert "started as node a.js {prompt}" in told and "inspect" not in told
    again = Target(commands=(("a",),), restart=(("a", "--again"),))
    assert "after a kill it is started as a --again" in words(
        advise(None, Contract(target=again), ())
    )


def test_what_a_run_showed() -> None:
    run = view(
        called("refund", "k"),
        called("refund"),
        called("notify", "k"),
        {"f": "model.complete", "value": {"messages": [], "tools": []}},
        {"f": "memory.write", "value": {}},
        {"f": "memory.read", "value": {}},
        {
            "f": "network.request",
            "value": {"method": "GET", "url": "billing/orders/o-1", "body": ""},
        },
        {
            "type": "event",
            "f": "task.outcome",
            "task": "t1",
            "value": {"status": "completed", "counted": True},
        },
        {
            "type": "event",
            "f": "task.outcome",
            "task": "t1",
            "value": {"status": "failed", "counted": False},
        },
    )
    tools = {
        "refund": refund(keys=True, effects=EffectSource(sql="select 1")),
        "notify": ToolContract(name="notify"),
        "ship": ToolContract(name="ship"),
    }
    told = advise(run, Contract(tools=tools, services=BILLING), ()).offers
    for line in (
        "1 of 1 tasks ended: 1 completed",
        "refund: 2 times, once with a key, its effects are read",
        "notify: once, always with a key",
        "ship: never called",
        "GET billing/orders/{id}: once, only reads",
        "the lab's model: asked once",
        "the lab's memory: asked 2 times",
        "the lab's leases: never asked",
    ):
        assert line in told, line


def test_a_tool_that_takes_keys_and_gets_none() -> None:
    told = words(advise(view(called("refund")), Contract(tools={"refund": refund(keys=True)}), ()))
    assert "never with a key, though it takes them, nobody says where its effects stand" in told


# -- what cannot be judged


def unjudged(contract: Contract, run: View | None = None) -> dict[str, str]:
    found = advise(run, contract, ()).unjudged
    assert len({check for check, _ in found}) == len(found)
    assert {check for check, _ in found} <= set(CHECK_IDS)
    return dict(found)


def test_an_empty_contract_leaves_little_to_judge() -> None:
    found = unjudged(Contract(), view())
    assert set(found) >= WORLD
    assert found["effects.delivery"] == "the contract names no tool"
    assert {"keys.lineage", "outcome.honest", "memory.policy", "egress.policy"} <= set(found)


def test_what_is_there_is_judged() -> None:
    contract = Contract(
        tools={"refund": refund(keys=True, promise="exactly-once", effects=EffectSource(get="x"))},
        memory={"a": MemoryClass(name="a", prefix="a/", immutable=True, retention_ms=1)},
        attributes={"iban": Attribute(name="iban")},
        egress=Egress(),
        budgets={"b": Budget(name="b", tool="refund")},
        capacity=Capacity(tasks_in_hand_max=1),
    )
    run = view(
        {"f": "memory.write"},
        {"f": "leases.acquire"},
        {"f": "wasm.instantiate"},
        {"type": "event", "f": "report.transition"},
        canary="cnry-s1-0123abcd",
    )
    assert unjudged(contract, run) == {}


@pytest.mark.parametrize(
    ("contract", "check", "why"),
    [
        (Contract(tools={"refund": refund()}), "effects.delivery", "effects of refund stand"),
        (Contract(tools={"refund": refund()}), "outcome.honest", "nowhere on record"),
        (Contract(tools={"refund": refund()}), "recovery.converges", "neither effects nor memory"),
        (Contract(tools={"refund": refund()}), "keys.lineage", "no tool that takes keys"),
        (
            Contract(tools={"refund": refund(keys=True)}),
            "keys.lineage",
            "refund: at-least-once promises nothing",
        ),
        (
            Contract(memory={"a": MemoryClass(name="a", prefix="a", retention_ms=1)}),
            "memory.policy",
            "no [memory.NAME] is immutable",
        ),
        (
            Contract(memory={"a": MemoryClass(name="a", prefix="a", immutable=True)}),
            "memory.retention",
            "no [memory.NAME] has a retention_ms",
        ),
    ],
)
def test_one_thing_that_is_missing(contract: Contract, check: str, why: str) -> None:
    assert why in unjudged(contract)[check]


def test_a_tool_of_the_lab_and_memory_are_records_enough() -> None:
    both = Contract(tools={"refund": refund(), "notify": ToolContract(name="notify")})
    found = unjudged(both)
    assert "outcome.honest" not in found and "recovery.converges" not in found
    assert "recovery.converges" not in unjudged(
        Contract(tools={"refund": refund()}), view({"f": "memory.read"})
    )


# -- what to add


def test_what_was_called_and_is_not_declared_comes_with_all_its_lines() -> None:
    run = view(
        {
            "f": "network.request",
            "task": "t1",
            "value": {"method": "POST", "url": "billing/refunds", "body": '{"order":"o-1"}'},
        },
        canary="cnry-s1-0123abcd",
    )
    contract = Contract(services=BILLING, tools={"refund": ToolContract(name="refund")})
    (one,) = advise(run, contract, ()).add
    assert "the contract does not name it" in one.why
    raw = tomllib.loads("\n".join(one.lines))
    services = {"billing": {"url": "http://127.0.0.1:9000"}}
    added = contract_from({"format": 1, "services": services, **raw}, "c.toml").tools
    assert list(added) == ["post_refund"]
    assert added["post_refund"].identity_fields == ("body.order",)


def test_a_source_a_key_and_an_identity() -> None:
    contract = Contract(tools={"refund": refund()}, services=BILLING)
    found = asked(advise(view(called("refund", "k"), canary="cnry-"), contract, ()))
    assert found == [
        ["[tools.refund]", 'effects = { sql = "select id, … from …", database = "…" }'],
        ["[tools.refund]", 'keys = { header = "Idempotency-Key" }'],
        ["[tools.refund]", 'identity_fields = ["order"]'],
    ]
    whole = refund(keys=True, identity_fields=("order",), effects=EffectSource(sql="select 1"))
    contract = Contract(tools={"refund": whole}, services=BILLING)
    assert asked(advise(view(called("refund", "k"), canary="cnry-"), contract, ())) == []


def test_a_key_over_mcp_has_no_header() -> None:
    contract = Contract(tools={"refund": refund(match="mcp crm/refund", identity_fields=("a",))})
    found = asked(advise(view(called("refund", "k")), contract, ()))
    assert ["[tools.refund]", "keys = true"] in found


def test_recover_belongs_into_the_contract() -> None:
    assert asked(advise(None, Contract(), {"recover"})) == [['resume = "self"']]
    assert asked(advise(None, Contract(resume="self"), {"recover"})) == []


def test_a_canary_for_the_tasks_of_a_command() -> None:
    (one,) = advise(view(), Contract(target=COMMAND), ()).add
    assert "{canary}" in one.lines[0]
    assert advise(view(), Contract(), ()).add == ()


def model(*offered: str, asks: str = "") -> tuple[dict[str, Any], ...]:
    calls = [{"name": asks, "args": {}}] if asks else []
    return (
        {"f": "model.complete", "task": "t1", "value": {"tools": list(offered)}},
        {"f": "model.complete", "task": "t1", "type": "ok", "value": {"tool_calls": calls}},
    )


def test_a_plan_is_missing_where_the_model_asks_for_nothing() -> None:
    command = Contract(target=COMMAND)
    (one,) = advise(view(*model("issue_refund"), canary="cnry-"), command, ()).add
    assert "no fault can strike" in one.why
    assert one.lines[:2] == ("[[tasks.NAME.plan]]", 'call = "issue_refund"')
    (one,) = advise(view(*model(), canary="cnry-"), command, ()).add
    raw = tomllib.loads("\n".join(one.lines))
    assert raw["tasks"]["NAME"]["plan"][0]["tool"] == "refund"
    assert raw["tools"]["refund"]["promise"] == "exactly-once"
    wanted = view(*model("issue_refund", asks="issue_refund"), canary="cnry-")
    assert not advise(wanted, command, ()).add


def test_a_source_that_cannot_be_read_and_a_service_that_is_down() -> None:
    whole = refund(keys=True, identity_fields=("order",), effects=EffectSource(sql="select 1"))
    down = {"body": {"error": {"code": "unreachable"}}, "status": 502}
    run = view(
        called("refund", "k"),
        {"f": "tools.refund", "type": "fail", "task": "t1", "value": {"data": down}},
        {
            "f": "task.outcome",
            "type": "event",
            "task": "t1",
            "value": {"status": "failed", "reason": "nobody answers", "counted": True},
        },
        {
            "f": "final.effects",
            "type": "event",
            "value": {"tool": "refund", "effects": [], "error": "unreadable"},
        },
    )
    found = advise(run, Contract(tools={"refund": whole}, services=BILLING), ())
    assert "could not be read, its service did not answer once" in words(found)
    assert "1 failed; t1 failed: nobody answers" in words(found)
    assert "could not be read" in dict(found.unjudged)["effects.delivery"]
