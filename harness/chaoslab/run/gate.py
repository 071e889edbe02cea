"""What a set of results amounts to: the exit code that a pipeline trusts.

The order is 1 > 4 > 5 > 3 > 0. A breach that somebody has accepted, with a name, a reason and a
date, does not fail the pipeline while the date lasts; it is counted all the same. What was not run
proves nothing: a run or a shard that is missing, or a required check that no run looked at, is 3.

>>> exit_code([])
0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chaoslab.run.known import NOTHING_KNOWN, Known

_LOOKED: Final = ("valid", "invalid")


def exit_code(
    runs: Sequence[Mapping[str, Any]],
    /,
    *,
    known: Known = NOTHING_KNOWN,
    cut: Sequence[Mapping[str, Any]] = (),
    missing: bool = False,
    part: bool = False,
) -> int:
    """The exit code of a set of run entries. `cut`: runs that were asked for and left out;
    `missing`: whether others were that should be there; `part`: whether these are one shard of
    several, so that what they do not show another may.

    A planted bug that is caught is what was wanted; one that is missed is the lab's failure.
    """
    subjects = [r for r in runs if r["role"] == "subject"]
    if any(fails(r, known) for r in subjects):
        return 1
    if any(r["broke"] for r in runs) or any(r["caught"] is False for r in runs):
        return 4
    if any(r["differs"] for r in subjects):
        return 5
    if any(unproven(r) for r in subjects) or missing or (cut and not subjects):
        return 3
    if (cut or not part) and unobserved(runs):
        return 3  # what the contract requires was not even looked at
    return 0


def fails(run: Mapping[str, Any], known: Known = NOTHING_KNOWN, /) -> bool:
    """Whether a run breaks a promise in a way that nobody has accepted."""
    if run["verdict"] != "invalid" or run["caught"] is True:
        return False
    states = [state_of(v, run, known) for v in run["violations"]]
    return not states or any(state != "known" for state in states)


def state_of(violation: Mapping[str, Any], run: Mapping[str, Any], known: Known, /) -> str:
    """Where a breach stands: `new`, `known`, `expired`, or `expected` in a planted bug."""
    if run["caught"] is True:
        return "expected"
    return known.state(violation["fingerprint"], run["contract"]) or "new"


def unproven(run: Mapping[str, Any], /) -> list[str]:
    """The checks that the contract requires and that this run has not proven. Checks whose
    subject does not occur in the scenario are no gap of this run."""
    if not run["required"] or run["not_applicable"]:
        return []
    if run["vacuous"]:
        return list(run["required"])
    checks = run["checks"]
    return [n for n in run["required"] if checks.get(n, {}).get("verdict", "unknown") == "unknown"]


def unobserved(runs: Sequence[Mapping[str, Any]], /) -> list[str]:
    """The required checks that no run of an agent and its contract has looked at. What another
    agent shows, or another contract, speaks for nobody else."""
    wanted: set[tuple[str, str, str]] = set()
    shown: set[tuple[str, str, str]] = set()
    for run in runs:
        if run["role"] == "subject":
            whose = (run["agent"], run["contract"])
            wanted |= {(*whose, name) for name in run["required"]}
            looked = [n for n, one in run["checks"].items() if one["verdict"] in _LOOKED]
            shown |= {(*whose, name) for name in looked}
    return sorted({name for *_, name in wanted - shown})
