"""A bug that somebody answers for: it passes until its day, is counted, and is not forgotten."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaoslab.core.clock import Day, utc_today

from .conftest import ROOT, Run

LOST_REPLY = "matrix/timeout-after-commit"
KEY_OF_THE_TRY = 'f"{self.world.random.getrandbits(64):016x}"'
KEY_OF_THE_ACTION = 'f"{call.name}/{self.world.marker_of(call.name, call.args)}"'
SIGNED = ("--owner", "ann@example.org", "--reason", 'PAY-412: "soon"\n[[known]]')
FILE = "chaoslab-known.toml"

Test = Callable[..., int]


@pytest.fixture
def bot(here: Path) -> Path:
    """A team's own agent that pays twice."""
    for suffix in (".py", ".toml"):
        shutil.copy(ROOT / "fixtures" / "agents" / f"double_charge{suffix}", here / f"bot{suffix}")
    return here / "bot.py"


@pytest.fixture
def test(chaoslab: Run, here: Path, bot: Path) -> Test:
    """`chaoslab run` on the team's agent; gives the exit code."""

    def call(*more: str) -> int:
        done = chaoslab("run", LOST_REPLY, "--agent", "bot.py:make_agent", "--jobs", "1", *more)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        (here / "said").write_text(done.stdout)
        return done.returncode

    return call


def results(here: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((here / "reports/latest/results.json").read_text())
    return found


def states(here: Path) -> set[str]:
    return {one["state"] for one in results(here)["known"]}


def counted(here: Path) -> list[str]:
    """The words by which the terminal counts the entries of the file, one a line."""
    words = re.findall(r"^(KNOWN|EXPIRED|GONE|NOT RUN)  ", (here / "said").read_text(), re.M)
    return [str(word) for word in words]


def entries(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(path.read_text())["known"]
    return found


def test_a_known_bug_passes_until_its_day_and_is_counted(
    chaoslab: Run, here: Path, test: Test
) -> None:
    assert test() == 1
    done = chaoslab("accept", "reports/latest", *SIGNED, "--expires", "30d")
    assert done.returncode == 0, done.stdout + done.stderr
    last = Day.fromordinal(utc_today().toordinal() + 30)
    bugs = {(v["fingerprint"], v["check"]) for r in results(here)["runs"] for v in r["violations"]}
    assert {(e["fingerprint"], e["check"]) for e in entries(here / FILE)} == bugs
    assert done.stdout.count(f"accepted until {last}: ") == len(bugs) > 1
    assert f"commit {FILE}" in done.stdout
    for entry in entries(here / FILE):
        assert (entry["owner"], entry["reason"]) == (SIGNED[1], SIGNED[3])
        assert entry["expires"] == last and entry["accepted"] <= utc_today()

    assert test() == 0
    told = results(here)
    assert told["exit_code"] == 0 and states(here) == {"known"}
    assert all(one["runs"] == [r["id"] for r in told["runs"]] for one in told["known"])
    # Known is not mended: the runs are broken as before, and a person is told so.
    assert {r["verdict"] for r in told["runs"]} == {"invalid"}
    assert {b["state"] for b in told["bugs"]} == {"known"}
    assert counted(here) == ["KNOWN"] * len(bugs)

    text = (here / FILE).read_text()
    assert f"expires = {last}" in text
    day = Day.fromordinal(utc_today().toordinal() - 1)
    (here / FILE).write_text(text.replace(f"expires = {last}", f"expires = {day}"))
    assert test() == 1
    assert states(here) == {"expired"} == {b["state"] for b in results(here)["bugs"]}
    assert counted(here) == ["EXPIRED"] * len(bugs)


def test_only_what_was_accepted_passes(chaoslab: Run, here: Path, test: Test) -> None:
    assert test("--seed", "0") == 1
    run = results(here)["runs"][0]
    marks = sorted({v["fingerprint"] for v in run["violations"]})
    folder = f"reports/latest/{run['id']}"
    signed = (*SIGNED, "--expires", "7d", "--known", "ours.toml")
    for mark in marks:
        # As long as one of its bugs is nobody's, the run fails.
        if (here / "ours.toml").exists():
            assert test("--seed", "0", "--known", "ours.toml") == 1
        done = chaoslab("accept", folder, "--fingerprint", mark[:6], *signed)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [e["seen_in"] for e in entries(here / "ours.toml")] == [[f"{LOST_REPLY} seed 0"]] * len(
        marks
    )
    assert test("--seed", "0", "--known", "ours.toml") == 0
    assert test("--seed", "0") == 1  # the file of the folder is another one


def test_gone_is_reported_and_what_was_not_run_is_not_gone(
    chaoslab: Run, here: Path, bot: Path, test: Test
) -> None:
    assert test() == 1
    assert chaoslab("accept", "reports/latest", *SIGNED, "--expires", "30d").returncode == 0
    text = bot.read_text()
    assert KEY_OF_THE_TRY in text
    bot.write_text(text.replace(KEY_OF_THE_TRY, KEY_OF_THE_ACTION))
    assert test("--seed", "0") == 0
    assert states(here) == {"not-run"}
    assert set(counted(here)) == {"NOT RUN"}
    assert test() == 0
    assert states(here) == {"gone"}
    assert set(counted(here)) == {"GONE"}
    bot.write_text(text)
    assert test() == 0  # the entries are still there, and so they cover what came back
    assert states(here) == {"known"}


def test_a_planted_bug_is_not_accepted(chaoslab: Run, here: Path) -> None:
    done = chaoslab("run", LOST_REPLY, "--seed", "0", "--planted")
    assert done.returncode == 0, done.stdout + done.stderr
    planted = [r for r in results(here)["runs"] if r["role"] == "negative-control"]
    assert planted
    for folder in ("reports/latest", f"reports/latest/{planted[0]['id']}"):
        done = chaoslab("accept", folder, *SIGNED, "--expires", "30d")
        assert done.returncode == 2
        assert "nothing to accept" in done.stderr or "a planted bug" in done.stderr
    assert not (here / FILE).exists()


def test_a_file_that_is_wrong_is_refused_before_anything_runs(chaoslab: Run, here: Path) -> None:
    (here / FILE).write_text("format = 1\n[[known]]\nowner = ' '\nexpires = 'soon'\nuntil = 1\n")
    done = chaoslab("run", LOST_REPLY)
    assert done.returncode == 2
    for words in ("known[0].owner", "known[0].expires", "known[0].until: unknown key", FILE):
        assert words in done.stderr
    assert not (here / "reports").exists()


def test_accepting_without_a_day_or_for_too_long_is_refused(
    chaoslab: Run, here: Path, test: Test
) -> None:
    assert test("--seed", "0") == 1
    done = chaoslab("accept", "reports/latest", *SIGNED)
    assert done.returncode == 2 and "--expires" in done.stderr
    done = chaoslab("accept", "reports/latest", *SIGNED, "--expires", "91d")
    assert done.returncode == 2 and "1d to 90d" in done.stderr
    assert not (here / FILE).exists()
