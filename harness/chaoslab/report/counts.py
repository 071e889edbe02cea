"""The lines below the answer that keep a green from saying more than it should: accepted breaches,
warnings, required checks that were not proven, and how much of the contract was covered.

>>> known_lines([{"state": "known", "check": "keys.lineage", "code": "key-changed",
...               "tool": "refund", "owner": "pay", "expires": "2026-04-01", "runs": ["a"]}])
['KNOWN  refund: keys.lineage (key-changed), 1 run; accepted by pay until 2026-04-01']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chaoslab.core.visible import visible
from chaoslab.report.reading import unseen_checks
from chaoslab.run.gate import unproven

_STATES: Final = ("proven", "broken", "unproven", "not-promised")


def count_lines(results: Mapping[str, Any], /) -> list[str]:
    """All of these lines for a campaign, the gravest first."""
    return [
        *known_lines(results["known"]),
        *warning_lines(results["bugs"]),
        *required_lines(results),
        *idle_lines(results["runs"]),
        *promise_lines(results["promises"]),
    ]


def known_lines(known: Iterable[Mapping[str, Any]], /) -> list[str]:
    """What somebody has accepted for a time, each with what became of it."""
    rows: dict[str, list[str]] = {"expired": [], "known": [], "gone": [], "not-run": []}
    for one in known:
        name = f"{one['tool']}: {one['check']}" if one["tool"] else one["check"]
        said = visible(f"{name} ({one['code']})")
        count = f"{len(one['runs'])} run{'s' * (len(one['runs']) != 1)}"
        owner, until = visible(one["owner"]), one["expires"]
        rows[one["state"]].append(
            {
                "expired": f"EXPIRED  {said}, {count}; {owner} accepted it until {until}",
                "known": f"KNOWN  {said}, {count}; accepted by {owner} until {until}",
                "gone": f"GONE  {said}: the runs that showed it no longer do; remove its entry",
                "not-run": f"NOT RUN  {said}: known, and no run here could tell whether it is gone",
            }[one["state"]]
        )
    return [line for lines in rows.values() for line in lines]


def warning_lines(bugs: Iterable[Mapping[str, Any]], /) -> list[str]:
    """Breaches found by checks that are newer than the contract's ruleset."""
    found: dict[str, int] = {}
    for bug in bugs:
        if bug["warning"]:
            found[bug["check"]] = found.get(bug["check"], 0) + len(bug["runs"])
    return [
        f"WARNING  {check} is broken in {count} run{'s' * (count != 1)}; it is newer than the "
        "contract's ruleset, so it does not count yet"
        for check, count in found.items()
    ]


def required_lines(results: Mapping[str, Any], /) -> list[str]:
    """The checks that the contract requires and that were not proven."""
    gaps: dict[str, list[bool]] = {}  # for each run, whether it came to its faults
    for run in results["runs"]:
        for check in unproven(run) if run["role"] == "subject" else ():
            gaps.setdefault(check, []).append(bool(run["faults_ran"] or run["broke"]))
    lines = [_required(check, came) for check, came in gaps.items()]
    late = ", and runs were cut" if results["cut"] else ""
    names = [name for name in unseen_checks(results) if name not in gaps]
    return lines + [f"REQUIRED  {check}: no run looked at it{late}" for check in names]


def _required(check: str, came: Sequence[bool]) -> str:
    line = f"REQUIRED  {check} is unproven in {len(came)} run{'s' * (len(came) != 1)}"
    early = came.count(False)
    return line + (f", {early} of them broken before any fault" if early else "")


def idle_lines(runs: Sequence[Mapping[str, Any]], /) -> list[str]:
    """Runs that never came to their faults: whatever these would have shown, nobody has seen."""
    own = [run for run in runs if run["role"] == "subject" and run["verdict"] == "invalid"]
    count = sum(not run["faults_ran"] for run in own)
    if not count:
        return []
    which = "1 run is" if count == 1 else f"{count} runs are"
    return [f"NOT STRUCK  {which} broken without any fault, so no fault was tried there"]


def promise_lines(promises: Iterable[Mapping[str, Any]], /) -> list[str]:
    """How much of each contract was covered, in numbers."""
    lines = []
    for table in promises:
        states = [line["state"] for line in table["lines"]]
        counts = ", ".join(f"{states.count(s)} {s.replace('-', ' ')}" for s in _STATES)
        lines.append(f"Promises of {visible(table['contract'])}: {counts}.")
    return lines
