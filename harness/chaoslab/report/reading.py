"""What results say, read for every written form alike: bugs, how each run ended, what is missing.

JUnit, the event stream, the comment and the comparison must never disagree on whether a run counts
as a failure, so they ask here. Files of an older version lack fields that came later; they are
filled in from what is there, and nothing is guessed.

>>> ending({"verdict": "valid", "broke": None, "caught": None, "differs": None, "violations": [],
...         "expected_check": None,
...         "required": [], "not_applicable": None, "vacuous": None, "checks": {}}, {}).kind
'held'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from chaoslab.run.bugs import bugs_of as bugs_of_runs
from chaoslab.run.gate import unobserved, unproven

Row = Mapping[str, Any]
Key = tuple[str, str, str]  # fingerprint, contract, agent
Kind = Literal[
    "held",
    "broken",
    "known",
    "expected",
    "caught",
    "missed",
    "could not run",
    "not repeatable",
    "unproven where required",
    "unproven",
    "not applicable",
]
# What fails a pipeline, the gravest first.
FAILING: Final[tuple[Kind, ...]] = (
    "broken",
    "could not run",
    "missed",
    "not repeatable",
    "unproven where required",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended, and why in words."""

    kind: Kind
    why: str = ""


def rows(results: Row, name: str, /) -> list[Row]:
    """A list of objects in the results; empty where an older version did not write it."""
    return list(results.get(name) or ())


def bugs_in(results: Row, /) -> list[Row]:
    """The bugs, one row each; made from the runs where the file has none."""
    if results.get("bugs") is not None:
        return rows(results, "bugs")
    return list(bugs_of_runs([_filled(run) for run in rows(results, "runs")]))


def _filled(run: Row) -> dict[str, Any]:
    """An entry with the fields that came later; what nobody has ranked counts as the least."""
    violations = [{"consequence": "internal"} | dict(v) for v in run["violations"]]
    late: dict[str, Any] = {"warnings": [], "scenario_faults": run["faults"]["planned"]}
    return late | dict(run) | {"violations": violations}


def counted(bugs: Sequence[Row], /) -> list[Row]:
    """The bugs that are of the subjects' own: no mere warning, and nothing that was expected."""
    return [b for b in bugs if not b.get("warning") and b["state"] != "expected"]


def states(bugs: Sequence[Row], /) -> dict[Key, str]:
    """The state of each bug, by what a violation knows of itself."""
    return {(b["fingerprint"], b["contract"], b["agent"]): b["state"] for b in bugs}


def state_in(violation: Row, run: Row, known: Mapping[Key, str], /) -> str:
    """The state of the bug that a violation shows."""
    return known.get((violation["fingerprint"], run["contract"], run["agent"]), "new")


def ending(run: Row, known: Mapping[Key, str], /) -> Ending:
    """How a run ended: the gravest that is true of it, as the exit code has it."""
    own = run.get("role", "subject") == "subject"
    found = [state_in(v, run, known) for v in run["violations"]]
    invalid = run["verdict"] == "invalid" and not run["caught"]
    if own and invalid and (not found or any(state != "known" for state in found)):
        return Ending(kind="broken", why=_broken_words(run))
    if run["broke"]:
        return Ending(kind="could not run", why=run["broke"])
    if run["caught"] is False:
        why = f"{run['expected_check']} should have found what is broken here, and did not"
        return Ending(kind="missed", why=why)
    on_purpose = f"{run['expected_check']} found what is broken here on purpose"
    if run["caught"] and not own:
        return Ending(kind="caught", why=on_purpose)
    if run["differs"]:
        why = f"the same choices gave another history: {run['differs']}"
        return Ending(kind="not repeatable", why=why)
    if missing := unproven(run):
        why = f"the contract requires {', '.join(missing)}; {unproven_words(run, missing)}"
        return Ending(kind="unproven where required", why=why)
    if run["caught"]:
        return Ending(kind="expected", why=on_purpose)
    if invalid:
        return Ending(kind="known", why=_broken_words(run))
    if run["not_applicable"]:
        return Ending(kind="not applicable", why=run["not_applicable"])
    if run["verdict"] == "unknown":
        return Ending(kind="unproven", why=unproven_words(run))
    return Ending(kind="held")


def _broken_words(run: Row) -> str:
    named: dict[str, str] = {}
    for v in run["violations"]:
        named.setdefault(v["fingerprint"], f"{v['check']} ({v['code']}): {v['explanation']}")
    first, *more = named.values() or ("a promise is broken",)
    return first + (f"; and {len(more)} more" if more else "")


def unproven_words(run: Row, names: Sequence[str] = (), /) -> str:
    """Why a run proves nothing, or less than it should."""
    if run["vacuous"]:
        return str(run["vacuous"])
    checks = run["checks"]
    open_ = names or [n for n, found in checks.items() if found["verdict"] == "unknown"]
    told = [f"{n}: {checks[n]['reason'] if n in checks else 'it was not judged'}" for n in open_]
    return "; ".join(told) or "no check had anything to look at"


def gaps(results: Row, /) -> list[str]:
    """What was asked for and was not looked at, in sentences; cut runs are told elsewhere."""
    found = []
    if results.get("stopped"):
        found.append(f"The campaign stopped: {results['stopped']}")
    found += list(results.get("gaps") or ())
    shard, merged = results.get("shard"), results.get("merged")
    there = {run["id"] for run in rows(results, "runs")}
    there |= {one["id"] for one in rows(results, "cut")}
    planned = list(shard["runs"]) if shard and shard.get("runs") else []
    missing = [run for run in planned if run not in there]
    if shard and merged is None:
        found.append(
            f"This is shard {shard['index']} of {shard['of']} alone: "
            f"{len(missing)} of {len(planned)} planned runs are not in it."
        )
    elif missing:
        found.append(f"{len(missing)} of {len(planned)} planned runs are missing.")
    elif not results.get("complete", True) and not found:
        whole = f"merged from {len(merged)} parts" if merged else "one command"
        found.append(f"Not all runs that were asked for are here, in what is {whole}.")
    return found


def unseen_checks(results: Row, /) -> list[str]:
    """The required checks that no run looked at. Of a shard alone only where runs were left out
    for time: what its runs do not show those of another shard may."""
    if results.get("shard") and not rows(results, "cut"):
        return []
    return unobserved(rows(results, "runs"), results.get("exploration"))


def known_words(entry: Row, /) -> str:
    """Who accepted a breach, why, and until when."""
    return f"{entry['owner']}, {entry['reason']}, until {entry['expires']}"
