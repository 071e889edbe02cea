"""What a campaign did not show, in words: the part of a report that an auditor reads first.

A report that only lists what it found lets the reader believe that the rest was looked at. So
everything that was left open stands together here: what could not run, what was cut, what proves
nothing and why, and what does not apply to this agent.

>>> run = {"scenario": "matrix/torn-write", "seed": 0, "role": "subject", "verdict": "unknown",
...        "broke": None, "differs": None, "vacuous": "no fault struck", "not_applicable": None,
...        "caught": None, "checks": {}}
>>> [(gap["kind"], gap["why"], gap["names"]) for gap in gaps_of({"complete": True, "runs": [run]})]
[('proves nothing', 'no fault struck', ['matrix/torn-write, seed 0'])]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from chaoslab.report.exploring import open_ends

_NAMES_MAX: Final = 5
_UNSAID: Final = "the contract does not promise it; the table of promises says what would"
_SAME_KIND_MAX: Final = 40  # reasons may hold numbers; the run list has every one of them

# What stands first is what hides the most; the second word is the shape and colour on the page.
_KINDS: Final = {
    "stopped": "broken",
    "not finished": "broken",
    "missing": "broken",
    "a part of the plan": "unproven",
    "cut": "unproven",
    "could not run": "broken",
    "planted bug missed": "broken",
    "not repeatable": "broken",
    "not executed": "unproven",
    "never struck": "unproven",
    "proves nothing": "unproven",
    "unproven": "unproven",
    "promise unproven": "unproven",
    "not promised": "not-promised",
    "not applicable": "not-promised",
}


class _Gaps:
    """Collects gaps; the same reason twice is one gap with two names."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], dict[str, None]] = {}
        self._times: dict[tuple[str, str, str], int] = {}

    def add(self, kind: str, what: str, why: str, name: str = "", *, times: int = 0) -> None:
        """One more run, or none, for which this holds; `times`: so many that have no names."""
        names = self._found.setdefault((kind, what, why), {})
        self._times[kind, what, why] = times
        if name:
            names[name] = None

    def sorted(self) -> list[dict[str, Any]]:
        """All of them by kind, the widest first."""
        order = list(_KINDS)
        rows = sorted(
            self._found.items(), key=lambda item: (order.index(item[0][0]), -len(item[1]))
        )
        out: list[dict[str, Any]] = []
        kept = dict.fromkeys(order, 0)
        for (kind, what, why), names in rows:
            kept[kind] += 1
            if kept[kind] > _SAME_KIND_MAX:
                continue
            told = list(names) if why == _UNSAID else list(names)[:_NAMES_MAX]
            out.append(
                {
                    "kind": kind,
                    "state": _KINDS[kind],
                    "what": what,
                    "why": why,
                    "names": told,
                    "more": len(names) - len(told),
                    "count": len(names) or self._times[kind, what, why],
                }
            )
        for kind, number in kept.items():
            if number > _SAME_KIND_MAX:
                why = f"{number - _SAME_KIND_MAX} further reasons; the run list has them all"
                out.append({"kind": kind, "state": _KINDS[kind], "what": "", "why": why})
                out[-1] |= {"names": [], "more": 0, "count": 0}
        return out


def gaps_of(results: Mapping[str, Any], /) -> list[dict[str, Any]]:
    """Everything that the campaign leaves open, one row for each different reason."""
    gaps = _Gaps()
    _of_the_campaign(results, gaps)
    _of_the_contracts(results.get("promises") or (), gaps)
    for run in results["runs"]:
        name = f"{run['scenario']}, seed {run['seed']}"
        if run["broke"]:
            gaps.add("could not run", "", run["broke"], name)
            continue
        if run["caught"] is False:
            why = f"{run['expected_check']} should have found it and did not"
            gaps.add("planted bug missed", run["agent"], why, name)
        if run["role"] != "subject":
            continue
        if run["differs"]:
            gaps.add("not repeatable", "", run["differs"], name)
        if run["not_applicable"]:
            gaps.add("not applicable", "", run["not_applicable"], name)
        elif run["vacuous"]:
            gaps.add("proves nothing", "", run["vacuous"], name)
        else:
            for check, found in run["checks"].items():
                if found["verdict"] == "unknown":
                    gaps.add("unproven", check, found["reason"], name)
    return gaps.sorted()


def _of_the_contracts(tables: Iterable[Mapping[str, Any]], gaps: _Gaps) -> None:
    """The lines of the promise table that nothing was shown for: an auditor asks for these."""
    for table in tables:
        for line in table["lines"]:
            if line["state"] == "unproven":
                gaps.add("promise unproven", "", line["reason"], line["says"])
            elif line["state"] == "not-promised":
                gaps.add("not promised", "", _UNSAID, line["says"])


def _of_the_campaign(results: Mapping[str, Any], gaps: _Gaps) -> None:
    if results.get("stopped"):
        gaps.add("stopped", "", results["stopped"])
    elif not results["complete"] and results.get("gaps"):
        for words in results["gaps"]:
            gaps.add("missing", "", words)
    elif not results["complete"]:
        gaps.add("not finished", "", "not all runs that were asked for have ended; use --resume")
    for run in results.get("cut") or ():
        gaps.add("cut", "", run["why"], f"{run['scenario']}, seed {run['seed']}")
    for kind, why, count in open_ends(results):
        gaps.add(kind, "", why, times=count)
    shard = results.get("shard")
    if shard and not results.get("merged"):
        here, whole = len(results["runs"]), len(shard["runs"])
        why = f"shard {shard['index']} of {shard['of']}: {here} of {whole} runs of the whole plan"
        gaps.add("a part of the plan", "", f"{why}; chaoslab merge joins the shards")
