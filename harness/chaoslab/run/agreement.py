"""Does a real backend say of an agent what the simulator says? One row per agent and scenario.

The simulator draws many schedules, a real machine gives the few that it gives. So what is broken
there must be among what the simulator showed over its seeds, the check that a planted bug was
planted for must be among what is broken, and a right agent must hold in both. A scenario that a
way cannot express, or whose faults never struck, agrees with nothing; it is said as what it is.

>>> seen = Seen(sim=frozenset(["keys.lineage"]), real=frozenset(["keys.lineage"]))
>>> compared(seen, planned="keys.lineage")
('agrees', '')
>>> compared(Seen(sim=frozenset(), real=frozenset(["egress.policy"])))[1]
'egress.policy is broken there and never in the simulator'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Verdict = Literal[
    "agrees", "differs", "could-not-run", "idle", "not-applicable", "not-run", "left-out"
]
VERDICTS: Final[Sequence[Verdict]] = (
    "differs",
    "could-not-run",
    "idle",
    "not-run",
    "not-applicable",
    "left-out",
    "agrees",
)
WORDS: Final[Mapping[str, str]] = {
    "differs": "DIFFERS",
    "could-not-run": "could not run",
    "not-run": "not run",
    "not-applicable": "not applicable",
    "left-out": "left out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was broken, in the simulator over all seeds (`sim`) and on one way (`real`).

    `not_applicable`: why the way cannot express the scenario; `broke`: why no verdict may be
    read; `idle`: why nothing was proven; "" where none of it is so.
    """

    sim: frozenset[str]
    real: frozenset[str] = frozenset()
    not_applicable: str = ""
    broke: str = ""
    idle: str = ""


def compared(seen: Seen, /, *, planned: str = "") -> tuple[Verdict, str]:
    """Whether a way agrees with the simulator, and why not. `planned`: the check that a planted
    bug must break; "" for an agent that is right."""
    if seen.not_applicable:
        return "not-applicable", seen.not_applicable
    if seen.broke:
        return "could-not-run", seen.broke
    if planned and planned not in seen.sim:
        return "differs", f"{planned} should be broken, and the simulator itself does not show it"
    if not planned and seen.sim:
        return "differs", f"a right agent, and the simulator accuses it: {_list(seen.sim)}"
    extra = seen.real - seen.sim
    if extra:
        are = "is" if len(extra) == 1 else "are"
        return "differs", f"{_list(extra)} {are} broken there and never in the simulator"
    if planned and planned not in seen.real:
        if seen.idle:
            return "idle", seen.idle
        others = f", only {_list(seen.real)}" if seen.real else ""
        return "differs", f"{planned} should be broken, and is not there{others}"
    if not planned and seen.idle:
        return "idle", seen.idle
    return "agrees", ""


def _list(checks: Iterable[str]) -> str:
    return ", ".join(sorted(checks))


def seen_in(entry: Mapping[str, Any], sim: frozenset[str], /) -> Seen:
    """What a run's entry of `results.json` says, beside what the simulator showed."""
    idle = entry["vacuous"] or ""
    if entry["verdict"] == "unknown" and not idle:
        reasons = [f["reason"] for f in entry["checks"].values() if f["verdict"] == "unknown"]
        idle = next(iter(reasons), "no check looked at anything")
    return Seen(
        sim=sim,
        real=broken_in([entry]),
        not_applicable=entry["not_applicable"] or "",
        broke=entry["broke"] or "",
        idle=idle,
    )


def broken_in(entries: Iterable[Mapping[str, Any]], /) -> frozenset[str]:
    """The checks that any of some runs broke."""
    return frozenset(v["check"] for entry in entries for v in entry["violations"])


LEFT_OUT: Final[Mapping[str, Any]] = {
    "verdict": "left-out",
    "why": "it strikes neither memory nor a region, which is all that is different there",
    "checks": [],
    "run": None,
}


def cell_of(
    entry: Mapping[str, Any] | None, sim: frozenset[str], /, *, planned: str = ""
) -> dict[str, Any]:
    """One cell of the table as JSON; without an entry there was no time for the run."""
    if entry is None:
        return {"verdict": "not-run", "why": "there was no time left", "checks": [], "run": None}
    verdict, why = compared(seen_in(entry, sim), planned=planned)
    return {
        "verdict": verdict,
        "why": why,
        "checks": sorted(broken_in([entry])),
        "run": entry["id"],
        "struck": entry["faults"]["fired"],
        "wall_ms": entry["wall_ms"],
    }


def counts_of(rows: Sequence[Mapping[str, Any]], way: str, /) -> dict[str, int]:
    """How many cells of a way ended how."""
    verdicts = [row["cells"][way]["verdict"] for row in rows]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def exit_code(rows: Sequence[Mapping[str, Any]], /) -> int:
    """4 where a way disagrees or a run broke: the lab, not an agent, is then wrong. 3 where a
    cell proves nothing, or none agrees. Else 0; what is not applicable is no gap.

    >>> exit_code([{"cells": {"process": {"verdict": "agrees"}}}])
    0
    """
    found = {cell["verdict"] for row in rows for cell in row["cells"].values()}
    if found & {"differs", "could-not-run"}:
        return 4
    return 3 if found & {"idle", "not-run"} or "agrees" not in found else 0
