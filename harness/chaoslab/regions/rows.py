"""What travels between a region and whoever speaks with it: changes, rows, refusals.

Every store judges a change by the same few lines, `judged`, so that SQLite and PostgreSQL cannot
differ in what they refuse.

>>> change = Change(uid="c1", id="cart", value=1, expect=None, now_ns=5)
>>> row = row_of(change, version=(1, 1), nth=1, over=judged(change, None, {}))
>>> Row.of_json(row.json()) == row
True
>>> judged(change, row, {})
Traceback (most recent call last):
chaoslab.regions.rows.Refusal: the version moved on
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

Version: TypeAlias = tuple[int, int]  # (epoch, n)

ANY = "any"


class Refusal(Exception):
    """The change did not happen, for certain. `code` is one of those of the world's errors."""

    def __init__(self, code: str, words: str, **details: Any) -> None:
        super().__init__(words)
        self.code, self.words, self.details = code, words, details


class Unsure(Exception):
    """Nobody here can say whether the change happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What somebody asks for. `uid` names the request once and for all, so that the ledger can
    tell later whether it was carried out. `expect` is "any", None (nothing stands) or a version.
    `fence_session` is whose fence it is; "" where no such fence was ever granted.
    """

    uid: str
    id: str
    value: Any = None
    expect: str | Version | None = ANY
    fence: int | None = None
    fence_session: str = ""
    expires_ns: int | None = None
    durability: str = "local"
    erased: bool = False
    caller: Mapping[str, Any] = field(default_factory=dict)
    now_ns: int = 0
    item: int = -1
    of: int = 0

    def json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def of_json(cls, raw: Mapping[str, Any], /) -> Change:
        """Back from `json`."""
        return cls(**{**raw, "expect": _version(raw.get("expect", ANY))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One change as it was committed. `nth` counts the commits of the copy that made it, from 1;
    0 marks an erasure of what was not there: it left nothing behind. `over` is what stood before.
    """

    uid: str
    id: str
    value: Any
    version: Version
    expires_ns: int | None
    nth: int
    gone: bool
    fence: int | None
    over: Version | None
    durability: str
    caller: Mapping[str, Any]
    time_ns: int
    item: int = -1
    of: int = 0

    def json(self) -> dict[str, Any]:
        """As it travels and as it lies on disk."""
        return asdict(self)

    @classmethod
    def of_json(cls, raw: Mapping[str, Any], /) -> Row:
        """Back from `json`."""
        return cls(**{**raw, "version": tuple(raw["version"]), "over": _version(raw["over"])})

    def dead(self, now_ns: int, /) -> bool:
        """Whether nothing of it can be read any more."""
        return self.gone or (self.expires_ns is not None and self.expires_ns <= now_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a copy knows of itself. `count` is the n of its newest version, `nth` the length of its
    ledger, `fences` the newest fence that it saw of each session."""

    epoch: int
    leads: bool
    count: int
    nth: int
    fences: Mapping[str, int]

    def json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)


def judged(change: Change, standing: Row | None, fences: Mapping[str, int], /) -> Version | None:
    """The version that a change goes over. Refusal where it must not happen."""
    if change.fence is not None:
        if not change.fence_session:
            raise Refusal("fenced", "no such fence was ever granted")
        if change.fence < fences.get(change.fence_session, 0):
            raise Refusal("fenced", f"a newer fence of {change.fence_session} was seen")
    over = None if standing is None or standing.dead(change.now_ns) else standing.version
    if change.expect not in (ANY, over):
        raise Refusal("conflict", "the version moved on", current=over)
    return over


def row_of(change: Change, /, *, version: Version, nth: int, over: Version | None) -> Row:
    """The row that a change becomes."""
    return Row(
        uid=change.uid,
        id=change.id,
        value=change.value,
        version=version,
        expires_ns=change.expires_ns,
        nth=nth,
        gone=change.erased,
        fence=change.fence,
        over=over,
        durability=change.durability,
        caller=change.caller,
        time_ns=change.now_ns,
        item=change.item,
        of=change.of,
    )


def _version(raw: Any) -> Any:
    return tuple(raw) if isinstance(raw, (list, tuple)) else raw
