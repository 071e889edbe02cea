"""lifecycle.legal and lifecycle.quarantine."""

import pytest
from tests.unit.check.builder import History, check, codes

LEGAL = "lifecycle.legal"
QUARANTINE = "lifecycle.quarantine"


def _walk(*states: str) -> History:
    h = History().start("p1")
    for state in states:
        h.move("s1", state)
    return h


@pytest.mark.parametrize(
    "states",
    [
        "initialized active waiting-for-tool active completed active failed active",
        "active active waiting-for-tool waiting-for-tool completed completed",
        "initialized quarantined quarantined",
        "active waiting-for-tool failed active quarantined",
        "quarantined",
    ],
)
def test_legal(states: str) -> None:
    found = check(LEGAL, _walk(*states.split()).end())
    assert (found.verdict, found.looked_at) == ("valid", len(states.split()))


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ("initialized waiting-for-tool", "illegal-move/initialized to waiting-for-tool"),
        ("active completed waiting-for-tool", "illegal-move/completed to waiting-for-tool"),
        ("active completed failed", "illegal-move/completed to failed"),
        ("completed", "illegal-move/nothing to completed"),
        ("active thinking", "unknown-state"),
        ("active quarantined active", "left-quarantine/active"),
        ("active quarantined completed", "left-quarantine/completed"),
    ],
)
def test_illegal(states: str, code: str) -> None:
    assert codes(LEGAL, _walk(*states.split()).end()) == [code]


def test_no_moves_reported() -> None:
    assert check(LEGAL, History().submit("s1-t1").end()).verdict == "not-applicable"


@pytest.mark.parametrize("first", ["initialized", "active", "waiting-for-tool", "completed"])
def test_a_new_process_begins_anew_or_goes_on_from_what_stood(first: str) -> None:
    h = _walk("initialized", "active", "waiting-for-tool").kill("p1").start("p2")
    assert codes(LEGAL, h.move("s1", first, "p2").end()) == []


def test_two_processes_and_two_tasks_are_followed_apart() -> None:
    h = History().start("p1").start("p2")
    h.move("s1", "active", "p1").move("s1", "completed", "p1")
    h.move("s1", "active", "p2").move("s1", "waiting-for-tool", "p2")
    h.move("s2", "active", task="s2-t1").move("s2", "active", task="s2-t2")
    h.move("s2", "completed", task="s2-t1").move("s2", "waiting-for-tool", task="s2-t2")
    assert codes(LEGAL, h.end()) == []


def test_the_operator_lets_go() -> None:
    h = _walk("active", "quarantined").event("session.release", session="s1")
    assert codes(LEGAL, h.move("s1", "active").end()) == []


def test_a_restart_does_not_end_a_quarantine() -> None:
    h = _walk("active", "quarantined").kill("p1").start("p2").move("s1", "initialized", "p2")
    assert codes(LEGAL, h.end()) == ["left-quarantine/initialized"]


def _other_process(*, read: bool = False, wait_ms: int = 0, pause: bool = False) -> History:
    h = History().start("p1").start("p2").move("s1", "active", "p1").move("s1", "active", "p2")
    h.move("s1", "quarantined", "p1")
    if read:
        h.read("state/s1", None, "p2", "s1-t1")
    if pause:
        h.event("process.pause", process="p2")
    h.wait(wait_ms)
    if pause:
        h.event("process.resume", process="p2")
    h.move("s1", "waiting-for-tool", "p2")
    h.ask("notify", "o-1", process="p2")
    return h.end()


def test_another_process_learns_by_reading_or_in_time() -> None:
    for fine in (
        _other_process(),
        _other_process(wait_ms=29_000),
        _other_process(wait_ms=90_000, pause=True),
    ):
        assert codes(LEGAL, fine) == codes(QUARANTINE, fine) == []
    for broken in (_other_process(read=True), _other_process(wait_ms=31_000)):
        assert codes(LEGAL, broken) == ["left-quarantine/waiting-for-tool"]
        assert codes(QUARANTINE, broken) == ["work-in-quarantine"]


def test_work_in_quarantine() -> None:
    h = History().start("p1").submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="k"))
    h.move("s1", "quarantined")
    again = h.ask("refund", "o-1", key="k")
    h.invoke("model.complete", {"messages": []}, "s1-t1")
    h.wasm("i1", "o-2", key="z")
    found = check(QUARANTINE, h.end())
    assert [(v.code, v.anomaly, v.tool) for v in found.violations] == [
        ("work-in-quarantine", "retry", "refund"),
        ("work-in-quarantine", "", ""),
        ("work-in-quarantine", "", "ticket"),
    ]
    assert found.violations[0].witness == (4, again)


def test_what_may_go_on_in_quarantine() -> None:
    h = History().start("p1").submit("s1-t1").submit("s2-t1")
    flying = h.ask("refund", "o-1", key="k")
    h.move("s1", "quarantined")
    h.ok(flying, h.commit(flying))
    h.read("state/s1", None, "p1", "s1-t1")
    h.write("state/s1", "quarantined", task="s1-t1")
    h.invoke("tools.refund.lookup", {"args": {}, "lookup": True}, "s1-t1", marker="o-1")
    h.invoke("wasm.instantiate", {"module": "ticket"}, "s1-t1")
    h.ask("refund", "o-2", key="z", task="s2-t1")
    found = check(QUARANTINE, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 1)


def test_after_the_release_work_goes_on() -> None:
    h = History().start("p1").move("s1", "quarantined").event("session.release", session="s1")
    h.ask("refund", "o-1", key="k")
    assert codes(QUARANTINE, h.end()) == []
    h.move("s1", "active").move("s1", "quarantined")
    h.ask("refund", "o-1", key="k")
    assert codes(QUARANTINE, h) == ["work-in-quarantine/retry"]


def test_no_quarantine_is_not_applicable() -> None:
    assert check(QUARANTINE, _walk("active").end()).verdict == "not-applicable"
