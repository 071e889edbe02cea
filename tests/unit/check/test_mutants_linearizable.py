"""Promises of `memory.linearizable` easily lost: what says something, and of which epoch."""

from typing import Any

import pytest
from tests.unit.check.builder import History, check

from chaoslab.check import Violation, linearizable
from chaoslab.check.linearizable_search import Answer

ID = "memory.linearizable"


class Store(History):
    """Questions and answers of a store whose own order is not on record."""

    def put(self, value: Any, version: Any = None, process: str = "p1", **more: Any) -> int:
        asked = {"id": "cart", "value": value, **more}
        call = self.invoke("memory.write", asked, process=process)
        return self.ok(call, version=version)

    def see(self, value: Any, version: Any = None, process: str = "p2", id: str = "cart") -> int:
        call = self.invoke("memory.read", {"id": id, "at": "primary"}, process=process)
        return self.ok(call, found=value is not None, value=value, version=version)

    def group(self, *writes: Any) -> int:
        return self.invoke("memory.write_many", {"writes": list(writes)}, process="p1")

    def broken(self) -> list[str]:
        return [v.anomaly for v in check(ID, self).violations]

    def one(self) -> Violation:
        (found,) = check(ID, self).violations
        return found


@pytest.mark.parametrize("older, newer", [({"n": 1}, {"n": 2}), ([1], [2]), (1, "1"), (True, 1)])
def test_values_of_all_kinds_are_told_apart(older: Any, newer: Any) -> None:
    h = Store()
    h.put(older)
    h.put(newer)
    h.see(newer)
    assert h.broken() == []
    h.see(older)
    assert h.broken() == ["stale-read"]


def test_a_version_of_one_number_is_of_no_epoch() -> None:
    h = Store()
    h.put("A", [1])
    h.put("B", [2])
    h.see("A", [1])
    assert len(h.broken()) == 1


def test_a_promotion_begins_an_epoch_though_no_version_says_so() -> None:
    h = Store()
    h.put("A", [1, 1])
    h.put("B", [1, 2])
    h.event("region.promote", {"region": "west", "epoch": 2, "lost": []})
    h.see("A", [1, 1])
    assert h.broken() == []


@pytest.mark.parametrize("f", ["region.down", "region.partition", "region.promote"])
def test_from_the_first_trouble_on_an_older_epoch_proves_nothing(f: str) -> None:
    def run(trouble: bool) -> Store:
        h = Store()
        h.put("A", [1, 1])
        h.put("B", [1, 2])
        if trouble:
            h.event(f, {"region": "east", "epoch": 2})
        h.see("A", [1, 1])
        h.event("region.promote", {"region": "west", "epoch": 2, "lost": []})
        h.put("C", [2, 2])
        return h

    assert run(True).broken() == []
    assert len(run(False).broken()) == 1


def test_what_was_expected_within_an_epoch_counts_there() -> None:
    h = Store()
    h.put("A", [1, 1])
    h.put("C", [2, 2])
    h.put("D", [2, 3], expect=[2, 2])
    assert h.broken() == []
    h.put("E", [2, 4], expect=[2, 2])
    assert h.broken() == ["compare-and-set"]


def test_a_write_without_a_version_may_be_of_any_epoch() -> None:
    h = Store()
    h.put("A", [1, 1])
    h.put("B")
    h.see("A", [1, 1])
    h.event("region.promote", {"region": "west", "epoch": 2, "lost": []})
    assert h.broken() == []


def test_what_says_nothing_hides_nothing() -> None:
    h = Store()
    h.fail(h.invoke("memory.write", {"id": "cart", "value": "X"}, process="p1"), "unavailable")
    h.put("A")
    h.invoke("memory.read", {"id": "cart"}, process="p3")
    call = h.group({"id": 7, "value": "n"}, "odd", {"id": "cart", "value": "B"})
    h.ok(call, versions=[])
    h.see("B")
    h.see("A", process="p3")
    assert h.broken() == ["stale-read"]


@pytest.mark.parametrize("written, expected", [(1, ["stale-read"]), (0, []), (None, []), ("1", [])])
def test_of_a_group_that_stopped_what_was_written_stands(written: Any, expected: list[str]) -> None:
    h = Store()
    h.put("A")
    call = h.group({"id": "cart", "value": "B"}, {"id": "note", "value": "n"})
    h._answer("info", call, {"error": "partial", "written": written})
    h.see(None, id="note")
    h.see("A")
    assert [a in ("stale-read", "lost-write") for a in h.broken()] == [True for _ in expected]


def test_an_item_may_be_gone_from_a_minute_before_its_end() -> None:
    def found_gone_at(ms: int) -> list[str]:
        h = Store()
        h.put("A", expires_ms=100_000)
        h.ms = ms - 2
        h.see(None)
        return h.broken()

    assert found_gone_at(40_000) == found_gone_at(99_000) == []
    assert len(found_gone_at(39_999)) == 1


def test_a_proof_names_entries_of_the_record_only() -> None:
    h = Store()
    seen = h.see("B")
    asked = h.invoke("memory.write", {"id": "cart", "value": "B"}, process="p1")
    found = h.one()
    assert found.anomaly == "read-of-nothing"
    assert found.witness == (seen - 1, seen, asked)


def test_a_writer_without_a_process_is_told_by_its_task() -> None:
    h = Store()
    h.put("A")
    h.put("B")
    call = h.invoke("memory.read", {"id": "cart", "at": "primary"}, "s1-t1", "")
    h.ok(call, found=True, value="A")
    assert h.one().explanation.startswith("s1-t1 read A from cart after B")
    h = Store()
    h.see("A", process="")
    assert h.one().explanation.startswith("somebody read A from cart")


@pytest.mark.parametrize("length", [24, 25])
def test_a_long_value_is_told_by_its_beginning(length: int) -> None:
    h = Store()
    h.see("x" * length)
    shown = "x" * 24 if length == 24 else "x" * 23 + "…"
    assert f"read {shown} from" in h.one().explanation


def test_how_many_searches_were_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def given_up(*_: Any) -> Answer:
        return Answer(None, False)

    def reason(*ids: str) -> str:
        h = Store()
        for id in ids:
            h.see("A", id=id)
        found = check(ID, h)
        assert found.verdict == "unknown"
        return found.reason

    monkeypatch.setattr(linearizable, "decide", given_up)
    text = "the search for an order of the calls on a was given up"
    assert reason("a") == text
    assert reason("a", "b") == f"{text}, and on 1 more"
    assert reason("a", "b", "c") == f"{text}, and on 2 more"
