"""What the tests of evidence from real processes share: tools of a team's own, and rows that were
read at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tests.unit.check.builder import History

from chaoslab.check import Evidence, Finding, judge
from chaoslab.contract import Contract, Limits, ToolContract
from chaoslab.contract.target import EffectSource

SOURCE = EffectSource(sql="select id, idem_key, order_id from refunds")
REFUND = ToolContract(
    name="refund",
    match="POST billing/v1/refunds",
    keys=True,
    key_at="header:Idempotency-Key",
    identity_fields=("body.order_id",),
    promise="exactly-once",
    effects=SOURCE,
)
NOTIFY = ToolContract(
    name="notify",
    match="mcp crm/notify",
    identity_fields=("order",),
    promise="at-most-once",
    effects=EffectSource(sql="select id, order_id from mails"),
)
VOID = ToolContract(name="void", match="POST billing/v1/voids", identity_fields=("ref",))
SAY = ToolContract(
    name="say", match="POST crm/v1/mails", keys=True, promise="exactly-once", effects=SOURCE
)  # no identity fields
# A tool of the lab's own, as in the simulator.
AUDIT = ToolContract(name="audit", identity_fields=("order",), promise="exactly-once", keys=True)


def contract(*tools: ToolContract, **more: Any) -> Contract:
    return Contract(tools={t.name: t for t in tools}, **more)


SEEN = contract(REFUND, NOTIFY, SAY, AUDIT, VOID)
HIDDEN = contract(replace(REFUND, effects=None), NOTIFY, AUDIT, VOID)


def find(
    check: str,
    h: History,
    by: Contract = SEEN,
    *,
    recorded: bool = True,
    control: History | None = None,
    repeats: Iterable[History] = (),
    limits: Limits | None = None,
) -> Finding:
    evidence = Evidence(
        history=h.view(),
        contract=by,
        limits=Limits() if limits is None else limits,
        control=None if control is None else control.view(),
        repeats=tuple(r.view() for r in repeats),
        recorded=recorded,
    )
    found = judge(evidence).finding(check)
    assert "broke" not in found.reason, found
    return found


def codes(check: str, h: History, by: Contract = SEEN, **more: Any) -> list[str]:
    return [
        v.code + (f"/{v.anomaly}" if v.anomaly else "")
        for v in find(check, h, by, **more).violations
    ]


def row(h: History, tool: str, marker: str, ref: Any, key: str | None = None, **args: Any) -> int:
    """A row that was read at the end: nothing tells whose it is."""
    value = {"ref": ref, "args": args}
    return h.add("commit", f"tools.{tool}", value, marker=marker, key=key)


def asked(answer: str = "ok", key: str | None = "k", tool: str = "refund") -> History:
    h = History().start("p1").submit("s1-t1")
    getattr(h, answer)(h.ask(tool, "o-1", key=key))
    return h
