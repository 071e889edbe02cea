"""The pytest plugin as a team has it: installed, found by its entry point, in their folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from chaoslab.check import Finding
from chaoslab.pytest_plugin.words import ending
from chaoslab.run.model import RunRecord, run_json
from chaoslab.run.select import scenario_files, specs_for

from .conftest import AGENTS, ROOT, environment

REFERENCE = "chaoslab.reference:make_agent"
DOUBLE = "double_charge.py:make_agent"
SCENARIO = "matrix/timeout-after-commit"
UNSEEN = "matrix/partial-write-crash-1"  # strikes a call that the naive agent never makes

# Plugins of other packages import what is theirs; only this one is asked here.
ALONE = ("-p", "no:faker", "-p", "no:hypothesispytest", "-p", "no:anyio")

Pytest = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that says of the package what an installed wheel would: its entry points."""
    folder = tmp_path_factory.mktemp("site")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    about = folder / "chaoslab-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: chaoslab\nVersion: 0\n")
    points = project["entry-points"]["pytest11"]
    lines = ["[pytest11]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def team(here: Path, installed: Path) -> Pytest:
    """Runs pytest in a folder with the naive agent."""
    for suffix in (".py", ".toml"):
        shutil.copy(ROOT / f"fixtures/agents/double_charge{suffix}", here)

    path = os.pathsep.join((str(ROOT / "harness"), str(installed)))
    env = environment(
        PYTHONPATH=path,
        # So many interpreters share what the first one compiles, and leave nothing in the checkout.
        PYTHONDONTWRITEBYTECODE="",
        PYTHONPYCACHEPREFIX=str(installed / "compiled"),
    )

    def run(*arguments: str, cwd: Path = here) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ALONE, *arguments],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def outcomes(text: str) -> dict[str, str]:
    """Each scenario's test with how it ended, from the lines of `-rA`."""
    found = re.findall(r"^(PASSED|FAILED|ERROR) (?:\S*/)?(chaos::\S+)", text, re.M)
    return {name: how for how, name in found}


def told(here: Path) -> dict[str, Any]:
    """All runs of all `results.json` below the reports, by their names."""
    files = sorted((here / "reports").rglob("results.json"))
    return {run["id"]: run for f in files for run in json.loads(f.read_text())["runs"]}


