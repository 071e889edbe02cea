"""Promises of the memory checks that are easily lost: who knew which version, and from where."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import History, check, codes


def lost(h: History) -> list[str]:
    return codes("memory.lost-update", h)


def two() -> History:
    return History().start("p1").start("p2").submit("s1-t1").submit("s1-t2", "p2")


def test_a_process_that_keeps_a_list_for_two_tasks_knows_what_both_wrote() -> None:
    h = History().start("p1").submit("s1-t1").submit("s1-t2")
    for n, task in enumerate(("s1-t1", "s1-t2", "s1-t1", "s1-t2")):
        h.write("journal", list(range(n)), task=task)
    assert lost(h) == []


def test_what_was_read_is_told_by_the_question() -> None:
    h = two()
    h.write("cart", "a", "p1", "s1-t1")
    answer = h.read("cart", process="p2", task="s1-t2")
    h.ops[answer] = replace(h.ops[answer], marker="")
    h.write("cart", "b", "p2", "s1-t2")
    assert lost(h) == []


def test_two_background_jobs_are_two_writers() -> None:
    h = two()
    h.write("stats", "a", "p1")
    h.write("stats", "b", "p1")
    assert lost(h) == []
    h.write("stats", "c", "p2")
    (found,) = check("memory.lost-update", h).violations
    assert found.explanation.startswith("nobody in p2 overwrote what nobody in p1 had written")
    assert found.anomaly == "never-read across processes"


def test_each_item_of_a_group_may_name_what_it_expects() -> None:
    h = two()
    h.write("a", 1, "p1", "s1-t1")
    h.write("b", 1, "p1", "s1-t1")
    call = h.write_many({"a": 2, "b": 2}, "p2", "s1-t2", first=0)
    writes: Any = h.ops[call].get("writes")
    writes[0]["expect"], writes[1]["expect"] = [1, 1], [1, 2]
    for item, id in enumerate("ab"):
        h.store(call, id, 2, item=item, of=2)
    assert lost(h) == []
    writes[0]["expect"] = None
    assert len(lost(h)) == 1


def test_a_write_whose_request_is_not_on_record_may_have_read() -> None:
    h = two()
    h.write("cart", "a", "p1", "s1-t1")
    h.read("cart", process="p2", task="s1-t2")
    h.write("cart", "b", "p2", "s1-t2")
    del h.ops[-1]
    h.ops[-1] = replace(h.ops[-1], call=-1)
    assert lost(h) == []


def test_an_older_copy_that_was_read_later_is_no_reading_of_it() -> None:
    h = two()
    first = h.write("cart", "a", "p1", "s1-t1")
    over = h.write("cart", "b", "p1", "s1-t1")
    h.read("cart", [1, 1], "p2", "s1-t2")  # a copy that is behind
    last = h.write("cart", "c", "p2", "s1-t2")
    (found,) = check("memory.lost-update", h).violations
    assert first not in found.witness
    assert found.witness == (over, last)


def test_an_old_reading_is_part_of_the_proof() -> None:
    h = two()
    h.write("cart", "a", "p1", "s1-t1")
    read = h.read("cart", process="p2", task="s1-t2")
    over = h.write("cart", "b", "p1", "s1-t1")
    last = h.write("cart", "c", "p2", "s1-t2")
    (found,) = check("memory.lost-update", h).violations
    assert (found.witness, found.anomaly) == ((read, over, last), "stale-read across processes")


def nameless(h: History) -> History:
    def without(value: Any) -> Any:
        return {k: v for k, v in value.items() if k != "id"}

    h.ops[:] = [replace(op, value=without(op.value)) if op.type == "commit" else op for op in h.ops]
    return h


def test_an_item_without_a_name_is_an_item() -> None:
    h = two()
    h.write("cart", "a", "p1", "s1-t1")
    h.write("cart", "b", "p2", "s1-t2")
    (found,) = check("memory.lost-update", nameless(h)).violations
    assert found.subject == ""


def mark(revision: str, part: str, group: str = "home") -> str:
    return f"{part} [{group}:{revision}:{part}]"


def moved() -> tuple[History, int, int]:
    """A whole address, and the street of the next; answers with the commits of the two halves."""
    h = History().submit("s1-t1", street=mark("r1", "street"), city=mark("r1", "city"))
    h.submit("s1-t2", street=mark("r2", "street"), city=mark("r2", "city"))
    h.write("street", mark("r1", "street"), task="s1-t1")
    city = h.write("city", mark("r1", "city"), task="s1-t1")
    street = h.write("street", mark("r2", "street"), task="s1-t2")
    return h, city, street


TORN = {"street": mark("r2", "street"), "city": mark("r1", "city")}


def test_the_proof_of_a_torn_use_is_where_its_halves_were_stored() -> None:
    h, city, street = moved()
    call = h.ask("ship", "o-1", key="k", task="s1-t1", args={p: mark("r1", p) for p in TORN})
    h.strike(call, "silence", "after-commit")
    h.commit(call)
    use = h.ask("ship", "o-2", key="l", task="s1-t2", args=TORN)
    (found,) = check("memory.atomic", h).violations
    assert found.witness == (city, street, use)
    assert (found.tool, found.anomaly) == ("ship", "mixed into tools")


def test_a_torn_use_by_a_guest_names_the_guest() -> None:
    h, _, _ = moved()
    h.wasm("i1", "o-1", task="s1-t2", **TORN)
    (found,) = check("memory.atomic", h).violations
    assert (found.tool, found.anomaly) == ("ticket", "mixed into wasm")


def test_halves_of_a_group_that_nobody_wrote_are_halves() -> None:
    h = History().submit("s1-t1")
    h.ask("ship", "o-1", key="k", args=TORN)
    assert codes("memory.atomic", h) == ["torn-group-used/mixed into tools"]


def test_groups_and_tasks_are_apart() -> None:
    h, _, _ = moved()
    h.ask(
        "ship", "o-1", key="k", args={"to": mark("r2", "street"), "bill": mark("r1", "x", "bill")}
    )
    said = [{"role": "user", "content": mark("r1", part)} for part in ("street", "city")]
    half = [{"role": "user", "content": text} for text in TORN.values()]
    h.invoke("model.complete", {"messages": said, "extends": 0}, "s1-t1")
    assert codes("memory.atomic", h) == []
    h.invoke("model.complete", {"messages": half, "extends": 0}, "s1-t2")
    assert codes("memory.atomic", h) == ["torn-group-used/mixed into model"]
    h.invoke("model.complete", {"messages": half, "extends": 2}, "s1-t1")  # it held a whole one
    assert len(codes("memory.atomic", h)) == 1


@pytest.mark.parametrize("asked", [{"prefix": "vis"}, {}])
def test_who_scanned_and_saw_nothing_has_looked(asked: dict[str, str]) -> None:
    def run(prefix: dict[str, str], marker: str) -> list[str]:
        h = two()
        for process, task in (("p1", "s1-t1"), ("p2", "s1-t2")):
            call = h.invoke("memory.scan", prefix, task, process, marker=marker)
            h.ok(call, items=[])
        h.write("visits", {"count": 1}, "p1", "s1-t1")
        h.write("visits", {"count": 1}, "p2", "s1-t2")
        return lost(h)

    assert len(run(asked, "vis" if not asked else "scan")) == 1
    assert run({"prefix": "other"}, "vis") == []


@pytest.mark.parametrize("value, counted", [([1], True), (["a"], False), ({"a": [True]}, False)])
def test_two_that_count_from_nothing_to_the_same_have_lost_one(value: Any, counted: bool) -> None:
    h = two()
    for process, task in (("p1", "s1-t1"), ("p2", "s1-t2")):
        h.read("visits", None, process, task)
    h.write("visits", value, "p1", "s1-t1")
    h.write("visits", value, "p2", "s1-t2")
    assert bool(lost(h)) is counted


def test_writes_of_one_background_job_that_overlap_are_its_own() -> None:
    h = History().start("p1")
    calls = [h.invoke("memory.write", {"id": "a", "value": n}, process="p1") for n in range(2)]
    for n, call in enumerate(calls):
        h.store(call, "a", n)
    assert lost(h) == []


@pytest.mark.parametrize("item", [None, 2, 9, "0", -1])
def test_an_item_of_a_group_that_has_no_line_expected_nothing(item: Any) -> None:
    h = two()
    h.write("a", 1, "p1", "s1-t1")
    call = h.write_many({"a": 2, "b": 2}, "p2", "s1-t2", first=0)
    writes: Any = h.ops[call].get("writes")
    writes[1]["expect"] = [1, 1]
    more = {} if item is None else {"item": item}
    h.store(call, "a", 2, **more)
    assert len(lost(h)) == 1


def test_a_line_of_a_group_that_says_nothing_expected_nothing() -> None:
    h = two()
    h.write("a", 1, "p1", "s1-t1")
    call = h.invoke("memory.write_many", {"writes": ["odd"]}, "s1-t2", "p2")
    h.store(call, "a", 2, item=0, of=1)
    assert len(lost(h)) == 1


def test_every_use_is_looked_at_and_look_ups_are_none() -> None:
    h, _, _ = moved()
    for order in ("o-1", "o-2"):
        h.ask("crm.update", order, task="s1-t1", args={"to": mark("r1", "city")})
    h.ask("crm.update", "o-3", task="s2-t1", args=TORN, lookup=True)
    found = check("memory.atomic", h)
    assert (found.verdict, found.looked_at) == ("valid", 2)
    h.ask("crm.update", "o-4", task="s1-t2", args=TORN)
    (torn,) = check("memory.atomic", h).violations
    assert torn.tool == "crm.update"


def test_what_was_only_ever_written_so_is_whole_with_it() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    h.write("street", mark("r1", "street"), task="s1-t1")
    h.write("city", mark("r1", "city"), task="s1-t1")
    h.write("street", mark("r2", "street"), task="s1-t2")
    h.ask("ship", "o-1", key="k", task="s1-t2", args=TORN)
    assert codes("memory.atomic", h) == []


def test_a_whole_group_hides_no_torn_one() -> None:
    h, _, _ = moved()
    whole = {p: mark("r1", p, "bill") for p in ("street", "city")}
    h.write("bill", whole, task="s1-t1")
    h.ask(
        "ship", "o-1", key="k", task="s1-t2", args={"bill": whole, "other": "[bill:r2:x]", **TORN}
    )
    (found,) = check("memory.atomic", h).violations
    assert found.subject == "home"


def test_a_write_that_was_torn_elsewhere_is_no_cause() -> None:
    h, _, _ = moved()
    call = h.write_many({"a": 1, "b": 2}, task="s1-t1", first=1)
    h.strike(call, "crash", "mid-write", after_items=1)
    use = h.ask("ship", "o-1", key="k", task="s1-t2", args={**TORN, "zip": mark("r2", "zip")})
    (found,) = check("memory.atomic", h).violations
    assert found.anomaly == "mixed into tools"
    assert found.witness[-1] == use
    assert "street+zip" in found.explanation
