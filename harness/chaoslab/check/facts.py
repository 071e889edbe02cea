"""What a history says, joined once, so that no check has to join it again.

Checks ask about tasks (which outcome counted?), effects (which still stand?) and tokens (which
marked strings did the agent send, and where?). Each of these needs one walk over the entries;
a `Facts` does the walk on first use and keeps the answer, so that eighteen checks cost little
more than one.

>>> from chaoslab.history import Op, View
>>> ops = [Op(index=0, time_ns=0, type="invoke", f="tools.refund", marker="o-1", task="t1"),
...        Op(index=1, time_ns=1, type="commit", f="tools.refund", marker="o-1", call=0,
...           value={"ref": "refund:o-1#1"})]
>>> facts = Facts(View(ops))
>>> [(e.ref, e.task, e.stands) for e in facts.effects[("refund", "o-1")]]
[('refund:o-1#1', 't1', True)]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from chaoslab.check.attribution import requests_of
from chaoslab.check.tokens import Sighting, scan
from chaoslab.contract import Contract, ToolContract
from chaoslab.history import Op, Operation, View, tool_of

if TYPE_CHECKING:
    from chaoslab.check.graph import Lineage

OpKey = tuple[str, str]  # (tool, marker)

# An entry of one of these says that the execution was brought to its end, well or badly.
_ENDS = ("lab.end", "lab.deadlock", "lab.budget", "final.effects", "final.memory")
NO_END = "the record stops before the end of the execution"


@dataclass(slots=True, kw_only=True)
class Effect:
    """One change in a tool's ledger. Commits with the same reference are one effect."""

    tool: str
    marker: str
    ref: str
    commits: list[Op]
    call: Op | None  # the invoke that did it; None where nobody is known to have asked
    task: str
    undone_by: Op | None = None  # the commit that compensates it
    undone_task: str = ""  # the task that asked for that
    undoes: str = ""  # this effect is itself the compensation of another

    @property
    def stands(self) -> bool:
        """Whether it was not undone."""
        return self.undone_by is None


class Claimed(NamedTuple):
    """One claim of an outcome, with the entry that makes it."""

    tool: str
    marker: str
    ref: str | None
    outcome: Op


@dataclass(slots=True, kw_only=True)
class TaskFacts:
    """A task: how it was handed out and which of its outcomes counted."""

    id: str
    session: str = ""
    submits: list[Op] = field(default_factory=list)
    outcome: Op | None = None
    others: list[Op] = field(default_factory=list)  # late outcomes, and what it only reported

    @property
    def status(self) -> str:
        """How the task ended, or "" while it has not."""
        return str(self.outcome.get("status", "")) if self.outcome is not None else ""


def rows_of(op: Op, name: str, /) -> Sequence[Any]:
    """A list inside an entry's value; empty where there is none or something else stands there.

    >>> rows_of(Op(index=0, time_ns=0, type="ok", f="memory.scan", value={"items": 7}), "items")
    ()
    """
    found = op.get(name)
    return found if isinstance(found, (list, tuple)) else ()


def claims_of(outcome: Op, /) -> list[Claimed]:
    """The claims of an outcome; a malformed one is skipped, since it claims nothing."""
    found = []
    for raw in rows_of(outcome, "claims"):
        if isinstance(raw, Mapping):
            ref = raw.get("ref")
            found.append(
                Claimed(
                    tool=str(raw.get("tool", "")),
                    marker=str(raw.get("marker", "")),
                    ref=None if ref is None else str(ref),
                    outcome=outcome,
                )
            )
    return found


