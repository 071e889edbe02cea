"""`keys.lineage`: one action keeps one idempotency key, over retries, restarts and regions.

A key protects only while it stays the same. The check follows it over every request of an
action, and objects exactly where the protection is gone: a request without a key, another key
while the earlier request may have happened, or the old key on other content.

A new key is *right* in two cases, so neither is called a breach: after the earlier request was
certainly refused, and after its effect was undone by a compensation.

>>> from chaoslab.contract import Contract, Limits, ToolContract
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=n, time_ns=n, type="invoke", f="tools.pay", marker="o-1", key=f"k{n}",
...           task="t1", process="p1", attempt=n + 1) for n in (0, 1)]
>>> contract = Contract(tools={"pay": ToolContract(name="pay", keys=True,
...                                                promise="exactly-once")})
>>> found = CHECK(Evidence(history=View(ops), contract=contract, limits=Limits()))
>>> [(v.code, v.anomaly) for v in found.violations]
[('key-changed', 'on-retry')]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaoslab.check.facts import Facts, OpKey
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.contract import ToolContract
from chaoslab.core.jsons import canonical
from chaoslab.history import Op

ID = "keys.lineage"


def _run(evidence: Evidence) -> Finding:
    facts, contract = evidence.facts, evidence.contract
    found: list[Violation] = []
    looked_at = 0
    by_key: dict[tuple[str, str], list[Op]] = {}
    for key in facts.operations:
        tool = contract.tool(key[0])
        if not key[1] or not tool.keys or tool.promise == "at-least-once":
            continue
        requests = _requests(facts, key)
        looked_at += len(requests)
        if not requests:
            continue
        found += _absent(tool, key, requests)
        found += _changed(facts, tool, key, requests)
        for op in requests:
            if op.key is not None:
                by_key.setdefault((key[0], op.key), []).append(op)
    for (name, _), requests in by_key.items():
        if len(requests) > 1:
            found += _reused(facts, name, sorted(requests, key=_index))
    return conclude(
        ID,
        found,
        looked_at=looked_at,
        things="requests",
        nothing="no tool with keys and an exactly-once or at-most-once promise was used",
    )


def _index(op: Op) -> int:
    return op.index


def _requests(facts: Facts, key: OpKey) -> list[Op]:
    """What carried, or should have carried, the key: requests to the tool, and what a Wasm
    guest committed on its own account."""
    entry = facts.operations[key]
    out = [op for op in entry.attempts if op.f.startswith("tools.") or op.key is not None]
    known = {op.index for op in out}
    out += [op for op in entry.commits if op.call not in known and facts.invoke_of(op) is not None]
    out.sort(key=_index)
    return out


def _absent(tool: ToolContract, key: OpKey, requests: list[Op]) -> list[Violation]:
    if tool.promise == "at-most-once" and len(requests) == 1:
        return []  # asked once and never again: there is no second request to be matched
    bare = [op for op in requests if op.key is None]
    if not bare:
        return []
    return [
        Violation(
            check=ID,
            code="key-absent",
            subject=f"{key[0]} {key[1]}",
            explanation=f"{key[0]} takes keys and {tool.promise} was promised, but "
            f"{key[1]} was sent without one",
            witness=(bare[0].index,),
            tool=key[0],
            anomaly="on-retry" if any(op.key is not None for op in requests) else "always",
        )
    ]


def _changed(facts: Facts, tool: ToolContract, key: OpKey, requests: list[Op]) -> list[Violation]:
    undone = [e.undone_by.index for e in facts.effects.get(key, ()) if e.undone_by is not None]
    live: dict[str, Op] = {}  # by key: the last request that may have happened
    for op in requests:
        if op.key is None:
            continue
        for other_key, other in list(live.items()):
            if other_key == op.key:
                continue
            if facts.refused(other, before=op.index) or any(
                other.index < u < op.index for u in undone
            ):
                del live[other_key]
                continue
            tasks = (facts.task_of(key[0], other), facts.task_of(key[0], op))
            across = tasks[0] != tasks[1] and "" not in tasks
            if across and not tool.identity_fields:
                continue  # the same words from two tasks may be two actions
            return [_key_changed(facts, key, other, op, across)]
        live[op.key] = op
    return []


def _key_changed(facts: Facts, key: OpKey, first: Op, second: Op, across: bool) -> Violation:
    if across:
        anomaly = "across-tasks"
    elif first.process == second.process:
        anomaly = "on-retry"
    elif _region(facts, first) != _region(facts, second):
        anomaly = "after-failover"
    else:
        anomaly = "after-restart"
    return Violation(
        check=ID,
        code="key-changed",
        subject=f"{key[0]} {key[1]}",
        explanation=f"{key[0]} {key[1]} was sent under a second key while the request under "
        "the first may have happened",
        witness=indexes(first.index, second.index),
        tool=key[0],
        anomaly=anomaly,
    )


def _region(facts: Facts, op: Op) -> str:
    birth = facts.births.get(op.process)
    return str(birth.get("region", "")) if birth is not None else ""


def _reused(facts: Facts, tool: str, requests: list[Op]) -> list[Violation]:
    """One key, several requests: the same action with the same content, or a breach."""
    first = requests[0]
    for op in requests[1:]:
        if op.marker != first.marker:
            if facts.refused(first, before=op.index):
                first = op
                continue
            return [_key_reused(tool, first, op, "another-operation")]
    base: Op | None = None
    for op in requests:
        if not isinstance(op.value, Mapping):
            continue
        if base is None or facts.refused(base, before=op.index):
            base = op
        elif _args(op) != _args(base) and _clashed(facts, tool, base, op):
            return [_key_reused(tool, base, op, "payload-changed")]
    return []


def _args(op: Op) -> str:
    args: Any = op.get("args")
    if op.f.startswith("wasm.") and isinstance(args, Mapping):
        args = {k: v for k, v in args.items() if k != "key"}
    return canonical(args)


def _clashed(facts: Facts, tool: str, base: Op, op: Op) -> bool:
    """Whether the other content mattered: the service refused it, or did it as well.

    A refusal that the agent settles by a look-up did no harm; where the first request never
    arrived, the other content is simply the first that the service saw.
    """
    if facts.view.commits(op.index):
        return bool(facts.view.commits(base.index))
    answer = facts.view.completion(op.index)
    if answer is None or answer.type != "fail" or answer.get("error") != "conflict":
        return False
    for f in (f"tools.{tool}", f"tools.{tool}.lookup"):
        for later in facts.view.named(f):
            if later.type == "ok" and later.index > answer.index and later.marker == op.marker:
                asked = facts.invoke_of(later)
                if asked is not None and asked.get("lookup"):
                    return False
    return True


def _key_reused(tool: str, first: Op, second: Op, anomaly: str) -> Violation:
    what = (
        f"for {first.marker} and for {second.marker}"
        if anomaly == "another-operation"
        else f"twice for {second.marker}, with different content"
    )
    return Violation(
        check=ID,
        code="key-reused",
        subject=f"{tool} {second.marker}",
        explanation=f"one key was used {what}",
        witness=indexes(first.index, second.index),
        tool=tool,
        anomaly=anomaly,
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools", "keys")))
