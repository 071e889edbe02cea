"""What the determinism tests run, and a small program that prints the digests of all of it.

    python combinations.py HARNESS AGENTS

prints one JSON object: for each combination the digest of its history and of its decisions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

SEEDS = (0, 1, 7)
AGENTS = ("steady", "tangled", "regional")


def digests(
    agents: Path, *, choices: Mapping[str, Mapping[str, int]] | None = None
) -> dict[str, dict[str, object]]:
    """Runs every combination. With `choices`, decisions come from there and not from a seed."""
    # Imported late: as a program, this file is told where the package is.
    from chaoslab.backends.api import ExecutionSpec
    from chaoslab.backends.sim import simulate
    from chaoslab.contract import Contract
    from chaoslab.faults import Fault, Placed
    from chaoslab.history import Writer
    from chaoslab.scenario import Regions, Scenario, Use, find_workload

    plans: dict[str, tuple[Fault, ...]] = {
        "calm": (),
        "crash": (Fault(at="tools:keyed", phase="before-commit", kind="crash"),),
        "storm": (
            Fault(at="tools:*", phase="after-commit", kind="silence"),
            Fault(at="tools:keyed", phase="before-commit", kind="duplicate", attempt=2),
            Fault(at="memory.write_many", phase="mid-write", kind="crash", after_items=1),
            Fault(at="tools:keyed", phase="after-reply", kind="pause", for_ms=5_000),
            Fault(at="tools:keyed", phase="before-send", kind="partition", for_ms=9_000),
        ),
    }
    kinds = {"steady": "refund", "tangled": "refund", "regional": "ship"}
    found: dict[str, dict[str, object]] = {}
    for agent in AGENTS:
        for plan, faults in plans.items():
            for seed in SEEDS:
                name = f"{agent}/{plan}/{seed}"
                scenario = Scenario(
                    name="d",
                    title="d",
                    family="d",
                    faults=faults,
                    workload=Use(sessions=3, tasks=2, mix=(kinds[agent],), concurrent=seed == 1),
                    regions=Regions(names=("near", "far"), processes=2),
                )
                spec = ExecutionSpec(
                    scenario=scenario,
                    workload=find_workload("support"),
                    contract=Contract(resume="self" if agent == "regional" else "redelivery"),
                    agent=f"{agents / agent}.py:make",
                    seed=seed,
                    placed=tuple(Placed(number=n, fault=f) for n, f in enumerate(faults)),
                    choices=None if choices is None else choices[name],
                )
                end = simulate(spec, Writer(None, {}))
                found[name] = {
                    "digest": end.digest,
                    "choices": dict(end.choices),
                    "broke": end.broke,
                    "ops": len(end.ops),
                    "fired": sum(end.fired.values()),
                }
    return found


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    sys.stdout.write(json.dumps(digests(Path(sys.argv[2]))))
