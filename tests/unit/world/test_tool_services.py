"""Tool services: what a key is worth, what is remembered, and what a reference says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.contract import Contract, ToolContract
from chaoslab.history import Recorder, Writer
from chaoslab.world import BadRequest, Conflict, NotFound, ToolReply
from chaoslab.world.request import Caller
from chaoslab.world.tools import ToolService

MS = 1_000_000
CONTRACT = Contract(
    tools={
        "pay": ToolContract(
            name="pay",
            keys=True,
            lookup=True,
            key_retention_ms=100,
            compensate="undo",
            identity_fields=("order",),
        ),
        "mail": ToolContract(name="mail", identity_fields=("order",)),
        "undo": ToolContract(name="undo", identity_fields=("ref",)),
    }
)


class Desk:
    """The services with a clock to turn."""

    def __init__(self) -> None:
        self.recorder = Recorder(Writer(None, {}), lambda: 0)
        self.service = ToolService(CONTRACT, self.recorder)
        self.now_ms = 0

    def caller(self) -> Caller:
        return Caller(
            process="p",
            region="r",
            session="s1",
            task="t",
            tenant="a",
            call=7,
            now_ns=self.now_ms * MS,
        )

    def call(self, name: str, key: str | None = None, /, **args: Any) -> ToolReply:
        return self.service.apply(self.caller(), name, args, key)

    def begin(self, name: str, key: str | None, /, **args: Any) -> ToolReply | None:
        return self.service.begin(self.caller(), name, args, key)

    def commits(self) -> list[str]:
        return [op.get("ref") for op in self.recorder.ops if op.type == "commit"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_same_key_and_payload_are_absorbed_into_the_first_effect(desk: Desk) -> None:
    first = desk.call("pay", "k", order="o", why="x")
    again = desk.call("pay", "k", why="x", order="o")
    assert not first.absorbed and again.absorbed and again.ref == first.ref
    assert desk.commits() == [first.ref]
    note = desk.recorder.ops[-1]
    assert (note.type, note.f, note.value) == ("event", "tools.pay", {"absorbed": first.ref})
    assert (note.key, note.marker, note.call) == ("k", "o", 7)


def test_the_same_key_with_another_payload_is_a_conflict(desk: Desk) -> None:
    desk.call("pay", "k", order="o", why="x")
    with pytest.raises(Conflict) as caught:
        desk.call("pay", "k", order="o", why="y")
    assert caught.value.details["in_flight"] is False
    assert len(desk.commits()) == 1


@pytest.mark.parametrize("why", ["x", "y"])
def test_a_key_in_flight_is_a_conflict_whatever_the_payload(desk: Desk, why: str) -> None:
    assert desk.begin("pay", "k", order="o", why="x") is None
    with pytest.raises(Conflict):
        desk.begin("pay", "k", order="o", why=why)
    assert desk.commits() == []


def test_only_successes_are_remembered(desk: Desk) -> None:
    assert desk.begin("pay", "k", order="o", why="x") is None
    desk.service.abandon("pay", "k")
    assert desk.begin("pay", "k", order="o", why="y") is None


@given(st.integers(0, 300))
def test_a_key_is_remembered_for_its_retention_and_no_longer(after_ms: int) -> None:
    desk = Desk()
    desk.call("pay", "k", order="o")
    desk.now_ms = after_ms
    again = desk.call("pay", "k", order="o")
    assert again.absorbed == (after_ms < 100)
    assert again.ref == ("pay:o#1" if after_ms < 100 else "pay:o#2")


def test_a_repeat_does_not_prolong_the_memory(desk: Desk) -> None:
    desk.call("pay", "k", order="o")
    desk.now_ms = 90
    desk.call("pay", "k", order="o")
    desk.now_ms = 110
    assert not desk.call("pay", "k", order="o").absorbed


def test_keys_of_one_tool_say_nothing_to_another(desk: Desk) -> None:
    desk.call("pay", "k", order="o")
    assert not desk.call("mail", "k", order="o").absorbed


def test_a_tool_without_keys_ignores_them(desk: Desk) -> None:
    refs = [desk.call("mail", "k", order="o").ref for _ in range(2)]
    assert refs == ["mail:o#1", "mail:o#2"]


def test_a_keyed_tool_called_without_a_key_acts_each_time(desk: Desk) -> None:
    assert [desk.call("pay", order="o").absorbed for _ in range(2)] == [False, False]
    assert len(desk.commits()) == 2


@given(st.permutations(["a", "b", "a", "c", "a", "b"]))
def test_references_follow_from_tool_marker_and_nth_effect_alone(orders: list[str]) -> None:
    desk = Desk()
    for order in orders:
        desk.call("mail", order=order, text="whatever")
    assert sorted(desk.commits()) == [
        "mail:a#1",
        "mail:a#2",
        "mail:a#3",
        "mail:b#1",
        "mail:b#2",
        "mail:c#1",
    ]


def test_a_lookup_tells_the_effects_and_has_none(desk: Desk) -> None:
    assert desk.call("pay.lookup", order="o").data == {"refs": []}
    desk.call("pay", "k1", order="o")
    desk.call("pay", "k2", order="o")
    before = len(desk.recorder.ops)
    assert desk.call("pay.lookup", order="o").data == {"refs": ["pay:o#1", "pay:o#2"]}
    assert len(desk.recorder.ops) == before


@pytest.mark.parametrize("name", ["no", "mail.lookup", "pay.look", "pay.lookup.x", "", ".", "pay."])
def test_a_tool_that_is_not_there_is_not_found(desk: Desk, name: str) -> None:
    with pytest.raises(NotFound):
        desk.call(name, order="o")
    assert desk.recorder.ops == []


def test_a_compensation_names_what_it_undid(desk: Desk) -> None:
    ref = desk.call("pay", "k", order="o").ref
    desk.call("undo", ref=ref)
    assert desk.recorder.ops[-1].get("compensates") == ref
    assert desk.service.ledger["pay"][0].compensated
    assert desk.call("pay.lookup", order="o").data == {"refs": []}


def test_only_an_effect_of_the_tool_in_question_can_be_undone(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.call("undo", ref="pay:o#1")
    other = desk.call("mail", order="o").ref
    with pytest.raises(NotFound):
        desk.call("undo", ref=other)


def test_arguments_that_are_no_object_are_a_bad_request(desk: Desk) -> None:
    with pytest.raises(BadRequest):
        desk.service.apply(desk.caller(), "pay", 3, None)  # type: ignore[arg-type]
