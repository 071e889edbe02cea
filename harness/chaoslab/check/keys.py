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

from chaoslab.check.anomalies import Anomaly
from chaoslab.check.graph import lineage
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude
from chaoslab.check.wording import difference
from chaoslab.contract import Contract
from chaoslab.history import View

ID = "keys.lineage"
_KINDS = frozenset(("key-absent", "key-changed", "key-reused"))


def _run(evidence: Evidence) -> Finding:
    contract = evidence.contract
    graph = lineage(evidence.facts, contract)
    return conclude(
        ID,
        [
            _violation(evidence.history, contract, anomaly)
            for anomaly in graph.anomalies
            if anomaly.kind in _KINDS and not anomaly.legitimate
        ],
        looked_at=sum(
            len(requests)
            for key, requests in graph.requests.items()
            if contract.tool(key[0]).promise != "at-least-once"
        ),
        things="requests",
        nothing="no tool with keys and an exactly-once or at-most-once promise was used",
    )


def _violation(view: View, contract: Contract, anomaly: Anomaly) -> Violation:
    tool, marker = anomaly.tool, anomaly.marker
    if anomaly.kind == "key-absent":
        what = (
            f"{tool} takes keys and {contract.tool(tool).promise} was promised, but "
            f"{marker} was sent without one"
        )
    elif anomaly.kind == "key-changed":
        what = (
            f"{tool} {marker} was sent under a second key while the request under the first may "
            "have happened"
        )
    elif anomaly.detail == "another-operation":
        what = f"one key was used for {view[anomaly.ops[0]].marker} and for {marker}"
    else:
        first, second = (view[i] for i in anomaly.ops)
        what = (
            f"one key was used twice for {marker}, with different content: "
            f"{difference(first.get('args'), second.get('args'))}"
        )
    return Violation(
        check=ID,
        code=anomaly.kind,
        subject=f"{tool} {marker}",
        explanation=what,
        witness=anomaly.ops,
        tool=tool,
        anomaly=anomaly.detail,
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools", "keys")))
