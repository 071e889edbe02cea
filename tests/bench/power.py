"""Measured power: how long four ways of looking take until each planted bug first shows itself.

The ways are `random` (`explore.draws.uniform`, each execution drawn by itself), `stress` (a shard
of `explore.stress`, Hypothesis and all), `sweep` (every single strike, in the sweep's own order)
and `reduced` (the same with equivalent strikes spared). Each is the real engine, asked for what a
command would ask of it, in one process; all that is added is a look at each result, and that it
ends at the first breach of the check for which the bug was planted. What is counted, and how, is
said below each table (`power_table.NOTES`).

    python -m tests.bench.power --bugs double_charge --seeds 5 --out power.json
    python -m tests.bench.power --table power.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from itertools import pairwise, product
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from tests.bench.power_table import (
    DRAWN,
    WAYS,
    Measured,
    by_bug,
    findable,
    lines_of,
    name_of,
    scenario_of,
    table,
)

from chaoslab import __version__
from chaoslab.core.errors import LabError
from chaoslab.core.jsons import digest
from chaoslab.explore import stress
from chaoslab.explore.draws import uniform
from chaoslab.explore.scout import Scouted
from chaoslab.explore.stress import look, shards_of, stress_shard
from chaoslab.explore.sweep import SweepPlan, sweep
from chaoslab.explore.work import Setting
from chaoslab.explore.worlds import worlds_of
from chaoslab.run.controls import Planted, planted_bugs
from chaoslab.run.model import RunSpec
from chaoslab.run.select import specs_of
from chaoslab.run.strikes import BatchEnd, StrikeBatch
from chaoslab.run.trials import Trial
from chaoslab.run.worker import MEMORY_MAX_BYTES
from chaoslab.run.workers import HASH_SEEDS, Workers

HERE: Final = Setting(in_process=True)
SEEDS_AT_A_TIME: Final = 5  # after the first one: what is cut has looked at every bug before
WATCHDOG_S, EACH_S = 60, 5  # of wall time, and what each strike of a batch adds; they need 0.1 s
WRITE_EVERY_S: Final = 5
FORMAT: Final = 1
_T = TypeVar("_T")
_R = TypeVar("_R")


def say(text: str) -> None:
    """One line of the table."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """One line about how it goes."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Looking:
    """Counts executions and stops the clock at the first that shows a breach of the check."""

    check: str
    cap: int
    executed: int = 0
    spared: int = 0
    planned: int = 0
    found: bool = False
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more is to be executed."""
        return self.found or self.executed >= self.cap

    def saw(self, broken: Sequence[tuple[str, str, str, str]], *, spared: bool = False) -> None:
        """One execution ended."""
        self.executed += 1
        self.spared += spared
        self.found = self.found or any(check == self.check for check, *_ in broken)


# -- the four ways


def at_random(bug: Planted, seed: int, looking: Looking) -> str:
    """Draws and executes; why nothing was found."""
    workers, random = Watching(looking), Random(seed)
    base = specs(bug)
    seen = look(base, workers)
    while not looking.over:
        workers.trials([uniform(base, random, seen=seen)])
    return "the cap"


def by_stress(bug: Planted, seed: int, looking: Looking) -> str:
    """One shard; why nothing was found.

    It asks for its interpreters by `workers_here`. Those that it gets are this process, and closed
    once the breach was seen, as by Ctrl-C: it keeps what it has and ends.
    """
    workers = Watching(looking)
    [shard] = shards_of(specs(bug), seed=seed, runs=looking.cap, shards=1, setting=HERE)
    with patch.object(stress, "workers_here", lambda setting: workers):
        end = stress_shard(shard)
    if len(end.rows) != looking.executed:
        raise LabError("a row of stress was not one execution", value=len(end.rows))
    return "the cap" if looking.over else end.cut


class Watching(Workers):
    """Trials in this process, looked at one by one."""

    def __init__(self, looking: Looking) -> None:
        super().__init__(in_process=True)
        self._looking, self._began = looking, time.process_time()

    def trials(self, specs: Sequence[RunSpec], *, whole: bool = False) -> list[Trial]:
        """As ever; those that are asked for whole are a look at the world."""
        if self._looking.found:
            raise LabError("the breach was found; nothing more is run")
        still_there()
        found = super().trials(specs, whole=whole)
        for one in () if whole else found:
            self._looking.saw(one.broken)
        self._looking.seconds = time.process_time() - self._began
        return found


def by_sweep(bug: Planted, seed: int, looking: Looking, *, reduce: bool) -> str:
    """A sweep of depth 1, batch by batch; why nothing was found."""
    began = time.process_time()
    plan = SweepPlan(worlds=worlds_of(specs(bug, seed)), setting=HERE, reduce=reduce)
    one_by_one = InOrder(looking)
    coverage = sweep(plan, one_by_one, lambda rows: None)
    looking.seconds = time.process_time() - began - one_by_one.beyond
    [world] = coverage.worlds
    if world.control != "held" and not looking.found:
        return f"the fault-free execution: {world.control}, {world.why}"
    return "the cap" if looking.executed >= looking.cap else "all strikes"


class InOrder:
    """Carries out one item after the other, until it was found. `beyond`: the time that the last
    batch went on for."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        self.beyond = 0.0

    def each(
        self, function: Callable[[_T], _R], items: Sequence[_T], /
    ) -> Iterator[tuple[int, _R]]:
        """The results, in order."""
        looking = self._looking
        for index, item in enumerate(items):
            if looking.over:
                return
            still_there(len(item.strikes) if isinstance(item, StrikeBatch) else 0)
            began = time.process_time()
            result = function(item)
            spent = time.process_time() - began
            if isinstance(result, Scouted):
                looking.saw(result.control.broken)
                looking.planned = 1 + len(result.candidates)
            elif isinstance(item, StrikeBatch) and isinstance(result, BatchEnd):
                self.beyond += spent * (1 - self._share(item, result))
            yield index, result

    def _share(self, batch: StrikeBatch, end: BatchEnd) -> float:
        """Looks at the executions of a batch; the part of its time until the last that counts."""
        looking = self._looking
        if not end.rows:  # it was given up, and each of its strikes is a row that broke
            looking.executed = min(looking.cap, looking.executed + len(batch.strikes))
            return 1.0
        until = sum(end.control.spent_us.values())
        whole = until + sum(sum(row.spent_us.values()) for row in end.rows)
        for row in end.rows:
            if looking.over:
                break
            looking.saw(row.broken, spared=row.same_as >= 0)
            until += sum(row.spent_us.values())
        return until / whole if whole else 1.0


