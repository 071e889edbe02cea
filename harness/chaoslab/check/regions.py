"""`regions.fenced` and `regions.loss`: a region that comes back does no harm, and a failover
loses no more than was agreed.

A process that was paused or cut off may come back and write as if it still owned its sessions.
A fence, a number that grows with every change of ownership, lets the store refuse it. The check
looks at what the stores *accepted*. A copy that was cut off cannot know of a newer fence, so a
newer one counts only where the same copy has accepted it. What a zombie does to tools is judged
by `effects.delivery`.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> def lease(n, fence, holder):
...     return Op(index=n, time_ns=n, type="commit", f="leases.acquire", process=holder,
...               value={"session": "s1", "fence": fence, "holder": holder})
>>> def write(n, fence, process):
...     return Op(index=n, time_ns=n, type="commit", f="memory.write", process=process,
...               session="s1", value={"id": "x", "fence": fence, "version": [1, n]})
>>> ops = [lease(0, 1, "p1"), lease(1, 2, "p2"), write(2, 2, "p2"), write(3, 1, "p1")]
>>> found = FENCED(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [(v.code, v.witness) for v in found.violations]
[('stale-fence-accepted', (0, 1, 2, 3))]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaoslab.check.facts import Facts, rows_of
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.history import Op

FENCED_ID = "regions.fenced"
LOSS_ID = "regions.loss"
_MS: Final = 1_000_000


def _fenced(evidence: Evidence) -> Finding:
    facts = evidence.facts
    grants = [op for op in facts.view.named("leases.acquire") if op.type == "commit"]
    if not grants:
        return conclude(FENCED_ID, [], looked_at=0, nothing="no lease was granted")
    commits = facts.memory_commits
    if not evidence.contract.fencing and all(op.get("fence") is None for op in commits):
        return conclude(
            FENCED_ID, [], looked_at=0, nothing="no fencing was promised and no fence was passed"
        )
    granted: dict[int, Op] = {}  # fence -> its first grant
    newest: dict[str, Op] = {}  # session -> the grant in force
    held: dict[tuple[str, str], int] = {}  # (session, process) -> its own newest fence
    accepted: dict[tuple[str, str], Op] = {}  # (session, region) -> commit with the newest fence
    found: list[Violation] = []
    looked_at = 0
    for op in sorted((*grants, *commits), key=lambda op: op.index):
        if op.f == "leases.acquire":
            session, fence = str(op.get("session", "")), _fence(op)
            if fence is None:
                continue
            granted.setdefault(fence, op)
            if session not in newest or fence > (_fence(newest[session]) or 0):
                newest[session] = op
            held[session, _holder(op)] = fence
            continue
        fence = _fence(op)
        if fence is None:
            if evidence.contract.fencing and (op.session, op.process) in held:
                looked_at += 1
                found += _unfenced(granted, op, newest[op.session], held[op.session, op.process])
            continue
        looked_at += 1
        grant = granted.get(fence)
        if (
            evidence.contract.fencing
            and (op.session, op.process) in held
            and (grant is None or str(grant.get("session", "")) != op.session)
        ):
            # The fence of another lease protects this session as little as none.
            found += _unfenced(granted, op, newest[op.session], held[op.session, op.process])
            continue
        session = str(grant.get("session", "")) if grant is not None else op.session
        place = (session, str(op.get("region") or ""))
        seen = accepted.get(place)
        if seen is None or fence >= (_fence(seen) or 0):
            accepted[place] = op
        else:
            found += _stale(granted, seen, op, session)
    return conclude(
        FENCED_ID,
        found,
        looked_at=looked_at,
        things="memory commits under a lease",
        nothing="nothing was written under a lease",
    )


def _fence(op: Op) -> int | None:
    raw = op.get("fence")
    return raw if isinstance(raw, int) else None


def _holder(op: Op) -> str:
    return str(op.get("holder") or op.process)


def _stale(granted: Mapping[int, Op], seen: Op, op: Op, session: str) -> list[Violation]:
    newer = granted.get(_fence(seen) or 0)
    if newer is not None and _holder(newer) == op.process:
        return []  # its own older request, which arrived late
    return [
        Violation(
            check=FENCED_ID,
            code="stale-fence-accepted",
            subject=session,
            explanation=f"the store took {op.get('id')} from {op.process} with fence "
            f"{_fence(op)}, after it had taken fence {_fence(seen)} for {session}",
            witness=indexes(
                (g.index for g in (granted.get(_fence(op) or 0), newer) if g is not None),
                seen.index,
                op.index,
            ),
        )
    ]


def _unfenced(granted: Mapping[int, Op], op: Op, newest: Op, own: int) -> list[Violation]:
    if _holder(newest) == op.process or (_fence(newest) or 0) <= own:
        return []
    fence, other = _fence(op), granted.get(_fence(op) or 0)
    how = "without a fence" if fence is None else f"with fence {fence}"
    if fence is not None:
        whose = f"that of {other.get('session')}" if other is not None else "that of no lease"
        how += f", which is {whose}"
    return [
        Violation(
            check=FENCED_ID,
            code="unfenced-write",
            subject=op.session,
            explanation=f"{op.process} wrote {op.get('id')} {how}, after {op.session} had gone to "
            f"{_holder(newest)} (fence {_fence(newest)})",
            witness=indexes(
                (g.index for g in (granted.get(own), other) if g is not None),
                newest.index,
                op.index,
            ),
        )
    ]


def _loss(evidence: Evidence) -> Finding:
    facts, limit_ms = evidence.facts, evidence.contract.loss_ms_max
    found: list[Violation] = []
    looked_at = promotions = 0
    for event, cut_ns in _takeovers(facts):
        promotions += event.f == "region.promote"
        for row in rows_of(event, "lost"):
            lost = _lost_commit(facts, row)
            if lost is None:
                continue
            if lost.get("durability") == "quorum":
                found.append(
                    _violation(event, lost, "lost-quorum-write", "was promised to survive")
                )
            elif limit_ms is not None:
                age_ms = (cut_ns - lost.time_ns) // _MS
                if age_ms > limit_ms:
                    found.append(
                        _violation(
                            event,
                            lost,
                            "lost-beyond-limit",
                            f"was {age_ms} ms old; at most {limit_ms} ms was promised",
                        )
                    )
        looked_at += event.f == "region.promote" and limit_ms is not None
    nothing = "no region was promoted" if not promotions else "no loss_ms_max was promised"
    return conclude(LOSS_ID, found, looked_at=looked_at, things="promotions", nothing=nothing)


def _takeovers(facts: Facts) -> list[tuple[Op, int]]:
    """Each promotion or return of a region, with the time from which nothing was copied any
    more: the cut before it, or else its own time."""
    names = ("region.down", "region.partition", "region.promote", "region.join")
    events = sorted((op for f in names for op in facts.view.named(f)), key=lambda op: op.index)
    cut: int | None = None
    out = []
    for op in events:
        if op.f in ("region.down", "region.partition"):
            cut = op.time_ns if cut is None else cut
            continue
        out.append((op, op.time_ns if cut is None else cut))
        if op.f == "region.join":
            cut = None
    return out


def _lost_commit(facts: Facts, row: Any) -> Op | None:
    """The commit that was lost, where its writer had been told that it was stored."""
    number = row.get("op", -1) if isinstance(row, Mapping) else -1
    if not isinstance(number, int) or not 0 <= number < len(facts.view):
        return None
    commit = facts.view[number]
    if commit.type != "commit":
        return None
    answer = facts.view.completion(commit.call) if commit.call >= 0 else None
    return commit if answer is not None and answer.type == "ok" else None


def _violation(event: Op, lost: Op, code: str, why: str) -> Violation:
    return Violation(
        check=LOSS_ID,
        code=code,
        subject=str(lost.get("id", "")),
        explanation=f"{lost.get('id')}, which had been acknowledged, was lost when "
        f"{event.get('region')} {'took over' if event.f == 'region.promote' else 'joined'}; "
        f"it {why}",
        witness=indexes(lost.index, event.index),
        anomaly=event.f,
    )


FENCED = Check(id=FENCED_ID, run=_fenced, needs=frozenset(("leases", "memory")))
LOSS = Check(id=LOSS_ID, run=_loss, needs=frozenset(("regions", "memory")))
