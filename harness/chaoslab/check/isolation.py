"""`isolation.sessions` and `isolation.instance`: customers stay apart.

Each session of a workload carries a canary, a token that belongs to it alone. It must not turn
up in anything that the agent *sends* for another session: prompts, requests, memory, reports,
outcomes, effects, and what a Wasm guest puts out. Reading is not crossing. Neither is writing
back what stood in an item before (a journal that all sessions share). An encoded or encrypted
value hides its canary, and then nothing is seen.

A Wasm instance that trapped may hold half of the last customer's call, however healthy it looks:
nothing may be asked of it again, and a retired one may not answer.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=0, time_ns=0, type="event", f="report.log", session="s2",
...           value={"text": "hello cnry-s1-0123abcd"})]
>>> found = SESSIONS(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [(v.code, v.anomaly, v.subject) for v in found.violations]
[('canary-crossed', 'report', 's1 into s2')]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaoslab.check.facts import Facts, rows_of
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.check.tokens import Sighting, masked
from chaoslab.check.wording import receiver
from chaoslab.history import Op

SESSIONS_ID = "isolation.sessions"
INSTANCE_ID = "isolation.instance"


def _sessions(evidence: Evidence) -> Finding:
    facts = evidence.facts
    found: list[Violation] = []
    reported: set[tuple[str, str, str]] = set()
    origin: dict[str, Op] = {}  # token -> where its own session last had it
    held: dict[str, set[str]] = {}  # memory item -> the tokens that stand in it
    looked_at, left = 0, False
    for sighting in facts.sightings:
        op = sighting.op
        if not sighting.canaries:
            continue
        looked_at += 1
        left |= _sent(op)
        carried = _carried(op, held)
        for token, owner in sighting.canaries:
            if owner == op.session or not op.session:
                origin[token] = op
                continue
            row = (op.f, owner, op.session)
            if not _sent(op) or token in carried or row in reported:
                continue
            reported.add(row)
            guest = _left_in_guest(facts, op, owner)
            found.append(_crossed(guest or (origin.get(token),), op, token, owner, bool(guest)))
        _hold(sighting, held)
    nothing = "no session carries a canary"
    if looked_at and not _says_whose(facts):
        looked_at, nothing = 0, "nothing that the agent sent is known to be for a session"
    elif looked_at and facts.recorded and not left:
        # A command may never have been given the data that its task came with.
        looked_at, nothing = 0, "no canary was seen in anything that the agent sent"
    return conclude(
        SESSIONS_ID,
        found,
        looked_at=looked_at,
        things="entries with a canary",
        nothing=nothing,
    )


def _says_whose(facts: Facts) -> bool:
    """Whether the agent put out anything at all of which the session is known. Of a real process
    a bare outcome, made up by the lab from an exit code or a row, is no word of its own."""
    for op in facts.view.ops:
        if op.session and op.type in ("invoke", "commit"):
            return True
        if op.session and op.type == "event" and _sent(op):
            if not facts.recorded or op.f != "task.outcome" or op.get("answer") is not None:
                return True
    return False


def _sent(op: Op) -> bool:
    """Whether an entry is something that the agent put out, or that came of it."""
    if op.type == "event":
        return op.f.startswith("report.") or op.f == "task.outcome"
    return True


def _ids(op: Op) -> list[str]:
    if op.f == "memory.write_many" and op.type == "invoke":
        return [str(w.get("id", "")) for w in rows_of(op, "writes") if isinstance(w, Mapping)]
    return [str(op.get("id", ""))]


def _carried(op: Op, held: Mapping[str, set[str]]) -> set[str]:
    """What a write to memory may carry on, since it stands there already."""
    if not op.f.startswith("memory."):
        return set()
    return {token for id in _ids(op) for token in held.get(id, ())}


def _hold(sighting: Sighting, held: dict[str, set[str]]) -> None:
    op = sighting.op
    if op.type == "commit" and op.f.startswith("memory.write"):
        held[str(op.get("id", ""))] = {token for token, _ in sighting.canaries}


def _left_in_guest(facts: Facts, op: Op, owner: str) -> tuple[Op, ...]:
    """Where a Wasm guest put out the token: its call for the session that owns it, after which
    the instance was poisoned, and that entry. What a broken call left in it came out here."""
    call = op if op.type == "invoke" else facts.invoke_of(op)
    if call is None or not call.f.startswith("wasm.") or op is call:
        return ()
    for bad in facts.view.named("wasm.poisoned"):
        before = facts.invoke_of(bad)
        if before is None or before.index >= call.index or before.session != owner:
            continue
        if _instance_of(facts, bad) == (call.process, str(call.get("instance", ""))):
            return before, bad
    return ()


def _crossed(origin: Sequence[Op | None], op: Op, token: str, owner: str, guest: bool) -> Violation:
    head, _, tail = op.f.partition(".")
    did = f"was sent to {receiver(op.f)}"
    if head == "memory":
        did = f"was written to {masked(', '.join(_ids(op)))}"
    elif op.type == "ok":
        did = f"was put out by {tail}"
    return Violation(
        check=SESSIONS_ID,
        code="canary-crossed",
        subject=f"{owner} into {op.session}",
        explanation=f"data of {owner} ({token}) {did} for {op.session}"
        + (f"; the Wasm instance had broken off in a call for {owner} before" if guest else ""),
        witness=indexes((o.index for o in origin if o is not None), op.index),
        tool=tail if head in ("tools", "wasm") else "",
        anomaly=head,
    )


def _instance(evidence: Evidence) -> Finding:
    facts = evidence.facts
    calls = [op for op in facts.requests if op.f.startswith("wasm.")]
    bad: dict[tuple[str, str], Op] = {}
    gone: dict[tuple[str, str], Op] = {}
    for f, where in (("wasm.poisoned", bad), ("wasm.retired", gone)):
        for op in facts.view.named(f):
            where.setdefault(_instance_of(facts, op), op)
    found: list[Violation] = []
    for call in calls:
        place = (call.process, str(call.get("instance", "")))
        answer = facts.view.completion(call.index)
        retired, poisoned = gone.get(place), bad.get(place)
        if retired is not None and retired.index < call.index:
            if answer is not None and answer.type == "ok":
                found.append(_called(call, "retired-instance-answered", retired, answer.index))
        elif poisoned is not None and poisoned.index < call.index:
            found.append(_called(call, "poisoned-instance-called", poisoned, -1))
    return conclude(
        INSTANCE_ID,
        found,
        looked_at=len(calls),
        things="calls of Wasm instances",
        nothing="no Wasm module was called",
    )


def _instance_of(facts: Facts, op: Op) -> tuple[str, str]:
    call: Any = facts.invoke_of(op)
    process = op.process or (call.process if call is not None else "")
    return process, str(op.get("instance", ""))


def _called(call: Op, code: str, why: Op, answer: int) -> Violation:
    name = str(call.get("instance", ""))
    what = "poisoned" if code.startswith("poisoned") else "retired"
    did = "was called again" if answer < 0 else "still answered"
    return Violation(
        check=INSTANCE_ID,
        code=code,
        subject=name,
        explanation=f"instance {name} {did} after it was {what}"
        + (f" ({why.get('reason')})" if why.get("reason") else ""),
        witness=indexes(why.index, call.index, answer),
        tool=call.f[5:],
        anomaly="next-session" if why.session and why.session != call.session else "",
    )


SESSIONS = Check(id=SESSIONS_ID, run=_sessions, needs=frozenset(("canaries",)))
INSTANCE = Check(id=INSTANCE_ID, run=_instance, needs=frozenset(("wasm",)))
