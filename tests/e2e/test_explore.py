"""`chaoslab sweep` and `chaoslab stress` as a stranger uses them: what they print and keep."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from .conftest import Run, environment
from .test_run import hears_ctrl_c, results

SMALL = ("timeout-after-commit", "--sessions", "1", "--tasks", "1")
BUG = ("--agent", "fixtures/agents/double_charge.py:make_agent")
TEAM = """
format = 1
[agent]
command = ["python", "agent.py"]
submit = "run"
"""


def exploration(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = results(folder)["exploration"]
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows that a campaign has kept: neither its head nor the ends of batches."""
    lines = (folder / "reports/latest/rows.ndjson").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [row for row in found if "word" in row]


def judgements(folder: Path) -> list[dict[str, Any]]:
    """What must be the same however a campaign was carried out."""
    found = [{k: v for k, v in row.items() if k != "spent_us"} for row in rows(folder)]
    return sorted(found, key=lambda row: str(row["name"]))


def test_a_sweep_finds_a_planted_bug_shrinks_it_and_keeps_it(chaoslab: Run, here: Path) -> None:
    done = chaoslab("sweep", *SMALL, *BUG, "--kinds", "silence", "--pytest")
    out = done.stdout
    assert done.returncode == 1, out + done.stderr
    told = exploration(here)
    words, kept = told["words"], rows(here)
    assert sum(words.values()) == len(kept) and words["broken"] >= 3
    assert told["executions"] == sum(row["word"] != "equivalent" for row in kept)
    counted = re.search(r"Each strike alone: ran (\d+) of (\d+), (\d+) equivalent", out)
    assert counted is not None
    ran, planned, equivalent = (int(number) for number in counted.groups())
    assert ran + equivalent == planned and ran == told["executions"] - 1  # one without faults
    assert "under seeds 0." in out and "Nothing is said of other schedules" in out
    double = next(one for one in told["findings"] if one["code"] == "duplicate-effect")
    assert len(double["faults"]) == 1 and double["run"] in out
    scenario, test = (here / name for name in double["files"])
    assert f"written: {double['files'][0]}" in out

    again = chaoslab("run", str(scenario), *BUG)
    assert again.returncode == 1 and "duplicate-effect" in again.stdout, again.stdout
    assert chaoslab("replay", f"reports/latest/{Path(double['run']).name}").returncode in (0, 2)
    alone = here / "alone"
    alone.mkdir()
    shutil.copy(test, alone)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "chaoslab.pytest_plugin", test.name]
    env = environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    tested = subprocess.run(
        command, cwd=alone, env=env, capture_output=True, text=True, check=False
    )
    assert tested.returncode == 1 and "duplicate-effect" in tested.stdout, tested.stdout


def test_no_output_takes_a_few_full_runs_for_the_campaign(chaoslab: Run, here: Path) -> None:
    done = chaoslab("sweep", *SMALL, "--kinds", "reset")
    assert done.returncode == 0, done.stdout + done.stderr
    latest, told = here / "reports/latest", exploration(here)
    many = f"{told['executions']:,} executions"
    full = len(results(here)["runs"])
    assert full == 3 < told["executions"] and told["words"].get("broken", 0) == 0
    assert many in done.stdout.splitlines()[-3] and "0 were broken" in done.stdout
    assert "\x1b" not in done.stdout and "reference" in done.stdout

    comment = (latest / "comment.md").read_text()
    assert many in comment.splitlines()[2] and "3 runs" not in comment.splitlines()[2]
    [case] = Xml.parse(latest / "junit.xml").getroot().findall("testsuite[@name='explored']/*")
    assert many in case.attrib["name"] and case.find("failure") is None
    assert "ran" in (case.findtext("system-out") or "")
    events = [json.loads(line) for line in (latest / "events.ndjson").read_text().splitlines()]
    [one] = [event for event in events if event["kind"] == "exploration"]
    assert events[0]["executions"] == one["executions"] == told["executions"]
    page = (latest / "report.html").read_text()
    assert many in page and told["claim"][-1] in page.replace("&#39;", "'")


def test_stress_finds_states_its_bound_and_remembers(chaoslab: Run, here: Path) -> None:
    command = ("stress", SMALL[0], *BUG, "--runs", "40", "--shards", "2")
    done = chaoslab(*command)
    assert done.returncode == 1, done.stdout + done.stderr
    told = exploration(here)
    assert told["executions"] == 40 == len(rows(here)) and told["words"]["broken"] > 0
    assert re.search(r"broke a promise: \d+ of \d+: (below [\d.]+% at 95%|no bound)", done.stdout)
    assert "Hypothesis" in told["statistics"]["time spent"]
    assert "executions a second" in told["statistics"]
    assert all(len(one["faults"]) <= 2 for one in told["findings"] if one["run"])
    assert all(Path(here, one["files"][0]).is_file() for one in told["findings"])
    assert any(path.is_file() for path in (here / ".chaoslab/examples").rglob("*"))

    before = (here / "reports/latest").resolve()
    again = chaoslab(*command, "--against", str(before))
    assert again.returncode == 1 and "ONGOING" in again.stdout, again.stdout
    # What failed before is tried first, and by other draws than before.
    assert rows(here)[0]["word"] == "broken"


