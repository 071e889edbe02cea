"""`memory.policy`: what was to stay as it was written stays so.

A record says "decided under policy v3". That means something only while v3 is what it was on that
day, so a version is never rewritten, and a changed rule gets a new version. The contract names the
items by `immutable = true` in a memory class.

What stood there is told by `over`, the version that a commit replaced, and never by what was
written last: a failover may have discarded that, and then it is right to write it again. Writing
the same value once more changes nothing.

>>> from chaoslab.contract import Contract, Limits, MemoryClass
>>> from chaoslab.history import Op, View
>>> def write(n, value, over):
...     return Op(index=n, time_ns=n, type="commit", f="memory.write", value={
...         "id": "policy/v1", "value": value, "version": [1, n + 1], "over": over})
>>> classes = {"policy": MemoryClass(name="policy", prefix="policy/v", immutable=True)}
>>> ops = [write(0, {"most": 10}, None), write(1, {"most": 10}, [1, 1]),
...        write(2, {"most": 99}, [1, 2])]
>>> found = CHECK(
...     Evidence(history=View(ops), contract=Contract(memory=classes), limits=Limits()))
>>> [(v.code, v.subject, v.witness) for v in found.violations]
[('rewritten', 'policy/v1', (1, 2))]
"""

from __future__ import annotations

from typing import Any

from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.check.tokens import masked
from chaoslab.check.wording import difference
from chaoslab.core.jsons import canonical
from chaoslab.history import Op

ID = "memory.policy"

_Version = tuple[Any, ...]


def _run(evidence: Evidence) -> Finding:
    contract = evidence.contract
    prefixes = tuple(c.prefix for c in contract.memory.values() if c.immutable)
    if not prefixes:
        return conclude(ID, [], looked_at=0, nothing="no class of memory was promised immutable")
    stood: dict[tuple[str, _Version], Op] = {}
    found: dict[tuple[str, str], Violation] = {}
    last: dict[str, Op] = {}
    looked_at = 0
    missing = ""
    for op in evidence.facts.memory_commits:
        id = str(op.get("id", ""))
        if not id.startswith(prefixes):
            continue
        of = contract.memory_class(id)
        if of is None or not of.immutable:
            continue  # a longer prefix made an exception
        looked_at += 1
        over = _version(op.get("over"))
        earlier = _ended(last.get(id), op) if over is None else stood.get((id, over))
        if op.f == "memory.erase":
            if over is not None:
                found.setdefault((id, "erased"), _erased(id, earlier, op))
        else:
            if earlier is not None:
                if canonical(earlier.get("value")) != canonical(op.get("value")):
                    found.setdefault((id, "rewritten"), _rewritten(id, earlier, op))
            elif over is not None:
                missing = f"what #{op.index} overwrote in {masked(id)} is not on record"
            version = _version(op.get("version"))
            if version is not None:
                stood[id, version] = last[id] = op
    return conclude(
        ID,
        list(found.values()),
        looked_at=looked_at,
        things="writes to immutable items",
        nothing="no immutable item was written",
        missing=missing,
    )


def _ended(earlier: Op | None, op: Op) -> Op | None:
    """What stood there until its own expiry: to let it run out is one way of erasing it. In
    another epoch it may never have been there."""
    if earlier is None:
        return None
    expires_ms = earlier.get("expires_ms")
    ended = type(expires_ms) is int and expires_ms * 1_000_000 <= op.time_ns
    epochs = [(_version(one.get("version")) or (None,))[0] for one in (earlier, op)]
    return earlier if ended and epochs[0] == epochs[1] else None


def _version(raw: Any) -> _Version | None:
    if isinstance(raw, (list, tuple)) and all(type(part) is int for part in raw):
        return tuple(raw)
    return None


def _rewritten(id: str, earlier: Op, op: Op) -> Violation:
    by = "the same process" if earlier.process == op.process else "another process"
    return Violation(
        check=ID,
        code="rewritten",
        subject=masked(id),
        explanation=f"{masked(id)} was to stay as it was written, and {by} put another value in "
        f"its place: {difference(earlier.get('value'), op.get('value'))}",
        witness=indexes(earlier.index, op.index),
    )


def _erased(id: str, earlier: Op | None, op: Op) -> Violation:
    return Violation(
        check=ID,
        code="erased",
        subject=masked(id),
        explanation=f"{masked(id)} was to stay as it was written, and it was erased",
        witness=indexes(earlier.index if earlier is not None else -1, op.index),
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("memory",)))
