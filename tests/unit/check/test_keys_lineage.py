"""keys.lineage and lineage.complete."""

import pytest
from tests.unit.check.builder import History, check, codes

KEYS = "keys.lineage"
LINEAGE = "lineage.complete"


def test_one_key_over_retry_and_restart() -> None:
    h = History().start("p1").submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="k"))
    h.ask("refund", "o-1", key="k")
    h.kill("p1").start("p2", "west")
    h.done("refund", "o-1", key="k", process="p2")
    found = check(KEYS, h.end())
    assert (found.verdict, found.looked_at) == ("valid", 3)


def test_only_keyed_tools_with_a_promise() -> None:
    h = History().submit("s1-t1")
    h.done("notify", "o-1")
    h.done("audit", "o-1")
    assert check(KEYS, h.end()).verdict == "not-applicable"


@pytest.mark.parametrize(
    ("end", "process", "region", "anomaly"),
    [
        ("info", "p1", "east", "on-retry"),
        ("kill", "p2", "east", "after-restart"),
        ("kill", "p2", "west", "after-failover"),
    ],
)
def test_key_changed(end: str, process: str, region: str, anomaly: str) -> None:
    h = History().start("p1").submit("s1-t1")
    first = h.ask("refund", "o-1", key="a")
    if end == "info":
        h.info(first)
    else:
        h.kill("p1").start(process, region)
    second = h.ask("refund", "o-1", key="b", process=process)
    found = check(KEYS, h.end())
    assert [(v.code, v.anomaly) for v in found.violations] == [("key-changed", anomaly)]
    assert found.violations[0].witness == (first, second)


def test_a_new_key_after_a_certain_refusal_is_fine() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="a"), "bad-request")
    h.done("refund", "o-1", key="b")
    assert codes(KEYS, h.end()) == []


def test_a_conflict_is_no_refusal_of_the_action() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="a"))
    h.fail(h.ask("refund", "o-1", key="a"), "conflict")
    h.ask("refund", "o-1", key="b")
    assert codes(KEYS, h.end()) == ["key-changed/on-retry"]


def test_a_new_key_after_compensation_is_fine() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.done("void", ref, undoes=ref)
    h.done("refund", "o-1", key="b")
    assert codes(KEYS, h.end()) == []


def test_across_tasks() -> None:
    def both(tool: str) -> list[str]:
        h = History().submit("s1-t1").submit("s1-t2")
        h.done(tool, "same", key="a", task="s1-t1")
        h.ask(tool, "same", key="b", task="s1-t2")
        return codes(KEYS, h.end())

    assert both("refund") == ["key-changed/across-tasks"]
    assert both("say") == []


def test_key_absent() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1")
    assert codes(KEYS, h.end()) == ["key-absent/always"]
    h = History().submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="a"))
    h.ask("refund", "o-1")
    assert codes(KEYS, h.end()) == ["key-absent/on-retry"]


def test_at_most_once_asked_once_without_key_is_fine() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("ship", "o-1"))
    assert codes(KEYS, h.outcome("s1-t1", "uncertain").end()) == []
    h.ask("ship", "o-1")
    assert codes(KEYS, h) == ["key-absent/always"]


def test_key_reused_for_another_operation() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    h.fail(h.ask("refund", "o-2", key="k"), "conflict")
    assert codes(KEYS, h.end()) == ["key-reused/another-operation"]


def test_one_key_for_two_tools_is_fine() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    h.done("ship", "o-1", key="k")
    assert codes(KEYS, h.end()) == []


def _reworded(arrived: bool, answer: str, lookup: bool = False) -> list[str]:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k", args={"order": "o-1", "why": "broken"})
    if arrived:
        h.commit(first)
    h.info(first)
    second = h.ask("refund", "o-1", key="k", args={"order": "o-1", "why": "damaged"})
    if answer == "ok":
        h.ok(second, h.commit(second))
    else:
        h.fail(second, answer)
    if lookup:
        call = h.invoke("tools.refund.lookup", {"args": {}, "lookup": True}, "s1-t1", marker="o-1")
        h.ok(call, data={"refs": ["refund:o-1#1"]})
    return codes(KEYS, h.end())


def test_payload_changed() -> None:
    assert _reworded(arrived=True, answer="conflict") == ["key-reused/payload-changed"]
    assert _reworded(arrived=True, answer="ok") == ["key-reused/payload-changed"]
    # The first never arrived, so the second is simply the first that the service saw.
    assert _reworded(arrived=False, answer="ok") == []
    assert _reworded(arrived=True, answer="rate-limited") == []
    # A conflict that a look-up settles did no harm.
    assert _reworded(arrived=True, answer="conflict", lookup=True) == []


def test_wasm_guest_makes_up_its_own_keys() -> None:
    h = History().submit("s1-t1")
    for key in ("g1", "g2"):
        call = h.wasm("i1", "o-1")
        h.commit(call, tool="ticket", key=key)
        h.info(call, "trap")
    assert codes(KEYS, h.end()) == ["key-changed/on-retry"]


def test_orphan() -> None:
    h = History()
    h.add("commit", "tools.refund", {"ref": "x"}, marker="o-9", call=77)
    found = check(LINEAGE, h.end())
    assert [(v.code, v.witness) for v in found.violations] == [("orphan-effect", (0,))]


def test_intents() -> None:
    def end(status: str, tried: bool) -> list[str]:
        h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1", "k")
        if tried:
            h.fail(h.ask("refund", "o-1", key="k"))
        if status:
            h.outcome("s1-t1", status)
        return codes(LINEAGE, h.end())

    assert end("completed", tried=False) == ["dangling-intent"]
    assert end("", tried=False) == ["dangling-intent"]
    assert end("failed", tried=False) == []
    assert end("uncertain", tried=False) == []
    assert end("completed", tried=True) == []


def test_an_intent_written_in_another_way_is_found_by_its_key() -> None:
    h = History().submit("s1-t1").intent("refund", "the refund of order 1", "s1-t1", "k")
    h.done("refund", "o-1", key="k")
    assert codes(LINEAGE, h.outcome("s1-t1").end()) == []


def test_no_intents_and_no_effects() -> None:
    assert check(LINEAGE, History().end()).verdict == "not-applicable"
    assert check(LINEAGE, History().submit("a-t1").intent("refund", "o", "a-t1")).verdict == (
        "unknown"
    )
