"""Promises of the lifecycle checks that are easily lost: who knows of a quarantine, and when."""

import pytest
from tests.unit.check.builder import History, check, codes

SECONDS = 1_000


def two_processes() -> History:
    """p1 put s1 into quarantine; p2 was there before and has not heard of it."""
    h = History().start("p1").start("p2").submit("s1-t1").submit("s1-t2", "p2")
    return h.move("s1", "active").move("s1", "quarantined")


def works(h: History, process: str = "p2") -> History:
    """The process sends something for s1."""
    h.ok(h.ask("notify", "o-1", task="s1-t2", process=process))
    return h


def reads(h: History, f: str = "memory.read", session: str = "s1", at: str = "primary") -> int:
    task = f"{session}-t2" if session else ""
    return h.invoke(f, {"id": "session/s1", "prefix": "session/", "at": at}, task, "p2")


def quarantine(h: History) -> list[str]:
    return codes("lifecycle.quarantine", h.end())


def test_who_reports_it_too_knows_of_it() -> None:
    h = two_processes().move("s1", "quarantined", "p2")
    assert quarantine(works(h)) == ["work-in-quarantine"]


@pytest.mark.parametrize("f", ["memory.read", "memory.scan"])
@pytest.mark.parametrize("session", ["s1", ""])
def test_a_reading_tells(f: str, session: str) -> None:
    h = two_processes()
    h.ok(reads(h, f, session), items=[])
    assert quarantine(works(h)) == ["work-in-quarantine"]


def test_a_reading_for_another_session_tells_nothing() -> None:
    h = two_processes()
    h.ok(reads(h, session="s2"))
    assert quarantine(works(h)) == []


def test_a_reading_of_a_copy_tells_nothing() -> None:
    h = two_processes()
    h.ok(reads(h, at="replica"))
    assert quarantine(works(h)) == []


def test_a_reading_that_fails_or_is_not_over_tells_nothing() -> None:
    h = two_processes()
    h.fail(reads(h), "unavailable")
    reads(h)
    assert quarantine(works(h)) == []


def test_a_reading_that_began_before_tells_nothing() -> None:
    h = History().start("p1").start("p2").submit("s1-t1").submit("s1-t2", "p2")
    begun = reads(h)
    h.move("s1", "active").move("s1", "quarantined")
    h.ok(begun)
    assert quarantine(works(h)) == []


def test_a_reading_by_another_process_tells_only_that_one() -> None:
    h = two_processes().start("p3")
    call = h.invoke("memory.read", {"id": "session/s1", "at": "primary"}, "s1-t2", "p3")
    h.ok(call)
    assert quarantine(works(h)) == []


def test_half_a_minute_is_enough_and_less_is_not() -> None:
    h = two_processes().wait(30 * SECONDS - 1)
    assert quarantine(works(h)) == []
    h = two_processes().wait(30 * SECONDS)
    assert quarantine(works(h)) == ["work-in-quarantine"]


def test_the_half_minute_begins_anew_after_a_pause_of_its_own() -> None:
    def late(process: str) -> History:
        h = two_processes().wait(29 * SECONDS)
        h.event("process.resume", {"region": "east"}, process=process)
        return works(h.wait(2 * SECONDS))

    assert quarantine(late("p2")) == []
    assert quarantine(late("p1")) == ["work-in-quarantine"]


def test_a_pause_before_it_or_after_the_work_does_not_count() -> None:
    h = History().start("p1").start("p2").submit("s1-t1").submit("s1-t2", "p2")
    h.event("process.resume", {"region": "east"}, process="p2")
    h.move("s1", "active").move("s1", "quarantined").wait(31 * SECONDS)
    works(h).event("process.resume", {"region": "east"}, process="p2")
    assert quarantine(h) == ["work-in-quarantine"]


def test_a_second_quarantine_is_one_of_its_own() -> None:
    h = two_processes().event("session.release", session="s1")
    works(h, "p1")  # between the two
    h.move("s1", "active").move("s1", "quarantined")
    works(h)  # p2 has read neither
    works(h, "p1")
    (found,) = check("lifecycle.quarantine", h.end()).violations
    assert found.explanation.startswith("p1 asked for notify o-1 again")


def test_a_release_without_a_quarantine_changes_nothing() -> None:
    h = History().event("session.release", session="s1").start("p1").submit("s1-t1")
    h.move("s1", "active").move("s1", "completed").end()
    assert codes("lifecycle.legal", h) == []
    assert check("lifecycle.quarantine", h).verdict == "not-applicable"


def test_a_release_lets_go_of_one_session_only() -> None:
    h = History().start("p1").submit("s1-t1").submit("s2-t1")
    for session in ("s1", "s2"):
        h.move(session, "active", task=f"{session}-t1")
        h.move(session, "quarantined", task=f"{session}-t1")
    h.event("session.release", session="s1")
    h.move("s1", "initialized", task="s1-t1").move("s2", "initialized", task="s2-t1")
    (found,) = check("lifecycle.legal", h.end()).violations
    assert (found.code, found.subject) == ("left-quarantine", "s2")


