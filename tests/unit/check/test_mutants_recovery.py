"""Promises of the recovery checks that are easily lost: what is named, and what proves it."""

from tests.unit.check.builder import REFUND, History, check, codes

from chaoslab.contract import Contract, Limits, ToolContract

DIARY = Contract(tools={"diary": ToolContract(name="diary"), "refund": REFUND})


def tasks(count: int, status: str = "completed") -> History:
    h = History()
    for n in range(count):
        h.submit(f"s{n}-t1").outcome(f"s{n}-t1", status)
    return h.end()


def test_up_to_three_are_named() -> None:
    def told(count: int) -> str:
        limits = Limits(failed_tasks_max=0)
        h, control = tasks(count, "failed"), tasks(count)
        return (
            check("recovery.converges", h, limits=limits, control=control).violations[0].explanation
        )

    change = "completed became failed for s0-t1, s1-t1, s2-t1"
    assert told(3) == f"{change}, compared with the fault-free execution"
    assert told(4) == f"{change} and more, compared with the fault-free execution"


def test_a_task_that_is_in_no_record_is_missed_without_a_proof() -> None:
    (found,) = check("recovery.converges", History().end(), control=tasks(1)).violations
    assert found.explanation.startswith("completed became no outcome for s0-t1")
    assert found.witness == ()


def test_a_task_without_an_outcome_is_shown_by_its_last_handing_out() -> None:
    h = History().submit("s0-t1").submit("s0-t1", delivery=2).end()
    (found,) = check("recovery.converges", h, control=tasks(1)).violations
    assert found.witness == (1,)


def test_more_of_what_may_be_repeated_is_no_difference_in_whatever_words() -> None:
    def run(*words: str) -> History:
        h = History().submit("s1-t1")
        for text in words:
            h.done("diary", text, args={"text": text})
        return h.outcome("s1-t1").end()

    once, twice = run("began"), run("begun", "began again")
    assert codes("recovery.converges", twice, contract=DIARY, control=once) == []
    assert codes("recovery.converges", once, contract=DIARY, control=twice) == ["diverged/missing"]


def test_the_last_try_and_the_reports_of_all_that_tried_show_what_is_missing() -> None:
    control = History().submit("s1-t1").submit("s2-t1")
    control.done("notify", "o-1", task="s1-t1")
    control.outcome("s1-t1").outcome("s2-t1").end()
    h = History().submit("s1-t1").submit("s2-t1")
    for _ in range(3):
        last = h.ask("notify", "o-1", task="s2-t1")
        h.fail(last)
    h.outcome("s1-t1").outcome("s2-t1").end()
    (found,) = check("recovery.converges", h, control=control).violations
    ends = [op.index for op in h.ops if op.f == "task.outcome"]
    assert found.witness == (last, *ends)


def test_effects_in_another_order_are_the_same_end() -> None:
    def run(*refs: str) -> History:
        h = History().submit("s1-t1")
        for ref in refs:
            call = h.ask("audit", "o-1")
            h.ok(call, h.commit(call, ref))
        return h.outcome("s1-t1").end()

    again = [run("audit:2", "audit:1")]
    assert codes("recovery.deterministic", run("audit:1", "audit:2"), repeats=again) == []


def test_what_differs_is_listed_up_to_three() -> None:
    def run(*keys: str) -> History:
        h = History().submit("s1-t1")
        for key in keys:
            h.fail(h.ask("refund", "o-1", key=key))
        return h.outcome("s1-t1", "failed").end()

    (found,) = check("recovery.deterministic", run(*"abcd"), repeats=[run(*"abc")]).violations
    assert "a, b, c and 1 more in execution 1, a, b, c in execution 2" in found.explanation
    tries = tuple(op.index for op in run(*"abcd").ops if op.type == "invoke")
    assert found.witness == tries


def test_a_task_that_has_no_outcome_once_has_none() -> None:
    repeats = [tasks(1), History().submit("s0-t1").end()]
    (found,) = check("recovery.deterministic", tasks(1), repeats=repeats).violations
    assert "completed in execution 1, none in execution 3" in found.explanation
    assert (found.subject, found.witness) == ("s0-t1", (1,))


def test_a_task_that_only_a_repetition_knows_is_a_difference_without_a_place() -> None:
    (found,) = check("recovery.deterministic", History().end(), repeats=[tasks(1)]).violations
    assert found.witness == ()
    assert "none in execution 1, completed in execution 2" in found.explanation


def noted(*done: tuple[str, str, str], end: str = "completed") -> History:
    """(task, tool, marker) each done once; every task ends so."""
    names = dict.fromkeys(("s1-t1", *(task for task, _, _ in done)))
    h = History()
    for name in names:
        h.submit(name)
    for task, tool, marker in done:
        h.done(tool, marker, task=task)
    for name in names:
        h.outcome(name, end)
    return h.end()


def test_what_a_degraded_task_did_once_more_than_before_is_its_own_affair() -> None:
    h = noted(("s1-t1", "notify", "o-1"), end="failed")
    assert codes("recovery.converges", h, control=noted(end="failed")) == []
    assert codes("recovery.converges", h, control=noted()) == []  # no limit, so declared
    twice = noted(*[("s1-t1", "notify", "o-1")] * 2, end="failed")
    assert codes("recovery.converges", twice, control=noted()) == ["diverged/extra"]


