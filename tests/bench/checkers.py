"""What the checks cost: all of them on real executions, and linearizability beside Porcupine.

Two tables. The first judges executions of the simulator with every check: time and peak memory for
each entry, measured apart. The second gives one and the same history of a register to
`memory.linearizable` and to Porcupine, the linearizability checker in Go that others are measured
by; both read it before the clock starts, and both must say the same. Where Go or Porcupine cannot
be had, the second table is left out, in words.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.check import CHECKS, Evidence, judge
from chaoslab.check.linearizable import CHECK
from chaoslab.contract import DEFAULT_LIMITS, Contract, Limits
from chaoslab.core import collector
from chaoslab.core.jsons import Json
from chaoslab.faults import place
from chaoslab.history import Op, View, Writer
from chaoslab.history.op import OpType
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

HERE = Path(__file__).resolve().parent
WRITE = "memory.write"
PATIENCE_S = 10  # for one history in Porcupine


def say(text: str) -> None:
    """One line of a table."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def best_s(action: Callable[[], object], times: int) -> float:
    """The shortest wall time of an action: what it costs when nothing else is in the way."""
    found = []
    for _ in range(times):
        with collector.paused():
            began = time.perf_counter()
            action()
            found.append(time.perf_counter() - began)
    return min(found)


# -- all checks


def evidence_of(sessions: int, tasks: int) -> Evidence:
    """What there is to judge of one execution: itself, its control, one repetition."""
    spec = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])[0]
    workload = replace(spec.scenario.workload, sessions=sessions, tasks=tasks)
    scenario = replace(spec.scenario, workload=workload)
    contract = merged_contract(spec.contract, spec.workload)
    base = ExecutionSpec(
        scenario=replace(scenario, faults=()),
        workload=spec.workload,
        contract=spec.contract,
        agent=spec.agent,
        seed=0,
        ops_max=2_000_000,
    )
    control = simulate(base, Writer(None, {}))
    placed = place(scenario.faults, control.sites, contract)
    struck = simulate(replace(base, scenario=scenario, placed=placed), Writer(None, {}))
    return Evidence(
        history=View(struck.ops),
        contract=contract,
        limits=DEFAULT_LIMITS,
        control=View(control.ops),
        repeats=(View(struck.ops),),
    )


def fresh(evidence: Evidence) -> Evidence:
    """The same evidence with nothing joined yet."""
    view = View(evidence.history.ops)
    control = View(evidence.control.ops) if evidence.control else None
    return replace(evidence, history=view, control=control, repeats=(View(view.ops),))


def all_checks() -> None:
    """Time and memory of all checks for each entry, as executions grow."""
    say(f"all {len(CHECKS)} checks on executions of the simulator; its control and repetition too")
    heads = ("sessions", "tasks", "entries", "ms", "entries/s", "µs/entry", "peak bytes/entry")
    say("{:>8} {:>6} {:>9} {:>9} {:>10} {:>9} {:>17}  dearest".format(*heads))
    for sessions, tasks, times in ((1, 1, 50), (150, 1, 5), (10, 20, 2), (75, 10, 2)):
        evidence = evidence_of(sessions, tasks)
        entries = len(evidence.history)
        ready = [fresh(evidence) for _ in range(times)]
        took = best_s(lambda ready=ready: judge(ready.pop()), times)  # type: ignore[misc]
        again = fresh(evidence)
        tracemalloc.start()
        judge(again)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        shares = check_shares(fresh(evidence))
        dearest = ", ".join(f"{name} {share}%" for name, share in shares[:3])
        say(
            f"{sessions:>8,} {tasks:>6} {entries:>9,} {took * 1000:>9.1f} {entries / took:>10,.0f} "
            f"{took / entries * 1e6:>9.2f} {peak // entries:>17,}  {dearest}"
        )


def check_shares(evidence: Evidence) -> list[tuple[str, int]]:
    """The part of each check in percent. The search for tokens in all texts, which several checks
    share, stands by itself; of what else they share, who asks first pays for it."""
    spent = []
    with collector.paused():
        began = time.perf_counter()
        assert evidence.facts.sightings is not None
        spent.append((time.perf_counter() - began, "tokens"))
        for check in CHECKS:
            began = time.perf_counter()
            check(evidence)
            spent.append((time.perf_counter() - began, check.id))
    whole = sum(cost for cost, _ in spent)
    return [(name, round(cost / whole * 100)) for cost, name in sorted(spent, reverse=True)]


