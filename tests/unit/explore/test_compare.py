"""Two explorations side by side: not looked at again is not resolved."""

from __future__ import annotations

from typing import Any

import pytest

from chaoslab.explore.compare import Compared, compared, judged_strikes
from chaoslab.explore.findings import strike_of
from chaoslab.explore.rows import WORDS, Row


def finding(mark: str = "aa", *strikes: str, **more: Any) -> dict[str, Any]:
    plain = {"fingerprint": mark, "check": "effects.delivery", "code": "duplicate-effect"}
    told = {"title": f"bug {mark}", "executions": 3, "worlds": {"w1": 3}, "warning": False}
    return {**plain, **told, "strikes": list(strikes or ("s1", "s2")), **more}


def exploration(*findings: dict[str, Any], **more: Any) -> dict[str, Any]:
    plain = {"kind": "sweep", "agent": "a", "contract": "c", "complete": True, "chaoslab": "1"}
    counts = {"checks": {"effects.delivery": 9}, "worlds": {"w1": {"held": 6, "broken": 3}}}
    return {**plain, **counts, "findings": list(findings), **more}


def names(found: Compared) -> dict[str, list[str]]:
    groups = ("new", "ongoing", "resolved", "not_looked_at")
    return {g: [one.fingerprint for one in getattr(found, g)] for g in groups}


def test_new_ongoing_and_resolved() -> None:
    old = exploration(finding("aa"), finding("bb", "s3"), finding("cc", "s4"))
    new = exploration(finding("aa", executions=7), finding("dd"))
    found = compared(old, new, judged={"s1", "s2", "s3"})
    assert names(found) == {
        "new": ["dd"],
        "ongoing": ["aa"],
        "resolved": ["bb"],
        "not_looked_at": ["cc"],
    }
    assert (found.ongoing[0].before, found.ongoing[0].now) == (3, 7)
    assert found.resolved[0].why == "1 of 1 strikes that showed it were made again"
    lines = found.lines()
    assert lines[-1] == "Findings: 1 new, 1 ongoing, 1 resolved, 1 not looked at again."
    assert (
        "NOT LOOKED AT AGAIN  effects.delivery (duplicate-effect): bug cc (1 of 1 strikes"
        in (lines[3])
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"checks": {}}, "effects.delivery had nothing to look at"),
        ({"kind": "stress"}, "it was found by a sweep, and this is a stress"),
    ],
)
def test_what_could_not_have_been_seen_is_not_resolved(more: dict[str, Any], why: str) -> None:
    found = compared(exploration(finding()), exploration(**more), judged={"s1", "s2"})
    assert names(found)["not_looked_at"] == ["aa"] and found.not_looked_at[0].why == why


def test_one_strike_that_was_not_made_again_is_enough() -> None:
    found = compared(exploration(finding()), exploration(), judged={"s1"})
    [one] = found.not_looked_at
    assert one.why.startswith("1 of 2 strikes that showed it were not made again")


def test_only_strikes_that_were_judged_count() -> None:
    rows = [Row(name=word, world="w", seed=n, word=word) for n, word in enumerate(WORDS)]  # type: ignore[arg-type]
    judged = judged_strikes(rows)
    assert {row.word for row in rows if strike_of(row) in judged} == {
        "held",
        "broken",
        "equivalent",
    }


def test_stress_resolves_only_by_as_many_executions_of_the_same_worlds() -> None:
    old = exploration(finding(), kind="stress")
    fewer = exploration(kind="stress", worlds={"w1": {"held": 8, "broke": 90}, "w2": {"held": 99}})
    found = compared(old, fewer, judged=())
    assert names(found)["not_looked_at"] == ["aa"]
    assert found.not_looked_at[0].why == ("8 executions of the world w1, where there were 9 before")
    enough = exploration(kind="stress", worlds={"w1": {"held": 9}})
    found = compared(old, enough, judged=())
    assert names(found)["resolved"] == ["aa"]
    assert "no proof" in found.resolved[0].why


def test_what_does_not_count_and_what_cannot_be_compared() -> None:
    warned = exploration(finding("ww", warning=True))
    assert names(compared(warned, exploration(), judged=())) == names(Compared(comparable=True))
    found = compared(exploration(finding()), exploration(contract="d"), judged=())
    assert not found.comparable and found.lines()[0] == "NOT COMPARABLE"
    noted = compared(
        exploration(complete=False), exploration(agent="b", chaoslab="2"), judged=()
    ).notes
    assert noted == (
        "another agent: a before, b now",
        "another version of chaoslab: 1 before, 2 now",
        "the older exploration is not complete",
    )


def test_words_of_others_act_nowhere() -> None:
    evil = finding("aa", title="x\x1b[2J\n::error::y")
    for line in compared(exploration(), exploration(evil), judged=()).lines():
        assert "\x1b" not in line and "\n" not in line
