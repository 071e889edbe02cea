"""One plan over several machines: which runs each does, so that all take equally long.

Every machine works out the whole plan by itself and takes its part of it; none speaks to another.
So the division depends on nothing but the plan and the recorded durations: the longest run first,
always onto the shard with the least to do. The digest of the plan stands in the results of every
shard, and what belongs to another plan, another version or other durations is never merged.

>>> parse_shard("2/4")
Shard(index=2, of=4)
>>> divided({"a": 700, "b": 300, "c": 350, "d": 50}, 2)
{'a': 1, 'b': 2, 'c': 2, 'd': 2}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median_low
from typing import Any, Final

from chaoslab.core.errors import FormatError, LabError, UsageError
from chaoslab.core.jsons import Json, digest
from chaoslab.run.model import RunSpec
from chaoslab.run.store import write_json

DURATIONS_FILE: Final = "chaoslab-durations.json"
_FORMAT: Final = 1
_STEP_MS: Final = 10
_JITTER_MS: Final = 200
SHARDS_MAX: Final = 1_000
_FORM: Final = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One of several parts of a plan, counted from 1."""

    index: int
    of: int

    @property
    def words(self) -> str:
        """As a person says it."""
        return f"shard {self.index} of {self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All runs of a command over all its shards, in order, and what they and their division are
    recognised by."""

    runs: tuple[str, ...]
    digest: str


def parse_shard(text: str, /) -> Shard:
    """A shard from `2/4`. UsageError for anything else."""
    found = _FORM.fullmatch(text)
    index, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= index <= of <= SHARDS_MAX:
        raise UsageError(
            "this is no shard of a plan",
            value=text,
            allowed=f"i/n with i from 1 to n and n up to {SHARDS_MAX}, such as 2/4",
        )
    return Shard(index=index, of=of)


def divided(durations_ms: Mapping[str, int], of: int, /) -> dict[str, int]:
    """The shard of each run: the longest run first, onto the shard with the least to do so far.

    Of equally long runs the first by name is taken, of equally loaded shards the first.
    """
    loads = [0] * of
    found: dict[str, int] = {}
    for run, ms in sorted(durations_ms.items(), key=lambda item: (-item[1], item[0])):
        least = loads.index(min(loads))
        loads[least] += max(ms, 1)  # runs that cost nothing must not all go to one shard
        found[run] = least + 1
    return {run: found[run] for run in durations_ms}


def _expected(specs: Sequence[RunSpec], durations: Mapping[str, int]) -> dict[str, int]:
    """How long each run of the plan should take; one never timed as long as the middle one."""
    known = [durations[spec.id] for spec in specs if spec.id in durations]
    unknown = median_low(known) if known else 1
    return {spec.id: durations.get(spec.id, unknown) for spec in specs}


def part(specs: Sequence[RunSpec], shard: Shard, durations: Mapping[str, int], /) -> list[RunSpec]:
    """The runs of one shard, in the order of the plan; none where there are more shards than
    runs."""
    shards = divided(_expected(specs, durations), shard.of)
    return [spec for spec in specs if shards[spec.id] == shard.index]


def plan_of(specs: Sequence[RunSpec], durations: Mapping[str, int], /, *, of: int) -> Plan:
    """The plan that all shards have in common.

    The durations enter by what they do, which run is whose; a file that divides the plan in the
    same way is as good.
    """
    shards = divided(_expected(specs, durations), of)
    rows: list[Json] = [[spec.id, _anywhere(spec).fingerprint, shards[spec.id]] for spec in specs]
    return Plan(runs=tuple(spec.id for spec in specs), digest=digest([of, *rows], size=16))


def _anywhere(spec: RunSpec) -> RunSpec:
    """The run as it would be from another working folder: the team's own rules are named in full
    in a contract, and machines keep their checkouts in different places."""
    raw = spec.contract_raw
    if raw is None or not any("check" in row for row in raw.get("invariants", ())):
        return spec
    rows = [
        {**row, "check": os.path.relpath(row["check"])} if "check" in row else row
        for row in raw["invariants"]
    ]
    return replace(spec, contract_raw={**raw, "invariants": rows})


def shard_json(shard: Shard, plan: Plan, /) -> dict[str, Any]:
    """What the results of a shard say of it."""
    return {
        "index": shard.index,
        "of": shard.of,
        "plan": plan.digest,
        "runs": list(plan.runs),
    }


# -- how long runs take


def load_durations(path: Path | None, /) -> dict[str, int]:
    """Milliseconds by run, from a file; without a name from the one in the working folder, if
    there is one. FormatError where it is damaged."""
    if path is None:
        path = Path(DURATIONS_FILE)
        if not path.exists():
            return {}
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the durations cannot be read: {error.strerror}",
            value=str(path),
            hint="write them with --write-durations, or leave the option out",
        ) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(raw, dict) or not isinstance(raw.get("runs"), dict):
        raise _damaged(path, 'it is not of the form {"format": 1, "runs": {…}}')
    if raw.get("format") != _FORMAT:
        raise FormatError(
            f"{path} has another major version", value=raw.get("format"), allowed=str(_FORMAT)
        )
    for run, ms in raw["runs"].items():
        if type(ms) is not int or not 0 <= ms < 2**53:
            raise _damaged(path, f"runs.{run} is {ms!r}, which is no number of milliseconds")
    return dict(raw["runs"])


def check_durations(path: Path | None, /) -> None:
    """FormatError where a file that is to be brought up to date is damaged: now, not after an
    hour of runs."""
    if path is not None and path.exists():
        load_durations(path)


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(
        f"{path} is damaged: {why}", hint="delete it; --write-durations writes it again"
    )


def write_durations(results: Mapping[str, Any], path: Path, /) -> None:
    """Brings a file up to date with the runs of a campaign, made for being committed.

    A recorded time stays where the new one is about the same, since no two machines agree to the
    millisecond and a line that changes each night is read by nobody. Runs that this campaign does
    not have stay. A run that broke says nothing of how long it takes.
    """
    runs = load_durations(path) if path.exists() else {}
    runs |= dict(_news(runs, results["runs"]))
    try:
        write_json(path, {"format": _FORMAT, "runs": runs})
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}") from None


def _news(
    before: Mapping[str, int], entries: Iterable[Mapping[str, Any]]
) -> Iterable[tuple[str, int]]:
    for entry in entries:
        old, new = before.get(entry["id"]), entry["wall_ms"]
        if entry["broke"] or (old is not None and abs(new - old) <= max(_JITTER_MS, old // 4)):
            continue
        yield entry["id"], max(_STEP_MS, new // _STEP_MS * _STEP_MS)
