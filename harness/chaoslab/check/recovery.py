"""`recovery.converges` and `recovery.deterministic`: where recovery leads, and that it always
leads there.

The goal of an execution is what stands at the end: how often each action was done, and how each
task ended. It names no ids, times, versions, fences or attempts, so two executions that took
different ways to the same end have the same goal. With faults the goal must equal that of the
fault-free execution, or a degraded one that the limits declare: tasks that ended as uncertain or
failed within their limits, or quarantined as reported, whose actions stand at most once.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> def run(status):
...     return View([Op(index=0, time_ns=0, type="event", f="task.outcome", task="t1",
...                     value={"status": status})])
>>> evidence = Evidence(history=run("deferred"), control=run("completed"), contract=Contract(),
...                     limits=Limits())
>>> [(v.code, v.anomaly) for v in CONVERGES(evidence).violations]
[('diverged', 'completed became deferred')]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from chaoslab.check.facts import NO_END, Facts, OpKey, TaskFacts
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes, plural
from chaoslab.check.observed import gap
from chaoslab.check.repeats import counts_of, unlike
from chaoslab.contract import Contract, Limits
from chaoslab.core.jsons import Json
from chaoslab.history import View

CONVERGES_ID = "recovery.converges"
DETERMINISTIC_ID = "recovery.deterministic"
# On the wall clock two executions may agree by chance.
REPEATS_MIN: Final = 3

_SHOWN_MAX = 3
_WHAT = {
    "keys": "the keys of",
    "effects": "the standing effects of",
    "outcome": "the outcomes of",
}


def goal(view: View, contract: Contract, /) -> dict[str, Json]:
    """The goal of an execution as JSON: `{"effects": {tool: {marker: n}}, "tasks": {id: status}}`.

    Actions that stand nowhere are left out, so undone and never done are the same.
    """
    facts = Facts(view, contract)
    effects: dict[str, dict[str, Json]] = {}
    for (tool, marker), count in counts_of(facts, contract).items():
        if count:
            effects.setdefault(tool, {})[marker] = count
    tasks: dict[str, Json] = {t.id: t.status for t in facts.tasks.values()}
    return {"effects": effects, "tasks": tasks}


def _converges(evidence: Evidence) -> Finding:
    if evidence.control is None:
        return conclude(CONVERGES_ID, [], looked_at=0, missing="there is no fault-free execution")
    here, there = evidence.facts, evidence.facts_of(evidence.control)
    found, degraded = _tasks_differ(evidence.limits, here, there)
    found += _effects_differ(evidence.contract, here, there, degraded)
    return conclude(
        CONVERGES_ID,
        found,
        looked_at=len(there.tasks) + len(there.effects),
        things="tasks and actions",
        nothing="the fault-free execution did nothing",
        missing=gap(here, evidence.contract) or gap(there, evidence.contract),
    )


def _tasks_differ(limits: Limits, here: Facts, there: Facts) -> tuple[list[Violation], set[str]]:
    """What differs in the tasks, and the tasks that may be degraded."""
    degraded: set[str] = set()
    changed: dict[str, list[TaskFacts]] = {}
    for name, before in there.tasks.items():
        now = here.tasks.get(name) or TaskFacts(id=name)
        if now.status == before.status:
            if now.status != "completed":
                degraded.add(name)
        elif _declared(limits, here, now):
            degraded.add(name)
        else:
            change = f"{before.status or 'no outcome'} became {now.status or 'no outcome'}"
            changed.setdefault(change, []).append(now)
    found = []
    for change, tasks in changed.items():
        names = ", ".join(t.id for t in tasks[:_SHOWN_MAX])
        ends = [t.outcome or (t.submits[-1] if t.submits else None) for t in tasks]
        found.append(
            Violation(
                check=CONVERGES_ID,
                code="diverged",
                subject=tasks[0].id,
                explanation=f"{change} for {names}"
                + (" and more" if len(tasks) > 3 else "")
                + ", compared with the fault-free execution",
                witness=indexes(op.index for op in ends[:1] if op is not None),
                anomaly=change,
            )
        )
        degraded.update(t.id for t in tasks)  # said once; its effects follow from it
    return found, degraded


def _declared(limits: Limits, facts: Facts, task: TaskFacts) -> bool:
    if task.status == "quarantined":
        moves = facts.view.named("report.transition")
        return not moves or any(
            op.session == task.session and op.get("state") == "quarantined" for op in moves
        )
    allowed = {"uncertain": limits.uncertain_tasks_max, "failed": limits.failed_tasks_max}
    if task.status not in allowed:
        return False
    limit = allowed[task.status]
    return limit is None or sum(t.status == task.status for t in facts.tasks.values()) <= limit


def _effects_differ(
    contract: Contract, here: Facts, there: Facts, degraded: set[str]
) -> list[Violation]:
    now, before = counts_of(here, contract), counts_of(there, contract)
    found = []
    by_words: dict[str, list[OpKey]] = {}
    missing: dict[str, list[OpKey]] = {}
    extra: dict[str, list[OpKey]] = {}
    for key in {**before, **now}:
        tool = contract.tool(key[0])
        want, got = before.get(key, 0), now.get(key, 0)
        at_least = tool.promise == "at-least-once"
        if want == got or (at_least and want and got):
            continue
        if (here.tasks_of(key) | there.tasks_of(key)) & degraded:
            if at_least or got <= max(1, want):
                continue
        elif not tool.identity_fields:
            by_words.setdefault(key[0], []).append(key)
            continue
        (missing if got < want else extra).setdefault(key[0], []).append(key)
    for name, keys in by_words.items():
        # The marker of such a tool is its wording, which a model may change: compare how many.
        want = sum(before.get(k, 0) for k in keys)
        got = sum(now.get(k, 0) for k in keys)
        if got < want:
            missing.setdefault(name, []).extend(k for k in keys if k in before)
        elif got > want and contract.tool(name).promise != "at-least-once":
            extra.setdefault(name, []).extend(k for k in keys if k in now)
    for anomaly, tools in (("missing", missing), ("extra", extra)):
        for name, keys in tools.items():
            found.append(_diverged(here, there, name, keys, anomaly, before, now))
    return found


def _diverged(
    here: Facts,
    there: Facts,
    tool: str,
    keys: list[OpKey],
    anomaly: str,
    before: Mapping[OpKey, int],
    now: Mapping[OpKey, int],
) -> Violation:
    first = keys[0]
    shown = ", ".join(
        f"{k[1]} (now {now.get(k, 0)}, without the faults {before.get(k, 0)})"
        for k in keys[:_SHOWN_MAX]
    )
    witness = [c.index for e in here.effects.get(first, ()) if e.stands for c in e.commits[:1]]
    if not witness:
        entry = here.operations.get(first)
        witness = [op.index for op in entry.attempts[-1:]] if entry is not None else []
        for name in sorted(here.tasks_of(first) | there.tasks_of(first)):
            outcome = here.tasks[name].outcome if name in here.tasks else None
            witness += [outcome.index] if outcome is not None else []
    return Violation(
        check=CONVERGES_ID,
        code="diverged",
        subject=f"{tool} {first[1]}",
        explanation=f"{tool} does not stand as often as it should: {shown}"
        + (" and more" if len(keys) > _SHOWN_MAX else ""),
        witness=indexes(witness),
        tool=tool,
        anomaly=anomaly,
    )


def _deterministic(evidence: Evidence) -> Finding:
    if not evidence.repeats:
        return conclude(DETERMINISTIC_ID, [], looked_at=0, missing="the execution was not repeated")
    first, again = evidence.facts, [evidence.facts_of(view) for view in evidence.repeats]
    found: dict[tuple[str, str], Violation] = {}
    for number, other in enumerate(again, 2):
        differences = (
            unlike(evidence.contract, first, other)
            if evidence.recorded
            else _differences(first, other)
        )
        for row, one, two in differences:
            what, tool, name = row
            found.setdefault(
                (what, tool),
                Violation(
                    check=DETERMINISTIC_ID,
                    code="recovery-differs",
                    subject=f"{tool} {name}".strip(),
                    explanation=f"{_WHAT[what]} {tool + ' ' if tool else ''}{name} differ: "
                    f"{_listed(one)} in execution 1, {_listed(two)} in execution {number}, with "
                    f"the same {'faults' if evidence.recorded else 'choices'}",
                    witness=_places(first, row, other),
                    tool=tool,
                    anomaly=what,
                ),
            )
    return conclude(
        DETERMINISTIC_ID,
        list(found.values()),
        looked_at=len(first.operations) + len(first.tasks),
        things=f"actions and tasks over {len(evidence.repeats) + 1} executions",
        nothing="there was nothing to compare",
        missing=_too_few(evidence, again),
    )


def _too_few(evidence: Evidence, again: Sequence[Facts]) -> str:
    """Why repetitions do not prove that recovery is deterministic; "" where they do."""
    if not evidence.recorded:
        return ""
    if len(again) < REPEATS_MIN:
        return (
            f"recorded on real processes and repeated {plural(len(again), 'time')}; "
            f"{REPEATS_MIN} repetitions are needed to call it deterministic"
        )
    if not all(facts.ended for facts in (evidence.facts, *again)):
        return NO_END
    return next((w for f in (evidence.facts, *again) if (w := gap(f, evidence.contract))), "")


_Row = tuple[str, str, str]  # what, tool, marker or task


def _differences(one: Facts, two: Facts) -> Iterator[tuple[_Row, set[str], set[str]]]:
    """What must be the same in every repetition and is not: the keys, the standing effects and
    the final statuses."""
    for key in {**one.operations, **two.operations}:
        keys, others = _keys(one, key), _keys(two, key)
        if keys != others and set(keys) != set(others):
            yield ("keys", *key), set(keys), set(others)
    for key in {**one.effects, **two.effects}:
        refs, other_refs = _refs(one, key), _refs(two, key)
        if refs != other_refs and set(refs) != set(other_refs):
            yield ("effects", *key), set(refs), set(other_refs)
    for name in {**one.tasks, **two.tasks}:
        ends = [f.tasks[name].status if name in f.tasks else "" for f in (one, two)]
        if ends[0] != ends[1]:
            yield ("outcome", "", name), {ends[0]}, {ends[1]}


def _keys(facts: Facts, key: OpKey) -> list[str]:
    entry = facts.operations.get(key)
    return [op.key for op in entry.attempts if op.key is not None] if entry is not None else []


def _refs(facts: Facts, key: OpKey) -> list[str]:
    return [e.ref for e in facts.effects.get(key, ()) if e.undone_by is None]


def _listed(values: Iterable[str]) -> str:
    found = sorted(values)
    text = ", ".join(v or "none" for v in found[:_SHOWN_MAX]) or "none"
    return text + (f" and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else "")


def _places(facts: Facts, row: _Row, other: Facts) -> tuple[int, ...]:
    """Where the first execution shows it: the effect or the requests, else how the task ended
    for which the other execution did it."""
    what, tool, name = row
    key = (tool, name)
    if what == "outcome":
        return _ends(facts, {name})
    found: list[int] = []
    if what == "effects":
        found = [e.commits[0].index for e in facts.effects.get(key, ())]
    entry = facts.operations.get(key)
    if not found and entry is not None:
        found = [op.index for op in entry.attempts]
    return indexes(found) or _ends(facts, facts.tasks_of(key) | other.tasks_of(key))


def _ends(facts: Facts, names: Iterable[str]) -> tuple[int, ...]:
    """How tasks ended, or where they were handed out last."""
    ends = []
    for task in (facts.tasks[name] for name in names if name in facts.tasks):
        ends += [task.outcome] if task.outcome is not None else task.submits[-1:]
    return indexes(op.index for op in ends)


CONVERGES = Check(id=CONVERGES_ID, run=_converges, needs=frozenset(("outcomes", "control")))
DETERMINISTIC = Check(id=DETERMINISTIC_ID, run=_deterministic, needs=frozenset(("repeats",)))
