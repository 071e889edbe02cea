"""How a run ends as a test, and in which words.

The order is that of the command's exit codes: a broken promise comes before a lab that broke,
before a run that cannot be repeated, before what nobody has proven. Only what held passes.

>>> entry = {"verdict": "valid", "broke": None, "differs": None, "vacuous": None, "caught": None,
...          "not_applicable": None, "required": [], "checks": {}, "violations": [],
...          "scenario": "matrix/x", "seed": 0}
>>> ending([entry], "reports/1").how
'pass'
>>> idle = entry | {"verdict": "unknown", "vacuous": "no effect was committed"}
>>> ending([entry, idle], "reports/1")
Ending(how='skip', text='unproven: matrix/x, seed 0: no effect was committed')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chaoslab.report.terminal import reasons
from chaoslab.report.words import verdict_word
from chaoslab.run.gate import fails, unproven
from chaoslab.run.known import NOTHING_KNOWN, Known

How = Literal["pass", "fail", "error", "skip"]

_WORST_FIRST = ("fail", "error", "skip", "pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the test of some runs ends; `text` says why, where it does not pass."""

    how: How
    text: str = ""


def ending(
    entries: Sequence[Mapping[str, Any]],
    campaign: str,
    /,
    *,
    elsewhere: str = "",
    known: Known = NOTHING_KNOWN,
) -> Ending:
    """The ending of runs, from their entries in `results.json`; `campaign` is the folder around
    them, as seen from the root folder, and `elsewhere` leads there. One bug is told once, in how
    many runs it ever was. A run whose bugs are all known does not fail, and does not pass."""
    found = [(entry, *_ending(entry, known)) for entry in entries]
    how = min((how for _, how, _ in found), key=_WORST_FIRST.index)
    bad = [(entry, how, words) for entry, how, words in found if how != "pass"]
    told = "\n".join(_line(entry, how, words) for entry, how, words in bad)
    if how in ("pass", "skip"):
        return Ending(how=how, text=told)
    paragraphs = [told, *reasons([entry for entry, _, _ in bad], campaign)]
    if elsewhere:
        paragraphs.append(f"Replay in the folder {elsewhere}, which is pytest's root folder.")
    return Ending(how=how, text="\n\n".join(paragraphs))


def _line(entry: Mapping[str, Any], how: How, words: str) -> str:
    """One run in one line, since pytest folds skipped tests and leaves out which they are."""
    line = f"{words}: {entry['scenario']}, seed {entry['seed']}"
    why = "; ".join(_why(entry)) if how == "skip" else ""
    return f"{line}: {why}" if why else line


def _ending(entry: Mapping[str, Any], known: Known) -> tuple[How, str]:
    if entry["broke"]:
        return "error", "could not run"
    if entry["caught"] is not None:
        return ("pass", "") if entry["caught"] else ("fail", "the expected bug was not found")
    if entry["verdict"] == "invalid":
        checks = ", ".join(dict.fromkeys(v["check"] for v in entry["violations"]))
        if fails(entry, known):
            return "fail", f"broken ({checks})"
        return "skip", f"broken, and known ({checks})"
    if entry["differs"]:
        return "fail", "not repeatable"
    required = unproven(entry)
    if required:
        return "fail", f"unproven, and the contract requires it ({', '.join(required)})"
    if entry["verdict"] == "valid":
        return "pass", ""
    return "skip", verdict_word(entry)


def _why(entry: Mapping[str, Any]) -> list[str]:
    """Why a run shows nothing, or each check that it did not prove, with the reason."""
    whole = entry["not_applicable"] or entry["vacuous"]
    if whole:
        return [whole]
    checks = entry["checks"].items()
    return [f"{name}: {c['reason']}" for name, c in checks if c["verdict"] == "unknown"]
