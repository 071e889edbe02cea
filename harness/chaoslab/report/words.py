"""Plain words for what results say; the mapping is docs/glossary.md.

>>> verdict_word({"verdict": "valid", "caught": None, "broke": None, "differs": None})
'held'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_WORDS = {
    "valid": "held",
    "invalid": "broken",
    "unknown": "unproven",
    "not-applicable": "not applicable",
}

NO_CONTRACT: Final = (
    " No contract was found, so only at-least-once and redelivery were asked for;"
    " write a chaoslab.toml to promise more."
)


def verdict_word(run: Mapping[str, Any], /) -> str:
    """One word for how a run ended."""
    if run["broke"]:
        return "could not run"
    if run["caught"] is not None:
        return "bug found" if run["caught"] else "BUG MISSED"
    if run["differs"] and run["verdict"] != "invalid":
        return "not repeatable"
    return _WORDS[run["verdict"]]


def time_words(ms: int | None, /) -> str:
    """A duration as a person reads it.

    >>> time_words(None), time_words(950), time_words(61_500)
    ('-', '0.95 s', '61.5 s')
    """
    if ms is None:
        return "-"
    return f"{ms / 1000:.2f} s" if ms < 10_000 else f"{ms / 1000:.1f} s"


def short_agent(reference: str, /) -> str:
    """`fixtures/agents/x.py:make_agent` as `x`; a team's file as it is."""
    if reference.endswith(".toml"):
        return reference
    return reference.rpartition(":")[0].rpartition("/")[2].removesuffix(".py")


def headline(runs: Sequence[Mapping[str, Any]], /) -> str:
    """The answer in one or two sentences."""
    subjects = [r for r in runs if r["role"] == "subject"]
    parts = []
    if subjects:
        parts.append(_subjects(subjects))
    planted = [r for r in runs if r["role"] == "negative-control"]
    if planted:
        bugs = {r["agent"] for r in planted}
        missed = {r["agent"] for r in planted if not r["caught"]}
        text = f"Planted bugs: {len(bugs) - len(missed)} of {len(bugs)} found, each by its check."
        if missed:
            names = ", ".join(sorted(short_agent(a) for a in missed))
            text = f"Planted bugs: {len(missed)} of {len(bugs)} MISSED: {names}."
        parts.append(text)
    return "\n".join(parts)


def _subjects(runs: Sequence[Mapping[str, Any]]) -> str:
    agents = ", ".join(sorted({r["agent"] for r in runs}))
    contracts = ", ".join(sorted({r["contract"] for r in runs}))
    counts = dict.fromkeys(("held", "broken", "unproven", "not repeatable"), 0)
    for run in runs:
        word = verdict_word(run)
        word = {"bug found": "broken as expected", "BUG MISSED": "held unexpectedly"}.get(
            word, word
        )
        counts[word] = counts.get(word, 0) + 1
    told = ", ".join(f"{n} {word}" for word, n in counts.items() if n or word in ("held", "broken"))
    many = f"{len(runs):,} run{'s' * (len(runs) != 1)}"
    text = f"{agents}, contract {contracts}: {many}, {told}."
    if not any(r["verdict"] in ("valid", "invalid") for r in runs):
        text += " Nothing was proven."
    if any(not r["deterministic"] for r in runs):
        text += " On real processes: recorded, not deterministic."
    if any(c.startswith("none") for c in contracts.split(", ")):
        text += NO_CONTRACT
    return text
