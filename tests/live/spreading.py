"""A campaign in a command of its own that is interrupted; a cluster on loopback; what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.require import need

from chaoslab.explore.work import Setting, workers_here

# What a person does: a campaign whose later items hang, in a `with`, ended by Ctrl-C.
COMMAND = """
import sys
from functools import partial
from chaoslab.explore.executors import open_executor
from chaoslab.explore.spread import Spread
from chaoslab.explore.work import Setting, trials_batch
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

where, hanging = sys.argv[1:]
files = scenario_files(["matrix/timeout-after-commit"])
items = [specs_for(files, REFERENCE, seeds=[seed]) for seed in range(3)]
items += [specs_for(files, hanging, seeds=[seed]) for seed in range(20)]
try:
    with open_executor(where, jobs=2) as executor:
        for index, found in Spread(executor, jobs=2).each(partial(trials_batch, Setting()), items):
            print(index, found[0].broke or "held", flush=True)
except KeyboardInterrupt:
    sys.exit(130)
"""
HANGING = "def make_agent():\n    open({began!r}, 'a').write('.')\n    while True:\n        pass\n"
# The promise is a second. Here other tests share the cores, and even a Python that has nothing more
# to do needs its time to end; a hanging agent would live for the twenty seconds of its watchdog.
STOPPED_S = 15.0


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def hears_ctrl_c() -> None:
    """A background job is started with Ctrl-C ignored; a person's terminal is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def marked(mark: str) -> list[int]:
    """The interpreters for executions that were started under a mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"CHAOSLAB_MARK={mark}".encode() in (folder / "environ").read_bytes()
            if ours and b"chaoslab.run.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def interrupted(where: str, folder: Path, mark: str) -> tuple[list[str], int, float]:
    """The lines that a campaign printed, its exit code, and the seconds from Ctrl-C to its end and
    to that of all its interpreters."""
    began = folder / "began"
    agent = folder / "hanging.py"
    agent.write_text(HANGING.format(began=str(began)))
    command = [sys.executable, "-c", COMMAND, where, f"{agent}:make_agent"]
    with subprocess.Popen(
        command,
        env={**os.environ, "CHAOSLAB_MARK": mark},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        until(lambda: began.exists() and len(began.read_bytes()) > 1, 10)
        assert len(marked(mark)) >= 2, "nothing runs that could be stopped"
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
        until(lambda: not marked(mark), 30)
        return lines, code, time.monotonic() - sent


def loads(agent: str) -> None:
    """Makes the agent once, where it is called."""
    workers_here(Setting()).try_loading(agent)


@contextmanager
def cluster(folder: Path, **options: Any) -> Iterator[Any]:
    """A Dask cluster on loopback, of processes that end with the block."""
    need("distributed")
    from distributed import LocalCluster

    made: Any = LocalCluster  # its constructor has no types
    settings: dict[str, Any] = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",  # any free port; with None it would be a fixed one
        "scheduler_kwargs": {"dashboard": False},
        "local_directory": str(folder),
        "silence_logs": 50,  # a worker that is killed on purpose is no news
    }
    with made(**settings | options) as started:
        yield started


def address_of(started: Any) -> str:
    """The address as the lab wants it."""
    return str(started.scheduler_address).replace("tcp://", "dask://")
