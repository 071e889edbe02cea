"""What a set of results amounts to: the exit code that a pipeline trusts.

The order is 1 > 4 > 5 > 3 > 0. A breach that somebody has accepted, with a name, a reason and a
date, does not fail the pipeline while the date lasts; it is counted all the same. What was not run
proves nothing: a run or a shard that is missing, or a required check that no run looked at, is 3.
Of an exploration its executions count as runs do, though only some of them have been run whole.

>>> exit_code([])
0
>>> exit_code([], exploration={"judged": 0, "words": {"never-struck": 7}})
3
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
    exploration: Mapping[str, Any] | None = None,
) -> int:
    """The exit code of a set of run entries. `cut`: runs that were asked for and left out;
    `missing`: whether others were that should be there; `part`: whether these are one shard of
    several, so that what they do not show another may. `exploration`: what many executions came
    to, of which these are the ones that were run whole.

    A planted bug that is caught is what was wanted; one that is missed is the lab's failure.
    """
    subjects = [r for r in runs if r["role"] == "subject"]
    whole = exploration or {}
    if any(fails(r, known) for r in subjects) or fails_in(whole, known):
        return 1
    if any(r["broke"] for r in runs) or any(r["caught"] is False for r in runs):
        return 4
    if whole.get("words", {}).get("broke") or whole.get("problems"):
        return 4
    if any(r["differs"] for r in subjects) or whole.get("differs"):
        return 5
    if any(unproven(r) for r in subjects) or missing or (cut and not subjects):
        return 3
    if exploration is not None and not exploration.get("judged"):
        return 3  # whatever was planned, no execution with a fault has shown anything
    if (cut or not part) and unobserved(runs, exploration):
        return 3  # what the contract requires was not even looked at
    return 0


def fails(run: Mapping[str, Any], known: Known = NOTHING_KNOWN, /) -> bool:
    """Whether a run breaks a promise in a way that nobody has accepted."""
    if run["verdict"] != "invalid" or run["caught"] is True:
        return False
    states = [state_of(v, run, known) for v in run["violations"]]
    return not states or any(state != "known" for state in states)


def fails_in(exploration: Mapping[str, Any], known: Known, /) -> bool:
    """Whether executions showed a breach that nobody has accepted. One that the run of the very
    same choices does not show proves another thing: that the agent is not repeatable."""
    return any(
        known.state(one["fingerprint"], one["contract"]) != "known"
        for one in exploration.get("findings", ())
        if not one["warning"] and one["shown_again"] is not False
    )


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


def unobserved(
    runs: Sequence[Mapping[str, Any]], exploration: Mapping[str, Any] | None = None, /
) -> list[str]:
    """The required checks that no run of an agent and its contract has looked at, nor any
    execution of an exploration. What another agent shows, or another contract, speaks for nobody
    else."""
    wanted: set[tuple[str, str, str]] = set()
    shown: set[tuple[str, str, str]] = set()
    if exploration is not None and "required" in exploration:
        whose = (exploration["agent"], exploration["contract"])
        wanted |= {(*whose, name) for name in exploration["required"]}
        shown |= {(*whose, name) for name, count in exploration["checks"].items() if count}
    for run in runs:
        if run["role"] == "subject":
            whose = (run["agent"], run["contract"])
            wanted |= {(*whose, name) for name in run["required"]}
            looked = [n for n, one in run["checks"].items() if one["verdict"] in _LOOKED]
            shown |= {(*whose, name) for name in looked}
    return sorted({name for *_, name in wanted - shown})
