"""Tool services with ledgers: keyed, un-keyed and long-running.

The rules of a keyed service: same key and payload give the same reference (absorbed); same key
and another payload, or a key that is in flight, are a conflict; only successes are remembered,
for `key_retention_ms`. An effect exists when it is in the ledger, whatever became of the reply.
References derive from (tool, marker, nth effect), so that two executions name effects alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaoslab.contract import Contract, ToolContract, marker_of
from chaoslab.core.jsons import Json, canonical
from chaoslab.history import Recorder
from chaoslab.world.api import ToolReply
from chaoslab.world.errors import BadRequest, Conflict, NotFound
from chaoslab.world.request import Caller


@dataclass(slots=True)
class Effect:
    """One line of a ledger."""

    ref: str
    tool: str
    marker: str
    key: str | None
    args: Mapping[str, Any]
    time_ns: int
    compensated: bool = False


@dataclass(slots=True)
class _Known:
    payload: str
    reply: ToolReply
    until_ns: int


class ToolService:
    """All tools of an execution behind one door."""

    def __init__(self, contract: Contract, recorder: Recorder) -> None:
        self.contract = contract
        self._recorder = recorder
        self.ledger: dict[str, list[Effect]] = {name: [] for name in contract.tools}
        self._count: dict[tuple[str, str], int] = {}
        self._by_ref: dict[str, Effect] = {}
        self._known: dict[tuple[str, str], _Known] = {}
        self._in_flight: dict[tuple[str, str], str] = {}
        self._undoes = {t.compensate: t.name for t in contract.tools.values() if t.compensate}

    def begin(
        self, caller: Caller, name: str, args: Mapping[str, Any], key: str | None
    ) -> ToolReply | None:
        """A request arrives. A reply ends it here; None means that it is being worked on and
        `commit` follows. Raises what the service refuses."""
        base, dot, verb = name.partition(".")
        tool = self.contract.tools.get(base)
        if tool is None or (dot and (verb != "lookup" or not tool.lookup)):
            raise NotFound(f"there is no tool {name}", tool=name)
        if dot:
            return self._lookup(tool, args)
        if name in self._undoes and self._undone_by(name, args) is None:
            raise NotFound("there is no effect with that reference", tool=name)
        if not tool.keys or key is None:
            return None
        found = self._known.get((name, key))
        payload = canonical(dict(args))
        if found is not None and found.until_ns > caller.now_ns:
            if found.payload != payload:
                raise Conflict("the key was used with another payload", in_flight=False)
            self._note_absorbed(caller, tool, found.reply.ref, args, key)
            return found.reply
        if (name, key) in self._in_flight:
            same = self._in_flight[(name, key)] == payload
            raise Conflict("the key is in flight", in_flight=same)
        self._in_flight[(name, key)] = payload
        return None

    def abandon(self, name: str, key: str | None) -> None:
        """A request that began is given up before its commit."""
        if key is not None:
            self._in_flight.pop((name, key), None)

    def commit(
        self, caller: Caller, name: str, args: Mapping[str, Any], key: str | None
    ) -> ToolReply:
        """The work is done: one more line in the ledger."""
        tool = self.contract.tools[name]
        marker = marker_of(tool, args)
        nth = self._count.get((name, marker), 0) + 1
        self._count[(name, marker)] = nth
        ref = f"{name}:{marker}#{nth}"
        effect = Effect(
            ref=ref, tool=name, marker=marker, key=key, args=dict(args), time_ns=caller.now_ns
        )
        self.ledger[name].append(effect)
        self._by_ref[ref] = effect
        value: dict[str, Json] = {
            "ref": ref,
            "args": effect.args,
            "nth": nth,
            "tenant": caller.tenant,
        }
        undone = self._undone_by(name, args) if name in self._undoes else None
        if undone is not None:
            undone.compensated = True
            value["compensates"] = undone.ref
        self._recorder.add(
            "commit",
            f"tools.{name}",
            value,
            process=caller.process,
            session=caller.session,
            task=caller.task,
            call=caller.call,
            marker=marker,
            key=key,
        )
        if tool.keys and key is not None:
            self._in_flight.pop((name, key), None)
            self._known[(name, key)] = _Known(
                payload=canonical(effect.args),
                reply=ToolReply(ref=ref, data={"nth": nth}, absorbed=True),
                until_ns=caller.now_ns + tool.key_retention_ms * 1_000_000,
            )
        return ToolReply(ref=ref, data={"nth": nth}, absorbed=False)

    def apply(
        self, caller: Caller, name: str, args: Mapping[str, Any], key: str | None
    ) -> ToolReply:
        """Arrival and commit in one moment, as a Wasm guest's host import needs it."""
        if not isinstance(args, Mapping):
            raise BadRequest("the arguments are no object")
        reply = self.begin(caller, name, args, key)
        return reply if reply is not None else self.commit(caller, name, args, key)

    def _undone_by(self, name: str, args: Mapping[str, Any]) -> Effect | None:
        effect = self._by_ref.get(str(args.get("ref")))
        return effect if effect is not None and effect.tool == self._undoes[name] else None

    def _lookup(self, tool: ToolContract, args: Mapping[str, Any]) -> ToolReply:
        marker = marker_of(tool, args)
        refs: list[Json] = [
            e.ref for e in self.ledger[tool.name] if e.marker == marker and not e.compensated
        ]
        return ToolReply(ref="", data={"refs": refs})

    def _note_absorbed(
        self, caller: Caller, tool: ToolContract, ref: str, args: Mapping[str, Any], key: str
    ) -> None:
        self._recorder.add(
            "event",
            f"tools.{tool.name}",
            {"absorbed": ref},
            process=caller.process,
            session=caller.session,
            task=caller.task,
            call=caller.call,
            marker=marker_of(tool, args),
            key=key,
        )
