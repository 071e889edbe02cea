"""What may be accepted, by whom and for how long; and the command that writes it."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.unit.run.known_runs import (
    EMPTY,
    MARK,
    PLACE,
    REFUND,
    SHIP,
    SIGNED,
    TODAY,
    known_of,
    run,
    states,
)

from chaoslab.cli.accept import accept, add_options
from chaoslab.core.clock import Day, utc_today
from chaoslab.core.errors import ContractError, FormatError, UsageError
from chaoslab.run.accepting import acceptable, accepted, expiry
from chaoslab.run.known import Known, known_from, known_text, load_known
from chaoslab.run.store import write_json


def test_a_run_gives_all_its_bugs_and_a_fingerprint_gives_one() -> None:
    broken = run(SHIP, REFUND, REFUND)
    assert [b.tool for b in acceptable(EMPTY, broken)] == ["refund", "ship"]
    assert [b.tool for b in acceptable(EMPTY, broken, fingerprints=[MARK[:6]])] == ["refund"]
    both = [MARK[:6].upper(), SHIP["fingerprint"]]
    assert [b.tool for b in acceptable(EMPTY, broken, fingerprints=both)] == ["refund", "ship"]


def test_a_campaign_gives_what_is_not_covered_with_all_runs_that_showed_it() -> None:
    known = known_of(run(REFUND))
    told = {"runs": [run(REFUND), run(SHIP, seed=10), run(SHIP, REFUND, seed=2), run(seed=3)]}
    after = accepted(known, told, **SIGNED)
    assert [(e.tool, e.seen_in) for e in after.entries] == [
        ("refund", (PLACE,)),
        ("ship", ("matrix/x seed 10", "matrix/x seed 2")),
    ]
    assert [e["seen_in"] for e in tomllib.loads(known_text(after))["known"]] == [
        [PLACE],
        ["matrix/x seed 2", "matrix/x seed 10"],
    ]
    with pytest.raises(UsageError, match=r"every bug .* known already \(2\)"):
        acceptable(after, told)
    # What has run out is open again.
    late = replace(after, today=Day(2026, 6, 1))
    assert len(acceptable(late, told)) == 2


def test_the_same_bug_under_two_contracts_is_two_entries() -> None:
    known = known_of(run(REFUND), run(REFUND, contract="billing"))
    assert [e.contract for e in known.entries] == ["billing", "support"]


def test_accepting_again_replaces_the_words_and_days_and_keeps_the_runs() -> None:
    known = known_of(run(REFUND), run(SHIP))
    later = replace(known, today=Day(2026, 3, 20))
    after = accepted(
        later, run(REFUND, seed=7), owner="bob", reason="PAY-8", expires=Day(2026, 4, 20)
    )
    refund, ship = after.entries
    assert (refund.owner, refund.reason) == ("bob", "PAY-8")
    assert (refund.accepted, refund.expires) == (Day(2026, 3, 20), Day(2026, 4, 20))
    assert refund.seen_in == (PLACE, "matrix/x seed 7")
    assert ship == known.entries[1]


def test_a_run_on_real_processes_is_a_place_of_its_own() -> None:
    (entry,) = known_of(run(REFUND, backend="process")).entries
    assert entry.seen_in == ("matrix/x seed 0 (process)",)
    reread = known_from(tomllib.loads(known_text(Known(entries=(entry,)))), "x", today=TODAY)
    assert states(reread, run()) == ["not-run"]
    assert states(reread, run(backend="process")) == ["gone"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (run(), "nothing to accept: no promise is broken here"),
        (run(broke="it hung"), "nothing to accept: the run gave no verdict .it hung."),
        (run(REFUND, role="negative-control"), "a planted bug, which the lab has to find"),
        (run(REFUND, caught=True), "expected by the scenario"),
    ],
)
def test_what_cannot_be_accepted_says_why(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        acceptable(EMPTY, entry)


def test_planted_and_expected_bugs_of_a_campaign_are_left_out() -> None:
    planted = run(SHIP, role="negative-control", seed=1)
    expected = run(SHIP, caught=True, seed=2)
    told = {"runs": [run(REFUND), planted, expected]}
    assert [b.tool for b in acceptable(EMPTY, told)] == ["refund"]
    with pytest.raises(UsageError, match="planted bug or an expected breach cannot be accepted"):
        acceptable(EMPTY, told, fingerprints=[SHIP["fingerprint"]])
    with pytest.raises(UsageError, match="nothing to accept"):
        acceptable(EMPTY, {"runs": [planted, expected]})
    # A planted bug that is missed, or an expectation that failed, excuses nothing.
    missed = run(REFUND, caught=False)
    assert [b.tool for b in acceptable(EMPTY, {"runs": [missed]})] == ["refund"]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("00000", "too short"),
        ("aaaaaaaa", "no bug has this fingerprint"),
        ("aaaaaa", "several fingerprints begin so"),
    ],
)
def test_a_fingerprint_that_means_no_one_bug_lists_what_there_is(start: str, words: str) -> None:
    twins = [{**REFUND, "fingerprint": f"aaaaaa{n:010d}"} for n in (1, 2)]
    with pytest.raises(UsageError, match=words) as caught:
        acceptable(EMPTY, run(*twins), fingerprints=[start])
    for one in twins:
        assert f"{one['fingerprint']} effects.delivery (duplicate-effect, refund)" in str(
            caught.value
        )


def test_an_entry_of_another_shape_is_refused() -> None:
    entry = run(REFUND)
    del entry["contract"]
    with pytest.raises(FormatError, match="lacks contract"):
        acceptable(EMPTY, entry)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1d", Day(2026, 3, 2)),
        ("90d", Day(2026, 5, 30)),
        ("2026-05-30", Day(2026, 5, 30)),
        (" 2026-03-02 ", Day(2026, 3, 2)),
    ],
)
def test_the_last_day_is_a_day_or_a_number_of_days(text: str, day: Day) -> None:
    assert expiry(text, TODAY) == day


NO_LAST_DAYS = (
    *("", "1", "0d", "91d", "999999d", "-1d", "1 d", "\uff11d", "1w", "soon", "never"),
    *("2026-03-01", "2026-02-28", "2026-05-31", "2026-02-30", "9999-12-31"),
    *("20260401", "2026-W14-1", "2026-04-01T00:00:00"),
)


@pytest.mark.parametrize("text", NO_LAST_DAYS)
def test_no_other_last_day_is_taken(text: str) -> None:
    with pytest.raises(UsageError, match=r"from 2026-03-02 to 2026-05-30 \(UTC\), or 1d to 90d"):
        expiry(text, TODAY)


@pytest.mark.parametrize(
    "more",
    [
        {"owner": " \n"},
        {"reason": ""},
        {"reason": "half a character: \udc80"},
        {"expires": TODAY},
        {"expires": Day(2026, 5, 31)},
    ],
)
def test_nothing_is_accepted_without_an_owner_a_reason_and_a_near_day(more: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        accepted(EMPTY, run(REFUND), **{**SIGNED, **more})


# -- the command

Accept = Callable[..., str]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accept:
    """`chaoslab accept` in a folder of its own; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)

    def call(*words: str, owner: str = "ann", reason: str = "PAY-7", expires: str = "30d") -> str:
        signed = ("--owner", owner, "--reason", reason, "--expires", expires)
        console = Console(record=True, width=200, file=StringIO())
        assert accept(parser.parse_args([*words, *signed]), console) == 0
        return console.export_text()

    return call


