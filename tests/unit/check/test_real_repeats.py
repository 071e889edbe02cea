"""`recovery.deterministic` and `recovery.converges` over executions on real processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.check.builder import History
from tests.unit.check.real import REFUND, SEEN, contract, find, row

from chaoslab.check import Finding
from chaoslab.contract import Contract


def _once(
    key: str | None = "k", ref: str = "1", status: str = "completed", tries: int = 1
) -> History:
    h = History().submit("s1-t1")
    for _ in range(tries - 1):
        h.info(h.ask("refund", "o-1", key=key))
    h.ok(h.ask("refund", "o-1", key=key))
    h.outcome("s1-t1", status)
    if ref:
        row(h, "refund", "o-1", ref, key)
    return h.end()


def _same(*repeats: History, first: History | None = None, by: Contract = SEEN) -> Finding:
    return find("recovery.deterministic", first or _once(), by, repeats=repeats)


def test_fewer_than_three_repetitions_prove_nothing() -> None:
    for n in (0, 1, 2):
        assert _same(*[_once()] * n).verdict == "unknown"
    assert "repeated 2 times; 3 repetitions" in _same(_once(), _once()).reason
    assert _same(*[_once()] * 3).verdict == "valid"
    assert find("recovery.deterministic", _once(), recorded=False, repeats=[_once()]).verdict == (
        "valid"
    )


def test_what_timing_decides_is_no_difference() -> None:
    other_rows = (_once(ref="2"), _once(ref="977"), _once(ref="c0ffee"))
    assert _same(*other_rows).verdict == "valid"
    more_tries = (_once(tries=2), _once(tries=3), _once())
    assert _same(*more_tries).verdict == "valid"
    random_and_kept = (_once(key="x", tries=2), _once(key="y"), _once(key="z", tries=3))
    assert _same(*random_and_kept).verdict == "valid"


@pytest.mark.parametrize(
    ("other", "anomaly"),
    [
        (_once(key=None), "keys"),
        (_once(ref=""), "effects"),
        (_once(status="failed"), "outcome"),
    ],
)
def test_what_may_not_differ(other: History, anomaly: str) -> None:
    found = _same(_once(), _once(), other)
    assert (found.verdict, [v.anomaly for v in found.violations]) == ("invalid", [anomaly])
    assert "in execution 4, with the same faults" in found.violations[0].explanation
    assert _same(other).verdict == "invalid"  # a proof needs no more repetitions


def test_a_retry_with_a_key_that_is_new_each_time() -> None:
    def run(second: str) -> History:
        h = History().submit("s1-t1")
        h.info(h.ask("refund", "o-1", key="k"))
        if second:
            h.ok(h.ask("refund", "o-1", key=second))
        h.outcome("s1-t1")
        row(h, "refund", "o-1", "1")
        return h.end()

    assert _same(run("x"), run(""), run("x"), first=run("x")).verdict == "valid"
    assert _same(run("y"), run(""), run("x"), first=run("x")).verdict == "invalid"


def test_who_says_uncertain_may_have_done_it_or_not() -> None:
    def run(status: str, done: bool) -> History:
        h = History().submit("s1-t1")
        h.info(h.ask("notify", "o-1"))
        h.outcome("s1-t1", status)
        if done:
            row(h, "notify", "o-1", "1")
        return h.end()

    unsure = [run("uncertain", done) for done in (True, False, True)]
    assert _same(*unsure, first=unsure[0]).verdict == "valid"
    sure = [run("completed", done) for done in (True, False, True)]
    assert _same(*sure, first=sure[0]).verdict == "invalid"


def test_wordings_are_counted_and_not_compared() -> None:
    def run(*texts: str) -> History:
        h = History().submit("s1-t1")
        for n, text in enumerate(texts):
            h.commit(h.ask("say", text, key=f"k{n}"), ref=text)
        return h.outcome("s1-t1").end()

    assert _same(run("b"), run("c"), run("d"), first=run("a")).verdict == "valid"
    assert _same(run("b"), run("c", "d"), run("d"), first=run("a")).verdict == "invalid"


def test_at_least_once_may_be_twice() -> None:
    by = contract(replace(REFUND, promise="at-least-once"))

    def run(*refs: str) -> History:
        h = History().submit("s1-t1")
        for _ in refs:
            h.ok(h.ask("refund", "o-1", key="k"))
        h.outcome("s1-t1")
        for ref in refs:
            row(h, "refund", "o-1", ref)
        return h.end()

    assert _same(run("1", "2"), run("3"), run("4"), first=run("1"), by=by).verdict == "valid"


def test_keys_of_what_may_be_done_again_are_anybodys() -> None:
    def run(*keys: str) -> History:
        h = History().submit("s1-t1")
        for key in keys:
            h.ok(h.ask("refund", "o-1", key=key))
        h.outcome("s1-t1")
        for key in keys:
            row(h, "refund", "o-1", key, key)
        return h.end()

    runs, first = (run("c", "d"), run("e", "f"), run("g")), run("a", "b")
    by = contract(replace(REFUND, promise="at-least-once"))
    assert _same(*runs, first=first, by=by).verdict == "valid"
    assert _same(*runs, first=first).verdict == "invalid"


def test_the_goal_of_real_executions_names_no_references() -> None:
    found = find("recovery.converges", _once(ref="99"), control=_once(ref="1"))
    assert found.verdict == "valid"
