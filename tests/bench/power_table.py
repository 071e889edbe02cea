"""The table of measured power, made of single measurements: see `tests.bench.power`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from chaoslab.check import without
from chaoslab.contract import Limits
from chaoslab.run.controls import Planted, planted_bugs
from chaoslab.run.select import scenario_files
from chaoslab.scenario import Scenario, load_scenario

DRAWN: Final = ("random", "stress")
WAYS: Final = (*DRAWN, "sweep", "reduced")
NOTES: Final = """\
- An execution is what the product counts as a row: for random and stress a drawn scenario, without
  its faults and with them; for the sweeps the fault-free execution of the world, and then each
  strike. A strike that was spared counts at its place in the order, so both sweeps differ in
  seconds alone; `whole` says how many of the executions went to their end. What else a way needs
  (a look at the world, a few executions done twice, here in one interpreter, and the fault-free
  execution of each batch) is in the seconds.
- Seconds are CPU time of one process, from nothing but loaded code to the end of the execution that
  shows the breach. A batch of strikes is measured as a whole, and shared out as its executions
  measured themselves.
- `found`: in how many seeds. Medians are over all seeds; one that found nothing counts as more than
  any other, `>60` is a median beyond the cap (`of 900`: so many the whole sweep has), and `none of
  120` says that all strikes were done in vain.
  Seconds in brackets are the mean of the seeds that found it, where there is no median.
- The base is the bug's own scenario. Random and stress draw its faults more often than others, as
  always; the sweeps know only its world. None of them has the limits that a scenario sets itself.
- Only breaches of the check that the bug was planted for count, and only what one execution shows:
  a second execution elsewhere, which a campaign makes of samples and findings, is left out."""
MARKS: Final = {
    "C": "shows without any fault: any way finds it with its first execution of that world",
    "L": "its scenario sets limits of its own, which no way has here",
    "M": "its scenario strikes more than once; a sweep of depth 1 does not",
    "N": "its scenario plans no fault: what it needs is in the world, or in the schedule",
    "R": "shows only in a second execution, in another interpreter: no way can find it here",
    "T": "its scenario's faults have a length, and a sweep tries only its own",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement. `executions`: which one showed the breach, or how many did not; `spared`: so
    many of them did not go to their end; `planned`: how many a sweep has in all; `why`: why nothing
    was found."""

    bug: str
    way: str
    seed: int
    found: bool = False
    executions: int = 0
    spared: int = 0
    planned: int = 0
    seconds: float = 0.0
    why: str = ""


def scenario_of(bug: Planted) -> tuple[Path, Scenario]:
    """The scenario in which a bug is planted, and its file."""
    [path] = scenario_files([bug.scenario])
    return path, load_scenario(path)


def name_of(bug: Planted) -> str:
    """A bug by the name of its file."""
    return Path(bug.agent.partition(":")[0]).stem