def campaign(folder: Path, *runs: dict[str, Any]) -> None:
    folder.mkdir()
    write_json(folder / "results.json", {"format": 1, "runs": list(runs)})
    for one in runs:
        (folder / one["id"]).mkdir()
        whole = {"format": 1, "fingerprint": "", "run": one}
        write_json(folder / one["id"] / "run.json", whole)


def test_a_run_is_accepted_from_its_folder(command: Accept, tmp_path: Path) -> None:
    campaign(tmp_path / "c", run(REFUND), run(SHIP, seed=1))
    last = expiry("30d", utc_today())
    said = command("c/matrix-x--s0").splitlines()
    assert said == [
        f"accepted until {last}: effects.delivery (duplicate-effect, refund) of support, {MARK}, "
        "seen in 1 run",
        "chaoslab-known.toml is written: 1 known bug.",
        "Next: commit chaoslab-known.toml; until then the gate of your pipeline does not know "
        "of it.",
    ]
    known = load_known(None, today=utc_today())
    assert [(e.tool, e.expires) for e in known.entries] == [("refund", last)]
    assert command("c/matrix-x--s0").startswith("accepted again until")


def test_a_campaign_is_accepted_into_another_file(command: Accept, tmp_path: Path) -> None:
    campaign(tmp_path / "c", run(REFUND), run(SHIP, seed=1))
    said = command("c", "--known", "other.toml")
    assert said.count("accepted until") == 2 and "2 known bugs" in said
    assert not (tmp_path / "chaoslab-known.toml").exists()
    assert len(load_known(Path("other.toml"), today=utc_today()).entries) == 2


def test_nothing_is_written_where_something_is_wrong(command: Accept, tmp_path: Path) -> None:
    campaign(tmp_path / "c", run(REFUND), run(seed=1))
    for words, more in (
        (("c/matrix-x--s1",), {}),
        (("none",), {}),
        (("c",), {"expires": "91d"}),
        (("c",), {"owner": " "}),
        (("c", "--fingerprint", "ffffff"), {}),
    ):
        with pytest.raises(UsageError):
            command(*words, **more)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    (tmp_path / "chaoslab-known.toml").write_text("format = 1\nmore = 2\n")
    with pytest.raises(ContractError, match="more: unknown key"):
        command("c")
    assert (tmp_path / "chaoslab-known.toml").read_text() == "format = 1\nmore = 2\n"


def test_a_hostile_tool_name_is_printed_so_that_it_does_nothing(
    command: Accept, tmp_path: Path
) -> None:
    campaign(tmp_path / "c", run({**REFUND, "tool": "re\x1b[2J\u202efund\n[[known]]"}))
    with pytest.raises(UsageError, match="no bug has this fingerprint") as caught:
        command("c", "--fingerprint", "ffffff")
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    said = command("c")
    assert "\x1b" not in said and "\u202e" not in said
    assert len(said.splitlines()) == 3
