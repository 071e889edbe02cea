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

from collections.abc import Mapping

from chaoslab.check.anomalies import Anomaly
from chaoslab.check.facts import NO_END, OpKey, claims_of, recognisable, rows_of
from chaoslab.check.graph import Lineage, lineage
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.check.observed import gap, untold
from chaoslab.check.replies import is_wrong_ref
from chaoslab.contract import Contract, ToolContract

ID = "effects.delivery"


def _run(evidence: Evidence) -> Finding:
    facts, contract = evidence.facts, evidence.contract
    graph = lineage(facts, contract)
    found: list[Violation] = []
    looked_at = 0
    waiting = False  # something promised has not happened, in a record that was cut short
    hidden = untold(facts, contract)
    doubt = gap(facts, contract)
    for key in {**facts.operations, **facts.claims}:
        entry = facts.operations.get(key)
        if not key[1] or (entry is not None and not entry.attempts and not entry.commits):
            if key not in facts.claims:
                continue  # a mere intent, or a request that nobody can recognise
        looked_at += 1
        found += _unexpected(graph, key)
        found += _duplicates(graph, contract, key)
        doubt = doubt or _whose(graph, key) or _for_one(graph, contract, key)
        doubt = doubt or _gone(graph, contract, key)
        missing = _missing(graph, contract.tool(key[0]), key)
        if missing and key[0] in hidden:
            continue  # nobody reads its effects, or nobody can tell them apart
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
        missing=doubt or (NO_END if waiting else ""),
    )


def _whose(graph: Lineage, key: OpKey) -> str:
    """Why a repeat is not called one: nobody knows whether it is."""
    for anomaly in graph.at(key, "duplicate-by-marker"):
        if not anomaly.legitimate and not anomaly.proven:
            return (
                f"{key[0]} was done {anomaly.times} times in the same words and no request names "
                "its task; give the tool identity_fields, or pass the task's id along"
            )
    return ""


def _for_one(graph: Lineage, contract: Contract, key: OpKey) -> str:
    """Why more rows than requests are not called held: between a real agent and its service the
    lab is the network, and it knows what it delivered twice."""
    facts, tool = graph.facts, contract.tool(key[0])
    if not facts.recorded or tool.effects is None or tool.promise == "at-least-once":
        return ""
    strikes = facts.view.named("nemesis.strike")
    twice = {op.call for op in strikes if op.get("kind") == "duplicate"}
    rows = [e for e in facts.effects.get(key, ()) if e.stands and not e.undoes]
    calls = [e.call.index for e in rows if e.call is not None]
    for call in dict.fromkeys(calls):
        if calls.count(call) > 1 and call not in twice:
            return (
                f"{calls.count(call)} rows of {key[0]} stand for one request ({key[1]}) that was "
                "delivered once: something reached the service past the lab, the service did it "
                "twice, or its query gives more than one row for an effect"
            )
    return ""


def _gone(graph: Lineage, contract: Contract, key: OpKey) -> str:
    """Why a row that stood and no longer stands at the end is not called held: it was taken back
    in a way of which the contract says nothing."""
    facts, tool = graph.facts, contract.tool(key[0])
    if not facts.recorded or tool.effects is None or tool.promise == "at-most-once":
        return ""
    for end in facts.view.named("final.effects"):
        if end.get("tool") != key[0] or end.get("error"):
            continue
        left = {str(r.get("ref")) for r in rows_of(end, "effects") if isinstance(r, Mapping)}
        for effect in facts.effects.get(key, ()):
            told = effect.commits[0].get("ref")
            if effect.stands and told is not None and str(told) not in left:
                return (
                    f"{effect.ref} of {key[0]} ({key[1]}) was there and is gone at the end; name "
                    "the tool that takes it back as compensate, or let the query keep such rows"
                )
    return ""


def _unexpected(graph: Lineage, key: OpKey) -> list[Violation]:
    orphans = {index for anomaly in graph.at(key, "orphan-effect") for index in anomaly.ops}
    return [
        Violation(
            check=ID,
            code="unexpected-effect",
            subject=f"{key[0]} {key[1]}",
            explanation=f"{effect.ref} stands in the ledger and nobody is known to have asked",
            witness=(effect.commits[0].index,),
            tool=key[0],
        )
        for effect in graph.facts.effects.get(key, ())
        if effect.call is None and effect.commits[0].index in orphans
    ]


def _duplicates(graph: Lineage, contract: Contract, key: OpKey) -> list[Violation]:
    return [
        Violation(
            check=ID,
            code="duplicate-effect",
            subject=f"{key[0]} {key[1]}",
            explanation=f"{anomaly.times} × {key[0]} for one request ({key[1]}) where "
            f"{contract.tool(key[0]).promise} was promised",
            witness=anomaly.ops,
            tool=key[0],
            anomaly=anomaly.detail,
        )
        for anomaly in graph.at(key, "duplicate-by-marker")
        if not anomaly.legitimate and anomaly.proven
    ]


def _missing(graph: Lineage, tool: ToolContract, key: OpKey) -> list[Violation]:
    if tool.promise == "at-most-once":
        return []
    facts = graph.facts
    for anomaly in graph.at(key, "claimed-not-done"):
        if not is_wrong_ref(anomaly):
            return [_claimed_missing(tool, anomaly)]
    if tool.promise != "exactly-once" or key in facts.claims or facts.effects_for(key):
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


def _claimed_missing(tool: ToolContract, anomaly: Anomaly) -> Violation:
    subject = f"{anomaly.tool} {anomaly.marker}"
    how = "was undone again" if anomaly.detail else "is not in the ledger"
    return Violation(
        check=ID,
        code="missing-effect",
        subject=subject,
        explanation=f"{anomaly.task} claims {subject}, which {how} ({tool.promise} was promised)",
        witness=anomaly.ops,
        tool=anomaly.tool,
        anomaly="claimed-after-compensation" if anomaly.detail else "claimed",
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools",)))
