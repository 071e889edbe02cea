"""memory.atomic and memory.lost-update."""

from typing import Any

import pytest
from tests.unit.check.builder import History, check, codes

ATOMIC = "memory.atomic"
LOST = "memory.lost-update"


def mark(revision: str, part: str, group: str = "p") -> str:
    return f"{part} [{group}:{revision}:{part}]"


def whole(revision: str) -> dict[str, str]:
    return {"street": mark(revision, "street"), "city": mark(revision, "city")}


def _torn() -> History:
    h = History().submit("s1-t1", profile=whole("r1")).submit("s1-t2", profile=whole("r2"))
    h.write_many({"street": mark("r1", "street"), "city": mark("r1", "city")}, task="s1-t1")
    call = h.write_many(whole("r2"), task="s1-t2", first=1)
    h.strike(call, "crash", "mid-write", after_items=1)
    return h


MIXED = {"street": mark("r2", "street"), "city": mark("r1", "city")}


def test_torn_write_that_is_used() -> None:
    h = _torn()
    use = h.ask("ship", "o-1", key="k", task="s1-t2", args={"order": "o-1", **MIXED})
    found = check(ATOMIC, h.end())
    assert [(v.code, v.subject, v.tool, v.anomaly) for v in found.violations] == [
        ("torn-group-used", "p", "ship", "torn-write into tools")
    ]
    # The city of r1, the street of r2, the strike between them, and the use.
    assert found.violations[0].witness == (4, 6, 7, use)


def test_torn_write_that_nobody_uses_is_no_breach() -> None:
    h = _torn()
    h.ask("ship", "o-1", key="k", task="s1-t2", args={"order": "o-1", **whole("r2")})
    found = check(ATOMIC, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 1)


@pytest.mark.parametrize("port", ["task.outcome", "network.request", "wasm.ticket"])
def test_every_way_out_is_a_use(port: str) -> None:
    h = _torn()
    if port == "task.outcome":
        h.outcome("s1-t2", answer=MIXED)
    elif port == "network.request":
        h.invoke(port, {"method": "POST", "url": "u", "body": str(MIXED)}, "s1-t2")
    else:
        h.wasm("i1", task="s1-t2", **MIXED)
    assert len(codes(ATOMIC, h.end())) == 1


def test_no_marks() -> None:
    h = History().submit("s1-t1")
    h.ask("ship", "o-1", key="k")
    assert check(ATOMIC, h.end()).verdict == "not-applicable"


def test_one_part_of_one_revision_or_old_and_new_of_one_part() -> None:
    h = _torn()
    h.ask("ship", "o-1", key="k", args={"street": mark("r2", "street")})
    h.ask("ship", "o-2", key="z", args={"old": mark("r1", "street"), "new": mark("r2", "street")})
    assert codes(ATOMIC, h.end()) == []


def test_some_parts_of_one_revision() -> None:
    h = _torn().submit("s1-t3", x=mark("r1", "phone"))
    h.ask("ship", "o-1", key="k", args={"a": mark("r1", "street"), "b": mark("r1", "city")})
    assert codes(ATOMIC, h.end()) == []


def test_a_whole_revision_beside_a_part_of_another() -> None:
    h = _torn()
    h.ask("ship", "o-1", key="k", args={**whole("r2"), "before": mark("r1", "city")})
    assert codes(ATOMIC, h.end()) == []


def test_a_revision_that_only_ever_had_one_part() -> None:
    h = History().submit("s1-t1", profile=whole("r1")).submit("s1-t2", street=mark("r2", "street"))
    h.ask("ship", "o-1", key="k", args=MIXED)
    assert codes(ATOMIC, h.end()) == []


def _prompt(h: History, *messages: dict[str, Any], task: str = "s1-t2", extends: int = 0) -> None:
    value = {"messages": list(messages), "extends": extends, "tools": []}
    h.invoke("model.complete", value, task)


