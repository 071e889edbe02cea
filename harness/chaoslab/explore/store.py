"""The rows of a campaign on disk: one file, batch after batch, so that an hour of work survives
whatever ends the command.

A batch counts from the moment at which its last line is there. Whoever is killed in the middle of
a write loses that batch and nothing else; it is done again, and nothing is counted twice. The file
is private, since explanations may quote what customers said. It is bounded: beyond the bound what
held is only counted, and of each mistake a few executions are kept.

>>> tally = Tally()
>>> tally.add(Row(name="w1/0", world="w1", seed=0, word="held", shown=("effects.delivery",)))
>>> tally.words, tally.checks
({'held': 1}, {'effects.delivery': 1})
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from chaoslab import __version__
from chaoslab.core.errors import FormatError, LabError, UsageError, mend_disk
from chaoslab.core.jsons import digest
from chaoslab.explore.rows import Row
from chaoslab.run.model import RunSpec
from chaoslab.run.results import environment
from chaoslab.run.store import Campaign

FORMAT: Final = 1
ROWS: Final = "rows.ndjson"
BYTES_MAX: Final = 200_000_000
FAILING: Final = ("broken", "broke")
JUDGED: Final = ("held", "broken", "equivalent")
_KEPT_EACH: Final = 20  # executions of one mistake that are kept beyond the bound
_TEXT_MAX: Final = 2_000
_ANEW: Final = "begin anew, without --resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a campaign is. `plan` is what was asked for, in names and values; `fingerprint` is of
    everything that its rows depend on, and `of` names what of it has a name."""

    kind: str
    fingerprint: str
    plan: Mapping[str, Any]
    of: Mapping[str, str] = field(default_factory=dict)


