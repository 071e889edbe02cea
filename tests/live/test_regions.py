"""Regions as processes of their own under the reference agent: it comes through what happens to
them, and what a wrong agent does to a real store is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.live.lab import spec_of, verdicts, workers

from chaoslab.history import View, read
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers

AGENTS = Path(__file__).resolve().parents[2] / "fixtures" / "agents"
RIGHT = "chaoslab.reference:make_agent"

SCENARIO = """
format = 1
name = "regions"
title = "regions"
family = "live"
[workload]
use = "support"
sessions = {sessions}
tasks = 1
mix = ["{kind}"]
[regions]
names = ["east", "west"]
lag_ms = {lag_ms}
failover_after_ms = 1500
[schedule]
heal_after_ms = 40000
linger_ms = 2000
[limits]
uncertain_tasks_max = 2
[[faults]]
{fault}
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    """One worker for all."""
    with workers() as made:
        yield made


def struck(
    folder: Path,
    pool: Workers,
    fault: str,
    *,
    agent: str = RIGHT,
    kind: str = "refund",
    sessions: int = 1,
    lag_ms: int = 100,
) -> tuple[RunRecord, View]:
    """A run with one fault, and what is on record of it."""
    path = folder / "regions.toml"
    path.write_text(SCENARIO.format(fault=fault, kind=kind, sessions=sessions, lag_ms=lag_ms))
    (folder / "out").mkdir()
    spec = spec_of(agent, path, repeats=0, linger_ms=100, silence_ms=200)
    record = perform(spec, pool, folder / "out")
    assert (record.broke, record.vacuous, record.not_applicable) == ("", "", "")
    assert record.faults["fired"] == 1
    return record, View(read(folder / "out" / "fault.jsonl").ops)


def events(view: View) -> list[str]:
    """What became of regions, in order."""
    return [
        f"{op.f.partition('.')[2]} {op.get('region')}" for op in view if op.f.startswith("region.")
    ]


def right(record: RunRecord, *checks: str) -> None:
    """Nothing is broken, and these checks have something to say."""
    assert record.violations == ()
    found = verdicts(record)
    for check in ("effects.delivery", *checks):
        assert found[check] == "valid", check


def commits(view: View) -> Sequence[Any]:
    """What memory committed."""
    return [op for op in view if op.type == "commit" and op.f.startswith("memory.")]


def test_a_region_is_killed_between_the_commit_and_its_answer(
    tmp_path: Path, pool: Workers
) -> None:
    fault = 'at = "memory.write"\nphase = "after-commit"\nkind = "crash"\nscope = "region"'
    record, view = struck(tmp_path, pool, fault + "\nfor_ms = 12000")
    right(record, "regions.fenced")
    assert events(view) == ["down east", "promote west", "join east"]
    made = commits(view)
    assert {op.get("region") for op in made} == {"east", "west"}
    # Each copy counts on from what it has seen, whoever led before.
    versions = [tuple(op.get("version")) for op in made]
    assert len(set(versions)) == len(versions) and {v[0] for v in versions} == {1, 2}


def test_what_was_not_replicated_is_named_as_lost(tmp_path: Path, pool: Workers) -> None:
    fault = 'at = "memory.write"\nphase = "after-commit"\nkind = "partition"\nfor_ms = 12000'
    agent = f"{AGENTS}/keeps_records_locally.py:make_agent"
    _, view = struck(tmp_path, pool, fault, agent=agent, lag_ms=10_000)
    assert events(view) == ["partition east", "promote west", "join east"]
    [promote] = view.named("region.promote")
    known = {op.index: op for op in commits(view)}
    assert promote.get("lost")
    for lost in promote.get("lost"):
        assert known[lost["op"]].get("version") == lost["version"]


def test_a_cut_off_primary_takes_writes_that_its_return_loses(
    tmp_path: Path, pool: Workers
) -> None:
    fault = 'at = "tools:long-running"\nphase = "before-commit"\nkind = "partition"\nfor_ms = 12000'
    record, view = struck(tmp_path, pool, fault, kind="ship")
    right(record, "regions.fenced")
    assert events(view) == ["partition east", "promote west", "join east"]


ZOMBIE = 'at = "tools:keyed"\nphase = "after-commit"\nkind = "pause"\nfor_ms = 9000'


def test_a_zombie_comes_back(tmp_path: Path, pool: Workers) -> None:
    record, view = struck(tmp_path, pool, ZOMBIE)
    right(record, "regions.fenced")
    assert events(view) == ["promote west"]
    assert [op.f for op in view if op.f in ("process.pause", "process.resume")]


def test_a_zombie_without_a_fence_is_found(tmp_path: Path, pool: Workers) -> None:
    agent = f"{AGENTS}/zombie_without_fence.py:make_agent"
    record, _ = struck(tmp_path, pool, ZOMBIE, agent=agent)
    assert "regions.fenced" in {v.check for v in record.violations}


def test_a_group_is_torn_between_two_real_commits(tmp_path: Path, pool: Workers) -> None:
    fault = 'at = "memory.write_many"\nphase = "mid-write"\nkind = "crash"\nafter_items = 1'
    record, view = struck(tmp_path, pool, fault)
    right(record, "memory.atomic")
    [strike] = view.named("nemesis.strike")
    assert [op.get("item") for op in commits(view) if op.call == strike.call] == [0]
