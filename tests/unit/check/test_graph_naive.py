"""The graph against a second opinion: the same words computed in the plainest way from the bare
entries, pair by pair, for drawn histories in which anything may happen to a few actions."""

import json
from collections.abc import Sequence
from typing import TypeVar

from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.unit.check.builder import CONTRACT, History

from chaoslab.check.facts import Facts
from chaoslab.check.graph import lineage
from chaoslab.history import Op

T = TypeVar("T")
TASKS = ("s1-t1", "s2-t1")
TOOLS = ("refund", "ship", "notify", "audit")
KEYS = (None, "a", "b")
Told = set[tuple[str, str, str, bool, bool]]  # kind, tool, marker, legitimate, proven


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Up to twelve strokes on two tasks, two markers and two keys; now and then with an end."""
    h = History()
    for task in TASKS:
        h.submit(task)
    calls: list[int] = []
    refs: list[tuple[str, str]] = []

    def pick(rows: Sequence[T]) -> T:
        return draw(st.sampled_from(rows))

    # One true claim, so that these agents are of those that list what they did.
    h.outcome("s0-t1", "completed", ("audit", "o-0", h.done("audit", "o-0", task="s0-t1")))
    strokes = st.sampled_from(
        ["ask", "ask", "commit", "answer", "absorb", "intent", "undo", "orphan", "row", "outcome"]
    )
    for stroke in draw(st.lists(strokes, max_size=12)):
        tool, marker = pick(TOOLS), pick(["o-1", "o-2"])
        task, key = pick(TASKS), pick(KEYS)
        if stroke == "ask":
            calls.append(h.ask(tool, marker, key=key, task=task, args={}))
        elif stroke == "intent":
            h.intent(tool, marker, task, key)
        elif stroke == "orphan":
            h.add("commit", f"tools.{tool}", {"ref": f"x:{len(h.ops)}#1"}, marker=marker)
        elif stroke == "outcome":
            claims = draw(st.lists(st.tuples(st.sampled_from(TOOLS), st.just(marker)), max_size=2))
            h.outcome(task, pick(["completed", "failed", "uncertain"]), *claims)
        elif not calls:
            continue
        elif stroke == "commit":
            call = pick(calls)
            refs.append((h.commit(call), h.ops[call].task))
        elif stroke == "answer":
            getattr(h, pick(["ok", "fail", "info"]))(pick(calls))
        elif not refs:
            continue
        elif stroke == "undo":
            ref = pick(refs)[0]
            h.commit(h.ask("void", ref, task=task), undoes=ref)
        elif stroke == "absorb":
            asked = h.ops[pick(calls)]
            value = {"absorbed": pick(refs)[0]}
            h.add("event", asked.f, value, call=asked.index, marker=asked.marker, key=asked.key)
        else:
            h.write("log", {"said": [f"done ({pick(refs)[0]})."]})
    return h.end() if draw(st.booleans()) else h


class Naive:
    """Everything again, from the list of entries alone."""

    def __init__(self, h: History) -> None:
        self.ops = h.ops
        self.ended = any(o.f == "lab.end" for o in h.ops)
        self.calls = [o for o in h.ops if o.type == "invoke" and o.f.startswith("tools.")]
        self.commits = [o for o in h.ops if o.type == "commit" and o.f.startswith("tools.")]
        self.outcomes: dict[str, Op] = {}
        for op in h.ops:
            if op.f == "task.outcome":
                self.outcomes.setdefault(op.task, op)

    def answer(self, call: Op) -> Op | None:
        found = [o for o in self.ops if o.call == call.index and o.type in ("ok", "fail", "info")]
        return found[0] if found else None

    def refused(self, call: Op, before: Op) -> bool:
        answer = self.answer(call)
        return answer is not None and answer.type == "fail" and answer.index < before.index

    def undone(self, commit: Op) -> Op | None:
        found = [o for o in self.commits if o.get("compensates") == commit.get("ref")]
        return found[0] if found else None

    def world(self, call: Op) -> str:
        mine = [o for o in self.ops if o.call == call.index]
        if any(o.type == "commit" or o.get("absorbed") for o in mine):
            return "happened"
        answer = self.answer(call)
        if self.ended or (answer is not None and answer.type == "fail"):
            return "did-not-happen"
        return "undecided"

    def row(self, commit: Op) -> int | None:
        for op in self.ops[commit.index :]:
            if op.f == "memory.write" and op.type == "commit":
                if f"({commit.get('ref')})" in json.dumps(op.value):
                    return op.index
        return None

    def anomalies(self) -> Told:
        found: Told = set()
        for op in self.commits:
            if op.call < 0:
                found.add(("orphan-effect", op.f[6:], op.marker, False, True))
            if self.undone(op):
                found.add(("compensated", op.f[6:], op.marker, True, True))
        for op in self.ops:
            if op.type == "event" and op.get("absorbed"):
                found.add(("absorbed", op.f[6:], op.marker, True, True))
        return found | self.keys() | self.duplicates() | self.intents() | self.replies()

    def keys(self) -> Told:
        found: Told = set()
        for tool in ("refund", "ship"):
            calls = [o for o in self.calls if o.f == f"tools.{tool}"]
            for two in calls:
                same = [o for o in calls if o.marker == two.marker]
                if two.key is None:
                    once = tool == "ship" and len(same) == 1
                    found.add(("key-absent", tool, two.marker, once, True))
                    continue
                for one in calls:
                    if one.key is None or one.index >= two.index or self.refused(one, two):
                        continue
                    if one.marker == two.marker and one.key != two.key:
                        if not self.voided_between(one, two):
                            found.add(("key-changed", tool, two.marker, False, True))
                    if one.marker != two.marker and one.key == two.key:
                        # One key is one row, however many actions it was used for.
                        found.add(("key-reused", tool, one.key, False, True))
        return found

    def voided_between(self, one: Op, two: Op) -> bool:
        undone = [self.undone(c) for c in self.commits if (c.f, c.marker) == (one.f, one.marker)]
        return any(u is not None and one.index < u.index < two.index for u in undone)

    def duplicates(self) -> Told:
        found: Told = set()
        for tool, marker in {(o.f[6:], o.marker) for o in self.commits}:
            standing = [
                o
                for o in self.commits
                if (o.f[6:], o.marker) == (tool, marker) and o.call >= 0 and not self.undone(o)
            ]
            # Two commits of one request are one, but where a key was on offer and not used.
            counted = {
                o.index
                if tool in ("refund", "ship") and self.ops[o.call].key is None
                else ("call", o.call)
                for o in standing
            }
            if len(counted) > 1:
                weak = tool in ("audit", "void")
                found.add(("duplicate-by-marker", tool, marker, weak, True))
        return found

    def intents(self) -> Told:
        found: Told = set()
        asked = {(o.f[6:], o.marker) for o in (*self.calls, *self.commits)}
        sent = {(o.f[6:], o.key) for o in self.calls if o.key is not None}
        for op in self.ops:
            tool = str(op.get("tool"))
            if op.f != "report.intent" or (tool, op.marker) in asked or (tool, op.key) in sent:
                continue
            outcome = self.outcomes.get(op.task)
            if outcome is None or outcome.get("status") == "completed":
                found.add(("dangling-intent", tool, op.marker, False, self.ended))
        return found

    def replies(self) -> Told:
        found: Told = set()
        for task, outcome in self.outcomes.items():
            listed = {(c["tool"], c["marker"]) for c in outcome.get("claims")}
            for tool, marker in listed:
                done = [o for o in self.commits if (o.f[6:], o.marker) == (tool, marker)]
                if not any(self.stands_for(o, outcome) for o in done):
                    found.add(("claimed-not-done", tool, marker, False, self.ended))
            own = [
                o
                for o in self.commits
                if self.task_of(o) == task
                and not self.undone(o)
                and not o.get("compensates")
                and (o.f[6:], o.marker) not in listed
            ]
            if not listed and outcome.get("status") == "failed":
                own = own[:1] and [min(own, key=self.mentioned)]
            elif not listed or outcome.get("status") == "uncertain":
                own = []
            for op in own:
                found.add(("done-not-claimed", op.f[6:], op.marker, False, True))
        return found

    def task_of(self, commit: Op) -> str:
        """Where no request is known, the one task that ever meant or asked for the action."""
        key = (commit.f[6:], commit.marker)
        meant = {
            o.task
            for o in self.ops
            if (o.f == "report.intent" and (o.get("tool"), o.marker) == key)
            or (o.type == "invoke" and (o.f[6:], o.marker) == key)
        }
        return commit.task or (meant.pop() if len(meant) == 1 else "")

    def mentioned(self, commit: Op) -> tuple[int, int]:
        """Of several effects that a failure denies the first to be committed of its action,
        the actions in the order of their first commit."""
        same = [o.index for o in self.commits if (o.f, o.marker) == (commit.f, commit.marker)]
        return (min(same), commit.index)

    def stands_for(self, commit: Op, outcome: Op) -> bool:
        undo = self.undone(commit)
        return undo is None or (undo.index > outcome.index and undo.task != outcome.task)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(histories())
def test_the_graph_agrees_with_the_plainest_reading(h: History) -> None:
    note("\n".join(op.line() for op in h.ops))  # what Hypothesis shows of a counterexample
    naive = Naive(h)
    found = lineage(Facts(h.view()), CONTRACT)
    told: Told = set()
    for a in found.anomalies:
        marker = a.marker
        if a.kind == "key-reused":
            marker = str(h.ops[a.ops[0]].key)
        told.add((a.kind, a.tool, marker, a.legitimate, a.proven))
        assert a.ops and list(a.ops) == sorted(set(a.ops))
    assert told == naive.anomalies()
    tries = {t.invoke.index: t.world for thread in found.threads.values() for t in thread.tries}
    assert tries == {call.index: naive.world(call) for call in naive.calls}
    rows = {ref: op.index for ref, op in found.remembered.items()}
    expected = {str(c.get("ref")): naive.row(c) for c in naive.commits}
    assert rows == {ref: row for ref, row in expected.items() if row is not None}
