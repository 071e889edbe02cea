"""Histories of agents in processes of their own: what is not on record proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.check.builder import History
from tests.unit.check.real import HIDDEN, NOTIFY, REFUND, SEEN, VOID, asked, codes, contract, find

from chaoslab.check import CHECK_IDS, Finding
from chaoslab.check.observed import lines_to_add
from chaoslab.contract import Attribute, Budget, Capacity, Egress, Limits, MemoryClass

# -- tools whose effects nobody reads


def test_without_a_source_delivery_is_unknown_and_names_the_lines() -> None:
    found = find("effects.delivery", asked().outcome("s1-t1").end(), HIDDEN)
    assert (found.verdict, found.violations) == ("unknown", ())
    assert "refund" in found.reason
    assert (
        '[tools.refund] effects = { sql = "select id, idem_key, order_id from … where …" }'
        in found.reason
    )


def test_a_tool_that_nobody_called_is_not_missed() -> None:
    h = asked(tool="audit").outcome("s1-t1", "failed").end()
    assert find("effects.delivery", h, HIDDEN).verdict == "valid"


def test_a_violation_of_another_tool_still_wins() -> None:
    h = asked()
    for key in "ab":
        h.done("audit", "o-1", key=key)
    found = find("effects.delivery", h.outcome("s1-t1").end(), HIDDEN)
    assert (found.verdict, [v.tool for v in found.violations]) == ("invalid", ["audit"])


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    "check",
    [
        "effects.delivery",
        "outcome.honest",
        "lineage.complete",
        "recovery.converges",
        "recovery.deterministic",
        "budgets.spend",
    ],
)
def test_what_rests_on_effects_is_unknown_without_them(check: str, recorded: bool) -> None:
    def run() -> History:
        return asked().outcome("s1-t1", "completed", ("refund", "o-1", "re_1")).end()

    by = replace(HIDDEN, budgets={"b": Budget(name="b", tool="refund", most=1)})
    repeats = [run(), run(), run()] if recorded else []
    found = find(check, run(), by, recorded=recorded, control=run(), repeats=repeats)
    assert (found.verdict, found.violations) == ("unknown", ())
    if check != "recovery.deterministic" or recorded:
        assert "[tools.refund] effects" in found.reason


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_status_that_no_ledger_can_be_held_against_is_not_called_honest(status: str) -> None:
    assert (
        find("outcome.honest", asked().outcome("s1-t1", status).end(), HIDDEN).verdict == "unknown"
    )
    other = History().submit("s1-t1")
    other.done("audit", "o-1", key="k")
    assert find("outcome.honest", other.outcome("s1-t1").end(), HIDDEN).verdict == "valid"


def test_a_claim_of_something_that_was_never_asked_through_the_lab() -> None:
    h = History().submit("s1-t1").outcome("s1-t1", "completed", ("refund", "o-1")).end()
    assert find("outcome.honest", h, HIDDEN).verdict == "unknown"
    assert codes("outcome.honest", h, SEEN) == ["claimed-not-done"]


def test_a_source_that_could_not_be_read_proves_nothing() -> None:
    h = asked().outcome("s1-t1")
    h.event("final.effects", {"tool": "refund", "effects": [], "error": "no such table: refunds"})
    found = find("effects.delivery", h.end())
    assert (found.verdict, found.reason) == (
        "unknown",
        "the effects of refund could not be read",
    )


def test_keys_are_judged_by_requests_alone() -> None:
    h = asked("info", "a")
    h.ok(h.ask("refund", "o-1", key="b"))
    assert codes("keys.lineage", h.end(), HIDDEN) == ["key-changed/on-retry"]
    assert find("keys.lineage", asked().end(), HIDDEN).verdict == "valid"


def test_what_was_perhaps_undone_may_get_a_new_key() -> None:
    """No ledger tells that the void was for this refund, and none that it was not."""
    by = contract(replace(REFUND, compensate="void", effects=None), VOID)
    h = asked("ok", "a")
    h.ok(h.ask("void", "re_1"))
    h.ok(h.ask("refund", "o-1", key="b"))
    assert codes("keys.lineage", h.end(), by) == []
    h = asked("ok", "a")
    h.fail(h.ask("void", "re_1"))
    h.ok(h.ask("refund", "o-1", key="b"))
    assert codes("keys.lineage", h.end(), by) == ["key-changed/on-retry"]


def test_the_lines_are_made_of_what_the_contract_knows() -> None:
    assert lines_to_add(replace(NOTIFY, effects=None)) == (
        '[tools.notify] effects = { sql = "select id, order from … where …" }'
    )


# -- work of which nobody knows the task


def test_the_same_words_for_nobody_knows_whom() -> None:
    def run(tasks: int, recorded: bool = True) -> Finding:
        h = History()
        for n in range(tasks):
            h.submit(f"s1-t{n}")
        for n in range(2):
            call = h.ask("say", "hi", key=f"k{n}", task="")
            h.commit(call)
            h.ok(call)
        for n in range(tasks):
            h.outcome(f"s1-t{n}")
        return find("effects.delivery", h.end(), recorded=recorded)

    assert run(1).verdict == "invalid"
    assert (run(2).verdict, "identity_fields" in run(2).reason) == ("unknown", True)
    assert run(2, recorded=False).verdict == "invalid"


def test_new_keys_for_the_same_words_of_nobody_known() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    for n in range(2):
        h.ok(h.ask("say", "hi", key=f"k{n}", task=""))
    assert codes("keys.lineage", h.end()) == []
    assert codes("keys.lineage", h, recorded=False) == ["key-changed/on-retry"]


def test_tries_of_nobody_known_are_shared_out() -> None:
    def run(tries: int) -> Finding:
        h = History().submit("s1-t1").submit("s1-t2")
        for _ in range(tries):
            h.info(h.ask("refund", "o-1", key="k", task=""))
        return find("limits.attempts", h.end(), limits=Limits(attempts_per_operation_max=2))

    assert [run(n).verdict for n in (2, 3, 4, 5)] == ["valid", "unknown", "unknown", "invalid"]


def test_a_real_agents_doubt_may_come_from_what_is_not_on_record() -> None:
    def run(build: Callable[[History], object]) -> list[str]:
        h = History().start("web").start("worker").submit("s1-t1", "web")
        build(h)
        return codes("outcome.honest", h.outcome("s1-t1", "uncertain", process="web").end())

    def in_doubt(h: History) -> None:
        h.done("audit", "o-1", key="k")
        h.info(h.ask("audit", "o-2", task="", key="z"))

    def killed(h: History) -> None:
        h.done("audit", "o-1", key="k", process="worker")
        h.kill("worker")

    assert run(lambda h: None) == []
    assert run(in_doubt) == []
    assert run(killed) == []
    assert run(lambda h: h.done("audit", "o-1", key="k")) == ["uncertain-without-cause"]


# -- words and silence


def test_the_time_of_recovery_says_which_clock() -> None:
    h = asked("info")
    h.strike(2, "silence", "after-commit").wait(500).outcome("s1-t1").end()
    limits = Limits(recovery_ms_max=100)
    (wall,) = find("limits.recovery", h, limits=limits).violations
    (virtual,) = find("limits.recovery", h, limits=limits, recorded=False).violations
    assert "501 ms of wall time after the strike" in wall.explanation
    assert "501 ms after the strike" in virtual.explanation
    assert wall.fingerprint == virtual.fingerprint


def test_requests_that_went_past_the_lab_are_not_spoken_for() -> None:
    by = replace(SEEN, egress=Egress(hosts=("kb.example",)))
    assert "through the lab" in find("egress.policy", asked().end(), by).reason
    h = History()
    h.invoke("network.request", {"method": "GET", "url": "https://kb.example/", "body": ""})
    assert find("egress.policy", h.end(), by).reason == (
        "looked at 1 requests to the outside through the lab"
    )


EVERYTHING = replace(
    HIDDEN,
    fencing=True,
    loss_ms_max=1_000,
    memory={"m": MemoryClass(name="m", prefix="", immutable=True, retention_ms=1_000)},
    attributes={"iban": Attribute(name="iban")},
    egress=Egress(hosts=("kb.example",)),
    budgets={"b": Budget(name="b", tool="refund", most=1)},
    capacity=Capacity(tasks_in_hand_max=5),
)
# What the lab itself does and sees of every agent: it hands out tasks and learns how they ended.
_SEEN_ANYWAY = {"limits.tasks", "capacity.defers"}


def _silent(n: int = 1) -> History:
    """An agent that the lab only starts, feeds and reads the end of: nothing goes through it."""
    h = History().start("p1")
    for task in range(n):
        prompt = "pay to DE02 attr-iban:cnry-s1-0123abcd [home:r1:city]"
        h.submit(f"s1-t{task}", prompt=prompt).outcome(f"s1-t{task}")
    return h.event("process.stop", process="p1").end()


def test_nothing_holds_of_an_agent_of_which_nothing_was_seen() -> None:
    limits = Limits(
        attempts_per_operation_max=3, recovery_ms_max=1_000, amplification_percent_max=200
    )
    verdicts = {
        check: find(check, _silent(), EVERYTHING, control=_silent(), limits=limits).verdict
        for check in CHECK_IDS
    }
    held = {check for check, verdict in verdicts.items() if verdict == "valid"}
    # That tasks ended as they would have, and what they said, was looked at.
    assert held == _SEEN_ANYWAY | {"recovery.converges", "outcome.honest"}
    assert set(verdicts.values()) == {"valid", "unknown", "not-applicable"}


def test_an_agent_that_only_calls_its_own_services() -> None:
    """Requests and answers, no sources, no reports, no memory, no model."""

    def run() -> History:
        return asked().outcome("s1-t1").end()

    limits = Limits(attempts_per_operation_max=3, amplification_percent_max=200)
    found = {
        check: find(
            check, run(), EVERYTHING, control=run(), repeats=[run()] * 3, limits=limits
        ).verdict
        for check in CHECK_IDS
    }
    assert {check for check, verdict in found.items() if verdict == "valid"} == {
        "keys.lineage",
        "limits.attempts",
        "limits.tasks",
        "limits.amplification",
        "capacity.defers",
    }
    assert {check for check, verdict in found.items() if verdict == "unknown"} == {
        "effects.delivery",
        "lineage.complete",
        "outcome.honest",
        "recovery.converges",
        "recovery.deterministic",
        "budgets.spend",
    }


def test_a_canary_that_stands_in_the_task_alone_shows_no_isolation() -> None:
    def run(sent: str) -> History:
        h = History().submit("s1-t1", token="cnry-s1-0000abcd")
        h.ok(h.ask("audit", "o-1", key="k", args={"order": "o-1", "for": sent}), ref="1")
        return h.outcome("s1-t1").end()

    kept, used = run("nobody"), run("cnry-s1-0000abcd")
    assert find("isolation.sessions", kept).verdict == "not-applicable"
    assert find("isolation.sessions", used).verdict == "valid"
    assert find("isolation.sessions", kept, recorded=False).verdict == "valid"