def test_a_task_that_had_no_outcome_before_is_told_so() -> None:
    control = History().submit("s0-t1").end()
    (found,) = check("recovery.converges", tasks(1), control=control).violations
    assert found.anomaly == "no outcome became completed"


def test_the_proof_is_the_end_of_the_first_that_changed() -> None:
    limits = Limits(failed_tasks_max=0)
    (found,) = check(
        "recovery.converges", tasks(2, "failed"), limits=limits, control=tasks(2)
    ).violations
    assert found.witness == (1,)
    h = History().submit("s0-t1").submit("s0-t1", delivery=2).submit("s0-t1", delivery=3).end()
    (found,) = check("recovery.converges", h, control=tasks(1)).violations
    assert found.witness == (2,)


def test_what_is_in_order_hides_nothing() -> None:
    control = noted(("s1-t1", "audit", "a"), ("s1-t1", "diary", "b"), ("s1-t1", "notify", "c"))
    h = History().submit("s1-t1").submit("s2-t1")
    h.done("notify", "x", task="s2-t1")  # by a degraded task
    h.done("audit", "a")
    h.done("diary", "other words")
    h.outcome("s1-t1").outcome("s2-t1", "uncertain").end()
    control.submit("s2-t1").outcome("s2-t1")
    (found,) = check("recovery.converges", h, control=control).violations
    assert (found.subject, found.anomaly) == ("notify c", "missing")


def test_what_is_more_or_less_in_other_words_is_told_by_its_tool() -> None:
    def said(*words: str) -> History:
        return noted(*(("s1-t1", "say", text) for text in words))

    (more,) = check("recovery.converges", said("b", "c"), control=said("a")).violations
    assert (more.tool, more.subject, more.anomaly) == ("say", "say b", "extra")
    (less,) = check("recovery.converges", said("a"), control=said("b", "c")).violations
    assert (less.tool, less.subject, less.anomaly) == ("say", "say b", "missing")


def test_what_diverged_is_listed_up_to_three() -> None:
    def told(count: int) -> str:
        h = noted(*(("s1-t1", "notify", f"o-{n}") for n in range(count)))
        (found,) = check("recovery.converges", h, control=noted()).violations
        return found.explanation

    each = ", ".join(f"o-{n} (now 1, without the faults 0)" for n in range(3))
    assert each in told(3)
    assert not told(3).endswith(" and more")
    assert told(4).endswith(f"{each} and more")


def test_the_proof_of_too_much_is_its_first_commit() -> None:
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    ref = h.commit(call)
    first = h.ops[-1].index
    h.commit(call, ref)
    h.ok(call, ref)
    h.outcome("s1-t1").end()
    (found,) = check("recovery.converges", h, control=noted()).violations
    assert found.witness == (first,)


def test_a_missing_action_of_tasks_without_an_end_is_shown_by_its_tries() -> None:
    control = noted()
    control.done("notify", "o-1", task="s9-t9")  # a task that was never handed out
    h = History().submit("s1-t1").submit("s2-t1")
    (found,) = check("recovery.converges", h.outcome("s1-t1").end(), control=control).violations
    assert (found.subject, found.witness) == ("notify o-1", ())
    tried = h.ask("notify", "o-1", task="s2-t1")
    h.fail(tried)
    (found,) = check("recovery.converges", h, control=control).violations
    assert found.witness == (tried,)


def test_what_only_a_repetition_did_is_shown_by_how_its_tasks_ended_here() -> None:
    other = noted(("s1-t1", "notify", "o-1"), ("s2-t1", "notify", "o-1"))
    h = History().submit("s1-t1").submit("s2-t1").submit("s2-t1", delivery=2).submit("s3-t1")
    h.submit("s2-t1", delivery=3).outcome("s1-t1").end()
    found = check("recovery.deterministic", h, repeats=[other]).violations
    (effects,) = (v for v in found if v.anomaly == "effects")
    assert effects.witness == (4, 5)


def test_what_was_only_tried_here_is_shown_by_the_tries() -> None:
    h = History().submit("s1-t1")
    tried = h.ask("notify", "o-1")
    h.fail(tried)
    h.outcome("s1-t1").end()
    again = noted(("s1-t1", "notify", "o-1"))
    (found,) = check("recovery.deterministic", h, repeats=[again]).violations
    assert found.witness == (tried,)
    (found,) = check("recovery.deterministic", again, repeats=[h]).violations
    assert [again.ops[n].type for n in found.witness] == ["commit"]


def test_who_was_to_do_it_is_told_by_both_executions() -> None:
    h = History().submit("s1-t1").submit("s2-t1").intent("notify", "o-1", "s1-t1")
    h.outcome("s1-t1", "failed").outcome("s2-t1").end()
    again = History().submit("s1-t1").submit("s2-t1")
    again.done("notify", "o-1", task="s2-t1")
    again.outcome("s1-t1", "failed").outcome("s2-t1").end()
    (found,) = check("recovery.deterministic", h, repeats=[again]).violations
    assert [h.ops[n].task for n in found.witness] == ["s2-t1"]
