"""Agents that are right in another way. Not one of them may ever be called invalid."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.check.builder import CONTRACT, History, verdicts

from chaoslab.contract import Limits, default_contract

LIMITS = Limits(
    attempts_per_operation_max=5,
    failed_tasks_max=1,
    uncertain_tasks_max=1,
    recovery_ms_max=120_000,
    amplification_percent_max=400,
)


def outbox() -> History:
    """Writes a row with the action, sends it, marks it; a new process sends what is open."""
    h = History().start("p1").submit("s1-t1")
    h.write("outbox/o-1", {"key": "k", "state": "open"}, task="s1-t1")
    first = h.ask("refund", "o-1", key="k")
    h.commit(first)
    h.kill("p1").start("p2")
    scan = h.invoke("memory.scan", {"prefix": "outbox/"}, "", "p2")
    h.ok(scan, items=[{"id": "outbox/o-1", "value": "?", "version": [1, 1]}])
    again = h.ask("refund", "o-1", key="k", task="", process="p2")
    h.ok(again, "refund:o-1#1", absorbed=True)
    h.write("outbox/o-1", {"key": "k", "state": "done"}, "p2")
    return h.outcome("s1-t1", "completed", ("refund", "o-1", "refund:o-1#1"), process="p2")


def saga() -> History:
    """Refunds, cannot ship, undoes the refund, and says failed."""
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="k")
    h.fail(h.ask("ship", "o-1", key="s"), "unavailable")
    h.done("void", ref, undoes=ref)
    return h.outcome("s1-t1", "failed")


def fail_fast() -> History:
    """Sends once; with no answer it says uncertain and leaves it at that."""
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    h.commit(call)
    h.strike(call, "silence", "after-commit")
    h.info(call)
    return h.outcome("s1-t1", "uncertain")


def event_sourced() -> History:
    """Only ever writes new items; state is what they add up to."""
    h = History().start("p1").submit("s1-t1")
    h.write("log/s1/1", "asked", task="s1-t1")
    call = h.ask("refund", "o-1", key="k")
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    h.write("log/s1/2", "asked again", "p2", "s1-t1")
    h.done("refund", "o-1", key="k", process="p2")
    assert call >= 0
    return h.outcome("s1-t1", "completed", ("refund", "o-1"), process="p2")


def forgetful() -> History:
    """No memory, no intents, no moves, no claims: a derived key and redelivery do it all."""
    h = History().start("p1").submit("s1-t1")
    h.commit(h.ask("refund", "o-1", key="derived"))
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    again = h.ask("refund", "o-1", key="derived", process="p2")
    h.event("tools.refund", {"absorbed": "refund:o-1#1"}, call=again, marker="o-1")
    h.ok(again, "refund:o-1#1", absorbed=True)
    return h.outcome("s1-t1", process="p2", answer="done")


def looks_first() -> History:
    """Takes no chances: looks the action up before every try."""
    h = History().start("p1").submit("s1-t1")
    h.commit(h.ask("refund", "o-1", key="k1"))
    h.kill("p1").start("p2").submit("s1-t1", "p2", delivery=2)
    look = h.invoke("tools.refund.lookup", {"lookup": True}, "s1-t1", "p2", marker="o-1")
    h.ok(look, data={"refs": ["refund:o-1#1"]})
    return h.outcome("s1-t1", "completed", ("refund", "o-1", "refund:o-1#1"), process="p2")


def cautious() -> History:
    """Quarantines a session after a trap, with the instance, and leaves both alone."""
    h = History().start("p1").move("s1", "initialized").move("s1", "active").submit("s1-t1")
    call = h.wasm("i1", "o-1", key="k")
    h.strike(call, "trap", "before-commit")
    h.event("wasm.poisoned", {"instance": "i1", "reason": "trap"}, call=call, process="p1")
    h.info(call, "trap")
    h.event("wasm.retired", {"instance": "i1", "reason": "trap"}, process="p1")
    h.write("state/s1", "quarantined", task="s1-t1")
    return h.move("s1", "quarantined").outcome("s1-t1", "quarantined")


def second_opinion() -> History:
    """Refused for good, it picks another way and lists what it did."""
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="k"), "bad-request")
    ref = h.done("ship", "o-1", key="s")
    return h.outcome("s1-t1", "completed", ("ship", "o-1", ref))


AGENTS = [outbox, saga, fail_fast, event_sourced, forgetful, looks_first, cautious, second_opinion]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda a: a.__name__)
@pytest.mark.parametrize("weak", [False, True])
def test_right_in_another_way(agent: Callable[[], History], weak: bool) -> None:
    history = agent().end()
    contract = CONTRACT
    if weak:
        contract = replace(default_contract(CONTRACT.tools.values()), fencing=False)
    found = verdicts(history, contract=contract, limits=LIMITS, repeats=[agent().end()])
    assert found.violations == ()
    assert not [f for f in found.findings if "broke" in f.reason]
