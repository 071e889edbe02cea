"""The lineage graph: intent → key → tries → commit → memory row → reply, for every action.

An action is a (tool, marker), whatever its key or wording. Its `Thread` holds what the record
says of it, from the first intent to the last reply, with the anomalies in between. The checks of
keys, effects, intents and replies all read their breaches off this one graph, and a report can
draw it. It is built on first use, in one walk over the indexes that the history has anyway.

A try without an answer leaves two worlds: the request happened, or it did not. Only a ledger can
decide: a commit of that request, or its absence at the end of the record. Where the record stops
before that, the try stays undecided, and carries what would follow in each world, taken as if
the other undecided tries of the action had come to nothing.

>>> from chaoslab.contract import ToolContract
>>> from chaoslab.history import View
>>> ops = [Op(index=0, time_ns=0, type="invoke", f="tools.pay", marker="o-1", task="t1"),
...        Op(index=1, time_ns=1, type="commit", f="tools.pay", marker="o-1", call=0,
...           value={"ref": "pay:o-1#1"}),
...        Op(index=2, time_ns=2, type="info", f="tools.pay", marker="o-1", call=0),
...        Op(index=3, time_ns=3, type="invoke", f="tools.pay", marker="o-1", task="t1")]
>>> contract = Contract(tools={"pay": ToolContract(name="pay", promise="at-most-once")})
>>> thread = lineage(Facts(View(ops)), contract).threads["pay", "o-1"]
>>> [(one.world, one.decided) for one in thread.tries]
[('happened', 1), ('undecided', -1)]
>>> [a.kind for a in thread.tries[1].if_happened], thread.tries[1].if_not
(['duplicate-by-marker'], ())
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

from chaoslab.check.anomalies import (
    Anomaly,
    Kind,
    absorbed_ref,
    mended,
    of_effects,
    of_intents,
    of_keys,
    of_one_key,
    orphans,
    payload_of,
    recognised,
    requests_of,
)
from chaoslab.check.drawing import draw
from chaoslab.check.facts import Claimed, Effect, Facts, OpKey
from chaoslab.check.observed import unseen
from chaoslab.check.replies import of_replies, of_reply
from chaoslab.contract import Contract
from chaoslab.core.jsons import Json
from chaoslab.history import Op

World = Literal["happened", "did-not-happen", "undecided"]

# A reference inside a longer text counts where it stands between two of these.
_BETWEEN: Final = re.compile(r"[\s\"'`,;=()\[\]{}<>]+")
_STOPS: Final = ".:!?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One request for an action, and what became of it.

    `absorbed` is the reference of the earlier effect where the service took the request for a
    repeat; what it asked for has then happened, by another's doing. `decided` is the entry by
    which `world` is known. `if_happened` and `if_not` are what would follow, as long as nothing
    has decided.
    """

    invoke: Op
    answer: Op | None
    key: str | None
    task: str
    absorbed: str = ""
    world: World
    decided: int = -1
    if_happened: tuple[Anomaly, ...] = ()
    if_not: tuple[Anomaly, ...] = ()

    @property
    def process(self) -> str:
        """Who asked."""
        return self.invoke.process

    @property
    def in_doubt(self) -> bool:
        """Whether the agent was left without an answer, whatever the ledger knows."""
        return self.answer is None or self.answer.type == "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The first memory commit after an effect whose value has the effect's reference in it: as a
    whole text, or between blanks, quotes, brackets and commas within one."""

    ref: str
    commit: Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """Everything about one action, in the order of the record; `keys` in order of first use."""

    tool: str
    marker: str
    intents: tuple[Op, ...] = ()
    keys: tuple[str, ...] = ()
    tries: tuple[Try, ...] = ()
    effects: tuple[Effect, ...] = ()
    rows: tuple[Row, ...] = ()
    replies: tuple[Claimed, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()


class Lineage:
    """The graph of one history under one contract. Everything is built on first use."""

    def __init__(self, facts: Facts, contract: Contract) -> None:
        self.facts = facts
        self.contract = contract

    # -- anomalies, which is all that the checks need

    @cached_property
    def requests(self) -> Mapping[OpKey, list[Op]]:
        """Of each action that can be recognised, at a tool that takes keys: the entries that
        carried its key, or should have."""
        return {
            key: requests_of(self.facts, key)
            for key in self.facts.operations
            if key[1] and self.contract.tool(key[0]).keys
        }

    @cached_property
    def anomalies(self) -> tuple[Anomaly, ...]:
        """Every anomaly: orphans, then by action, then what spans actions, then by reply."""
        facts, contract = self.facts, self.contract
        found = orphans(facts, contract)
        by_key: dict[tuple[str, str], list[Op]] = {}
        for key in facts.operations:
            tool = contract.tool(key[0])
            effects = facts.effects.get(key, ())
            requests = self.requests.get(key)
            if requests:
                found += of_keys(facts, tool, key, requests)
                for op in requests:
                    if op.key is not None:
                        by_key.setdefault((key[0], op.key), []).append(op)
            if key[1] or key in facts.claims:
                found += of_effects(facts, tool, key, effects)
            found += of_intents(facts, key)
            found += mended(facts, key, effects)
        for (name, _), same in by_key.items():
            if len(same) > 1:
                same.sort(key=lambda op: op.index)
                found += of_one_key(facts, contract.tool(name), same)
        return tuple(found + of_replies(facts, contract))

    @cached_property
    def _by_kind(self) -> Mapping[Kind, list[Anomaly]]:
        found: dict[Kind, list[Anomaly]] = {}
        for anomaly in self.anomalies:
            found.setdefault(anomaly.kind, []).append(anomaly)
        return found

    @cached_property
    def _by_thread(self) -> Mapping[OpKey, list[Anomaly]]:
        found: dict[OpKey, list[Anomaly]] = {}
        for anomaly in self.anomalies:
            found.setdefault((anomaly.tool, anomaly.marker), []).append(anomaly)
        return found

    def of(self, kind: Kind, /) -> Sequence[Anomaly]:
        """The anomalies of one kind."""
        return self._by_kind.get(kind, ())

    def at(self, key: OpKey, kind: Kind, /) -> list[Anomaly]:
        """The anomalies of one kind at one action."""
        return [a for a in self._by_thread.get(key, ()) if a.kind == kind]

    # -- the threads, for whoever wants to see the whole

    @cached_property
    def threads(self) -> Mapping[OpKey, Thread]:
        """The thread of every action that was meant, tried, done or claimed."""
        return {key: self._thread(key) for key in {**self.facts.operations, **self.facts.claims}}

    def _thread(self, key: OpKey) -> Thread:
        facts = self.facts
        effects = facts.effects_for(key)
        entry = facts.operations.get(key)
        intents = entry.intents if entry is not None else []
        tries = self._tries(key)
        used = [(op.index, op.key) for op in intents]
        used += [(one.invoke.index, one.key) for one in tries]
        return Thread(
            tool=key[0],
            marker=key[1],
            intents=tuple(intents),
            keys=tuple(dict.fromkeys(k for _, k in sorted(used, key=_first) if k is not None)),
            tries=tuple(tries),
            effects=tuple(effects),
            rows=tuple(
                Row(ref=ref, commit=self.remembered[ref])
                for ref in dict.fromkeys(e.ref for e in effects)
                if ref in self.remembered
            ),
            replies=tuple(facts.claims.get(key, ())),
            anomalies=tuple(self._by_thread.get(key, ())),
        )

    def _tries(self, key: OpKey) -> list[Try]:
        facts = self.facts
        entry = facts.operations.get(key)
        if entry is None:
            return []
        asked = {op.index: op for op in entry.attempts}
        keys: dict[int, str] = {}
        for op in (*entry.commits, *entry.absorbed):
            call = facts.invoke_of(op)
            if call is not None:  # of another name where a Wasm guest asked in its own words
                asked.setdefault(call.index, call)
                if op.key is not None:
                    keys.setdefault(call.index, op.key)
        repeats = {op.call: op for op in recognised(facts, key)}
        return [
            self._try(key, asked[index], keys.get(index), repeats.get(index))
            for index in sorted(asked)
        ]

    def _try(self, key: OpKey, invoke: Op, guest_key: str | None, repeat: Op | None) -> Try:
        facts = self.facts
        world, decided = self._world(key[0], invoke, repeat)
        found = Try(
            invoke=invoke,
            answer=facts.view.completion(invoke.index),
            key=guest_key if invoke.key is None else invoke.key,
            task=facts.task_of(key[0], invoke),
            absorbed="" if repeat is None else absorbed_ref(repeat),
            world=world,
            decided=decided,
        )
        if world != "undecided":
            return found
        return replace(
            found,
            if_happened=tuple(self._if_happened(key, found)),
            if_not=tuple(self.at(key, "claimed-not-done")),
        )

    def _world(self, tool: str, invoke: Op, repeat: Op | None) -> tuple[World, int]:
        commits = [c for c in self.facts.commits_of(invoke) if c.f.startswith("tools.")]
        if commits:
            return "happened", commits[0].index
        if repeat is not None:
            return "happened", repeat.index
        answer = self.facts.view.completion(invoke.index)
        if answer is not None and answer.type == "fail":
            return "did-not-happen", answer.index
        if tool in self._unseen:
            return "undecided", -1
        last = self._last_readings.get(tool, self._last_readings.get("", -1))
        return ("undecided", -1) if last < 0 else ("did-not-happen", last)

    @cached_property
    def _unseen(self) -> frozenset[str]:
        return frozenset(unseen(self.facts, self.contract))

    @cached_property
    def _last_readings(self) -> Mapping[str, int]:
        """By tool the entry that shows what is not in its ledger; "" for any other tool."""
        if not self.facts.ended:
            return {}
        view = self.facts.view
        found = {str(op.get("tool", "")): op.index for op in view.named("final.effects")}
        return {"": len(view) - 1, **found}

    def _if_happened(self, key: OpKey, one: Try) -> Iterator[Anomaly]:
        """What would follow if an undecided try committed next."""
        facts, tool = self.facts, self.contract.tool(key[0])
        effects = facts.effects_for(key)
        if tool.keys and one.key is not None:
            for effect in effects:
                first = effect.commits[0]
                if first.key == one.key:  # the service knows this key
                    if payload_of(first) == payload_of(one.invoke):
                        yield Anomaly(
                            kind="absorbed",
                            tool=key[0],
                            marker=key[1],
                            ops=tuple(sorted((first.index, one.invoke.index))),
                            legitimate=True,
                            ref=effect.ref,
                            task=one.task,
                        )
                    return
        next_index = len(facts.view)
        late = replace(one.invoke, index=next_index, type="commit", call=one.invoke.index)
        more = Effect(
            tool=key[0], marker=key[1], ref="", commits=[late], call=one.invoke, task=one.task
        )
        found = _new(
            of_effects(facts, tool, key, effects), of_effects(facts, tool, key, [*effects, more])
        )
        task = facts.tasks.get(one.task)
        if task is not None and task.outcome is not None:
            done = facts.done_by(one.task)
            found += _new(
                of_reply(facts, self.contract, task, done),
                of_reply(facts, self.contract, task, [*done, more]),
            )
        for anomaly in found:
            shown = {i for i in anomaly.ops if i < next_index} | {one.invoke.index}
            yield replace(anomaly, ops=tuple(sorted(shown)))

    @cached_property
    def remembered(self) -> Mapping[str, Op]:
        """By reference the memory commit that first keeps it: see `Row`."""
        first: dict[str, int] = {}
        facts = self.facts
        for effects in facts.effects.values():
            for effect in effects:
                if effect.commits[0].get("ref"):
                    first.setdefault(effect.ref, facts.since(effect.commits[0]))
        waiting = sorted(first, key=lambda ref: -first[ref])
        missing: set[str] = set()
        found: dict[str, Op] = {}
        for op in self.facts.memory_commits:
            while waiting and first[waiting[-1]] < op.index:
                missing.add(waiting.pop())
            if missing:
                for ref in sorted(missing & words_of(op.get("value"))):
                    missing.remove(ref)
                    found[ref] = op
        return found

    def to_json(self) -> dict[str, Json]:
        """The graph as plain values for a report: nodes and typed edges in a fixed order."""
        nodes, edges = draw(self.threads.values())
        return {
            "format": 1,
            "nodes": nodes,
            "edges": edges,
            "anomalies": [a.to_json() for a in self.anomalies],
        }


def lineage(facts: Facts, contract: Contract, /) -> Lineage:
    """The graph of a history, made once for all checks that judge it by the same contract."""
    found = facts.graph
    if found is None or found.contract is not contract:
        found = facts.graph = Lineage(facts, contract)
    return found


def words_of(value: Any, /) -> set[str]:
    """The texts inside a JSON value, whole and in pieces, names of fields included.

    >>> sorted(words_of({"said": "refunded (ref pay:o-1#1)."}))
    ['', 'pay:o-1#1', 'ref', 'refunded', 'refunded (ref pay:o-1#1).', 'said']
    """
    found: set[str] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            found.add(item)
            found.update(piece.strip(_STOPS) for piece in _BETWEEN.split(item))
        elif isinstance(item, Mapping):
            waiting += item
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
    return found


def _first(pair: tuple[int, str | None]) -> int:
    return pair[0]


def _new(before: Iterable[Anomaly], after: Iterable[Anomaly]) -> list[Anomaly]:
    known = set(before)
    return [anomaly for anomaly in after if anomaly not in known]
