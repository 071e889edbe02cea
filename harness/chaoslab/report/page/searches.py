"""What to search for where no ledger can tell: in logs, in the store, in traces, in a proxy.

Bugs of memory, sessions, limits and regions leave no row too many in anybody's ledger. For each of
them there is a trace that a running system leaves, or would leave if somebody wrote it down. The
numbers and names in the sentences are those of the team's own contract.

>>> SEARCHES["limits.tasks"](None)[0].split(":")[0]
'Tasks that were handed out and have no outcome, or ended as failed or uncertain'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from chaoslab.check.wording import duration
from chaoslab.contract import Budget
from chaoslab.core.visible import visible
from chaoslab.report.page import queries
from chaoslab.report.page.scene import Scene
from chaoslab.report.page.shown import shown

Found = tuple[str, str]  # words and code; the code may be empty

_CODE_MAX: Final = 4_000


def search_of(scene: Scene, /) -> Found | None:
    """The search for one bug; None where the ledger or the traces of its tool say all."""
    check = scene.violation.check
    if check.startswith("invariant."):
        return _invariant(scene)
    if scene.violation.tool and check.startswith(("recovery.", "outcome.")):
        return None
    known = SEARCHES.get(check)
    return None if known is None else known(scene)


def _items(scene: Scene) -> str:
    """The items that the witness is about, one a line."""
    found: dict[str, None] = {}
    for op in scene.witness:
        if op.f.startswith("memory."):
            found[str(op.get("id") or op.marker)] = None
    return "\n".join(f"item = {shown(scene.mask, one)}" for one in list(found)[:5] if one)


def _sessions(scene: Scene) -> str:
    found = dict.fromkeys(op.session for op in scene.witness if op.session)
    return "\n".join(f"session = {shown(scene.mask, one)}" for one in list(found)[:5])


def _tasks(scene: Scene) -> str:
    found = dict.fromkeys(op.task for op in scene.witness if op.task)
    return "\n".join(f"task = {shown(scene.mask, one)}" for one in list(found)[:5])


def _both(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def _atomic(scene: Scene) -> Found:
    group = shown(scene.mask, scene.violation.subject)
    return (
        f"Prompts, requests and answers made from two revisions of {group}: log the revision of "
        "every part that is used together, and search for entries in which they differ.",
        f"group = {group}",
    )


def _lost_update(scene: Scene) -> Found:
    return (
        "In the store's audit log: two writes of one item by different writers, of which the later "
        "names no expected version, or another than the one that it replaced. Without such a log: "
        "counters and lists in these items that are shorter than what the sessions did.",
        _items(scene),
    )


def _linearizable(scene: Scene) -> Found:
    return (
        "In the store's audit log: a read that answered with an older value after the newer one "
        "was acknowledged, to whomever. Compare the times of acknowledgement with those of reads.",
        _items(scene),
    )


def _class_of(scene: Scene) -> str:
    for op in scene.witness:
        found = scene.contract.memory_class(str(op.get("id") or op.marker))
        if found is not None:
            return found.name
    return ""


def _policy(scene: Scene) -> Found:
    found = scene.contract.memory.get(_class_of(scene))
    where = f"items whose id begins with {visible(found.prefix)}" if found else "such items"
    return (
        f"In the store's audit log: {where} that were written twice with different values, or "
        "erased. Without one: keep a hash of each version where it is used, and look for two "
        "hashes under one name.",
        _items(scene),
    )


def _retention(scene: Scene) -> Found:
    found = scene.contract.memory.get(_class_of(scene))
    where, age = "such items", "they may be kept"
    if found is not None:
        where = f"items whose id begins with {visible(found.prefix)}"
        if found.retention_ms is not None:
            age = duration(found.retention_ms)
    return (
        f"In the store: {where} that are older than {age}, or stand there without an expiry. In "
        "the logs: uses of a value later than its expiry; for that the expiry has to be logged "
        "beside each use.",
        _items(scene),
    )


def _access(scene: Scene) -> Found:
    place = scene.violation.subject.partition(" into ")[2] or "that place"
    allowed = [
        f"{visible(name)} may go to {visible(', '.join(one.allowed) or 'nowhere')}"
        for name, one in scene.contract.attributes.items()
        if scene.violation.subject.startswith(f"{name} ")
    ]
    return (
        f"What was sent to {shown(scene.mask, place)} and has the form of such a value (an account "
        "number has one), or its keyed hash. Do not put a customer's real value into a search "
        "field: searches are logged, too.",
        "\n".join(allowed),
    )


def _crossed(scene: Scene) -> Found:
    return (
        "Prompts, requests and answers of one customer with an identifier of another in them: per "
        "conversation, more than one customer's id. Start where memory was slow or a process had "
        "just broken off a call.",
        _sessions(scene),
    )


def _instance(scene: Scene) -> Found:
    return (
        "In the log of the Wasm host: a call of an instance that trapped, or was retired, before. "
        "For that each call has to be logged with a number of its instance.",
        f"instance = {shown(scene.mask, scene.violation.subject)}",
    )


def _moves(scene: Scene) -> Found:
    return (
        "In the log of session states: a session that leaves quarantined without an operator's "
        "release before it, or makes a move that the table does not allow.",
        _both(_sessions(scene), "state = quarantined"),
    )


def _quarantine(scene: Scene) -> Found:
    return (
        "In the log of session states: quarantined, and after it a call of the model or of a tool "
        "for the same session, without an operator's release in between.",
        _both(_sessions(scene), "state = quarantined"),
    )


def _attempts(scene: Scene) -> Found:
    most = scene.contract.limits.attempts_per_operation_max
    said = f"more than {most}" if most is not None else "more than a handful of"
    return (
        f"In your traces: {said} calls of a tool for one action, over all restarts of its task. "
        "Count by the action's own fields, since keys and task ids may be new.",
        _tasks(scene),
    )


def _ended(scene: Scene | None) -> Found:
    return (
        "Tasks that were handed out and have no outcome, or ended as failed or uncertain: count "
        "them by the hour, and compare with when a service was slow or a process restarted.",
        "" if scene is None else _tasks(scene),
    )


def _recovery(scene: Scene) -> Found:
    most = scene.contract.limits.recovery_ms_max
    said = f"more than {duration(most)}" if most is not None else "longer than was promised"
    return (
        f"Tasks with {said} between their first error and their outcome.",
        _tasks(scene),
    )


def _amplified(scene: Scene) -> Found:
    most = scene.contract.limits.amplification_percent_max
    said = f"above {most} percent of" if most is not None else "far above"
    return (
        f"Requests to tools for each task, by the minute: {said} the usual number while a service "
        "is down.",
        "",
    )


def _egress(scene: Scene) -> Found:
    policy = scene.contract.egress
    hosts = visible(", ".join(policy.hosts)) if policy is not None and policy.hosts else "(none)"
    return (
        "In the log of your outgoing proxy or firewall: requests of the agent to hosts that are "
        f"not allowed, those that follow a redirect among them. Allowed: {hosts}.",
        f"request = {shown(scene.mask, scene.violation.subject)}",
    )


def _budget(scene: Scene) -> Found:
    mine = [
        b
        for b in scene.contract.budgets.values()
        if b.tool == scene.violation.tool
        and (scene.violation.subject == b.name or scene.violation.subject.startswith(f"{b.name} "))
    ]
    if not mine:
        return "Sums of what was spent, in any window of the budget.", ""
    budget = mine[0]
    within = f" within {duration(budget.window_ms)}" if budget.window_ms is not None else ""
    whose = "" if budget.per == "all" else f" per {budget.per}"
    words = (
        f"What {shown(scene.mask, budget.tool)} came to{whose}{within}, where it is more than "
        f"{budget.most}. Guessed names: your table and columns may be called otherwise."
    )
    return words, scene.mask.text(_sum(scene, budget))


def _sum(scene: Scene, budget: Budget) -> str:
    ledger = queries.ledger_for(scene.contract.tool(budget.tool))
    field = budget.field.rpartition(".")[2]
    total = f"sum(a.{queries.name(field)})" if field else "count(*)"
    scope = "" if budget.per == "all" else f"a.{queries.name(budget.per)}, "
    if budget.window_ms is None:
        group = f"\nGROUP BY {scope.rstrip(', ')}" if scope else ""
        return (
            f"{ledger.before}SELECT {scope}{total} AS spent\nFROM {ledger.table} AS a{group}\n"
            f"HAVING {total} > {budget.most};"
        )
    seconds = f"{budget.window_ms // 1000}.{budget.window_ms % 1000:03d}"
    same = "" if budget.per == "all" else f"\n  AND a.{queries.name(budget.per)} = b."
    same += "" if budget.per == "all" else queries.name(budget.per)
    grouped = f"{scope.replace('a.', 'b.')}b.created_at"
    return (
        f"{ledger.before}SELECT {grouped}, {total} AS spent\nFROM {ledger.table} AS b\n"
        f"JOIN {ledger.table} AS a\n  ON a.created_at >= b.created_at\n"
        f"  AND a.created_at < b.created_at + interval '{seconds} seconds'{same}\n"
        f"GROUP BY {grouped}\nHAVING {total} > {budget.most};"
    )


def _capacity(scene: Scene) -> Found:
    capacity = scene.contract.capacity
    most = f"more than {capacity.tasks_in_hand_max}" if capacity is not None else "too many"
    return (
        f"Tasks begun and not ended by each process, over time: {most} for longer than the time in "
        "which it was to defer; and tasks that were deferred again and again.",
        "",
    )


def _fenced(scene: Scene) -> Found:
    return (
        "In the store's audit log: a write without a fence, or with one that is lower than the "
        "highest seen for that session before; most of all by processes of a region that had been "
        "given up.",
        _both(_sessions(scene), _items(scene)),
    )


def _loss(scene: Scene) -> Found:
    most = scene.contract.loss_ms_max
    said = f" older than {duration(most)}" if most is not None else ""
    return (
        "After each failover: writes that the agent's log calls acknowledged and the new primary "
        f"does not have{said}.",
        f"item = {shown(scene.mask, scene.violation.subject)}",
    )


def _differs(scene: Scene) -> Found:
    return (
        "After two outages of the same kind: tasks of one kind that ended in different ways. Look "
        "for what the agent takes from the clock, from random numbers, or from the order of a set.",
        _tasks(scene),
    )


def _invariant(scene: Scene) -> Found:
    name = scene.violation.check.partition(".")[2]
    rule = next((one for one in scene.contract.invariants if one.name == name), None)
    words = (
        "This is a rule of your own contract. Ask production the same; the tables here are those "
        "of the lab's ledger, so put yours in."
    )
    code = "" if rule is None else rule.sql or rule.check
    lines = scene.mask.text(code).strip().split("\n")
    return words, "\n".join(visible(line) for line in lines)[:_CODE_MAX]


SEARCHES: Final[Mapping[str, Callable[[Any], Found]]] = {
    "lifecycle.legal": _moves,
    "lifecycle.quarantine": _quarantine,
    "memory.atomic": _atomic,
    "memory.lost-update": _lost_update,
    "memory.linearizable": _linearizable,
    "memory.policy": _policy,
    "memory.retention": _retention,
    "memory.access": _access,
    "isolation.sessions": _crossed,
    "isolation.instance": _instance,
    "limits.attempts": _attempts,
    "limits.tasks": _ended,
    "limits.recovery": _recovery,
    "limits.amplification": _amplified,
    "egress.policy": _egress,
    "budgets.spend": _budget,
    "capacity.defers": _capacity,
    "outcome.honest": _ended,
    "recovery.converges": _ended,
    "recovery.deterministic": _differs,
    "regions.fenced": _fenced,
    "regions.loss": _loss,
}
