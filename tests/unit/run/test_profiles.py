"""How much is run where: scenarios, seeds, limits, and what a limit cuts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import UsageError
from chaoslab.run import campaign as campaigns
from chaoslab.run.campaign import run_all
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.profiles import (
    PROFILES,
    cut_json,
    cut_words,
    more_seeds,
    names_for,
    order,
    parse_time,
    time_text,
    with_seeds,
)
from chaoslab.run.select import REFERENCE, known_scenarios, scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.workers import Workers

NAMES = ["timeout-after-commit", "concurrent-2-crash", "failover-zombie"]
SPECS = specs_for(scenario_files(NAMES), REFERENCE)


# -- what a profile asks for


def test_scenarios_that_are_named_win() -> None:
    for profile in (None, *PROFILES.values()):
        assert names_for(["egress"], profile) == ["egress"]


def test_what_is_run_without_names() -> None:
    assert names_for([], None) == names_for([], PROFILES["pr"]) == ["matrix"]
    for name in ("nightly", "release"):
        files = scenario_files(names_for([], PROFILES[name]))
        assert len(files) == len(known_scenarios())


def test_seeds_are_the_scenario_s_own_then_further_ones() -> None:
    assert more_seeds((0,), 5) == (0, 1, 2, 3, 4)
    assert more_seeds((9, 2), 4) == (9, 2, 10, 11)
    assert more_seeds((4, 5, 6), 2) == (4, 5)


@pytest.mark.parametrize("name", list(PROFILES))
def test_each_scenario_gets_the_seeds_of_the_profile(name: str) -> None:
    count = PROFILES[name].seeds
    specs = with_seeds(SPECS, count)
    found: dict[str, list[int]] = {}
    for spec in specs:
        found.setdefault(spec.scenario.id, []).append(spec.seed)
    assert list(found) == [f"matrix/{name}" for name in NAMES]
    for spec in SPECS:
        own = spec.scenario.schedule.seeds
        assert found[spec.scenario.id] == list(more_seeds(own, count))
    assert len({spec.id for spec in specs}) == len(specs) == count * len(NAMES)


def test_the_profiles_grow() -> None:
    pr, nightly, release = PROFILES.values()
    assert (pr.name, nightly.name, release.name) == ("pr", "nightly", "release")
    assert pr.seeds < nightly.seeds < release.seeds
    assert (pr.max_time_ms, nightly.max_time_ms, release.max_time_ms) == (600_000, 3_600_000, None)
    assert not pr.planted and nightly.planted and release.planted


def test_first_seeds_come_before_second_ones() -> None:
    specs = with_seeds(SPECS, 3)
    done = order(specs)
    assert sorted(s.id for s in done) == sorted(s.id for s in specs)
    names = [spec.scenario.name for spec in done]
    assert names == NAMES * 3
    assert [spec.seed for spec in done[:3]] == [s.scenario.schedule.seeds[0] for s in SPECS[:1]] * 3


def test_a_planted_bug_has_turns_of_its_own() -> None:
    subjects = with_seeds(SPECS[:1], 2)
    planted = [replace(s, agent="other.py:make_agent") for s in subjects]
    turns = [(s.agent == REFERENCE, s.seed) for s in order(subjects + planted)]
    assert turns == [(True, 0), (False, 0), (True, 1), (False, 1)]


# -- times


@pytest.mark.parametrize(
    ("text", "ms"), [("1s", 1_000), ("90s", 90_000), ("10m", 600_000), ("1h", 3_600_000)]
)
def test_a_time_is_read(text: str, ms: int) -> None:
    assert parse_time(text) == ms


@pytest.mark.parametrize(
    "text", ["", "10", "m", "0s", "-1m", "1.5h", "10 m", "1d", "1h30m", "1s\n"]
)
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="no length of time") as caught:
        parse_time(text)
    assert caught.value.exit_code == 2


def test_a_time_in_words() -> None:
    assert [time_text(parse_time(t)) for t in ("1s", "90s", "60s", "10m", "90m", "2h")] == [
        "1 s",
        "90 s",
        "1 min",
        "10 min",
        "90 min",
        "2 h",
    ]


# -- what is cut


def cut(scenario: str, *seeds: int, agent: str = "a.py:f") -> list[dict[str, Any]]:
    return [{"scenario": scenario, "agent": agent, "seed": seed} for seed in seeds]


def test_cut_runs_are_told_a_scenario_at_a_time() -> None:
    assert cut_words([]) == ""
    told = cut_words(cut("m/x", 5, 3, 4) + cut("m/y", 0), limit="10 min")
    assert told == "cut for want of time (10 min): m/x seeds 3-5; m/y seed 0"
    two = cut_words(cut("m/x", 1, 2) + cut("m/x", 1, agent="b.py:f"))
    assert two == "cut for want of time: m/x seeds 1-2 (a.py:f); m/x seed 1 (b.py:f)"


def test_names_from_elsewhere_do_nothing_to_a_terminal() -> None:
    assert "\x1b" not in cut_words(cut("m/\x1b[2Jx", 1))


class Clock:
    """A clock that stands until a run is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000
        self.done: list[str] = []
        monkeypatch.setattr(campaigns, "monotonic_ms", lambda: self.now)
        monkeypatch.setattr(campaigns, "perform", self.perform)

    def perform(self, spec: RunSpec, workers: Workers, folder: Path) -> RunRecord:
        self.now += 100
        self.done.append(spec.id)
        return RunRecord(spec=spec, verdict="valid")


def test_no_run_is_started_after_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    specs = order(with_seeds(SPECS, 2))
    told: list[str] = []

    def run(until_ms: int | None) -> dict[str, Any]:
        return run_all(
            specs,
            Campaign(tmp_path),
            Workers(in_process=True),
            jobs=1,
            on_run=lambda entry, record: told.append(entry["id"]),
            until_ms=until_ms,
        )

    results = run(1_350)
    ids = [spec.id for spec in specs]
    assert clock.done == told == [run["id"] for run in results["runs"]] == ids[:4]
    assert results["cut"] == [cut_json(spec) for spec in specs[4:]]
    assert results["complete"]  # all that was asked for is told of
    assert not any((tmp_path / run).exists() for run in ids[4:])

    results = run(1_500)  # with --resume: what is finished is kept, and costs no time
    assert clock.done == ids[:5]
    assert [one["id"] for one in results["cut"]] == ids[5:]

    results = run(1_500)  # the time is up already: what is finished stays all the same
    assert clock.done == ids[:5] == [run["id"] for run in results["runs"]]
    assert [one["id"] for one in results["cut"]] == ids[5:]

    results = run(None)
    assert clock.done == ids and results["cut"] == []


def test_nothing_done_at_all_is_no_green(tmp_path: Path) -> None:
    results = run_all(
        SPECS,
        Campaign(tmp_path),
        Workers(in_process=True),
        jobs=1,
        on_run=lambda entry, record: None,
        until_ms=monotonic_ms() - 1,
    )
    assert results["runs"] == [] and len(results["cut"]) == len(SPECS)
    assert results["exit_code"] == 3
