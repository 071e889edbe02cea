"""`memory.linearizable`: an item answers as if all calls on it came one after the other.

Our own store puts its commits on record, so its order is known and other checks read it. Of a
store that is not ours there are only questions and answers. What is looked for then is an order,
for each item by itself, that keeps what was over before something else began, and that explains
every answer. `linearizable_search` looks; this module says what counts:

- a read of the primary that came back, and a write or erasure that was confirmed;
- a write that got no answer may take place at any time from its request on, or never;
- a refused call did nothing. It proves no more than that: a store may refuse for other reasons
  than the one that it gives;
- where failovers began a new epoch, each epoch by itself: what it began with is not known, nor to
  which epoch an absence belongs, and a read that tells an older epoch may be of what a failover
  brought back;
- an item that was written with an expiry may be gone from then on.

>>> from chaoslab.contract import Contract, Limits
>>> def entry(n, type, f, call=-1, process="p1", **value):
...     return Op(index=n, time_ns=n, type=type, f=f, call=call, process=process, value=value)
>>> ops = [
...     entry(0, "invoke", "memory.write", id="cart", value="A"), entry(1, "ok", "memory.write", 0),
...     entry(2, "invoke", "memory.write", id="cart", value="B"), entry(3, "ok", "memory.write", 2),
...     entry(4, "invoke", "memory.read", process="p2", id="cart", at="primary"),
...     entry(5, "ok", "memory.read", 4, process="p2", found=True, value="A")]
>>> found = CHECK(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> print(found.violations[0].explanation)
p2 read A from cart after B, which had replaced A, was confirmed
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from chaoslab.check.facts import rows_of
from chaoslab.check.linearizable_rows import ANY, NEVER, Call, Contradiction, Version
from chaoslab.check.linearizable_search import decide
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.core.jsons import canonical
from chaoslab.history import Op, View

ID = "memory.linearizable"

# Clocks differ: this long before its expiry an item may be gone already.
_EARLY_NS: Final = 60 * 10**9
_SHOWN_MAX: Final = 24


def _run(evidence: Evidence) -> Finding:
    if evidence.facts.memory_commits:
        return conclude(ID, [], looked_at=0, nothing="the order of the store is on record")
    view = evidence.history
    found: list[Violation] = []
    undecided: list[str] = []
    looked_at = 0
    items = calls_of(view)
    epochs = _epochs(view, items)
    for id, calls in items.items():
        looked_at += sum(call.ended < NEVER for call in calls)
        answers = [decide(part) for part in _parts(view, calls, epochs)]
        broken = next((a.contradiction for a in answers if a.contradiction), None)
        if broken is not None:
            found.append(_violation(view, id, broken))
        elif not all(answer.decided for answer in answers):
            undecided.append(id)
    missing = ""
    if undecided:
        missing = f"the search for an order of the calls on {undecided[0]} was given up"
        missing += f", and on {len(undecided) - 1} more" if undecided[1:] else ""
    return conclude(
        ID,
        found,
        looked_at=looked_at,
        things="calls on memory items",
        nothing="no item of memory was used",
        missing=missing,
    )


# -- from entries to calls


def calls_of(view: View, /) -> dict[str, list[Call]]:
    """The calls on each item that say something of its order, writes first."""
    found: defaultdict[str, list[Call]] = defaultdict(list)
    gone: dict[str, int] = {}  # from when on an item may have expired
    # What the lab delivered twice may take place twice, and once although it was refused once.
    twice = {op.call for op in view.named("nemesis.strike") if op.get("kind") == "duplicate"}
    for f in ("memory.write", "memory.write_many", "memory.erase"):
        _add_writes(view, f, found, gone, twice)
    for id, since_ns in gone.items():
        found[id] = [_freed(view, call, since_ns) for call in found[id]]
    if twice:
        for calls in found.values():
            calls += [c._replace(ended=NEVER, version=None) for c in calls if c.begun in twice]
    _add_reads(view, found, gone)
    return found


def _add_writes(
    view: View,
    f: str,
    found: defaultdict[str, list[Call]],
    gone: dict[str, int],
    twice: Collection[int],
) -> None:
    for op in view.named(f):
        if op.type != "invoke":
            continue
        answer, end = view.completion(op.index), NEVER
        if answer is not None:
            if answer.type == "fail" and op.index not in twice:
                continue
            if answer.type == "ok":
                end = answer.index
        for line, ended, version in _lines(op, answer, end):
            id, expires_ms, expect = line.get("id"), line.get("expires_ms"), line.get("expect", ANY)
            if type(id) is not str or not id:
                continue
            if expires_ms is not None and type(expires_ms) is int:
                gone[id] = min(expires_ms * 10**6 - _EARLY_NS, gone.get(id, NEVER))
            if expect is not ANY and expect is not None:
                expect = _version(expect) or ANY
            token = None if f == "memory.erase" else _token(line.get("value"))
            told = None if version is None else _version(version)
            found[id].append(Call(op.index, ended, True, token, told, expect))


def _lines(op: Op, answer: Op | None, end: int) -> Sequence[tuple[Mapping[str, Any], int, Any]]:
    """Each write of a call, with its end and its version; of a group that stopped in its middle
    only the first ones are over."""
    if op.f != "memory.write_many":
        version = answer.get("version") if answer is not None and end < NEVER else None
        return ((op.value, end, version),) if type(op.value) is dict else ()
    versions: Sequence[Any] = ()
    stored = 0
    if answer is not None:
        versions, written = rows_of(answer, "versions"), answer.get("written")
        stored = written if type(written) is int else 0
    return [
        (
            line,
            answer.index if answer is not None and place < stored else end,
            versions[place] if place < len(versions) else None,
        )
        for place, line in enumerate(rows_of(op, "writes"))
        if type(line) is dict
    ]


def _freed(view: View, call: Call, since_ns: int) -> Call:
    """A creation, of an item that may have expired by then, may well have found nothing."""
    if call.expect is None and (call.ended == NEVER or view[call.ended].time_ns >= since_ns):
        return call._replace(expect=ANY)
    return call


def _add_reads(view: View, found: defaultdict[str, list[Call]], gone: Mapping[str, int]) -> None:
    for op in view.named("memory.read"):
        if op.type != "invoke":
            continue
        answer, asked = view.completion(op.index), op.value
        if answer is None or answer.type != "ok":
            continue
        said = answer.value
        if type(asked) is not dict or type(said) is not dict:
            continue
        id, there = asked.get("id"), said.get("found")
        if type(id) is not str or not id or asked.get("at", "primary") != "primary":
            continue
        if there is True:
            version = said.get("version")
            told = None if version is None else _version(version)
            call = Call(op.index, answer.index, False, _token(said.get("value")), told)
        elif there is False and answer.time_ns < gone.get(id, NEVER):
            call = Call(op.index, answer.index, False, None)
        else:
            continue
        found[id].append(call)


def _token(value: Any) -> str:
    # The mark of a text is a leading quote, as in JSON; the rest need not be escaped to differ.
    return f'"{value}' if type(value) is str else canonical(value)


def _version(raw: Any) -> Version | None:
    if isinstance(raw, (list, tuple)) and raw and all(type(part) is int for part in raw):
        return tuple(raw)
    return None


# -- from calls to epochs


def _epoch(version: Version) -> int:
    return version[0] if len(version) > 1 else 0


def _epochs(view: View, items: Mapping[str, Sequence[Call]]) -> list[int]:
    """All epochs that the record tells of, in order."""
    found = {_epoch(c.version) for calls in items.values() for c in calls if c.version}
    for op in view.named("region.promote"):
        epoch = op.get("epoch")
        if type(epoch) is int:
            found.add(epoch)
    return sorted(found)


def _parts(view: View, calls: list[Call], epochs: Sequence[int]) -> list[list[Call]]:
    """The calls of each epoch; all of them together where there is no more than one."""
    if len(epochs) < 2:
        return [calls]
    # Until here nothing had happened to a region, so that what was read was of the epoch it tells.
    events = ("region.down", "region.partition", "region.promote")
    calm = min((op.index for f in events for op in view.named(f)[:1]), default=0)
    parts = []
    for epoch in epochs:
        part: list[Call] = []
        for call in calls:
            own = call.version is not None and _epoch(call.version) == epoch
            if call.writes and own:
                there = call.expect
                kept = isinstance(there, tuple) and _epoch(there) == epoch
                part.append(call if kept else call._replace(expect=ANY))
            elif call.writes and call.token is not None:
                part.append(call._replace(ended=NEVER, version=None, expect=ANY))
            elif own and (epoch == epochs[-1] or call.ended < calm):
                part.append(call)
        parts.append(part)
    return parts


# -- in words


def _violation(view: View, id: str, broken: Contradiction) -> Violation:
    late, seen = broken.late, broken.seen
    proof = [late.begun, late.ended, *broken.more]
    if seen is not None and broken.anomaly == "read-of-nothing":
        proof += (seen.begun, seen.ended if late.version else NEVER)
    elif seen is not None:
        proof.append(seen.ended)
    return Violation(
        check=ID,
        code="not-linearizable",
        subject=id,
        explanation=_words(view, id, broken),
        witness=indexes(n for n in proof if n < NEVER),
        anomaly=broken.anomaly,
    )


def _words(view: View, id: str, broken: Contradiction) -> str:
    late, seen = broken.late, broken.seen
    who, what = _who(view, late), _shown(late)
    if broken.anomaly == "compare-and-set":
        if late.expect is None:
            return f"{who} created {id} ({what}), although it existed already"
        return (
            f"{who} replaced version {_dots(late.expect)} of {id} by {what}, although that version "
            "did not stand there any more"
        )
    if broken.anomaly == "read-of-nothing":
        text = f"{who} read {what} from {id}"
        if late.version:
            text += f" as version {_dots(late.version)}"
        if seen is not None and seen.token != late.token:
            return f"{text}, which is that of {_shown(seen)}"
        if seen is not None:
            return f"{text} before anybody asked to write it"
        return f"{text}, which nobody had asked to write"
    if late.writes and seen is not None:
        text = f"the store gave {who}'s write of {what} to {id} version {_dots(late.version)}"
        if seen.version == late.version:
            return f"{text}, which {_who(view, seen)}'s write of {_shown(seen)} already had"
        return (
            f"{text}, although the newer version {_dots(seen.version)} "
            f"had been seen before that write began"
        )
    if seen is None:
        act = f"write of {what} to" if late.writes else f"reading of {what} from"
        return f"no order of the calls on {id} explains {who}'s {act} it"
    text = f"{who} read {what} from {id}" if late.token else f"{who} found nothing in {id}"
    return f"{text} after {_confirmed(view, late, seen)}"


def _confirmed(view: View, late: Call, seen: Call) -> str:
    if seen.token is None:
        return "its erasure was confirmed" if seen.writes else f"{_who(view, seen)} found it empty"
    replaced = f", which had replaced {_shown(late)}," if late.token else ""
    if seen.writes:
        return f"{_shown(seen)}{replaced} was confirmed"
    return f"{_who(view, seen)} had read {_shown(seen)}{replaced.rstrip(',')}"


def _who(view: View, call: Call) -> str:
    op = view[call.begun]
    return op.process or op.task or "somebody"


def _shown(call: Call) -> str:
    text = "nothing" if call.token is None else call.token.removeprefix('"')
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"


def _dots(version: Any) -> str:
    return ".".join(str(part) for part in version or ())


CHECK = Check(id=ID, run=_run, needs=frozenset(("memory",)))