class Facts:
    """The joined view of one history. Everything is built on first use.

    The contract tells for which tools effects are read from a source of the team's own.
    `recorded`: the history is of real processes, so not all that the agent does is in it.
    """

    def __init__(
        self, view: View, contract: Contract | None = None, /, *, recorded: bool = False
    ) -> None:
        self.view = view
        self.contract = Contract() if contract is None else contract
        self.recorded = recorded
        self.graph: Lineage | None = None  # kept here by `graph.lineage`, for all checks
        self.hidden: tuple[Contract, tuple[str, ...]] | None = None  # and by `observed.unseen`

    @property
    def operations(self) -> Mapping[OpKey, Operation]:
        """Every logical action by (tool, marker)."""
        return self.view.operations()

    @cached_property
    def _groups(self) -> tuple[list[Op], list[Op], list[Op]]:
        """(requests to tools and Wasm modules, tool commits, memory commits)."""
        requests: list[Op] = []
        effects: list[Op] = []
        memory: list[Op] = []
        for op in self.view.ops:
            kind = op.type
            if kind == "invoke":
                head = op.f[:5]
                if head == "tools" or (head == "wasm." and op.f != "wasm.instantiate"):
                    requests.append(op)
            elif kind == "commit":
                if op.f.startswith("tools."):
                    effects.append(op)
                elif op.f.startswith("memory."):
                    memory.append(op)
        return requests, effects, memory

    @property
    def requests(self) -> Sequence[Op]:
        """Every invoke of `tools.*` and of `wasm.MODULE`, look-ups included."""
        return self._groups[0]

    @property
    def tool_commits(self) -> Sequence[Op]:
        """Every line of the tools' ledgers."""
        return self._groups[1]

    @property
    def memory_commits(self) -> Sequence[Op]:
        """Every change of memory, erasures included."""
        return self._groups[2]

    @cached_property
    def ended(self) -> bool:
        """Whether the record reaches the end, so that absence proves something."""
        return any(self.view.named(f) for f in _ENDS)

    @cached_property
    def anybodys(self) -> bool:
        """Whether a request of a real process that names no task may be for any of several."""
        return self.recorded and len(self.tasks) > 1

    @cached_property
    def _calls(self) -> Mapping[str, list[Op]]:
        found: dict[str, list[Op]] = {}
        for op in self.view.ops:
            if op.type == "invoke" and op.task:
                found.setdefault(op.task, []).append(op)
        return found

    def calls_of(self, task: str, /) -> Sequence[Op]:
        """Everything that a task asked for, at any port."""
        return self._calls.get(task, ())

    @cached_property
    def late(self) -> Mapping[int, Op]:
        """By number the commits that were only read afterwards, out of a source of the team's
        own, which does not tell whose they are."""
        return {
            op.index: op
            for op in self.tool_commits
            if op.call < 0
            and not op.process
            and (self.recorded or self.contract.tool(op.f[6:]).effects is not None)
        }

    @cached_property
    def _asked_late(self) -> Mapping[int, Op]:
        names = {op.f[6:] for op in self.late.values()}
        unnamed = {name for name in names if not self.contract.tool(name).identity_fields}
        return requests_of(self.view, self.late.values(), unnamed=unnamed)

    def since(self, commit: Op, /) -> int:
        """The entry from which on a commit may have stood: itself, or its request where it was
        only read afterwards."""
        asked = self._asked_late.get(commit.index)
        return commit.index if asked is None else asked.index

    def commits_of(self, request: Op, /) -> Sequence[Op]:
        """The changes of ledgers that count as those of a request."""
        return (*self.view.commits(request.index), *self._late_by_call.get(request.index, ()))

    @cached_property
    def _late_by_call(self) -> Mapping[int, list[Op]]:
        found: dict[int, list[Op]] = {}
        for index, asked in self._asked_late.items():
            found.setdefault(asked.index, []).append(self.view[index])
        return found

    def invoke_of(self, op: Op, /) -> Op | None:
        """The invoke that an entry belongs to, or counts as one of, where there really is one."""
        if op.call < 0 and op.type == "commit":
            return self._asked_late.get(op.index)
        if 0 <= op.call < len(self.view):
            found = self.view[op.call]
            if found.type == "invoke":
                return found
        return None

    def refused(self, request: Op, /, *, before: int = -1) -> bool:
        """Whether a request certainly did not happen, and the agent was told so (by the entry
        `before`, where given). A conflict does not say that: it says that the key is known."""
        answer = self.view.completion(request.index)
        return (
            answer is not None
            and answer.type == "fail"
            and answer.get("error") != "conflict"
            and (before < 0 or answer.index < before)
        )

    @cached_property
    def sent_keys(self) -> set[tuple[str, str]]:
        """Every (tool, key) that a request carried, or that a Wasm guest made up."""
        asked = {(tool_of(op), op.key) for op in self.requests if op.key is not None}
        return asked | {(op.f[6:], op.key) for op in self.tool_commits if op.key is not None}

    @cached_property
    def looked_up(self) -> Mapping[OpKey, int]:
        """The last answer to a look-up of each operation."""
        found: dict[OpKey, int] = {}
        for op in self.requests:
            if op.get("lookup"):
                answer = self.view.completion(op.index)
                if answer is not None and answer.type == "ok":
                    key = (tool_of(op).removesuffix(".lookup"), answer.marker)
                    found[key] = max(answer.index, found.get(key, -1))
        return found

    @cached_property
    def _operation_task(self) -> dict[OpKey, str]:
        """The task of an operation, where all attempts that name one name the same.

        An agent that resumes by itself works outside any task; its attempts are told by the
        task that began the operation.
        """
        out: dict[OpKey, str] = {}
        for key, entry in self.operations.items():
            named = {op.task for op in (*entry.attempts, *entry.intents) if op.task}
            if len(named) == 1:
                out[key] = next(iter(named))
        return out

    def task_of(self, tool: str, op: Op, /) -> str:
        """The task that an attempt or a commit of a tool belongs to, or ""."""
        if op.task:
            return op.task
        call = self.invoke_of(op)
        if call is not None and call.task:
            return call.task
        return self._operation_task.get((tool, op.marker), "")

    def tasks_of(self, key: OpKey, /) -> set[str]:
        """The tasks that attempted an operation."""
        entry = self.operations.get(key)
        if entry is None:
            return set()
        found = {self.task_of(key[0], op) for op in (*entry.attempts, *entry.commits)}
        return found - {""}

    @cached_property
    def effects(self) -> Mapping[OpKey, list[Effect]]:
        """The effects of every operation in the order of the ledger, undone ones included."""
        found: dict[OpKey, list[Effect]] = {}
        by_ref: dict[str, Effect] = {}
        known: dict[tuple[str, str, str], Effect] = {}  # services of their own count for themselves
        for op in self.tool_commits:
            tool = op.f[6:]
            undoes = op.get("compensates")
            undone = by_ref.get(undoes) if isinstance(undoes, str) else None
            if undone is not None:
                if undone.undone_by is None:
                    undone.undone_by = op
                    undone.undone_task = self.task_of(tool, op)
                if undone.tool == tool:
                    continue  # the tool undoes its own effect: that is no effect of its own
            ref = str(op.get("ref") or f"#{op.index}")
            call = self.invoke_of(op)
            marker = call.marker if op.call < 0 and call is not None else op.marker
            same = known.get((tool, marker, ref))
            if same is not None:
                same.commits.append(op)
                continue
            effect = Effect(
                tool=tool,
                marker=marker,
                ref=ref,
                commits=[op],
                call=call,
                task=self.task_of(tool, op),
                undoes=undone.ref if undone is not None else "",
            )
            by_ref.setdefault(ref, effect)
            known[tool, marker, ref] = effect
            found.setdefault((tool, marker), []).append(effect)
        return found

    @cached_property
    def _by_call(self) -> Mapping[int, list[Effect]]:
        found: dict[int, list[Effect]] = {}
        for effects in self.effects.values():
            for effect in effects:
                if effect.call is not None:
                    found.setdefault(effect.call.index, []).append(effect)
        return found

    def effects_for(self, key: OpKey, /) -> list[Effect]:
        """The effects of an operation, also those that its own requests caused under another
        name: a Wasm module commits through a tool that may be called differently."""
        own = self.effects.get(key, [])
        entry = self.operations.get(key)
        if own or entry is None:
            return own
        return [e for op in entry.attempts for e in self._by_call.get(op.index, ())]

    @cached_property
    def _by_task(self) -> Mapping[str, list[Effect]]:
        found: dict[str, list[Effect]] = {}
        for effects in self.effects.values():
            for effect in effects:
                if effect.task and not effect.undoes:
                    found.setdefault(effect.task, []).append(effect)
        return found

    def done_by(self, task: str, /) -> Sequence[Effect]:
        """The effects of a task, compensations left out."""
        return self._by_task.get(task, ())

    @cached_property
    def tasks(self) -> Mapping[str, TaskFacts]:
        """Every task that was handed out or has an outcome."""
        found: dict[str, TaskFacts] = {}
        for op in self.view.named("task.submit"):
            task = found.setdefault(op.task, TaskFacts(id=op.task, session=op.session))
            task.submits.append(op)
        for op in self.view.named("task.outcome"):
            task = found.setdefault(op.task, TaskFacts(id=op.task, session=op.session))
            if op.get("counted") is False or not _replaces(op, task.outcome):
                task.others.append(op)
            else:
                task.outcome = op
        reported = self._ended_with()
        for op in self.view.named("report.outcome"):
            name = op.task or str(op.get("task", ""))
            task = found.setdefault(name, TaskFacts(id=name, session=op.session))
            if task.outcome is None and (reported is None or reported.get(name)):
                task.outcome = op
            else:
                task.others.append(op)
        found.pop("", None)
        return found

    def _ended_with(self) -> Mapping[str, Any] | None:
        for op in self.view.named("lab.end"):
            outcomes = op.get("outcomes")
            if isinstance(outcomes, Mapping):
                return outcomes
        return None

    @cached_property
    def claims(self) -> Mapping[OpKey, list[Claimed]]:
        """What the outcomes that counted claim, by operation."""
        found: dict[OpKey, list[Claimed]] = {}
        for task in self.tasks.values():
            if task.outcome is not None:
                for claim in claims_of(task.outcome):
                    found.setdefault((claim.tool, claim.marker), []).append(claim)
        return found

    @cached_property
    def suspect_sessions(self) -> frozenset[str]:
        """The sessions with a reason for quarantine: one that was reported, or a Wasm instance
        that broke in a call for them."""
        moves = self.view.named("report.transition")
        found = {op.session for op in moves if op.get("state") == "quarantined"}
        for op in self.view.named("wasm.poisoned"):
            call = self.invoke_of(op)
            found.add(op.session or (call.session if call is not None else ""))
        return frozenset(found - {""})

    @cached_property
    def deaths(self) -> Mapping[str, Op]:
        """The kill or stop of each process that ended."""
        found: dict[str, Op] = {}
        for f in ("process.kill", "process.stop"):
            for op in self.view.named(f):
                found.setdefault(op.process, op)
        return found

    @cached_property
    def births(self) -> Mapping[str, Op]:
        """The start of each process."""
        found: dict[str, Op] = {}
        for op in self.view.named("process.start"):
            found.setdefault(op.process, op)
        return found

    @cached_property
    def sightings(self) -> Sequence[Sighting]:
        """Every entry that carries a marked string, in order."""
        return scan(self.view)


