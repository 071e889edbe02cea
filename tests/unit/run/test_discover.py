"""From a fault-free history to the lines of a contract, which load as they are written."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.contract import Contract
from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import UsageError
from chaoslab.history import Op, View
from chaoslab.run.discover import (
    Seen,
    called_functions,
    looks_like_id,
    offered_tools,
    quoted,
    seen_tools,
    tool_lines,
)
from chaoslab.run.draft import Draft, named_services, proposed, service_name
from chaoslab.scenario import team_workload

SERVICES = {"billing": "http://127.0.0.1:9000", "crm": "http://127.0.0.1:9001/mcp"}


def history(*entries: dict[str, Any], tasks: int = 2) -> View:
    """Tasks t1, t2, … about orders o-1, o-2, …, then these entries."""
    ops = [
        Op(
            index=n,
            time_ns=n,
            type="event",
            f="task.submit",
            task=f"t{n + 1}",
            value={"prompt": f"Refund order o-{n + 1} now.", "data": {"order": f"o-{n + 1}"}},
        )
        for n in range(tasks)
    ]
    for entry in entries:
        ops.append(Op(**{"index": len(ops), "time_ns": len(ops), "type": "invoke", **entry}))
    return View(ops)


def sent(method: str, url: str, body: Any = "", task: str = "t1") -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    value = {"method": method, "url": url, "body": text}
    return {"f": "network.request", "task": task, "value": value}


def only(view: View) -> Seen:
    (found,) = seen_tools(view, SERVICES)
    return found


# -- what was seen


def test_a_request_to_a_service_is_a_tool() -> None:
    seen = only(history(sent("POST", "billing/v1/refunds", {"order_id": "o-1", "cents": 5})))
    assert (seen.name, seen.match, seen.requests) == ("refund", "POST billing/v1/refunds", 1)
    assert seen.identity == ("body.order_id",)
    assert not seen.reads and seen.keyed == 0


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("orders/o-1/refund", "orders/{id}/refund"),
        ("orders/42/items/7f3a9c21bd", "orders/{id}/items/{id2}"),
        ("u/0b8c3a1e-9a55-4c0e-8f3d-2b1c9d4e5f60", "u/{id}"),
        ("v1/cus_9fXa2/cards", "v1/{id}/cards"),
        ("v2/oauth2/token", "v2/oauth2/token"),
        ("orders/o%2D1", "orders/{id}"),
    ],
)
def test_ids_of_a_path_become_holes(path: str, match: str) -> None:
    assert only(history(sent("POST", f"billing/{path}"))).match == f"POST billing/{match}"


def test_a_word_of_one_task_alone_is_an_id_in_a_path_too() -> None:
    submits = [
        Op(
            index=n,
            time_ns=n,
            type="event",
            f="task.submit",
            task=f"t{n}",
            value={"prompt": "Go.", "data": {"customer": name, "kind": "refunds"}},
        )
        for n, name in enumerate(("ada", "bob"))
    ]
    ask = {
        "index": 2,
        "time_ns": 2,
        "type": "invoke",
        **sent("POST", "billing/ada/refunds", task="t0"),
    }
    seen = only(View([*submits, Op(**ask)]))
    assert seen.match == "POST billing/{id}/refunds"
    assert seen.identity == ("path.id",)


def test_requests_of_all_tasks_are_one_tool() -> None:
    seen = only(
        history(
            sent("POST", "billing/orders/o-1/refund", {"why": "it broke", "to": "o-1"}),
            sent("POST", "billing/orders/o-2/refund", {"why": "too late", "to": "o-2"}, "t2"),
        )
    )
    assert seen.requests == 2
    assert seen.identity == ("path.id", "body.to")


def test_what_no_task_speaks_of_and_free_text_are_no_identity() -> None:
    body = {"cart_id": "c-99", "note": "order o-1 of Ada", "cents": 500, "flag": True}
    assert only(history(sent("POST", "billing/carts", body))).identity == ()


def test_a_field_that_is_missing_once_is_no_identity() -> None:
    seen = only(
        history(
            sent("POST", "billing/refunds", {"order_id": "o-1"}),
            sent("POST", "billing/refunds", {"other": "o-2"}, "t2"),
        )
    )
    assert seen.identity == ()


def test_a_request_of_nobody_is_compared_with_all_tasks() -> None:
    seen = only(history(sent("POST", "billing/refunds", {"order": "o-2"}, task="")))
    assert seen.identity == ("body.order",)


@pytest.mark.parametrize(
    ("url", "body", "key"),
    [
        ("billing/refunds", {"order": "o-1", "idempotency_key": "o-1"}, "idempotency_key"),
        ("billing/refunds", {"order": "o-1", "meta": {"requestId": "o-1"}}, "meta.requestId"),
        ("billing/refunds?request_id=o-1", {"order": "o-1"}, ""),
    ],
)
def test_a_key_in_the_body_is_seen_and_is_no_identity(url: str, body: Any, key: str) -> None:
    seen = only(history(sent("POST", url, body)))
    assert seen.key_body == key
    assert "body.order" in seen.identity
    assert f"body.{key}" not in seen.identity


def test_what_only_reads_comes_last() -> None:
    found = seen_tools(
        history(
            sent("GET", "billing/orders/o-1"),
            sent("MCP", "crm/get_customer", {"id": "o-1"}),
            sent("MCP", "crm/add_note", {"order": "o-1"}),
            sent("DELETE", "billing/orders/o-1"),
        ),
        SERVICES,
    )
    assert [(one.match, one.reads) for one in found] == [
        ("mcp crm/add_note", False),
        ("DELETE billing/orders/{id}", False),
        ("GET billing/orders/{id}", True),
        ("mcp crm/get_customer", True),
    ]


def test_an_mcp_tool_has_its_own_arguments() -> None:
    seen = only(history(sent("MCP", "crm/refund", {"order": "o-1", "request_key": "x"})))
    assert (seen.match, seen.identity, seen.key_body) == (
        "mcp crm/refund",
        ("order",),
        "request_key",
    )


def test_tools_of_the_lab_keep_their_names_and_others_get_another() -> None:
    call = {"f": "tools.refund", "task": "t1", "value": {"args": {"order": "o-1"}}, "key": "k"}
    found = seen_tools(
        history(sent("POST", "billing/refunds", {"order": "o-1"}), call, {**call, "key": None}),
        SERVICES,
    )
    assert [(one.name, one.match) for one in found] == [
        ("refund", ""),
        ("post_refund", "POST billing/refunds"),
    ]
    assert (found[0].requests, found[0].keyed, found[0].identity) == (2, 1, ("order",))


def test_a_function_in_the_agent_is_known_by_its_answer_without_a_reference() -> None:
    call = {"f": "tools.shop.refund", "task": "t1", "value": {"args": {"order": "o-1"}}}
    answer = {"type": "ok", "f": "tools.shop.refund", "call": 2}
    wrapped = history(call, {**answer, "value": {"data": {"result": 1}}})
    seen = only(wrapped)
    assert (seen.name, seen.match) == ("shop_refund", "python shop.refund")
    assert loaded(draft(seen=(seen,))).tool("shop_refund").match == "python shop.refund"
    served = history(call, {**answer, "value": {"ref": "r", "data": {}}})
    assert only(served).match == ""
    (declared,) = seen_tools(wrapped, SERVICES, taken=["shop.refund"])
    assert (declared.name, declared.match) == ("shop.refund", "")


@pytest.mark.parametrize(
    "entry",
    [
        sent("POST", "http://elsewhere.example/x"),
        sent("POST", "unknown/refunds"),
        {"f": "tools.refund.lookup", "value": {"args": {}, "lookup": True}},
        {"f": "tools.refund", "type": "ok", "call": 0, "value": {"ref": "r"}},
        {"f": "memory.write", "value": {"id": "x", "value": 1}},
        {"f": "network.request", "value": None},
    ],
)
def test_everything_else_is_passed_over(entry: dict[str, Any]) -> None:
    assert seen_tools(history(entry), SERVICES) == ()


def test_what_the_model_was_offered_and_what_it_asked_for() -> None:
    view = history(
        {"f": "model.complete", "value": {"messages": [], "tools": ["refund", "notify"]}},
        {
            "f": "model.complete",
            "type": "ok",
            "call": 2,
            "value": {"tool_calls": [{"id": "1", "name": "refund", "args": {}}]},
        },
        {"f": "model.complete", "value": {"messages": [], "tools": ["notify", "close"]}},
    )
    assert offered_tools(view) == ("refund", "notify", "close")
    assert called_functions(view) == ("refund",)


@pytest.mark.parametrize("text", ["refunds", "v1", "api-v2", "oauth2", "well-known", "", "a_b"])
def test_plain_words_are_no_ids(text: str) -> None:
    assert not looks_like_id(text)


# -- what is written


def loaded(draft: Draft) -> Contract:
    """The contract that a draft is; its text is loaded as it stands, tasks included."""
    raw = tomllib.loads(draft.text())
    contract = contract_from(raw, "chaoslab.toml")
    workload = team_workload(raw, "chaoslab.toml", contract)
    assert list(workload.kinds) == ["first"]
    return contract


def draft(**more: Any) -> Draft:
    return Draft(**{"name": "shop", "command": ("python", "my agent.py"), **more})


@pytest.mark.parametrize(
    ("submit", "how", "commands"),
    [
        ("run", "run", ()),
        ("queue", "queue", (("python", "my agent.py"),)),
        ("stdin", "stdin", (("python", "my agent.py"),)),
        ("http://127.0.0.1:{port}/t", "post", (("python", "my agent.py"),)),
    ],
)
def test_a_draft_loads_without_any_edit(submit: str, how: str, commands: Any) -> None:
    services, env = proposed({"BILLING_URL": "http://127.0.0.1:9000", "X": "y"})
    contract = loaded(draft(submit=submit, services=services, env=env))
    assert contract.target is not None
    assert contract.target.submit.how == how
    assert contract.target.commands == commands
    assert contract.target.env["BILLING_URL"] == "{services.billing}"
    assert contract.services["billing"].url == "http://127.0.0.1:9000"


def test_what_a_run_showed_comes_back_from_the_text() -> None:
    view = history(
        {"f": "model.complete", "value": {"messages": [], "tools": ["refund_order"]}},
        sent("POST", "billing/orders/o-1/refunds", {"idempotency_key": "k", "cents": 5}),
        sent("MCP", "crm/add_note", {"text": "free text"}),
        sent("GET", "billing/orders/o-1"),
        {"f": "tools.notify", "task": "t1", "value": {"args": {"order": "o-1"}}, "key": "k"},
    )
    written = draft(services=SERVICES).with_run(view)
    contract = loaded(written)
    refund, note, notify = (contract.tools[n] for n in ("refund", "add_note", "notify"))
    assert refund.match == "POST billing/orders/{id}/refunds"
    assert (refund.keys, refund.key_at, refund.identity_fields) == (
        True,
        "body:idempotency_key",
        ("path.id",),
    )
    assert (note.match, note.keys, note.identity_fields) == ("mcp crm/add_note", False, ())
    assert (notify.match, notify.keys, notify.identity_fields) == ("", True, ("order",))
    assert {t.promise for t in contract.tools.values()} == {"at-least-once"}
    assert contract.services["crm"].mcp == SERVICES["crm"]
    text = written.text()
    assert "#   GET billing/orders/{id}" in text
    assert '# call = "refund_order"' in text
    assert "# Sent were: text." in text


def test_the_lines_that_a_human_takes_from_their_comments_load_too() -> None:
    seen = only(history(sent("POST", "billing/refunds", {"order_id": "o-1"})))
    text = draft(services=SERVICES, seen=(seen,), offered=("refund",)).text()
    for line in (
        '# keys = { header = "Idempotency-Key" }',
        '# effects = { sql = "select id, order_id from …", database = "…" }',
        "# [[tasks.first.plan]]",
        '# call = "refund"',
        '# args = { order = "{order}" }',
        '# database = "{state}/agent.db"',
        '# done = { poll = "http://127.0.0.1:{port}/tasks/{task}" }',
    ):
        assert line in text, line
        text = text.replace(line, line.removeprefix("# "))
    raw = tomllib.loads(text.replace('"at-least-once"', '"exactly-once"'))
    contract = contract_from(raw, "chaoslab.toml")
    assert contract.tool("refund").observed
    assert contract.tool("refund").promise == "exactly-once"
    assert team_workload(raw, "c.toml", contract).kinds["first"].plan[0].call == "refund"


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_text_can_be_written(text: str) -> None:
    assert tomllib.loads(f"a = {quoted(text)}") == {"a": text}


words = st.text(st.sampled_from("abc-_.{}'\"\\ 1é/%?&=\n"), max_size=8)


@given(words, words, words, st.dictionaries(words, words, max_size=3))
def test_whatever_an_agent_sends_the_lines_load(
    method: str, path: str, word: str, body: dict[str, str]
) -> None:
    """A path may have anything in it; what the loader would refuse must not be written."""
    url = f"billing/{path}"
    call = {"f": "tools.t", "task": "t1", "value": {"args": {word: "o-1"}}}
    asked = [sent(m, url, body) for m in ("POST", "GET", method)]
    view = history(*asked, sent("MCP", f"crm/{word}", body), call)
    loaded(draft(services=SERVICES).with_run(view))


def test_a_tool_that_is_written_alone_is_a_table() -> None:
    lines = tool_lines(Seen(name="refund", match="POST billing/refunds", identity=("body.a",)))
    raw = tomllib.loads("\n".join(lines))
    assert raw["tools"]["refund"]["identity_fields"] == ["body.a"]


# -- services from the environment and the command line


def test_addresses_on_this_machine_are_services() -> None:
    services, env = proposed(
        {
            "BILLING_URL": "http://127.0.0.1:9000/api",
            "INVOICES_URL": "http://127.0.0.1:9000/api",
            "CRM_MCP_URL": "http://localhost:9001/mcp",
            "FAR_URL": "https://api.example.com",
            "SECRET_URL": "http://user:pass@127.0.0.1:1",
            "HTTP_PROXY": "http://127.0.0.1:3128",
            "https_proxy": "http://127.0.0.1:3128",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
            "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1",
            "OPENAI_API_BASE": "https://api.example.com",
            "PATH": "/bin",
        }
    )
    assert services == {
        "billing": "http://127.0.0.1:9000/api",
        "crm": "http://localhost:9001/mcp",
    }
    assert env == {
        "OPENAI_BASE_URL": "{model}",
        "OPENAI_API_BASE": "{model}",
        "ANTHROPIC_BASE_URL": "{anthropic}",
        "BILLING_URL": "{services.billing}",
        "INVOICES_URL": "{services.billing}",
        "CRM_MCP_URL": "{services.crm}",
    }
    loaded(draft(services=services, env=env))


def test_two_services_of_one_name_are_both_kept() -> None:
    services, env = proposed({"A_URL": "http://127.0.0.1:1", "A_API_URL": "http://127.0.0.1:2"})
    assert sorted(services.values()) == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert {env["A_URL"], env["A_API_URL"]} == {f"{{services.{name}}}" for name in services}


def test_services_that_are_given() -> None:
    services, env = named_services(
        ["billing=http://127.0.0.1:9000", "kb=python kb.py"], {"PAY": "http://127.0.0.1:9000"}
    )
    assert services == {"billing": "http://127.0.0.1:9000", "kb": "python kb.py"}
    assert env["PAY"] == "{services.billing}" and env["KB_URL"] == "{services.kb}"
    contract = loaded(draft(services=services, env=env))
    assert contract.services["kb"].mcp_command == ("python", "kb.py")


@pytest.mark.parametrize("text", ["billing", "=http://127.0.0.1", "a b=http://127.0.0.1", "x="])
def test_a_service_that_is_given_wrongly(text: str) -> None:
    with pytest.raises(UsageError, match="allowed: NAME=http://127"):
        named_services([text], {})


def test_a_service_elsewhere_is_refused() -> None:
    with pytest.raises(UsageError, match="beyond this machine"):
        named_services(["x=https://api.example.com"], {})


@pytest.mark.parametrize("variable", ["BILLING", "_URL", "URL", "Ä_URL", "A.B_URL"])
def test_any_variable_gives_a_name_that_the_loader_takes(variable: str) -> None:
    loaded(draft(services={service_name(variable): "http://127.0.0.1:1"}))
