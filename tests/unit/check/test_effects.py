"""effects.delivery: what stands in the ledger, by action, whatever the way it got there."""

import pytest
from tests.unit.check.builder import CONTRACT, History, check, codes

ID = "effects.delivery"


def test_once_and_claimed_is_valid() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="k")
    h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end()
    found = check(ID, h)
    assert (found.verdict, found.looked_at, found.reason) == ("valid", 1, "looked at 1 operations")


def test_nothing_asked_is_not_applicable() -> None:
    found = check(ID, History().submit("s1-t1").outcome("s1-t1").end())
    assert found.verdict == "not-applicable"
    assert found.reason == "no tool was asked for anything"


@pytest.mark.parametrize(
    ("keys", "anomaly"), [(("a", "b"), "key-changed"), (("a", "a"), "key-forgotten")]
)
def test_twice_with_keys(keys: tuple[str, str], anomaly: str) -> None:
    h = History().submit("s1-t1")
    for key in keys:
        h.done("refund", "o-1", key=key)
    h.outcome("s1-t1").end()
    found = check(ID, h)
    assert [v.code for v in found.violations] == ["duplicate-effect"]
    assert found.violations[0].anomaly == anomaly
    assert found.violations[0].witness == (1, 2, 4, 5)


def test_three_times_is_one_violation_with_the_first_two_as_witness() -> None:
    h = History().submit("s1-t1")
    for key in "abc":
        h.done("refund", "o-1", key=key)
    found = check(ID, h.end())
    assert len(found.violations) == 1
    assert "3 × refund" in found.violations[0].explanation
    assert len(found.violations[0].witness) == 4


def test_same_ref_twice_is_one_effect() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    h.commit(call, ref="r")
    h.commit(call, ref="r")
    assert codes(ID, h.outcome("s1-t1").end()) == []


@pytest.mark.parametrize("tool", ["notify", "refund"])
def test_a_request_that_the_network_doubles(tool: str) -> None:
    """An un-keyed tool, or a key that the service failed to honour: not the agent's doing."""
    h = History().submit("s1-t1")
    call = h.ask(tool, "o-1", key="k" if tool == "refund" else None)
    h.commit(call)
    h.strike(call, "duplicate", "after-commit")
    h.commit(call)
    assert codes(ID, h.outcome("s1-t1").end()) == []


def test_a_doubled_request_without_the_key_that_was_on_offer() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1")
    h.commit(call)
    h.commit(call)
    assert codes(ID, h.outcome("s1-t1").end()) == ["duplicate-effect/one-request-without-key"]


def test_unkeyed_retry_restart_and_late_commit() -> None:
    def twice(kill_at: str, second: str) -> list[str]:
        h = History().start("p1").submit("s1-t1")
        first = h.ask("notify", "o-1")
        if kill_at != "late":
            h.commit(first)
        if kill_at != "never":
            h.kill("p1")
            h.start("p2")
        again = h.ask("notify", "o-1", process=second)
        h.commit(again)
        if kill_at == "late":
            h.commit(first)
        return codes(ID, h.outcome("s1-t1", "uncertain").end())

    assert twice("never", "p1") == ["duplicate-effect/un-keyed-retry"]
    assert twice("early", "p2") == ["duplicate-effect/repeated-after-restart"]
    assert twice("late", "p2") == ["duplicate-effect/late-commit-of-a-dead-process"]
    assert twice("never", "p2") == ["duplicate-effect/two-processes-at-once"]


def test_across_tasks_needs_declared_identity() -> None:
    def both(tool: str) -> list[str]:
        h = History().submit("s1-t1").submit("s1-t2")
        h.done(tool, "same", key="a", task="s1-t1")
        h.done(tool, "same", key="b", task="s1-t2")
        return codes(ID, h.outcome("s1-t1").outcome("s1-t2").end())

    assert both("refund") == ["duplicate-effect/repeated-across-tasks"]
    assert both("say") == []  # two tasks may well say the same words


def test_at_least_once_may_repeat_but_must_not_be_claimed_in_vain() -> None:
    h = History().submit("s1-t1")
    ref = h.done("audit", "o-1")
    h.done("audit", "o-1")
    assert codes(ID, h.outcome("s1-t1", "completed", ("audit", "o-1", ref)).end()) == []
    h = History().submit("s1-t1").outcome("s1-t1", "completed", ("audit", "o-1")).end()
    assert codes(ID, h) == ["missing-effect/claimed"]


def test_compensation_nets_out() -> None:
    h = History().submit("s1-t1")
    first = h.done("refund", "o-1", key="a")
    h.done("void", first, undoes=first)
    again = h.done("refund", "o-1", key="b")
    assert codes(ID, h.outcome("s1-t1", "completed", ("refund", "o-1", again)).end()) == []


