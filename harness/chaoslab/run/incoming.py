"""Results that come from elsewhere, as data: found, read, and looked through before they are used.

A pipeline hands campaigns from machine to machine, and a gate adds up what it is handed. So every
field that anything later reads must be there and of its kind, and a run's name must be the name of
a folder and nothing else; what is not so is refused with the file and the place.

>>> misfit({"runs": [{"seed": "7"}]}, {"runs": [{"seed": int}]})
"runs[0].seed: got '7' (str)"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chaoslab.core.errors import FormatError, UsageError, shown
from chaoslab.core.visible import visible
from chaoslab.run.promises import GROUPS
from chaoslab.run.shards import SHARDS_MAX
from chaoslab.run.store import read_results

RESULTS: Final = "results.json"
_DEPTH_MAX: Final = 4
_RUN: Final = re.compile(r"[A-Za-z0-9_.-]{1,230}--s[0-9]{1,19}", re.ASCII)

# A shape is a type, a list of one shape, a table of named shapes, the words that are allowed, or
# several of these; `...` as a name stands for any.
_TEXT_OR_NONE: Final = (str, None)
_VIOLATION: Final = {
    **dict.fromkeys(("check", "code", "subject", "explanation", "where"), str),
    **dict.fromkeys(("tool", "anomaly", "fingerprint", "consequence"), str),
    "witness": [int],
    "because": ([str], None),
}
_ENTRY: Final = {
    **dict.fromkeys(("id", "scenario", "title", "family", "agent", "contract", "ruleset"), str),
    **dict.fromkeys(("seed", "ops", "attempts_max", "wall_ms", "scenario_faults"), int),
    **dict.fromkeys(("expected_check", "broke", "differs", "vacuous"), _TEXT_OR_NONE),
    "not_applicable": _TEXT_OR_NONE,
    "role": {"subject", "negative-control"},
    "backend": {"sim", "process", "docker"},
    "verdict": {"valid", "invalid", "unknown", "not-applicable"},
    "caught": (bool, None),
    "deterministic": bool,
    "faults_ran": bool,
    "recovery_ms": (int, None),
    "recovery_clock": {"virtual", "wall"},
    "violations": [_VIOLATION],
    "warnings": [_VIOLATION],
    "checks": {...: {"verdict": {"valid", "invalid", "unknown", "not-applicable"}, "reason": str}},
    "faults": {"planned": int, "eligible": int, "fired": int},
    "tools": {...: {...: int}},
    "required": [str],
    "digest": str,
    "key_advice": [{"tool": str, "words": str, "candidates": [{"verdict": str}]}],
}
_LINE: Final = {
    **dict.fromkeys(("id", "says", "tool", "offer"), str),
    "group": set(GROUPS),
    "checks": [str],
    "required": bool,
}
_PROMISES: Final = {
    **dict.fromkeys(("agent", "contract", "backend", "ruleset"), str),
    "lines": [_LINE],
}
_WHOLE: Final = {
    **dict.fromkeys(("chaoslab", "started"), str),
    "wall_ms": int,
    "complete": bool,
    "stopped": _TEXT_OR_NONE,
    "profile": _TEXT_OR_NONE,
    "environment": {"python": str, "platform": str, "packages": {...: str}},
    "cut": [{"id": str, "scenario": str, "agent": str, "seed": int, "why": str}],
    "shard": ({"index": int, "of": int, "plan": str, "runs": [str]}, None),
    "merged": ([str], None),
    "promises": [_PROMISES],
    "runs": [_ENTRY],
}

# What is made from the entries: a merge makes it anew, a report is made from it.
_STATES: Final = {"proven", "broken", "unproven", "not-promised"}
_COUNTS: Final = dict.fromkeys(("proven", "broken", "unproven", "other"), int)
_MADE: Final = {
    "exit_code": int,
    "gaps": [str],
    "promises": [
        {
            **_PROMISES,
            "lines": [{**_LINE, "state": _STATES, "reason": str, "struck": int, "runs": _COUNTS}],
        }
    ],
    "known": [
        {
            **dict.fromkeys(("fingerprint", "contract", "check", "code", "tool"), str),
            **dict.fromkeys(("owner", "reason", "accepted", "expires"), str),
            "state": {"known", "expired", "gone", "not-run"},
            "runs": [str],
        }
    ],
    "bugs": [
        {
            **_VIOLATION,
            **dict.fromkeys(("title", "agent", "contract", "todo", "example"), str),
            "state": {"new", "known", "expired", "expected"},
            "warning": bool,
            "runs": [str],
            "scenarios": [str],
            "seeds": [int],
        }
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One campaign that is to be merged: its folder, how it is called, and its results."""

    folder: Path
    name: str
    results: Mapping[str, Any]

    @property
    def shard(self) -> Mapping[str, Any] | None:
        """Which part of a plan it is, if it is one."""
        found: Mapping[str, Any] | None = self.results["shard"]
        return found


def parts_in(folders: Sequence[Path], /) -> list[Part]:
    """The campaigns in some folders, each once. UsageError where a folder has none, FormatError
    where one is damaged."""
    found: list[Part] = []
    for root in folders:
        held = [part for part in map(_part, _campaigns(root)) if _wanted(part, root)]
        if not held:
            raise UsageError(
                "there is no campaign in this folder",
                value=str(root),
                allowed=f"a folder with a {RESULTS} in it, or a folder of such folders",
            )
        for part in held:  # a copy of one that was found is the same campaign
            if not any(part.results == other.results for other in found):
                found.append(part)
    return found


