"""What the lab finds about two real frameworks, used as their makers document them.

The examples in `fixtures/examples/` say in their README what was found; here it is held. Each runs
in an environment of its own, with exact pins: `.ci/examples FOLDER` makes both, and
`CHAOSLAB_EXAMPLES_VENVS` names the folder. Without it these tests are skipped, except for what
`CHAOSLAB_REQUIRE` lists (`langgraph dbos`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.require import absent

from chaoslab.contract.loader import load_contract
from chaoslab.core.resources import resource_path

EXAMPLES = resource_path("fixtures/examples")
HARNESS = Path(__file__).resolve().parents[2] / "harness"
NAMES = {"langgraph": "LangGraph", "dbos": "DBOS"}
FIRST = [
    ("effects.delivery", "duplicate-effect"),
    ("keys.lineage", "key-absent"),
    ("recovery.converges", "diverged"),
]


def environment(name: str) -> Path:
    """The environment of an example; skips or fails in words where it is not there."""
    folder = os.environ.get("CHAOSLAB_EXAMPLES_VENVS", "")
    found = Path(folder) / name
    if folder and (found / "bin" / "python").exists():
        return found.resolve()
    why = f"{found} has no bin/python" if folder else "CHAOSLAB_EXAMPLES_VENVS names no folder"
    words = f"the {NAMES[name]} environment is not there: {why}; next: .ci/examples FOLDER"
    absent(name, words)


def pins(name: str) -> list[tuple[str, str]]:
    """The packages of an example with their versions."""
    lines = (EXAMPLES / name / "requirements.txt").read_text().splitlines()
    pinned = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return [(package, version) for package, _, version in pinned]


def in_place(name: str, folder: Path) -> Path:
    """A copy of the example with its environment, as its README makes it."""
    made = environment(name)
    there = {p.name.lower().replace("-", "_") for p in made.glob("lib/python*/site-packages/*")}
    for package, version in pins(name):
        wanted = f"{package}-{version}.dist-info".lower().replace("-", "_")
        assert wanted in there, f"{made} has another {package} than {version}"
    here = folder / name
    shutil.copytree(
        EXAMPLES / name, here, ignore=shutil.ignore_patterns(".venv", "reports", "__pycache__")
    )
    (here / ".venv").symlink_to(made)
    return here


def ran(here: Path) -> dict[str, dict[str, Any]]:
    """Runs the two scenarios as the README says; the entries by scenario."""
    done = subprocess.run(
        [sys.executable, "-m", "chaoslab", "run", "scenarios", "--repeats", "3"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    results = json.loads((here / "reports" / "latest" / "results.json").read_text())
    return {entry["scenario"].removeprefix("examples/"): entry for entry in results["runs"]}


def requests(here: Path, scenario: str, history: str) -> list[tuple[str, str]]:
    """What the agent asked for after the kill: the model or a tool, and in which process."""
    [folder] = (here / "reports" / "latest").glob(f"examples-{scenario}-*")
    lines = [json.loads(line) for line in (folder / history).read_text().splitlines()[1:]]
    killed = next(op["i"] for op in lines if op["f"] == "process.kill")
    return [(op["f"], op["process"]) for op in lines if op["i"] > killed and op["type"] == "invoke"]


@pytest.mark.parametrize("name", NAMES)
def test_the_example_says_what_it_promises_and_is_pinned(name: str) -> None:
    contract = load_contract(EXAMPLES / name / "chaoslab.toml")
    assert contract.target is not None
    assert contract.target.commands == ((".venv/bin/python", "agent.py"),)
    promises = {tool: line.promise for tool, line in contract.tools.items()}
    assert promises == {"refund": "at-most-once", "notify": "at-least-once"}
    assert contract.tools["refund"].keys and not contract.tools["notify"].keys
    assert pins(name) and all(re.fullmatch(r"\d[\w.]*", version) for _, version in pins(name))
    said = (EXAMPLES / name / "README.md").read_text()
    named = re.findall(r"\b([a-z][a-z-]+) (\d+\.\d+\.\d+)\b", said)
    assert named and set(named) <= set(pins(name))


@pytest.mark.parametrize("name", NAMES)
def test_what_the_lab_finds(name: str, tmp_path: Path) -> None:
    here = in_place(name, tmp_path)
    entries = ran(here)
    histories = ["fault.jsonl", "repeat-1.jsonl", "repeat-2.jsonl", "repeat-3.jsonl"]

    first = entries["kill-after-first-tool"]
    assert first["verdict"] == "invalid" and first["faults"]["fired"] == 1
    assert [(v["check"], v["code"]) for v in first["violations"]] == FIRST
    chain = "\n".join(first["violations"][0]["because"])
    assert re.search(
        r"asks for refund o-s1-t1, 1st try, without a key\n.*commits it.*\n"
        r".*the lab kills the process \(crash, after the commit\)\n(.*\n)+"
        r".*\(home-2\) asks for refund o-s1-t1, 2nd try, without a key\n.*commits it",
        chain,
    ), chain
    for history in histories:
        assert requests(here, "kill-after-first-tool", history) == [
            ("tools.refund", "home-2"),
            ("model.complete", "home-2"),
            ("tools.notify", "home-2"),
            ("model.complete", "home-2"),
        ]

    second = entries["kill-after-second-tool"]
    assert second["verdict"] == "valid" and second["faults"]["fired"] == 1
    for history in histories:
        assert requests(here, "kill-after-second-tool", history) == [
            ("tools.notify", "home-2"),
            ("model.complete", "home-2"),
        ]

    for entry, tool in ((first, "refund"), (second, "notify")):
        assert entry["checks"]["recovery.deterministic"]["verdict"] == "valid"
        assert "over 4 executions" in entry["checks"]["recovery.deterministic"]["reason"]
        [advice] = [a for a in entry["key_advice"] if a["tool"] == tool]
        assert advice["calls"] == advice["bare"] == 9
        scores = {c["kind"]: c["verdict"] for c in advice["candidates"]}
        assert scores == dict.fromkeys(("call-id", "step", "identity"), "stable")
        assert advice["add"].startswith(f"pass the session, {tool} and order, joined, as Idemp")
