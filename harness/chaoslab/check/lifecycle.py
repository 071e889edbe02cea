"""`lifecycle.legal` and `lifecycle.quarantine`: sessions move as the table says, and a
quarantined session is left alone.

    initialized → active ⇄ waiting-for-tool      active, waiting-for-tool → completed | failed
    completed, failed → active (the session's next task)      any → quarantined
    out of quarantined only after the operator's session.release, to active or initialized

Only what the agent reports is judged. Several processes may speak about one session, so moves
are followed per process; a new process may begin anew, or report again what stood. Quarantine
alone is shared by all. Another process that was already running cannot know of it at once: it is
held to it from its next reading of the primary memory for that session, or after 30 s of the
record's time in which it was not paused. The process that reported it, and any that starts later,
are held to it at once: so store the quarantine first, and report it second.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=n, time_ns=n, type="event", f="report.transition", session="s1",
...           process="p1", value={"state": state, "why": ""})
...        for n, state in enumerate(("initialized", "waiting-for-tool"))]
>>> found = LEGAL(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [v.explanation for v in found.violations]
['p1 moved s1 from initialized to waiting-for-tool']
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from chaoslab.check.facts import Facts
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.history import Op

LEGAL_ID = "lifecycle.legal"
QUARANTINE_ID = "lifecycle.quarantine"

MOVES: Final = {
    "": frozenset(("initialized", "active", "quarantined")),
    "initialized": frozenset(("initialized", "active", "quarantined")),
    "active": frozenset(("active", "waiting-for-tool", "completed", "failed", "quarantined")),
    "waiting-for-tool": frozenset(
        ("waiting-for-tool", "active", "completed", "failed", "quarantined")
    ),
    "completed": frozenset(("completed", "active", "quarantined")),
    "failed": frozenset(("failed", "active", "quarantined")),
    "quarantined": frozenset(("quarantined",)),
    "released": frozenset(("active", "initialized", "quarantined")),
}
STATES: Final = frozenset(MOVES) - {"", "released"}
_GRACE_NS: Final = 30_000_000_000


@dataclass(slots=True, kw_only=True)
class _Ward:
    """One stay of a session in quarantine: from the report until the operator's release."""

    start: Op
    end: int  # number of the release, or the length of the history
    reporters: dict[str, int]  # process -> number of its own report


