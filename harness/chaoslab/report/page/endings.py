"""What shows a bug that is about no tool: how tasks ended, where sessions went, who wrote what.

No ledger has a row too many when a task never ends, a session leaves its quarantine, or one process
overwrites what another wrote. Each of these still has a plain table that a person believes.

>>> version([1, 12]), version(None)
('1.12', '')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chaoslab.check.facts import TaskFacts
from chaoslab.history import Op
from chaoslab.report.page.rows import LedgerRow, LedgerTable, State, against, cell, fold
from chaoslab.report.page.scene import Scene
from chaoslab.report.page.shown import seconds

_NAMED_MAX: Final = 3


# -- tasks


def tasks_table(scene: Scene, /) -> LedgerTable | None:
    """How the tasks ended, against the other run."""
    mine = scene.facts.tasks
    others = {} if scene.other is None else scene.other.tasks
    if not mine and not others:
        return None
    proven = {op.task for op in scene.witness if op.task}
    rows = []
    for name in {**mine, **others}:
        own, two = mine.get(name), others.get(name)
        status, before = _status(own), _status(two)
        state: State = "same"
        if scene.other is not None and (own is None or two is None):
            state = "missing" if own is None else "extra"
        elif scene.other is not None and status != before:
            state = "changed"
        outcome = None if own is None else own.outcome
        submits = [] if own is None else own.submits
        session = (own or two).session if own or two else ""  # type: ignore[union-attr]
        cells = [
            name,
            session,
            status,
            before if scene.other is not None else "",
            str(len(submits)),
            "" if outcome is None else seconds(outcome.time_ns),
            "" if outcome is None else str(outcome.get("reason") or ""),
        ]
        rows.append(
            LedgerRow(
                cells=tuple(cell(scene, value) for value in cells),
                state=state,
                op=outcome.index if outcome is not None else submits[0].index if submits else None,
                proof=name in proven,
            )
        )
    kept, more, differing = fold(rows)
    differing_all = sum(row.state != "same" for row in rows)
    return LedgerTable(
        tool="tasks",
        title=f"How the tasks ended{against(scene)}",
        compared=scene.other is not None,
        words=f"{differing_all} of {len(rows)} tasks ended otherwise."
        if scene.other is not None
        else "It is so without any fault, so there is no better run to compare it with.",
        columns=(
            "task",
            "session",
            "ended as",
            f"in {scene.other_name}" if scene.other is not None else "without faults",
            "handed out",
            "at",
            "its reason",
        ),
        rows=tuple(kept),
        more=more,
        more_differing=differing,
    )


def _status(task: TaskFacts | None) -> str:
    return "never handed out" if task is None else task.status or "no outcome"


# -- sessions


def sessions_table(scene: Scene, /) -> LedgerTable | None:
    """The moves of the sessions in question, as the agent reported them, and what the operator
    did."""
    sessions = {op.session for op in scene.witness if op.session}
    moves = [
        op
        for f in ("report.transition", "session.release")
        for op in scene.view.named(f)
        if op.session in sessions
    ]
    moves.sort(key=lambda op: op.index)
    rows = [
        LedgerRow(
            cells=tuple(
                cell(scene, value)
                for value in (
                    op.session,
                    str(op.get("state") or "") if op.f.startswith("report.") else "released",
                    str(op.get("why") or ""),
                    seconds(op.time_ns),
                    "/".join(x for x in (op.process, op.task) if x) or "the operator",
                )
            ),
            state="same",
            op=op.index,
            proof=op.index in scene.violation.witness,
        )
        for op in moves
    ]
    if not rows:
        return None
    kept, more, _ = fold(rows)
    names = ", ".join(cell(scene, one) for one in sorted(sessions)[:_NAMED_MAX])
    return LedgerTable(
        tool="sessions",
        title=f"The moves of session {names}",
        compared=False,
        words="As the agent reported them.",
        columns=("session", "state", "why", "at", "by"),
        rows=tuple(kept),
        more=more,
    )


# -- requests to the outside


def requests_table(scene: Scene, /) -> LedgerTable | None:
    """Every request to the outside of the tasks in question, with what came back."""
    tasks = {op.task for op in scene.witness}
    asked = [
        op for op in scene.view.named("network.request") if op.type == "invoke" and op.task in tasks
    ]
    if not asked:
        return None
    rows = [
        LedgerRow(
            cells=tuple(cell(scene, value) for value in _request_cells(scene, op)),
            state="same",
            op=op.index,
            proof=op.index in scene.violation.witness,
        )
        for op in asked
    ]
    kept, more, _ = fold(rows)
    policy = scene.contract.egress
    hosts = ", ".join(policy.hosts) if policy is not None and policy.hosts else "none"
    return LedgerTable(
        tool="network",
        title="Every request to the outside",
        compared=False,
        words=f"Allowed hosts: {cell(scene, hosts)}.",
        columns=("method", "url", "answer", "led on to", "sent at", "asked by"),
        rows=tuple(kept),
        more=more,
    )


def _request_cells(scene: Scene, op: Op) -> list[Any]:
    answer = scene.view.completion(op.index)
    headers = {} if answer is None else answer.get("headers") or {}
    said = "none" if answer is None else answer.get("status") or answer.get("error") or answer.type
    return [
        op.get("method") or "",
        op.get("url") or op.marker,
        str(said),
        headers.get("location", "") if isinstance(headers, Mapping) else "",
        seconds(op.time_ns),
        "/".join(x for x in (op.process, op.task) if x),
    ]


# -- memory


def items_of(scene: Scene, /) -> list[str]:
    """The memory items that the witness is about."""
    found: dict[str, None] = {}
    for op in scene.witness:
        if op.f.startswith("memory."):
            for id in op.marker.split("+") if op.f == "memory.write_many" else (op.marker,):
                found[id] = None
            found[str(op.get("id") or "")] = None
    subject = scene.violation.subject
    if any(str(op.get("id")) == subject for op in scene.facts.memory_commits):
        found[subject] = None
    return [id for id in found if id]


def memory_table(scene: Scene, items: Sequence[str], /) -> LedgerTable | None:
    """The versions of some items, and who wrote them."""
    wanted, witness = set(items), set(scene.violation.witness)
    commits = [op for op in scene.facts.memory_commits if str(op.get("id")) in wanted]
    if not commits:
        return None
    if scene.violation.check.startswith("regions."):
        # Whose turn it was to write is told by the leases.
        sessions = {op.session for op in scene.witness if op.session}
        granted = [op for op in scene.view.named("leases.acquire") if op.type == "commit"]
        last: dict[str, Any] = {}
        for op in granted:
            name, fence = str(op.get("session")), op.get("fence")
            if name in sessions and (last.get(name) != fence or op.index in witness):
                commits.append(op)
            last[name] = fence  # one that is only renewed keeps its fence
        commits.sort(key=lambda op: op.index)
    rows = [
        LedgerRow(
            cells=tuple(cell(scene, value) for value in _version_cells(scene, op)),
            state="same",
            op=op.index,
            proof=op.index in witness or op.call in witness,
        )
        for op in commits
    ]
    kept, more, _ = fold(rows)
    names = ", ".join(cell(scene, id) for id in items[:_NAMED_MAX])
    names += f" and {len(items) - _NAMED_MAX} more" if len(items) > _NAMED_MAX else ""
    return LedgerTable(
        tool="memory",
        title=f"Every version of {names} that the store took",
        compared=False,
        words="Versions are not compared with the fault-free "
        "run: their numbers may differ where nothing is wrong.",
        columns=("item", "version", "over", "fence", "written at", "written by", "value"),
        rows=tuple(kept),
        more=more,
    )


def _version_cells(scene: Scene, op: Op) -> list[Any]:
    call = scene.facts.invoke_of(op)
    task = op.task or (call.task if call is not None else "")
    fence = op.get("fence")
    if op.f == "leases.acquire":
        by = str(op.get("holder") or op.process)
        name = f"(the lease of {op.get('session')})"
        return [name, "", "", str(fence), seconds(op.time_ns), f"goes to {by}", ""]
    return [
        str(op.get("id") or ""),
        "erased" if op.get("erased") else version(op.get("version")),
        version(op.get("over")) or "nothing",
        "none" if fence is None else str(fence),
        seconds(op.time_ns),
        "/".join(x for x in (op.process, task) if x),
        op.get("value"),
    ]


def version(raw: Any, /) -> str:
    """A version as people write it."""
    return ".".join(str(part) for part in raw) if isinstance(raw, (list, tuple)) else ""
