"""A contract is read strictly, and promises that nobody can keep are refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.contract import (
    DEFAULT_LIMITS,
    Attribute,
    Budget,
    Capacity,
    Contract,
    Egress,
    Limits,
    MemoryClass,
    ToolContract,
    default_contract,
    marker_of,
)
from chaoslab.contract.loader import contract_from, load_contract, raw_contract
from chaoslab.core.errors import ContractError

NUMBERS = [f.name for f in fields(Limits)]
limits = st.builds(Limits, **{n: st.none() | st.integers(0, 9) for n in NUMBERS})


def problems_of(raw: dict[str, Any]) -> str:
    with pytest.raises(ContractError) as caught:
        contract_from({"format": 1, **raw}, "chaoslab.toml")
    return str(caught.value)


def test_an_empty_contract_promises_at_least_once_and_redelivery() -> None:
    contract = contract_from({"format": 1}, "x/desk.toml")
    assert contract == Contract(name="desk")
    assert contract.tool("anything").promise == "at-least-once"


@pytest.mark.parametrize("lookup", [False, True])
def test_exactly_once_without_keys_is_refused_with_a_lookup_too(lookup: bool) -> None:
    text = problems_of({"tools": {"pay": {"promise": "exactly-once", "lookup": lookup}}})
    assert "tools.pay" in text and "impossible without keys" in text and "at-most-once" in text


def test_exactly_once_with_keys_is_accepted() -> None:
    raw = {"format": 1, "tools": {"pay": {"promise": "exactly-once", "keys": True}}}
    assert contract_from(raw, "c.toml").tool("pay").promise == "exactly-once"


def test_every_problem_is_named_at_once() -> None:
    text = problems_of(
        {
            "resume": "me",
            "fencing": 1,
            "loss_ms_max": -1,
            "ruleset": "1999.1",
            "required": "all",
            "limits": {"attempts_per_operation_max": True, "failed_task_max": 1},
            "tools": {
                "pay": {"keys": "yes", "promis": "exactly-once", "identity_fields": "order"},
                "undo": {"compensate": "nothing", "promise": "twice", "key_retention_ms": 1.5},
                "odd": 3,
            },
            "colour": "red",
        }
    )
    for part in (
        "resume: got 'me' (str); allowed: self, redelivery",
        "fencing: got 1 (int)",
        "loss_ms_max: got -1 (int)",
        "ruleset: got '1999.1'",
        "required: got 'all'",
        "limits.attempts_per_operation_max: got True (bool)",
        "limits.failed_task_max: unknown key; did you mean failed_tasks_max?",
        "tools.pay.keys: got 'yes'",
        "tools.pay.promis: unknown key; did you mean promise?",
        "tools.pay.identity_fields: got 'order'",
        "tools.undo.promise: got 'twice'",
        "tools.undo.key_retention_ms: got 1.5 (float)",
        "compensate names no tool of this contract: 'nothing'",
        "tools.odd: got 3 (int)",
        "colour: unknown key",
    ):
        assert part in text, part


def test_a_check_that_does_not_exist_cannot_be_required() -> None:
    with pytest.raises(ContractError, match=r"no check 'a\.b'; allowed: x\.y"):
        contract_from({"format": 1, "required": ["a.b"]}, "c.toml", check_ids=("x.y",))


def test_a_pyproject_carries_its_contract_in_its_own_table(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.chaoslab]\nformat = 1\n[tool.chaoslab.tools.pay]\nkeys = true\n")
    assert load_contract(path).tool("pay").keys
    path.write_text('[project]\nname = "x"\n')
    assert raw_contract(path) is None


@pytest.mark.parametrize("text", ["tool = 3\n", "[tool]\nchaoslab = 3\n", "[[tool]]\na = 1\n"])
def test_a_pyproject_of_another_shape_is_no_crash(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    try:
        assert raw_contract(path) is None
    except ContractError as error:
        assert "tool" in str(error)


@given(limits, limits)
def test_a_number_given_beats_one_that_is_weaker_and_none_beats_nothing(
    strong: Limits, weak: Limits
) -> None:
    merged = strong.over(weak)
    for name in NUMBERS:
        own, other = getattr(strong, name), getattr(weak, name)
        assert getattr(merged, name) == (other if own is None else own)


def test_zero_is_a_number_that_counts() -> None:
    assert Limits(failed_tasks_max=0).over(Limits(failed_tasks_max=3)).failed_tasks_max == 0
    assert DEFAULT_LIMITS.over(Limits(uncertain_tasks_max=1)).uncertain_tasks_max == 1


def test_the_stand_in_keeps_what_services_offer_and_weakens_the_promise() -> None:
    strong = ToolContract(name="pay", keys=True, promise="exactly-once", identity_fields=("o",))
    made = default_contract([strong])
    assert not made.given
    assert made.tool("pay").keys and made.tool("pay").identity_fields == ("o",)
    assert made.tool("pay").promise == "at-least-once"


# -- data, money and load

RULES: dict[str, Any] = {
    "format": 1,
    "tools": {"pay": {}},
    "memory": {
        "policy": {"prefix": "policy/v", "immutable": True},
        "profile": {"prefix": "profile/", "retention_ms": 5, "skew_ms": 1},
    },
    "attributes": {
        "iban": {
            "allowed": [
                "model", "network", "log", "report", "answer",
                "tools.pay", "tools.pay-2.b", "wasm.ticket", "memory:attr/",
            ]
        },
        "tax_id2": {},
    },
    "egress": {"hosts": ["KB.example."], "methods": ["get"], "body_bytes_max": 0},
    "budgets": {
        "all": {"tool": "pay", "max": 0},
        "each": {"tool": "pay", "max": 9, "field": "a.b", "per": "tenant", "window_ms": 1},
    },
    "capacity": {"tasks_in_hand_max": 1},
}  # fmt: skip


def test_rules_are_read_as_they_stand() -> None:
    read = contract_from(RULES, "c.toml")
    assert read.memory == {
        "policy": MemoryClass(name="policy", prefix="policy/v", immutable=True),
        "profile": MemoryClass(name="profile", prefix="profile/", retention_ms=5, skew_ms=1),
    }
    allowed = tuple(RULES["attributes"]["iban"]["allowed"])
    assert read.attributes == {
        "iban": Attribute(name="iban", allowed=allowed),
        "tax_id2": Attribute(name="tax_id2"),
    }
    assert read.egress == Egress(hosts=("kb.example",), methods=("GET",), body_bytes_max=0)
    each = Budget(name="each", tool="pay", most=9, field="a.b", per="tenant", window_ms=1)
    assert read.budgets == {"all": Budget(name="all", tool="pay"), "each": each}
    assert read.capacity == Capacity(tasks_in_hand_max=1, defer_within_ms=1_000)


def test_rules_that_are_left_out_promise_nothing() -> None:
    read = contract_from({"format": 1, "egress": {}}, "c.toml")
    assert (read.memory, read.attributes, read.budgets, read.capacity) == ({}, {}, {}, None)
    assert read.egress == Egress(hosts=(), methods=("GET", "HEAD"), body_bytes_max=None)
    assert contract_from({"format": 1}, "c.toml").egress is None


def test_every_problem_of_the_rules_is_named() -> None:
    text = problems_of(
        {
            "memory": {
                "a": {},
                "b": {"prefix": "x/", "retention_ms": 0, "skew_ms": -1},
                "c": {"prefix": "x/", "mutable": True},
                "d": 3,
            },
            "attributes": {
                "IBAN": {},
                "tax": {"allowed": ["models", "tools.", "memory:", "wasm"]},
            },
            "egress": {"hosts": ["http://x", "*.x", "", "x:80", "[::1]"], "body_bytes_max": -1},
            "budgets": {
                "a": {},
                "b": {"tool": "gift", "max": -1, "per": "team", "window_ms": 0},
            },
            "capacity": {"defer_within_ms": -1, "tasks": 1},
        }
    )
    for part in (
        "memory.a.prefix: is missing",
        "memory.b.retention_ms: got 0 (int); allowed: an integer of 1 or more",
        "memory.b.skew_ms: got -1 (int)",
        "memory.c.prefix: is that of memory.b; allowed: one class a prefix",
        "memory.c.mutable: unknown key; did you mean immutable?",
        "memory.d: got 3 (int); allowed: a table [memory.d]",
        "attributes.IBAN: a name of small letters, digits and _ is allowed",
        "attributes.tax.allowed: got 'models' (str); allowed: model, network",
        "attributes.tax.allowed: got 'tools.' (str)",
        "attributes.tax.allowed: got 'memory:' (str)",
        "attributes.tax.allowed: got 'wasm' (str)",
        "egress.hosts: got 'http://x' (str); allowed: plain host names",
        "egress.hosts: got '*.x' (str)",
        "egress.hosts: got '' (str)",
        "egress.hosts: got 'x:80' (str)",
        "egress.hosts: got '[::1]' (str)",
        "egress.body_bytes_max: got -1 (int)",
        "budgets.a.tool: is missing",
        "budgets.a.max: is missing; allowed: an integer of 0 or more",
        "budgets.b.max: got -1 (int)",
        "budgets.b.per: got 'team' (str); allowed: all, tenant, session, task",
        "budgets.b.window_ms: got 0 (int)",
        "budgets.b.tool: 'gift' is no tool of this contract",
        "capacity.tasks_in_hand_max: is missing",
        "capacity.defer_within_ms: got -1 (int)",
        "capacity.tasks: unknown key",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("id", "name"),
    [("a/b/1", "ab"), ("a/1", "a"), ("a/b", "a"), ("b/1", None), ("", None)],
)
def test_an_item_is_of_the_class_with_the_longest_prefix(id: str, name: str | None) -> None:
    for order in (("a", "ab"), ("ab", "a")):
        prefixes = {"a": "a/", "ab": "a/b/"}
        classes = {n: MemoryClass(name=n, prefix=prefixes[n]) for n in order}
        found = Contract(memory=classes).memory_class(id)
        assert (found.name if found is not None else None) == name


# -- markers

words = st.text(st.characters(codec="utf-8"), max_size=6)


@given(words, words, words)
def test_a_marker_depends_on_the_identity_fields_alone(order: str, one: str, other: str) -> None:
    tool = ToolContract(name="pay", identity_fields=("order",))
    assert marker_of(tool, {"order": order, "why": one}) == marker_of(
        tool, {"why": other, "order": order}
    )


def test_without_identity_fields_all_arguments_count() -> None:
    tool = ToolContract(name="pay")
    assert marker_of(tool, {"a": 1, "b": 2}) == marker_of(tool, {"b": 2, "a": 1})
    assert marker_of(tool, {"a": 1}) != marker_of(tool, {"a": 2})


@pytest.mark.parametrize(
    ("args", "marker"),
    [
        ({"body": {"id": "o-1"}, "n": 7}, "o-1/7"),
        ({"body": {"id": None}, "n": True}, "null/true"),
        ({}, "null/null"),
        ({"body": 3}, "null/null"),
        ({"body.id": "flat", "n": [1]}, "flat/[1]"),
    ],
)
def test_identity_fields_may_be_paths(args: dict[str, Any], marker: str) -> None:
    assert marker_of(ToolContract(name="pay", identity_fields=("body.id", "n")), args) == marker


def test_two_different_identities_have_two_markers() -> None:
    """Two actions with one marker would be judged as one action done twice."""
    tool = ToolContract(name="pay", identity_fields=("a", "b"))
    assert marker_of(tool, {"a": "x/y", "b": "z"}) != marker_of(tool, {"a": "x", "b": "y/z"})