def findable(bug: Planted) -> bool:
    """Whether one execution can show a breach of its check at all."""
    return bug.check in {check.id for check in without("repeats")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a way needed for a bug; infinite medians are beyond what was done."""

    measured: int
    found: int
    executions: float
    whole: float
    seconds: float
    mean_seconds_found: float | None
    most: int  # executions of one seed that found nothing
    in_vain: bool  # all of these did all that there is to do
    planned: int  # executions that a sweep has in all, at most


def line_of(some: Sequence[Measured]) -> Line:
    """The line of some seeds of one bug and one way."""
    found = [one for one in some if one.found]
    missed = [one for one in some if not one.found]

    def median(number: Callable[[Measured], float]) -> float:
        values = [number(one) if one.found else math.inf for one in some]
        return statistics.median(values) if values else math.inf

    return Line(
        measured=len(some),
        found=len(found),
        executions=median(lambda one: one.executions),
        whole=median(lambda one: one.executions - one.spared),
        seconds=median(lambda one: one.seconds),
        mean_seconds_found=statistics.fmean(o.seconds for o in found) if found else None,
        most=max((one.executions for one in missed), default=0),
        planned=max((one.planned for one in some), default=0),
        in_vain=bool(missed) and all(one.why == "all strikes" for one in missed),
    )


def lines_of(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """The lines of all bugs and ways, as JSON; a median that is not known is null."""
    out = []
    for (bug, way), some in by_bug(measured).items():
        numbers = asdict(line_of(some)).items()
        out.append({"bug": bug, "way": way} | {k: None if v == math.inf else v for k, v in numbers})
    return out


def by_bug(measured: Sequence[Measured]) -> dict[tuple[str, str], list[Measured]]:
    """The measurements of each bug and way, in an order that says nothing of who came first."""
    by: dict[tuple[str, str], list[Measured]] = {}
    for one in sorted(measured, key=lambda one: (one.bug, WAYS.index(one.way), one.seed)):
        by.setdefault((one.bug, one.way), []).append(one)
    return by


def marks_of(bug: Planted, lines: Mapping[str, Line]) -> str:
    """What can be known about who finds a bug, beside the numbers."""
    scenario = scenario_of(bug)[1]
    faults = scenario.faults
    swept = lines["sweep"]
    at_once = swept.found and swept.found == swept.measured and swept.executions == 1
    marks = {
        "C": at_once,
        "L": bug.check.startswith("limits.") and scenario.limits != Limits(),
        "M": len(faults) > 1 or any(fault.times > 1 or fault.every for fault in faults),
        "N": not faults,
        "R": not findable(bug),
        "T": any(fault.for_ms is not None for fault in faults),
    }
    return " ".join(mark for mark, there in marks.items() if there)


def table(head: Mapping[str, Any], measured: Sequence[Measured]) -> Iterator[str]:
    """The table, line by line."""
    bugs = [bug for bug in planted_bugs() if name_of(bug) in head["bugs"]]
    by = by_bug(measured)
    lines = {b: {w: line_of(by.get((b, w), [])) for w in WAYS} for b in map(name_of, bugs)}
    extra = {way: ["whole"] if way == "reduced" else [] for way in WAYS}
    heads = [h for way in WAYS for h in (f"{way}: found", "executions", *extra[way], "seconds")]
    yield _row(["bug", *heads, "marks"])
    yield _row(["---", *["---:"] * len(heads), "---"])
    used = set()
    for bug in bugs:
        of = lines[name_of(bug)]
        marks = marks_of(bug, of)
        used |= set(marks.split())
        numbers = [text for way in WAYS for text in _cells(bug, way, of[way], head["cap"][way])]
        yield _row([name_of(bug), *numbers, marks])
    yield ""
    yield from _summary(list(lines.values()))
    yield ""
    yield from (f"- {mark}: {text}" for mark, text in MARKS.items() if mark in used)
    yield NOTES
    yield f"- {head['machine']}; {head['versions']}; seeds 0 to {head['seeds'] - 1}."
    yield from _left_out(bugs, by, head["seeds"])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(bug: Planted, way: str, line: Line, cap: int) -> list[str]:
    wide = 4 if way == "reduced" else 3
    if not line.measured:
        return ["not measured" if findable(bug) else "0", *["–"] * (wide - 1)]
    executions = f"{line.executions:g}"
    if math.isinf(line.executions):
        executions = f">{cap}" + (f" of {line.planned}" if line.planned else "")
        if line.in_vain:
            executions = f"none of {line.most}"
    whole = "–" if math.isinf(line.whole) else f"{line.whole:g}"
    mean = line.mean_seconds_found
    seconds = "–" if mean is None else f"({_seconds(mean)})"
    if math.isfinite(line.seconds):
        seconds = _seconds(line.seconds)
    found = f"{line.found} of {line.measured}"
    return [found, executions, *([whole] if wide == 4 else []), seconds]


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _summary(lines: Sequence[Mapping[str, Line]]) -> Iterator[str]:
    """One line a way."""
    by_all = [of for of in lines if all(math.isfinite(of[way].executions) for way in WAYS)]
    yield _row(["way", "found at all, of bugs measured", "in every seed", "executions", "seconds"])
    yield _row(["---", *["---:"] * 4])
    for way in WAYS:
        some = [of[way] for of in lines if of[way].measured]
        always = sum(one.found == one.measured for one in some)
        known = [of[way] for of in by_all]
        executions = f"{_mean([one.executions for one in known]):.1f}" if known else "–"
        seconds = f"{_mean([one.seconds for one in known]):.3f}" if known else "–"
        at_all = sum(one.found > 0 for one in some)
        yield _row([way, f"{at_all} of {len(some)}", str(always), executions, seconds])
    yield ""
    yield f"The last two columns are geometric means, over the {len(by_all)} bugs of which all ways"
    yield "know the median."


def _mean(values: Sequence[float]) -> float:
    return statistics.geometric_mean([max(value, 1e-6) for value in values])


def _left_out(
    bugs: Sequence[Planted], by: Mapping[tuple[str, str], Sequence[Measured]], seeds: int
) -> Iterator[str]:
    """What was not measured, and what broke."""
    missing: dict[str, list[str]] = {}
    for bug, way in product((bug for bug in bugs if findable(bug)), WAYS):
        some = by.get((name_of(bug), way), ())
        if len(some) < seeds:
            missing.setdefault(f"{seeds - len(some)} seeds by {way}", []).append(name_of(bug))
        broke = [one for one in some if one.why.startswith(("broke", "the fault-free"))]
        if broke:
            why = broke[0].why
            yield f"- {name_of(bug)}, {way}: {len(broke)} seeds ended by themselves; {why}"
    for what, names in missing.items():
        all_of_them = len(names) == sum(map(findable, bugs))
        yield f"- Not measured, {what}: {'all bugs' if all_of_them else ', '.join(names)}."
