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

from chaoslab.check.model import Violation
from chaoslab.check.sentences import sentence
from chaoslab.check.surroundings import (
    asked_by,
    expired_quarantine,
    life_of,
    lives_between,
    reason_of,
    regions_between,
    replica_reads,
    torn_reads,
    wide_strikes,
)
from chaoslab.check.texts import advice
from chaoslab.history import Op, View

_LINES_MAX: Final = 11  # with the conclusion, the advice and the replay 14 lines
_FEW: Final = 4  # with fewer entries than this a story has no beginning and no end
_EDGE: Final = 4
_STRIKES_MAX: Final = 2

_WITNESS, _CAUSE, _ANSWER, _LIFE, _END, _START = range(6)
_ENDINGS: Final = ("outcome.", "limits.", "recovery.")


def because(view: View, violation: Violation, /, *, replay: str = "") -> list[str]:
    """The story of a violation, one line an element. `replay` is the command that shows it."""
    ranks, gaps = _gather(view, violation)
    witness = [i for i in violation.witness if i in ranks]
    if len(witness) > _LINES_MAX - 3:
        # A long row of the same thing: how it began and how it ended is enough.
        for index in witness[_EDGE:-_EDGE]:
            del ranks[index]
        gaps[witness[_EDGE - 1]] = len(witness) - 2 * _EDGE
    room = _LINES_MAX - len(gaps)
    told: list[Op] = []
    rows = []
    kept = sorted(sorted(ranks, key=lambda index: (ranks[index], index))[:room])
    for op in (view[index] for index in kept):
        said = sentence(
            op,
            told,
            until_ns=view[kept[-1]].time_ns,
            no_ledger=not view.commits(op.index),
        )
        rows.append((f"#{op.index}", _seconds(op.time_ns), said))
        if op.index in gaps:
            rows.append(("…", "", f"{gaps[op.index]} more like that"))
        told.append(op)
    lines = _columns(rows)
    lines.append(f"  so: {violation.explanation}.")
    todo = advice(violation.check, violation.code, violation.anomaly)
    if todo:
        lines.append(f"  what to change: {todo}")
    if replay:
        lines.append(f"  see it again: {replay}")
    return lines


def story(view: View, violation: Violation, /) -> tuple[int, ...]:
    """The numbers of the entries that `because` tells of, ascending: for whoever draws them.

    >>> view = View([Op(index=0, time_ns=0, type="invoke", f="tools.pay", marker="o-1"),
    ...              Op(index=1, time_ns=1, type="info", f="tools.pay", marker="o-1", call=0)])
    >>> story(view, Violation(check="x", code="y", subject="pay o-1", explanation="", witness=(0,)))
    (0, 1)
    """
    return tuple(sorted(_gather(view, violation)[0]))


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    numbers = max((len(row[0]) for row in rows), default=0)
    times = max((len(row[1]) for row in rows), default=0)
    return [f"  {n:<{numbers}}  {t:>{times}}  {text}" for n, t, text in rows]


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns // 10**6 % 1000:03d} s"


def _add(ranks: dict[int, int], ops: Iterable[Op], rank: int) -> None:
    for op in ops:
        ranks.setdefault(op.index, rank)


def _gather(view: View, violation: Violation) -> tuple[dict[int, int], dict[int, int]]:
    """The entries of the story, each with its rank: the lowest ranks are told first. And behind
    which of them how many of the same kind are left out."""
    ranks: dict[int, int] = {}
    witness = [view[i] for i in violation.witness if 0 <= i < len(view)]
    if not witness:
        return ranks, {}
    _add(ranks, witness, _WITNESS)
    calls = {op.index if op.type == "invoke" else op.call for op in witness}
    calls = {c for c in calls if 0 <= c < len(view) and view[c].type == "invoke"}
    _add(ranks, (view[c] for c in calls), _CAUSE)
    strikes = view.named("nemesis.strike")
    _add(ranks, (s for s in strikes if s.call in calls), _CAUSE)
    for call in calls:
        answer = view.completion(call)
        if answer is not None:
            if answer.type != "ok":
                _add(ranks, (answer,), _ANSWER)
            elif answer.f.startswith(("tools.", "wasm.")):
                _add(ranks, (answer,), _END)
        if view[call].f.startswith("tools."):
            _add(ranks, view.commits(call), _ANSWER)
    for op in _missing_action(view, violation):
        calls.add(op.index)
        _add(ranks, (op,), _CAUSE)
        _add(ranks, (s for s in strikes if s.call == op.index), _CAUSE)
        _add(ranks, (a for a in (view.completion(op.index),) if a is not None), _ANSWER)
    first = min(witness[0].index, *calls) if calls else witness[0].index
    _around(view, violation, ranks, witness, first)
    tasks = {op.task for op in witness} | {view[c].task for c in calls}
    _add(ranks, _struck_too(view, tasks - {""}, witness[-1].index), _ANSWER)
    if violation.tool or violation.check.startswith(_ENDINGS):
        _add(ranks, (o for o in view.named("task.outcome") if o.task in tasks - {""}), _END)
    gaps = _put_off(view, ranks)
    if len(ranks) < _FEW:
        _whole_tasks(view, ranks, witness, violation.check)
    return ranks, gaps