def test_a_bug_fails_in_words_and_what_proves_nothing_is_skipped(team: Pytest, here: Path) -> None:
    done = team(
        f"--chaos-agent={DOUBLE}",
        f"--chaos-scenarios={SCENARIO}",
        f"--chaos-scenarios={UNSEEN}",
        "--chaos-seed=0",
        "--junitxml=junit.xml",
        "-rfs",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"FAILED chaos::{SCENARIO}[s0]" in done.stdout
    assert "BROKEN  effects.delivery (duplicate-effect)" in done.stdout
    assert "under ANOTHER key" in done.stdout and "what to change:" in done.stdout
    failures = done.stdout.partition("= FAILURES =")[2].partition("short test summary")[0]
    assert "Traceback" not in failures and ".py" not in failures
    skipped = re.findall(r"^SKIPPED \[1\] .*?: (unproven.*)$", done.stdout, re.M)
    assert len(skipped) == 1 and f"{UNSEEN}, seed 0: never struck: crash" in skipped[0]
    assert "chaoslab: 0 held, 1 broken, 1 unproven; reports in reports/2" in done.stdout
    assert {run["verdict"] for run in told(here).values()} == {"invalid", "unknown"}

    cases = {c.get("name"): c for c in ElementTree.parse(here / "junit.xml").iter("testcase")}
    failure = cases[f"{SCENARIO}[s0]"].find("failure")
    assert failure is not None and "so: 2 × refund" in (failure.text or "")
    assert cases[f"{UNSEEN}[s0]"].find("skipped") is not None

    replays = re.findall(r"replay: chaoslab (replay \S+)", done.stdout)
    again = subprocess.run(
        [sys.executable, "-m", "chaoslab", *replays[0].split()],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0 and "Bit for bit the same" in again.stdout, again.stdout


def test_a_known_bug_is_skipped_and_every_folder_of_runs_has_its_report(
    team: Pytest, chaoslab: Pytest, here: Path
) -> None:
    asked = (f"--chaos-agent={DOUBLE}", f"--chaos-scenarios={SCENARIO}", "--chaos-seed=0")
    assert team(*asked).returncode == 1
    [campaign] = [p for p in (here / "reports").iterdir() if p.is_dir() and not p.is_symlink()]
    assert (campaign / "report.html").stat().st_size > 10_000
    [run] = [str(p) for p in campaign.iterdir() if p.is_dir()]
    words = ("--owner", "pay", "--reason", "PAY-12", "--expires", "30d")
    accepted = chaoslab("accept", run, *words)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    done = team(*asked, "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "broken, and known (effects.delivery" in done.stdout
    assert "1 skipped" in done.stdout


def test_the_reference_agent_passes_and_gives_what_the_command_gives(
    team: Pytest, chaoslab: Pytest, here: Path
) -> None:
    done = team(f"--chaos-agent={REFERENCE}", f"--chaos-scenarios={SCENARIO}", "-rA")
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcomes(done.stdout) == {f"chaos::{SCENARIO}[s{n}]": "PASSED" for n in (0, 1)}
    assert "chaoslab: 2 held, 0 broken, 0 unproven; reports in reports/2" in done.stdout
    ours = told(here)
    shutil.rmtree(here / "reports")
    assert chaoslab("run", SCENARIO).returncode == 0
    theirs = told(here)
    assert {name: run["digest"] for name, run in ours.items()} == {
        name: run["digest"] for name, run in theirs.items()
    }


def test_xdist_runs_the_same_set_and_no_two_processes_share_a_folder(
    team: Pytest, here: Path
) -> None:
    names = (SCENARIO, "matrix/timeout-before-commit")
    done = team(
        f"--chaos-agent={DOUBLE}",
        *(f"--chaos-scenarios={name}" for name in names),
        "--chaos-seed=0",
        "--import-mode=importlib",
        "-n2",
        "-rA",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert outcomes(done.stdout) == {f"chaos::{name}[s0]": "FAILED" for name in names}
    assert "so: 2 × refund for one request" in done.stdout
    assert "chaoslab: 0 held, 2 broken, 0 unproven; reports in reports/gw0/2" in done.stdout
    assert {run["scenario"] for run in told(here).values()} == set(names)
    assert sorted(p.name for p in (here / "reports").iterdir()) == ["gw0", "gw1"]


OWN_TESTS = f'''
import os

import pytest

SCENARIO = "{SCENARIO}"


def test_a_bug_is_seen(chaos):
    result = chaos.run(SCENARIO, agent="{DOUBLE}", seed=0)
    assert result.verdict == "invalid"
    assert "effects.delivery" in [v.check for v in result.violations]
    assert result.history.named("nemesis.strike")
    assert (result.folder / "run.json").is_file()
    with pytest.raises(AssertionError, match="(?s)so: 2 × refund.*chaoslab replay reports/"):
        result.held()


@pytest.mark.chaos(agent="{REFERENCE}", scenario=SCENARIO, seeds=[3, 4])
def test_presets(chaos, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = chaos.run().held()
    assert result.verdict == "valid" and result.folder.name[-1] in "34"
    assert os.getcwd() == str(tmp_path)
    assert chaos.run().folder != result.folder


@pytest.mark.chaos(agent="{REFERENCE}")
def test_a_scenario_in_words(chaos):
    result = chaos.scenario("""
        format = 1
        name = "late"
        title = "t"
        family = "own"
        [[faults]]
        at = "tools.refund"
        phase = "after-commit"
        kind = "delay"
        for_ms = 3000
    """)
    assert result.held().history.named("nemesis.strike")
'''

BAD_TESTS = f"""
import pytest


def test_unproven_is_not_held(chaos):
    chaos.run("{UNSEEN}", agent="{DOUBLE}").held()


@pytest.mark.chaos(agent="{DOUBLE}")
def test_nothing_is_run(chaos):
    pass


@pytest.mark.chaos(agent="{DOUBLE}")
def test_the_fixture_is_not_taken():
    pass


def test_no_agent(chaos):
    chaos.run("{SCENARIO}")


def test_no_such_scenario(chaos):
    chaos.run("matrix/nothing", agent="{DOUBLE}")


def test_a_family_is_no_scenario(chaos):
    chaos.run("egress", agent="{DOUBLE}")


def test_a_bad_scenario(chaos):
    chaos.scenario("format = 1", agent="{DOUBLE}")
"""


def test_tests_of_a_team(team: Pytest, here: Path) -> None:
    (here / "test_own.py").write_text(OWN_TESTS, "utf-8")
    done = team("-q", "--strict-markers", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert "chaoslab: 5 held, 1 broken, 0 unproven" in done.stdout


def test_tests_that_show_nothing_fail(team: Pytest, here: Path) -> None:
    (here / "test_bad.py").write_text(BAD_TESTS, "utf-8")
    done = team("-q", "--tb=short", "-rN")  # on a CI machine the summary says it all again
    assert done.returncode == 1 and "7 failed" in done.stdout, done.stdout + done.stderr
    assert (
        "E   AssertionError: unproven: matrix/partial-write-crash-1, seed 0: never" in done.stdout
    )
    assert done.stdout.count("nothing was run: a test that is marked") == 2
    assert "no agent is named; allowed: agent=" in done.stdout
    assert "there is no such scenario: got 'matrix/nothing'" in done.stdout
    assert "more than one scenario is named: got 'egress'" in done.stdout
    assert "the scenario has 3 problems" in done.stdout
    assert "select.py" not in done.stdout  # the lab's own frames help nobody


def test_an_agent_in_the_ini_file(team: Pytest, here: Path) -> None:
    (here / "pytest.ini").write_text(
        f"[pytest]\nchaos_agent = {DOUBLE}\nchaos_scenarios = {SCENARIO}\nchaos_seed = 5\n"
    )
    (here / "test_own.py").write_text("def test_own(chaos):\n    assert not chaos.ran\n")
    everything = team("--collect-only", "-q")
    assert f"chaos::{SCENARIO}[s5]" in everything.stdout and "2 tests" in everything.stdout
    only = team("--collect-only", "-q", "test_own.py")
    assert "chaos::" not in only.stdout and "1 test " in only.stdout
    below = here / "below"
    below.mkdir()
    done = team("-q", "-k", "timeout", "--rootdir=..", "-c", "../pytest.ini", cwd=below)
    assert "Replay in the folder .., which is pytest's root folder." in done.stdout, done.stdout
    assert [p.name for p in here.iterdir() if p.name == "reports"] == ["reports"]


LAZY = """
import sys

HEAVY = {"wasmtime", "faker", "rich", "hypothesis"}


def test_nothing_of_the_lab_is_there():
    ours = {name for name in sys.modules if name.startswith("chaoslab")}
    assert ours == {
        "chaoslab",
        "chaoslab.pytest_plugin",
        "chaoslab.pytest_plugin.options",
        "chaoslab.pytest_plugin.summary",
    }
    assert not HEAVY & set(sys.modules)
"""


def test_a_session_that_does_not_use_it_does_not_pay(team: Pytest, here: Path) -> None:
    (here / "test_lazy.py").write_text(LAZY)
    done = team("-q", "test_lazy.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chaoslab:" not in done.stdout


def test_it_can_be_left_out(team: Pytest, here: Path) -> None:
    (here / "test_own.py").write_text("def test_own():\n    pass\n")
    assert team("-q", "-p", "no:chaoslab").returncode == 0
    refused = team("-q", "-p", "no:chaoslab", f"--chaos-agent={DOUBLE}")
    assert refused.returncode == 4 and "unrecognized arguments" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chaos-agent=nobody.py:make_agent", "-n", "2"], "the agent's file does not exist"),
        ([f"--chaos-agent={DOUBLE[:-11]}:nothing"], "there is no nothing"),
        ([f"--chaos-agent={DOUBLE}", "--chaos-scenarios=matrix/x"], "there is no such scenario"),
        ([f"--chaos-agent={DOUBLE}", "--chaos-seed=-1"], "allowed: an integer of 0 or more"),
        (["--chaos-scenarios=matrix"], "no agent is named"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    team: Pytest, here: Path, arguments: list[str], words: str
) -> None:
    done = team("-q", *arguments)
    assert done.returncode == 4, done.stdout + done.stderr
    assert words in done.stderr and "INTERNALERROR" not in done.stdout + done.stderr
    assert not (here / "reports").exists()


def entry_of(required: bool = False, **how: Any) -> dict[str, Any]:
    """The entry of a run that ended in some way."""
    [spec, *_] = specs_for(scenario_files([SCENARIO]), REFERENCE, seeds=[0])
    checks = ("effects.delivery",) if required else ()
    spec = replace(spec, contract=replace(spec.contract, required=checks))
    return run_json(RunRecord(spec=spec, **how))


UNKNOWN = Finding(check="effects.delivery", verdict="unknown", reason="no effect source")


@pytest.mark.parametrize(
    ("entry", "how", "words"),
    [
        (entry_of(verdict="valid"), "pass", ""),
        (entry_of(verdict="valid", differs="entry 7 (tools.pay)"), "fail", "history: entry 7"),
        (entry_of(verdict="unknown", vacuous="no effect"), "skip", "seed 0: no effect"),
        (entry_of(True, verdict="unknown", vacuous="no effect"), "fail", "requires it (effects.d"),
        (entry_of(findings=(UNKNOWN,)), "skip", "effects.delivery: no effect source"),
        (entry_of(True, findings=(UNKNOWN,)), "fail", "effects.delivery: no effect source"),
        (
            entry_of(True, verdict="not-applicable", not_applicable="one process only"),
            "skip",
            "not applicable: matrix/timeout-after-commit, seed 0: one process only",
        ),
        (entry_of(broke="the worker hangs"), "error", "the worker hangs"),
    ],
)
def test_how_a_run_ends_as_a_test(entry: dict[str, Any], how: str, words: str) -> None:
    found = ending([entry], "reports/1")
    assert found.how == how and words in found.text
    assert bool(found.text) == (how != "pass")


def test_the_worst_of_several_seeds_counts() -> None:
    held, idle = entry_of(verdict="valid"), entry_of(verdict="unknown", vacuous="no effect")
    assert ending([held, idle], "reports/1").how == "skip"
    assert ending([idle, entry_of(verdict="valid", differs="entry 1")], "reports/1").how == "fail"


def test_an_agent_that_ends_its_interpreter_is_an_error(team: Pytest, here: Path) -> None:
    shutil.copy(AGENTS / "plain.py", here)
    (here / "exits.py").write_text(
        "import os\nfrom plain import Plain\n\n\n"
        "class Exits(Plain):\n"
        "    async def handle(self, task):\n        os._exit(7)\n\n\n"
        "def make_agent():\n    return Exits()\n"
    )
    done = team("--chaos-agent=exits.py:make_agent", f"--chaos-scenarios={SCENARIO}", "-rA")
    assert done.returncode == 1, done.stdout + done.stderr
    assert outcomes(done.stdout) == {f"chaos::{SCENARIO}[s{n}]": "ERROR" for n in (0, 1)}
    assert "COULD NOT RUN" in done.stdout and "ended itself with code 7" in done.stdout
    assert "0 held, 0 broken, 0 unproven, 2 could not run" in done.stdout


def test_the_page_does_what_it_says(team: Pytest, here: Path) -> None:
    text = (ROOT / "docs/howto/pytest.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    for suffix in (".py", ".toml"):
        shutil.copy(ROOT / f"fixtures/agents/minimal{suffix}", here / f"my_agent{suffix}")
    for number, block in enumerate(blocks):
        (here / f"test_page_{number}.py").write_text(block, "utf-8")
    done = team("-q")
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout + done.stderr
    options = set(re.findall(r"^\| `(--chaos-\w+)`", text, re.M))
    offered = set(re.findall(r"^  (--chaos-\w+)", team("--help").stdout, re.M))
    assert options == offered
