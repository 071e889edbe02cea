"""The because-chain, read as a person reads it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import History, check

from chaoslab.check import Violation, because
from chaoslab.check.sentences import call_name, sentence
from chaoslab.check.wording import difference, duration, receiver, summary
from chaoslab.contract import Limits
from chaoslab.history import Op, View


def fields_of(op: Op) -> dict[str, Any]:
    """The fields of an entry's value, which is an object in these tests."""
    assert isinstance(op.value, dict)
    return op.value


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
    assert len(because(h.view(), violation, replay="again")) <= 14


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


def _story(check_id: str, h: History, **more: Any) -> str:
    """The first violation of a check, told."""
    found = check(check_id, h.end(), **more).violations
    return "\n".join(because(h.view(), found[0]))


# -- one entry at a time


def test_a_call_is_named_where_another_was_told_in_between() -> None:
    h = History()
    first = h.ask("refund", "o-1", key="k")
    second = h.invoke("memory.read", {"id": "cart"}, "s1-t1", marker="cart")
    for call, phase in ((second, "after-commit"), (first, "before-send")):
        h.strike(call, "delay", phase, port=h.ops[call].f)
    crash = h.event("nemesis.strike", {"kind": "crash", "phase": "after-commit"}, call=first).ops[
        -1
    ]
    lost, no = h.ops[h.info(first)], h.ops[h.fail(second, "conflict")]
    told = h.ops[:2]
    about_cart, about_refund = h.ops[2], h.ops[3]
    assert sentence(about_cart, told) == "the lab delays it (delay, after the commit)"
    assert sentence(about_refund, told) == "the lab delays refund o-1 (delay, before it was sent)"
    named = replace(crash, value={**fields_of(crash), "port": "tools.refund"}, marker="o-1")
    assert sentence(named, told) == (
        "the lab kills the process (crash, after the commit of refund o-1)"
    )
    assert sentence(crash, told) == "the lab kills the process (crash, after the commit)"
    assert sentence(lost, told) == "the agent gives up waiting: outcome unknown (refund o-1)"
    assert sentence(lost, told[:1]) == "the agent gives up waiting: outcome unknown"
    assert sentence(no, told[:1]) == (
        "the answer is no (conflict: another version stands there): this request did nothing "
        "(the reading of cart)"
    )


@pytest.mark.parametrize(
    ("f", "name"),
    [
        ("tools.refund", "refund o-1"),
        ("tools.refund.lookup", "the look-up of refund o-1"),
        ("wasm.ticket", "ticket o-1"),
        ("wasm.instantiate", "the making of an instance"),
        ("model.complete", "the question to the model"),
        ("memory.write_many", "the writing of o-1"),
        ("leases.acquire", "the lease of o-1"),
        ("network.request", "the request to the outside"),
        ("own.port", "own.port"),
    ],
)
def test_names_of_calls(f: str, name: str) -> None:
    assert call_name(f, "o-1") == name


def test_each_way_of_trapping_has_words_of_its_own() -> None:
    told = set()
    for mode in ("", "abort", "loop", "out-of-bounds", "nested", "import-error"):
        h = History()
        h.strike(h.wasm("i1"), "trap", "before-commit", **({"mode": mode} if mode else {}))
        told.add(sentence(h.ops[-1], h.ops[:1]))
    assert len(told) == 6
    assert "the lab makes the Wasm guest trap (trap, before the commit)" in told
    assert (
        "the host calls back into the Wasm guest, and that inner call traps (trap, nested, "
        "before the commit)" in told
    )


def test_a_call_of_a_module_shows_its_key_and_its_answer() -> None:
    h = History()
    h.wasm("i1", "o-1", key="a")
    h.wasm("i1", "o-1", key="b")
    h.wasm("i1", export="output")
    first, second, third = (replace(op, attempt=n) for n, op in enumerate(h.ops, 1))
    assert sentence(first, ()).endswith("open_ticket of instance i1 for s1: o-1, 1st try, key a")
    assert sentence(second, (first,)).endswith(": o-1, 2nd try, under ANOTHER key b")
    assert sentence(third, (first,)) == "the agent (p1) calls output of instance i1 for s1"
    for output, said in (
        ("", "it answers nothing"),
        ("hello", "it answers: hello"),
        ({"ref": "ticket:o-1#1", "text": "x" * 99}, "it answers: ticket:o-1#1"),
        (
            {"ref": "ticket:o-1#1", "absorbed": True},
            "it answers: ticket:o-1#1 (the service knew it already)",
        ),
    ):
        h.ok(third.index, output=output)
        assert sentence(h.ops[-1], ()) == said