DONE_BY: Final[Mapping[str, Callable[[Planted, int, Looking], str]]] = {
    "random": at_random,
    "stress": by_stress,
    "sweep": partial(by_sweep, reduce=False),
    "reduced": partial(by_sweep, reduce=True),
}


def specs(bug: Planted, seed: int | None = None) -> list[RunSpec]:
    """The run of a bug's own scenario."""
    return specs_of(*scenario_of(bug), bug.agent, seeds=[bug.seeds[0] if seed is None else seed])


def measure(bug: Planted, way: str, seed: int, cap: int) -> Measured:
    """One measurement, in this process. An agent that breaks what it runs in is not found."""
    looking = Looking(check=bug.check, cap=cap)
    try:
        why = DONE_BY[way](bug, seed, looking)
    except (Exception, SystemExit) as error:
        why, looking.found = f"broke: {type(error).__name__}: {error}", False
    return Measured(
        bug=name_of(bug),
        way=way,
        seed=seed,
        found=looking.found,
        executions=looking.executed,
        spared=looking.spared,
        planned=looking.planned,
        seconds=round(looking.seconds, 6),
        why="" if looking.found else why,
    )


# -- one process for a few seeds of a bug and a way


@seeded(0)
@settings(database=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 99))
def warm(number: int) -> None:
    """Hypothesis reads all loaded code once in a process, and it should not be in one that is
    measured. Those are forked from this one."""
    assert 0 <= number < 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one process measures."""

    bug: Planted
    way: str
    seeds: tuple[int, ...]
    cap: int


def still_there(strikes: int = 0) -> None:
    """Whoever does not come back here in time is ended by the system, whatever he does."""
    signal.setitimer(signal.ITIMER_REAL, WATCHDOG_S + EACH_S * strikes)


def measure_unit(unit: Unit, until: float, to: connection.Connection) -> None:
    """Measures seed after seed, and sends each; then None. Runs in a process of its own."""
    for ends in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(ends, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MAX_BYTES, hard))
    null = os.open(os.devnull, os.O_WRONLY)
    for printed in (1, 2):
        os.dup2(null, printed)
    # Loads the agent, its modules and the checks; nobody is to be measured by who comes first.
    measure(unit.bug, unit.way, 0, 1)
    for seed in unit.seeds:
        if time.monotonic() >= until:
            break
        to.send(measure(unit.bug, unit.way, seed, unit.cap))
    signal.setitimer(signal.ITIMER_REAL, 0)
    to.send(None)


@dataclass(slots=True)
class Bench:
    """Has units measured by `jobs` processes, and keeps what comes."""

    jobs: int
    until: float
    keep: Callable[[Sequence[Measured]], None]
    running: dict[connection.Connection, tuple[BaseProcess, Unit]] = field(default_factory=dict)

    def all_of(self, units: Sequence[Unit]) -> None:
        """All units, or as many as there is time for."""
        todo = list(reversed(units))
        try:
            while todo or self.running:
                while todo and len(self.running) < self.jobs and time.monotonic() < self.until:
                    self._start(todo.pop())
                if not self.running:
                    return
                for source in connection.wait(list(self.running)):
                    assert isinstance(source, connection.Connection)
                    todo += self._took(source)
        finally:
            for process, _ in self.running.values():
                process.kill()
                process.join()

    def _start(self, unit: Unit) -> None:
        here, there = get_context("fork").Pipe(duplex=False)
        process = get_context("fork").Process(
            target=measure_unit, args=(unit, self.until, there), daemon=True
        )
        process.start()
        there.close()
        self.running[here] = (process, unit)

    def _took(self, source: connection.Connection) -> list[Unit]:
        """What a process sent; if it has ended, what of its unit has to be begun again."""
        process, unit = self.running[source]
        try:
            one = source.recv()
        except (EOFError, OSError):
            process.join()
            one = Measured(
                bug=name_of(unit.bug),
                way=unit.way,
                seed=unit.seeds[0],
                why=f"broke: the interpreter ended with {process.exitcode}",
            )
            self._ended(source)
            self.keep([one])
            return [replace(unit, seeds=unit.seeds[1:])] if len(unit.seeds) > 1 else []
        if one is None:
            process.join()
            self._ended(source)
            return []
        self.keep([one])
        self.running[source] = (process, replace(unit, seeds=unit.seeds[1:]))
        return []

    def _ended(self, source: connection.Connection) -> None:
        del self.running[source]
        source.close()


def units_of(
    bugs: Sequence[Planted],
    ways: Sequence[str],
    seeds: int,
    caps: Mapping[str, int],
    done: set[Any],
) -> Iterator[Unit]:
    """What is to be measured, a few seeds of everything at a time."""
    for first, last in pairwise([0, *range(1, seeds, SEEDS_AT_A_TIME), seeds]):
        for bug, way in product(bugs, ways):
            left = tuple(
                seed for seed in range(first, last) if (name_of(bug), way, seed) not in done
            )
            if left and findable(bug):
                yield Unit(bug=bug, way=way, seeds=left, cap=caps[way])


# -- the command


def head_of(bugs: Sequence[Planted], seeds: int, drawn: int, struck: int) -> dict[str, Any]:
    """What measurements of one file have in common."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text(encoding="utf-8").splitlines() if "model name" in s]
        cpu = f"{names[0].partition(':')[2].strip()} ({cpu})" if names else cpu
    return {
        "format": FORMAT,
        "bugs": [name_of(bug) for bug in bugs],
        "seeds": seeds,
        "cap": {way: drawn if way in DRAWN else struck for way in WAYS},
        "code": digest(sorted(str(specs(bug)[0].sources) for bug in planted_bugs()), size=8),
        "machine": f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "versions": f"chaoslab {__version__}, Python {platform.python_version()}, "
        f"Hypothesis {version('hypothesis')}",
    }