def _struck_too(view: View, tasks: set[str], last: int) -> list[Op]:
    """The first strikes at other calls of the same tasks, where what broke later has begun, and
    those calls."""
    before = [s for s in view.named("nemesis.strike") if 0 <= s.call < len(view) and s.index < last]
    struck = [s for s in before if view[s.call].task in tasks][:_STRIKES_MAX]
    return [op for strike in struck for op in (view[strike.call], strike)]


def _missing_action(view: View, violation: Violation) -> list[Op]:
    """The requests for an action that never happened: only they can show where it was lost."""
    tool = violation.tool
    if not tool or not violation.subject.startswith(f"{tool} "):
        return []
    entry = view.operations().get((tool, violation.subject[len(tool) + 1 :]))
    return entry.attempts[-2:] if entry is not None and not entry.commits else []


def _around(
    view: View, violation: Violation, ranks: dict[int, int], witness: list[Op], first: int
) -> None:
    """What happened between the ends of the story to whoever is in it."""
    last = witness[-1].index
    processes = {view[i].process for i in ranks} - {""}
    sessions = {op.session for op in witness} - {""}
    if violation.check.startswith(("limits.tasks", "recovery.")):
        for op in witness:
            if op.f == "task.outcome" and op.get("status") in ("failed", "uncertain"):
                _add(ranks, reason_of(view, op), _CAUSE)
    elif violation.check.startswith("lifecycle."):
        for session in sessions:
            _add(ranks, expired_quarantine(view, first, last, session), _CAUSE)
    elif violation.check == "memory.atomic":
        _add(ranks, torn_reads(view, witness[-1], violation.subject), _CAUSE)
    elif violation.check == "effects.delivery":
        _add(ranks, replica_reads(view, first, last, sessions), _ANSWER)
    _add(ranks, wide_strikes(view, first, last, processes), _ANSWER)
    _add(ranks, lives_between(view, first, last, processes), _LIFE)
    _add(ranks, regions_between(view, first, last, [view[i] for i in ranks]), _LIFE)


def _whole_tasks(view: View, ranks: dict[int, int], witness: list[Op], check: str) -> None:
    """Where the proof is too short to be a story, the tasks in it are told."""
    ended = {op.task for op in view.named("task.outcome") if op.get("status") != "deferred"}
    for task in sorted({op.task for op in witness} - {""}):
        until = witness[-1].index if task in ended else len(view) - 1
        _add(ranks, life_of(view, task, until), _LIFE)
        if check.startswith(_ENDINGS):
            _add(ranks, asked_by(view, task, until)[-_FEW:], _END)
        if task not in ended and check.startswith((*_ENDINGS, "capacity.")):
            for f in ("lab.deadlock", "lab.budget", "lab.end"):
                _add(ranks, view.named(f), _START)


def _put_off(view: View, ranks: dict[int, int]) -> dict[int, int]:
    """Leaves out what stands between the first and the last deferral of a task: the numbers of
    the first ones, each with how many are missing behind it."""
    deferred: dict[str, list[int]] = {}
    for op in view.named("task.outcome"):
        if op.get("status") == "deferred":
            deferred.setdefault(op.task, []).append(op.index)
    gaps = {}
    for found in deferred.values():
        first, last = found[0], found[-1]
        if first in ranks and last in ranks and len(found) > 2:
            gaps[first] = len(found) - 2
            for index in found[1:-1]:
                ranks.pop(index, None)
    return gaps
