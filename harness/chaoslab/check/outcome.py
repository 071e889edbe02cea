"""`outcome.honest`: what the agent says at the end is what the ledger says.

Nobody is asked to succeed, only to say truly what happened. So a claim needs an effect, a
reference needs to be the one in the ledger, "failed" must not hide something that was done, and
"uncertain" needs a reason: an answer that did not come, a process that died, a key in flight.

Claims are optional. An agent that never claims anything is judged by its status alone.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=0, time_ns=0, type="event", f="task.outcome", task="t1", value={
...     "status": "completed", "claims": [{"tool": "pay", "marker": "o-1", "ref": None}]}),
...        Op(index=1, time_ns=1, type="event", f="lab.end")]
>>> found = CHECK(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [v.code for v in found.violations]
['claimed-not-done']
"""

from __future__ import annotations

from collections.abc import Sequence

from chaoslab.check.facts import (
    NO_END,
    Claimed,
    Effect,
    Facts,
    TaskFacts,
    claims_of,
    standing_for,
)
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.contract import Contract
from chaoslab.history import Op, tool_of

ID = "outcome.honest"

# After one of these the agent may well not know what another process of its own has done.
_DOUBTFUL = frozenset(("conflict", "fenced", "held"))


def _run(evidence: Evidence) -> Finding:
    facts = evidence.facts
    done = _effects_by_task(facts)
    uses_claims = bool(facts.claims)
    found: list[Violation] = []
    looked_at = 0
    waiting = False
    for task in facts.tasks.values():
        own = done.get(task.id, [])
        for late in task.others:
            if late.f == "task.outcome" and late.get("status") == "completed":
                found += _contradicting(facts, task, late)
        if task.outcome is None:
            continue
        looked_at += 1
        claims = claims_of(task.outcome)
        false = [v for claim in claims for v in _claim(facts, claim)]
        if false and not facts.ended:
            waiting = True  # what is claimed may still be on its way in a record cut short
        else:
            found += false
        if task.status in ("completed", "failed") and claims:
            found += _not_claimed(evidence.contract, task.outcome, claims, own)
        elif task.status == "failed" and not claims:
            found += _failed(facts, task, task.outcome, own, uses_claims)
        elif task.status == "uncertain":
            found += _uncertain(facts, task, task.outcome)
    return conclude(
        ID,
        found,
        looked_at=looked_at,
        things="outcomes",
        nothing="no task has an outcome",
        missing=NO_END if waiting else "",
    )


def _effects_by_task(facts: Facts) -> dict[str, list[Effect]]:
    found: dict[str, list[Effect]] = {}
    for effects in facts.effects.values():
        for effect in effects:
            if effect.task and not effect.undoes:
                found.setdefault(effect.task, []).append(effect)
    return found


def _claim(facts: Facts, claim: Claimed) -> list[Violation]:
    effects = facts.effects_for((claim.tool, claim.marker))
    standing = standing_for(effects, claim.outcome)
    subject = f"{claim.tool} {claim.marker}"
    if not standing:
        undone = [e.undone_by.index for e in effects if e.undone_by is not None]
        how = "had been undone" if undone else "is not in the ledger"
        return [
            Violation(
                check=ID,
                code="claimed-not-done",
                subject=subject,
                explanation=f"{claim.outcome.task} claims {subject}, which {how}",
                witness=indexes(undone, claim.outcome.index),
                tool=claim.tool,
                anomaly="undone" if undone else "",
            )
        ]
    if claim.ref is None or any(e.ref == claim.ref for e in standing):
        return []
    voided = any(e.ref == claim.ref for e in effects)
    return [
        Violation(
            check=ID,
            code="wrong-ref",
            subject=subject,
            explanation=f"{claim.outcome.task} names {claim.ref} for {subject}; the ledger has "
            f"{standing[-1].ref}",
            witness=indexes(standing[-1].commits[0].index, claim.outcome.index),
            tool=claim.tool,
            anomaly="undone" if voided else "",
        )
    ]


def _knowable(own: list[Effect], outcome: Op) -> list[Effect]:
    """The standing effects that whoever reported could have known of: all but those that the
    request of *another* process brought about after the report."""
    return [
        e
        for e in own
        if e.stands
        and (
            e.commits[0].index < outcome.index
            or e.call is None
            or e.call.process == outcome.process
        )
    ]


