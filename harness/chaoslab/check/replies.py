"""Where the last link of a lineage breaks: what the agent says, and what its ledger says.

An agent may claim what it did, with references or without, or claim nothing at all; then its
status alone is its word. Either way what it says must agree with what stands.

>>> from chaoslab.history import View
>>> ops = [Op(index=0, time_ns=0, type="event", f="task.outcome", task="t1", value={
...     "status": "completed", "claims": [{"tool": "pay", "marker": "o-1", "ref": None}]})]
>>> [(a.kind, a.ops, a.proven) for a in of_replies(Facts(View(ops)), Contract())]
[('claimed-not-done', (0,), False)]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from chaoslab.check.anomalies import Anomaly, shown_by
from chaoslab.check.facts import Claimed, Effect, Facts, TaskFacts, claims_of, standing_for
from chaoslab.check.observed import untold
from chaoslab.contract import Contract
from chaoslab.core.jsons import canonical
from chaoslab.history import Op

_WRONG: Final = "wrong-ref"
_WRONG_UNDONE: Final = "wrong-ref-undone"


def of_replies(facts: Facts, contract: Contract, /) -> list[Anomaly]:
    """Where an outcome that counted and the ledger disagree, task by task."""
    return [
        anomaly
        for task in facts.tasks.values()
        if task.outcome is not None
        for anomaly in of_reply(facts, contract, task, facts.done_by(task.id))
    ]


def of_reply(
    facts: Facts, contract: Contract, task: TaskFacts, done: Sequence[Effect], /
) -> list[Anomaly]:
    """Where the outcome of one task and the effects that it brought about disagree."""
    outcome = task.outcome
    assert outcome is not None
    claims = claims_of(outcome)
    found = [a for claim in claims for a in _claim(facts, contract, task, claim)]
    if task.status in ("completed", "failed") and claims:
        found += _left_out(facts, contract, task, outcome, claims, done)
    elif task.status == "failed":
        found += _denied(facts, contract, task, outcome, done)
    return found


def is_wrong_ref(anomaly: Anomaly, /) -> bool:
    """Whether the action was done, and only the reference that is claimed for it is not its."""
    return anomaly.detail in (_WRONG, _WRONG_UNDONE)


def _claim(facts: Facts, contract: Contract, task: TaskFacts, claim: Claimed) -> list[Anomaly]:
    effects = facts.effects_for((claim.tool, claim.marker))
    standing = standing_for(effects, claim.outcome, late=facts.late)
    shown: list[Op | None]
    if not effects and claim.tool in untold(facts, contract):
        return []  # there is no ledger to hold against it
    if not standing:
        shown = [e.undone_by for e in effects if e.undone_by is not None]
        detail = "undone" if shown else ""
    elif _named(facts, claim, standing):
        return []
    else:
        shown = [standing[-1].commits[0]]
        undone = any(e.ref == claim.ref for e in effects)
        detail = _WRONG_UNDONE if undone else _WRONG
    return [
        Anomaly(
            kind="claimed-not-done",
            tool=claim.tool,
            marker=claim.marker,
            ops=shown_by(*shown, claim.outcome),
            detail=detail,
            proven=facts.ended,  # in a record cut short it may still be on its way
            ref=claim.ref or "",
            task=task.id,
        )
    ]


def _named(facts: Facts, claim: Claimed, standing: Sequence[Effect]) -> bool:
    """Whether a claim names a standing effect, or none, or had no way to name one."""
    return (
        claim.ref is None
        or any(e.ref == claim.ref for e in standing)
        or not any(_was_told(facts, claim, e) for e in standing)
    )


def _was_told(facts: Facts, claim: Claimed, effect: Effect) -> bool:
    """Whether the agent can know an effect by the reference that the ledger has. What is read out
    of a team's own table may be a number that the service never tells anybody."""
    if effect.commits[0].index not in facts.late:
        return True
    entry = facts.operations.get((claim.tool, claim.marker))
    answers = [facts.view.completion(op.index) for op in entry.attempts] if entry else []
    return any(a is not None and effect.ref in canonical(a.value) for a in answers)


def _knowable(facts: Facts, done: Sequence[Effect], outcome: Op) -> list[Effect]:
    """The standing effects that whoever reported could have known of: all but those that the
    request of *another* process brought about after the report. One that was only read afterwards
    may have come about then, unless its request was answered before."""
    return [
        e
        for e in done
        if e.stands
        and (
            _told_of(facts, e) < outcome.index
            or e.call is None
            or e.call.process == outcome.process
        )
    ]


def _told_of(facts: Facts, effect: Effect) -> int:
    first = effect.commits[0]
    if effect.call is None or first.index not in facts.late:
        return first.index
    answer = facts.view.completion(effect.call.index)
    return answer.index if answer is not None and answer.type == "ok" else first.index


def _left_out(
    facts: Facts,
    contract: Contract,
    task: TaskFacts,
    outcome: Op,
    claims: Sequence[Claimed],
    done: Sequence[Effect],
) -> list[Anomaly]:
    listed = {(c.tool, c.marker) for c in claims}
    found = []
    for effect in _knowable(facts, done, outcome):
        call = effect.call
        names = {(effect.tool, effect.marker)}
        if call is not None and call.f.startswith("wasm."):
            names.add((call.f[5:], call.marker))
        if names & listed:
            continue
        listed |= names  # one line for an action, however often it was done
        found.append(_not_claimed(contract, task, outcome, effect, ""))
    return found


def _denied(
    facts: Facts, contract: Contract, task: TaskFacts, outcome: Op, done: Sequence[Effect]
) -> list[Anomaly]:
    standing = _knowable(facts, done, outcome)
    if not standing or (not facts.claims and _failed_elsewhere(facts, task, standing)):
        return []
    answered = any(_last_answer(facts, e) == "ok" for e in standing)
    detail = "although-answered" if answered else "reply-lost"
    return [_not_claimed(contract, task, outcome, standing[0], detail)]


def _not_claimed(
    contract: Contract, task: TaskFacts, outcome: Op, effect: Effect, detail: str
) -> Anomaly:
    return Anomaly(
        kind="done-not-claimed",
        tool=effect.tool,
        marker=effect.marker,
        ops=shown_by(effect.commits[0], outcome),
        detail=detail,
        # A list of claims need not name what the contract does not.
        legitimate=not detail and effect.tool not in contract.tools,
        ref=effect.ref,
        task=task.id,
    )


def _failed_elsewhere(facts: Facts, task: TaskFacts, standing: list[Effect]) -> bool:
    """Whether the agent knew of every effect, and what failed came later and was another call.

    Such an agent, where it never uses claims, failed honestly in the middle of its work.
    """
    if any(_last_answer(facts, e) != "ok" for e in standing):
        return False
    if facts.recorded:
        return True  # what failed may be the agent's own store, or anything else that is not seen
    keys = {(e.tool, e.marker) for e in standing}
    first = min(facts.since(e.commits[0]) for e in standing)
    for op in facts.calls_of(task.id):
        answer = facts.view.completion(op.index)
        if op.index > first and (answer is None or answer.type != "ok"):
            if (op.f.partition(".")[2], op.marker) not in keys:
                return True
    return False


def _last_answer(facts: Facts, effect: Effect) -> str:
    entry = facts.operations.get((effect.tool, effect.marker))
    last = entry.attempts[-1] if entry is not None and entry.attempts else effect.call
    answer = facts.view.completion(last.index) if last is not None else None
    return answer.type if answer is not None else ""
