"""Known bugs: what the file must say, and what a later campaign means for them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.run.known_runs import EMPTY, MARK, PLACE, REFUND, SHIP, TODAY, known_of, run, states

from chaoslab.core.clock import Day
from chaoslab.core.errors import ContractError, UsageError
from chaoslab.run.known import (
    NOTHING_KNOWN,
    Known,
    KnownBug,
    known_from,
    known_text,
    load_known,
    write_known,
)

# -- states


def test_a_known_bug_is_covered_up_to_the_end_of_its_last_day() -> None:
    known = known_of(run(REFUND))
    assert known.state(MARK, "support") == "known"
    assert replace(known, today=Day(2026, 3, 31)).state(MARK, "support") == "known"
    assert replace(known, today=Day(2026, 4, 1)).state(MARK, "support") == "expired"


def test_a_bug_of_another_contract_or_another_fingerprint_is_not_covered() -> None:
    known = known_of(run(REFUND))
    assert known.state(MARK, "billing") == "" == known.state(SHIP["fingerprint"], "support")
    assert NOTHING_KNOWN.state(MARK, "support") == "" and NOTHING_KNOWN.summary([run(REFUND)]) == []


def test_the_summary_says_who_why_until_when_and_which_runs_showed_it() -> None:
    known = known_of(run(REFUND))
    again = [run(REFUND), run(), run(REFUND, seed=4), run(REFUND, contract="billing", seed=5)]
    assert known.summary(again) == [
        {
            **{"fingerprint": MARK, "contract": "support", "check": "effects.delivery"},
            **{"code": "duplicate-effect", "tool": "refund", "owner": "ann", "reason": "PAY-7"},
            **{"accepted": "2026-03-01", "expires": "2026-03-31", "state": "known"},
            "runs": ["matrix-x--s0", "matrix-x--s4"],
        }
    ]
    late = replace(known, today=Day(2026, 4, 1))
    assert states(late, run(REFUND)) == ["expired"]


def test_gone_is_a_bug_whose_runs_were_done_and_did_not_show_it() -> None:
    known = known_of(run(REFUND), run(REFUND, seed=1))
    assert states(known, run(), run(seed=1)) == ["gone"]
    assert states(known, run(SHIP), run(seed=1), run(seed=2)) == ["gone"]
    used = {"tools": {"refund": {"actions": 1}}}
    assert states(known, run(**used), run(seed=1, **used)) == ["gone"]
    # A date that is over says nothing of a breach that nobody saw.
    assert states(replace(known, today=Day(2027, 1, 1)), run(), run(seed=1)) == ["gone"]


def test_not_run_is_not_resolved() -> None:
    known = known_of(run(REFUND), run(REFUND, seed=1))
    assert states(known) == ["not-run"]
    assert states(known, run()) == ["not-run"]
    assert states(known, run(), run(seed=1, contract="billing")) == ["not-run"]
    assert states(known, run(), run(seed=1, role="negative-control")) == ["not-run"]
    assert states(known, run(), run(seed=1, backend="process")) == ["not-run"]
    # It is still there, only elsewhere.
    assert states(known, run(), run(seed=1), run(REFUND, seed=9)) == ["known"]


@pytest.mark.parametrize(
    "more",
    [
        {"broke": "the agent hung"},
        {"differs": "entry 7"},
        {"vacuous": "no fault struck"},
        {"not_applicable": "no tool with keys"},
        {"faults_ran": False},
        {"checks": {}},
        {"checks": {"effects.delivery": {"verdict": "unknown"}}},
        {"checks": {"effects.delivery": {"verdict": "not-applicable"}}},
        {"tools": {}},
        {"tools": {"refund": {"actions": 0}, "ship": {"actions": 2}}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_run_that_could_not_have_shown_the_bug_resolves_nothing(more: dict[str, Any]) -> None:
    known = known_of(run(REFUND))
    assert states(known, run(**more)) == ["not-run"]
    assert states(known, run(), run(**more)) == ["not-run"]  # two agents under one contract


def test_what_a_newer_check_only_warns_of_is_not_gone() -> None:
    known = known_of(run(REFUND))
    assert states(known, run(warnings=[REFUND])) == ["known"]
    assert states(known, run(warnings=[SHIP])) == ["gone"]


# -- the file


def entry(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"fingerprint": MARK, "contract": "support", "check": "c", "code": "d"}
    plain |= {"tool": "", "owner": "ann", "reason": "PAY-7", "seen_in": [PLACE]}
    return {**plain, "accepted": TODAY, "expires": Day(2026, 5, 30), **more}


def read(*entries: Mapping[str, Any], **top: Any) -> Known:
    return known_from({"format": 1, "known": list(entries), **top}, "x.toml", today=TODAY)


def test_a_day_may_be_written_as_text() -> None:
    (one,) = read(entry(accepted="2026-02-01", expires="2026-03-02")).entries
    assert (one.accepted, one.expires) == (Day(2026, 2, 1), Day(2026, 3, 2))


def test_a_day_that_was_moved_before_the_acceptance_ends_it() -> None:
    known = read(entry(expires=Day(2026, 2, 1)))
    assert known.state(MARK, "support") == "expired"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"owner": "  "}, "known[0].owner: got '  ' (str); allowed: a text that is not blank"),
        ({"reason": ""}, "known[0].reason: got '' (str); allowed: a text that is not blank"),
        ({"reason": 7}, "known[0].reason: got 7 (int)"),
        ({"expires": Day(2026, 5, 31)}, "at most 90 days after accepted, 2026-05-30"),
        ({"accepted": Day(2026, 3, 2)}, "known[0].accepted: got 2026-03-02; allowed: today"),
        ({"expires": "2026-02-30"}, "known[0].expires: got '2026-02-30' (str); allowed: a day"),
        ({"expires": "20260301"}, "known[0].expires: got '20260301' (str); allowed: a day"),
        ({"expires": True}, "known[0].expires: got True (bool); allowed: a day"),
        ({"fingerprint": MARK[:8]}, "known[0].fingerprint: got"),
        ({"seen_in": []}, "known[0].seen_in: got []"),
        ({"seen_in": ["matrix/x"]}, "known[0].seen_in: got 'matrix/x' (str)"),
        ({"seen_in": PLACE}, "known[0].seen_in: got 'matrix/x seed 0' (str)"),
        ({"until": 1}, "known[0].until: unknown key"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError) as caught:
        read(entry(**more))
    assert words in str(caught.value) and "x.toml has a problem:" in str(caught.value)


def test_a_time_of_day_is_no_day() -> None:
    raw = tomllib.loads(
        known_text(Known(entries=read(entry()).entries)).replace("05-30", "05-30T01:00:00")
    )
    with pytest.raises(ContractError, match=r"expires: got datetime\.datetime"):
        known_from(raw, "x.toml", today=TODAY)


@pytest.mark.parametrize("key", sorted(entry()))
def test_whatever_is_missing_is_said(key: str) -> None:
    short = entry()
    del short[key]
    with pytest.raises(ContractError, match=rf"known\[0\]\.{key}: is missing"):
        read(short)


def test_all_problems_of_a_file_are_said_at_once() -> None:
    wrong = [entry(owner=""), entry(contract="other", expires=7), entry(check=1)]
    with pytest.raises(ContractError) as caught:
        read(*wrong, format=2, more=1)
    said = str(caught.value)
    for words in (
        "x.toml has 6 problems:",
        "format: got 2 (int); allowed: 1",
        "known[0].owner",
        "known[1].expires",
        "known[2].check",
        "known[2].fingerprint: stands in known[0] already",
        "more: unknown key",
    ):
        assert words in said, words


def test_without_a_file_nothing_is_known_but_a_file_that_is_named_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_known(None, today=TODAY) == Known(path="chaoslab-known.toml", today=TODAY)
    with pytest.raises(ContractError, match="does not exist"):
        load_known(Path("other.toml"), today=TODAY)
    known = replace(known_of(run(REFUND)), path="chaoslab-known.toml")
    write_known(known, tmp_path / "chaoslab-known.toml")
    assert load_known(None, today=TODAY) == known
    (tmp_path / "chaoslab-known.toml").write_bytes(b"\xff")
    with pytest.raises(ContractError, match="not UTF-8"):
        load_known(None, today=TODAY)


LOOKS_LIKE_TOML = (
    'x"\n[[known]]\nfingerprint = "0" \\',
    "''' \"\"\" # no comment",
    "\x00\x01\x1f\x7f\x85\u2028\u202e\ufeff\U0001f4a3\U000e0001\t\b\f\r\n",
    "\\u0041 \\n {1} %s",
)


def bug(**more: Any) -> KnownBug:
    return replace(known_of(run(REFUND)).entries[0], **more)


@pytest.mark.parametrize("text", LOOKS_LIKE_TOML)
def test_hostile_words_come_back_as_they_were(text: str) -> None:
    one = bug(reason=text, owner=text, tool=text, anomaly=text, seen_in=(f"{text}/x seed 0",))
    assert reread(one) == one
    # Nobody who reviews the file sees another text than the one that counts.
    assert all(c.isprintable() for c in known_text(Known(entries=(one,))) if c != "\n")


@given(st.text(st.characters(codec="utf-8")))
def test_any_words_come_back_as_they_were(text: str) -> None:
    one = bug(reason=f"{text}.", tool=text)
    assert reread(one) == one


def reread(one: KnownBug) -> KnownBug:
    text = known_text(Known(entries=(one,)))
    (found,) = known_from(tomllib.loads(text.encode().decode()), "x.toml", today=TODAY).entries
    return found


def test_half_a_character_in_a_tool_name_does_not_stop_the_writing() -> None:
    (one,) = known_of(run({**REFUND, "tool": "re\udc80fund"})).entries
    assert one.tool == "re\\udc80fund" and reread(one) == one


def test_the_text_has_one_order_whatever_the_order_of_entries() -> None:
    known = known_of(run(REFUND, SHIP), run(SHIP, contract="billing"))
    turned = replace(known, entries=known.entries[::-1])
    assert known_text(known) == known_text(turned)
    assert [e.contract for e in known.entries] == ["billing", "support", "support"]
    assert [e["tool"] for e in tomllib.loads(known_text(turned))["known"]] == [
        *("ship", "refund", "ship")
    ]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "known.toml"
    write_known(known_of(run(REFUND)), path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UsageError, match="No space left on device; nothing was changed"):
            write_known(known_of(run(SHIP)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["known.toml"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there.toml").write_text("")
    (tmp_path / "known.toml").symlink_to("there.toml")
    write_known(known_of(run(REFUND)), tmp_path / "known.toml")
    assert (tmp_path / "known.toml").is_symlink()
    assert "duplicate-effect" in (tmp_path / "there.toml").read_text()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        write_known(EMPTY, tmp_path / "none" / "known.toml")
