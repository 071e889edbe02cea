"""Promises of the region checks that are easily lost: whose fence, which cut, what was told."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import CONTRACT, History, check, codes

UNFENCED = replace(CONTRACT, fencing=False)
NO_LIMIT = replace(CONTRACT, loss_ms_max=None)


def promote(h: History, *lost: Any, f: str = "region.promote") -> History:
    return h.event(f, {"region": "west", "epoch": 2, "lost": list(lost)})


def row(op: int) -> dict[str, Any]:
    return {"id": "cart", "version": [1, 1], "op": op}


def taken_over(first: int = 1) -> History:
    """p1 had the lease of s1, and p2 has it now."""
    h = History().start("p1").start("p2")
    h.lease("s1", first, "p1")
    h.lease("s1", first + 1, "p2")
    return h


def test_a_fence_that_was_passed_is_judged_though_nobody_promised_one() -> None:
    h = taken_over()
    h.write("cart", "b", "p2", "s1-t1", fence=2)
    h.write("cart", "a", "p1", "s1-t1", fence=1)
    assert codes("regions.fenced", h.end(), contract=UNFENCED) == ["stale-fence-accepted"]


def test_without_a_promise_and_a_fence_there_is_nothing_to_judge() -> None:
    h = taken_over()
    h.write("cart", "a", "p1", "s1-t1")
    found = check("regions.fenced", h.end(), contract=UNFENCED)
    assert found.verdict == "not-applicable"
    assert found.reason == "no fencing was promised and no fence was passed"


def test_a_lease_under_which_nothing_is_written_is_nothing_to_judge() -> None:
    found = check("regions.fenced", taken_over().end())
    assert found.verdict == "not-applicable"
    assert found.reason == "nothing was written under a lease"


def test_a_lease_without_a_fence_hides_no_other() -> None:
    h = History().start("p1").start("p2")
    h.lease("s1", None, "p1")  # type: ignore[arg-type]
    h.lease("s1", 1, "p1")
    h.lease("s1", 2, "p2")
    h.write("cart", "a", "p1", "s1-t1")
    assert codes("regions.fenced", h.end()) == ["unfenced-write"]


@pytest.mark.parametrize("first", [0, 1])
def test_fences_may_be_counted_from_nought(first: int) -> None:
    h = taken_over(first)
    h.write("cart", "a", "p1", "s1-t1")
    assert codes("regions.fenced", h.end()) == ["unfenced-write"]
    h = taken_over(first)
    h.write("cart", "b", "p2", "s1-t1", fence=first + 1)
    h.write("cart", "a", "p1", "s1-t1", fence=first)
    assert codes("regions.fenced", h.end()) == ["stale-fence-accepted"]
    h = taken_over(first)
    h.write("cart", "a", "p1", "s1-t1", fence=first)
    h.write("cart", "b", "p2", "s1-t1", fence=first + 1)
    h.write("cart", "c", "p2", "s1-t1", fence=first + 1)
    assert codes("regions.fenced", h.end()) == []


def test_a_fence_tells_the_session_where_the_entry_does_not() -> None:
    h = taken_over()
    h.lease("s2", 3, "p2")
    h.write("cart", "b", "p2", fence=2)
    h.write("note", "n", "p2", fence=3)
    h.write("cart", "c", "p2", fence=2)  # another session's newer fence makes it no older
    assert codes("regions.fenced", h) == []
    h.write("cart", "a", "p1", fence=1)
    (found,) = check("regions.fenced", h.end()).violations
    assert (found.code, found.subject) == ("stale-fence-accepted", "s1")


def test_the_holder_is_whom_the_lease_names() -> None:
    h = taken_over()
    h.ops[:] = [replace(op, process="") if op.type == "commit" else op for op in h.ops]
    h.write("cart", "b", "p2", "s1-t1")
    assert codes("regions.fenced", h) == []
    h.write("cart", "a", "p1", "s1-t1")
    assert codes("regions.fenced", h.end()) == ["unfenced-write"]


def test_where_both_were_given_one_fence_neither_is_newer() -> None:
    h = History().start("p1").start("p2")
    h.lease("s1", 2, "p2")
    h.lease("s1", 2, "p1")
    h.write("cart", "a", "p1", "s1-t1")
    assert codes("regions.fenced", h.end()) == []


def test_the_copies_take_fences_apart() -> None:
    h = taken_over()
    h.write("cart", "b", "p2", "s1-t1", fence=2, region="west")
    h.write("cart", "a", "p1", "s1-t1", fence=1, region="east")
    assert codes("regions.fenced", h) == []
    h.write("cart", "c", "p1", "s1-t1", fence=1, region="west")
    assert codes("regions.fenced", h.end()) == ["stale-fence-accepted"]


def test_what_was_not_promised_is_said() -> None:
    h = promote(promote(History().start("p1")), f="region.join").end()
    found = check("regions.loss", h, contract=NO_LIMIT)
    assert (found.verdict, found.reason) == ("not-applicable", "no loss_ms_max was promised")
    assert check("regions.loss", h).looked_at == 1


def test_each_failover_has_a_cut_of_its_own() -> None:
    h = History().start("p1").event("region.partition", {"region": "east"}).wait(9_000)
    promote(promote(h), f="region.join")
    lost = h.write("cart", "a", "p1", "s1-t1")
    h.wait(5_000).event("region.down", {"region": "west"})
    (found,) = check("regions.loss", promote(h, row(lost)).end()).violations
    assert found.code == "lost-beyond-limit"
    assert "5002 ms" in found.explanation


def test_the_first_cut_counts_and_the_promotion_where_there_was_none() -> None:
    def lost(*cuts: str) -> list[str]:
        h = History().start("p1")
        number = h.write("cart", "a", "p1", "s1-t1")
        h.wait(900)
        for f in cuts:
            h.event(f, {"region": "east"}).wait(600)
        return codes("regions.loss", promote(h.wait(200), row(number)).end())

    assert lost("region.partition", "region.down") == []
    assert lost("region.down") == []
    assert lost() == ["lost-beyond-limit/region.promote"]


def test_a_loss_exactly_as_old_as_was_agreed_is_agreed() -> None:
    h = History().start("p1")
    number = h.write("cart", "a", "p1", "s1-t1", acked=False)
    h.ms = h.ops[number].time_ns // 1_000_000
    h.ok(h.ops[number].call)
    h.ms = h.ops[number].time_ns // 1_000_000 + 999
    h.event("region.down", {"region": "east"})
    assert codes("regions.loss", promote(h, row(number)).end()) == []


@pytest.mark.parametrize(
    "odd", [{"id": "cart"}, "cart", {"op": "1"}, {"op": 99}, {"op": 2}, {"op": -1}]
)
def test_a_loss_that_names_no_commit_is_none(odd: Any) -> None:
    h = History()
    assert h.write("cart", "a", "p1", "s1-t1") == 1
    h.wait(5_000)
    assert codes("regions.loss", promote(h, odd).end()) == []
    h = History()
    number = h.write("cart", "a", "p1", "s1-t1")
    h.wait(5_000)
    assert len(codes("regions.loss", promote(h, odd, row(number)).end())) == 1


def test_every_breach_is_told() -> None:
    h = taken_over()
    h.write("cart", "a", "p1", "s1-t1")
    h.write("note", "n", "p1", "s1-t1")
    h.write("cart", "b", "p2", "s1-t1", fence=2)
    h.write("cart", "c", "p1", "s1-t1", fence=1)
    h.write("note", "m", "p1", "s1-t1", fence=1)
    h.lease("s2", 3, "p1")
    h.write("note", "o", "p1", "s1-t1", fence=3)
    h.write("note", "p", "p1", "s1-t1", fence=3)
    expected = ["unfenced-write"] * 2 + ["stale-fence-accepted"] * 2 + ["unfenced-write"] * 2
    assert codes("regions.fenced", h.end()) == expected


def test_a_grant_that_comes_late_is_no_newer_one() -> None:
    h = History().start("p1").start("p2").start("p3")
    h.lease("s1", 1, "p1")
    h.lease("s1", 3, "p3")
    h.lease("s1", 2, "p2")
    h.write("cart", "a", "p1", "s1-t1")
    (found,) = check("regions.fenced", h.end()).violations
    assert {h.ops[n].process for n in found.witness} == {"p1", "p3"}


@pytest.mark.parametrize("first", [0, 1])
def test_the_newest_fence_is_taken_from_whoever_passes_it(first: int) -> None:
    h = History().start("p1").start("p2")
    h.lease("s1", first, "p2")
    h.write("cart", "a", "p2", "s1-t1", fence=first)
    h.write("cart", "b", "p1", "s1-t1", fence=first)
    assert codes("regions.fenced", h.end()) == []


def test_neither_of_two_that_were_given_nought_is_newer() -> None:
    h = History().start("p1").start("p2")
    h.lease("s1", 0, "p2")
    h.lease("s1", 0, "p1")
    h.write("cart", "a", "p1", "s1-t1")
    assert codes("regions.fenced", h.end()) == []


def test_the_proof_of_a_stale_fence_names_both_grants() -> None:
    for first in (0, 1):
        h = taken_over(first)
        new = h.write("cart", "b", "p2", "s1-t1", fence=first + 1)
        old = h.write("cart", "a", "p1", "s1-t1", fence=first)
        (found,) = check("regions.fenced", h.end()).violations
        grants = [op.index for op in h.ops if op.f == "leases.acquire" and op.type == "commit"]
        assert found.witness == (*grants, new, old)


def test_a_fence_that_was_never_granted_counts_for_its_session() -> None:
    h = taken_over().start("p3")
    h.write("cart", "a", "p3", "s1-t1", fence=9)
    h.write("cart", "b", "p2", "s1-t1", fence=2)
    (found,) = check("regions.fenced", h.end()).violations
    assert (found.code, found.subject) == ("stale-fence-accepted", "s1")


def test_a_fence_that_is_no_number_is_none() -> None:
    h = taken_over()
    h.write("cart", "a", "p1", "s1-t1", fence="2")  # type: ignore[arg-type]
    assert codes("regions.fenced", h.end()) == ["unfenced-write"]


def test_a_lease_without_a_session_is_of_work_without_one() -> None:
    h = taken_over()
    h.ops[:] = [
        replace(op, value={"fence": op.get("fence"), "holder": op.get("holder")})
        if op.type == "commit"
        else op
        for op in h.ops
    ]
    h.write("cart", "a", "p1")
    h.write("cart", "b", "p2", fence=2)
    h.write("cart", "c", "p1", fence=1)
    found = check("regions.fenced", h.end()).violations
    assert [v.code for v in found] == ["unfenced-write", "stale-fence-accepted"]
    assert {v.subject for v in found} == {""}


def test_a_loss_beyond_the_end_of_the_record_is_none() -> None:
    h = History().start("p1").wait(5_000)
    promote(h, row(2), row(1))
    assert len(h.ops) == 2
    assert codes("regions.loss", h) == []


def test_a_failover_and_a_return_are_told_apart() -> None:
    h = promote(History().start("p1")).end()
    assert check("regions.loss", h, contract=NO_LIMIT).reason == "no loss_ms_max was promised"
    h = promote(History().start("p1"), f="region.join").end()
    assert check("regions.loss", h, contract=NO_LIMIT).reason == "no region was promoted"


def test_a_fence_that_is_no_number_is_nobodys_newest() -> None:
    h = taken_over().start("p3")
    h.write("cart", "x", "p3", "s1-t1", fence="x")  # type: ignore[arg-type]
    h.write("cart", "b", "p2", "s1-t1", fence=2)
    assert codes("regions.fenced", h.end()) == []


def test_whose_fence_it_was_is_told() -> None:
    h = History().start("p1").start("p2")
    h.lease("s2", 0, "p1")
    h.lease("s1", 1, "p1")
    h.lease("s1", 2, "p2")
    h.write("cart", "a", "p1", "s1-t1", fence=0)
    (found,) = check("regions.fenced", h.end()).violations
    assert "that of s2" in found.explanation
