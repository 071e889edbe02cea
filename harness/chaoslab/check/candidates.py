"""Keys that nobody passed: which of three candidates would have been a good one?

Where requests carry no idempotency key, the record still holds what a key could have been made of:
the id that the model gave the tool call, the step of the task, or the session with the tool and
its identity fields. A good key is *stable* (all tries of one action have one value, over restarts,
processes, redeliveries and repetitions) and *distinct* (two actions of a tool never share one).
Each candidate is scored by what was seen. Where no action was tried twice within an execution,
nothing was at stake, and the candidate is untested, however well it looks.

An action is a tool and a marker in a task. Where a faultless execution did one several times, it
was wanted so often, so that many values are right, and one for all of them is a collision. A tool
without `identity_fields` has only its wording for a marker, which a model changes; there all tries
in a task are one action where the faultless execution needed just one.

>>> from chaoslab.contract import ToolContract
>>> refund = ToolContract(name="refund", identity_fields=("order",))
>>> tries = [Op(index=n, time_ns=n, type="invoke", f="tools.refund", marker="o-1", task="t1",
...             session="s1", process=f"p{n}", value={"args": {"order": "o-1"}}) for n in (0, 1)]
>>> (advice,) = candidates([View(tries)], Contract(tools={"refund": refund}))
>>> [(c.kind, c.verdict) for c in advice.candidates]
[('call-id', 'untested'), ('step', 'stable'), ('identity', 'stable')]
>>> advice.best
'identity'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from chaoslab.check.facts import Facts
from chaoslab.check.steps import Steps
from chaoslab.check.wording import listed
from chaoslab.contract import Contract, ToolContract
from chaoslab.core.jsons import Json, canonical
from chaoslab.history import Op, View

Kind = Literal["call-id", "step", "identity"]
Score = Literal["stable", "unstable", "untested"]
KINDS: Final[tuple[Kind, ...]] = ("call-id", "step", "identity")
# Of several that are stable the one that rests on the least.
_PREFERRED: Final[tuple[Kind, ...]] = ("identity", "step", "call-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One thing that a key could have been made of, with what was seen of it.

    `tries` are the requests for which it has a value. `changed` are the numbers of two entries for
    one action with two values, `collided` those of two actions with one; empty where there are
    none. `changed_in` and `collided_in` say in which of the histories, counted from 0.
    """

    kind: Kind
    verdict: Score
    tries: int
    changed: tuple[int, ...] = ()
    changed_in: tuple[int, ...] = ()
    collided: tuple[int, ...] = ()
    collided_in: tuple[int, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        """The candidate as plain values."""
        return {
            "kind": self.kind,
            "verdict": self.verdict,
            "tries": self.tries,
            "changed": list(self.changed),
            "changed_in": list(self.changed_in),
            "collided": list(self.collided),
            "collided_in": list(self.collided_in),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAdvice:
    """What a tool that was called without a key could be called with.

    `calls` requests were made, `bare` of them without a key. `best` is the stable candidate that
    rests on the least, "" where there is none; `add` is what to change then.
    """

    tool: str
    calls: int
    bare: int
    candidates: tuple[Candidate, ...]
    best: Kind | Literal[""] = ""
    add: str = ""
    named: str = ""  # the best candidate in words

    def to_json(self) -> dict[str, Json]:
        """The advice as plain values, with its words."""
        return {
            "tool": self.tool,
            "calls": self.calls,
            "bare": self.bare,
            "candidates": [c.to_json() for c in self.candidates],
            "best": self.best,
            "add": self.add,
            "words": words(self),
        }


def candidates(views: Sequence[View], contract: Contract, /) -> tuple[KeyAdvice, ...]:
    """The advice for each tool that was called without a key, over all histories of one run."""
    tries: dict[str, list[_Try]] = {}
    calm: set[int] = set()
    for number, view in enumerate(views):
        if not view.named("nemesis.strike") and not view.named("process.kill"):
            calm.add(number)
        for name, one in _tries(number, view, contract):
            tries.setdefault(name, []).append(one)
    return tuple(
        _advice(contract.tool(name), found, calm)
        for name, found in tries.items()
        if any(one.op.key is None for one in found)
    )


def words(advice: KeyAdvice, /) -> str:
    """The advice in one or two plain sentences."""
    first = f"{advice.bare} of {advice.calls} calls of {advice.tool} carried no key: "
    first += "; ".join(_said(advice.tool, c) for c in advice.candidates) + "."
    if not advice.best:
        return first
    return f"{first} What to add: {advice.add}."


class _Try(NamedTuple):
    """One request with what a key could have been made of."""

    view: int
    op: Op
    task: str
    values: Mapping[Kind, str]  # what is not known is not there
    done: bool  # the answer said so


_Action = tuple[str, str]  # (marker, task)


@dataclass(slots=True)
class _Seen:
    """What was seen of one candidate."""

    tries: int = 0
    retried: bool = False
    changed: tuple[_Try, ...] = ()
    collided: tuple[_Try, ...] = ()
    # A key need not be the same in two executions, so each is looked at by itself.
    values: dict[tuple[int, _Action], dict[str, _Try]] = field(default_factory=dict)
    owners: dict[tuple[int, str], tuple[_Action, _Try]] = field(default_factory=dict)


def _tries(number: int, view: View, contract: Contract) -> Iterable[tuple[str, _Try]]:
    facts = Facts(view, contract)
    steps = Steps(contract)
    for op in view.ops:
        if op.f == "model.complete":
            steps.model(op)
        elif op.type == "invoke" and op.f.startswith("tools.") and not op.get("lookup"):
            name = op.f[6:]
            task = facts.task_of(name, op)
            answer = view.completion(op.index)
            done = answer is not None and answer.type == "ok"
            call, step = steps.request(op, task, done=done)
            known = facts.tasks.get(task)
            session = op.session or (known.session if known is not None else "")
            found: dict[Kind, str] = {"identity": canonical([session, name, op.marker])}
            if call:
                found["call-id"] = call
            if step:
                found["step"] = step
            yield name, _Try(number, op, task, found, done)


def _advice(tool: ToolContract, tries: list[_Try], calm: set[int]) -> KeyAdvice:
    wanted = _wanted(tries, calm)
    by_words = not tool.identity_fields
    single = _single(tries, calm) if by_words else frozenset()
    scored = []
    for kind in KINDS:
        seen = _Seen()
        last: dict[tuple[int, _Action], _Try] = {}
        for one in tries:
            action = ("", one.task) if one.task in single else (one.op.marker, one.task)
            value = one.values.get(kind)
            if value is not None:
                before = last.get((one.view, action))
                # Where nothing went wrong, what follows a success is wanted, and no retry.
                again = before is not None and not (one.view in calm and before.done)
                last[one.view, action] = one
                # By its own words every action is stable; only one that is known otherwise tells.
                blind = kind == "identity" and by_words and one.task not in single
                seen.retried |= again and not blind
                most = 1 if one.task in single else wanted.get(action, 1)
                _look(seen, tool, action, one, value, most, one.view in calm)
        scored.append(_scored(kind, seen))
    stable = {c.kind for c in scored if c.verdict == "stable"}
    best: Kind | Literal[""] = next((kind for kind in _PREFERRED if kind in stable), "")
    named = _NAMES[best](tool) if best else ""
    return KeyAdvice(
        tool=tool.name,
        calls=len(tries),
        bare=sum(one.op.key is None for one in tries),
        candidates=tuple(scored),
        best=best,
        add=_add(tool, named) if best else "",
        named=named,
    )


def _wanted(tries: Iterable[_Try], calm: set[int]) -> dict[_Action, int]:
    """How often an action is wanted: as often as it was done where nothing went wrong."""
    done: dict[tuple[int, _Action], int] = {}
    for one in tries:
        if one.view in calm and one.done:
            row = (one.view, (one.op.marker, one.task))
            done[row] = done.get(row, 0) + 1
    found: dict[_Action, int] = {}
    for (_, action), count in done.items():
        found[action] = max(count, found.get(action, 1))
    return found


def _single(tries: Iterable[_Try], calm: set[int]) -> frozenset[str]:
    """The tasks that need the tool just once, as every faultless execution of them shows."""
    done: dict[tuple[int, str], int] = {}
    for one in tries:
        if one.view in calm and one.task:
            row = (one.view, one.task)
            done[row] = done.get(row, 0) + 1
    most: dict[str, int] = {}
    for (_, task), count in done.items():
        most[task] = max(count, most.get(task, 0))
    return frozenset(task for task, count in most.items() if count == 1)


def _look(
    seen: _Seen,
    tool: ToolContract,
    action: _Action,
    one: _Try,
    value: str,
    wanted: int,
    calm: bool,
) -> None:
    seen.tries += 1
    values = seen.values.setdefault((one.view, action), {})
    twin = values.get(value)
    if twin is None:
        if len(values) >= wanted and not seen.changed:
            seen.changed = (next(reversed(values.values())), one)
        values[value] = one
    elif calm and one.done and twin.done and wanted > 1:
        # Both were wanted and done, with nothing between them that asks for a retry.
        seen.collided = seen.collided or (twin, one)
    owner, first = seen.owners.setdefault((one.view, value), (action, one))
    # By its identity fields an action is the same in any task: so the contract says.
    same = owner == action or (bool(tool.identity_fields) and owner[0] == action[0])
    if not same and not seen.collided:
        seen.collided = (first, one)


def _scored(kind: Kind, seen: _Seen) -> Candidate:
    verdict: Score = "stable"
    reason = ""
    if seen.changed or seen.collided:
        verdict = "unstable"
    elif not seen.tries:
        verdict, reason = "untested", "nothing on record tells it"
    elif not seen.retried:
        verdict, reason = "untested", "only one try of every action was seen in an execution"
    return Candidate(
        kind=kind,
        verdict=verdict,
        tries=seen.tries,
        changed=tuple(one.op.index for one in seen.changed),
        changed_in=tuple(one.view for one in seen.changed),
        collided=tuple(one.op.index for one in seen.collided),
        collided_in=tuple(one.view for one in seen.collided),
        reason=reason,
    )


# -- words


def _identity(tool: ToolContract) -> str:
    fields = listed(path.rpartition(".")[2] for path in tool.identity_fields)
    return f"the session, {tool.name} and {fields or 'all arguments'}"


_NAMES: Final = {
    "call-id": lambda tool: "the framework's tool call id",
    "step": lambda tool: "the task's id and the number of the step",
    "identity": _identity,
}
_SHORT: Final[Mapping[Kind, str]] = {
    "call-id": "the framework's call id",
    "step": "an id made of task and step",
    "identity": "session, tool and identity fields",
}


def _add(tool: ToolContract, named: str) -> str:
    kind, _, name = tool.key_at.partition(":")
    if tool.match.startswith("mcp "):
        where = f"in _meta as {name or 'idempotency-key'}"
        line = f'keys = {{ meta = "{name or "idempotency-key"}" }}'
    elif kind == "body":
        where, line = f"in the body as {name}", f'keys = {{ body = "{name}" }}'
    else:
        header = name if kind == "header" and name else "Idempotency-Key"
        where, line = f"as {header}", f'keys = {{ header = "{header}" }}'
    told = "" if tool.keys else f", and {line} under [tools.{tool.name}], if its service takes keys"
    return f"pass {named}, joined, {where}{told}"


def _said(tool: str, one: Candidate) -> str:
    name = _SHORT[one.kind]
    if one.verdict == "stable":
        return f"{name} would have been stable over {one.tries} tries"
    if one.verdict == "untested":
        return f"{name} was not tested ({one.reason})"
    told = []
    if one.changed:
        told.append(f"changed for one action ({_places(one.changed, one.changed_in)})")
    if one.collided:
        told.append(f"was the same for two actions ({_places(one.collided, one.collided_in)})")
    return f"{name} {' and '.join(told)}"


def _places(entries: tuple[int, ...], views: tuple[int, ...]) -> str:
    if len(set(views)) == 1:
        return " and ".join(f"#{n}" for n in entries) + f" of history {views[0] + 1}"
    rows = zip(entries, views, strict=True)
    return " and ".join(f"#{n} of history {view + 1}" for n, view in rows)
