"""The because-chain, read as a person reads it."""

from dataclasses import replace

from tests.unit.check.builder import History, check

from chaoslab.check import Violation, because
from chaoslab.check.sentences import sentence
from chaoslab.contract import Limits
from chaoslab.history import Op


def _double() -> History:
    h = History().start("east-1").submit("s1-t1", "east-1")
    first = h.ask("refund", "o-s1-t1", key="7f3a", process="east-1")
    h.commit(first)
    h.strike(first, "silence", "after-commit")
    h.wait(1_997).info(first)
    h.kill("east-1").start("east-2")
    again = h.ask("refund", "o-s1-t1", key="b21c", process="east-2")
    h.ok(again, h.commit(again))
    return h.outcome("s1-t1", "completed", process="east-2").end()


def test_the_whole_story() -> None:
    h = _double().event("report.log", {"text": "noise"})
    violation = check("effects.delivery", h).violations[0]
    assert because(h.view(), violation, replay="chaoslab replay reports/run") == [
        "  #2   0.003 s  the agent (east-1) asks for refund o-s1-t1, 1st try, key 7f3a",
        "  #3   0.004 s  the service commits it: refund:o-s1-t1#1",
        "  #4   0.005 s  the lab drops the answer (silence, after the commit)",
        "  #5   2.003 s  the agent gives up waiting: outcome unknown",
        "  #6   2.004 s  process east-1 is dead",
        "  #7   2.005 s  process east-2 starts",
        "  #8   2.006 s  the agent (east-2) asks for refund o-s1-t1, 2nd try, "
        "under ANOTHER key b21c",
        "  #9   2.007 s  the service commits it: refund:o-s1-t1#2",
        "  #10  2.008 s  the answer arrives: refund:o-s1-t1#2",
        "  #11  2.009 s  the agent (east-2) reports s1-t1 as completed",
        "  so: 2 × refund for one request (o-s1-t1) where exactly-once was promised.",
        "  what to change: derive the key once from (session, task, action), store it before "
        "the first try, and send the same one on every try, after a restart too.",
        "  see it again: chaoslab replay reports/run",
    ]


def test_a_long_row_is_told_by_its_ends() -> None:
    h = History().submit("s1-t1")
    for _ in range(30):
        h.ask("refund", "o-1", key="k")
    limits = Limits(attempts_per_operation_max=20)
    violation = check("limits.attempts", h.end(), limits=limits).violations[0]
    story = because(h.view(), violation)
    assert len(story) <= 14
    assert "1st try" in story[0]
    assert any("21st try" in line for line in story)
    assert story[4].split() == ["…", "13", "more", "like", "that"]
    assert len([line for line in because(h.view(), violation, replay="again")]) <= 14


def test_where_one_entry_is_the_proof_the_task_is_told() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    h.strike(call, "hold", "before-commit")
    h.event("lab.deadlock", {"waiting": ["s1-t1"]}).end()
    story = "\n".join(because(h.view(), check("limits.tasks", h).violations[0]))
    assert "s1-t1 is handed to p1, 1st time" in story
    assert "the lab holds it back (hold, before the commit)" in story
    assert "nothing can ever happen again" in story


def test_a_violation_of_a_teams_own_check() -> None:
    h = _double()
    mine = Violation(
        check="own.total", code="sum", subject="x", explanation="the sum is wrong", witness=(3, 99)
    )
    story = because(h.view(), mine)
    assert story[-1] == "  so: the sum is wrong."
    assert because(h.view(), replace(mine, witness=())) == story[-1:]


def test_every_kind_of_entry_has_words() -> None:
    h = _double()
    h.write("x", {"a": 1}, fence=3)
    h.read("x")
    h.lease("s1", 3, "p1")
    h.ok(h.wasm("i1"), output="x")
    h.write_many({"a": 1, "b": 2})
    h.invoke("model.complete", {"messages": []}, "s1-t1")
    h.invoke("network.request", {"method": "GET", "url": "http://x"}, "s1-t1")
    h.invoke("wasm.instantiate", {"module": "ticket"})
    h.invoke("tools.refund.lookup", {"lookup": True}, marker="o-1")
    h.event("tools.refund", {"absorbed": "refund:o-1#1"})
    h.event("region.promote", {"region": "west", "lost": [{}]}).event("region.join", {})
    for op in h.ops:
        assert sentence(op, ()) not in ("", op.f)
    assert sentence(Op(index=0, time_ns=0, type="event", f="my.own"), ()) == "my.own"
