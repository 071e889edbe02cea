"""The parts of the page as plain values: what stands in them and in what order, and no markup.

Everything that a reader could ask in the first five seconds is decided here, in Python, where it
can be tested without a browser: the word of the answer, the counts, what comes first. Templates
only lay it out.

>>> chain(["  #9   0.400 s  the agent asks", "  so: 2 x refund.", "  what to change: the key"])
{'steps': [{'entry': '9', 'time': '0.400 s', 'says': 'the agent asks'}], 'so': '2 x refund.'}
"""

from __future__ import annotations

import json
import re
import shlex
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chaoslab import __version__
from chaoslab.report.exploring import (
    change_lines,
    claim_in,
    columns_of,
    executions_words,
    exploration_in,
    finding_lines,
    finding_state,
    findings_in,
    statistics_in,
)
from chaoslab.report.page.answer import answer_of
from chaoslab.report.page.gaps import gaps_of
from chaoslab.report.page.matrix import words_of
from chaoslab.report.words import short_agent, time_words

STATES: Final = ("broken", "unproven", "not-promised", "proven")
_STATE_WORDS: Final = {
    "broken": "broken",
    "unproven": "unproven",
    "not-promised": "not promised",
    "proven": "proven",
}
# How a word of a run, a cell or a promise looks: one of four shapes, each with its colour.
LOOKS: Final = {
    "proven": "ok",
    "held": "ok",
    "bug found": "ok",
    "gone": "ok",
    "broken": "bad",
    "new": "bad",
    "expired": "bad",
    "BUG MISSED": "bad",
    "could not run": "bad",
    "not repeatable": "bad",
    "unproven": "warn",
    "known": "warn",
    "expected": "none",
    "broken as expected": "ok",
    "not-run": "none",
    "not run": "none",
    "not-promised": "none",
    "not promised": "none",
    "not applicable": "none",
}
_STEP: Final = re.compile(r"\s*(#\d+|…)\s+(?:(\d+\.\d+ s)\s+)?(.*)")
_SEEDS_MAX: Final = 6
_CELLS: Final = "cells"


def context_of(
    results: Mapping[str, Any],
    /,
    *,
    failures: Sequence[Any],
    matrix: Any,
    chunks: Mapping[str, str],
    folder: str,
    against: Mapping[str, Any] | None = None,
    unmasked: bool = False,
) -> dict[str, Any]:
    """Everything that the templates need. `folder` is the campaign's name, not its path."""
    numbers = {run["id"]: number for number, run in enumerate(results["runs"])}
    bugs = results.get("bugs") or []
    table, cells = matrix_section(matrix, results["runs"])
    promises = promises_section(results.get("promises") or ())
    answer = answer_of(results, promises["counts"])
    return {
        "title": f"{answer['word']} · {_subject(results)} · crash-test report",
        "subject": _subject(results),
        "answer": answer,
        "tested": what_was_tested(results, unmasked=unmasked),
        "promises": promises,
        "bugs": [card(failure, bugs, results, numbers, chunks) for failure in failures],
        "other_bugs": _rest(bugs, failures),
        "bug_counts": _bug_counts(bugs),
        "gaps": gaps_of(results),
        "advice": _advice(results["runs"]),
        "known": results.get("known") or [],
        "matrix": table,
        "coverage": _coverage(results.get("coverage")),
        "exploration": exploration_section(results, numbers),
        "against": against,
        "planted": planted(results),
        "version": results.get("chaoslab") or __version__,
        "folder": folder,
        "unmasked": unmasked,
        "runs": len(results["runs"]),
        "looks": LOOKS,
        "state_words": _STATE_WORDS,
        "chunks": {**chunks, **({_CELLS: packed(cells)} if cells else {})},
    }


