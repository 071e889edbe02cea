"""What can be wrong with the lineage of an action, and what only looks wrong: one place for all.

A lineage runs from the intent over the key and the tries to the commit, and on to what the agent
remembers and replies. An anomaly is a place where it breaks, or where somebody mended it. Two
kinds are always in order: a repeat that the service recognised (`absorbed`) and an effect that
was undone (`compensated`). The others are in order only where the contract allows them, and
`legitimate` says so. Thus the graph tells everything, and a check accuses of the rest only.

Whatever rests on something being *absent* is not `proven` in a record that stops early.

Found here is what shows in keys, effects and intents; `replies` looks at the reply.

>>> from chaoslab.history import View
>>> ops = [Op(index=0, time_ns=0, type="event", f="task.submit", task="t1"),
...        Op(index=1, time_ns=1, type="event", f="report.intent", task="t1", marker="o-1",
...           value={"tool": "pay"})]
>>> [(a.kind, a.ops, a.proven) for a in of_intents(Facts(View(ops)), ("pay", "o-1"))]
[('dangling-intent', (1,), False)]
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from chaoslab.check.facts import Effect, Facts, OpKey, requests_behind
from chaoslab.check.observed import unplaced
from chaoslab.contract import Contract, ToolContract
from chaoslab.core.jsons import Json, canonical
from chaoslab.history import Op

Kind = Literal[
    "key-absent",  # the tool takes keys, and a request carried none
    "key-changed",  # another key while the request under the first may have happened
    "key-reused",  # one key for two actions, or for two contents of one
    "duplicate-by-marker",  # an action stands twice; no key held the second back
    "orphan-effect",  # a commit that no request in the record asked for
    "dangling-intent",  # noted, then neither tried nor given up
    "claimed-not-done",  # a reply claims what does not stand in the ledger
    "done-not-claimed",  # an effect stands that the reply leaves out or denies
    "absorbed",  # the service recognised a repeat
    "compensated",  # an effect was undone
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One remarkable place in a lineage.

    `ops` are the entries that show it, ascending, and no more than that takes. `detail` says how
    it came about. `ref` and `task` name the effect and the task where there is just one, and
    `times` how often an action stands.
    """

    kind: Kind
    tool: str
    marker: str
    ops: tuple[int, ...]
    detail: str = ""
    legitimate: bool = False
    proven: bool = True
    ref: str = ""
    task: str = ""
    times: int = 1

    def to_json(self) -> dict[str, Json]:
        """The anomaly as plain values; what does not apply is left out."""
        out: dict[str, Json] = {
            "kind": self.kind,
            "tool": self.tool,
            "marker": self.marker,
            "ops": list(self.ops),
            "legitimate": self.legitimate,
            "proven": self.proven,
        }
        for name in ("detail", "ref", "task"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        if self.times > 1:
            out["times"] = self.times
        return out


def shown_by(*found: Op | None) -> tuple[int, ...]:
    """The numbers of the entries that are there, ascending, each once."""
    return tuple(sorted({op.index for op in found if op is not None}))


# -- keys


def requests_of(facts: Facts, key: OpKey, /) -> list[Op]:
    """What carried, or should have carried, the key of an action: requests to the tool, and what
    a Wasm guest committed on its own account."""
    entry = facts.operations[key]
    out = [op for op in entry.attempts if op.f.startswith("tools.") or op.key is not None]
    known = {op.index for op in out}
    own = [op for op in entry.commits if op.call >= 0 and op.call not in known]
    out += [op for op in own if facts.invoke_of(op) is not None]
    out.sort(key=_index)
    return out


def _index(op: Op) -> int:
    return op.index


def of_keys(facts: Facts, tool: ToolContract, key: OpKey, requests: list[Op], /) -> list[Anomaly]:
    """A request without a key, and a key that did not stay the same. `requests`: requests_of."""
    return _absent(tool, key, requests) + _changed(facts, tool, key, requests)


def _absent(tool: ToolContract, key: OpKey, requests: list[Op]) -> list[Anomaly]:
    bare = [op for op in requests if op.key is None]
    if not bare:
        return []
    # Asked once and never again, there is no second request to be matched.
    once = tool.promise == "at-most-once" and len(requests) == 1
    return [
        Anomaly(
            kind="key-absent",
            tool=key[0],
            marker=key[1],
            ops=shown_by(bare[0]),
            detail="on-retry" if len(bare) < len(requests) else "always",
            legitimate=once or tool.promise == "at-least-once",
        )
    ]


class _Live:
    """The requests that may have happened, by a label (their key, their marker).

    Whoever is dead once stays dead, so each is taken out once, and all questions together cost
    no more than the requests are many.
    """

    def __init__(self, dead: Callable[[Op, Op], bool]) -> None:
        self.dead = dead  # whether the first certainly did not happen, or is undone, at the second
        self.by_label: dict[str, deque[Op]] = {}

    def add(self, label: str, op: Op) -> None:
        self.by_label.setdefault(label, deque()).append(op)

    def other(self, label: str, op: Op, *, end: Literal[0, -1]) -> Op | None:
        """The first (0) or last (-1) live request under another label, before this one."""
        for name in [name for name in self.by_label if name != label]:
            row = self.by_label[name]
            while row and self.dead(row[end], op):
                row.pop() if end else row.popleft()
            if row:
                return row[end]
            del self.by_label[name]
        return None


def _changed(facts: Facts, tool: ToolContract, key: OpKey, requests: list[Op]) -> list[Anomaly]:
    effects = facts.effects.get(key, ())
    undone = [facts.since(e.undone_by) for e in effects if e.undone_by is not None]
    undone = sorted([*undone, *_undoings(facts, tool, key)])

    def dead(earlier: Op, op: Op) -> bool:
        if facts.refused(earlier, before=op.index):
            return True
        return bisect_right(undone, earlier.index) < bisect_left(undone, op.index)

    # Without declared identity fields the same words from two tasks may be two actions, so there
    # each task has keys of its own; a request whose task nobody knows may belong to any of them.
    live: dict[str, _Live] = {}
    for op in requests:
        if op.key is None:
            continue
        task = "" if tool.identity_fields else facts.task_of(key[0], op)
        if not task and not tool.identity_fields and facts.anybodys:
            continue
        for name in (task, "") if task else list(live):
            other = live[name].other(op.key, op, end=-1) if name in live else None
            if other is not None:
                return [
                    Anomaly(
                        kind="key-changed",
                        tool=key[0],
                        marker=key[1],
                        ops=shown_by(other, op),
                        detail=_how_changed(facts, key[0], other, op),
                        legitimate=tool.promise == "at-least-once",
                    )
                ]
        live.setdefault(task, _Live(dead)).add(op.key, op)
    return []


def _undoings(facts: Facts, tool: ToolContract, key: OpKey) -> list[int]:
    """Where the agent asked a service of the team's own to undo something: its ledger need not
    tell what was undone, so whichever action it was is given the benefit of the doubt."""
    if not tool.match or not tool.compensate:
        return []
    tasks = facts.tasks_of(key)
    return [
        op.index
        for op in facts.view.named(f"tools.{tool.compensate}")
        if op.type == "invoke" and not facts.refused(op) and (op.task in tasks or not op.task)
    ]


def _how_changed(facts: Facts, tool: str, first: Op, second: Op) -> str:
    tasks = (facts.task_of(tool, first), facts.task_of(tool, second))
    if tasks[0] != tasks[1] and "" not in tasks:
        return "across-tasks"
    if first.process == second.process:
        return "on-retry"
    return "after-restart" if _region(facts, first) == _region(facts, second) else "after-failover"


def _region(facts: Facts, op: Op) -> str:
    birth = facts.births.get(op.process)
    return str(birth.get("region", "")) if birth is not None else ""


def of_one_key(facts: Facts, tool: ToolContract, requests: list[Op], /) -> list[Anomaly]:
    """One key, several requests in their order: the same action with the same content, or not."""
    live = _Live(lambda earlier, op: facts.refused(earlier, before=op.index))
    for op in requests:
        other = live.other(op.marker, op, end=0)
        if other is not None:
            return [_reused(tool, other, op, "another-operation")]
        live.add(op.marker, op)
    base: Op | None = None
    for op in requests:
        if not isinstance(op.value, Mapping):
            continue
        if base is None or facts.refused(base, before=op.index):
            base = op
        elif payload_of(op) != payload_of(base) and _clashed(facts, tool.name, base, op):
            return [_reused(tool, base, op, "payload-changed")]
    return []


def _reused(tool: ToolContract, first: Op, second: Op, detail: str) -> Anomaly:
    return Anomaly(
        kind="key-reused",
        tool=tool.name,
        marker=second.marker,
        ops=shown_by(first, second),
        detail=detail,
        legitimate=tool.promise == "at-least-once",
    )


def payload_of(op: Op, /) -> str:
    """The content of a request in one spelling, without the key that a Wasm call carries in it."""
    args: Any = op.get("args")
    if op.f.startswith("wasm.") and isinstance(args, Mapping):
        args = {k: v for k, v in args.items() if k != "key"}
    return canonical(args)


def _clashed(facts: Facts, tool: str, base: Op, op: Op) -> bool:
    """Whether the other content mattered: the service refused it, or did it as well.

    A refusal that the agent settles by a look-up did no harm; where the first request never
    arrived, the other content is simply the first that the service saw.
    """
    if facts.commits_of(op):
        return bool(facts.commits_of(base))
    answer = facts.view.completion(op.index)
    if answer is None or answer.type != "fail" or answer.get("error") != "conflict":
        return False
    return facts.looked_up.get((tool, op.marker), -1) < answer.index


# -- effects


def of_effects(
    facts: Facts, tool: ToolContract, key: OpKey, effects: Sequence[Effect], /
) -> list[Anomaly]:
    """An action that stands more than once although no key held it back."""
    standing = [e for e in effects if e.stands and e.call is not None]
    if len(standing) < 2:
        return []
    groups: dict[str, list[Effect]] = {}
    for effect in requests_behind(standing, tool):
        # Without declared identity fields the marker only says "same words": two tasks that
        # send the same words may well mean two actions.
        groups.setdefault("" if tool.identity_fields else effect.task, []).append(effect)
    return [
        Anomaly(
            kind="duplicate-by-marker",
            tool=key[0],
            marker=key[1],
            ops=shown_by(*(op for e in group[:2] for op in (e.commits[0], e.call))),
            detail=_how_twice(facts, tool, group[0], group[1]),
            legitimate=tool.promise == "at-least-once",
            # The same words, for nobody knows which task, may be as many actions as tasks.
            proven=bool(tool.identity_fields or group[0].task) or not facts.anybodys,
            times=len(group),
        )
        for group in groups.values()
        if len(group) > 1
    ]


def _how_twice(facts: Facts, tool: ToolContract, first: Effect, second: Effect) -> str:
    """How one action came to be done twice, from the keys and the processes of its requests."""
    one, two = first.call, second.call
    assert one is not None and two is not None
    if one.index == two.index:
        return "one-request-without-key" if one.f.startswith("tools.") else "twice-in-one-call"
    if first.task != second.task and first.task and second.task:
        return "repeated-across-tasks"
    keys = (_key(one, first), _key(two, second))
    if None not in keys and tool.keys:
        return "key-changed" if keys[0] != keys[1] else "key-forgotten"
    if tool.keys:
        return "key-absent"
    for op, effect in ((one, first), (two, second)):
        death = facts.deaths.get(op.process)
        late = effect.commits[0].index in facts.late
        if death is not None and death.index < effect.commits[0].index and not late:
            return "late-commit-of-a-dead-process"
    if one.process == two.process:
        return "un-keyed-retry"
    earlier = one if one.index < two.index else two
    death = facts.deaths.get(earlier.process)
    if death is None or death.index > max(one.index, two.index):
        return "two-processes-at-once"
    return "repeated-after-restart"


def _key(call: Op, effect: Effect) -> str | None:
    return effect.commits[0].key if call.key is None else call.key


def orphans(facts: Facts, contract: Contract, /) -> list[Anomaly]:
    """Every commit whose request is in no record, in the order of the ledgers, but for those that
    tell too little to know whether they were asked for."""
    untold = {op.index for op in unplaced(facts, contract)}
    return [
        Anomaly(
            kind="orphan-effect",
            tool=op.f[6:],
            marker=op.marker,
            ops=(op.index,),
            ref=str(op.get("ref") or ""),
        )
        for op in facts.tool_commits
        if facts.invoke_of(op) is None and op.index not in untold
    ]


def mended(facts: Facts, key: OpKey, effects: Iterable[Effect], /) -> list[Anomaly]:
    """The repeats that the service recognised, and the effects that were undone."""
    found = [
        Anomaly(
            kind="absorbed",
            tool=key[0],
            marker=key[1],
            ops=shown_by(facts.invoke_of(op), op),
            legitimate=True,
            ref=absorbed_ref(op),
            task=facts.task_of(key[0], op),
        )
        for op in recognised(facts, key)
    ]
    found += [
        Anomaly(
            kind="compensated",
            tool=key[0],
            marker=key[1],
            ops=shown_by(effect.commits[0], effect.undone_by),
            legitimate=True,
            ref=effect.ref,
            task=effect.undone_task,
        )
        for effect in effects
        if effect.undone_by is not None
    ]
    return found


def recognised(facts: Facts, key: OpKey, /) -> list[Op]:
    """Per request that the service took for a repeat the entry that says so. Its own word goes
    before the reply, which may not have come."""
    entry = facts.operations.get(key)
    if entry is None:
        return []
    found = list(entry.absorbed)
    said = {op.call for op in found}
    for op in entry.attempts:
        answer = None if op.index in said else facts.view.completion(op.index)
        if answer is not None and answer.type == "ok" and answer.get("absorbed"):
            found.append(answer)
    return found


def absorbed_ref(op: Op, /) -> str:
    """The reference in an entry that says "this was a repeat"."""
    found = op.get("absorbed") if op.type == "event" else op.get("ref")
    return found if isinstance(found, str) else ""


# -- intents


def of_intents(facts: Facts, key: OpKey, /) -> list[Anomaly]:
    """An intent that the agent reported, and then neither followed nor gave up."""
    entry = facts.operations[key]
    if not entry.intents or entry.attempts or entry.commits:
        return []
    for intent in entry.intents:
        task = facts.tasks.get(intent.task)
        if task is None:
            continue  # nobody can say whose intent it was
        if task.outcome is not None and task.status != "completed":
            continue  # given up, and said so
        if intent.key is not None and (key[0], intent.key) in facts.sent_keys:
            continue  # the agent writes its markers in another way
        return [
            Anomaly(
                kind="dangling-intent",
                tool=key[0],
                marker=key[1],
                ops=shown_by(intent, task.outcome),
                proven=facts.ended,
                task=intent.task,
            )
        ]
    return []
