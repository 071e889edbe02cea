"""What stands around the proof of a breach, and without which a person would ask "but why?".

A witness holds what a machine needs. A reader also needs the refusal that made a task fail, the
failover that lost a note, the copy of the store that was behind, the item that had expired. Each
function here finds one of these in a record; which of them a story needs, `because` decides.

>>> from chaoslab.history import Op, View
>>> view = View([
...     Op(index=0, time_ns=0, type="invoke", f="tools.pay", task="t1", marker="o-1"),
...     Op(index=1, time_ns=1, type="fail", f="tools.pay", task="t1", call=0,
...        value={"error": "conflict"}),
...     Op(index=2, time_ns=2, type="event", f="task.outcome", task="t1",
...        value={"status": "failed"})])
>>> [op.index for op in reason_of(view, view[2])]
[0, 1]
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chaoslab.check.tokens import marks_in, texts_of
from chaoslab.core.jsons import canonical
from chaoslab.history import Op, View

_MS: Final = 1_000_000
_ACTING: Final = ("tools.", "wasm.", "model.", "network.")
_READING: Final = frozenset(("memory.read", "memory.scan"))
# These hit whoever is near, so they matter although they belong to another call.
_WIDE: Final = frozenset(("crash", "pause", "partition"))
_LIVES: Final = ("process.kill", "process.start", "process.pause", "process.resume")
_REGIONS: Final = ("region.down", "region.partition", "region.promote")
_REGIONAL: Final = frozenset(("leases", "region", "memory"))
_TORN_MAX: Final = 2


def reason_of(view: View, outcome: Op, /) -> list[Op]:
    """Why a task ended badly: its last request without a yes, what struck it, the answer."""
    bad = [
        op
        for op in view
        if op.task == outcome.task
        and op.index < outcome.index
        and op.type in ("fail", "info")
        and op.f.startswith(_ACTING)
    ]
    if not bad:
        return []
    answer = bad[-1]
    call = [view[answer.call]] if 0 <= answer.call < len(view) else []
    return [*call, *(s for s in view.named("nemesis.strike") if s.call == answer.call), answer]


def lives_between(view: View, first: int, last: int, processes: set[str], /) -> list[Op]:
    """Deaths, starts and standstills of the processes in a story."""
    events = [op for f in _LIVES for op in view.named(f)]
    return [op for op in events if first < op.index < last and op.process in processes]


def wide_strikes(view: View, first: int, last: int, processes: set[str], /) -> list[Op]:
    """Faults that hit a whole process of the story, whichever call they were placed at."""
    return [
        op
        for op in view.named("nemesis.strike")
        if first < op.index < last and str(op.get("kind")) in _WIDE and op.process in processes
    ]


def regions_between(view: View, first: int, last: int, told: Iterable[Op], /) -> list[Op]:
    """What became of regions, where the story is about memory or goes on in another region."""
    told = list(told)
    home = {op.process: str(op.get("region")) for op in view.named("process.start")}
    regions = {home[op.process] for op in told if op.process in home}
    if len(regions) < 2 and not _REGIONAL & {op.f.partition(".")[0] for op in told}:
        return []
    return [op for f in _REGIONS for op in view.named(f) if first < op.index < last]


def replica_reads(view: View, first: int, last: int, sessions: set[str], /) -> list[Op]:
    """The last reading from a replica in between, which may have been behind."""
    asked = [
        op
        for op in view.named("memory.read")
        if op.type == "invoke"
        and op.get("at") == "replica"
        and first < op.index < last
        and op.session in sessions
    ]
    if not asked:
        return []
    answer = view.completion(asked[-1].index)
    return [asked[-1], *((answer,) if answer is not None else ())]


def expired_quarantine(view: View, first: int, last: int, session: str, /) -> list[Op]:
    """A stored quarantine whose time was over, and the reading that found nothing in its place."""
    stored: dict[str, Op] = {}
    for op in view.ops[:last]:
        if op.type == "commit" and op.f.startswith("memory.write"):
            stored[str(op.get("id"))] = op
        elif op.type == "ok" and op.f == "memory.read" and op.get("found") is False:
            write = stored.get(op.marker)
            if write is None or op.index < first or op.session != session:
                continue
            expires_ms = write.get("expires_ms")
            over = type(expires_ms) is int and expires_ms * _MS <= op.time_ns
            if over and "quarantine" in canonical(write.get("value")):
                return [write, op]
    return []


def torn_reads(view: View, use: Op, group: str, /) -> list[Op]:
    """The readings that brought parts of a group to the process that then used them."""
    found = [
        op
        for op in view.ops[: use.index]
        if op.type == "ok"
        and op.f in _READING
        and (op.process, op.task) == (use.process, use.task)
        and any(mark[0] == group for text in texts_of(op.value) for mark in marks_in(text))
    ]
    return found[-_TORN_MAX:]


def life_of(view: View, task: str, until: int, /) -> list[Op]:
    """How a task was handed out first and last, what struck it, and whether its process died."""
    own = [op for op in view.ops[: until + 1] if op.task == task]
    submits = [op for op in own if op.f == "task.submit"]
    begun = submits[0].index if submits else 0
    processes = {op.process for op in own} - {""}
    kills = view.named("process.kill")
    return [
        *submits[:1],
        *submits[1:][-1:],
        *(op for op in own if op.f in ("nemesis.strike", "task.raised")),
        *(op for op in kills if begun < op.index <= until and op.process in processes),
    ]


def asked_by(view: View, task: str, until: int, /) -> list[Op]:
    """What a task asked of tools, modules and the outside, and the answers that were no yes. The
    model's words and the agent's own bookkeeping are left out."""
    return [
        op
        for op in view.ops[: until + 1]
        if op.task == task
        and op.type in ("invoke", "fail", "info")
        and (op.f.startswith(("tools.", "network.")) or (op.f.startswith("wasm.") and op.marker))
    ]