def packed(value: Any, /) -> str:
    """A value as the page carries it: JSON, deflated, in Base64."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return b64encode(zlib.compress(text.encode(), 9)).decode()


def _subject(results: Mapping[str, Any]) -> str:
    subjects = [r for r in results["runs"] if r["role"] == "subject"]
    names = sorted({r["contract"] for r in subjects}) or ["planted bugs"]
    if len(names) == 1 and names[0].startswith("none"):
        return ", ".join(sorted({short_agent(r["agent"]) for r in subjects}))
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def what_was_tested(
    results: Mapping[str, Any], /, *, unmasked: bool
) -> list[tuple[str, list[str]]]:
    """What was tested, under what, and when, as names and values."""
    runs = results["runs"]
    subjects = [r for r in runs if r["role"] == "subject"] or runs
    environment = results.get("environment") or {}
    packages = environment.get("packages") or {}
    rules = {r.get("ruleset") for r in subjects} - {None, ""}
    contracts = _distinct(r["contract"] for r in subjects)
    if rules:
        contracts = [*contracts, f"ruleset {', '.join(sorted(str(r) for r in rules))}"]
    backends = {
        "sim": "simulator",
        "process": "real processes (recorded, not deterministic)",
        "docker": "real processes, regions in containers (recorded, not deterministic)",
    }
    rows = [
        ("Agent", _distinct(r["agent"] for r in subjects)),
        ("Contract", contracts),
        ("Backend", _distinct(backends.get(r["backend"], r["backend"]) for r in subjects)),
        ("Explored", _explored(results)),
        ("Runs", [_runs_words(runs), seeds_words(r["seed"] for r in runs)] if runs else []),
        ("Profile", [results["profile"]] if results.get("profile") else []),
        ("Part", _part(results)),
        ("Started", [_stamp(results.get("started"))] if results.get("started") else []),
        ("Took", [time_words(results["wall_ms"])] if results.get("wall_ms") else []),
        ("chaoslab", [str(results.get("chaoslab") or __version__)]),
        ("Python", [str(environment["python"])] if environment.get("python") else []),
        ("Packages", [f"{name} {version}" for name, version in sorted(packages.items())]),
        ("Platform", [str(environment["platform"])] if environment.get("platform") else []),
        ("Masking", ["OFF: sensitive values are shown as they are"] if unmasked else []),
    ]
    return [(name, values) for name, values in rows if values]


def _explored(results: Mapping[str, Any]) -> list[str]:
    exploration = exploration_in(results)
    return [] if exploration is None else [executions_words(exploration)]


def exploration_section(
    results: Mapping[str, Any], numbers: Mapping[str, int], /
) -> dict[str, Any] | None:
    """A sweep or a stress campaign: its claim, its statistics, and what failed, each with the
    numbers of its story and of the full run that shows it."""
    exploration = exploration_in(results)
    if exploration is None:
        return None
    bugs = {bug["fingerprint"]: n for n, bug in enumerate(results.get("bugs") or ())}
    found = [
        {
            "what": str(one.get("title") or f"{one['check']} ({one['code']})"),
            "check": f"{one['check']} ({one['code']})",
            "state": finding_state(one),
            "bug": bugs.get(one["fingerprint"]),
            "run": numbers.get(one.get("run") or ""),
            "lines": finding_lines(one),
        }
        for one in findings_in(results)
    ]
    return {
        "executions": exploration["executions"],
        "claim": claim_in(results),
        "statistics": statistics_in(results),
        "findings": found,
        "changes": change_lines(results),
    }


def _runs_words(runs: Sequence[Mapping[str, Any]]) -> str:
    planted = sum(1 for run in runs if run["role"] != "subject")
    return f"{len(runs):,}" + (f", {planted:,} of them of planted bugs" if planted else "")


def _distinct(values: Iterable[str]) -> list[str]:
    found = sorted(set(values))
    return [*found[:4], f"and {len(found) - 4} more"] if len(found) > 5 else found


def _stamp(text: Any) -> str:
    return str(text).replace("T", " ").replace("Z", " UTC")


def _part(results: Mapping[str, Any]) -> list[str]:
    merged, shard = results.get("merged"), results.get("shard")
    if merged:
        return [f"merged from {len(merged)} folders: {', '.join(merged)}"]
    if shard:
        return [f"shard {shard['index']} of {shard['of']}"]
    return []


def seeds_words(seeds: Iterable[int], /) -> str:
    """Seeds as ranges.

    >>> seeds_words([3, 0, 1, 2, 9]), seeds_words([7])
    ('seeds 0-3, 9', 'seed 7')
    """
    seeds = set(seeds)
    spans: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if spans and spans[-1][1] == seed - 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    told = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    more = " …" if len(told) > _SEEDS_MAX else ""
    return f"seed{'s' * (len(seeds) != 1)} {', '.join(told[:_SEEDS_MAX])}{more}"


def promises_section(subjects: Sequence[Mapping[str, Any]], /) -> dict[str, Any]:
    """The promise tables, one for each agent and contract, with the counts over all of them."""
    counts: Counter[str] = Counter(
        line["state"] for subject in subjects for line in subject["lines"]
    )
    tables = []
    for subject in subjects:
        groups: dict[str, list[Mapping[str, Any]]] = {}
        for line in subject["lines"]:
            groups.setdefault(line["group"], []).append({**line, "bar": _bar(line["runs"])})
        tables.append({**subject, "short": short_agent(subject["agent"]), "groups": groups})
    return {"tables": tables, "counts": {state: counts[state] for state in STATES}}


def _bar(runs: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Look, start and width (of 100) of each part of the small bar; nothing seen is no bar."""
    whole = sum(runs.values())
    looks = {"broken": "bad", "unproven": "warn", "proven": "ok", "other": "none"}
    at, out = 0, []
    for word, look in looks.items():
        width = round(100 * runs.get(word, 0) / whole) if whole else 0
        width = max(width, 4) if runs.get(word) else 0
        if width:
            out.append((look, at, min(width, 100 - at)))
            at = min(100, at + width)
    return out


