"""Writes the two campaigns that a report must bear: many runs, and one very long run.

    python tests/bench/report_campaign.py many FOLDER
    python tests/bench/report_campaign.py long FOLDER

`many` performs a small campaign and says it again under other seeds until it has 10,000 runs, of
which some hundreds have their folder. `long` performs one run whose history has 100,000 entries;
nothing in it is made up. Both write `results.json` as any campaign does.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chaoslab.run.campaign import run_all
from chaoslab.run.results import results_of
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.store import Campaign, write_json
from chaoslab.run.workers import Workers

RUNS, FOLDERS, SESSIONS = 10_000, 400, 120
WATCHDOG_MS = 600_000  # the long run takes its time, the more so on a busy machine
AGENTS = Path(__file__).resolve().parents[2] / "fixtures" / "agents"
BUGGY = ("fresh_key_per_retry", "retries_unkeyed_after_timeout", "reports_lost_reply_as_failure")
SMALL = (
    *("matrix/timeout-after-commit", "matrix/timeout-after-commit-unkeyed"),
    *("matrix/crash-after-commit-unkeyed", "matrix/failover-killed", "matrix/concurrent-2"),
)
LONG = """\
format = 1
name   = "long"
title  = "A very long execution"
family = "bench"

[workload]
use = "support"
sessions = {sessions}
tasks = 9

[regions]
processes = 8

[[faults]]
at    = "tools:keyed"
phase = "after-commit"
kind  = "silence"
attempt = 1

[[faults]]
at    = "tools:keyed"
phase = "after-commit"
kind  = "crash"
attempt = 1
"""


def perform_all(names: Sequence[str], agents: Sequence[str], folder: Path) -> dict[str, Any]:
    """A campaign of some agents over some scenarios, its runs right in `folder`."""
    specs = [spec for agent in agents for spec in specs_for(scenario_files(names), agent)]
    folder.mkdir(parents=True, exist_ok=True)
    workers = Workers(watchdog_ms=WATCHDOG_MS)
    try:
        return run_all(specs, Campaign(folder), workers, jobs=2, on_run=lambda *_: None)
    finally:
        workers.close()


def again(entry: dict[str, Any], number: int) -> dict[str, Any]:
    """A run under another seed: nothing else of it is another one."""
    if number == 0:
        return entry
    seed = entry["seed"] + 100 * number
    name = entry["id"].rpartition("--s")[0]
    digest = f"{number:08x}{entry['digest'][8:]}"
    return {**entry, "id": f"{name}--s{seed}", "seed": seed, "digest": digest}


def many(folder: Path, *, runs: int = RUNS, folders: int = FOLDERS) -> dict[str, Any]:
    """A campaign of `runs` runs; those of the first are there, and of each bug's example."""
    agents = [REFERENCE, *(f"{AGENTS / name}.py:make_agent" for name in BUGGY)]
    small = perform_all(SMALL, agents, folder)
    base = small["runs"]
    entries = [again(base[n % len(base)], n // len(base)) for n in range(runs)]
    results = results_of(
        entries, wanted=runs, promised=small["promises"], started=small["started"], wall_ms=1
    )
    examples = {bug["example"] for bug in results["bugs"]}
    for n in range(len(base), runs):
        if n < folders or entries[n]["id"] in examples:
            copy_run(folder, base[n % len(base)]["id"], entries[n])
    write_json(folder / "results.json", results)
    return results


def copy_run(folder: Path, source: str, entry: dict[str, Any]) -> None:
    """The folder of a run under another seed."""
    target = folder / entry["id"]
    shutil.copytree(folder / source, target, dirs_exist_ok=True)
    whole = json.loads((target / "run.json").read_text(encoding="utf-8"))
    write_json(target / "run.json", {**whole, "run": entry})


def long(folder: Path, *, sessions: int = SESSIONS) -> dict[str, Any]:
    """A campaign of one run of an agent with a bug; 120 sessions make 100,000 entries."""
    with TemporaryDirectory() as scratch:
        scenario = Path(scratch) / "long.toml"
        scenario.write_text(LONG.format(sessions=sessions), encoding="utf-8")
        return perform_all([str(scenario)], [f"{AGENTS / BUGGY[0]}.py:make_agent"], folder)


def main(arguments: Sequence[str]) -> int:
    """The command line; 2 where it is wrong."""
    if len(arguments) != 2 or arguments[0] not in ("many", "long"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder = Path(arguments[1])
    results = many(folder) if arguments[0] == "many" else long(folder)
    entries = max(run["ops"] for run in results["runs"])
    sys.stdout.write(
        f"{arguments[1]}: {len(results['runs'])} runs, at most {entries} entries,"
        f" {len(results['bugs'])} bugs\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
