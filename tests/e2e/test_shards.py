"""A plan over several machines as a pipeline does it: shards, merge, profiles, limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chaoslab.cli import main

from .conftest import Run

FOUR = ("timeout-after-commit", "concurrent-2-crash", "failover-zombie", "timeout-before-commit")
ASKED = ("run", *FOUR, "--seed", "0")
DOUBLE_CHARGE = "fixtures/agents/double_charge.py:make_agent"


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "latest/results.json").read_text())
    return found


def shown(folder: Path) -> list[tuple[str, str, str]]:
    return [(run["id"], run["verdict"], run["digest"]) for run in results(folder)["runs"]]


def test_shards_and_merge_are_one_run_of_everything(chaoslab: Run, here: Path) -> None:
    for n in ("1", "2"):
        done = chaoslab(*ASKED, "--shard", f"{n}/2", "--reports", f"in/{n}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"shard {n}/2: 2 of 4 runs" in done.stdout
    whole = chaoslab(*ASKED, "--reports", "whole", "--write-durations", "durations.json")
    both = chaoslab("merge", "in", "--reports", "merged")
    assert (whole.returncode, both.returncode) == (0, 0), both.stdout + both.stderr

    assert len(shown(here / "merged")) == 4
    assert shown(here / "merged") == shown(here / "whole")
    told, wanted = results(here / "merged"), results(here / "whole")
    for name in ("promises", "bugs", "exit_code", "complete", "environment"):
        assert told[name] == wanted[name], name
    assert len(told["merged"]) == 2
    run = shown(here / "whole")[0][0]
    copy, original = (here / f"{f}/latest/{run}/fault.jsonl" for f in ("merged", "whole"))
    assert copy.read_bytes() == original.read_bytes()
    assert chaoslab("replay", f"merged/latest/{run}").returncode == 0
    assert (here / "merged/latest/report.html").is_file()

    # One of them is lost on the way.
    half = chaoslab("merge", "in/2", "--reports", "half")
    assert half.returncode == 3
    lost = [one["id"] for one in results(here / "in/1")["runs"]]
    assert "MISSING  shard 1 of 2 is missing" in half.stdout
    assert all(run in half.stdout for run in lost)
    assert results(here / "half")["complete"] is False

    # The times that were written divide the plan in another way, which is another plan.
    timed = json.loads((here / "durations.json").read_text())
    assert timed["format"] == 1 and list(timed["runs"]) == sorted(
        run for run, _, _ in shown(here / "whole")
    )
    timed["runs"][lost[0]] = 600_000
    (here / "chaoslab-durations.json").write_text(json.dumps(timed))
    done = chaoslab(*ASKED, "--shard", "1/2", "--reports", "other")
    assert done.returncode == 0 and [run for run, _, _ in shown(here / "other")] == lost[:1]
    mixed = chaoslab("merge", "other", "in/2", "--reports", "mixed")
    assert mixed.returncode == 2 and "no shards of one plan" in mixed.stderr
    assert not (here / "mixed").exists()


def test_what_one_shard_broke_is_broken_and_an_empty_shard_is_fine(
    chaoslab: Run, here: Path
) -> None:
    codes = []
    for n in ("1", "2", "3"):
        done = chaoslab(
            *("run", "timeout-after-commit", "failover-zombie", "--seed", "0"),
            *("--agent", DOUBLE_CHARGE, "--shard", f"{n}/3", "--reports", f"in/{n}"),
        )
        codes.append(done.returncode)
    assert codes == [0, 1, 0]
    assert results(here / "in/3")["runs"] == [] and results(here / "in/3")["complete"]
    # Somebody kept the results of the first and nothing else.
    for entry in results(here / "in/1")["runs"]:
        shutil.rmtree(here / "in/1/latest" / entry["id"])
    done = chaoslab("merge", "in/1", "in/2", "in/3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN  effects.delivery (duplicate-effect)" in done.stdout
    assert "note: the report lacks the details of runs whose folders are not there" in done.stdout
    told = results(here / "reports")
    assert told["complete"] and len(told["runs"]) == 2 and told["bugs"]


def test_a_limit_says_what_it_cut_and_resume_does_it(chaoslab: Run, here: Path) -> None:
    asked = ("run", *FOUR, "--profile", "release", "--jobs", "2")
    done = chaoslab(*asked, "--max-time", "1s")
    assert done.returncode == 0, done.stdout + done.stderr
    told = results(here / "reports")
    assert told["profile"] == "release" and told["complete"]
    seeds = {run["seed"] for run in told["runs"] if run["role"] == "subject"}
    assert 0 in seeds and told["runs"] and told["cut"]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("cut for want of time")]
    assert line.startswith("cut for want of time (1 s): matrix/")
    for scenario in {one["scenario"] for one in told["cut"]}:
        assert scenario in line
    ids = {one["id"] for one in [*told["runs"], *told["cut"]]}
    planned = 20 * len(FOUR)
    assert len(ids) == len(told["runs"]) + len(told["cut"]) > planned  # with the planted bugs

    before = {run["id"] for run in told["runs"]}
    done = chaoslab(*asked, "--max-time", "1s", "--resume")
    assert done.stdout.count("(kept)") == len(before)
    assert {run["id"] for run in results(here / "reports")["runs"]} > before


def test_profiles_choose_and_the_command_line_wins(chaoslab: Run, here: Path) -> None:
    done = chaoslab("run", "timeout-after-commit", "--profile", "pr", "--max-time", "5m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [run["seed"] for run in results(here / "reports")["runs"]] == [0]
    done = chaoslab("run", "delivery/rate-limited", "--profile", "nightly")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = results(here / "reports")["runs"]
    assert [run["seed"] for run in runs if run["role"] == "subject"] == [0, 1, 2, 3, 4]
    chaoslab("run", "delivery/rate-limited", "--profile", "nightly", "--seed", "9")
    runs = results(here / "reports")["runs"]
    assert [run["seed"] for run in runs if run["role"] == "subject"] == [9]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shard", "5/4"), "'5/4'"),
        (("--shard", "a/b"), "such as 2/4"),
        (("--max-time", "soon"), "90s, 10m, 1h"),
        (("--durations", "bad.json"), "bad.json is damaged: runs.a"),
        (("--durations", "none.json"), "the durations cannot be read"),
        (("--write-durations", "bad.json"), "bad.json is damaged"),
        (("--shard", "1/2", "--durations", "bad.json"), "bad.json is damaged"),
    ],
)
def test_what_cannot_be_is_a_usage_error_before_anything_runs(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(here)
    (here / "bad.json").write_text('{"format": 1, "runs": {"a": -1}}')
    assert main([*ASKED, *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (here / "reports").exists()


def test_merge_writes_nothing_where_there_is_nothing_to_merge(chaoslab: Run, here: Path) -> None:
    done = chaoslab("merge", "nowhere")
    assert done.returncode == 2 and "there is no such folder" in done.stderr
    (here / "damaged").mkdir()
    (here / "damaged/results.json").write_text("{")
    done = chaoslab("merge", "damaged")
    assert done.returncode == 2 and "damaged/results.json is damaged" in done.stderr
    assert not (here / "reports").exists()