def chain(because: Sequence[str] | None, /) -> dict[str, Any]:
    """A because-chain as steps and a conclusion; advice stands elsewhere on the page."""
    steps, so = [], ""
    for line in because or ():
        text = line.strip()
        found = _STEP.fullmatch(line)
        if text.startswith("so: "):
            so = text[4:]
        elif found and (found[1] != "…" or found[3]):
            entry = found[1].removeprefix("#")
            steps.append({"entry": entry, "time": found[2] or "", "says": found[3]})
        elif text and not text.startswith(("what to change:", "see it again:")):
            steps.append({"entry": "", "time": "", "says": text})
    return {"steps": steps, "so": so}


def card(
    failure: Any,
    bugs: Sequence[Mapping[str, Any]],
    results: Mapping[str, Any],
    numbers: Mapping[str, int],
    chunks: Mapping[str, str],
    /,
) -> dict[str, Any]:
    """One bug as the page shows it."""
    bug = failure.bug
    number = next((i for i, one in enumerate(bugs) if one is bug), None)
    if number is None:
        number = next(i for i, one in enumerate(bugs) if _same(one, bug))
    known = next((one for one in results.get("known") or () if _same(one, bug)), None)
    runs = [numbers[run] for run in bug["runs"] if run in numbers]
    return {
        "n": number,
        "bug": bug,
        "failure": failure,
        "known": known,
        "look": "none" if bug.get("warning") else LOOKS.get(bug["state"], "bad"),
        "chain": chain(bug["because"]),
        "run": numbers.get(bug["example"]),
        "runs": runs,
        "seeds": seeds_words(bug["seeds"]),
        "agent": short_agent(bug["agent"]),
        "drawn": f"bug-{number}" in chunks,
        "accept": _accept(failure),
    }


