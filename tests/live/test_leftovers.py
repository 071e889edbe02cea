"""Nothing outlives an execution, however it or the lab ends: processes, ports and folders."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.live.lab import AGENTS, SILENCE, run, scenario_file, spec_of, team_file
from tests.live.soak import Counts, leaks

from chaoslab.backends.process.leftovers import sweep

HARNESS = Path(__file__).resolve().parents[2] / "harness"
SPREADING = AGENTS / "spreading_agent.py"


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return true()


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def listens(address: str) -> bool:
    """Whether somebody listens at the lab's address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(address).port or 0)) == 0


def with_words(folder: Path, *words: str) -> Path:
    """The team's file of the spreading agent."""
    path = team_file(folder, SPREADING, 'ready_ms = 15000\nstop_grace_ms = 100\ncwd = "."')
    quoted = "".join(f", '{word}'" for word in words)
    path.write_text(path.read_text().replace(f"'{SPREADING}'", f"'{SPREADING}'{quoted}"))
    return path


def told(folder: Path) -> Any:
    """What the agent wrote down."""
    return json.loads((folder / "told.json").read_text())


def left_of(folder: Path) -> list[str]:
    """What is still there of what the agent wrote down."""
    known = told(folder)
    left = [name for name, pid in known["pids"].items() if lives(pid)]
    left += ["state"] if Path(known["state"]).exists() else []
    return left + (["port"] if listens(known["lab"]) else [])


def heed_ctrl_c() -> None:
    """A shell's background job ignores Ctrl-C, and so would its children; here it must count."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def cli(folder: Path, *words: str, more: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """`chaoslab run` on its way: the agent lives and gets no further."""
    path, scenario = with_words(folder, *words), scenario_file(folder, "stuck", SILENCE)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    made = subprocess.Popen(
        [sys.executable, "-m", "chaoslab", "run", str(scenario), "--agent", str(path), *more],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=heed_ctrl_c,
    )
    assert until((folder / "told.json").exists, 120), "the agent was not started"
    assert all(lives(pid) for pid in told(folder)["pids"].values())
    return made


def test_after_a_normal_end_and_after_it_broke(tmp_path: Path) -> None:
    record = run(
        spec_of(with_words(tmp_path, "answers", "hidden"), scenario_file(tmp_path, "end", SILENCE)),
        tmp_path,
    )
    assert record.broke == "" and record.control_violations  # it did nothing, and it ended
    assert left_of(tmp_path) == []
    stuck = spec_of(
        with_words(tmp_path, "hidden"), scenario_file(tmp_path, "broke", SILENCE), timeout_ms=300
    )
    assert "did not end" in run(stuck, tmp_path).broke
    assert left_of(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)]
)
def test_after_the_command_line_was_ended(tmp_path: Path, number: int, code: int) -> None:
    made = cli(tmp_path, "hidden")
    made.send_signal(number)
    assert made.wait(8) == code
    # The workers are told by their closed input, at once; a busy machine needs its time. By itself
    # nothing of it would end so soon: an execution that is stuck has a minute.
    assert until(lambda: left_of(tmp_path) == [], 15), left_of(tmp_path)


def test_ctrl_c_with_everything_in_one_process(tmp_path: Path) -> None:
    made = cli(tmp_path, more=("--in-process",))
    made.send_signal(signal.SIGINT)
    assert made.wait(8) == 130
    assert left_of(tmp_path) == []


def test_after_the_lab_was_killed_the_next_one_clears_up(tmp_path: Path) -> None:
    made = cli(tmp_path, more=("--in-process",))
    made.kill()
    made.wait()
    # The kernel ends the agent itself. What had left its group is found by the next lab.
    assert until(lambda: not lives(told(tmp_path)["pids"]["self"]), 15)
    sweep()
    assert until(lambda: left_of(tmp_path) == [], 15), left_of(tmp_path)


def test_after_a_worker_was_killed(tmp_path: Path) -> None:
    made = cli(tmp_path)
    [worker] = [
        int(pid)
        for entry in Path(f"/proc/{made.pid}/task").glob("*/children")
        for pid in entry.read_text().split()
    ]
    os.kill(worker, signal.SIGKILL)
    assert made.wait(15) == 4
    assert left_of(tmp_path) == []


def test_the_soak_notices_what_grows() -> None:
    calm = Counts(processes=2, descriptors=15, ports=0, temporary=0, memory_mib=120)
    idle = replace(calm, processes=1, descriptors=6)
    good = [(0, idle), (20, calm), (40, replace(calm, memory_mib=130)), (40, idle)]
    assert leaks(good) == []
    more = replace(calm, descriptors=16, ports=1, memory_mib=170)
    found = leaks([(0, idle), (20, calm), (40, more), (40, replace(idle, temporary=1))])
    assert [line.partition(":")[0] for line in found] == [
        "descriptors, meanwhile",
        "ports, meanwhile",
        "temporary, after all",
        "memory_mib",
    ]
