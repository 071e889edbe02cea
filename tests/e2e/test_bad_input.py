"""Whatever is wrong: one clear message, the right exit code, earlier results still there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ROOT, Run

SCENARIO = "timeout-after-commit"
HANDLE = (
    "class Mine(Plain):\n    async def handle(self, task):\n        {}\n"
    "def make_agent(): return Mine()\n"
)

# What is wrong with the agent, its code, the exit code, and words that the message must have.
BROKEN_AGENTS = [
    ("import fails", "import no_such_module\n", 2, ["no_such_module", "mine.py:4"]),
    ("syntax", "def make_agent(:\n", 2, ["mine.py, line 4"]),
    ("no factory", "x = 1\n", 2, ["there is no make_agent"]),
    ("factory raises", "def make_agent(): raise OSError('dead')\n", 2, ["dead", "mine.py:4"]),
    ("wrong shape", "def make_agent(): return 7\n", 2, ["async def start", "(int)"]),
    ("hangs when imported", "while True: pass\n", 4, ["did not end", "mine.py:4"]),
    ("hangs", HANDLE.format("while True: pass"), 4, ["did not end", "mine.py:6", "handle"]),
    ("raises", HANDLE.format("raise ValueError('boom')"), 4, ["ValueError: boom", "mine.py:6"]),
    ("rubbish", HANDLE.format("return {'status': 'ok'}"), 4, ["Outcome", "(dict)"]),
    (
        "another task",
        HANDLE.format("return Outcome(task='x', status='failed')"),
        4,
        ["another task", "'x'"],
    ),
    ("sleeps", HANDLE.format("import time; time.sleep(1)"), 4, ["time.sleep", "mine.py:6"]),
    (
        "spawns a thread and hides it",
        HANDLE.format(
            "import threading\n"
            "        try: threading.Thread(target=int).start()\n"
            "        except Exception: pass\n"
            "        return await super().handle(task)"
        ),
        4,
        ["Thread.start", "mine.py:7", "backend of real processes"],
    ),
    ("exits", HANDLE.format("import os; os._exit(3)"), 4, ["code 3"]),
    ("sys.exit", HANDLE.format("import sys; sys.exit(3)"), 4, ["SystemExit(3)"]),
]


@pytest.mark.parametrize(
    ("code", "exit_code", "words"),
    [case[1:] for case in BROKEN_AGENTS],
    ids=[case[0] for case in BROKEN_AGENTS],
)
def test_a_broken_agent_is_named(
    chaoslab: Run,
    bad_agent: Callable[[str], str],
    here: Path,
    code: str,
    exit_code: int,
    words: list[str],
) -> None:
    done = chaoslab("run", SCENARIO, "--seed", "0", "--watchdog", "5", "--agent", bad_agent(code))
    said = done.stdout + done.stderr
    assert done.returncode == exit_code, said
    for word in words:
        assert word in said
    assert "Traceback" not in said
    if exit_code == 2:
        assert not (here / "reports").exists()


def test_prints_go_to_a_file_and_not_into_the_table(
    chaoslab: Run, bad_agent: Callable[[str], str], here: Path
) -> None:
    agent = bad_agent(
        HANDLE.format("print('hello from the agent'); return await super().handle(task)")
    )
    done = chaoslab("run", SCENARIO, "--seed", "0", "--agent", agent)
    assert "hello from" not in done.stdout
    outputs = list((here / "reports/latest").glob("*/output.txt"))
    assert len(outputs) == 1 and "hello from the agent" in outputs[0].read_text()


BAD_SCENARIOS = {
    "unknown key": ("sed = 1\n", ["sed", "unknown key"]),
    "no phase": ('[[faults]]\nat = "tools:*"\nkind = "crash"\n', ["phase", "refused"]),
    "impossible phase": (
        '[[faults]]\nat = "tools:*"\nkind = "silence"\nphase = "mid-write"\nafter_items = 1\n',
        ["mid-write", "memory.write_many"],
    ),
    "several at once": (
        'sed = 1\n[workload]\nsessions = -1\nuse = "nope"\n',
        ["sed", "-1", "nope"],
    ),
}


@pytest.mark.parametrize("name", BAD_SCENARIOS)
def test_a_bad_scenario_is_refused_before_anything_runs(
    chaoslab: Run, here: Path, name: str
) -> None:
    body, words = BAD_SCENARIOS[name]
    head = 'format = 1\nname = "x"\ntitle = "x"\nfamily = "x"\n'
    (here / "x.toml").write_text(head + body)
    done = chaoslab("run", "x.toml")
    assert done.returncode == 2
    for word in ("x.toml", *words):
        assert word in done.stderr
    assert not (here / "reports").exists()


def test_exactly_once_without_keys_is_refused(chaoslab: Run, here: Path) -> None:
    (here / "chaoslab.toml").write_text(
        'format = 1\n[tools.notify]\npromise = "exactly-once"\nlookup = true\n'
    )
    agent = f"{ROOT}/tests/e2e/agents/plain.py:make_agent"
    done = chaoslab("run", SCENARIO, "--agent", agent)
    assert done.returncode == 2 and "impossible without keys" in done.stderr


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("garbage", lambda data: b"not a module" * 100, "asm"),
        ("truncated", lambda data: data[: len(data) // 2], "ticket-abort.wasm"),
        ("changed", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "checksum"),
    ],
)
def test_a_damaged_module_is_refused_before_anything_runs(
    here: Path, name: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    copy = here / "checkout"
    for part in ("harness", "scenarios", "fixtures", "wasm_targets/dist"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, copy / part, ignore=ignore)
    module = copy / "wasm_targets/dist/ticket-abort.wasm"
    module.write_bytes(damage(module.read_bytes()))
    done = subprocess.run(
        [sys.executable, "-m", "chaoslab", "run", "panic-before-commit-abort"],
        cwd=here,
        env={"PYTHONPATH": str(copy / "harness"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
    assert not (here / "reports").exists()


def test_an_unknown_scenario_names_near_ones(chaoslab: Run) -> None:
    done = chaoslab("run", "matrix/failover-zombi")
    assert done.returncode == 2 and "matrix/failover-zombie" in done.stderr


def test_the_set_up_says_which_debian_package_is_missing(here: Path) -> None:
    fake = here / "bin"
    fake.mkdir()
    for name in ("sh", "dirname", "rm", "touch"):
        (fake / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    old = fake / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(ROOT / ".ci/venv"), str(here / "venv")],
        cwd=ROOT,
        env={"PATH": str(fake)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "Python 3.9.2" in done.stderr and "python3-venv" in done.stderr


def test_a_slip_in_a_contract_is_noted(chaoslab: Run, here: Path) -> None:
    (here / "chaoslab.toml").write_text(
        'format = 1\n[tools.refnd]\nkeys = true\n[tools.ship]\nidentity_fields = ["ordr"]\n'
    )
    agent = f"{ROOT}/tests/e2e/agents/plain.py:make_agent"
    said = chaoslab("run", "concurrent-2", "--seed", "0", "--agent", agent).stdout
    assert "tools.refnd: the workload support has no such tool; did you mean refund?" in said
    assert "tools.ship: no argument 'ordr' is ever sent" in said


def test_a_promise_to_resume_without_a_way_to_is_noted(chaoslab: Run, here: Path) -> None:
    (here / "chaoslab.toml").write_text('format = 1\nresume = "self"\n')
    agent = f"{ROOT}/tests/e2e/agents/plain.py:make_agent"
    said = chaoslab("run", "concurrent-2", "--seed", "0", "--agent", agent).stdout
    assert 'note: the contract says resume = "self", and the agent has no `async def rec' in said


def test_resuming_another_campaign_is_refused(chaoslab: Run, here: Path) -> None:
    assert chaoslab("run", "concurrent-2", "--seed", "0").returncode == 0
    done = chaoslab("run", SCENARIO, "--seed", "0", "--resume")
    assert done.returncode == 2 and "none of these runs" in done.stderr


def test_a_run_named_twice_is_run_once(chaoslab: Run) -> None:
    done = chaoslab("run", "concurrent-2", "matrix/concurrent-2", "--seed", "0", "--seed", "0")
    assert done.returncode == 0 and "1 run, 1 held" in done.stdout
