"""One entry of a history.

`type` says what kind of knowledge the entry is:

- `invoke`  somebody asked for something
- `ok`      the answer arrived
- `fail`    it certainly did not happen
- `info`    indeterminate: it may have happened, or may still happen
- `commit`  a ledger changed; taken from the service itself, never from a reply
- `event`   anything else: nemesis, lifecycle, what the agent reported, final readings

`docs/reference/history.md` lists every `f` with the shape of its `value`.

>>> op = Op(index=0, time_ns=0, type="event", f="task.submit", task="s1-t1", session="s1")
>>> Op.from_json(op.to_json()) == op
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from chaoslab.core.errors import FormatError
from chaoslab.core.jsons import Json, canonical

OpType = Literal["invoke", "ok", "fail", "info", "commit", "event"]
OP_TYPES: Final[frozenset[str]] = frozenset(("invoke", "ok", "fail", "info", "commit", "event"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One entry. Empty text means "does not apply"; `call` is the index of the invoke that a
    completion, a commit or a strike belongs to, and -1 where there is none."""

    index: int
    time_ns: int
    type: OpType
    f: str
    process: str = ""
    session: str = ""
    task: str = ""
    call: int = -1
    marker: str = ""
    attempt: int = 0
    key: str | None = None
    value: Json = None

    def to_json(self) -> dict[str, Json]:
        """The entry as a JSON object; defaults are left out."""
        out: dict[str, Json] = {
            "i": self.index,
            "t": self.time_ns,
            "type": self.type,
            "f": self.f,
        }
        if self.process:
            out["process"] = self.process
        if self.session:
            out["session"] = self.session
        if self.task:
            out["task"] = self.task
        if self.call >= 0:
            out["call"] = self.call
        if self.marker:
            out["marker"] = self.marker
        if self.attempt:
            out["attempt"] = self.attempt
        if self.key is not None:
            out["key"] = self.key
        if self.value is not None:
            out["value"] = self.value
        return out

    def line(self) -> str:
        """The canonical text of the entry, without a line end."""
        return canonical(self.to_json())

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], /) -> Op:
        """The entry that `to_json` wrote; FormatError where it is not one."""
        try:
            kind = raw["type"]
            if kind not in OP_TYPES:
                raise FormatError("an entry has an unknown type", value=kind)
            op = cls(
                index=raw["i"],
                time_ns=raw["t"],
                type=cast(OpType, kind),
                f=raw["f"],
                process=raw.get("process", ""),
                session=raw.get("session", ""),
                task=raw.get("task", ""),
                call=raw.get("call", -1),
                marker=raw.get("marker", ""),
                attempt=raw.get("attempt", 0),
                key=raw.get("key"),
                value=raw.get("value"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"an entry of the history is malformed: {error!r}") from error
        whole = (op.index, op.time_ns, op.call, op.attempt)
        words = (op.f, op.process, op.session, op.task, op.marker, op.key or "")
        if any(type(n) is not int for n in whole) or any(type(w) is not str for w in words):
            raise FormatError(
                "a field of an entry has another type than it should", value=(*whole, *words)
            )
        return op

    def get(self, name: str, default: Any = None) -> Any:
        """A field of `value` where that is an object, else `default`."""
        if type(self.value) is dict or isinstance(self.value, Mapping):
            return self.value.get(name, default)
        return default