def test_a_release_is_for_those_in_quarantine() -> None:
    h = History().start("p1").start("p2").submit("s1-t1").submit("s1-t2", "p2")
    h.move("s1", "active", "p2", "s1-t2").move("s1", "completed", "p2", "s1-t2")
    h.move("s1", "active", "p1", "s1-t1").move("s1", "quarantined", "p1", "s1-t1")
    h.event("session.release", session="s1")
    h.move("s1", "initialized", "p2", "s1-t2")  # p2 stood at completed
    assert codes("lifecycle.legal", h.end()) == ["illegal-move/completed to initialized"]


def test_a_new_process_goes_on_from_what_stood_last() -> None:
    h = History().start("p1").submit("s1-t1").move("s1", "active").kill("p1").start("p2")
    h.move("s1", "completed", "p2").kill("p2").start("p3")
    h.move("s1", "waiting-for-tool", "p3")
    assert codes("lifecycle.legal", h.end()) == ["illegal-move/nothing to waiting-for-tool"]


def test_an_unknown_state_is_no_step() -> None:
    h = History().start("p1").submit("s1-t1").move("s1", "active").move("s1", "asleep")
    h.move("s1", "waiting-for-tool").move("s1", "gone").move("s1", "completed").end()
    assert codes("lifecycle.legal", h) == ["unknown-state", "unknown-state"]


def test_a_breach_is_told_and_the_way_goes_on_from_there() -> None:
    h = History().start("p1").submit("s1-t1").move("s1", "initialized")
    h.move("s1", "failed").move("s1", "waiting-for-tool").move("s1", "active").end()
    found = check("lifecycle.legal", h)
    assert [v.anomaly for v in found.violations] == [
        "initialized to failed",
        "failed to waiting-for-tool",
    ]
    assert found.looked_at == 4


@pytest.mark.parametrize("late", [False, True])
def test_only_new_requests_count(late: bool) -> None:
    h = History().start("p1").submit("s1-t1").move("s1", "active")
    call = h.ask("notify", "o-1")
    h.move("s1", "quarantined")
    h.ok(call, h.commit(call))
    if late:
        h.ok(h.wasm("i1", "o-1", key="k"))
    h.done("notify", "o-9", task="s2-t1")
    expected = ["p1 asked for ticket o-1 in s1, which was quarantined"] if late else []
    found = check("lifecycle.quarantine", h.end())
    assert [v.explanation for v in found.violations] == expected
    assert found.looked_at == 1


def test_after_a_release_every_task_of_the_session_may_begin_anew() -> None:
    h = History().start("p1").submit("s1-t1").submit("s1-t2")
    h.move("s1", "active", task="s1-t1").move("s1", "quarantined", task="s1-t2")
    h.event("session.release", session="s1").move("s1", "initialized", task="s1-t1").end()
    assert codes("lifecycle.legal", h) == []


def test_who_left_before_the_release_does_not_hold_back_the_other_task() -> None:
    h = History().start("p1").submit("s1-t1").submit("s1-t2")
    h.move("s1", "quarantined", task="s1-t1").move("s1", "active", task="s1-t2")
    h.event("session.release", session="s1").move("s1", "initialized", task="s1-t1").end()
    assert codes("lifecycle.legal", h) == ["left-quarantine/active"]


def test_a_process_that_comes_after_the_release_completes_nothing_out_of_nothing() -> None:
    h = History().start("p1").submit("s1-t1").move("s1", "quarantined")
    h.event("session.release", session="s1").start("p2").move("s1", "completed", "p2")
    said = h.ops[-1].index
    (found,) = check("lifecycle.legal", h.end()).violations
    assert found.explanation == "p2 moved s1 from nothing to completed"
    assert found.witness == (said,)


def test_a_move_to_nowhere_is_to_an_unknown_state() -> None:
    h = History().event("report.transition", {}, session="s1", process="p1").end()
    (found,) = check("lifecycle.legal", h).violations
    assert found.explanation == "p1 reports s1 as '', which is no state"
    assert (found.code, found.anomaly) == ("unknown-state", "")


def test_what_is_asked_for_another_session_hides_nothing() -> None:
    h = two_processes()
    h.done("notify", "o-9", task="s2-t1")
    assert quarantine(works(h, "p1")) == ["work-in-quarantine"]


def test_a_tool_is_told_by_its_whole_name() -> None:
    h = two_processes()
    h.fail(h.ask("crm.update", "o-1", task="s1-t1"))
    (found,) = check("lifecycle.quarantine", h.end()).violations
    assert found.tool == "crm.update"


def test_the_model_is_asked_again_in_every_turn() -> None:
    h = two_processes()
    h.invoke("model.complete", {"messages": []}, "s1-t1", "p1", marker="turn-1", attempt=2)
    assert quarantine(h) == ["work-in-quarantine"]