def test_a_long_value_is_not_quoted_and_an_expiry_only_where_it_matters() -> None:
    h = History()
    h.write("x", {"opening": "y" * 900, "step": 1})
    commit = h.ops[1]
    assert sentence(commit, ()) == (
        "the store takes x version 1.1, from p1: (a record of 923 characters: opening, step)"
    )
    commit = replace(commit, value={**fields_of(commit), "value": "short", "expires_ms": 1_500})
    assert sentence(commit, ()).endswith("from p1: short")
    assert sentence(commit, (), until_ns=1_499_999_999).endswith("from p1: short")
    assert sentence(commit, (), until_ns=1_500_000_000).endswith("short, good until 1.500 s only")
    h.read("x")
    assert sentence(h.ops[-1], ()) == "the agent (p1) sees x, version 1.1: ?"
    h.read("y")
    assert sentence(h.ops[-1], ()) == "the agent (p1) finds nothing in y"
    seen = Op(index=0, time_ns=0, type="ok", f="memory.read", marker="z", value={"value": "A"})
    assert sentence(seen, ()) == "the agent sees z: A"


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({}, "the agent (p1) writes cart: pears"),
        ({"expect": None}, "the agent (p1) writes cart: pears, if nothing is there"),
        ({"expect": [1, 2]}, "the agent (p1) writes cart: pears, if 1.2 is there"),
    ],
)
def test_where_no_ledger_says_it_the_request_says_what_it_writes(
    condition: dict[str, Any], said: str
) -> None:
    h = History()
    h.invoke("memory.write", {"id": "cart", "value": "pears", **condition}, "s1-t1", marker="cart")
    assert sentence(h.ops[0], (), no_ledger=True) == said
    assert sentence(h.ops[0], ()) == "the agent (p1) writes cart"


def test_an_outcome_gives_its_reason_and_says_which_claim_has_no_reference() -> None:
    h = History().outcome("s1-t1", "failed", ("refund", "o-1"), ("ship", "o-1", "ship:o-1#1"))
    op = replace(h.ops[0], value={**fields_of(h.ops[0]), "reason": "no room"})
    assert sentence(op, ()) == (
        "the agent (p1) reports s1-t1 as failed, claiming refund o-1 (without a reference), "
        "ship o-1 (ship:o-1#1); its reason: no room"
    )


@pytest.mark.parametrize(
    ("f", "value", "why"),
    [
        ("tools.refund", {}, "this key came with another request before"),
        ("tools.refund", {"in_flight": True}, "a request with this key is still under way"),
        ("memory.write", {}, "another version stands there"),
    ],
)
def test_a_conflict_is_explained(f: str, value: dict[str, Any], why: str) -> None:
    op = Op(index=1, time_ns=0, type="fail", f=f, value={"error": "conflict", **value})
    assert f"(conflict: {why})" in sentence(op, ())


def test_a_failover_says_which_of_the_lost_writes_the_story_is_about() -> None:
    h = History().submit("s1-t1")
    h.event("region.promote", {"region": "west", "lost": [{"id": "task/s1-t1"}, {"id": "other"}]})
    promote = h.ops[-1]
    assert sentence(promote, ()) == "region west takes over, 2 writes are lost"
    assert sentence(promote, h.ops[:1]) == (
        "region west takes over, 2 writes are lost, among them task/s1-t1"
    )


# -- what stands around the proof


def test_deferrals_are_told_by_their_ends() -> None:
    h = History()
    for delivery in range(1, 12):
        h.submit("s1-t1", delivery=delivery)
        h.outcome("s1-t1", "deferred", counted=False)
    h.end()
    violation = check("limits.tasks", h).violations[0]
    assert "was only ever deferred" in violation.explanation
    story = because(h.view(), violation, replay="again")
    assert [line.split()[:2] for line in story if "more like that" in line] == [["…", "9"]]
    assert sum("s1-t1 as deferred" in line for line in story) == 2
    assert sum("is handed to" in line for line in story) == 2


def test_a_strike_at_another_call_of_the_task_is_told() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    other = h.invoke("memory.write", {"id": "pay"}, "s1-t2", marker="pay")
    h.strike(other, "delay", "before-send")
    noted = h.invoke("memory.write", {"id": "sent"}, "s1-t1", marker="sent")
    h.strike(noted, "silence", "before-commit")
    h.info(noted)
    h.commit(h.ask("notify", "o-1"))
    h.commit(h.ask("notify", "o-1"))
    story = _story("effects.delivery", h)
    assert "silence, before the commit" in story and "sent" in story
    assert "delay" not in story