def _not_claimed(
    contract: Contract, outcome: Op, claims: Sequence[Claimed], own: list[Effect]
) -> list[Violation]:
    listed = {(c.tool, c.marker) for c in claims}
    found = []
    for effect in _knowable(own, outcome):
        if effect.tool not in contract.tools:
            continue
        call = effect.call
        names = {(effect.tool, effect.marker)}
        if call is not None and call.f.startswith("wasm."):
            names.add((call.f[5:], call.marker))
        if names & listed:
            continue
        listed |= names  # one line for an action, however often it was done
        found.append(
            Violation(
                check=ID,
                code="done-not-claimed",
                subject=f"{effect.tool} {effect.marker}",
                explanation=f"{outcome.task} lists what it did and leaves out {effect.ref}",
                witness=indexes(effect.commits[0].index, outcome.index),
                tool=effect.tool,
            )
        )
    return found


def _failed(
    facts: Facts, task: TaskFacts, outcome: Op, own: list[Effect], uses_claims: bool
) -> list[Violation]:
    standing = _knowable(own, outcome)
    if not standing or (not uses_claims and _failed_elsewhere(facts, task, standing)):
        return []
    effect = standing[0]
    answered = any(_last_answer(facts, e) == "ok" for e in standing)
    return [
        Violation(
            check=ID,
            code="failed-after-commit",
            subject=f"{effect.tool} {effect.marker}",
            explanation=f"{outcome.task} is reported as failed, and {effect.ref} stands",
            witness=indexes(effect.commits[0].index, outcome.index),
            tool=effect.tool,
            anomaly="although-answered" if answered else "reply-lost",
        )
    ]


def _failed_elsewhere(facts: Facts, task: TaskFacts, standing: list[Effect]) -> bool:
    """Whether the agent knew of every effect, and what failed came later and was another call.

    Such an agent, where it never uses claims, failed honestly in the middle of its work.
    """
    if any(_last_answer(facts, e) != "ok" for e in standing):
        return False
    keys = {(e.tool, e.marker) for e in standing}
    first = min(e.commits[0].index for e in standing)
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


def _uncertain(facts: Facts, task: TaskFacts, outcome: Op) -> list[Violation]:
    if len(task.submits) != 1 or facts.view.named("region.promote"):
        return []  # handed out again, or taken over: reason enough to doubt
    death = facts.deaths.get(task.submits[0].process)
    if death is not None and death.index < outcome.index:
        return []
    calls = facts.calls_of(task.id)
    keys = {(tool_of(op), op.marker) for op in calls} & facts.operations.keys()
    tries = [op for key in sorted(keys) for op in facts.operations[key].attempts]
    for op in (*calls, *tries):
        answer = facts.view.completion(op.index)
        if op.index > outcome.index:
            continue
        if answer is None or answer.type == "info" or answer.index > outcome.index:
            return []
        if answer.type == "fail" and str(answer.get("error")) in _DOUBTFUL:
            return []
    return [
        Violation(
            check=ID,
            code="uncertain-without-cause",
            subject=task.id,
            explanation=f"{task.id} is reported as uncertain, but every answer came, and nothing "
            "of the agent died",
            witness=indexes((op.index for op in tries), outcome.index),
        )
    ]


def _contradicting(facts: Facts, task: TaskFacts, late: Op) -> list[Violation]:
    if not facts.ended:
        return []
    for claim in claims_of(late):
        effects = facts.effects_for((claim.tool, claim.marker))
        if effects and (claim.ref is None or any(e.ref == claim.ref for e in effects)):
            continue
        counted = task.outcome.index if task.outcome is not None else -1
        return [
            Violation(
                check=ID,
                code="contradicting-outcome",
                subject=f"{claim.tool} {claim.marker}",
                explanation=f"a second report for {task.id} claims "
                f"{claim.ref or f'{claim.tool} {claim.marker}'}, which is not in the ledger",
                witness=indexes(counted, late.index),
                tool=claim.tool,
            )
        ]
    return []


CHECK = Check(id=ID, run=_run, needs=frozenset(("outcomes",)))
