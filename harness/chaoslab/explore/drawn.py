"""What a campaign of executions covered, in numbers, and what stress may claim of it.

Drawn executions prove nothing about what was not drawn. So their claim counts, gives the bound that
the counts allow, and names what never was drawn at all.

>>> from chaoslab.explore.store import Tally
>>> tally = Tally(words={"held": 9_998, "never-struck": 2})
>>> claim_of(tally, seed=0, shards=8, worlds=1, cut=())[2]
'Executions that broke a promise: 0 of 9,998: below 0.03% at 95%, as if each was drawn by itself.'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chaoslab.explore import bound
from chaoslab.explore.rows import Row
from chaoslab.explore.store import Tally

_JUDGED: Final = ("held", "broken")
_PARTS: Final = {"agent": "agent", "world": "world", "checks": "checks", "hypothesis": "Hypothesis"}
_ENDINGS: Final = {
    "held": "held",
    "broken": "were broken",
    "unproven": "proved nothing",
    "never-struck": "were never struck where it was planned",
    "broke": "could not be carried out",
}
_PLACE: Final = ("at", "session", "task", "marker", "attempt")


def coverage_of(rows: Iterable[Row], /) -> dict[str, Any]:
    """A table for a report: for each kind of fault where it struck, and how that ended. An
    execution with several faults counts for each of them."""
    places: dict[str, set[tuple[str, ...]]] = {}
    ends: dict[str, dict[str, int]] = {}
    for row in rows:
        for kind in dict.fromkeys(str(fault["kind"]) for fault in row.faults):
            words = ends.setdefault(kind, {})
            words[row.word] = words.get(row.word, 0) + 1
        if row.word in _JUDGED:
            for fault in row.faults:
                places.setdefault(str(fault["kind"]), set()).add(_place(fault))
    table = [
        {
            "kind": kind,
            "places struck": f"{len(places.get(kind, ())):,}",
            "executions": f"{sum(words.values()):,}",
            **{word.replace("-", " "): f"{words.get(word, 0):,}" for word in _ENDINGS},
        }
        for kind, words in sorted(ends.items())
    ]
    return {"title": "What was drawn", "columns": list(table[0]) if table else [], "rows": table}


def _place(fault: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(fault.get(name, "")) for name in _PLACE)


def statistics_of(
    tally: Tally,
    rows: Iterable[Row],
    /,
    *,
    executed: int,
    wall_ms: int,
    spent_us: Mapping[str, int],
) -> dict[str, str]:
    """Name and value of each number. `executed` in `wall_ms`: by this command alone; `spent_us`:
    by what used it, over all interpreters."""
    struck = {
        (_place(fault), str(fault["kind"]))
        for row in rows
        if row.word in _JUDGED
        for fault in row.faults
    }
    out = {"executions": f"{tally.executions:,}"}
    if executed and wall_ms:
        rate = executed * 1000 / wall_ms
        out["executions a second"] = f"{rate:.1f}" if rate < 10 else f"{rate:,.0f}"
    out["sites × kinds struck"] = f"{len(struck):,}"
    whole = sum(spent_us.get(part, 0) for part in _PARTS)
    if whole:
        out["time spent"] = ", ".join(
            f"{told} {spent_us[part] / 1_000_000:.1f} s ({spent_us[part] * 100 // whole}%)"
            for part, told in _PARTS.items()
            if part in spent_us
        )
    return out


def claim_of(
    tally: Tally, /, *, seed: int, shards: int, worlds: int, cut: Sequence[str]
) -> list[str]:
    """What drawn executions have shown, in sentences that stay true out of context. `cut`: why
    shards ended before they had done what was asked of them."""
    judged = sum(tally.words.get(word, 0) for word in _JUDGED)
    told = [
        f"{count:,} {words if count != 1 else words.replace('were', 'was')}"
        for word, words in _ENDINGS.items()
        for count in [tally.words.get(word, 0)]
        if count or word in _JUDGED
    ]
    out = [
        f"{_many(tally.executions, 'execution')} of {_many(worlds, 'world')}, drawn from seed "
        f"{seed} in {_many(shards, 'part')}: size of the workload, one to three faults, schedule.",
        f"Of these {', '.join(told)}.",
        "Executions that broke a promise: "
        f"{bound.words(tally.words.get('broken', 0), judged)}, as if each was drawn by itself.",
    ]
    if cut:
        reasons = "; ".join(dict.fromkeys(cut))
        out.append(f"{len(cut)} of {_many(shards, 'part')} ended early: {reasons}.")
    return [
        *out,
        "The bound speaks of scenarios as they are drawn here, and of nothing that is never drawn: "
        "more than three faults, other worlds, other kinds of task.",
    ]


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
