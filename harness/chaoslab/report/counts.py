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
from chaoslab.run.gate import unobserved, unproven

_STATES: Final = ("proven", "broken", "unproven", "not-promised")


def count_lines(results: Mapping[str, Any], /) -> list[str]:
    """All of these lines for a campaign, the gravest first."""
    return [
        *known_lines(results["known"]),
        *warning_lines(results["bugs"]),
        *required_lines(results["runs"], results["cut"]),
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


def required_lines(
    runs: Sequence[Mapping[str, Any]], cut: Sequence[Mapping[str, Any]] = (), /
) -> list[str]:
    """The checks that the contract requires and that were not proven."""
    gaps: dict[str, int] = {}
    subjects = [run for run in runs if run["role"] == "subject"]
    for run in subjects:
        for check in unproven(run):
            gaps[check] = gaps.get(check, 0) + 1
    lines = [
        f"REQUIRED  {check} is unproven in {count} run{'s' * (count != 1)}"
        for check, count in gaps.items()
    ]
    if cut:
        names = [name for name in unobserved(subjects) if name not in gaps]
        lines += [f"REQUIRED  {check}: its runs were cut, none proved it" for check in names]
    return lines


def promise_lines(promises: Iterable[Mapping[str, Any]], /) -> list[str]:
    """How much of each contract was covered, in numbers."""
    lines = []
    for table in promises:
        states = [line["state"] for line in table["lines"]]
        counts = ", ".join(f"{states.count(s)} {s.replace('-', ' ')}" for s in _STATES)
        lines.append(f"Promises of {visible(table['contract'])}: {counts}.")
    return lines
