"""`memory.lost-update`: nobody overwrites what somebody else wrote without having read it.

For every commit over an existing version, the writer must have known that version: read it (also
by a scan), written it, or named it in `expect`. A writer is a task in a process. A task's own
earlier write counts as known also after a restart; and a process that keeps its state in memory
knows what it wrote or read for another task, unless this task had itself read an older version.
Writing the same value once more loses nothing.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> def write(n, process, over):
...     return Op(index=n, time_ns=n, type="commit", f="memory.write", process=process, value={
...         "id": "cart", "value": n, "version": [1, n + 1], "over": over})
>>> ops = [write(0, "p1", None), write(1, "p2", [1, 1])]
>>> found = CHECK(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [(v.code, v.witness) for v in found.violations]
[('lost-update', (0, 1))]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaoslab.check.facts import Facts, rows_of
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.core.jsons import canonical
from chaoslab.history import Op

ID = "memory.lost-update"

_Version = tuple[int, ...]
_NAMED: Final = ("memory.read", "memory.scan", "memory.write", "memory.write_many")


class _Known:
    """Who has seen which version of an item, and since when."""

    def __init__(self) -> None:
        self.by_process: dict[tuple[str, str, _Version], int] = {}
        self.by_task: dict[tuple[str, str, str, _Version], int] = {}
        self.latest: dict[tuple[str, str, str], int] = {}  # last reading by this task
        self.scans: dict[tuple[str, str], dict[str, int]] = {}  # prefix -> last listing

    def scanned(self, op: Op, prefix: str) -> None:
        """A listing shows what is below a prefix, and also what is not there."""
        self.scans.setdefault((op.process, op.task), {})[prefix] = op.index

    def looked(self, commit: Op, id: str) -> int:
        """When this task last looked at an item, found or not; -1 where it never did."""
        own = self.scans.get((commit.process, commit.task), {})
        last = max((at for prefix, at in own.items() if id.startswith(prefix)), default=-1)
        return max(last, self.latest.get((commit.process, commit.task, id), -1))

    def note(self, op: Op, id: str, version: _Version, *, read: bool) -> None:
        self.by_process.setdefault((op.process, id, version), op.index)
        self.by_task.setdefault((op.process, op.task, id, version), op.index)
        if read:
            self.latest[op.process, op.task, id] = op.index

    def knew(self, commit: Op, id: str, version: _Version, begun: int) -> bool:
        """Whether the writer of a commit knew a version when it asked for the write."""
        seen = self.by_task.get((commit.process, commit.task, id, version))
        if seen is not None and seen < begun:
            return True
        seen = self.by_process.get((commit.process, id, version))
        if seen is None or seen >= begun:
            return False
        return not commit.task or self.looked(commit, id) < 0


def _run(evidence: Evidence) -> Finding:
    facts = evidence.facts
    known = _Known()
    writers: dict[tuple[str, _Version], Op] = {}
    found: list[Violation] = []
    looked_at = 0
    for op in _memory_ops(facts):
        if op.type == "ok":
            for seen in _seen(facts, op):
                known.note(op, *seen, read=True)
            if op.f == "memory.scan":
                known.scanned(op, _prefix(facts, op))
            if op.f == "memory.read" and op.get("version") is None:
                known.latest[op.process, op.task, op.marker] = op.index  # it saw that none is there
            continue
        id, version = str(op.get("id", "")), _version(op.get("version"))
        over = _version(op.get("over"))
        if over is not None:
            looked_at += 1
            earlier = writers.get((id, over))
            if earlier is not None and _lost(facts, known, earlier, op, id, over):
                found.append(_violation(known, earlier, op, id))
        if version is not None:
            writers[id, version] = op
            known.note(op, id, version, read=False)
    return conclude(
        ID,
        found,
        looked_at=looked_at,
        things="overwritten versions",
        nothing="no item of memory was overwritten",
    )


def _memory_ops(facts: Facts) -> list[Op]:
    found = [
        op
        for f in _NAMED
        for op in facts.view.named(f)
        if op.type == "commit" or (op.type == "ok" and f in ("memory.read", "memory.scan"))
    ]
    found.sort(key=lambda op: op.index)
    return found


def _prefix(facts: Facts, op: Op) -> str:
    asked = facts.invoke_of(op)
    found = asked.get("prefix") if asked is not None else None
    return found if isinstance(found, str) else op.marker


def _version(raw: Any) -> _Version | None:
    if isinstance(raw, (list, tuple)) and all(isinstance(part, int) for part in raw):
        return tuple(raw)
    return None


def _seen(facts: Facts, op: Op) -> list[tuple[str, _Version]]:
    if op.f == "memory.scan":
        rows = rows_of(op, "items")
        pairs = [(r.get("id"), _version(r.get("version"))) for r in rows if isinstance(r, Mapping)]
    else:
        asked = facts.invoke_of(op)
        id = asked.get("id") if asked is not None else op.marker
        pairs = [(id or op.marker, _version(op.get("version")))]
    return [(str(id), version) for id, version in pairs if version is not None]


def _lost(facts: Facts, known: _Known, earlier: Op, op: Op, id: str, over: _Version) -> bool:
    same_process = earlier.process == op.process
    if earlier.task == op.task and (op.task or same_process):
        return False
    asked = facts.invoke_of(op)
    if asked is not None:
        expect = asked.get("expect")
        if asked.f == "memory.write_many":
            writes, item = rows_of(asked, "writes"), op.get("item", -1)
            line = writes[item] if isinstance(item, int) and 0 <= item < len(writes) else {}
            expect = line.get("expect") if isinstance(line, Mapping) else None
        if _version(expect) == over:
            return False
    if known.knew(op, id, over, asked.index if asked is not None else op.index):
        return False
    # The same value again loses nothing, unless it may have been counted up from an older state: a
    # counter that two writers set to 1 has lost one of them.
    if canonical(earlier.get("value")) != canonical(op.get("value")):
        return True
    return known.looked(op, id) >= 0 and _holds_number(op.get("value"))


def _holds_number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_number(v) for v in value.values())
    if isinstance(value, list):
        return any(_holds_number(v) for v in value)
    return isinstance(value, int) and not isinstance(value, bool)


def _violation(known: _Known, earlier: Op, op: Op, id: str) -> Violation:
    read = known.looked(op, id)
    who = f"{op.task or 'nobody'} in {op.process}"
    return Violation(
        check=ID,
        code="lost-update",
        subject=id,
        explanation=f"{who} overwrote what {earlier.task or 'nobody'} in {earlier.process} had "
        f"written to {id}, without having read it",
        witness=indexes(earlier.index, read if read < earlier.index else -1, op.index),
        anomaly=("stale-read" if 0 <= read < earlier.index else "never-read")
        + (" in one process" if earlier.process == op.process else " across processes"),
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("memory",)))