def test_a_failed_task_shows_what_refused_it() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="k"), "conflict")
    h.write("task/s1-t1", {"a": 1}, task="s1-t1")
    h.outcome("s1-t1", "failed")
    story = _story("limits.tasks", h, limits=Limits(failed_tasks_max=0))
    assert "the agent (p1) asks for refund o-1" in story
    assert "the answer is no (conflict" in story
    assert "task/s1-t1" not in story


def test_a_quarantine_that_expired() -> None:
    h = History().submit("s1-t1")
    call = h.invoke("memory.write", {"id": "session/s1"}, "s1-t1")
    h.store(call, "session/s1", {"state": "quarantined"}, expires_ms=1_000)
    h.move("s1", "quarantined", task="s1-t1").wait(1_000)
    h.read("session/s1", None, task="s1-t2")
    h.move("s1", "active", task="s1-t2")
    story = _story("lifecycle.legal", h)
    assert "good until 1.000 s only" in story
    assert "the agent (p1) finds nothing in session/s1" in story


def test_a_quarantine_that_was_still_good_is_not_told_as_expired() -> None:
    h = History().submit("s1-t1")
    call = h.invoke("memory.write", {"id": "session/s1"}, "s1-t1")
    h.store(call, "session/s1", {"state": "quarantined"}, expires_ms=5_000)
    h.move("s1", "quarantined", task="s1-t1").wait(1_000)
    h.read("session/s1", None, task="s1-t2")
    h.move("s1", "active", task="s1-t2")
    assert "session/s1" not in _story("lifecycle.legal", h)


def test_the_replica_that_was_behind_is_told() -> None:
    h = History().submit("s1-t1")
    h.commit(h.ask("notify", "o-1"))
    asked = h.invoke("memory.read", {"id": "sent", "at": "replica"}, "s1-t1", marker="sent")
    h.ok(asked, found=False)
    h.commit(h.ask("notify", "o-1"))
    story = _story("effects.delivery", h)
    assert "the agent (p1) reads sent from a replica" in story
    assert "the agent (p1) finds nothing in sent" in story


def test_a_failover_between_two_tries_is_told() -> None:
    h = History().start("east-1").submit("s1-t1", "east-1")
    h.commit(h.ask("notify", "o-1", process="east-1"))
    h.event("region.promote", {"region": "west", "lost": [{"id": "task/s1-t1"}]})
    h.start("west-1", "west")
    h.commit(h.ask("notify", "o-1", process="west-1"))
    story = _story("effects.delivery", h)
    assert "region west takes over, 1 write is lost" in story
    same = [replace(op, process="east-1") if op.process else op for op in h.ops]
    violation = check("effects.delivery", h).violations[0]
    assert "region west" not in "\n".join(because(View(same), violation))


def test_the_reading_that_brought_both_halves_is_told() -> None:
    h = History()
    old, new = "Elm [home:r1:street]", "Town [home:r2:city]"
    h.write_many({"street": old, "city": "Village [home:r1:city]"}, task="s1-t1")
    torn = h.write_many({"city": new, "street": "Oak [home:r2:street]"}, task="s1-t2", first=1)
    h.strike(torn, "crash", "mid-write", after_items=1)
    scan = h.invoke("memory.scan", {"prefix": "home/"}, "s1-t3", marker="home/")
    h.ok(scan, items=[{"id": "street", "value": old}, {"id": "city", "value": new}])
    h.ask("ship", "o-1", key="k", task="s1-t3", args={"to": f"{old} {new}"})
    story = _story("memory.atomic", h)
    assert "sees what is in home/: (" in story
    assert "with street of r1; city of r2)" in story
    assert "so: ship was given street of r1 with city of r2" in story


def test_what_a_broken_guest_lets_out_begins_at_the_call_that_broke() -> None:
    token = "cnry-s1-0123abcd"
    h = History().submit("s1-t1", prompt=token).submit("s2-t1")
    broken = h.wasm("i1", task="s1-t1", args={"name": token})
    h.event("wasm.poisoned", {"instance": "i1", "reason": "trap"}, call=broken, process="p1")
    h.info(broken, "trap")
    h.write("task/s1-t1", token, task="s1-t1")
    used = h.wasm("i1", "o-2", key="k", task="s2-t1")
    h.add("commit", "tools.ticket", {"ref": "t", "args": token}, call=used, session="s2")
    out = h.ok(used, output=f"for {token}")
    found = check("isolation.sessions", h.end()).violations
    assert [v.witness for v in found if v.anomaly == "wasm"] == [(broken, broken + 1, out)]
    assert found[-1].explanation == (
        f"data of s1 ({token}) was put out by ticket for s2; the Wasm instance had broken off in a "
        "call for s1 before"
    )


