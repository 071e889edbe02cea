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

from chaoslab.check.anomalies import Anomaly
from chaoslab.check.facts import NO_END, Facts
from chaoslab.check.graph import lineage
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude
from chaoslab.check.observed import gap
from chaoslab.history import View

ID = "lineage.complete"


def _run(evidence: Evidence) -> Finding:
    facts = evidence.facts
    graph = lineage(facts, evidence.contract)
    found = [_orphan(evidence.history, anomaly) for anomaly in graph.of("orphan-effect")]
    dangling = graph.of("dangling-intent")
    found += [_dangling(facts, anomaly) for anomaly in dangling if anomaly.proven]
    intents = sum(len(entry.intents) for entry in facts.operations.values())
    return conclude(
        ID,
        found,
        looked_at=len(facts.tool_commits) + intents,
        things="effects and intents",
        nothing="there were no effects, and no intents were reported",
        missing=gap(facts, evidence.contract)
        or ("" if all(anomaly.proven for anomaly in dangling) else NO_END),
    )


def _orphan(view: View, anomaly: Anomaly) -> Violation:
    return Violation(
        check=ID,
        code=anomaly.kind,
        subject=f"{anomaly.tool} {anomaly.marker}",
        explanation=f"{anomaly.ref or view[anomaly.ops[0]].f} was committed without a request in "
        "the record",
        witness=anomaly.ops,
        tool=anomaly.tool,
    )


def _dangling(facts: Facts, anomaly: Anomaly) -> Violation:
    subject = f"{anomaly.tool} {anomaly.marker}"
    task = facts.tasks.get(anomaly.task)
    end = (
        f"reported {task.id} as {task.status}"
        if task is not None and task.status
        else (f"said nothing of what became of {anomaly.task or 'it'}")
    )
    return Violation(
        check=ID,
        code=anomaly.kind,
        subject=subject,
        explanation=f"the agent noted that it would do {subject}, never tried it, and {end}",
        witness=anomaly.ops,
        tool=anomaly.tool,
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools",)))