def _accept(failure: Any) -> str:
    """The command that accepts a bug for a time; who and why is for a person to say."""
    bug = failure.bug
    if bug.get("warning") or bug["state"] not in ("new", "expired") or not failure.replay:
        return ""
    command = failure.replay.replace("chaoslab replay", "chaoslab accept", 1)
    signed = '--owner "who" --reason "why" --expires 30d'
    return f"{command} --fingerprint {shlex.quote(bug['fingerprint'])} {signed}"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    keys = ("fingerprint", "contract")
    return all(one[key] == other[key] for key in keys) and one.get("agent", "") in (
        "",
        other.get("agent", ""),
    )


def _rest(bugs: Sequence[Mapping[str, Any]], failures: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Bugs that got no card of their own; they are still named, with a number to link to."""
    shown = [failure.bug for failure in failures]
    return [
        {**bug, "n": n, "seeds": seeds_words(bug["seeds"])}
        for n, bug in enumerate(bugs)
        if not any(_same(bug, one) for one in shown)
    ]


def _bug_counts(bugs: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts = Counter("warning" if b.get("warning") else b["state"] for b in bugs)
    return {word: counts[word] for word in ("new", "expired", "known", "expected", "warning")}


def matrix_section(
    matrix: Any, runs: Sequence[Mapping[str, Any]], /
) -> tuple[dict[str, Any] | None, list[list[int]]]:
    """The matrix with a number for each cell, and the runs behind each of these numbers: those
    that say the word which stands in the cell."""
    if matrix is None or not matrix.rows:
        return None, []
    numbers = {run["id"]: number for number, run in enumerate(runs)}
    words = {run["id"]: words_of(run) for run in runs}
    cells: list[list[int]] = []
    rows = []
    for row in matrix.rows:
        shown: list[dict[str, Any] | None] = []
        for check, cell in zip(matrix.columns, row.cells, strict=True):
            if cell is None:
                shown.append(None)
                continue
            look = LOOKS.get(cell.word, "none")
            shown.append({"n": len(cells), "look": look, **_told(cell)})
            cells.append([numbers[id] for id in row.runs if words[id].get(check) == cell.word])
        rows.append({"row": row, "cells": shown, "agent": short_agent(row.agent)})
    agents = len({row.agent for row in matrix.rows})
    found = {"columns": matrix.columns, "rows": rows, "agents": agents}
    return found | {"left_out": matrix.left_out}, cells


def _told(cell: Any) -> dict[str, str]:
    """A cell in words, and the number that stands in it where not all of its runs are alike."""
    counts = {word: number for word, number in cell.counts.items() if number}
    said = ", ".join(f"{number} {word}" for word, number in counts.items())
    if cell.without_faults:
        said += f"; {cell.without_faults} already without any fault"
    if cell.known:
        said += f"; {cell.known} known"
    return {"said": said, "many": str(counts.get(cell.word, "")) if len(counts) > 1 else ""}


def planted(results: Mapping[str, Any], /) -> str:
    """One line on the planted bugs of this version."""
    runs = [r for r in results["runs"] if r["role"] == "negative-control"]
    if not runs:
        return "Planted bugs were not run in this campaign; chaoslab selftest runs all of them."
    bugs = {r["agent"] for r in runs}
    missed = sorted({short_agent(r["agent"]) for r in runs if not r["caught"]})
    if missed:
        return f"{len(missed)} of {len(bugs)} planted bugs MISSED: {', '.join(missed)}."
    return f"{len(bugs)} of {len(bugs)} planted bugs found, each by its check."


def _advice(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(one["words"] for run in runs for one in run["key_advice"]))[:10]


def _coverage(coverage: Any) -> dict[str, Any] | None:
    """What a sweep looked at; any mapping with rows will do, and anything else is left out."""
    if not isinstance(coverage, Mapping) or not isinstance(coverage.get("rows"), Sequence):
        return None
    columns, rows = columns_of(coverage)
    counted = [
        number
        for number, cells in enumerate(zip(*rows, strict=True), start=1)
        if all(cell.replace(",", "").isdigit() for cell in cells if cell)
    ]
    title = str(coverage.get("title", "Sweep"))
    return {"title": title, "columns": columns, "rows": rows, "numbers": counted}
