"""The whole of `results.json`, made from run entries: what outputs and gates read.

Everything else that a campaign writes (the report, JUnit, NDJSON, the comment on a pull request) is
made from this, so they cannot tell different stories.

>>> results_of([], wanted=0)["exit_code"]
0
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from chaoslab import __version__
from chaoslab.run.bugs import bugs_of
from chaoslab.run.gate import exit_code
from chaoslab.run.known import NOTHING_KNOWN, Known
from chaoslab.run.promises import promises
from chaoslab.run.store import FORMAT

# The packages whose versions are part of what a run does.
PACKAGES: Final = ("wasmtime", "faker", "hypothesis")


def results_of(
    entries: Sequence[Mapping[str, Any]],
    /,
    *,
    wanted: int,
    promised: Iterable[Mapping[str, Any]] = (),
    known: Known = NOTHING_KNOWN,
    stopped: str = "",
    profile: str | None = None,
    cut: Sequence[Mapping[str, Any]] = (),
    shard: Mapping[str, Any] | None = None,
    merged: Sequence[str] | None = None,
    gaps: Sequence[str] = (),
    started: str = "",
    wall_ms: int = 0,
    exploration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Results from run entries in their order.

    `wanted`: how many runs were asked for; `promised`: tables of `promises.promised_by`, or those
    of other results; `cut`: what was left out for want of time; `shard`, `merged`: which part this
    is, or of which parts it is made; `gaps`: which of these parts are not there, in words;
    `exploration`: what many executions came to, of which these runs are the ones to look at.
    """
    complete = len(entries) + len(cut) == wanted and not gaps
    code = exit_code(
        entries,
        known=known,
        cut=cut,
        missing=not complete,
        part=shard is not None,
        exploration=exploration,
    )
    results = {
        "format": FORMAT,
        "chaoslab": __version__,
        "environment": environment(),
        "started": started,
        "wall_ms": wall_ms,
        "exit_code": code,
        "complete": complete,
        "stopped": stopped or None,
        "profile": profile,
        "cut": [dict(one) for one in cut],
        "shard": None if shard is None else dict(shard),
        "merged": None if merged is None else list(merged),
        "gaps": list(gaps),
        "known": known.summary(entries),
        "promises": promises(promised, entries),
        "bugs": bugs_of(entries, known),
        "runs": [dict(entry) for entry in entries],
    }
    return results if exploration is None else _explored(results, exploration, known)


def _explored(
    results: dict[str, Any], exploration: Mapping[str, Any], known: Known
) -> dict[str, Any]:
    """The results with what the executions showed beside the runs: a bug that a thousand of them
    show has one run, and one that is accepted may have none."""
    seen = {one["fingerprint"]: one for one in exploration["findings"]}
    for bug in results["bugs"]:
        found = seen.get(bug["fingerprint"])
        bug["executions"] = found["executions"] if found is not None else 0
    for entry in results["known"]:
        found = seen.get(entry["fingerprint"])
        if found is not None and not entry["runs"] and found["contract"] == entry["contract"]:
            entry["state"] = known.state(entry["fingerprint"], entry["contract"])
    if exploration["coverage"]:
        results["coverage"] = exploration["coverage"]
    return results | {"exploration": dict(exploration)}


def environment() -> dict[str, Any]:
    """What the runs were made with, as far as it may matter to them."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": packages,
    }
