"""`limits.*`: errors may happen; these checks say whether they stayed bounded.

A number that nobody gave was not promised, so its check is not applicable. One thing is never
negotiable: every task that was handed out ends in an outcome, be it "failed".

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=n, time_ns=n, type="invoke", f="tools.pay", marker="o-1", task="t1",
...           attempt=n + 1) for n in range(3)]
>>> limits = Limits(attempts_per_operation_max=2)
>>> found = ATTEMPTS(Evidence(history=View(ops), contract=Contract(), limits=limits))
>>> [(v.code, v.explanation) for v in found.violations]
[('too-many-attempts', 't1 asked for pay o-1 3 times; at most 2 was promised')]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from chaoslab.check.facts import NO_END, Facts, TaskFacts, recognisable
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes, plural
from chaoslab.history import Op, View

ATTEMPTS_ID = "limits.attempts"
TASKS_ID = "limits.tasks"
RECOVERY_ID = "limits.recovery"
AMPLIFICATION_ID = "limits.amplification"

_MS: Final = 1_000_000
# These hit everything that a process has in hand, not only the call they strike.
_WIDE: Final = frozenset(("crash", "pause", "partition"))


def _attempts(evidence: Evidence) -> Finding:
    limit = evidence.limits.attempts_per_operation_max
    if limit is None:
        return _no_limit(ATTEMPTS_ID, "attempts_per_operation_max")
    facts = evidence.facts
    counts: dict[tuple[str, str, str, str], list[Op]] = {}
    for key, entry in facts.operations.items():
        for op in entry.attempts:
            if recognisable(op):
                export = str(op.get("export", "")) if op.f.startswith("wasm.") else ""
                row = (facts.task_of(key[0], op), *key, export)
                counts.setdefault(row, []).append(op)
    most = {
        row: limit * (len(facts.tasks) if facts.anybodys and not row[0] else 1) for row in counts
    }
    found = [
        Violation(
            check=ATTEMPTS_ID,
            code="too-many-attempts",
            subject=f"{tool} {marker}",
            explanation=f"{task or 'the agent'} asked for {tool} {marker} {len(tries)} times; "
            f"at most {limit} was promised",
            witness=indexes(op.index for op in tries[: most[row] + 1]),
            tool=tool,
        )
        for row, tries in counts.items()
        if len(tries) > most[row]
        for task, tool, marker, _ in (row,)
    ]
    # A request that names no task may be any task's, and each task has its own number of tries.
    unsure = [row for row, tries in counts.items() if limit < len(tries) <= most[row]]
    return conclude(
        ATTEMPTS_ID,
        found,
        looked_at=len(counts),
        things="operations",
        nothing="no tool was asked for anything",
        missing=f"for which task {unsure[0][1]} {unsure[0][2]} was asked for is not on record"
        if unsure
        else "",
    )


def _tasks(evidence: Evidence) -> Finding:
    facts, limits = evidence.facts, evidence.limits
    found = []
    open_tasks = [t for t in facts.tasks.values() if t.outcome is None and t.submits]
    if facts.ended:
        found += [
            Violation(
                check=TASKS_ID,
                code="no-outcome",
                subject=task.id,
                explanation=f"{task.id} was handed out {plural(len(task.submits), 'time')}"
                f"{', was only ever deferred,' if _put_off(task) else ''} and has no outcome at "
                "the end",
                witness=indexes(task.submits[-1].index),
            )
            for task in open_tasks
        ]
    found += _too_many(facts, "failed", limits.failed_tasks_max)
    found += _too_many(facts, "uncertain", limits.uncertain_tasks_max)
    return conclude(
        TASKS_ID,
        found,
        looked_at=len(facts.tasks),
        things="tasks",
        nothing="no task was handed out",
        missing=NO_END if open_tasks and not facts.ended else "",
    )


def _put_off(task: TaskFacts) -> bool:
    return any(op.get("status") == "deferred" for op in task.others)


def _too_many(facts: Facts, status: str, limit: int | None) -> list[Violation]:
    if limit is None:
        return []
    ended = [t.outcome for t in facts.tasks.values() if t.outcome and t.status == status]
    if status == "failed":
        # A quarantine that nothing in the record speaks for is a failure under another name.
        ended += [
            t.outcome
            for t in facts.tasks.values()
            if t.outcome and t.status == "quarantined" and t.session not in facts.suspect_sessions
        ]
        ended.sort(key=lambda op: op.index)
    if len(ended) <= limit:
        return []
    return [
        Violation(
            check=TASKS_ID,
            code=f"too-many-{status}",
            subject=status,
            explanation=f"{plural(len(ended), 'task')} ended as {status}; at most {limit} was "
            "promised",
            witness=indexes(op.index for op in ended[: limit + 1]),
            anomaly=status,
        )
    ]


def _recovery(evidence: Evidence) -> Finding:
    limit = evidence.limits.recovery_ms_max
    if limit is None:
        return _no_limit(RECOVERY_ID, "recovery_ms_max")
    worst, strikes, looked_at, missing = _worst_recovery(evidence.facts)
    clock = "of wall time " if evidence.recorded else ""
    found = []
    if worst is not None and worst[0] > limit:
        took_ms, strike, outcome = worst
        found.append(
            Violation(
                check=RECOVERY_ID,
                code="too-slow",
                subject=outcome.task,
                explanation=f"{outcome.task} had its outcome {took_ms} ms {clock}after the strike; "
                f"at most {limit} ms was promised",
                witness=indexes(strike.index, outcome.index),
                anomaly=str(strike.get("kind") or strike.f),
            )
        )
    return conclude(
        RECOVERY_ID,
        found,
        looked_at=looked_at,
        things="struck tasks",
        nothing="no fault was injected" if not strikes else "the faults struck no open task",
        missing=missing,
    )


def recovery_ms(view: View, /) -> int | None:
    """The longest time from a strike to the outcome of a task that it hit, in ms of the history's
    clock; None where nothing was hit, or where a task that was hit never ended."""
    worst, _, _, missing = _worst_recovery(Facts(view))
    return None if worst is None or missing else worst[0]


def _worst_recovery(facts: Facts) -> tuple[tuple[int, Op, Op] | None, int, int, str]:
    """The slowest recovery (ms, strike, outcome), how many strikes, how many struck tasks that
    ended, and which did not."""
    worst: tuple[int, Op, Op] | None = None
    strikes = looked_at = 0
    missing = ""
    for strike, tasks in _struck(facts):
        strikes += 1
        for task in tasks:
            if task.outcome is None:
                missing = f"{task.id} was struck and has no outcome"
                continue
            looked_at += 1
            took_ms = (task.outcome.time_ns - strike.time_ns) // _MS
            if worst is None or took_ms > worst[0]:
                worst = (took_ms, strike, task.outcome)
    return worst, strikes, looked_at, missing


def _struck(facts: Facts) -> Iterator[tuple[Op, list[TaskFacts]]]:
    """Each strike with the tasks that were open then and that it hit, in one sweep."""
    events: list[tuple[int, Op, TaskFacts | None]] = [
        (op.index, op, None)
        for f in ("nemesis.strike", "region.down", "region.partition")
        for op in facts.view.named(f)
    ]
    if not events:
        return
    for task in facts.tasks.values():
        events += [(op.index, op, task) for op in task.submits]
        if task.outcome is not None:
            events.append((task.outcome.index, task.outcome, task))
    events.sort(key=lambda event: event[0])
    by_session: dict[str, dict[str, TaskFacts]] = {}
    by_process: dict[str, dict[str, TaskFacts]] = {}
    for _, op, whose in events:
        if whose is None:
            hit = dict(by_session.get(op.session, ())) if op.session else {}
            for process in _processes(facts, op):
                hit |= by_process.get(process, {})
            yield op, [t for t in hit.values() if t.outcome is None or t.outcome.index > op.index]
        elif op is whose.outcome:
            by_session.get(whose.session, {}).pop(whose.id, None)
            for submit in whose.submits:
                by_process.get(submit.process, {}).pop(whose.id, None)
        else:
            by_session.setdefault(whose.session, {})[whose.id] = whose
            by_process.setdefault(op.process, {})[whose.id] = whose


def _processes(facts: Facts, strike: Op) -> list[str]:
    """The processes in which a strike hits everything."""
    if strike.f != "nemesis.strike":
        region = strike.get("region")
        return [p for p, op in facts.births.items() if op.get("region") == region]
    return [strike.process] if str(strike.get("kind")) in _WIDE else []


def _amplification(evidence: Evidence) -> Finding:
    limit = evidence.limits.amplification_percent_max
    if limit is None:
        return _no_limit(AMPLIFICATION_ID, "amplification_percent_max")
    if evidence.control is None:
        return conclude(
            AMPLIFICATION_ID, [], looked_at=0, missing="there is no fault-free execution"
        )
    requests = evidence.facts.requests
    base = len(evidence.facts_of(evidence.control).requests)
    # A ratio says nothing where there is next to nothing to multiply: one action may always be
    # tried as often as was promised of it.
    tries = evidence.limits.attempts_per_operation_max
    most = max(limit * base // 100, 0 if tries is None else base - 1 + tries)
    found = []
    if base and len(requests) > most:
        # The first request beyond the limit proves it; what was asked for most often explains it.
        beyond = requests[most]
        busiest = _busiest(requests)
        found.append(
            Violation(
                check=AMPLIFICATION_ID,
                code="amplified",
                subject="requests",
                explanation=f"{plural(len(requests), 'request')} where the fault-free execution "
                f"made {base}: {len(requests) * 100 // base}%, at most {limit}% was promised"
                + (f"; {len(busiest)} of them are for {_action(busiest[0])}" if busiest else ""),
                witness=indexes((op.index for op in busiest), beyond.index),
            )
        )
    return conclude(
        AMPLIFICATION_ID,
        found,
        looked_at=len(requests) if base else 0,
        things="requests",
        nothing="the fault-free execution made no request",
    )


def _busiest(requests: Sequence[Op]) -> list[Op]:
    """The requests of the action that was asked for most often, where that is more than once."""
    found: dict[str, list[Op]] = {}
    for op in requests:
        if op.marker:
            found.setdefault(_action(op), []).append(op)
    most = max(found.values(), key=len, default=[])
    return most if len(most) > 1 else []


def _action(op: Op) -> str:
    return f"{op.f.partition('.')[2].removesuffix('.lookup')} {op.marker}"


def _no_limit(check: str, name: str) -> Finding:
    return conclude(check, [], looked_at=0, nothing=f"no {name} was promised")


ATTEMPTS = Check(id=ATTEMPTS_ID, run=_attempts, needs=frozenset(("tools",)))
TASKS = Check(id=TASKS_ID, run=_tasks, needs=frozenset(("outcomes",)))
RECOVERY = Check(id=RECOVERY_ID, run=_recovery, needs=frozenset(("strikes", "outcomes")))
AMPLIFICATION = Check(
    id=AMPLIFICATION_ID, run=_amplification, needs=frozenset(("tools", "control"))
)
