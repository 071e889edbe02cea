"""`capacity.defers`: who has enough in hand says "later", and does it later.

A process that takes whatever comes builds up a queue, and everything in it is late. The contract
says how many tasks a process has in hand at most and how soon it defers the rest. What it defers
is handed out again, and must be done then: deferring for ever is dropping in other words.

In hand is what was handed to a process, or what it said it resumes by itself, until it ends there,
however it ends. While a process stands still it cannot defer, so that time does not count.

>>> from chaoslab.contract import Capacity, Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=n, time_ns=n * 2_000_000_000, type="event", f="task.submit", process="p1",
...           task=f"t{n}") for n in range(3)]
>>> contract = Contract(capacity=Capacity(tasks_in_hand_max=1))
>>> found = CHECK(Evidence(history=View(ops), contract=contract, limits=Limits()))
>>> for violation in found.violations:
...     print(violation.explanation)
p1 had more than 1 task in hand for 2000 ms; what is more was to be deferred within 1000 ms
"""

from __future__ import annotations

from typing import Final

from chaoslab.check.facts import NO_END, Facts, rows_of
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes, plural
from chaoslab.contract import Capacity
from chaoslab.history import Op

ID = "capacity.defers"

_MS: Final = 1_000_000
_EVENTS: Final = (
    "task.submit",
    "task.outcome",
    "task.raised",
    "report.outcome",
    "process.recovers",
    "process.pause",
    "process.resume",
    "process.kill",
    "process.stop",
)


class _Hand:
    """What one process has in hand, and for how long that has been too much."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.tasks: dict[str, list[Op]] = {}  # task -> the entries that put it in hand
        self.full: tuple[int, ...] = ()  # what was in hand when it became too much
        self.over: Op | None = None  # the entry that made it too much
        self._standing = False  # the process is paused
        self._waited_ns = 0
        self._since_ns = 0

    def waited_ns(self, now_ns: int) -> int:
        """How long it has been too much, without the time that the process stood still."""
        if self.over is None:
            return 0
        return self._waited_ns + (0 if self._standing else now_ns - self._since_ns)

    def take(self, op: Op, task: str) -> None:
        """One more task."""
        self.tasks.setdefault(task, []).append(op)
        self.count += 1
        if self.count > self.most and self.over is None:
            self.over = op
            self.full = tuple(o.index for held in self.tasks.values() for o in held)
            self._waited_ns, self._since_ns = 0, op.time_ns

    def end(self, task: str) -> None:
        """A task has ended; where it was handed over twice, the other one goes on."""
        held = self.tasks.get(task)
        if not held:
            return
        held.pop(0)
        if not held:
            del self.tasks[task]
        self.count -= 1
        if self.count <= self.most:
            self.over = None

    def stand(self, op: Op, still: bool) -> None:
        """The process stands still from now on, or goes on."""
        self._waited_ns = self.waited_ns(op.time_ns)
        self._since_ns = op.time_ns
        self._standing = still

    def clear(self) -> None:
        """The process has ended."""
        self.tasks = {}
        self.count = 0
        self.over = None


def _run(evidence: Evidence) -> Finding:
    rules = evidence.contract.capacity
    if rules is None:
        return conclude(ID, [], looked_at=0, nothing="no [capacity] was promised")
    facts = evidence.facts
    events = [op for f in _EVENTS for op in facts.view.named(f) if op.type == "event"]
    events.sort(key=lambda op: op.index)
    found: dict[str, Violation] = {}
    hands: dict[str, _Hand] = {}
    echo = (-1, "")  # a report of an outcome is followed by an entry that says it again
    for op in events:
        hand = hands.setdefault(op.process, _Hand(rules.tasks_in_hand_max))
        _note(found, rules, hand, op.process, op)
        if op.f == "task.outcome" and (op.index, op.task) == echo:
            continue
        _apply(hand, op)
        if op.f == "report.outcome":
            echo = (op.index + 1, op.task)
    if facts.view.ops:
        for process, hand in hands.items():
            _note(found, rules, hand, process, facts.view.ops[-1])
    forever, waiting = _forever(facts, rules)
    return conclude(
        ID,
        [*found.values(), *forever],
        looked_at=len(facts.view.named("task.submit")),
        things="hand-outs of tasks",
        nothing="no task was handed out",
        missing=NO_END if waiting and not facts.ended else "",
    )


def _apply(hand: _Hand, op: Op) -> None:
    if op.f == "task.submit":
        hand.take(op, op.task)
    elif op.f == "process.recovers":
        for task in rows_of(op, "tasks"):
            hand.take(op, str(task))
    elif op.f in ("process.pause", "process.resume"):
        hand.stand(op, op.f == "process.pause")
    elif op.f in ("process.kill", "process.stop"):
        hand.clear()
    else:
        hand.end(op.task)


def _note(found: dict[str, Violation], rules: Capacity, hand: _Hand, process: str, op: Op) -> None:
    """A violation where it has been too much for too long when this entry came."""
    over = hand.over
    if over is None or process in found:
        return
    waited_ns = hand.waited_ns(op.time_ns)
    if waited_ns <= rules.defer_within_ms * _MS:
        return
    resumed = over.f == "process.recovers"
    found[process] = Violation(
        check=ID,
        code="too-much-in-hand",
        subject=process,
        explanation=f"{process} had more than {plural(hand.most, 'task')} in hand for "
        f"{waited_ns // _MS} ms; what is more was to be deferred within {rules.defer_within_ms} ms",
        witness=indexes(hand.full, op.index),
        anomaly="resumed" if resumed else "handed-out",
    )


def _forever(facts: Facts, rules: Capacity) -> tuple[list[Violation], bool]:
    """The tasks that were only ever put off, and whether there are any such tasks at all."""
    found = []
    waiting = False
    for task in facts.tasks.values():
        ends = [*task.others, *((task.outcome,) if task.outcome is not None else ())]
        ends.sort(key=lambda op: op.index)
        if not ends or any(op.get("status") != "deferred" for op in ends):
            continue
        waiting = True
        last = ends[-1]
        again = [op for op in task.submits if op.index > last.index]
        # Handed out again and not answered at all is another breach: the task has no outcome.
        late_ns = facts.view.ops[-1].time_ns - again[0].time_ns if again else 0
        if not facts.ended or late_ns > rules.defer_within_ms * _MS:
            continue
        times = plural(sum(op.f == "task.outcome" for op in ends) or len(ends), "time")
        found.append(
            Violation(
                check=ID,
                code="deferred-forever",
                subject=task.id,
                explanation=f"{task.id} was deferred {times} and never done",
                witness=indexes(ends[0].index, last.index),
            )
        )
    return found, waiting


CHECK = Check(id=ID, run=_run, needs=frozenset(("outcomes",)))