def _replaces(new: Op, old: Op | None) -> bool:
    """The first outcome counts; a deferred one only until the task is handed out again."""
    return old is None or old.get("status") == "deferred"


def recognisable(op: Op, /) -> bool:
    """Whether a request tells which action it is for. A call into a Wasm module without a key
    may be anything, such as a question for a counter."""
    return bool(op.marker) and (op.f.startswith("tools.") or op.key is not None)


def standing_for(
    effects: Sequence[Effect], outcome: Op, /, *, late: Collection[int] = ()
) -> list[Effect]:
    """The effects that make a claim true. `late`: see `Facts.late`.

    A compensation that another task asked for after the outcome does not make the claim a lie:
    booking today and cancelling tomorrow is ordinary work. Of one that was only read afterwards
    nobody knows when it happened.
    """
    return [
        e
        for e in effects
        if e.undone_by is None
        or (
            e.undone_by.index > outcome.index
            and e.undone_task != outcome.task
            and (e.undone_task or e.undone_by.index in late)
        )
    ]


def requests_behind(effects: Sequence[Effect], tool: ToolContract, /) -> list[Effect]:
    """One effect for every request that the agent has to answer for.

    A network may deliver one request twice. Where the tool takes no keys, or where the request
    did carry one, the agent could not have prevented the second commit, so both count once.
    """
    seen: set[int] = set()
    out = []
    for effect in effects:
        call = effect.call
        if call is not None and call.f.startswith("tools."):
            if call.key is not None or not tool.keys:
                if call.index in seen:
                    continue
                seen.add(call.index)
        out.append(effect)
    return out