def _wanted(part: Part, root: Path) -> bool:
    """What is itself merged stands beside its parts, and is taken only where it was named."""
    return part.results["merged"] is None or part.folder == root.resolve()


def _campaigns(root: Path) -> list[Path]:
    if not root.is_dir():
        raise UsageError("there is no such folder", value=str(root))
    return list(dict.fromkeys(_below(root.resolve(), root.resolve(), _DEPTH_MAX)))


def _below(folder: Path, top: Path, depth: int) -> Iterator[Path]:
    """The campaigns below a folder; links that lead out of it are not followed."""
    if (folder / RESULTS).is_file():
        yield folder
        return
    try:
        children = sorted(folder.iterdir()) if depth else []
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror}") from None
    for child in children:
        real = child.resolve()
        if real.is_dir() and real.is_relative_to(top):
            yield from _below(real, top, depth - 1)


def read_whole(folder: Path, /, *, made: bool = True) -> dict[str, Any]:
    """The results of a campaign, looked through; FormatError where they cannot be used. `made`:
    with what was made from the entries, which a merge makes anew."""
    path = folder / RESULTS
    try:
        results = read_results(folder)
        problem = misfit(results, _WHOLE) or _contradiction(results)
        problem = problem or (misfit(results, _MADE) if made else "")
    except RecursionError:
        raise FormatError(f"{path} is damaged: it is nested too deeply") from None
    if problem:
        raise FormatError(
            f"{path} is damaged, or of another version of chaoslab: {problem}",
            hint="run the scenarios again with this version",
        )
    return results


def _part(folder: Path) -> Part:
    results = read_whole(folder, made=False)
    return Part(folder=folder, name=visible(f"{folder.parent.name}/{folder.name}"), results=results)


def _contradiction(results: Mapping[str, Any]) -> str:
    """What cannot be, though each field is of its kind; empty if nothing."""
    ids = [entry["id"] for entry in results["runs"]] + [one["id"] for one in results["cut"]]
    shard = results["shard"]
    planned = ids if shard is None else shard["runs"]
    for run in (*ids, *planned):
        if not _RUN.fullmatch(run):
            return f"got {shown(run)}; allowed: the name of a run's folder"
    for name, group in (("runs", ids), ("shard.runs", planned)):
        twice = len(group) != len(set(group))
        if twice:
            return f"{name} names a run twice"
    if shard is not None and not 1 <= shard["index"] <= shard["of"] <= SHARDS_MAX:
        return f"shard {shard['index']} of {shard['of']} cannot be"
    strays = sorted(set(ids) - set(planned))
    if strays:
        return f"runs has {strays[0]}, which is not of its plan"
    told = (f"{entry['id']}: {_impossible(entry)}" for entry in results["runs"])
    return next((words for words in told if not words.endswith(": ")), "")


def _impossible(entry: Mapping[str, Any]) -> str:
    """Why no run can have left this entry; empty if one can. The gate goes by the verdict, so the
    verdict must be what the rest of the entry amounts to."""
    verdict, count = entry["verdict"], len(entry["violations"])
    said = {one["verdict"] for one in entry["checks"].values()}
    if (verdict == "invalid") != bool(count):
        return f"the verdict is {verdict}, with {count} violations"
    if verdict != "invalid" and "invalid" in said:
        return f"the verdict is {verdict}, and a check is invalid"
    open_ = [n for n in ("broke", "differs", "vacuous", "not_applicable") if entry[n]]
    if verdict == "valid" and (open_ or "unknown" in said):
        return f"the verdict is valid, with {open_[0] if open_ else 'a check that is unknown'}"
    expected = entry["expected_check"]
    found = any(one["check"] == expected for one in entry["violations"])
    if entry["caught"] is not (found if expected else None):
        return f"caught is {entry['caught']}, where {expected} was expected"
    if entry["role"] == "negative-control" and not expected:
        return "a planted bug without a check that must find it"
    below = [n for n in ("seed", "ops", "wall_ms", "scenario_faults") if entry[n] < 0]
    return f"{below[0]} is below 0" if below else ""


def misfit(value: Any, shape: Any, where: str = "", /) -> str:
    """The first place where a value is not of a shape, in words; empty where it is."""
    if isinstance(shape, tuple):
        told = [misfit(value, one, where) for one in shape]
        return "" if "" in told else told[0]
    if isinstance(shape, type):
        fits = type(value) is shape
    elif isinstance(shape, set):
        fits = isinstance(value, str) and value in shape
    elif shape is None:
        fits = value is None
    elif isinstance(shape, list):
        fits = isinstance(value, list)
        places = [(f"{where}[{n}]", one, shape[0]) for n, one in enumerate(value)] if fits else []
    else:
        fits = isinstance(value, dict)
        names = list(value) if fits and ... in shape else list(shape)
        missing = next((name for name in names if fits and name not in value), None)
        if missing is not None:
            return f"{where}.{missing} is missing".lstrip(".")
        one_shape = shape.get(...)
        places = [(f"{where}.{n}", value[n], one_shape or shape[n]) for n in names] if fits else []
    if not fits:
        return f"{where.lstrip('.') or 'the whole'}: got {shown(value)}"
    if isinstance(shape, (list, dict)):
        return next(filter(None, (misfit(one, part, at) for at, one, part in places)), "")
    return ""
