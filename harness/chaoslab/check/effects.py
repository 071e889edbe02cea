"""`effects.delivery`: no action happens twice, and none that is claimed is missing.

Judged from the tools' own ledgers, per logical action (tool, marker), whatever the key, the
wording or the process. What a compensation undid does not count; two commits of one reference
are one effect; one request that the *network* delivered twice counts once where no agent could
have prevented it. So an outbox, a saga, a fail-fast agent and one that is simply handed the task
again are all measured by the same thing: what stands at the end.

>>> from chaoslab.contract import Contract, Limits, ToolContract
>>> from chaoslab.history import Op, View
>>> ops = []
>>> for nth in (1, 2):
...     ops.append(Op(index=len(ops), time_ns=nth, type="invoke", f="tools.pay", marker="o-1",
...                   key=f"k{nth}", task="t1", attempt=nth))
...     ops.append(Op(index=len(ops), time_ns=nth, type="commit", f="tools.pay", marker="o-1",
...                   call=len(ops) - 1, key=f"k{nth}", value={"ref": f"pay:o-1#{nth}"}))
>>> contract = Contract(tools={"pay": ToolContract(name="pay", keys=True,
...                                                promise="exactly-once")})
>>> found = CHECK(Evidence(history=View(ops), contract=contract, limits=Limits()))
>>> [(v.code, v.anomaly, v.witness) for v in found.violations]
[('duplicate-effect', 'key-changed', (0, 1, 2, 3))]
"""

from __future__ import annotations

from chaoslab.check.facts import (
    NO_END,
    Claimed,
    Effect,
    Facts,
    OpKey,
    claims_of,
    recognisable,
    requests_behind,
    standing_for,
)
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.contract import Contract, ToolContract
from chaoslab.history import Op

ID = "effects.delivery"


def _run(evidence: Evidence) -> Finding:
    facts, contract = evidence.facts, evidence.contract
    found: list[Violation] = []
    looked_at = 0
    waiting = False  # something promised has not happened, in a record that was cut short
    for key in {**facts.operations, **facts.claims}:
        entry = facts.operations.get(key)
        if not key[1] or (entry is not None and not entry.attempts and not entry.commits):
            if key not in facts.claims:
                continue  # a mere intent, or a request that nobody can recognise
        looked_at += 1
        found += _unexpected(facts, key)
        found += _duplicates(facts, contract, key)
        missing = _missing(facts, contract.tool(key[0]), key)
        if missing and not facts.ended:
            waiting = True
        else:
            found += missing
    return conclude(
        ID,
        found,
        looked_at=looked_at,
        things="operations",
        nothing="no tool was asked for anything",
        missing=NO_END if waiting else "",
    )


def _unexpected(facts: Facts, key: OpKey) -> list[Violation]:
    return [
        Violation(
            check=ID,
            code="unexpected-effect",
            subject=f"{key[0]} {key[1]}",
            explanation=f"{effect.ref} stands in the ledger and nobody is known to have asked",
            witness=(effect.commits[0].index,),
            tool=key[0],
        )
        for effect in facts.effects.get(key, ())
        if effect.call is None
    ]


def _duplicates(facts: Facts, contract: Contract, key: OpKey) -> list[Violation]:
    tool = contract.tool(key[0])
    if tool.promise == "at-least-once":
        return []
    standing = [e for e in facts.effects.get(key, ()) if e.stands and e.call is not None]
    if len(standing) < 2:
        return []
    groups: dict[str, list[Effect]] = {}
    for effect in requests_behind(standing, tool):
        # Without declared identity fields the marker only says "same words": two tasks that
        # send the same words may well mean two actions.
        groups.setdefault("" if tool.identity_fields else effect.task, []).append(effect)
    return [_duplicate(facts, tool, key, group) for group in groups.values() if len(group) > 1]


def _duplicate(facts: Facts, tool: ToolContract, key: OpKey, effects: list[Effect]) -> Violation:
    first, second = effects[0], effects[1]
    return Violation(
        check=ID,
        code="duplicate-effect",
        subject=f"{key[0]} {key[1]}",
        explanation=f"{len(effects)} × {key[0]} for one request ({key[1]}) where "
        f"{tool.promise} was promised",
        witness=indexes(
            *(e.commits[0].index for e in (first, second)),
            *(e.call.index for e in (first, second) if e.call is not None),
        ),
        tool=key[0],
        anomaly=_anomaly(facts, tool, first, second),
    )


def _anomaly(facts: Facts, tool: ToolContract, first: Effect, second: Effect) -> str:
    """How one action came to be done twice, from the keys and the processes of its requests."""
    one, two = first.call, second.call
    assert one is not None and two is not None
    if one.index == two.index:
        return "one-request-without-key" if one.f.startswith("tools.") else "twice-in-one-call"
    if first.task != second.task and first.task and second.task:
        return "repeated-across-tasks"
    keys = (_key(one, first), _key(two, second))
    if None not in keys and tool.keys:
        return "key-changed" if keys[0] != keys[1] else "key-forgotten"
    if tool.keys:
        return "key-absent"
    for op, effect in ((one, first), (two, second)):
        death = facts.deaths.get(op.process)
        if death is not None and death.index < effect.commits[0].index:
            return "late-commit-of-a-dead-process"
    if one.process == two.process:
        return "un-keyed-retry"
    earlier = one if one.index < two.index else two
    death = facts.deaths.get(earlier.process)
    if death is None or death.index > max(one.index, two.index):
        return "two-processes-at-once"
    return "repeated-after-restart"


def _key(call: Op, effect: Effect) -> str | None:
    return effect.commits[0].key if call.key is None else call.key


def _missing(facts: Facts, tool: ToolContract, key: OpKey) -> list[Violation]:
    if tool.promise == "at-most-once":
        return []
    effects = facts.effects_for(key)
    claims = facts.claims.get(key, ())
    for claim in claims:
        if not standing_for(effects, claim.outcome):
            return [_claimed_missing(tool, key, claim, effects)]
    if tool.promise != "exactly-once" or claims or effects:
        return []
    entry = facts.operations.get(key)
    if entry is None:
        return []
    for name in sorted(facts.tasks_of(key)):
        task = facts.tasks.get(name)
        if task is None or task.outcome is None or task.status != "completed":
            continue
        tries = [op for op in entry.attempts if facts.task_of(key[0], op) == name]
        tries = [op for op in tries if recognisable(op)]
        if not tries:
            continue
        if claims_of(task.outcome) and all(facts.refused(op) for op in tries):
            continue  # it was told no, and it lists what it did instead
        return [
            Violation(
                check=ID,
                code="missing-effect",
                subject=f"{key[0]} {key[1]}",
                explanation=f"{name} ended as completed, and {key[0]} {key[1]}, which it asked "
                f"for, never happened ({tool.promise} was promised)",
                witness=indexes(tries[-1].index, task.outcome.index),
                tool=key[0],
                anomaly="reported-completed",
            )
        ]
    return []


def _claimed_missing(
    tool: ToolContract, key: OpKey, claim: Claimed, effects: list[Effect]
) -> Violation:
    undone = [e.undone_by.index for e in effects if e.undone_by is not None]
    how = "was undone again" if undone else "is not in the ledger"
    return Violation(
        check=ID,
        code="missing-effect",
        subject=f"{key[0]} {key[1]}",
        explanation=f"{claim.outcome.task} claims {key[0]} {key[1]}, which {how} "
        f"({tool.promise} was promised)",
        witness=indexes(undone, claim.outcome.index),
        tool=key[0],
        anomaly="claimed-after-compensation" if undone else "claimed",
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools",)))
