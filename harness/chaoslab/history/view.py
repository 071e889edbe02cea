"""Questions that one asks of a history, each answered from indexes built in one pass.

>>> ops = [Op(index=0, time_ns=0, type="invoke", f="tools.refund", marker="o-1", attempt=1),
...        Op(index=1, time_ns=5, type="commit", f="tools.refund", marker="o-1", call=0),
...        Op(index=2, time_ns=9, type="info", f="tools.refund", marker="o-1", call=0)]
>>> view = View(ops)
>>> view.completion(0).type, [c.index for c in view.commits(0)]
('info', [1])
>>> view.operations()[("refund", "o-1")].attempts[0].index
0
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chaoslab.history.op import Op


@dataclass(slots=True, kw_only=True)
class Operation:
    """Everything about one logical action (tool, marker), in the order of the history."""

    tool: str
    marker: str
    attempts: list[Op] = field(default_factory=list)  # invokes
    commits: list[Op] = field(default_factory=list)  # effects, from the ledger
    absorbed: list[Op] = field(default_factory=list)  # repeats that the service recognised
    intents: list[Op] = field(default_factory=list)  # report.intent events


def tool_of(op: Op, /) -> str:
    """The tool that an entry is about, or "" (`tools.x`, or the Wasm tool `wasm.x`).

    >>> tool_of(Op(index=0, time_ns=0, type="invoke", f="wasm.ticket"))
    'ticket'
    """
    head, _, tail = op.f.partition(".")
    if head == "tools" or (head == "wasm" and tail not in _WASM_EVENTS):
        return tail
    return ""


_WASM_EVENTS = frozenset(("instantiate", "poisoned", "retired"))


class View:
    """A read-only history with indexes. Entries keep their numbers: `view[i].index == i`."""

    __slots__ = ("_by_f", "_commits", "_completions", "_operations", "ops")

    def __init__(self, ops: Iterable[Op]) -> None:
        self.ops: Sequence[Op] = tuple(ops)
        self._completions: dict[int, Op] = {}
        self._commits: dict[int, list[Op]] = {}
        self._by_f: dict[str, list[Op]] = {}
        self._operations: dict[tuple[str, str], Operation] | None = None
        for op in self.ops:
            self._by_f.setdefault(op.f, []).append(op)
            if op.call >= 0:
                if op.type in ("ok", "fail", "info"):
                    self._completions.setdefault(op.call, op)
                elif op.type == "commit":
                    self._commits.setdefault(op.call, []).append(op)

    def __len__(self) -> int:
        return len(self.ops)

    def __getitem__(self, index: int) -> Op:
        return self.ops[index]

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def named(self, f: str, /) -> Sequence[Op]:
        """All entries with exactly this `f`."""
        return self._by_f.get(f, ())

    def completion(self, invoke: int, /) -> Op | None:
        """The ok, fail or info of an invoke; None while it is open."""
        return self._completions.get(invoke)

    def commits(self, invoke: int, /) -> Sequence[Op]:
        """The ledger changes that an invoke caused."""
        return self._commits.get(invoke, ())

    def operations(self) -> Mapping[tuple[str, str], Operation]:
        """Every logical action by (tool, marker), in order of first mention."""
        if self._operations is None:
            found: dict[tuple[str, str], Operation] = {}
            for op in self.ops:
                self._join(found, op)
            self._operations = found
        return self._operations

    @staticmethod
    def _join(found: dict[tuple[str, str], Operation], op: Op) -> None:
        if op.f == "report.intent":
            tool = str(op.get("tool", ""))
        else:
            tool = tool_of(op)
        if not tool or (op.type == "invoke" and op.get("lookup")):
            return
        key = (tool, op.marker)
        entry = found.get(key)
        if entry is None:
            if op.type not in ("invoke", "commit") and op.f != "report.intent":
                return
            entry = found[key] = Operation(tool=tool, marker=op.marker)
        if op.type == "invoke":
            entry.attempts.append(op)
        elif op.type == "commit":
            entry.commits.append(op)
        elif op.f == "report.intent":
            entry.intents.append(op)
        elif op.type == "event" and op.get("absorbed"):
            entry.absorbed.append(op)