class _Quarantines:
    """Who was held to which quarantine, from when on."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._wards: dict[str, list[_Ward]] = {}
        for op in self._moves(facts):
            wards = self._wards.setdefault(op.session, [])
            if op.f == "session.release":
                if wards and wards[-1].end > op.index:
                    wards[-1].end = op.index
            elif wards and wards[-1].end > op.index:
                wards[-1].reporters.setdefault(op.process, op.index)
            else:
                wards.append(_Ward(start=op, end=len(facts.view), reporters={op.process: op.index}))
        self._since: dict[tuple[int, str], int] = {}  # (ward, process) -> first telling read
        if self._wards:
            for f in ("memory.read", "memory.scan"):
                for op in facts.view.named(f):
                    self._learn(op)

    def _learn(self, op: Op) -> None:
        """A finished reading of the primary tells its process of the quarantines before it."""
        asked = self._facts.invoke_of(op)
        if op.type != "ok" or (asked is not None and asked.get("at") == "replica"):
            return
        begun = asked.index if asked is not None else op.index
        wards = self._wards.values() if not op.session else [self._wards.get(op.session, [])]
        for ward in (w for some in wards for w in some if w.start.index < begun):
            self._since.setdefault((ward.start.index, op.process), op.index)

    @staticmethod
    def _moves(facts: Facts) -> Iterator[Op]:
        found = list(facts.view.named("session.release"))
        for op in facts.view.named("report.transition"):
            if op.get("state") == "quarantined":
                found.append(op)
        yield from sorted(found, key=lambda op: op.index)

    def sessions(self) -> set[str]:
        return {s for s, wards in self._wards.items() if wards}

    def over(self, op: Op, /) -> Op | None:
        """The report of the quarantine that the process of `op` is held to, if there is one."""
        for ward in self._wards.get(op.session, ()):
            if ward.start.index < op.index < ward.end:
                return ward.start if self._knows(ward, op) else None
        return None

    def _knows(self, ward: _Ward, op: Op) -> bool:
        own = ward.reporters.get(op.process)
        if own is not None and own < op.index:
            return True
        birth = self._facts.births.get(op.process)
        if birth is not None and birth.index > ward.start.index:
            return True
        if self._since.get((ward.start.index, op.process), op.index) < op.index:
            return True
        since = ward.start.time_ns
        for resume in self._facts.view.named("process.resume"):
            if resume.process == op.process and ward.start.index < resume.index < op.index:
                since = resume.time_ns
        return op.time_ns - since > _GRACE_NS


def _legal(evidence: Evidence) -> Finding:
    facts = evidence.facts
    quarantines = _Quarantines(facts)
    moves = facts.view.named("report.transition")
    releases = facts.view.named("session.release")
    by_process: dict[tuple[str, str], tuple[str, int]] = {}
    by_task: dict[tuple[str, str, str], tuple[str, int]] = {}
    by_session: dict[str, str] = {}
    found: list[Violation] = []
    for op in sorted((*moves, *releases), key=lambda op: op.index):
        if op.f == "session.release":
            for key, (state, _) in list(by_process.items()):
                if key[1] == op.session and state == "quarantined":
                    by_process[key] = ("released", op.index)
            for longer, (state, _) in list(by_task.items()):
                if longer[1] == op.session and state == "quarantined":
                    by_task[longer] = ("released", op.index)
            by_session[op.session] = "released"
            continue
        state = str(op.get("state", ""))
        pair, triple = (op.process, op.session), (op.process, op.session, op.task)
        before, at = by_process.get(pair, ("", -1))
        if state not in STATES:
            found.append(
                _move(
                    op,
                    "unknown-state",
                    f"{op.process} reports {op.session} as {state!r}, which is no state",
                    (op.index,),
                    "",
                )
            )
            continue
        ward = quarantines.over(op)
        if ward is not None and state != "quarantined":
            found.append(
                _move(
                    op,
                    "left-quarantine",
                    f"{op.process} moved {op.session} out of "
                    f"quarantine to {state} without the operator",
                    (ward.index, op.index),
                    state,
                )
            )
        elif not _allowed(before, by_task.get(triple, ("", -1))[0], by_session, op, state):
            found.append(
                _move(
                    op,
                    "illegal-move",
                    f"{op.process} moved {op.session} from {before or 'nothing'} to {state}",
                    (at, op.index),
                    f"{before or 'nothing'} to {state}",
                )
            )
        by_process[pair] = by_task[triple] = (state, op.index)
        by_session[op.session] = state
    return conclude(
        LEGAL_ID,
        found,
        looked_at=len(moves),
        things="moves",
        nothing="the agent reports no moves of its sessions",
    )


def _allowed(
    before: str, before_in_task: str, by_session: dict[str, str], op: Op, state: str
) -> bool:
    """A session with several tasks at once is followed per task as well; either will do."""
    if state in MOVES[before] or state in MOVES[before_in_task]:
        return True
    # A new process may report what stood, or the move that its predecessor stored and did not
    # live to report.
    return before == "" and state in MOVES[by_session.get(op.session, "")] | {
        by_session.get(op.session, "")
    }


def _move(op: Op, code: str, explanation: str, witness: tuple[int, ...], anomaly: str) -> Violation:
    return Violation(
        check=LEGAL_ID,
        code=code,
        subject=op.session,
        explanation=explanation,
        witness=indexes(witness),
        anomaly=anomaly,
    )


def _quarantine(evidence: Evidence) -> Finding:
    facts = evidence.facts
    quarantines = _Quarantines(facts)
    sessions = quarantines.sessions()
    found: list[Violation] = []
    looked_at = len(sessions)
    if sessions:
        work = [op for op in facts.requests if not op.get("lookup")]
        work += [op for op in facts.view.named("model.complete") if op.type == "invoke"]
        work.sort(key=lambda op: op.index)
        for op in work:
            if op.session not in sessions:
                continue
            ward = quarantines.over(op)
            if ward is not None:
                found.append(_worked(ward, op))
    return conclude(
        QUARANTINE_ID,
        found,
        looked_at=looked_at,
        things="quarantined sessions",
        nothing="no session was reported as quarantined",
    )


def _worked(ward: Op, op: Op) -> Violation:
    head, _, tail = op.f.partition(".")
    retry = op.attempt >= 2 and head != "model"
    what = f"for {tail} {op.marker}".strip() if head != "model" else "the model"
    return Violation(
        check=QUARANTINE_ID,
        code="work-in-quarantine",
        subject=op.session,
        explanation=f"{op.process} asked {what}{' again' if retry else ''} in {op.session}, "
        "which was quarantined",
        witness=indexes(ward.index, op.index),
        tool="" if head == "model" else tail,
        anomaly="retry" if retry else "",
    )


LEGAL = Check(id=LEGAL_ID, run=_legal, needs=frozenset(("transitions",)))
QUARANTINE = Check(id=QUARANTINE_ID, run=_quarantine, needs=frozenset(("transitions",)))
