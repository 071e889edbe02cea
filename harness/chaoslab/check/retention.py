"""`memory.retention`: nothing is kept longer than was promised, and nothing is used after that.

Two halves, for the memory classes with a `retention_ms`. A value is *kept* too long where its
write names no expiry, or one that lies too far ahead. It is *used* too late where something
that an item held is sent on after the last moment at which any item that held it was good. The
store forgets by itself; what an agent has copied into a variable, a cache or a prompt does not.

What was sent is recognised by its token: a revision mark, a canary or an attribute. What came with
the request of the very task may be used by it, however old the stored copy is. Time is the
record's own, which no clock of an agent can bend; `skew_ms` is what these may differ by.

>>> from chaoslab.contract import Contract, Limits, MemoryClass
>>> from chaoslab.history import Op, View
>>> classes = {"profile": MemoryClass(name="profile", prefix="profile/", retention_ms=1_000)}
>>> ops = [
...     Op(index=0, time_ns=0, type="commit", f="memory.write", value={
...         "id": "profile/s1", "value": "Elm Street [home:r1:street]", "expires_ms": 1_000}),
...     Op(index=1, time_ns=1_500_000_000, type="invoke", f="tools.ship", task="s1-t2",
...        value={"args": {"to": "Elm Street [home:r1:street]"}})]
>>> found = CHECK(
...     Evidence(history=View(ops), contract=Contract(memory=classes), limits=Limits()))
>>> [(v.code, v.explanation) for v in found.violations]
[('used-after-expiry', 's1-t2 sent to ship what profile/s1 held, 500 ms after that had expired')]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from chaoslab.check.facts import Facts
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.check.tokens import masked
from chaoslab.check.wording import duration
from chaoslab.contract import Contract, MemoryClass
from chaoslab.history import Op

ID = "memory.retention"

_MS: Final = 1_000_000
_FOREVER: Final = 1 << 100

_Token = tuple[str, ...]  # a canary, a mark or an attribute, as a sighting lists it


class _Good(NamedTuple):
    """Until when a token may be used, and the commit that says so."""

    until_ns: int
    skew_ns: int
    commit: Op


def _run(evidence: Evidence) -> Finding:
    contract, facts = evidence.contract, evidence.facts
    prefixes = tuple(c.prefix for c in contract.memory.values() if c.retention_ms is not None)
    if not prefixes:
        return conclude(ID, [], looked_at=0, nothing="no class of memory was promised to expire")
    found: dict[tuple[str, ...], Violation] = {}
    looked_at = 0
    soonest_ns = _FOREVER
    for op in facts.memory_commits:
        id = str(op.get("id", ""))
        if op.f == "memory.erase" or not id.startswith(prefixes):
            continue
        of = contract.memory_class(id)
        if of is None or of.retention_ms is None:
            continue  # a longer prefix made an exception
        looked_at += 1
        soonest_ns = min(soonest_ns, _until_ns(op, of) + of.skew_ms * _MS)
        late = _kept_too_long(op, id, of, of.retention_ms)
        if late is not None:
            found.setdefault((of.name, late.code, late.anomaly), late)
    # Where nothing has expired before the end, nothing can have been used after it.
    if looked_at and facts.view.ops[-1].time_ns > soonest_ns:
        uses = _Uses(contract, found)
        for op, tokens in _entries(facts):
            uses.see(op, tokens)
        looked_at += uses.count
    return conclude(
        ID,
        list(found.values()),
        looked_at=looked_at,
        things="writes to items that expire and uses of what they held",
        nothing="no item that expires was written",
    )


def _until_ns(op: Op, of: MemoryClass | None) -> int:
    """Until when what a commit wrote is good."""
    expires_ns = _expires_ns(op)
    until_ns = _FOREVER if expires_ns is None else expires_ns
    if of is not None and of.retention_ms is not None:
        until_ns = min(until_ns, op.time_ns + of.retention_ms * _MS)
    return until_ns


def _expires_ns(op: Op) -> int | None:
    raw = op.get("expires_ms")
    return raw * _MS if type(raw) is int else None


def _kept_too_long(op: Op, id: str, of: MemoryClass, retention_ms: int) -> Violation | None:
    expires_ns = _expires_ns(op)
    last_ns = op.time_ns + (retention_ms + of.skew_ms) * _MS
    if expires_ns is not None and expires_ns <= last_ns:
        return None
    says = (
        "was written without an expiry"
        if expires_ns is None
        else f"was written to expire after {duration((expires_ns - op.time_ns) // _MS)}"
    )
    return Violation(
        check=ID,
        code="kept-too-long",
        subject=masked(id),
        explanation=f"{masked(id)} {says}; {of.name} items may be kept {duration(retention_ms)}",
        witness=(op.index,),
        anomaly="no-expiry" if expires_ns is None else "expires-too-late",
    )


def _entries(facts: Facts) -> Iterable[tuple[Op, Sequence[_Token]]]:
    """Every entry with a token, and every prompt, in order.

    A prompt that goes on with a conversation lists what is new only, and sends the rest again.
    """
    rows: list[tuple[Op, Sequence[_Token]]] = [
        (s.op, [*s.canaries, *s.marks, *s.attributes]) for s in facts.sightings
    ]
    known = {op.index for op, _ in rows}
    prompts = facts.view.named("model.complete")
    rows += [(op, ()) for op in prompts if op.type == "invoke" and op.index not in known]
    rows.sort(key=lambda row: row[0].index)
    return rows


class _Uses:
    """Follows tokens through the record: asked for, stored, sent."""

    def __init__(self, contract: Contract, found: dict[tuple[str, ...], Violation]) -> None:
        self.count = 0
        self._contract = contract
        self._found = found
        # Where an item is of no class, its clock may be off by as much as any other's.
        self._skew_ms = max((c.skew_ms for c in contract.memory.values()), default=0)
        self._good: dict[_Token, _Good] = {}
        self._promised: dict[_Token, str] = {}  # token -> a class with a retention that held it
        self._asked: dict[str, set[_Token]] = {}  # by task, and by session for work of no task
        self._told: dict[tuple[str, str], list[_Token]] = {}  # what a conversation holds

    def see(self, op: Op, tokens: Sequence[_Token]) -> None:
        """Takes one entry with the tokens in it."""
        if op.type == "commit":
            if op.f.startswith("memory."):
                self._store(op, tokens)
        elif op.f == "task.submit":
            for whose in (f"task {op.task}", f"session {op.session}", "session "):
                self._asked.setdefault(whose, set()).update(tokens)
        elif op.type == "event":
            if op.f.startswith("report.") or op.f == "task.outcome":
                self._use(op, tokens)
        elif op.type == "invoke" and op.f.startswith(_SENDING):
            if op.f == "model.complete":
                before = self._told.get((op.process, op.task), ()) if op.get("extends") else ()
                tokens = list(dict.fromkeys((*before, *tokens)))
                self._told[op.process, op.task] = tokens
            self._use(op, tokens)

    def _store(self, op: Op, tokens: Sequence[_Token]) -> None:
        if not tokens:
            return
        of = self._contract.memory_class(str(op.get("id", "")))
        until_ns = _until_ns(op, of)
        if of is not None and of.retention_ms is not None:
            for token in tokens:
                self._promised.setdefault(token, of.name)
        skew_ns = (self._skew_ms if of is None else of.skew_ms) * _MS
        new = _Good(until_ns, skew_ns, op)
        for token in tokens:
            old = self._good.get(token)
            if old is None or until_ns + skew_ns >= old.until_ns + old.skew_ns:
                self._good[token] = new

    def _use(self, op: Op, tokens: Sequence[_Token]) -> None:
        whose = f"task {op.task}" if op.task else f"session {op.session}"
        promised = [token for token in tokens if token in self._promised]
        self.count += bool(promised)
        for token in promised:
            good = self._good[token]
            late = op.time_ns > good.until_ns + good.skew_ns
            if late and token not in self._asked.get(whose, ()):
                used = _used(op, good)
                row = (self._promised[token], used.code, used.anomaly, used.tool)
                self._found.setdefault(row, used)


_SENDING: Final = ("tools.", "wasm.", "model.", "network.")
_PLACES: Final = {
    "model.complete": "the model",
    "network.request": "the outside",
    "report.log": "its log",
    "task.outcome": "its outcome",
    "report.outcome": "its outcome",
}


def _used(op: Op, good: _Good) -> Violation:
    head, _, tail = op.f.partition(".")
    ours = head in ("tools", "wasm")
    place = _PLACES.get(op.f, tail if ours else "a report")
    item = masked(str(good.commit.get("id", "")))
    return Violation(
        check=ID,
        code="used-after-expiry",
        subject=item,
        explanation=f"{op.task or op.session or op.process} sent to {place} what {item} held, "
        f"{duration((op.time_ns - good.until_ns) // _MS)} after that had expired",
        witness=indexes(good.commit.index, op.index),
        tool=tail if ours else "",
        anomaly="outcome" if op.f == "task.outcome" else head,
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("memory",)))
