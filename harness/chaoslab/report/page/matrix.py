"""The matrix: which scenario put which promise to the test, and what came of it.

A row is a scenario and an agent, a column a check; the word in a cell is the worst that any of the
row's runs says. Beside it stands how many faults were planned, found a place, and struck: a row of
"held" whose faults never struck proves nothing, and must look like it.

>>> worst(["held", "unproven", "not applicable"])
'unproven'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chaoslab.check.registry import CHECK_IDS

RUNS_MAX: Final = 50
NOT_JUDGED: Final = "not judged"
EXPECTED: Final = "broken as expected"
# From the worst to the most harmless.
ORDER: Final = ("broken", "unproven", EXPECTED, "held", "not applicable", NOT_JUDGED)
_WORDS: Final[Mapping[str, str]] = {
    "invalid": "broken",
    "unknown": "unproven",
    "valid": "held",
    "not-applicable": "not applicable",
}
_LOOKED: Final = frozenset(("broken", "unproven", EXPECTED, "held"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixCell:
    """One check in one row. `counts` are the runs by word; `runs` are ids of the runs that say
    `word`, and of the others behind them; `without_faults`: how many of the broken runs are so
    already without any fault; `known`: how many show nothing but what is known."""

    check: str
    word: str
    counts: Mapping[str, int]
    runs: tuple[str, ...]
    more: int = 0
    without_faults: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """One scenario with one agent. `cells` has an element for each column, None where no run said
    anything of that check. `note` says what makes the row worth less than it looks."""

    scenario: str
    title: str
    agent: str
    contract: str
    runs: tuple[str, ...]
    planned: int
    eligible: int
    fired: int
    cells: tuple[MatrixCell | None, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixTable:
    """The matrix of the agents under test. `left_out`: checks that had nothing to judge anywhere;
    `planted`: one sentence on the planted bugs, which are not in the rows."""

    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    left_out: tuple[str, ...] = ()
    planted: str = ""


def worst(words: Iterable[str], /) -> str:
    """The worst of some words."""
    return min(words, key=ORDER.index, default=NOT_JUDGED)


def matrix_of(results: Mapping[str, Any], /) -> MatrixTable:
    """The matrix of a campaign, from its results alone."""
    runs = results["runs"]
    subjects = [run for run in runs if run["role"] == "subject"]
    known = {
        (bug["fingerprint"], bug["contract"])
        for bug in results.get("bugs") or ()
        if bug.get("state") == "known"
    }
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for run in subjects:
        groups.setdefault((run["scenario"], run["agent"], run["contract"]), []).append(run)
    words = {run["id"]: words_of(run) for run in subjects}
    required = {check for run in subjects for check in run["required"]}
    judged = {check for found in words.values() for check, word in found.items() if word in _LOOKED}
    known_checks = dict.fromkeys([*CHECK_IDS, *sorted(judged | required)])
    columns = tuple(check for check in known_checks if check in judged | required)
    return MatrixTable(
        columns=columns,
        rows=tuple(_row(group, columns, words, known) for group in groups.values()),
        left_out=tuple(check for check in known_checks if check not in columns),
        planted=_planted(runs),
    )


def words_of(run: Mapping[str, Any], /) -> dict[str, str]:
    """What one run says of each check, in a word."""
    found = {check: _WORDS[one["verdict"]] for check, one in run["checks"].items()}
    if run.get("vacuous"):
        # Nothing was put to the test, so what held was not proven.
        found = {check: "unproven" if w == "held" else w for check, w in found.items()}
    for violation in run["violations"]:
        check = violation["check"]
        expected = run["caught"] is True and check == run["expected_check"]
        found[check] = EXPECTED if expected else "broken"
    return found


def _row(
    group: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    words: Mapping[str, Mapping[str, str]],
    known: set[tuple[str, str]],
) -> MatrixRow:
    first = group[0]
    return MatrixRow(
        scenario=first["scenario"],
        title=first["title"],
        agent=first["agent"],
        contract=first["contract"],
        runs=tuple(run["id"] for run in group),
        planned=_sum(group, "planned"),
        eligible=_sum(group, "eligible"),
        fired=_sum(group, "fired"),
        cells=tuple(_cell(check, group, words, known) for check in columns),
        note=_note(group),
    )


def _sum(group: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(int(run["faults"][name]) for run in group)


def _cell(
    check: str,
    group: Sequence[Mapping[str, Any]],
    words: Mapping[str, Mapping[str, str]],
    known: set[tuple[str, str]],
) -> MatrixCell | None:
    said = {run["id"]: words[run["id"]].get(check, NOT_JUDGED) for run in group}
    if set(said.values()) == {NOT_JUDGED}:
        return None
    # The runs that say the word of the cell come first: they are what a reader clicks for.
    order = sorted(said, key=lambda id: ORDER.index(said[id]))
    broken = [run for run in group if said[run["id"]] == "broken"]
    own = [[v for v in run["violations"] if v["check"] == check] for run in broken]
    return MatrixCell(
        check=check,
        word=worst(said.values()),
        counts={w: n for w in ORDER if (n := Counter(said.values())[w])},
        runs=tuple(order[:RUNS_MAX]),
        more=max(0, len(order) - RUNS_MAX),
        without_faults=sum(any(v["where"] == "control" for v in rows) for rows in own),
        known=sum(
            all((v["fingerprint"], run["contract"]) in known for v in rows)
            for run, rows in zip(broken, own, strict=True)
        ),
    )


def _note(group: Sequence[Mapping[str, Any]]) -> str:
    """Why a row says less than its words, the widest reason first."""
    found: Counter[str] = Counter()
    for run in group:
        if run["broke"]:
            found["could not run"] += 1
        elif run["not_applicable"]:
            found[f"does not apply: {run['not_applicable']}"] += 1
        elif not run["faults_ran"]:
            found["broken without any fault, so the faults were never tried"] += 1
        elif run["vacuous"]:
            found[f"proves nothing: {run['vacuous']}"] += 1
        elif run["differs"]:
            found["not repeatable"] += 1
        elif run["faults"]["planned"] and not run["faults"]["fired"]:
            found["no fault struck"] += 1
    rows = [
        why if count == len(group) else f"{count} of {len(group)} runs: {why}"
        for why, count in found.most_common()
    ]
    return "; ".join(rows)


def _planted(runs: Sequence[Mapping[str, Any]]) -> str:
    """One sentence on the planted bugs of this campaign."""
    planted = [run for run in runs if run["role"] == "negative-control"]
    if not planted:
        return ""
    bugs = {run["agent"] for run in planted}
    missed = sorted({run["agent"] for run in planted if not run["caught"]})
    if missed:
        return f"{len(missed)} of {len(bugs)} planted bugs MISSED: {', '.join(missed)}."
    return f"{len(bugs)} of {len(bugs)} planted bugs found, each by its check."
