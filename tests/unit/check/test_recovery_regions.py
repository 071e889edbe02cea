"""recovery.* and regions.*."""

from dataclasses import replace

import pytest
from tests.unit.check.builder import CONTRACT, History, check, codes

from chaoslab.check import goal
from chaoslab.contract import Limits

CONVERGES = "recovery.converges"
DETERMINISTIC = "recovery.deterministic"
FENCED = "regions.fenced"
LOSS = "regions.loss"


def control() -> History:
    h = History().submit("s1-t1").submit("s1-t2")
    h.done("refund", "o-1", key="a")
    h.done("audit", "o-1")
    h.done("notify", "o-2", task="s1-t2")
    return h.outcome("s1-t1").outcome("s1-t2").end()


def fault(
    refunds: int = 1,
    audits: int = 1,
    notes: int = 1,
    first: str = "completed",
    second: str = "completed",
) -> History:
    h = History().submit("s1-t1").submit("s1-t2")
    for _ in range(refunds):
        h.done("refund", "o-1", key="a")
    for _ in range(audits):
        h.done("audit", "o-1")
    call = h.ask("notify", "o-2", task="s1-t2")
    for _ in range(notes):
        h.commit(call)
    return h.outcome("s1-t1", first).outcome("s1-t2", second).end()


def converge(history: History, limits: Limits | None = None) -> list[str]:
    return codes(CONVERGES, history, control=control(), limits=limits or Limits())


def test_goal_names_what_stands() -> None:
    assert goal(fault(refunds=2, notes=0).view(), CONTRACT) == {
        "effects": {"refund": {"o-1": 2}, "audit": {"o-1": 1}},
        "tasks": {"s1-t1": "completed", "s1-t2": "completed"},
    }


def test_same_end_by_another_way() -> None:
    assert converge(fault()) == []
    assert converge(fault(audits=3)) == []  # at least once
    assert converge(fault(notes=2)) == []  # one request, doubled by the network
    h = fault()
    ref = h.done("refund", "o-9", key="z")
    h.done("void", ref, undoes=ref)
    assert converge(h) == []


def test_no_control() -> None:
    assert check(CONVERGES, fault()).verdict == "unknown"


def test_diverged() -> None:
    assert converge(fault(refunds=0)) == ["diverged/missing"]
    assert converge(fault(refunds=2)) == ["diverged/extra"]
    assert converge(fault(audits=0)) == ["diverged/missing"]
    assert converge(fault(notes=0)) == ["diverged/missing"]
    assert converge(fault(second="deferred")) == ["diverged/completed became deferred"]
    found = check(CONVERGES, fault(refunds=0), control=control())
    assert "o-1 (now 0, without the faults 1)" in found.violations[0].explanation


@pytest.mark.parametrize("status", ["uncertain", "failed"])
def test_declared_degradation(status: str) -> None:
    for notes in (0, 1):
        h = fault(notes=notes, second=status)
        assert converge(h) == []
        assert converge(h, Limits(uncertain_tasks_max=1, failed_tasks_max=1)) == []
        assert converge(h, Limits(uncertain_tasks_max=0, failed_tasks_max=0)) == [
            f"diverged/completed became {status}"
        ]
    assert converge(fault(refunds=2, first=status)) == ["diverged/extra"]


def test_quarantine_must_have_been_reported() -> None:
    h = fault(notes=0, second="quarantined")
    assert converge(h) == []  # an agent that reports no moves at all
    h.move("s2", "quarantined")
    assert converge(h) == ["diverged/completed became quarantined"]
    h.move("s1", "quarantined")
    assert converge(h) == []


def test_reworded_arguments_of_a_tool_without_identity() -> None:
    def say(*words: str) -> History:
        h = History().submit("s1-t1")
        for word in words:
            h.done("say", word, key=word)
        return h.outcome("s1-t1").end()

    assert codes(CONVERGES, say("b"), control=say("a")) == []
    assert codes(CONVERGES, say("b", "c"), control=say("a")) == ["diverged/extra"]
    assert codes(CONVERGES, say("a"), control=say("a", "b")) == ["diverged/missing"]


def test_deterministic() -> None:
    assert check(DETERMINISTIC, fault()).verdict == "unknown"
    found = check(DETERMINISTIC, fault(), repeats=[fault(), fault()])
    assert (found.verdict, found.looked_at) == ("valid", 5)


def test_recovery_differs() -> None:
    def keyed(key: str, status: str = "completed", times: int = 1) -> History:
        h = History().submit("s1-t1")
        for _ in range(times):
            h.done("refund", "o-1", key=key)
        return h.outcome("s1-t1", status).end()

    def differs(other: History) -> list[str]:
        return codes(DETERMINISTIC, keyed("a"), repeats=[keyed("a"), other])

    assert differs(keyed("b")) == ["recovery-differs/keys"]
    assert differs(keyed("a", "failed")) == ["recovery-differs/outcome"]
    assert differs(keyed("a", times=2)) == ["recovery-differs/effects"]