# -- beside Porcupine


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A history of one register: how many calls, by whom, of how many values (0: all different),
    and whether its last read is stale."""

    calls: int
    clients: int
    values: int = 0
    stale: bool = False


SHAPES = tuple(
    Shape(calls=calls, clients=clients, values=values, stale=stale)
    for clients, values, stale in ((3, 0, False), (8, 0, False), (3, 0, True), (3, 8, False))
    for calls in (300, 3_000, 30_000)
)


@dataclass(slots=True)
class _UnderWay:
    """A call that was begun: whether it has taken place, and what it writes or saw."""

    invoke: int
    verb: str
    value: str | None
    done: bool = False


def register(shape: Shape) -> list[Op]:
    """A register that works, used by clients at once: each call takes place between its ends."""
    rng = random.Random(7)
    ops: list[Op] = []
    calls: dict[int, _UnderWay] = {}
    stands: str | None = None
    begun = 0

    def add(type: OpType, f: str, client: int, value: Json, call: int = -1) -> int:
        n = len(ops)
        ops.append(
            Op(index=n, time_ns=n, type=type, f=f, process=f"p{client}", call=call, value=value)
        )
        return n

    while begun < shape.calls or calls:
        client = rng.randrange(shape.clients)
        one = calls.get(client)
        if one is None:
            if begun < shape.calls:
                verb = WRITE if rng.random() < 0.4 else "memory.read"
                value = f"v{rng.randrange(shape.values) if shape.values else begun}"
                asked: Json = {"id": "r", "value": value} if verb == WRITE else {"id": "r"}
                calls[client] = _UnderWay(add("invoke", verb, client, asked), verb, value)
                begun += 1
        elif not one.done:
            one.done = True
            if one.verb == WRITE:
                stands = one.value
            else:
                one.value = stands
        else:
            del calls[client]
            said: Json = {"found": one.value is not None, "value": one.value}
            add("ok", one.verb, client, {} if one.verb == WRITE else said, one.invoke)
    if shape.stale:
        asked_at = add("invoke", "memory.read", 0, {"id": "r"})
        add("ok", "memory.read", 0, {"found": False, "value": None}, asked_at)
    return ops


def lines_of(ops: Sequence[Op]) -> Iterator[str]:
    """The calls of a history, one a line, as the Go program reads them."""
    view = View(ops)
    for op in ops:
        answer = view.completion(op.index) if op.type == "invoke" else None
        if answer is not None:
            writes = op.f == WRITE
            value = op.get("value") if writes else answer.get("value")
            yield f"r {'w' if writes else 'r'} {value or '-'} {op.index} {answer.index}\n"


def built(folder: Path) -> Path | str:
    """The Go program, or why there is none."""
    go = shutil.which("go")
    if go is None:
        return "there is no go on this machine"
    copy = folder / "porcupine"
    shutil.copytree(HERE / "porcupine", copy)
    done = subprocess.run(
        [go, "build", "-o", "porcupine-bench", "."],
        cwd=copy,
        env={**os.environ, "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"go could not build it: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    return copy / "porcupine-bench"


def compared(shape: Shape, program: Path, file: Path) -> bool:
    """One row of the second table; False where the two checkers differ."""
    ops = register(shape)
    file.write_text("".join(lines_of(ops)))
    words = subprocess.run(
        [program, file, f"{PATIENCE_S}s"], capture_output=True, text=True, check=True
    ).stdout.split()
    theirs = {"Ok": "valid", "Illegal": "invalid"}.get(words[0], "unknown")
    view, times = View(ops), 40 if shape.calls < 10_000 else 5
    ready = [Evidence(history=view, contract=Contract(), limits=Limits()) for _ in range(times + 1)]
    verdict = CHECK(ready.pop()).verdict
    ours = best_s(lambda: CHECK(ready.pop()), times)
    took = int(words[1]) / 1e9
    same = theirs in (verdict, "unknown")
    remark = f"  at least: Porcupine gave up after {PATIENCE_S} s" if theirs == "unknown" else ""
    say(
        f"{shape.calls:>7,} {shape.clients:>8} {shape.values or 'different':>9} {verdict:>8} "
        f"{ours * 1000:>9.2f} {took * 1000:>13.2f} {took / ours:>13.2f}"
        + (remark if same else f"  THEY DIFFER: Porcupine says {theirs}")
    )
    return same


def beside_porcupine() -> bool:
    """Both checkers on the same histories; whether they agreed."""
    say("\nlinearizability of one register, without versions, beside Porcupine")
    agreed = True
    with tempfile.TemporaryDirectory() as name:
        program = built(Path(name))
        if isinstance(program, str):
            say(f"left out: {program}")
            return True
        say(
            f"{'calls':>7} {'clients':>8} {'values':>9} {'verdict':>8} {'ours ms':>9} "
            f"{'Porcupine ms':>13} {'times faster':>13}"
        )
        for shape in SHAPES:
            agreed = compared(shape, program, Path(name) / "history.txt") and agreed
    return agreed


if __name__ == "__main__":
    all_checks()
    sys.exit(0 if beside_porcupine() else 1)
