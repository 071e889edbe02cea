"""The because-chain: a breach told as a short story that ends in what to change.

The witness proves a breach to a machine. A person also needs what stands around it: the request
behind a commit, the fault that struck it, the answer that did not come, the process that died,
the report at the end. This module adds those, in order of time, and leaves out the rest.

>>> from chaoslab.check.model import Violation
>>> from chaoslab.history import Op, View
>>> view = View([
...     Op(index=0, time_ns=1_204_000_000, type="invoke", f="tools.pay", process="east-1",
...        marker="o-1", attempt=1, key="k1"),
...     Op(index=1, time_ns=1_206_000_000, type="commit", f="tools.pay", marker="o-1", call=0,
...        value={"ref": "pay:o-1#1"})])
>>> broken = Violation(check="outcome.honest", code="failed-after-commit", subject="pay o-1",
...                    explanation="t1 is reported as failed, and pay:o-1#1 stands", witness=(1,))
>>> for line in because(view, broken)[:3]:
...     print(line)
  #0  1.204 s  the agent (east-1) asks for pay o-1, 1st try, key k1
  #1  1.206 s  the service commits it: pay:o-1#1
  so: t1 is reported as failed, and pay:o-1#1 stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chaoslab.check.model import Violation, plural
from chaoslab.check.sentences import sentence
from chaoslab.check.texts import advice
from chaoslab.history import Op, View

_LINES_MAX: Final = 11  # entries; with the conclusion, the advice and the replay 14 lines
_FEW: Final = 4  # with fewer entries than this a story has no beginning and no end
_EDGE: Final = 4

_WITNESS, _CAUSE, _ANSWER, _LIFE, _END, _START = range(6)
# These hit whoever is near, so they matter although they belong to another call.
_WIDE: Final = frozenset(("crash", "pause", "partition"))


def because(view: View, violation: Violation, /, *, replay: str = "") -> list[str]:
    """The story of a violation, one line an element. `replay` is the command that shows it."""
    ranks = _gather(view, violation)
    witness = [i for i in violation.witness if i in ranks]
    if len(witness) > _LINES_MAX - 3:
        # A long row of the same thing: how it began and how it ended is enough.
        for index in witness[_EDGE:-_EDGE]:
            del ranks[index]
    kept = sorted(ranks, key=lambda index: (ranks[index], index))[:_LINES_MAX]
    left_out = [i for i in witness if i not in kept]
    told: list[Op] = []
    rows = []
    for op in (view[index] for index in sorted(kept)):
        rows.append((f"#{op.index}", _seconds(op.time_ns), sentence(op, told)))
        told.append(op)
    lines = _columns(rows)
    if left_out:
        lines.append(f"  … and {plural(len(left_out), 'more entry').replace('entrys', 'entries')}")
    lines.append(f"  so: {violation.explanation}.")
    todo = advice(violation.check, violation.code, violation.anomaly)
    if todo:
        lines.append(f"  what to change: {todo}")
    if replay:
        lines.append(f"  see it again: {replay}")
    return lines


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    numbers = max((len(row[0]) for row in rows), default=0)
    times = max((len(row[1]) for row in rows), default=0)
    return [f"  {n:<{numbers}}  {t:>{times}}  {text}" for n, t, text in rows]


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns // 10**6 % 1000:03d} s"


def _gather(view: View, violation: Violation) -> dict[int, int]:
    """The entries of the story, each with its rank; the lowest ranks are told first."""
    ranks: dict[int, int] = {}

    def add(ops: Iterable[Op], rank: int) -> None:
        for op in ops:
            ranks.setdefault(op.index, rank)

    witness = [view[i] for i in violation.witness if 0 <= i < len(view)]
    if not witness:
        return ranks
    add(witness, _WITNESS)
    calls = {op.index if op.type == "invoke" else op.call for op in witness}
    calls = {c for c in calls if 0 <= c < len(view) and view[c].type == "invoke"}
    add((view[c] for c in sorted(calls)), _CAUSE)
    strikes = view.named("nemesis.strike")
    add((s for s in strikes if s.call in calls), _CAUSE)
    for call in sorted(calls):
        answer = view.completion(call)
        if answer is not None:
            if answer.type != "ok":
                add((answer,), _ANSWER)
            elif answer.f.startswith(("tools.", "wasm.")):
                add((answer,), _END)
        if view[call].f.startswith("tools."):
            add(view.commits(call), _ANSWER)
    for op in _missing_action(view, violation):
        calls.add(op.index)
        add((op,), _CAUSE)
        add((s for s in strikes if s.call == op.index), _CAUSE)
        add((a for a in (view.completion(op.index),) if a is not None), _ANSWER)
    first, last = witness[0].index, witness[-1].index
    if calls:
        first = min(first, *calls)
    _surroundings(view, ranks, witness, first, last)
    if violation.tool or violation.check.startswith(("outcome.", "limits.", "recovery.")):
        tasks = {op.task for op in witness} | {view[c].task for c in calls}
        add((o for o in view.named("task.outcome") if o.task in tasks - {""}), _END)
    if len(ranks) < _FEW:
        for task in sorted({op.task for op in witness} - {""}):
            _whole_task(view, ranks, task)
        for f in ("lab.deadlock", "lab.budget", "lab.end"):
            add(view.named(f), _START)
    return ranks


def _missing_action(view: View, violation: Violation) -> list[Op]:
    """The requests for an action that never happened: only they can show where it was lost."""
    tool = violation.tool
    if not tool or not violation.subject.startswith(f"{tool} "):
        return []
    entry = view.operations().get((tool, violation.subject[len(tool) + 1 :]))
    return entry.attempts[-2:] if entry is not None and not entry.commits else []


def _whole_task(view: View, ranks: dict[int, int], task: str) -> None:
    """Where one entry is the whole proof: how its task began, what struck it, how it went on."""
    # What is said a line later anyway, and the housekeeping around it, is no part of the story.
    own = [
        op for op in view if op.task == task and op.f not in ("report.outcome", "leases.acquire")
    ]
    for op in own:
        if op.f in ("task.submit", "nemesis.strike", "task.raised"):
            ranks.setdefault(op.index, _LIFE)
    for op in own[-_FEW:]:
        ranks.setdefault(op.index, _END)
    processes = {op.process for op in own} - {""}
    for op in view.named("process.kill"):
        if op.process in processes:
            ranks.setdefault(op.index, _LIFE)


def _surroundings(
    view: View, ranks: dict[int, int], witness: list[Op], first: int, last: int
) -> None:
    """What happened between the ends of the story to the processes in it."""
    processes = {view[i].process for i in ranks} - {""}
    regional = {view[i].f.partition(".")[0] for i in ranks} & {"leases", "region", "memory"}
    for f in ("process.kill", "process.start", "process.pause", "process.resume"):
        for op in view.named(f):
            if first < op.index < last and op.process in processes:
                ranks.setdefault(op.index, _LIFE)
    for op in view.named("nemesis.strike"):
        if first < op.index < last and str(op.get("kind")) in _WIDE and op.process in processes:
            ranks.setdefault(op.index, _ANSWER)
    if regional:
        for f in ("region.down", "region.partition", "region.promote"):
            for op in view.named(f):
                if first < op.index < last:
                    ranks.setdefault(op.index, _LIFE)
