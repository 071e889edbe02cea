"""The numbers of this machine, as ratios where a ratio can be had: `make bench`.

Rows: executions a second (simulated, recorded, checked) on one core; cost per entry from short to
long executions; checks; and what it costs to retire and replace a Wasm instance. Nothing here is
a test: machines are noisy, and a timed test fails for no reason.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from wasmtime import Store

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.check import judge
from chaoslab.check.model import Evidence
from chaoslab.contract import DEFAULT_LIMITS
from chaoslab.core.resources import resource_path
from chaoslab.faults import place
from chaoslab.history import View, Writer
from chaoslab.run.select import REFERENCE_CONTRACT, scenario_files, specs_for
from chaoslab.wasm import GuestInstance, load_module
from chaoslab.wasm.engine import engine

FUEL = 10_000_000
AGENT = f"{Path(__file__).with_name('agent.py')}:make_agent"


def say(text: str) -> None:
    """One line of the table."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def best_ms(action: Callable[[], object], times: int) -> float:
    """The shortest wall time of an action: what it costs when nothing else is in the way."""
    action()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        found.append((time.perf_counter() - began) * 1000)
    return min(found)


def median_ms(action: Callable[[], object], times: int) -> float:
    """The median wall time of an action, after one warm-up."""
    action()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def executions() -> None:
    """Executions a second, and the cost of an entry as executions grow."""
    promises = str(resource_path(REFERENCE_CONTRACT))
    files = scenario_files(["matrix/timeout-after-commit"])
    spec = specs_for(files, AGENT, contract=promises, seeds=[0])[0]
    # What this agent does not promise: it takes in hand whatever comes.
    roomy = replace(spec.contract, capacity=None)
    base = ExecutionSpec(
        scenario=spec.scenario,
        workload=spec.workload,
        contract=roomy,
        agent=spec.agent,
        seed=0,
        ops_max=2_000_000,
    )
    contract = merged_contract(roomy, spec.workload)
    heads = (
        "sessions",
        "tasks",
        "entries",
        "ms",
        "runs/s",
        "µs/entry",
        "to first",
        "checks entries/s",
    )
    say("{:>9} {:>6} {:>9} {:>9} {:>8} {:>9} {:>9} {:>17}".format(*heads))
    first = 0.0
    shapes = ((1, 1, 60), (10, 1, 20), (10, 10, 5), (10, 150, 2), (1500, 1, 2))
    for sessions, tasks, times in shapes:
        workload = replace(spec.scenario.workload, sessions=sessions, tasks=tasks)
        scenario = replace(spec.scenario, workload=workload)
        quiet = replace(base, scenario=replace(scenario, faults=()))
        control = simulate(quiet, Writer(None, {}))
        placed = place(scenario.faults, control.sites, contract)
        struck = replace(base, scenario=scenario, placed=placed)
        end = simulate(struck, Writer(None, {}))
        evidence = Evidence(
            history=View(end.ops),
            contract=contract,
            limits=DEFAULT_LIMITS,
            control=View(control.ops),
            repeats=(View(end.ops),),
        )
        ops = len(end.ops)

        def one(struck: ExecutionSpec = struck) -> None:
            simulate(struck, Writer(None, {}))

        def check(evidence: Evidence = evidence) -> None:
            fresh = View(evidence.history.ops)
            judge(replace(evidence, history=fresh, control=fresh, repeats=(fresh,)))

        ran, judged = best_ms(one, times), best_ms(check, times)
        cost = ran * 1000 / ops
        first = first or cost
        say(
            f"{sessions:>9} {tasks:>6} {ops:>9} {ran:>9.1f} {1000 / (ran + judged):>8.1f} "
            f"{cost:>9.1f} {cost / first:>9.2f} {ops * 1000 / judged:>17,.0f}"
        )


def wasm() -> None:
    """Retire and replace against the bare cost of a store and an instance, in turn."""
    for build in ("abort", "unwind"):
        module = load_module("ticket", build)

        def bare(module: object = module) -> None:
            store = Store(engine())
            instance = module.code.instantiate(store)  # type: ignore[attr-defined]
            exports = instance.exports(store)
            exports["__stack_pointer"].value(store)

        guest = GuestInstance(module, id="0")

        def swap(module: object = module, guest: GuestInstance = guest) -> None:
            GuestInstance(module, id="n").retire()  # type: ignore[arg-type]

        pairs = []
        for _ in range(7):
            pairs.append((median_ms(swap, 60), median_ms(bare, 60)))
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (statistics.median(x) * 1000 for x in zip(*pairs, strict=True))
        say(f"wasm {build:<7} retire+replace {a:6.0f} µs   bare {b:6.0f} µs   ratio {ratio:.2f}")


if __name__ == "__main__":
    executions()
    wasm()
