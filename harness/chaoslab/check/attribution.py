"""Whose request did it, where an effect was only read afterwards.

The lab's own services say which request made each commit. A service of the team's own is asked
what stands in its database, and its rows come late and without that: a commit with no `call`. An
effect whose action was requested then counts as its request's, and each further effect as that of
a further request, so that nothing is called the network's doing which the agent asked for twice.

A request with the key of the effect goes first, then those with no key known; within these the
one that was told the reference, then the order of the record. A request that certainly did not
arrive made nothing, as long as there is another. Where the rows show keys as they were sent, one
whose key nobody sent is no request's: something reached the service past the lab.

>>> from chaoslab.history import View
>>> ops = [Op(index=0, time_ns=0, type="invoke", f="tools.pay", marker="o-1"),
...        Op(index=1, time_ns=1, type="invoke", f="tools.pay", marker="o-1"),
...        Op(index=2, time_ns=2, type="commit", f="tools.pay", marker="o-1", value={"ref": "7"}),
...        Op(index=3, time_ns=3, type="commit", f="tools.pay", marker="o-1", value={"ref": "8"})]
>>> {late: request.index for late, request in requests_of(View(ops), ops[2:]).items()}
{2: 0, 3: 1}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from chaoslab.history import Op, View, tool_of

_Group = tuple[str, str, str | None]  # (tool, marker, key); a marker "" or a key None is any

# What these strike goes on all the same.
_GOES_ON: Final = frozenset(("delay", "hold", "reorder", "duplicate", "pause"))


def requests_of(
    view: View, late: Iterable[Op], /, *, unnamed: Collection[str] = ()
) -> Mapping[int, Op]:
    """By the number of each late commit the request that it counts as; those for which there is
    none are left out. `unnamed` are the tools whose marker only says "the same words": what a
    database holds is worded in another way, so there the key or the reference must tell."""
    commits = list(late)
    if not commits:
        return {}
    requests = _Requests(view, {op.f for op in commits}, unnamed)
    requests.learn(commits)
    found: dict[int, Op] = {}
    for op in commits:
        asked = requests.take(op)
        if asked is not None:
            found[op.index] = asked
    return found


class _Requests:
    """The requests to some tools, each to be taken once, or twice where it was delivered twice."""

    def __init__(self, view: View, names: set[str], unnamed: Collection[str]) -> None:
        self._unnamed = unnamed
        strikes = [op for op in view.named("nemesis.strike") if op.call >= 0]
        twice = {op.call for op in strikes if op.get("kind") == "duplicate"}
        held = {
            op.call
            for op in strikes
            if op.get("phase") in ("before-send", "before-commit")
            and op.get("kind") not in _GOES_ON
        }
        self._likely: dict[_Group, list[tuple[Op, int]]] = {}
        self._next: dict[_Group, int] = {}
        self._taken: set[tuple[int, int]] = set()
        self._any: dict[_Group, list[Op]] = {}
        self._actions: dict[str, set[str]] = {}
        self._told: dict[tuple[str, str, str], Op] = {}  # (tool, marker, reference)
        self._shown: dict[str, set[str]] = {}  # by tool the keys that its rows show as sent
        self._sent = {op.key for op in view.ops if op.type == "invoke"}  # to whatever tool
        for (tool, marker), entry in view.operations().items():
            for op in entry.attempts:
                if op.f not in names:
                    continue
                self._actions.setdefault(tool, set()).add(marker)
                # Those of which the effect is known have had theirs.
                known = [c for c in view.commits(op.index) if c.f == op.f]
                self._taken.update((op.index, copy) for copy in range(len(known)))
                if op.key is not None and any(c.key == op.key for c in known):
                    self._shown.setdefault(tool, set()).add(op.key)
                answer = view.completion(op.index)
                no = answer is not None and answer.type == "fail"
                for group in _groups(tool, marker, op.key):
                    self._any.setdefault(group, []).append(op)
                    if not no and op.index not in held:
                        row = self._likely.setdefault(group, [])
                        row += [(op, copy) for copy in range(2 if op.index in twice else 1)]
                if answer is not None and answer.type == "ok" and answer.get("ref") is not None:
                    for name in (marker, ""):
                        self._told.setdefault((tool, name, str(answer.get("ref"))), op)
        for likely in self._likely.values():
            likely.sort(key=lambda row: (row[0].index, row[1]))
        for requests in self._any.values():
            requests.sort(key=lambda op: op.index)

    def learn(self, commits: Iterable[Op]) -> None:
        """Notes which keys that were sent the rows show."""
        for op in commits:
            if op.key is not None and (tool_of(op), "", op.key) in self._any:
                self._shown.setdefault(tool_of(op), set()).add(op.key)

    def _strange(self, tool: str, marker: str, key: str | None) -> bool:
        """Whether nobody can have asked for a row, by its key. A request without a key may be
        given any by its service; a row without one may be any request's that has none yet."""
        asked, shown = self._any.get((tool, marker, None), ()), self._shown.get(tool)
        if not asked or not shown or any(op.key is None for op in asked):
            return False
        if key is None:
            return all(op.key in shown for op in asked)
        return key not in self._sent

    def take(self, commit: Op) -> Op | None:
        """The request of one commit, which is then taken; None where it is nobody's."""
        tool, marker, key = tool_of(commit), commit.marker, commit.key
        if self._strange(tool, marker, key):
            return None
        if (tool, marker, None) not in self._any:
            if marker and tool not in self._unnamed:
                return None
            # The row does not tell the action; where the tool was asked for one only, it is that.
            actions = self._actions.get(tool, ())
            marker = next(iter(actions)) if len(actions) == 1 else ""
        group: _Group = (tool, marker, key)
        if group not in self._any:
            group = (tool, marker, None)
        told = self._told.get((tool, marker, str(commit.get("ref"))))
        if told is not None and group in (*_groups(tool, told.marker, told.key), (tool, "", None)):
            if (told.index, 0) not in self._taken and told.index < commit.index:
                self._taken.add((told.index, 0))
                return told
        if group not in self._any:
            return None
        return self._further(group, commit) or _before(self._any[group], commit)

    def _further(self, group: _Group, commit: Op) -> Op | None:
        row, at = self._likely.get(group, []), self._next.get(group, 0)
        while at < len(row) and (row[at][0].index, row[at][1]) in self._taken:
            at += 1
        self._next[group] = at
        if at < len(row) and row[at][0].index < commit.index:
            self._taken.add((row[at][0].index, row[at][1]))
            return row[at][0]
        return row[at - 1][0] if at and row[at - 1][0].index < commit.index else None


def _groups(tool: str, marker: str, key: str | None) -> list[_Group]:
    keyed: list[_Group] = [(tool, marker, key), (tool, "", key)] if key is not None else []
    return [*keyed, (tool, marker, None)]


def _before(requests: Sequence[Op], commit: Op) -> Op | None:
    """The latest request before a commit: more was done than was asked for, or what was refused
    was done all the same."""
    low, high = 0, len(requests)
    while low < high:
        middle = (low + high) // 2
        if requests[middle].index < commit.index:
            low = middle + 1
        else:
            high = middle
    return requests[low - 1] if low else None
