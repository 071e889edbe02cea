"""`memory.atomic`: two halves of different revisions are never used together.

A group write is not atomic, so a torn one is no breach; *using* what it left is. Values carry
revision marks, `[GROUP:REVISION:PART]`, and the check follows them into what the agent sends:
prompts, arguments, answers, requests. A use is a breach where parts of two revisions of a group
stand together, different parts, and neither revision is complete in that use.

What counts as complete is known per revision, from the tasks and from what was written: a
revision that only ever had a street is complete with its street. In a prompt, one message is one
use; so are the messages between two words of the model, unless the conversation already held a
whole revision, since then an older one may well be spoken of.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> writes = [{"id": part, "value": f"x [a:{rev}:{part}]"} for rev in ("r1", "r2")
...           for part in ("street", "city")]
>>> ops = [Op(index=0, time_ns=0, type="invoke", f="memory.write_many", value={"writes": writes}),
...        Op(index=1, time_ns=1, type="invoke", f="tools.ship", task="t1", value={
...            "args": {"to": "x [a:r2:street]", "city": "x [a:r1:city]"}})]
>>> found = CHECK(Evidence(history=View(ops), contract=Contract(), limits=Limits()))
>>> [(v.code, v.subject, v.tool) for v in found.violations]
[('torn-group-used', 'a', 'ship')]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from chaoslab.check.facts import Facts
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.check.tokens import Mark, Sighting
from chaoslab.check.wording import receiver
from chaoslab.history import Op

ID = "memory.atomic"

_Parts = dict[str, set[str]]  # revision -> its parts
_Groups = dict[str, _Parts]


def _run(evidence: Evidence) -> Finding:
    facts = evidence.facts
    marked = [s for s in facts.sightings if s.marks]
    known: _Groups = {}
    for sighting in marked:
        if _is_source(sighting.op):
            _add(known, sighting.marks)
    found: list[Violation] = []
    looked_at = 0
    spoken: dict[str, _Groups] = {}  # what each task's conversation has held so far
    for sighting in marked:
        op = sighting.op
        if not _is_use(op):
            continue
        looked_at += 1
        torn = _torn_prompt(sighting, known, spoken) if op.f == "model.complete" else None
        if op.f != "model.complete":
            torn = _torn(_add({}, sighting.marks), known)
        if torn is not None:
            found.append(_violation(facts, marked, op, *torn))
    return conclude(
        ID,
        found,
        looked_at=looked_at,
        things="uses of marked values",
        nothing="no value with a revision mark was used",
    )


def _is_source(op: Op) -> bool:
    """Where it shows which parts a revision has."""
    return op.f == "task.submit" or op.f.startswith("memory.write")


def _is_use(op: Op) -> bool:
    if op.type == "invoke":
        head = op.f.partition(".")[0]
        return head in ("tools", "wasm", "model", "network") and not op.get("lookup")
    return op.f == "task.outcome"


def _add(groups: _Groups, marks: Iterable[Mark]) -> _Groups:
    for group, revision, part in marks:
        groups.setdefault(group, {}).setdefault(revision, set()).add(part)
    return groups


def _torn(use: _Groups, known: _Groups) -> tuple[str, _Parts] | None:
    """The group of a use that is made of halves, with the halves."""
    for group, parts in use.items():
        if len(parts) < 2 or any(_whole(parts, known, group, r) for r in parts):
            continue
        # Two revisions of the very same single part are old and new, not two halves.
        if len(set().union(*parts.values())) > 1:
            return group, parts
    return None


def _whole(parts: _Parts, known: _Groups, group: str, revision: str) -> bool:
    return parts[revision] >= known.get(group, {}).get(revision, set()) != set()


def _torn_prompt(
    sighting: Sighting, known: _Groups, spoken: dict[str, _Groups]
) -> tuple[str, _Parts] | None:
    found = None
    before = spoken.setdefault(sighting.op.task, {})
    for run in _runs(sighting.messages):
        together: _Groups = {}
        for marks in run:
            alone = _torn(_add({}, marks), known) if len(marks) > 1 else None
            found = found or alone
            _add(together, marks)
            _add(before, marks)
        torn = _torn(together, known)
        if torn is not None and found is None:
            held = before.get(torn[0], {})
            if not any(_whole(held, known, torn[0], revision) for revision in held):
                found = torn
    return found


def _runs(messages: Sequence[tuple[bool, Sequence[Mark]]]) -> Iterator[list[Sequence[Mark]]]:
    """The marks of messages that reach the model together; its own words stand alone."""
    run: list[Sequence[Mark]] = []
    for by_model, marks in messages:
        if by_model:
            if run:
                yield run
                run = []
            if marks:
                yield [marks]
        elif marks:
            run.append(marks)
    if run:
        yield run


def _violation(
    facts: Facts, marked: Sequence[Sighting], op: Op, group: str, parts: _Parts
) -> Violation:
    sources: dict[tuple[str, str], Op] = {}
    for sighting in marked:
        if sighting.op.index >= op.index:
            break
        if sighting.op.type == "commit" and sighting.op.f.startswith("memory.write"):
            for where, revision, part in sighting.marks:
                if where == group and part in parts.get(revision, ()):
                    sources[revision, part] = sighting.op
    calls = {source.call for source in sources.values()}
    strikes = [
        s.index
        for s in facts.view.named("nemesis.strike")
        if s.call in calls and s.get("phase") == "mid-write" and s.index < op.index
    ]
    head, _, tail = op.f.partition(".")
    halves = " with ".join(f"{'+'.join(sorted(p))} of {r}" for r, p in sorted(parts.items()))
    return Violation(
        check=ID,
        code="torn-group-used",
        subject=group,
        explanation=f"{receiver(op.f)} was given {halves}: halves of two revisions of {group}",
        witness=indexes((s.index for s in sources.values()), strikes, op.index),
        tool=tail if head in ("tools", "wasm") else "",
        anomaly=f"{'torn-write' if strikes else 'mixed'} into {head}",
    )


CHECK = Check(id=ID, run=_run, needs=frozenset(("marks",)))
