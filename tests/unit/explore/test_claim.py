"""What a sweep claims: worlds by what became of them, and nothing that was not looked at."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from chaoslab.cli import main
from chaoslab.explore import campaign
from chaoslab.explore.claim import Counts, Coverage, WorldCoverage, claim_of


def world(number: int, **more: Any) -> WorldCoverage:
    name = f"w-{number}"
    return WorldCoverage(world=name, seed=number, scenarios=(f"a/{number}",), **more)


def swept(number: int, planned: int, **words: int) -> WorldCoverage:
    counts = Counts(planned=planned, words=words)
    return world(number, control="held", sites=3, kinds=("crash",), heal_ms=9, first=counts)


def test_worlds_that_were_not_looked_at_were_not_swept() -> None:
    seen = (swept(0, 8, held=8), swept(1, 8, held=5), swept(2, 8), world(3), world(4))
    claim = claim_of(Coverage(worlds=seen))
    assert claim[0] == (
        "Of 5 worlds of 5 scenarios 1 was swept, 1 was swept in part, 1 was looked at and not "
        "struck, 2 were not looked at at all. Where that held, executions without faults make 9 "
        "calls; what is planned to strike them is 1 kind of fault, each in every phase in which it "
        "makes sense."
    )
    assert "world w-3 (seed 3, a/3); world w-4 (seed 4, a/4)" in claim[1]
    # Neither calls nor schedules are claimed that nobody has seen.
    assert "ran 13 of 24, 0 equivalent, under seeds 0, 1." in claim[2]
    assert "Left out: 11 planned executions" in " ".join(claim)
    assert "other schedules than those of seeds 0, 1," in claim[-1]
    assert [row["left out"] for row in Coverage(worlds=seen).rows] == [
        "0",
        "3",
        "8",
        "all: see the claim",
        "all: see the claim",
    ]


def test_a_world_that_did_not_hold_is_told_beside_those_that_did() -> None:
    bad = world(1, control="broken", why="s1-t1: it failed")
    claim = claim_of(Coverage(worlds=(swept(0, 8, held=8), bad)))
    assert claim[0].startswith("Of 2 worlds of 2 scenarios 1 was swept, 1 was not swept, since ")
    assert "World w-1 (seed 1, a/1) was not swept: already without any fault, s1-t1: it" in claim[3]
    assert "under seeds 0." in claim[1]


@pytest.mark.parametrize("worlds", [(world(0),), (swept(0, 8),), (world(0, control="broke"),)])
def test_where_nothing_was_seen_nothing_is_claimed(worlds: tuple[WorldCoverage, ...]) -> None:
    claim = claim_of(Coverage(worlds=worlds, depth=2))
    assert claim[-1] == "So nothing is known of this agent under faults."
    assert "under seeds" not in " ".join(claim)
    assert not Coverage(worlds=worlds).complete


def test_first_strikes_that_nothing_can_follow_are_told() -> None:
    claim = claim_of(
        Coverage(worlds=(swept(0, 8, held=5, broke=2, **{"never-struck": 1}),), depth=2)
    )
    told = (
        "No second strike followed first ones: 2 that could not run and 1 that were never struck."
    )
    assert told in claim


def test_no_file_is_claimed_that_the_disk_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(campaign, "write_json", full)
    asked = ["sweep", "matrix/timeout-after-commit", "--kinds", "rate-limit", "--in-process"]
    asked += ["--sessions", "1", "--tasks", "1", "--reports", str(tmp_path / "reports")]
    code = main([*asked, "--agent", "fixtures/agents/minimal.py:make_agent"])
    said = capsys.readouterr().out
    assert code == 4
    assert "results.json cannot be written: No space left on device" in said
    assert "Not written: " in said and "Written: " not in said
    assert not (tmp_path / "reports" / "latest" / "results.json").exists()