def test_two_executions_that_differ_show_how_the_task_ended_in_the_first() -> None:
    one = History().submit("s1-t1").outcome("s1-t1", "uncertain").end()
    two = History().submit("s1-t1")
    two.done("audit", "o-1", task="s1-t1")
    two.outcome("s1-t1", "completed").end()
    found = check("recovery.deterministic", one, repeats=(two,)).violations
    assert {(v.anomaly, v.witness) for v in found} == {("effects", (1,)), ("outcome", (1,))}
    assert found[0].explanation == (
        "the standing effects of audit o-1 differ: none in execution 1, audit:o-1#1 in execution "
        "2, with the same choices"
    )


def test_more_requests_than_promised_names_the_action_behind_them() -> None:
    control, h = History(), History()
    for name in ("o-1", "o-2"):
        control.ask("refund", name, key=name)
    tries = [h.ask("refund", "o-1", key="o-1") for _ in range(4)]
    beyond = h.ask("refund", "o-2", key="o-2")
    limits = Limits(amplification_percent_max=200)
    found = check("limits.amplification", h, limits=limits, control=control).violations[0]
    assert found.witness == (*tries, beyond)
    assert found.explanation.endswith("; 4 of them are for refund o-1")


@pytest.mark.parametrize(
    ("fence", "said"),
    [
        (None, "p1 wrote x without a fence, after s1 had gone to p2 (fence 3)"),
        (2, "p1 wrote x with fence 2, which is that of s2, after s1 had gone to p2 (fence 3)"),
        (
            9,
            "p1 wrote x with fence 9, which is that of no lease, after s1 had gone to p2 (fence 3)",
        ),
    ],
)
def test_a_write_without_the_right_fence_says_which_one_it_had(
    fence: int | None, said: str
) -> None:
    h = History()
    own, other, newer = (
        h.lease(s, n, p) for s, n, p in (("s1", 1, "p1"), ("s2", 2, "p1"), ("s1", 3, "p2"))
    )
    late = h.write("x", 1, "p1", "s1-t1", fence=fence)
    found = check("regions.fenced", h.end()).violations[0]
    assert found.explanation == said
    cited = (own, other, newer, late) if fence == 2 else (own, newer, late)
    assert found.witness == cited


def test_another_content_under_the_same_key_is_named() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k", args={"order": "o-1", "note": "broken"})
    h.commit(first)
    again = h.ask("refund", "o-1", key="k", args={"order": "o-1", "note": "sorry"})
    h.fail(again, "conflict")
    found = check("keys.lineage", h.end()).violations[0]
    assert found.explanation == (
        'one key was used twice for o-1, with different content: note was "broken" and is "sorry"'
    )


# -- values


SECRET = "DE02 1203 attr-iban:cnry-s1-0123abcd"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1}, {"a": 2}, "a was 1 and is 2"),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, "a was 1 and is 2; 1 more field differs"),
        ({}, {"a": 1, "b": 1, "c": 1}, "a is new: 1; 2 more fields differ"),
        ({"a": 1}, {}, "a is gone: 1"),
        ({"a": 1}, {"a": 1}, "nothing differs"),
        (1, {"a": 1}, 'it was 1 and is {"a":1}'),
        ({"to": SECRET}, {"to": "x"}, 'to was (text with the iban of s1) and is "x"'),
        ({}, {"to": SECRET}, "to is new: (text with the iban of s1)"),
    ],
)
def test_difference(old: Any, new: Any, said: str) -> None:
    assert difference(old, new) == said


@pytest.mark.parametrize("tail", ["", "c"])
def test_long_texts_are_shown_where_they_part(tail: str) -> None:
    said = difference({"a": "x" * 90 + "b"}, {"a": "x" * 90 + "b" + tail + "d"})
    assert said.startswith("a was …xxxxxxxxx") and len(said) < 100
    was, _, now = said.removeprefix("a was ").partition(" and is ")
    assert was != now


def test_summary_and_durations() -> None:
    assert summary("x" * 60) == "x" * 60
    assert summary("x" * 61) == f"(61 characters: {'x' * 39}…)"
    assert summary({SECRET: "x" * 90}) == "(text with the iban of s1)"
    fields = {name * 9: "x" * 9 for name in "abcde"}
    assert summary(fields).endswith("aaaaaaaaa, bbbbbbbbb, ccccccccc and 2 more)")
    assert [duration(n) for n in (0, 9_999, 10_000, 10_800_000, 172_800_000, 180_000_000)] == [
        "0 ms",
        "9999 ms",
        "10 s",
        "3 h",
        "2 days",
        "2.0 days",
    ]
    assert [receiver(f) for f in ("wasm.ticket", "report.log", "lab.end")] == [
        "ticket",
        "the log",
        "lab.end",
    ]
