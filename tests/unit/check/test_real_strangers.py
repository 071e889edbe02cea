"""Rows that no request made: what reaches a service past the lab."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.check.builder import History
from tests.unit.check.real import codes, find, row

ORPHAN = (["unexpected-effect"], ["orphan-effect"])
NOTHING: tuple[list[str], list[str]] = ([], [])


def _found(sent: Sequence[str | None], rows: Sequence[str | None]) -> tuple[list[str], list[str]]:
    h = History().submit("s1-t1")
    for key in sent:
        h.ok(h.ask("refund", "o-1", key=key))
    h.outcome("s1-t1")
    for ref, key in enumerate(rows):
        row(h, "refund", "o-1", str(ref), key)
    h.end()
    return codes("effects.delivery", h), codes("lineage.complete", h)


@pytest.mark.parametrize("stranger", ["z", None])
def test_a_row_whose_key_nobody_sent_is_no_requests(stranger: str | None) -> None:
    assert _found(["k"], ["k", stranger]) == ORPHAN
    assert _found(["k"], [stranger, "k"]) == ORPHAN
    assert _found(["k", "k"], ["k", stranger]) == ORPHAN


def test_a_row_of_a_request_whose_effect_is_known() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    row(h, "refund", "o-1", "1", "z")
    h.commit(call, ref="2")
    h.ok(call)
    h.outcome("s1-t1").end()
    assert codes("effects.delivery", h) == ["unexpected-effect"]


@pytest.mark.parametrize(
    ("sent", "rows"),
    [
        (["k"], ["K"]),  # the service spells keys in its own way
        (["k"], [None]),  # or does not keep them in this table
        (["k"], ["K", "K"]),
        ([None], ["z"]),  # and to a request without one it may give any
    ],
)
def test_keys_that_the_rows_do_not_show_accuse_nobody(
    sent: list[str | None], rows: list[str | None]
) -> None:
    assert _found(sent, rows) == NOTHING


def test_a_row_without_a_key_may_be_that_of_a_request_that_has_none_yet() -> None:
    assert _found(["a", "b"], ["a", None])[1] == []


def test_another_actions_key_is_one_that_was_sent() -> None:
    h = History().submit("s1-t1")
    for order in ("o-1", "o-2"):
        h.ok(h.ask("refund", order, key="k"))
    h.outcome("s1-t1")
    for order, ref in (("o-1", "1"), ("o-2", "2")):
        row(h, "refund", order, ref, "k")
    assert codes("lineage.complete", h.end()) == []


def test_two_tools_may_write_into_one_table() -> None:
    h = History().submit("s1-t1")
    h.ok(h.ask("refund", "o-1", key="k"))
    h.ok(h.ask("say", "sorry", key="g"))
    h.outcome("s1-t1")
    for ref, key in (("1", "k"), ("2", "g")):
        row(h, "refund", "o-1", ref, key)
    assert codes("lineage.complete", h.end()) == []


@pytest.mark.parametrize(
    ("tool", "key", "kind", "verdict"),
    [
        ("refund", "k", "", "unknown"),
        ("notify", None, "", "unknown"),
        ("refund", "k", "duplicate", "valid"),
        ("notify", None, "duplicate", "valid"),
        ("refund", "k", "delay", "unknown"),
    ],
)
def test_two_rows_for_one_request_that_was_delivered_once_have_not_held(
    tool: str, key: str | None, kind: str, verdict: str
) -> None:
    h = History().submit("s1-t1")
    call = h.ask(tool, "o-1", key=key)
    if kind:
        h.strike(call, kind, "before-commit")
    h.ok(call)
    h.outcome("s1-t1")
    for ref in "12":
        row(h, tool, "o-1", ref, key)
    found = find("effects.delivery", h.end())
    assert (found.verdict, found.violations) == (verdict, ())
    assert ("past the lab" in found.reason) == (verdict == "unknown")


@pytest.mark.parametrize("rows", [["b", "b"], [None, None], ["x"], []])
def test_a_request_for_several_actions_at_once_accuses_nobody(rows: list[str | None]) -> None:
    """It has no order, so that its marker is empty; its rows have one each."""
    h = History().submit("s1-t1")
    h.ok(h.ask("refund", "", key="b", args={"body": {"items": ["o-1", "o-2"]}}))
    h.outcome("s1-t1")
    for number, key in enumerate(rows, 1):
        row(h, "refund", f"o-{number}", str(number), key)
    h.end()
    for check in ("effects.delivery", "lineage.complete"):
        found = find(check, h)
        assert (found.verdict, found.violations) == ("unknown", ())
        assert "has no body.order_id" in found.reason


@pytest.mark.parametrize(
    ("left", "undoes", "verdict"),
    [(["1"], "", "valid"), ([], "", "unknown"), ([], "1", "valid"), (None, "", "valid")],
)
def test_a_row_that_is_gone_at_the_end_has_not_held(
    left: list[str] | None, undoes: str, verdict: str
) -> None:
    """`left`: the rows that stand at the end; None where that could not be read."""
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    h.commit(call, ref="1")
    h.ok(call)
    if undoes:
        call = h.ask("void", "1")
        h.commit(call, ref="v", undoes=undoes)
        h.ok(call)
    h.outcome("s1-t1")
    h.event("final.effects", {"tool": "void", "effects": []})
    value = {"tool": "refund", "effects": [{"ref": ref} for ref in left or ()]}
    h.event("final.effects", value if left is not None else {**value, "error": "unreadable"})
    found = find("effects.delivery", h.end())
    assert (found.violations, "gone at the end" in found.reason) == ((), verdict == "unknown")
    assert found.verdict == verdict or left is None
