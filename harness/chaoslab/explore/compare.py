"""Two explorations side by side: what is new, what goes on, what is resolved.

A finding is resolved only where it was looked for again: in a sweep where the very strikes that
showed it were made again and judged, in stress where at least as many executions of the same
worlds were. Whatever was not looked at again says nothing, and is listed as that.

>>> one = {"kind": "sweep", "contract": "c", "findings": [], "agent": "a", "words": {"held": 3}}
>>> compared(one, one, judged=()).comparable
True
>>> compared(one, {**one, "contract": "d"}, judged=()).notes
('they were made under different contracts: c before, d now',)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chaoslab.core.visible import visible
from chaoslab.explore.findings import strike_of
from chaoslab.explore.rows import Row
from chaoslab.explore.store import JUDGED

Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One finding in two explorations; `why` says what its place rests on."""

    fingerprint: str
    check: str
    code: str
    title: str
    before: int
    now: int
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What changed. `comparable`: whether the lists mean anything; `notes`: why not, or what to
    keep in mind."""

    comparable: bool
    notes: tuple[str, ...] = ()
    new: tuple[Change, ...] = ()
    ongoing: tuple[Change, ...] = ()
    resolved: tuple[Change, ...] = ()
    not_looked_at: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON."""
        found = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}

    def lines(self) -> list[str]:
        """Lines for a terminal."""
        out = [f"NOTE  {note}" for note in self.notes]
        if not self.comparable:
            return [visible(line) for line in ["NOT COMPARABLE", *out]]
        groups = (
            ("NEW", self.new),
            ("ONGOING", self.ongoing),
            ("RESOLVED", self.resolved),
            ("NOT LOOKED AT AGAIN", self.not_looked_at),
        )
        for word, changes in groups:
            out += [_line(word, one) for one in changes]
        counts = ", ".join(f"{len(changes)} {word.lower()}" for word, changes in groups)
        return [visible(line) for line in [*out, f"Findings: {counts}."]]


def _line(word: str, one: Change) -> str:
    tail = f" ({one.why})" if one.why else ""
    return f"{word}  {one.check} ({one.code}): {one.title}{tail}"


def judged_strikes(rows: Iterable[Row], /) -> set[str]:
    """The executions that say something, as findings name them."""
    return {strike_of(row) for row in rows if row.word in JUDGED}


def compared(old: Told, new: Told, /, *, judged: Collection[str]) -> Compared:
    """What changed from the exploration `old` to the exploration `new`, both as results have them;
    `judged` are the new one's `judged_strikes`."""
    if old["contract"] != new["contract"]:
        why = (
            "they were made under different contracts: "
            f"{old['contract']} before, {new['contract']} now"
        )
        return Compared(comparable=False, notes=(why,))
    before = {one["fingerprint"]: one for one in old["findings"] if not one["warning"]}
    after = {one["fingerprint"]: one for one in new["findings"] if not one["warning"]}
    gone = {mark: _unseen(one, old, new, judged) for mark, one in before.items()}
    gone = {mark: why for mark, why in gone.items() if mark not in after}
    return Compared(
        comparable=True,
        notes=tuple(_notes(old, new)),
        new=tuple(_change(None, one) for mark, one in after.items() if mark not in before),
        ongoing=tuple(_change(before[mark], one) for mark, one in after.items() if mark in before),
        resolved=tuple(
            _change(before[mark], None, _seen_again(before[mark], new))
            for mark, why in gone.items()
            if not why
        ),
        not_looked_at=tuple(_change(before[mark], None, why) for mark, why in gone.items() if why),
    )


def _change(old: Told | None, new: Told | None, why: str = "") -> Change:
    one = new or old
    assert one is not None
    return Change(
        fingerprint=one["fingerprint"],
        check=one["check"],
        code=one["code"],
        title=one["title"],
        before=old["executions"] if old is not None else 0,
        now=new["executions"] if new is not None else 0,
        why=why,
    )


def _notes(old: Told, new: Told) -> list[str]:
    out = []
    for name, words in (("kind", "a"), ("agent", "agent"), ("chaoslab", "version of chaoslab")):
        was, now = old.get(name), new.get(name)
        if was != now:
            what = "another kind of exploration" if name == "kind" else f"another {words}"
            out.append(f"{what}: {was} before, {now} now")
    for word, one in (("older", old), ("newer", new)):
        if not one.get("complete", True):
            out.append(f"the {word} exploration is not complete")
    return out


def _unseen(finding: Told, old: Told, new: Told, judged: Collection[str]) -> str:
    """Why a finding that is not there any more was not looked for again; empty where it was."""
    if old["kind"] != new["kind"]:
        return f"it was found by a {old['kind']}, and this is a {new['kind']}"
    if not new.get("checks", {}).get(finding["check"]):
        return f"{finding['check']} had nothing to look at"
    if new["kind"] == "stress":
        return _fewer(finding, old, new)
    showed = finding["strikes"]
    missed = [strike for strike in showed if strike not in judged]
    if missed:
        return (
            f"{len(missed)} of {len(showed)} strikes that showed it were not made again, or proved "
            "nothing"
        )
    return ""


def _fewer(finding: Told, old: Told, new: Told) -> str:
    """Whether stress made fewer executions of the worlds that showed a finding than before."""
    for world in finding["worlds"]:
        was, now = _judged_in(old, world), _judged_in(new, world)
        if now < was:
            return f"{now} executions of the world {world}, where there were {was} before"
    return ""


def _judged_in(one: Told, world: str) -> int:
    words = one.get("worlds", {}).get(world, {})
    return sum(count for word, count in words.items() if word in JUDGED)


def _seen_again(finding: Told, new: Told) -> str:
    if new["kind"] == "stress":
        made = sum(_judged_in(new, world) for world in finding["worlds"])
        return f"not seen in {made} executions of the same worlds, which is no proof"
    count = len(finding["strikes"])
    return f"{count} of {count} strikes that showed it were made again"