def read_file(file: Path) -> tuple[dict[str, Any], list[Measured]]:
    """The head and the measurements of a file."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    return raw["head"], [Measured(**one) for one in raw["measured"]]


def write_file(file: Path, head: Mapping[str, Any], measured: Sequence[Measured]) -> None:
    """All of it, at once or not at all."""
    singly = [asdict(one) for some in by_bug(measured).values() for one in some]
    parts = {"lines": lines_of(measured), "measured": singly}
    told = [f'"head": {json.dumps(head)}']
    for name, rows in parts.items():
        told.append(f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]")
    whole = file.with_name(file.name + ".part")
    whole.write_text("{" + ",\n".join(told) + "}\n", encoding="utf-8")
    whole.replace(file)


def run(args: argparse.Namespace, bugs: Sequence[Planted]) -> None:
    """Measures what is missing, and prints the table."""
    head, measured = head_of(bugs, args.seeds, *args.cap), list[Measured]()
    kept = dict(head)
    if args.out and args.out.exists():
        older, measured = read_file(args.out)
        differs = [k for k in ("format", "cap", "code", "machine") if older.get(k) != head[k]]
        if differs:
            sys.exit(
                f"{args.out} was measured with another {', '.join(differs)}, and cannot be "
                f"carried on; give another file, or print it with --table {args.out}"
            )
        bugs_kept = {*older["bugs"], *head["bugs"]}
        kept |= {
            "bugs": [name for name in map(name_of, planted_bugs()) if name in bugs_kept],
            "seeds": max(older["seeds"], head["seeds"]),
        }
        tell(f"{len(measured)} measurements are there")

    written = 0.0

    def keep(some: Sequence[Measured]) -> None:
        nonlocal written
        measured.extend(some)
        for one in some:
            told = "found" if one.found else f"not found ({one.why})"
            tell(f"{one.bug} {one.way} {one.seed}: {told}, {one.executions}, {one.seconds:.2f} s")
        if args.out and time.monotonic() >= written + WRITE_EVERY_S:
            write_file(args.out, kept, measured)
            written = time.monotonic()

    done = {(one.bug, one.way, one.seed) for one in measured}
    until = math.inf if args.minutes is None else time.monotonic() + args.minutes * 60
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is done is kept then, too
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        warm()
        try:
            units = list(units_of(bugs, args.ways, args.seeds, head["cap"], done))
            Bench(jobs=args.jobs, until=until, keep=keep).all_of(units)
        finally:
            if args.out:
                write_file(args.out, kept, measured)
    of_these = [o for o in measured if o.bug in head["bugs"] and o.seed < args.seeds]
    for line in table(head, of_these):
        say(line)


def main() -> None:
    """See the module."""
    # Sets are ordered as in the interpreters in which executions are isolated.
    if os.environ.get("PYTHONHASHSEED") != HASH_SEEDS["first"]:
        env = {**os.environ, "PYTHONHASHSEED": HASH_SEEDS["first"]}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], env)
    parser = argparse.ArgumentParser(description="how long until a planted bug shows itself")
    parser.add_argument("--bugs", default="", help="names of files, with commas; default: all")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: all")
    parser.add_argument("--seeds", type=int, default=30, help="how many; default: %(default)s")
    what = "executions a seed at most: those that are drawn, and those of a sweep"
    parser.add_argument("--cap", type=int, nargs=2, default=[60, 300], help=what)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--minutes", type=float, help="start nothing new after so many")
    parser.add_argument("--out", type=Path, help="keep every measurement here, and carry it on")
    parser.add_argument("--table", type=Path, help="measure nothing; print the table of a file")
    args = parser.parse_args()
    if args.table:
        for line in table(*read_file(args.table)):
            say(line)
        return
    there = {name_of(bug): bug for bug in planted_bugs()}
    wanted = [name for name in args.bugs.split(",") if name] or list(there)
    unknown = sorted(set(wanted) - set(there))
    if unknown:
        parser.error(f"no planted bug is named {', '.join(unknown)}; there are {', '.join(there)}")
    if min(args.seeds, *args.cap, args.jobs) < 1:
        parser.error("--seeds, --cap and --jobs must be 1 or more")
    run(args, [there[name] for name in wanted])


if __name__ == "__main__":
    main()