def test_ctrl_c_keeps_what_is_done_and_resume_does_the_rest(chaoslab: Run, here: Path) -> None:
    command = ["sweep", *SMALL, "--kinds", "crash,reset", "--jobs", "2"]
    started = [sys.executable, "-m", "chaoslab", *command]
    with subprocess.Popen(
        started,
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    ) as process:
        _until_rows(here / "reports/latest/rows.ndjson", 20, process)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        took = time.monotonic() - began
    assert process.returncode == 130, said
    assert took < 3, f"{took:.1f} s"  # one second, and what a busy machine adds
    assert re.search(r"interrupted; \d+ executions are kept", said) and "--resume" in said
    kept = judgements(here)
    assert len(kept) >= 20

    other = chaoslab(*command[:-4], "--kinds", "crash", "--resume")
    assert other.returncode == 2 and "its kinds was" in other.stderr, other.stderr
    resumed = chaoslab(*command, "--resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    whole = judgements(here)
    assert [row for row in whole if row in kept] == kept and len(whole) > len(kept)
    assert chaoslab(*command, "--reports", "whole").returncode == 0
    (here / "reports").rename(here / "interrupted")
    (here / "whole").rename(here / "reports")
    assert judgements(here) == whole


def _until_rows(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 90
    while not path.is_file() or path.read_text().count('"word"') < count:
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.02)  # what is waited for is a file of another process


def test_a_limit_in_time_is_told_as_one(chaoslab: Run, here: Path) -> None:
    done = chaoslab("sweep", *SMALL, "--max-time", "2s", "--jobs", "1")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    told = exploration(here)
    assert not told["complete"] and "Left out" in done.stdout
    assert "Not everything that was asked for was executed" in done.stdout
    comment = (here / "reports/latest/comment.md").read_text()
    assert "not finished" in comment.splitlines()[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep", "--kinds", "crash,panic"), ("no such kind", "'panic' (str)", "silence", "next")),
        (("sweep", "--depth", "3"), ("--depth", "'3'", "1 or 2", "stress")),
        (("sweep", "--max-time", "soon"), ("no length of time", "'soon' (str)", "90s")),
        (("stress", "--runs", "0"), ("--runs", "'0'", "1 or more")),
        (("stress", "--time", "45"), ("no length of time", "'45' (str)", "90s")),
        (("stress", "--database", "ftp://x"), ("no such database", "'ftp://x' (str)", "redis://")),
        (("sweep", "no-such-scenario"), ("no such scenario", "'no-such-scenario' (str)", "list")),
        (("stress", "--agent", "team.toml"), ("process of its own", "team.toml", "chaoslab run")),
        (("sweep", "--executor", "ssh://x"), ("'ssh://x' (str)", "dask://HOST:PORT", "next")),
        (("sweep", "--resume"), ("no campaign", "without --resume")),
        (("sweep", "--against", "nowhere"), ("nowhere", "campaign")),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    chaoslab: Run, here: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (here / "team.toml").write_text(TEAM)
    done = chaoslab(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert not list(here.glob("reports/*/rows.ndjson"))


def test_a_finding_bears_the_name_of_the_file_that_keeps_it(chaoslab: Run, here: Path) -> None:
    other = here / "scenarios/regressions/keys-lineage-key-changed-refund.toml"
    other.parent.mkdir(parents=True)
    other.write_text("another case\n")
    out = chaoslab("sweep", *SMALL, *BUG, "--kinds", "silence").stdout
    kept = [Path(path) for one in exploration(here)["findings"] for path in one["files"]]
    assert "keys-lineage-key-changed-refund-2" in {path.stem for path in kept}, out
    for path in kept:
        assert f"in regressions/{path.stem}, seed" in out
        assert f"regressions-{path.stem}--" in out  # the folder that the replay command names


def test_a_file_in_place_of_the_folder_is_told_before_anything_runs(
    chaoslab: Run, here: Path
) -> None:
    (here / "scenarios").mkdir()
    (here / "scenarios/regressions").write_text("a file\n")
    done = chaoslab("sweep", *SMALL, *BUG, "--kinds", "silence")
    assert done.returncode == 2 and "--regressions" in done.stderr, done.stdout + done.stderr
    assert not (here / "reports").exists()
