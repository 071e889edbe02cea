"""Promises about keys that are easily lost: what the agent knew when it sent the next request."""

from dataclasses import replace

import pytest
from tests.unit.check.builder import REFUND, History, check, codes, evidence

from chaoslab.check.graph import lineage
from chaoslab.contract import Contract

LOOSE = Contract(tools={"refund": replace(REFUND, promise="at-least-once")})


def of_keys(h: History) -> list[str]:
    return codes("keys.lineage", h.outcome("s1-t1", "uncertain").end())


def test_a_refusal_that_comes_later_was_not_known() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="a")
    second = h.ask("refund", "o-1", key="b")
    h.fail(first)
    h.info(second)
    assert of_keys(h) == ["key-changed/on-retry"]


def test_a_bare_request_hides_no_changed_key() -> None:
    h = History().submit("s1-t1")
    for key in (None, "a", "b"):
        h.info(h.ask("refund", "o-1", key=key))
    assert of_keys(h) == ["key-absent/on-retry", "key-changed/on-retry"]


def test_the_same_words_of_nobody_known_may_be_those_of_any_task() -> None:
    h = History().submit("s1-t1").submit("s2-t1")
    for task, key in (("s1-t1", "a"), ("s2-t1", "b")):
        h.info(h.ask("say", "8a0f", key=key, task=task))
    assert of_keys(h) == []
    h.info(h.ask("say", "8a0f", key="c", task=""))
    assert of_keys(h) == ["key-changed/on-retry"]


def test_where_no_region_is_known_it_was_a_restart() -> None:
    h = History().event("process.start", {}, process="p1").submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="a"))
    h.info(h.ask("refund", "o-1", key="b", process="p2"))
    assert of_keys(h) == ["key-changed/after-restart"]


def test_a_refused_first_try_hides_no_reused_key() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="k"))
    h.info(h.ask("refund", "o-1", key="k"))
    h.info(h.ask("refund", "o-2", key="k"))
    assert of_keys(h) == ["key-reused/another-operation"]


def test_a_key_is_reused_while_the_first_request_is_on_its_way() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k")
    h.info(h.ask("refund", "o-2", key="k"))
    h.fail(first)
    assert of_keys(h) == ["key-reused/another-operation"]


def test_other_content_is_sent_while_the_first_request_is_on_its_way() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k", args={"order": "o-1", "note": "sorry"})
    h.fail(h.ask("refund", "o-1", key="k", args={"order": "o-1", "note": "oh dear"}), "conflict")
    h.fail(first)
    assert of_keys(h) == ["key-reused/payload-changed"]


def test_a_request_that_says_nothing_hides_no_other_content() -> None:
    h = History().submit("s1-t1")
    for note in ("sorry", "oh dear"):
        bare = h.ask("refund", "o-1", key="k")
        h.ops[bare] = replace(h.ops[bare], value=None)
        h.info(bare)
        call = h.ask("refund", "o-1", key="k", args={"order": "o-1", "note": note})
        h.commit(call)
        h.info(call)
    assert of_keys(h) == ["key-reused/payload-changed"]


@pytest.mark.parametrize("other", ["o-1", "o-2"])
def test_where_repeats_are_allowed_a_key_may_be_used_again(other: str) -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k", args={"order": "o-1", "cents": 1})
    h.done("refund", other, key="k", args={"order": other, "cents": 2})
    h.outcome("s1-t1").end()
    assert check("keys.lineage", h).verdict == "invalid"
    assert check("keys.lineage", h, contract=LOOSE).violations == ()


def test_how_often_is_part_of_the_drawing_from_twice_on() -> None:
    h = History().submit("s1-t1")
    for _ in range(2):
        h.done("notify", "o-1")
    one = evidence(h.outcome("s1-t1").end())
    (twice,) = lineage(one.facts, one.contract).of("duplicate-by-marker")
    assert twice.to_json()["times"] == 2
    assert "times" not in replace(twice, times=1).to_json()


@pytest.mark.parametrize("tool, key, how", [("refund", None, "key-absent"), ("notify", "k", "")])
def test_how_it_was_done_twice(tool: str, key: str | None, how: str) -> None:
    h = History().submit("s1-t1")
    for _ in range(2):
        h.done(tool, "o-1", key=key)
    (found,) = check("effects.delivery", h.outcome("s1-t1").end()).violations
    assert found.anomaly == (how or "un-keyed-retry")


def test_the_key_in_the_words_of_a_guest_is_no_content() -> None:
    h = History().submit("s1-t1")
    first = h.ask("ticket", "o-1", key="k")
    h.commit(first)
    h.info(first)
    h.fail(h.wasm("i1", "o-1", key="k"), "conflict")
    h.ops[-2] = replace(h.ops[-2], value={"instance": "i1", "args": {"order": "o-1", "key": "k"}})
    assert of_keys(h) == []


def test_a_field_called_key_is_content_of_a_tool() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k", args={"order": "o-1", "key": "a"})
    h.commit(first)
    h.info(first)
    h.fail(h.ask("refund", "o-1", key="k", args={"order": "o-1", "key": "b"}), "conflict")
    assert of_keys(h) == ["key-reused/payload-changed"]


def test_a_guest_may_be_told_a_text() -> None:
    h = History().submit("s1-t1")
    for said in ("order o-1", "order o-1, please"):
        call = h.invoke("wasm.ticket", {"args": said}, "s1-t1", marker="o-1", key="k")
        h.commit(call)
        h.ok(call)
    assert of_keys(h) == ["key-reused/payload-changed"]


def test_the_key_of_a_guest_is_the_one_that_it_commits_with() -> None:
    h = History().submit("s1-t1")
    for key in ("a", "b"):
        call = h.wasm("i1", "o-1")
        h.commit(call, tool="ticket", key=key)
        h.ok(call)
    assert codes("effects.delivery", h) == ["duplicate-effect/key-changed"]


def test_the_key_of_a_request_is_the_one_that_it_carried() -> None:
    h = History().submit("s1-t1")
    for _ in range(2):
        call = h.ask("refund", "o-1", key="k")
        h.commit(call, key=None)
        h.ok(call)
    assert codes("effects.delivery", h) == ["duplicate-effect/key-forgotten"]
