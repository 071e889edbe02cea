"""What the joined view promises to every check, where a story shows it."""

from dataclasses import replace

from tests.unit.check.builder import History, check, codes

from chaoslab.check.facts import Facts


def facts_of(h: History) -> Facts:
    return Facts(h.view())


def test_a_conflict_is_no_refusal() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="a"), "conflict")
    h.info(h.ask("refund", "o-1", key="b"))
    h.outcome("s1-t1", "uncertain").end()
    assert codes("keys.lineage", h) == ["key-changed/on-retry"]


def test_a_conflict_excuses_no_completed_task() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="a"), "conflict")
    r = h.done("audit", "o-1")
    h.outcome("s1-t1", "completed", ("audit", "o-1", r)).end()
    assert codes("effects.delivery", h) == ["missing-effect/reported-completed"]


def test_a_deferred_outcome_stands_only_until_another_comes() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "deferred")
    h.submit("s1-t1", delivery=2).outcome("s1-t1", "failed").outcome("s1-t1", "completed").end()
    task = facts_of(h).tasks["s1-t1"]
    assert task.status == "failed"
    assert [op.get("status") for op in task.others] == ["completed"]


def test_an_entry_belongs_to_the_task_of_its_request() -> None:
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k")
    h.commit(call)
    h.ops[-1] = replace(h.ops[-1], task="")
    facts = facts_of(h)
    assert facts.effects["refund", "o-1"][0].task == "s1-t1"
    assert facts.task_of("refund", h.ops[-1]) == "s1-t1"


def test_work_outside_of_tasks_belongs_to_the_one_that_meant_it() -> None:
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1", key="k")
    call = h.ask("refund", "o-1", key="k", task="")
    h.info(call)
    h.outcome("s1-t1", "completed").end()
    assert facts_of(h).tasks_of(("refund", "o-1")) == {"s1-t1"}
    (found,) = check("effects.delivery", h).violations
    assert found.witness[0] == call


def test_work_that_nobody_meant_belongs_to_nobody() -> None:
    h = History()
    call = h.ask("refund", "o-1", key="k", task="")
    facts = facts_of(h)
    assert facts.task_of("refund", h.ops[call]) == ""
    assert facts.tasks_of(("refund", "o-1")) == set()


def test_what_was_done_by_an_unknown_request_makes_a_claim_true() -> None:
    h = History().submit("s1-t1")
    h.add("commit", "tools.notify", {"ref": "notify:o-1#1"}, marker="o-1")
    h.outcome("s1-t1", "completed", ("notify", "o-1", "notify:o-1#1")).end()
    assert codes("outcome.honest", h) == []


def test_an_undoing_by_nobody_known_makes_a_claim_untrue() -> None:
    h = History().submit("s1-t1")
    r = h.done("refund", "o-1", key="k")
    h.outcome("s1-t1", "completed", ("refund", "o-1", r))
    h.add("commit", "tools.void", {"ref": "void:1", "compensates": r}, marker=r)
    assert codes("outcome.honest", h.end()) == ["claimed-not-done/undone"]


def test_a_guest_that_commits_twice_under_its_key_is_not_the_network() -> None:
    h = History().submit("s1-t1")
    call = h.wasm("i1", "o-1", key="k")
    h.commit(call, tool="ticket")
    h.commit(call, tool="ticket")
    h.ok(call)
    h.outcome("s1-t1", "completed").end()
    assert codes("effects.delivery", h) == ["duplicate-effect/twice-in-one-call"]


def test_what_the_network_doubled_hides_no_repeat() -> None:
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    h.commit(call)
    h.commit(call)
    h.info(call)
    h.done("notify", "o-1")
    h.outcome("s1-t1", "completed").end()
    (found,) = check("effects.delivery", h).violations
    assert (found.anomaly, found.explanation[:3]) == ("un-keyed-retry", "2 ×")


def test_an_unknown_request_counts_in_the_goal_too() -> None:
    def run(times: int) -> History:
        h = History().submit("s1-t1")
        for n in range(times):
            h.add("commit", "tools.notify", {"ref": f"notify:o-1#{n}"}, marker="o-1")
        return h.outcome("s1-t1", "completed").end()

    assert check("recovery.converges", run(1), control=run(1)).verdict == "valid"
    assert codes("recovery.converges", run(2), control=run(1)) == ["diverged/extra"]
