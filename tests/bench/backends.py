"""How many executions a second each backend makes: the same scenario, one after the other.

A region is killed under the reference agent; the lab's clock runs ten times faster than the wall's
on real processes, and what is left of it is mostly waiting. The backends take turns, so that a
machine that gets slower meanwhile slows all alike. What is absent here is said.

    python -m tests.live.postgres --or-without python -m tests.bench.backends
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.live.soak import REGIONS

from chaoslab.run.model import RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.select import REFERENCE, specs_for
from chaoslab.run.ways import WAYS
from chaoslab.run.workers import Workers


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Prints the table; the exit code is 1 where a run broke."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        scenario = folder / "regions.toml"
        scenario.write_text(REGIONS)
        [plain] = specs_for([scenario], REFERENCE, seeds=[0])
        specs: dict[str, RunSpec] = {"sim": plain}
        for way in WAYS:
            if why := way.absent():
                say(f"absent: {way.name}: {why}")
                continue
            specs[way.name] = replace(plain, target=way.target_for(REFERENCE), repeats=0)
        taken = timed(specs, rounds, folder)
    say(f"\n{'backend':<20}{'executions a second':>22}{'s each, median':>18}")
    for name, each in taken.items():
        middle = statistics.median(each)
        say(f"{name:<20}{1 / middle:>22.2f}{middle:>18.2f}")
    return 0


def timed(specs: dict[str, RunSpec], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of an execution, by backend; the first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in specs}
    workers = Workers()
    try:
        for number in range(rounds + 1):
            for name, spec in specs.items():
                out = folder / f"{number}-{name}"
                out.mkdir()
                began = time.perf_counter()
                record = perform(spec, workers, out)
                took = time.perf_counter() - began
                if record.broke or record.violations:
                    why = record.broke or record.violations[0].explanation
                    raise SystemExit(f"{name}: {why}")
                if number:  # the fault-free execution, the one with the fault, and in the
                    # simulator its repetition
                    taken[name].append(took / (3 if spec.target is None else 2))
    finally:
        workers.close()
    return taken


if __name__ == "__main__":
    sys.exit(main())
