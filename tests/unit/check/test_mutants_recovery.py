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
