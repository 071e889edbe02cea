"""memory.policy and memory.retention; and all six rules of the contract against pure noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.check.builder import CONTRACT, History, check, codes, verdicts

from chaoslab.check import because
from chaoslab.contract import Attribute, Budget, Capacity, Contract, Egress, MemoryClass

POLICY, RETENTION = "memory.policy", "memory.retention"
MARK, CANARY = "[home:r1:street]", "cnry-s1-0123abcd"
RULES = replace(
    CONTRACT,
    memory={
        "policy": MemoryClass(name="policy", prefix="policy/v", immutable=True),
        "draft": MemoryClass(name="draft", prefix="policy/v-draft"),
        "profile": MemoryClass(name="profile", prefix="profile/", retention_ms=1_000, skew_ms=10),
        "note": MemoryClass(name="note", prefix="profile/note"),
    },
)


# -- memory.policy


def policy(h: History) -> list[str]:
    return codes(POLICY, h.end(), contract=RULES)


def test_not_promised() -> None:
    h = History()
    h.write("policy/v1", 1)
    h.write("policy/v1", 2)
    for id in (POLICY, RETENTION):
        found = check(id, h, contract=Contract())
        assert (found.verdict, found.reason[:3]) == ("not-applicable", "no ")
    assert check(POLICY, History(), contract=RULES).verdict == "not-applicable"


def test_another_value_over_a_version_is_one_line_an_item() -> None:
    h = History()
    for value in (1, 2, 1, 3):
        h.write("policy/v1", value)
    h.write("policy/v2", 1)
    found = check(POLICY, h.end(), contract=RULES)
    assert [(v.code, v.subject, v.witness) for v in found.violations] == [
        ("rewritten", "policy/v1", (1, 4))
    ]
    assert "the same process" in found.violations[0].explanation
    assert found.looked_at == 5


def test_the_same_value_and_other_classes_are_free() -> None:
    h = History()
    for id in ("policy/v1", "policy/current", "policy/v-draft", "x"):
        h.write(id, {"a": 1, "b": [2]})
        h.write(id, {"b": [2], "a": 1} if id == "policy/v1" else 7)
    assert policy(h) == []


def test_what_stood_there_counts_and_not_what_was_written_last() -> None:
    """A failover brings version 1 back; version 2, which it discarded, may be written again."""
    h = History()
    h.write("policy/v1", "a")
    first = h._standing["policy/v1"]
    h.write("policy/v1", "a")  # the same once more, and lost with the region
    h._standing["policy/v1"] = first
    h.write("policy/v1", "a", "p2")
    assert policy(h) == []
    h._standing["policy/v1"] = first
    h.write("policy/v1", "b", "p2")
    found = check(POLICY, h.end(), contract=RULES).violations
    assert ["another process" in v.explanation for v in found] == [True]


def _erase(h: History, id: str, over: Any) -> None:
    value = {"id": id, "erased": True, "over": over, "fence": None, "region": "east"}
    h.add("commit", "memory.erase", {**value, "version": [1, 99]}, process="p1")


def test_erasing_what_is_not_there_takes_nothing_away() -> None:
    h = History()
    _erase(h, "policy/v1", None)
    assert policy(h) == []
    first = h.write("policy/v1", 1)
    _erase(h, "policy/v1", h._standing["policy/v1"])
    found = check(POLICY, h.end(), contract=RULES).violations
    assert [(v.code, v.witness) for v in found] == [("erased", (first, first + 2))]


def test_what_nobody_wrote_on_record_cannot_be_compared() -> None:
    h = History()
    h._standing["policy/v1"] = [1, 77]
    h.write("policy/v1", 1)
    found = check(POLICY, h.end(), contract=RULES)
    assert (found.verdict, found.reason) == (
        "unknown",
        "what #1 overwrote in policy/v1 is not on record",
    )


# -- memory.retention


def store(h: History, value: Any, ttl: int | None, id: str = "profile/s1", task: str = "") -> int:
    call = h.invoke("memory.write", {"id": id, "value": value}, task, marker=id)
    return h.store(call, id, value, expires_ms=None if ttl is None else h.ms + ttl)


def retention(h: History, contract: Contract = RULES) -> list[str]:
    return codes(RETENTION, h.end(), contract=contract)


@pytest.mark.parametrize(
    ("ttl", "said"),
    [
        (1_011, []),  # the commit is a moment later than the request, and clocks differ
        (1_012, ["kept-too-long/expires-too-late"]),
        (None, ["kept-too-long/no-expiry"]),
        (-5, []),
    ],
)
def test_how_long_an_item_is_kept(ttl: int | None, said: list[str]) -> None:
    h = History()
    store(h, "x", ttl)
    assert retention(h) == said


def test_keeping_is_one_line_a_class_and_a_longer_prefix_is_another_class() -> None:
    h = History()
    for n in range(3):
        store(h, "x", None, f"profile/s{n}")
        store(h, "x", None, "profile/note")
        store(h, "x", None, "elsewhere")
    assert retention(h) == ["kept-too-long/no-expiry"]


def send(h: History, place: str, text: str, task: str = "s1-t2") -> int:
    if place == "task.outcome":
        h.outcome(task, "completed", answer={"to": text})
    elif place.startswith("report."):
        h.event(place, {"text": text}, task=task, session="s1", process="p1")
    elif place == "model.complete":
        value = {"messages": [{"role": "user", "content": text}], "extends": 0}
        h.invoke(place, value, task, marker="turn-1")
    else:
        h.invoke(place, {"args": {"to": text}, "body": text}, task)
    return len(h.ops) - 1


PLACES = ["tools.ship", "tools.ship.lookup", "wasm.ticket", "model.complete", "network.request"]
PLACES += ["report.log", "report.transition", "task.outcome", "report.outcome"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("token", [MARK, CANARY, f"attr-iban:{CANARY}"])
def test_used_after_expiry(place: str, token: str) -> None:
    h = History()
    commit = store(h, {"nested": [token]}, 500)
    send(h, place, token)
    h.wait(600)
    used = send(h, place, f"for {token}, thanks")
    found = check(RETENTION, h.end(), contract=RULES)
    assert {(v.code, v.witness) for v in found.violations} == {
        ("used-after-expiry", (commit, used))
    }
    assert CANARY not in "".join(v.explanation for v in found.violations)


@pytest.mark.parametrize("place", ["memory.write", "memory.read", "leases.acquire"])
def test_asking_the_store_is_no_use(place: str) -> None:
    h = History()
    store(h, MARK, 500)
    h.wait(5_000).invoke(place, {"id": MARK}, "s1-t2")
    assert retention(h) == []


def test_the_retention_ends_what_has_no_expiry_of_its_own() -> None:
    h = History()
    at = h.ops[store(h, MARK, None)].time_ns
    h.wait(1_008)
    ok = send(h, "tools.ship", MARK)
    assert h.ops[ok].time_ns - at == 1_009_000_000
    send(h, "tools.ship", MARK)  # to the last moment of the skew
    assert "used-after-expiry/tools" not in retention(h)
    send(h, "tools.ship", MARK)
    assert "used-after-expiry/tools" in retention(h)


def test_the_copy_that_lives_longest_counts() -> None:
    h = History()
    store(h, MARK, 900, "profile/a")
    store(h, MARK, 300, "profile/b")
    h.wait(600)
    send(h, "tools.ship", MARK)
    assert retention(h) == []
    store(h, MARK, None, "elsewhere")  # no class, no expiry: good for ever
    h.wait(9_000)
    send(h, "tools.ship", MARK)
    assert retention(h) == []


@pytest.mark.parametrize(
    ("id", "ms", "late"),
    [
        ("elsewhere", 515, False),  # of no class: its clock is as good as any
        ("elsewhere", 516, True),
        ("profile/note", 510, False),  # its own class has no skew, so the first copy lives longer
        ("profile/note", 511, True),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_each_copy_has_its_own_skew(id: str, ms: int, late: bool, first: bool) -> None:
    h = History()
    for copy in ("profile/a", id) if first else (id, "profile/a"):
        call = h.invoke("memory.write", {"id": copy, "value": MARK}, "s1-t1")
        h.store(call, copy, MARK, expires_ms=500 if copy == "profile/a" else 505)
    h.ms = ms - 1
    send(h, "tools.ship", MARK)
    assert retention(h) == (["used-after-expiry/tools"] if late else [])


def test_what_is_said_and_what_was_looked_at() -> None:
    h = History().submit("s1-t1")
    at = store(h, MARK, 500, task="s1-t1")
    send(h, "tools.ship", MARK, task="s1-t1")
    found = check(RETENTION, h.end(), contract=RULES)
    assert (found.verdict, found.looked_at) == ("valid", 1)  # nothing has expired yet
    h.ms = h.ops[at].get("expires_ms") + 20
    send(h, "tools.ship", MARK)
    send(h, "model.complete", MARK, task="s1-t3")
    found = check(RETENTION, h, contract=RULES)
    assert found.looked_at == 4
    assert [(v.explanation, v.tool, v.anomaly) for v in found.violations] == [
        ("s1-t2 sent to ship what profile/s1 held, 21 ms after that had expired", "ship", "tools"),
        ("s1-t3 sent to the model what profile/s1 held, 22 ms after that had expired", "", "model"),
    ]
    late = History()
    store(late, "x", 5_000)
    told = check(RETENTION, late, contract=RULES).violations[0].explanation
    assert told.startswith("profile/s1 was written to expire after 4")
    assert "; profile items may be kept " in told


def test_what_no_promised_item_held_is_free() -> None:
    h = History()
    store(h, "x", 100)
    store(h, MARK, 100, "elsewhere")
    h.wait(9_000)
    send(h, "tools.ship", MARK)
    send(h, "tools.ship", CANARY)  # never stood in memory
    assert retention(h) == []


def test_what_came_with_the_request_of_this_task_is_free() -> None:
    h = History()
    store(h, MARK, 100)
    h.wait(5_000).submit("s1-t2", prompt=f"send it to {MARK}").submit("s1-t3")
    send(h, "tools.ship", MARK)
    send(h, "tools.ship", MARK, task="")  # work of no task, for nobody: it may be this one's
    assert retention(h) == []
    send(h, "tools.ship", MARK, task="s1-t3")
    assert retention(h) == ["used-after-expiry/tools"]


def test_a_conversation_that_goes_on_sends_it_all_again() -> None:
    def talk(extends: int) -> list[str]:
        h = History()
        store(h, MARK, 500)
        send(h, "model.complete", MARK)
        h.wait(5_000)
        value = {"messages": [{"role": "user", "content": "and now?"}], "extends": extends}
        h.invoke("model.complete", value, "s1-t2", marker="turn-2")
        return retention(h)

    assert talk(1) == ["used-after-expiry/model"]
    assert talk(0) == []  # a conversation that begins anew


def test_erasing_is_no_keeping() -> None:
    h = History()
    store(h, MARK, 500)
    _erase(h, "profile/s1", h._standing["profile/s1"])
    assert retention(h) == []


# -- noise

KEYS = ["id", "value", "version", "over", "expires_ms", "url", "method", "body", "headers"]
KEYS += ["location", "args", "n", "ref", "tenant", "compensates", "tasks", "status", "text"]
KEYS += ["writes", "messages", "extends", "lookup"]
TEXTS = [
    "policy/v1",
    "profile/a",
    f"attr-iban:{CANARY}",
    MARK,
    "http://kb.example/x",
    "http://[",
    "",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9_999) | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=8,
)
NAMES = ["tools.refund", "tools.void", "wasm.ticket", "memory.write", "memory.write_many"]
NAMES += ["memory.erase", "model.complete", "network.request", "report.log", "report.outcome"]
NAMES += ["task.submit", "task.outcome", "task.raised", "process.recovers", "process.pause"]
NAMES += ["process.resume", "process.kill", "lab.end"]
KINDS = ["invoke", "ok", "fail", "info", "commit", "event"]
FEW = st.sampled_from(["", "a", "b"])
ALL = replace(
    RULES,
    attributes={"iban": Attribute(name="iban", allowed=("tools.refund",))},
    egress=Egress(hosts=("kb.example",), body_bytes_max=1),
    budgets={
        f"{per}{field}": Budget(
            name=f"{per}{field}",
            tool="refund",
            field=field,
            per=per,
            most=1,
            window_ms=5 if field else None,
        )
        for per in ("all", "tenant", "session", "task")
        for field in ("", "n")
    },
    capacity=Capacity(tasks_in_hand_max=1, defer_within_ms=2),
)
IDS = [POLICY, RETENTION, "memory.access", "egress.policy", "budgets.spend", "capacity.defers"]


@st.composite
def noise(draw: st.DrawFn) -> History:
    h = History()
    for _ in range(draw(st.integers(0, 14))):
        h.wait(draw(st.sampled_from([0, 0, 3, 2_000]))).add(
            draw(st.sampled_from(KINDS)),
            draw(st.sampled_from(NAMES)),
            draw(VALUES),
            process=draw(FEW),
            session=draw(FEW),
            task=draw(FEW),
            call=draw(st.integers(-1, 14)),
            marker=draw(FEW),
            key=draw(st.sampled_from([None, f"attr-iban:{CANARY}"])),
        )
    return h


@settings(max_examples=300, deadline=None, derandomize=True)
@given(noise())
def test_no_history_breaks_a_rule(h: History) -> None:
    found = verdicts(h, contract=ALL)
    for id in IDS:
        finding = found.finding(id)
        assert finding.reason and "broke" not in finding.reason
        assert (finding.verdict == "invalid") == bool(finding.violations)
        for violation in finding.violations:
            assert list(violation.witness) == sorted(set(violation.witness))
            assert violation.witness and violation.witness[-1] < len(h.ops)
            story = "\n".join(because(h.view(), violation))
            if id == "memory.access":
                assert CANARY not in story
