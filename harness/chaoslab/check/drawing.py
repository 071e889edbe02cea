"""The lineage graph as nodes and edges in plain JSON, for whoever draws it.

A node is an entry of the record, but for a key, which stands where it was first used. Its id is
made of what it is and its number, so the same history gives the same text every time.

>>> EDGES[0], EDGES[-1]
('intent-key', 'compensates')
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, get_args

from chaoslab.check.facts import standing_for
from chaoslab.core.jsons import Json
from chaoslab.history import Op

if TYPE_CHECKING:
    from chaoslab.check.graph import Thread, Try

Node = Literal["intent", "key", "try", "commit", "row", "reply"]
Edge = Literal[
    "intent-key",  # the intent named this key
    "intent-try",  # the intent named none, and this is the next try of its action
    "key-try",  # the try carried the key
    "try-commit",  # the request did it
    "commit-row",  # the memory commit that first keeps the reference
    "commit-reply",  # the outcome that claims it
    "retry-of",  # the try before it, of the same action by the same task
    "absorbed-by",  # the service took the try for a repeat of this commit
    "compensates",  # this commit undoes that one
]
NODES: Final[tuple[Node, ...]] = get_args(Node)
EDGES: Final[tuple[Edge, ...]] = get_args(Edge)


def draw(threads: Iterable[Thread], /) -> tuple[list[Json], list[Json]]:
    """All nodes, and all edges between them."""
    threads = list(threads)
    drawing = _Drawing(threads)
    for thread in threads:
        drawing.add(thread)
    return drawing.rows()


class _Drawing:
    def __init__(self, threads: list[Thread]) -> None:
        self.nodes: dict[str, dict[str, Json]] = {}
        self.order: dict[str, tuple[int, int, str]] = {}  # by id
        self.edges: set[tuple[str, str, Edge]] = set()
        self.by_ref: dict[str, Op] = {}
        for thread in threads:
            for effect in thread.effects:
                self.by_ref.setdefault(effect.ref, effect.commits[0])

    def add(self, thread: Thread) -> None:
        uses = [(op.key, op.index) for op in thread.intents]
        uses += [(one.key, one.invoke.index) for one in thread.tries]
        for key, at in uses:
            if key is not None:
                self.node("key", f"{thread.tool}/{key}", at, tool=thread.tool, key=key)
        self.add_tries(thread)
        self.add_effects(thread)
        for claim in thread.replies:
            op = claim.outcome
            reply = self.entry("reply", op, task=op.task, status=str(op.get("status", "")))
            for effect in (
                standing_for(thread.effects, op)
                if claim.ref is None
                else [e for e in thread.effects if e.ref == claim.ref]
            ):
                self.edges.add((f"commit:{effect.commits[0].index}", reply, "commit-reply"))

    def add_tries(self, thread: Thread) -> None:
        tries = [one.invoke.index for one in thread.tries]
        for op in thread.intents:
            intent = self.entry("intent", op, tool=thread.tool, marker=thread.marker, task=op.task)
            if op.key is not None:
                self.edges.add((intent, f"key:{thread.tool}/{op.key}", "intent-key"))
                continue
            after = bisect_right(tries, op.index)
            if after < len(tries):
                self.edges.add((intent, f"try:{tries[after]}", "intent-try"))
        last: dict[str, str] = {}
        for one in thread.tries:
            tried = self.entry("try", one.invoke, **_told(thread, one))
            if one.key is not None:
                self.edges.add((f"key:{thread.tool}/{one.key}", tried, "key-try"))
            if one.task in last:
                self.edges.add((tried, last[one.task], "retry-of"))
            last[one.task] = tried
            if one.absorbed in self.by_ref:
                to = self.commit(self.by_ref[one.absorbed])
                self.edges.add((tried, to, "absorbed-by"))

    def add_effects(self, thread: Thread) -> None:
        tries = {one.invoke.index for one in thread.tries}
        first: dict[str, str] = {}
        for effect in thread.effects:
            for op in effect.commits:
                done = self.commit(op)
                first.setdefault(effect.ref, done)
                self.nodes[done]["stands"] = effect.stands
                if op.call in tries:
                    self.edges.add((f"try:{op.call}", done, "try-commit"))
            if effect.undone_by is not None:
                undone = first[effect.ref]
                self.edges.add((self.commit(effect.undone_by), undone, "compensates"))
        for row in thread.rows:
            kept = self.entry("row", row.commit, item=str(row.commit.get("id", "")))
            self.edges.add((first[row.ref], kept, "commit-row"))

    def commit(self, op: Op) -> str:
        return self.entry(
            "commit", op, tool=op.f[6:], marker=op.marker, ref=str(op.get("ref") or "")
        )

    def entry(self, type: Node, op: Op, **fields: Json) -> str:
        return self.node(type, str(op.index), op.index, **fields)

    def node(self, type: Node, name: str, at: int, **fields: Json) -> str:
        id = f"{type}:{name}"
        told = {k: v for k, v in fields.items() if v not in ("", None)}
        place = (at, NODES.index(type), id)
        if self.order.setdefault(id, place) > place:  # a key that another action used before
            self.order[id] = place
            self.nodes[id]["op"] = at
        self.nodes.setdefault(id, {"id": id, "type": type, "op": at, **told})
        return id

    def rows(self) -> tuple[list[Json], list[Json]]:
        order = self.order
        nodes: list[Json] = [self.nodes[id] for id in sorted(self.nodes, key=order.__getitem__)]
        edges = sorted(self.edges, key=lambda e: (order[e[0]], order[e[1]], EDGES.index(e[2])))
        return nodes, [{"type": kind, "from": one, "to": two} for one, two, kind in edges]


def _told(thread: Thread, one: Try) -> dict[str, Json]:
    told: dict[str, Json] = {
        "tool": thread.tool,
        "marker": thread.marker,
        "task": one.task,
        "process": one.process,
        "world": one.world,
        "in_doubt": one.in_doubt,
    }
    if one.decided >= 0:
        told["decided"] = one.decided
    if one.world == "undecided":
        told["if_happened"] = [a.to_json() for a in one.if_happened]
        told["if_not"] = [a.to_json() for a in one.if_not]
    return told
