"""What is counted and claimed of a campaign, and what a command makes of its options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaoslab.cli.exploring import kinds_in
from chaoslab.cli.stress import EXAMPLES, _beginning, _time_each, unfinished
from chaoslab.core.errors import FormatError, UsageError
from chaoslab.explore.database import Examples
from chaoslab.explore.drawn import claim_of, coverage_of, statistics_of
from chaoslab.explore.rows import Row, Word
from chaoslab.explore.store import Rows, Tally, head_of
from chaoslab.explore.stress import StressShard
from chaoslab.faults import KINDS

HERE: dict[str, object] = {"at": "tools.refund", "phase": "after-commit", "kind": "silence"}
THERE: dict[str, object] = {**HERE, "at": "memory.read", "kind": "crash"}


def row(word: Word, *faults: dict[str, object]) -> Row:
    return Row(name="stress-01/1", world="w", seed=0, word=word, faults=faults)


def test_an_execution_with_two_faults_counts_for_both_and_only_judged_ones_have_struck() -> None:
    rows = [row("held", HERE, THERE), row("broken", HERE), row("never-struck", THERE)]
    table = {one["kind"]: one for one in coverage_of(rows)["rows"]}
    assert (table["silence"]["executions"], table["silence"]["broken"]) == ("2", "1")
    assert (table["crash"]["places struck"], table["crash"]["never struck"]) == ("1", "1")
    assert coverage_of(rows)["columns"][0] == "kind" and coverage_of([])["rows"] == []


def test_statistics_count_what_this_command_did_and_places_by_kind() -> None:
    tally = Tally(words={"held": 30})
    rows = [row("held", HERE, THERE), row("held", HERE), row("unproven", {**HERE, "at": "x"})]
    spent = {"agent": 3_000_000, "hypothesis": 1_000_000}
    told = statistics_of(tally, rows, executed=20, wall_ms=4_000, spent_us=spent)
    assert told["executions"] == "30" and told["executions a second"] == "5.0"
    assert told["sites × kinds struck"] == "2"
    assert told["time spent"] == "agent 3.0 s (75%), Hypothesis 1.0 s (25%)"
    none = statistics_of(Tally(), [], executed=0, wall_ms=0, spent_us={})
    assert list(none) == ["executions", "sites × kinds struck"]


def test_the_claim_bounds_what_could_be_judged_and_names_what_ended_early() -> None:
    tally = Tally(words={"held": 99, "broken": 1, "never-struck": 50})
    told = claim_of(tally, seed=7, shards=2, worlds=1, cut=("time ran out", "time ran out"))
    assert told[0].startswith("150 executions of 1 world, drawn from seed 7 in 2 parts")
    assert told[1] == "Of these 99 held, 1 was broken, 50 were never struck where it was planned."
    assert "1 of 100: below 4.7% at 95%" in told[2]
    assert told[3] == "2 of 2 parts ended early: time ran out."
    assert not any("early" in one for one in claim_of(tally, seed=7, shards=2, worlds=1, cut=()))


def test_shards_share_the_time_by_how_many_are_at_work() -> None:
    assert [_time_each(45_000, 8, jobs) for jobs in (1, 2, 8, 64)] == [
        5_625,
        11_250,
        45_000,
        45_000,
    ]
    assert _time_each(None, 8, 2) is None


def test_a_campaign_goes_on_with_the_database_of_its_beginning(tmp_path: Path) -> None:
    examples, path = Examples(str(tmp_path / "db"), b"key"), tmp_path / EXAMPLES
    examples.write([b"one"])
    assert _beginning(path, examples) == {b"key": (b"one",)}
    examples.write([b"two"])
    assert _beginning(path, examples) == {b"key": (b"one",)}
    assert examples.read() == {b"key": (b"one", b"two")}
    path.write_text('{"zz": ["00"]}')
    with pytest.raises(FormatError, match="without --resume"):
        _beginning(path, examples)


def test_kinds_are_those_that_there_are() -> None:
    assert kinds_in("") == () and kinds_in("crash,silence,crash") == ("crash", "silence")
    assert kinds_in(",".join(KINDS)) == tuple(KINDS)
    for bad in ("crash,panic", ",", "Crash"):
        with pytest.raises(UsageError, match="no such kind of fault"):
            kinds_in(bad)


def test_a_part_that_was_cut_off_is_gone_on_with_and_one_that_is_done_is_not(
    tmp_path: Path,
) -> None:
    head = head_of("stress", (), {"runs": 9})
    shards = [StressShard(name=f"stress-0{n}", base=(), seed=0, runs=3) for n in (1, 2, 3)]
    with Rows.create(tmp_path, head) as rows:
        rows.add("stress-01~000002", [replace(row("held"), name=f"stress-01/{n}") for n in (1, 2)])
        rows.add("stress-01~000003", [replace(row("held"), name="stress-01/3")])
        rows.add("stress-02~000001", [replace(row("held"), name="stress-02/1")])
        rows.add("stress-02", [replace(row("held"), name="stress-02/2")])
        first, third = unfinished(shards, rows)
    assert (first.name, first.counted, third.name, third.counted) == (
        "stress-01",
        3,
        "stress-03",
        0,
    )
    assert [one.name for one in first.earlier] == ["stress-01/1", "stress-01/2", "stress-01/3"]
    assert third.earlier == ()