def _say(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": "; ".join(texts)}


def test_prompt_with_both_halves_in_one_message_or_in_one_turn() -> None:
    h = _torn()
    _prompt(h, _say("user", *whole("r2").values()), _say("tool", *MIXED.values()))
    assert codes(ATOMIC, h.end()) == ["torn-group-used/torn-write into model"]
    h = _torn()
    _prompt(h, _say("tool", MIXED["street"]), _say("tool", MIXED["city"]))
    assert codes(ATOMIC, h.end()) == ["torn-group-used/torn-write into model"]


def test_an_older_whole_revision_in_the_conversation_is_no_alarm() -> None:
    h = _torn()
    _prompt(h, _say("user", *whole("r1").values()))
    _prompt(h, _say("assistant", "which street?"), _say("user", mark("r2", "street")), extends=1)
    _prompt(h, _say("tool", mark("r1", "city")), _say("tool", mark("r2", "street")), extends=3)
    assert codes(ATOMIC, h.end()) == []


def test_halves_of_different_turns_are_not_used_together() -> None:
    h = _torn()
    _prompt(h, _say("user", mark("r1", "city")), _say("assistant", "ok"))
    _prompt(h, _say("user", mark("r2", "street")), extends=2)
    assert codes(ATOMIC, h.end()) == []


def test_groups_are_judged_apart() -> None:
    h = History()
    for group in ("a", "b"):
        for rev in ("r1", "r2"):
            h.submit("s1-t1", x=[mark(rev, "street", group), mark(rev, "city", group)])
    h.ask("ship", "o", key="k", args=[mark("r1", "street", "a"), mark("r2", "city", "b")])
    assert codes(ATOMIC, h.end()) == []


# -- lost updates


def test_read_then_write_is_fine() -> None:
    h = History()
    h.write("cart", 1, "p1", "s1-t1")
    h.read("cart", process="p2", task="s1-t2")
    h.write("cart", 2, "p2", "s1-t2")
    found = check(LOST, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 1)


def test_blind_write_over_another_process() -> None:
    h = History()
    first = h.write("cart", 1, "p1", "s1-t1")
    second = h.write("cart", 2, "p2", "s1-t2")
    found = check(LOST, h.end())
    assert [(v.code, v.witness) for v in found.violations] == [("lost-update", (first, second))]
    assert found.violations[0].anomaly == "never-read across processes"


def test_two_tasks_of_one_process_read_the_same_and_write() -> None:
    h = History()
    h.write("cart", 0, "p1", "s1-t0")
    h.read("cart", process="p1", task="s1-t1")
    stale = h.read("cart", process="p1", task="s1-t2")
    first = h.write("cart", 1, "p1", "s1-t1")
    second = h.write("cart", 2, "p1", "s1-t2")
    found = check(LOST, h.end())
    assert [v.witness for v in found.violations] == [(stale, first, second)]
    assert found.violations[0].anomaly == "stale-read in one process"


@pytest.mark.parametrize(
    "case", ["own", "restarted", "cached", "scan", "expect", "same", "seed", "erase", "booted"]
)
def test_knowing_writers(case: str) -> None:
    h = History()
    if case != "seed":
        h.write("cart", 1, "p1", "s1-t1")
    standing = [1, 1]
    if case == "own":
        h.write("cart", 2, "p1", "s1-t1")
    elif case == "restarted":
        h.write("cart", 2, "p2", "s1-t1")
    elif case == "cached":
        h.write("cart", 2, "p1", "s1-t2")  # the process keeps its state in memory
    elif case == "scan":
        call = h.invoke("memory.scan", {"prefix": "c"}, "s1-t2", "p2")
        h.ok(call, items=[{"id": "cart", "value": 1, "version": standing}])
        h.write("cart", 2, "p2", "s1-t2")
    elif case == "expect":
        h.write("cart", 2, "p2", "s1-t2", expect=standing)
    elif case == "same":
        h.write("cart", 1, "p2", "s1-t2")
    elif case == "seed":
        h._standing["cart"] = [1, 0]  # nobody in the record wrote it
        h.write("cart", 2, "p2", "s1-t2")
    elif case == "erase":
        call = h.invoke("memory.erase", {"id": "cart"}, "s1-t2", "p2")
        h.add("commit", "memory.erase", {"id": "cart", "erased": True, "over": standing}, call=call)
    elif case == "booted":
        h.read("cart", process="p2")  # at the start, for no task
        h.write("cart", 2, "p2", "s1-t2")
    assert codes(LOST, h.end()) == []


def test_expect_of_a_group_is_found_by_item() -> None:
    def group(expect: Any) -> list[str]:
        h = History()
        h.write("b", 1, "p1", "s1-t1")
        writes = [{"id": "a", "value": 2}, {"id": "b", "value": 2, "expect": expect}]
        call = h.invoke("memory.write_many", {"writes": writes}, "s1-t2", "p2")
        h.store(call, "a", 2, item=0, of=2)
        h.store(call, "b", 2, item=1, of=2)
        return codes(LOST, h.end())

    assert group([1, 1]) == []
    assert group(None) == ["lost-update/never-read across processes"]


def test_reading_after_asking_for_the_write_is_too_late() -> None:
    h = History()
    h.write("cart", 1, "p1", "s1-t1")
    call = h.invoke("memory.write", {"id": "cart", "value": 2}, "s1-t2", "p2")
    h.read("cart", process="p2", task="s1-t2")
    h.store(call, "cart", 2)
    assert codes(LOST, h.end()) == ["lost-update/never-read across processes"]


def test_fresh_items_only() -> None:
    h = History()
    h.write("a", 1)
    assert check(LOST, h.end()).verdict == "not-applicable"


@pytest.mark.parametrize(
    ("value", "found"), [(1, ["lost-update"]), ({"n": 1}, ["lost-update"]), ("on", [])]
)
def test_the_same_value_again_is_lost_only_where_it_may_be_a_count(
    value: object, found: list[str]
) -> None:
    h = History()
    h.read("count", None, "p1", "s1-t1")
    h.read("count", None, "p2", "s2-t1")
    h.write("count", value, "p1", "s1-t1")
    h.write("count", value, "p2", "s2-t1")
    assert [c.partition("/")[0] for c in codes(LOST, h.end())] == found
