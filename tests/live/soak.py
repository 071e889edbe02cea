"""Many runs in a row on real processes, and what they leave: `make soak`.

Each run is an execution without faults and one with a fault: of `commands` the agent is killed
after a commit; of `regions` a whole region is killed under the reference agent, with Toxiproxy in
every line; of `docker` the same with regions in containers. Before and after, and every 20 runs,
everything is counted that could leak: processes, open descriptors and memory of the lab and of its
worker, listening ports, entries of the folder for temporary files, containers and networks. The
first 20 runs are the lab's to grow in; after that a number that has grown is a leak.

    python tests/live/soak.py 200 regions
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "harness")]

from tests.live.lab import AGENTS, scenario_file, spec_of, team_file  # noqa: E402

from chaoslab.backends.docker.daemon import connected  # noqa: E402
from chaoslab.backends.docker.leftovers import RUN_LABEL  # noqa: E402
from chaoslab.run.model import RunSpec  # noqa: E402
from chaoslab.run.perform import perform  # noqa: E402
from chaoslab.run.select import REFERENCE  # noqa: E402
from chaoslab.run.workers import Workers  # noqa: E402

CRASH = '[[faults]]\nat = "tools:keyed"\nphase = "after-commit"\nkind = "crash"\n'
REGIONS = """
format = 1
name = "soak"
title = "soak"
family = "live"
[workload]
use = "support"
sessions = 1
tasks = 1
mix = ["refund"]
[regions]
names = ["east", "west"]
lag_ms = 100
failover_after_ms = 1500
[schedule]
heal_after_ms = 20000
linger_ms = 1000
[limits]
uncertain_tasks_max = 1
[[faults]]
at = "tools:keyed"
phase = "after-commit"
kind = "crash"
scope = "region"
"""
HOW = ("commands", "regions", "docker")
RUNS = {"commands": 200, "regions": 200, "docker": 50}
EVERY, WARM = 20, 20
MEMORY_MIB_MAX = 24
_LISTENS = "0A"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What there is at one moment."""

    processes: int  # descendants of this one, zombies too
    descriptors: int  # of all of them
    ports: int  # on which they listen
    temporary: int  # entries of the folder for temporary files
    memory_mib: int  # of all of them
    containers: int = 0  # and networks, of labs at the Docker daemon

    def line(self) -> str:
        """All numbers, aligned."""
        return "  ".join(f"{f.name} {getattr(self, f.name):>5}" for f in fields(self))


def family() -> list[int]:
    """This process and all of its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def containers() -> int:
    """Containers and networks of labs."""
    with connected() as client:
        wanted = {"label": RUN_LABEL}
        return len(client.containers.list(all=True, filters=wanted)) + len(
            client.networks.list(filters=wanted)
        )


def count(folder: Path, how: str) -> Counts:
    """Counts everything."""
    descriptors, ports, pages = 0, 0, 0
    listening = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == _LISTENS:
                    listening.add(f"socket:[{columns[9]}]")
    pids = family()
    for pid in pids:
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                descriptors += 1
                ports += os.readlink(link) in listening
    return Counts(
        processes=len(pids),
        descriptors=descriptors,
        ports=ports,
        temporary=len(list(folder.iterdir())),
        containers=containers() if how == "docker" else 0,
        memory_mib=pages * os.sysconf("SC_PAGE_SIZE") >> 20,
    )


def spec_for(how: str, folder: Path) -> RunSpec:
    """The run that is done again and again."""
    if how != "commands":
        scenario = folder / "regions.toml"
        scenario.write_text(REGIONS)
        lines = "" if how == "docker" else "embedded"
        return spec_of(
            REFERENCE,
            scenario,
            repeats=0,
            linger_ms=100,
            toxiproxy=lines,
            containers=how == "docker",
        )
    agent = AGENTS / "modes_agent.py"
    path = team_file(folder, agent, "linger_ms = 0").read_text()
    path = path.replace("linger_ms = 200\n", "", 1).replace(
        f"'{agent}'", f"'{agent}', 'queue', 'reply'"
    )
    (folder / "chaoslab.toml").write_text(path)
    return spec_of(folder / "chaoslab.toml", scenario_file(folder, "soak", CRASH), repeats=0)


def soak(how: str, runs: int, folder: Path) -> tuple[list[tuple[int, Counts]], list[str]]:
    """Performs the runs; the counts by number, and what was wrong with a run."""
    temporary, spec = Path(tempfile.gettempdir()), spec_for(how, folder)
    counts, wrong = [(0, count(temporary, how))], []
    workers = Workers()
    began = time.monotonic()
    try:
        for number in range(1, runs + 1):
            out = folder / "out"
            out.mkdir()
            record = perform(spec, workers, out)
            shutil.rmtree(out)
            if record.broke or record.violations or record.vacuous:
                why = record.broke or record.vacuous or record.violations[0].explanation
                wrong.append(f"run {number}: {why}")
            if number % EVERY == 0 or number == runs:
                counts.append((number, count(temporary, how)))
                each_ms = round((time.monotonic() - began) * 1000 / number)
                say(f"{number:>5} runs  {counts[-1][1].line()}  {each_ms} ms a run")
    finally:
        workers.close()
    counts.append((runs, count(temporary, how)))
    return counts, wrong


def leaks(counts: Sequence[tuple[int, Counts]]) -> list[str]:
    """What has grown: over the runs after the first ones, and from before to after all of it."""
    before, after = counts[0][1], counts[-1][1]
    warm = [one for number, one in counts[1:-1] if number >= WARM]
    found = []
    for name in ("processes", "descriptors", "ports", "temporary", "containers"):
        pairs = [("after all", getattr(before, name), getattr(after, name))]
        if warm:
            pairs.append(("meanwhile", getattr(warm[0], name), getattr(warm[-1], name)))
        found += [f"{name}, {when}: {a} → {b}" for when, a, b in pairs if b > a]
    if warm and warm[-1].memory_mib - warm[0].memory_mib > MEMORY_MIB_MAX:
        found.append(f"memory_mib: {warm[0].memory_mib} → {warm[-1].memory_mib}")
    return found


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code: 1 where something was left."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("runs", type=int, nargs="?", default=0)
    parser.add_argument("how", choices=HOW, nargs="?", default="commands")
    given = parser.parse_args()
    runs = given.runs or RUNS[given.how]
    # Others use the machine's folder, too; only what is made here is counted.
    with tempfile.TemporaryDirectory(prefix="soak-") as made:
        temporary, folder = Path(made) / "tmp", Path(made) / "work"
        temporary.mkdir()
        folder.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        counts, wrong = soak(given.how, runs, folder)
        tempfile.tempdir = None
        del os.environ["TMPDIR"]
    say(f"\n{'':>14}{'before':>10}{'warm':>10}{'last':>10}{'after':>10}")
    shown = [counts[0][1], counts[1][1], counts[-2][1], counts[-1][1]]
    for field in fields(Counts):
        say(f"{field.name:>14}" + "".join(f"{getattr(one, field.name):>10}" for one in shown))
    for line in (found := [*leaks(counts), *wrong]):
        say(f"LEAK  {line}" if line not in wrong else f"WRONG {line}")
    say("nothing is left" if not found else f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