def head_of(kind: str, specs: Sequence[RunSpec], plan: Mapping[str, Any], /) -> Head:
    """The head of a campaign over these runs. The time that it may take and who executes it are
    no part of its plan: they decide how much is done, not what it shows."""
    packages = environment()["packages"]
    parts = [__version__, kind, packages, [spec.fingerprint for spec in specs], dict(plan)]
    named = {
        "agent": ", ".join(sorted({spec.agent for spec in specs})),
        "contract": ", ".join(sorted({spec.contract.name for spec in specs})),
        "version of chaoslab": __version__,
    }
    return Head(kind=kind, fingerprint=digest(parts, size=16), plan=dict(plan), of=named)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What rows amount to, in numbers. `findings`: executions by fingerprint; `checks`: executions
    in which a check had something to look at; `worlds`: the words by world; `judged`: rows that say
    something about faults, which what held without any does not."""

    words: dict[str, int] = field(default_factory=dict)
    worlds: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    spent_us: dict[str, int] = field(default_factory=dict)
    judged: int = 0

    def add(self, row: Row, /) -> None:
        """Counts one row. What was not executed showed nothing by itself."""
        _more(self.words, row.word)
        self.judged += row.word in JUDGED and bool(row.faults or row.breaches)
        _more(self.worlds.setdefault(row.world, {}), row.word)
        if row.word != "equivalent":
            for fingerprint in sorted({breach[2] for breach in row.breaches}):
                _more(self.findings, fingerprint)
            for check in sorted({*row.shown, *(breach[0] for breach in row.breaches)}):
                _more(self.checks, check)
        for name, spent in row.spent_us.items():
            _more(self.spent_us, name, spent)

    def add_all(self, other: Mapping[str, Any], /) -> None:
        """Adds the numbers of another tally, as JSON has them."""
        self.judged += int(other.get("judged", 0))
        for name, counts in other.items():
            if name == "judged":
                continue
            mine = getattr(self, name)
            for key, value in counts.items():
                if isinstance(value, Mapping):
                    for word, count in value.items():
                        _more(mine.setdefault(key, {}), word, int(count))
                else:
                    _more(mine, key, int(value))

    @property
    def executions(self) -> int:
        """How many executions there were: all rows but those that were spared."""
        return sum(count for word, count in self.words.items() if word != "equivalent")


def _more(counts: dict[str, int], name: str, by: int = 1) -> None:
    counts[name] = counts.get(name, 0) + by


class Rows:
    """The rows of one campaign. `done` names the batches that are on disk; `tally` counts all rows,
    those too that are only counted."""

    def __init__(self, path: Path, descriptor: int, head: Head, bytes_max: int) -> None:
        self.path, self.head, self.bytes_max = path, head, bytes_max
        self.done: set[str] = set()
        self.tally = Tally()
        self.left_out = 0
        self._descriptor = descriptor
        self._end = self._first = 0
        self._kept: dict[str, int] = {}  # by fingerprint, for what is kept beyond the bound
        self._unsaved: list[Row] = []

    @classmethod
    def create(cls, folder: Path, head: Head, /, *, bytes_max: int = BYTES_MAX) -> Rows:
        """A new file in a campaign's folder. LabError where the disk refuses."""
        path = folder / ROWS
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            rows = cls(path, os.open(path, flags, 0o600), head, bytes_max)
            rows._lock()
            rows._write(_line({"format": FORMAT, **asdict(head)}))
        except OSError as error:
            raise _refused(path, error) from None
        rows._first = rows._end
        return rows

    @classmethod
    def resume(cls, folder: Path, head: Head, /, *, bytes_max: int = BYTES_MAX) -> Rows:
        """The file of an earlier command, as far as its batches are whole. UsageError where there
        is none or it is of another campaign, FormatError where it is damaged."""
        path = folder / ROWS
        try:
            rows = cls(path, os.open(path, os.O_RDWR | os.O_NOFOLLOW), head, bytes_max)
        except FileNotFoundError:
            raise UsageError(
                "the newest campaign is no exploration: it has no rows", value=str(path), hint=_ANEW
            ) from None
        except OSError as error:
            raise _refused(path, error) from None
        try:
            rows._lock()
            rows._read()
        except BaseException:
            rows.close()
            raise
        return rows

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; the rows can be read all the same."""
        if self._descriptor >= 0:
            with suppress(OSError):  # what is not on the platter yet is whole for all but a crash
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    # -- writing

    def add(self, batch: str, rows: Sequence[Row], /) -> bool:
        """Writes the rows of a batch; False, and nothing is done, where it is there already.

        LabError where the disk refuses: the rows are counted and `rows` has them, so that what was
        found can still be told, but the batch is not done.
        """
        if batch in self.done:
            return False
        fitting = [_clipped(row) for row in rows]
        kept, left = self._divided(fitting)
        last: dict[str, Any] = {"batch": batch, "rows": len(kept)}
        if left:
            last["left_out"] = {"rows": len(left), **asdict(_tally_of(left))}
        data = b"".join(map(_line, (*(row.to_json() for row in kept), last)))
        try:
            self._write(data)
        except OSError as error:
            self._unsaved += kept
            self._count(kept, left)
            raise _refused(self.path, error) from None
        self.done.add(batch)
        self._count(kept, left)
        return True

    def _divided(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        """What of a batch is kept, and what is only counted."""
        size = sum(len(_line(row.to_json())) for row in rows)
        if self._end + size <= self.bytes_max:
            return list(rows), []
        kept: list[Row] = []
        left: list[Row] = []
        there = dict(self._kept)
        for row in rows:
            marks = _marks(row)
            if any(there.get(mark, 0) < _KEPT_EACH for mark in marks):
                kept.append(row)
                for mark in marks:
                    _more(there, mark)
            else:
                left.append(row)
        return kept, left

    def _count(self, kept: Iterable[Row], left: Sequence[Row] = ()) -> None:
        for row in kept:
            self.tally.add(row)
            for mark in _marks(row):
                _more(self._kept, mark)
        for row in left:
            self.tally.add(row)
        self.left_out += len(left)

    def _write(self, data: bytes) -> None:
        """Writes at the end, all of it or nothing, whatever interrupts it."""
        at = self._end
        try:
            while data:
                written = os.pwrite(self._descriptor, data, at)
                at, data = at + written, data[written:]
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end = at

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                "another command is at work in this campaign", value=str(self.path.parent)
            ) from None

    # -- reading

    @property
    def note(self) -> str:
        """What to say where the bound was reached; else empty."""
        if not self.left_out:
            return ""
        return (
            f"{self.path.name} has reached its bound of {self.bytes_max // 1_000_000} MB: "
            f"{self.left_out} further executions are counted and not kept"
        )

    def rows(self) -> Iterator[Row]:
        """The rows that are kept, in the order in which they came."""
        for raw, _ in self._lines(self._first, self._end):
            if "batch" not in raw:
                yield self._row(raw)
        yield from self._unsaved

    def batches(self) -> Iterator[tuple[str, list[Row]]]:
        """Each batch that is done, with the rows of it that are kept."""
        found: list[Row] = []
        for raw, _ in self._lines(self._first, self._end):
            if "batch" in raw:
                yield raw["batch"], found
                found = []
            else:
                found.append(self._row(raw))

    def _row(self, raw: Mapping[str, Any]) -> Row:
        try:
            return Row.from_json(raw)
        except FormatError as error:
            raise self._damaged(str(error)) from None

    def _lines(self, start: int, end: int) -> Iterator[tuple[dict[str, Any], int]]:
        """The objects between two places in the file, each with the place behind it."""
        with self.path.open("rb") as file:
            file.seek(start)
            at = start
            while at < end:
                line = file.readline()
                at += len(line)
                raw = _object(line)
                if raw is None:
                    raise self._damaged(f"the line that ends at byte {at} is no entry")
                yield raw, at

    def _read(self) -> None:
        """Takes in what is there, and cuts off what a killed command has left behind its last
        whole batch."""
        self._first = self._end = self._read_head()
        whole = self._last_batch()
        waiting: list[Row] = []
        for raw, at in self._lines(self._first, whole):
            if "batch" not in raw:
                waiting.append(self._row(raw))
                continue
            name, left = raw["batch"], dict(raw.get("left_out", {}))
            if name in self.done or raw.get("rows") != len(waiting):
                raise self._damaged(f"the batch {name} is not whole, or is there twice")
            self.done.add(name)
            self._count(waiting)
            try:
                self.left_out += int(left.pop("rows", 0))
                self.tally.add_all(left)
            except (AttributeError, TypeError, ValueError) as error:
                raise self._damaged(repr(error)) from None
            waiting, self._end = [], at
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            raise _refused(self.path, error) from None

    def _read_head(self) -> int:
        with self.path.open("rb") as file:
            line = file.readline()
        raw = _object(line)
        if raw is None:
            raise UsageError(
                "the newest campaign ended before anything was done",
                value=str(self.path),
                hint=_ANEW,
            )
        if raw.get("format") != FORMAT:
            raise FormatError(
                f"{self.path} has another major version",
                value=raw.get("format"),
                allowed=str(FORMAT),
            )
        if raw.get("fingerprint") != self.head.fingerprint or raw.get("kind") != self.head.kind:
            raise UsageError(
                f"the newest campaign is another one: {_other(raw, self.head)}",
                value=str(self.path.parent),
                hint=_ANEW,
            )
        return len(line)

    def _last_batch(self) -> int:
        """The place behind the last line that ends a batch."""
        at = last = self._first
        with self.path.open("rb") as file:
            file.seek(self._first)
            for line in file:
                at += len(line)
                if line.startswith(b'{"batch":') and _object(line) is not None:
                    last = at
        return last

    def _damaged(self, why: str) -> FormatError:
        return FormatError(f"{self.path} is damaged: {why}", hint=_ANEW)


def open_rows(
    reports: Path, head: Head, /, *, resume: bool, bytes_max: int = BYTES_MAX
) -> tuple[Campaign, Rows]:
    """The campaign's folder with its rows: a new one, or the newest to go on with. What was written
    about that one is taken away until it is made anew, since it spoke of fewer rows."""
    if not resume:
        campaign = Campaign.create(reports)
        return campaign, Rows.create(campaign.folder, head, bytes_max=bytes_max)
    campaign = Campaign.latest(reports)
    rows = Rows.resume(campaign.folder, head, bytes_max=bytes_max)
    (campaign.folder / "results.json").unlink(missing_ok=True)
    return campaign, rows


def _line(value: Mapping[str, Any]) -> bytes:
    # Escapes for all that is not ASCII: an agent's halves of characters cannot be written else.
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def _object(line: bytes) -> dict[str, Any] | None:
    """The object of a line; None where it is torn or none."""
    if not line.endswith(b"\n"):
        return None
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


def _clipped(row: Row) -> Row:
    """The row without the rest of texts that an agent has made endless."""
    told = [*(breach[3] for breach in row.breaches), row.why]
    if all(len(text) <= _TEXT_MAX for text in told):
        return row
    breaches = tuple((a, b, c, _clip(text)) for a, b, c, text in row.breaches)
    return replace(row, breaches=breaches, why=_clip(row.why))


def _clip(text: str) -> str:
    # A mask knows what was cut by this sign, and so finds half a value before it.
    return text if len(text) <= _TEXT_MAX else text[:_TEXT_MAX] + "…"


def _marks(row: Row) -> list[str]:
    """The mistakes that a row shows, by which a few of each are kept."""
    if row.word not in FAILING:
        return []
    return [row.word] if row.word == "broke" else sorted({breach[2] for breach in row.breaches})


def _tally_of(rows: Iterable[Row]) -> Tally:
    tally = Tally()
    for row in rows:
        tally.add(row)
    return tally


def _other(raw: Mapping[str, Any], head: Head) -> str:
    """In what a campaign on disk differs from the one that is asked for."""
    if raw.get("kind") != head.kind:
        return f"a {raw.get('kind')}, and this is a {head.kind}"
    for key, now in (("plan", json.loads(json.dumps(dict(head.plan)))), ("of", dict(head.of))):
        there = raw.get(key)
        before = there if isinstance(there, Mapping) else {}
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                return f"its {name} was {before.get(name)!r} and is {now.get(name)!r}"
    return "the scenarios, the seeds, the agent, its contract, or the code have changed since"


def _refused(path: Path, error: OSError) -> LabError:
    return LabError(
        f"{path} cannot be written: {error.strerror}",
        hint=f"{mend_disk(error)}, and go on with --resume; the batches that are done are kept",
    )
