"""Regions as processes of their own under the reference agent: it comes through what happens to
them, and what a wrong agent does to a real store is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.live.lab import spec_of, verdicts, workers
from tests.live.wires import need_original

from chaoslab.history import View, read
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers

AGENTS = Path(__file__).resolve().parents[2] / "fixtures" / "agents"
HARNESS = Path(__file__).resolve().parents[2] / "harness"
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
    toxiproxy: str = "",
) -> tuple[RunRecord, View]:
    """A run with one fault, and what is on record of it."""
    path = folder / "regions.toml"
    path.write_text(SCENARIO.format(fault=fault, kind=kind, sessions=sessions, lag_ms=lag_ms))
    (folder / "out").mkdir()
    spec = spec_of(agent, path, repeats=0, linger_ms=100, toxiproxy=toxiproxy)
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


@pytest.mark.parametrize("toxiproxy", ["", "embedded", "original"])
def test_a_primary_is_cut_off(tmp_path: Path, pool: Workers, toxiproxy: str) -> None:
    if toxiproxy == "original":
        need_original()
    fault = 'at = "memory.write"\nphase = "after-commit"\nkind = "partition"\nfor_ms = 6000'
    record, view = struck(tmp_path, pool, fault, toxiproxy=toxiproxy)
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


def regions_of(tmp: Path) -> dict[int, str]:
    """The living region processes whose data is below a folder, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_text().replace("\0", " ")
            if "-m chaoslab.regions" in line and str(tmp) in line:
                found[int(entry.name)] = line
    return found


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_of_a_region_outlives_the_lab(tmp_path: Path, number: int) -> None:
    scenario, tmp = tmp_path / "regions.toml", tmp_path / "tmp"
    tmp.mkdir()
    fault = 'at = "memory.write"\nphase = "after-commit"\nkind = "pause"'
    scenario.write_text(SCENARIO.format(fault=fault, kind="ship", sessions=2, lag_ms=100))
    env = {**os.environ, "PYTHONPATH": str(HARNESS), "TMPDIR": str(tmp)}
    command = [sys.executable, "-m", "chaoslab", "run", str(scenario), "--backend", "process"]
    with subprocess.Popen(
        [*command, "--in-process"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as made:
        try:
            assert until(lambda: len(regions_of(tmp)) == 2, 60), "no region was started"
        finally:
            made.send_signal(number)
    assert until(lambda: not regions_of(tmp), 20), regions_of(tmp)
    # What the kernel did not remove, the next start does.
    clearing = "from chaoslab.backends.process.leftovers import sweep; sweep()"
    subprocess.run([sys.executable, "-c", clearing], env=env, check=True)
    assert list(tmp.glob("*chaoslab-*")) == []