def test_compensated_and_failed_is_fine_but_claiming_it_is_not() -> None:
    def saga(*claims: tuple[str, str]) -> list[str]:
        h = History().submit("s1-t1")
        ref = h.done("refund", "o-1", key="a")
        h.done("void", ref, undoes=ref)
        return codes(ID, h.outcome("s1-t1", "completed", *claims).end())

    assert saga() == []
    assert saga(("refund", "o-1")) == ["missing-effect/claimed-after-compensation"]


def test_cancelled_by_a_later_task_does_not_make_the_claim_a_lie() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).submit("s1-t2")
    h.done("void", ref, undoes=ref, task="s1-t2")
    assert codes(ID, h.outcome("s1-t2").end()) == []


def test_undone_by_its_own_task_after_the_outcome() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.outcome("s1-t1", "completed", ("refund", "o-1", ref))
    h.done("void", ref, undoes=ref, process="p2")
    assert codes(ID, h.end()) == ["missing-effect/claimed-after-compensation"]


def test_at_most_once_may_be_missing_here() -> None:
    """That it was claimed all the same is for `outcome.honest` to say."""
    h = History().submit("s1-t1").outcome("s1-t1", "completed", ("notify", "o-1")).end()
    assert codes(ID, h) == []
    assert codes("outcome.honest", h) == ["claimed-not-done"]


def test_a_tool_that_undoes_its_own_effect() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="a")
    ref = h.commit(call)
    h.commit(h.ask("refund", "o-1", key="undo"), undoes=ref)
    assert codes(ID, h.outcome("s1-t1", "failed").end()) == []


def test_completed_but_never_done() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="a")
    h.info(call)
    h.outcome("s1-t1").end()
    assert codes(ID, h) == ["missing-effect/reported-completed"]
    assert check(ID, h).violations[0].witness == (1, 3)


@pytest.mark.parametrize("status", ["failed", "uncertain", "quarantined", "deferred"])
@pytest.mark.parametrize("done", [True, False])
def test_honest_ends_may_have_it_or_not(status: str, done: bool) -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="a")
    if done:
        h.commit(call)
    h.info(call)
    assert codes(ID, h.outcome("s1-t1", status).end()) == []


def test_refused_and_replaced_by_something_else() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="a"), "unavailable")
    ref = h.done("ship", "o-1", key="b")
    assert codes(ID, h.outcome("s1-t1", "completed", ("ship", "o-1", ref)).end()) == []
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="a"), "unavailable")
    assert codes(ID, h.outcome("s1-t1").end()) == ["missing-effect/reported-completed"]


def test_unexpected_effect() -> None:
    h = History().submit("s1-t1")
    h.add("commit", "tools.refund", {"ref": "x"}, marker="o-9")
    assert codes(ID, h.end()) == ["unexpected-effect"]


def test_a_record_that_was_cut_short_proves_no_absence() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "completed", ("refund", "o-1"))
    found = check(ID, h)
    assert (found.verdict, found.violations) == ("unknown", ())


def test_wasm_guest_commits_under_its_tool() -> None:
    h = History().submit("s1-t1")
    call = h.wasm("i1", "o-1", key="k")
    ref = h.commit(call, tool="ticket")
    h.ok(call, output={"ref": ref})
    assert codes(ID, h.outcome("s1-t1", "completed", ("ticket", "o-1", ref)).end()) == []
    h = History().submit("s1-t1")
    call = h.wasm("i1", "o-1", key="k")
    ref = h.commit(call, tool="workshop")  # another name than the module's
    h.ok(call)
    assert codes(ID, h.outcome("s1-t1", "completed", ("ticket", "o-1", ref)).end()) == []


def test_wasm_call_that_asks_nothing_recognisable() -> None:
    h = History().submit("s1-t1")
    h.ok(h.wasm("i1", "null", export="count"), output=1)
    assert codes(ID, h.outcome("s1-t1").end()) == []


def test_self_resume_without_a_task_belongs_to_the_task_that_began_it() -> None:
    h = History().start("p1").submit("s1-t1")
    first = h.ask("refund", "o-1", key="a")
    h.kill("p1").start("p2")
    h.commit(h.ask("refund", "o-1", key="b", task="", process="p2"))
    h.commit(first)
    assert codes(ID, h.outcome("s1-t1", "uncertain").end()) == ["duplicate-effect/key-changed"]


def test_fingerprint_is_free_of_ids() -> None:
    prints = set()
    for marker, key in (("o-1", "k"), ("o-2", "z")):
        h = History().submit(f"s{key}-t1")
        h.done("refund", marker, key=key)
        h.done("refund", marker, key=key + "x")
        prints.add(check(ID, h.end()).violations[0].fingerprint)
    assert len(prints) == 1
    assert CONTRACT.tool("refund").promise == "exactly-once"
