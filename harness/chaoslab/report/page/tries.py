"""What was asked and what came back: every request for the action that a bug is about.

Whoever is on call wants to see the request itself, with its key, and whether an answer came,
before anybody's interpretation of it. Where a bug is about no action of a tool, the calls that
prove it stand here, and what the same task did right before and after.

>>> from chaoslab.history import Op
>>> WORDS["info"], strike_words(Op(index=3, time_ns=0, type="event", f="nemesis.strike",
...                                value={"kind": "silence", "phase": "after-commit"}))
('outcome unknown', 'silence, after-commit')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaoslab.check.because import story
from chaoslab.check.facts import Facts, OpKey
from chaoslab.history import Op, tool_of
from chaoslab.report.page.scene import Scene
from chaoslab.report.page.shown import PRETTY_MAX, millis, pretty, seconds, shown

TRIES_MAX: Final = 60
AROUND_MAX: Final = 20
_AROUND_TEXT_MAX: Final = 1_000
_WITH_NEIGHBOURS_MAX: Final = 10
_TASKS_MAX: Final = 3
_NEAR: Final = 2  # calls of the same task before and after one of the story
_LEFT_OUT: Final = ("model.", "leases.")

# The plain word for an answer.
WORDS: Final[Mapping[str, str]] = {
    "ok": "answered",
    "fail": "refused",
    "info": "outcome unknown",
    "": "never answered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TryRow:
    """One request. `committed` are the references that it left in the ledger; `strikes` are the
    faults that hit it; `at` is its time as because-chains write it, `answer_at` that of its answer,
    "" where none came."""

    op: int
    time_ms: str
    at: str
    process: str
    task: str
    tool: str
    marker: str
    attempt: int
    key: str | None
    request: str
    answer_type: str
    answer: str
    answer_at: str
    committed: tuple[str, ...]
    strikes: tuple[str, ...]
    proof: bool  # the request, or its answer or commit, is in the witness


def tries_of(scene: Scene, /) -> tuple[TryRow, ...]:
    """Every try of the actions in question; else the calls of the witness and their neighbours."""
    asked = _cut(requests_for(scene.facts, scene.actions), set(scene.violation.witness))
    if asked:
        return tuple(_row(scene, op, PRETTY_MAX) for op in asked)
    return tuple(_row(scene, op, _AROUND_TEXT_MAX) for op in calls_around(scene))


def tries_words(scene: Scene, /) -> str:
    """A sentence for above the rows: what they are."""
    names = [shown(scene.mask, f"{tool} {marker}".rstrip()) for tool, marker in scene.actions]
    said = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    asked = requests_for(scene.facts, scene.actions)
    if len(asked) > TRIES_MAX:
        return f"The first and last of {len(asked)} requests for {said}."
    if asked:
        return f"Every request for {said}."
    if scene.actions:
        return f"{said} was never asked for. This is what its task asked for around that."
    return "The calls in this story, and what the same tasks asked for right around them."


def requests_for(facts: Facts, actions: Iterable[OpKey], /) -> list[Op]:
    """The requests for some actions in order: tries, look-ups, and what a Wasm guest asked for in
    words of its own."""
    found: dict[int, Op] = {}
    for tool, marker in actions:
        entry = facts.operations.get((tool, marker))
        if entry is not None:
            found.update((op.index, op) for op in entry.attempts)
            for op in (*entry.commits, *entry.absorbed):
                call = facts.invoke_of(op)
                if call is not None:
                    found[call.index] = call
        for op in facts.view.named(f"tools.{tool}.lookup"):
            if op.type == "invoke" and op.marker == marker:
                found[op.index] = op
    return [found[index] for index in sorted(found)]


def calls_around(scene: Scene, /) -> list[Op]:
    """The calls of the because-chain, and the nearest ones of the same tasks. What was said to the
    model, and leases, are left out among the neighbours: the history has them."""
    view = scene.view
    proof = set(scene.violation.witness)
    told = sorted(story(view, scene.violation), key=lambda i: (i not in proof, i))
    own: dict[int, None] = {}
    for entry in (view[index] for index in told):
        call = entry.index if entry.type == "invoke" else entry.call
        if 0 <= call < len(view) and view[call].type == "invoke":
            own[call] = None
    kept = set(list(own)[:AROUND_MAX])
    by_task: dict[str, list[Op]] = {}
    near: dict[int, int] = {}  # by number how far away
    for op in [*scene.witness, *(view[i] for i in kept)]:
        if op.task not in by_task:
            asked = scene.facts.calls_of(op.task)
            by_task[op.task] = [c for c in asked if not c.f.startswith(_LEFT_OUT)]
        calls = by_task[op.task]
        before = [c for c in calls if c.index < op.index][-_NEAR:][::-1]
        after = [c for c in calls if c.index > op.index][:_NEAR]
        for far, other in [*enumerate(before), *enumerate(after)]:
            near[other.index] = min(far, near.get(other.index, far))
    if not kept and len(by_task) > _TASKS_MAX:
        return []  # a story of many tasks and no call: whatever they asked for is beside the point
    room = max(0, _WITH_NEIGHBOURS_MAX - len(kept))
    kept.update(sorted((i for i in near if i not in kept), key=lambda i: (near[i], i))[:room])
    return [view[i] for i in sorted(kept)]


def _cut(asked: list[Op], witness: set[int]) -> list[Op]:
    """At most so many: those that prove something, then the first and the last."""
    if len(asked) <= TRIES_MAX:
        return asked
    proof = [op for op in asked if op.index in witness][:TRIES_MAX]
    rest = [op for op in asked if op.index not in witness]
    room = TRIES_MAX - len(proof)
    kept = [*proof, *rest[: room - room // 2], *rest[len(rest) - room // 2 :]]
    return sorted(kept, key=lambda op: op.index)


def strike_words(strike: Op, /) -> str:
    """A fault that struck: its kind and when in the call."""
    items = strike.get("after_items")
    parts = [str(strike.get(name) or "") for name in ("kind", "mode", "phase")]
    if isinstance(items, int):
        parts.append(f"after {items} {'item' if items == 1 else 'items'}")
    return ", ".join(part for part in parts if part)


def _row(scene: Scene, op: Op, most: int) -> TryRow:
    view, mask = scene.view, scene.mask
    answer = view.completion(op.index)
    strikes = [s for s in view.named("nemesis.strike") if s.call == op.index]
    commits = scene.facts.commits_of(op)
    numbers = {op.index, *(c.index for c in commits), *(() if answer is None else (answer.index,))}
    head, _, tail = op.f.partition(".")
    args = op.get("args")
    return TryRow(
        op=op.index,
        time_ms=millis(op.time_ns),
        at=seconds(op.time_ns),
        process=shown(mask, op.process),
        task=shown(mask, op.task or scene.facts.task_of(tool_of(op), op)),
        tool=shown(mask, tail if head == "tools" else op.f),
        marker=shown(mask, op.marker),
        attempt=op.attempt,
        key=None if op.key is None else shown(mask, op.key),
        request=pretty(mask, args if head == "tools" and args is not None else op.value, most=most),
        answer_type=WORDS["" if answer is None else answer.type],
        answer="" if answer is None else pretty(mask, answer.value, most=most),
        answer_at="" if answer is None else seconds(answer.time_ns),
        committed=tuple(shown(mask, ref) for ref in _refs(scene, op, commits)),
        strikes=tuple(shown(mask, strike_words(s)) for s in strikes),
        proof=bool(numbers & set(scene.violation.witness)),
    )


def _refs(scene: Scene, request: Op, commits: Iterable[Op]) -> list[str]:
    """What a request left behind, and what the service found there already."""
    found = [_ref(op) for op in commits]
    for key in scene.actions:
        entry = scene.facts.operations.get(key)
        for event in () if entry is None else entry.absorbed:
            if event.call == request.index:
                found.append(f"{event.get('absorbed')} (was there already)")
    return list(dict.fromkeys(found))


def _ref(op: Op) -> str:
    if op.f.startswith("tools."):
        undone = op.get("compensates")
        return str(op.get("ref") or f"#{op.index}") + (f" (undoes {undone})" if undone else "")
    return f"{op.get('id') or op.marker or op.f}{_version(op.get('version'))}"


def _version(raw: Any) -> str:
    if not isinstance(raw, (list, tuple)):
        return ""
    return f" version {'.'.join(str(part) for part in raw)}"