# -- regions


def _two_owners() -> History:
    h = History().start("p1").start("p2", "west")
    h.lease("s1", 1, "p1")
    h.write("x", 1, "p1", "s1-t1", fence=1)
    h.lease("s1", 2, "p2")
    return h


def test_fences_in_order() -> None:
    h = _two_owners()
    h.write("x", 2, "p1", "s1-t1", fence=1)  # nobody has shown the newer one yet
    h.write("x", 3, "p2", "s1-t1", fence=2)
    found = check(FENCED, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 3)


def test_stale_fence_accepted() -> None:
    h = _two_owners()
    newer = h.write("x", 3, "p2", "s1-t1", fence=2)
    stale = h.write("x", 2, "p1", "s1-t1", fence=1)
    found = check(FENCED, h.end())
    assert [v.code for v in found.violations] == ["stale-fence-accepted"]
    assert found.violations[0].witness[2:] == (newer, stale)


def test_a_copy_that_was_cut_off_cannot_know() -> None:
    h = _two_owners()
    h.write("x", 3, "p2", "s1-t1", fence=2, region="west")
    h.write("x", 2, "p1", "s1-t1", fence=1, region="east")
    assert codes(FENCED, h.end()) == []


def test_fences_of_two_sessions_do_not_mix() -> None:
    h = History()
    h.lease("s1", 1, "p1")
    h.lease("s2", 2, "p2")
    h.write("b", 1, "p2", "s2-t1", fence=2)
    h.write("a", 1, "p1", "s1-t1", fence=1)
    assert codes(FENCED, h.end()) == []


def test_ones_own_older_request_that_came_late() -> None:
    h = History()
    h.lease("s1", 1, "p1")
    late = h.invoke("memory.write", {"id": "x", "fence": 1}, "s1-t1", "p1")
    h.lease("s1", 2, "p1")
    h.write("x", 1, "p1", "s1-t1", fence=2)
    h.store(late, "x", 2, 1)
    assert codes(FENCED, h.end()) == []


def test_unfenced_write() -> None:
    h = _two_owners()
    h.write("x", 2, "p1", "s1-t1")
    assert codes(FENCED, h.end()) == ["unfenced-write"]
    plain = replace(CONTRACT, fencing=False)
    assert codes(FENCED, h, contract=plain) == []


def test_a_fence_of_another_lease_is_as_good_as_none() -> None:
    h = _two_owners()
    h.lease("private-of-p1", 3, "p1")
    h.write("x", 2, "p1", "s1-t1", fence=3)
    assert codes(FENCED, h.end()) == ["unfenced-write"]
    plain = replace(CONTRACT, fencing=False)
    assert codes(FENCED, h, contract=plain) == []


def test_unfenced_writes_of_owners_and_of_those_who_never_leased() -> None:
    h = _two_owners()
    h.write("x", 2, "p2", "s1-t1")
    h.write("y", 2, "p3", "s1-t1")
    assert codes(FENCED, h.end()) == []


def test_not_applicable_without_leases_or_fences() -> None:
    assert check(FENCED, History().end()).reason == "no lease was granted"
    h = History()
    h.lease("s1", 1, "p1")
    h.write("x", 1)
    plain = replace(CONTRACT, fencing=False)
    assert check(FENCED, h.end(), contract=plain).verdict == "not-applicable"


def _promoted(
    *,
    cut_after_ms: int | None,
    wait_ms: int = 3_000,
    durability: str = "local",
    acked: bool = True,
) -> History:
    h = History()
    commit = h.write("x", 1, task="s1-t1", durability=durability, acked=acked)
    if cut_after_ms is not None:
        h.wait(cut_after_ms).event("region.partition", {"region": "east"})
    if not acked:
        h.info(h.ops[commit].call)
    h.wait(wait_ms)
    lost = [{"id": "x", "version": [1, 1], "op": commit}]
    return h.event("region.promote", {"region": "west", "epoch": 2, "lost": lost}).end()


def test_loss() -> None:
    assert codes(LOSS, _promoted(cut_after_ms=None)) == ["lost-beyond-limit/region.promote"]
    # Measured at the cut, from which on nothing could be copied.
    assert check(LOSS, _promoted(cut_after_ms=500)).verdict == "valid"
    assert codes(LOSS, _promoted(cut_after_ms=2_000)) == ["lost-beyond-limit/region.promote"]
    assert codes(LOSS, _promoted(cut_after_ms=None, acked=False)) == []
    assert codes(LOSS, _promoted(cut_after_ms=0, durability="quorum")) == [
        "lost-quorum-write/region.promote"
    ]


def test_loss_that_was_not_limited() -> None:
    free = replace(CONTRACT, loss_ms_max=None)
    assert check(LOSS, _promoted(cut_after_ms=None), contract=free).verdict == "not-applicable"
    broken = _promoted(cut_after_ms=None, durability="quorum")
    assert len(codes(LOSS, broken, contract=free)) == 1
    assert check(LOSS, History().end()).reason == "no region was promoted"
