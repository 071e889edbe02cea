"""Several campaigns made one: one set of results, one report, one exit code.

The shards of a plan name the plan, so it is known what should be there: a shard that is missing
costs the pipeline its green, and a shard of another plan is refused, since the sum would mean
nothing. A run that is there twice counts once, if it is the same; else nobody could say which of
the two is true.

>>> joined([])
Traceback (most recent call last):
chaoslab.core.errors.UsageError: there is nothing to merge; next: name the folders of campaigns
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chaoslab.core.errors import LabError, UsageError, mend_disk
from chaoslab.run.incoming import Part, parts_in
from chaoslab.run.known import NOTHING_KNOWN, Known
from chaoslab.run.results import results_of
from chaoslab.run.store import Campaign, write_json

_NAMED_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Campaigns that fit together. `entries`: their runs in order, each with the folders in which
    its histories may be; `gaps`: what should be there and is not, in words; `notes`: what else a
    person should know."""

    parts: tuple[Part, ...]
    entries: tuple[Mapping[str, Any], ...]
    sources: Mapping[str, tuple[Path, ...]]
    cut: tuple[Mapping[str, Any], ...]
    wanted: int
    gaps: tuple[str, ...]
    notes: tuple[str, ...]


def joined(folders: Sequence[Path], /) -> Joined:
    """What the campaigns in some folders come to. UsageError where they do not belong together;
    nothing is written."""
    parts = parts_in(folders)
    if not parts:
        raise UsageError("there is nothing to merge", hint="name the folders of campaigns")
    parts.sort(key=lambda part: part.shard["index"] if part.shard is not None else 0)
    _one_plan(parts)
    found: dict[str, tuple[Part, Mapping[str, Any]]] = {}
    sources: dict[str, tuple[Path, ...]] = {}
    for part in parts:
        for entry in part.results["runs"]:
            other, before = found.setdefault(entry["id"], (part, entry))
            if _content(before) != _content(entry):
                raise UsageError(
                    f"the run {entry['id']} is there twice, and it is not the same: in "
                    f"{other.name} and in {part.name}",
                    hint="name only one of the two folders",
                )
            sources[entry["id"]] = (*sources.get(entry["id"], ()), part.folder / entry["id"])
    cut = {
        one["id"]: one for part in parts for one in part.results["cut"] if one["id"] not in found
    }
    shard = parts[0].shard
    plan = [*found, *cut] if shard is None else shard["runs"]
    undone = [run for run in plan if run not in found and run not in cut]
    return Joined(
        parts=tuple(parts),
        entries=tuple(found[run][1] for run in plan if run in found),
        sources=sources,
        cut=tuple(cut[run] for run in plan if run in cut),
        wanted=len(plan),
        gaps=tuple(_gaps(parts, undone)),
        notes=tuple(_differences(parts)),
    )


def _content(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two entries of a run the same: everything but the time it took."""
    return {**entry, "wall_ms": 0}


def _one_plan(parts: Sequence[Part]) -> None:
    first = parts[0]
    for part in parts:
        if part.results.get("exploration") is not None:
            raise UsageError(
                f"{part.name} is an exploration, whose executions cannot be added up from its runs",
                hint="merge campaigns of `chaoslab run`; one exploration is spread by --executor",
            )
    for part in parts[1:]:
        if (part.shard is None) != (first.shard is None):
            whole, piece = (first, part) if first.shard is None else (part, first)
            raise UsageError(
                f"{piece.name} is a shard of a plan and {whole.name} is not",
                hint="merge shards with shards, and whole campaigns with whole campaigns",
            )
        if part.results["chaoslab"] != first.results["chaoslab"]:
            raise UsageError(
                f"{first.name} and {part.name} were made by different versions of chaoslab: "
                f"{first.results['chaoslab']!r} and {part.results['chaoslab']!r}"
            )
        if part.shard is not None and first.shard is not None:
            if any(part.shard[key] != first.shard[key] for key in ("plan", "of", "runs")):
                raise UsageError(
                    f"{first.name} and {part.name} are no shards of one plan: other runs, another "
                    "version of the code, or other durations",
                    hint="run all shards with the same options, from the same commit",
                )


def _gaps(parts: Sequence[Part], undone: Sequence[str]) -> Iterator[str]:
    """What should be there and is not."""
    of = parts[0].shard["of"] if parts[0].shard is not None else 0
    there = {part.shard["index"] for part in parts if part.shard is not None}
    absent = [str(index) for index in range(1, of + 1) if index not in there]
    if absent:
        some, verb = ("shard", "is") if len(absent) == 1 else ("shards", "are")
        yield f"{some} {_listed(absent)} of {of} {verb} missing"
    for part in parts:
        # Whether a shard left something undone is seen in the plan: another may have done it.
        if not part.results["complete"] and (undone or not of):
            yield f"{part.name} was not finished"
    if undone:
        runs = "1 run was" if len(undone) == 1 else f"{len(undone)} runs were"
        yield f"{runs} not done: {_listed(undone)}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    shown = ", ".join(names[:_NAMED_MAX])
    return f"{shown} and {more} more" if more > 0 else shown


def _differences(parts: Sequence[Part]) -> Iterator[str]:
    first = parts[0].results["environment"]
    for part in parts[1:]:
        other = part.results["environment"]
        if other != first:
            yield (
                f"{parts[0].name} and {part.name} were made with different versions of Python, "
                "of packages or of the system"
            )
            return


def merged(
    found: Joined, into: Campaign, /, *, known: Known = NOTHING_KNOWN
) -> tuple[dict[str, Any], list[str]]:
    """Writes the campaign that the parts come to; its results, and notes in words.

    The sources are only read. Of a run's folder plain files are copied and nothing else, so that
    no link in it can bring in what lies elsewhere.
    """
    bare = [entry["id"] for entry in found.entries if not _brought(entry["id"], found, into)]
    notes = [*found.notes]
    if bare:
        notes.append(
            "the report lacks the details of runs whose folders are not there, only their "
            f"results: {_listed(bare)}"
        )
    wholes = [part.results for part in found.parts]
    profiles = {whole["profile"] for whole in wholes}
    results = results_of(
        found.entries,
        wanted=found.wanted,
        promised=[table for whole in wholes for table in whole["promises"]],
        known=known,
        stopped="; ".join(whole["stopped"] for whole in wholes if whole["stopped"]),
        profile=profiles.pop() if len(profiles) == 1 else None,
        cut=found.cut,
        merged=[part.name for part in found.parts],
        gaps=found.gaps,
        started=min(whole["started"] for whole in wholes),
        wall_ms=max(whole["wall_ms"] for whole in wholes),  # they ran side by side
    )
    results |= {name: wholes[0][name] for name in ("chaoslab", "environment")}
    write_json(into.folder / "results.json", results)
    return results, notes


def _brought(run: str, found: Joined, into: Campaign) -> bool:
    """Copies a run's folder from the first part that has it; whether one has."""
    for source in found.sources[run]:
        if source.is_dir() and not source.is_symlink():
            try:
                _copy(source, into.folder / run)
            except OSError as error:
                raise LabError(
                    f"{source} cannot be copied to {into.folder}: {error.strerror}",
                    hint=f"{mend_disk(error)} (--reports)",
                ) from None
            return True
    return False


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    with os.scandir(source) as entries:
        for one in sorted(entries, key=lambda entry: entry.name):
            if one.is_dir(follow_symlinks=False):
                _copy(source / one.name, target / one.name)
            elif one.is_file(follow_symlinks=False):
                shutil.copyfile(one.path, target / one.name)
