"""`lineage.complete`: everything that was done was asked for, and every intent was followed up.

An effect whose request is in no record means that something acts beside the agent. An intent
that the agent reported and then forgot means that recovery lost work. An agent that reports no
intents is not asked for any: where the key is derived and the tool takes keys, none is needed.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=0, time_ns=0, type="commit", f="tools.pay", marker="o-1",
...           value={"ref": "pay:o-1#1"})]
>>> found = CHECK(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [v.code for v in found.violations]
['orphan-effect']
"""

from __future__ import annotations

from chaoslab.check.facts import NO_END, Facts, OpKey
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.history import Operation

ID = "lineage.complete"


def _run(evidence: Evidence) -> Finding:
    facts = evidence.facts
    found = [
        Violation(
            check=ID,
            code="orphan-effect",
            subject=f"{op.f[6:]} {op.marker}",
            explanation=f"{op.get('ref') or op.f} was committed without a request in the record",
            witness=(op.index,),
            tool=op.f[6:],
        )
        for op in facts.tool_commits
        if facts.invoke_of(op) is None
    ]
    intents = 0
    waiting = False
    for key, entry in facts.operations.items():
        intents += len(entry.intents)
        dangling = _dangling(facts, key, entry)
        if dangling and not facts.ended:
            waiting = True
        else:
            found += dangling
    return conclude(
        ID,
        found,
        looked_at=len(facts.tool_commits) + intents,
        things="effects and intents",
        nothing="there were no effects, and no intents were reported",
        missing=NO_END if waiting else "",
    )


def _dangling(facts: Facts, key: OpKey, entry: Operation) -> list[Violation]:
    if not entry.intents or entry.attempts or entry.commits:
        return []
    for intent in entry.intents:
        task = facts.tasks.get(intent.task)
        if task is None:
            continue  # nobody can say whose intent it was
        if task.outcome is not None and task.status != "completed":
            continue  # given up, and said so
        if intent.key is not None and _sent_under(facts, key[0], intent.key):
            continue  # the agent writes its markers in another way
        return [
            Violation(
                check=ID,
                code="dangling-intent",
                subject=f"{key[0]} {key[1]}",
                explanation=f"the agent noted that it would do {key[0]} {key[1]}, then neither "
                f"tried nor said that {intent.task} did not get done",
                witness=indexes(
                    intent.index, task.outcome.index if task.outcome is not None else -1
                ),
                tool=key[0],
            )
        ]
    return []


def _sent_under(facts: Facts, tool: str, key: str) -> bool:
    return any(op.key == key for op in facts.view.named(f"tools.{tool}")) or any(
        op.key == key for op in facts.view.named(f"wasm.{tool}")
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools",)))
