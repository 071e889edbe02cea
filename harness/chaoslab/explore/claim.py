"""What a sweep may claim, and nothing beyond it.

A number of executions says little. What was struck, where, how, under which schedules, what was
not executed because it is the same as something that was, and what is left out: with all of that
said, "0 broken" is a sentence about an agent. So the claim is made from the counts and from the
plan, and it names its own limits.

>>> counts = Counts(planned=10, words={"held": 7}, reasons={"silence = silence": 3})
>>> counts.ran, counts.equivalent, counts.cut
(7, 3, 0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chaoslab.explore.rows import Row

DELAY_MS: Final = 1_000  # what the simulator takes where a fault names no length
_SHOWN_MAX: Final = 4


@dataclass(slots=True, kw_only=True)
class Counts:
    """Strikes of one world, alone or in pairs. `planned`: how many there are (M); `words`: how
    those that were executed ended; `reasons`: why how many were not executed, being equivalent."""

    planned: int = 0
    words: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row, /) -> None:
        """One more row."""
        into, name = (self.reasons, row.why) if row.word == "equivalent" else (self.words, row.word)
        into[name] = into.get(name, 0) + 1

    def spare(self, why: str, count: int, /) -> None:
        """So many more that need not be executed."""
        if count:
            self.planned += count
            self.reasons[why] = self.reasons.get(why, 0) + count

    @property
    def ran(self) -> int:
        """How many were executed (N)."""
        return sum(self.words.values())

    @property
    def equivalent(self) -> int:
        """How many were not, since another one says the same (k)."""
        return sum(self.reasons.values())

    @property
    def cut(self) -> int:
        """How many are left out."""
        return self.planned - self.ran - self.equivalent

    def to_json(self) -> dict[str, Any]:
        """All counts as JSON."""
        return {
            "planned": self.planned,
            "ran": self.ran,
            "equivalent": self.equivalent,
            "cut": self.cut,
            "words": dict(self.words),
            "reasons": dict(self.reasons),
        }


@dataclass(slots=True, kw_only=True)
class WorldCoverage:
    """What was done in one world. `first` are strikes alone, `pairs` those with a second one.
    `differs`: where executions were not the same in another interpreter, so that nothing was
    called equivalent, and `ended` how it ended there, where it left no history; `twice`: so many
    were looked at in two interpreters. `ruled`: the contract has rules of its own, which may read a
    strike, so nothing was called equivalent either. `control` and `why`: how the execution without
    strikes ended, "" before it was seen; `unpaired`: executed first strikes whose second ones are
    not known yet."""

    world: str
    seed: int
    scenarios: tuple[str, ...]
    sites: int = 0
    kinds: tuple[str, ...] = ()
    heal_ms: int = 0
    control: str = ""
    why: str = ""
    differs: str = ""
    ended: str = ""
    twice: int = 0
    ruled: bool = False
    unpaired: int = 0
    first: Counts = field(default_factory=Counts)
    pairs: Counts = field(default_factory=Counts)

    @property
    def executed(self) -> int:
        """How many executions with strikes there were."""
        return self.first.ran + self.pairs.ran

    @property
    def whole(self) -> bool:
        """Whether all that was planned here was executed, or is equivalent to what was."""
        cut = self.first.cut or self.pairs.cut or self.unpaired
        return self.control == "held" and not cut

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        names = ("world", "seed", "sites", "heal_ms", "control", "why", "differs", "ended")
        return {
            **{name: getattr(self, name) for name in names},
            "twice": self.twice,
            "ruled": self.ruled,
            "unpaired": self.unpaired,
            "scenarios": list(self.scenarios),
            "kinds": list(self.kinds),
            "first": self.first.to_json(),
            "pairs": self.pairs.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a sweep has covered: `worlds` in order; `claim` says it in sentences."""

    worlds: tuple[WorldCoverage, ...]
    depth: int = 1
    reduced: bool = True

    @property
    def complete(self) -> bool:
        """Whether all that was planned was executed, or is equivalent to what was."""
        return all(one.whole for one in self.worlds)

    @property
    def title(self) -> str:
        """A heading for it."""
        return "Every fault at every call" + (", and every pair" if self.depth > 1 else "")

    @property
    def rows(self) -> list[dict[str, str]]:
        """The table that a report shows, a row a world: column -> text."""
        return [_row(one, self.depth) for one in self.worlds]

    @property
    def claim(self) -> list[str]:
        """Exact sentences."""
        return claim_of(self)

    def to_json(self) -> dict[str, Any]:
        """All of it, as results carry it."""
        return {
            "title": self.title,
            "depth": self.depth,
            "reduced": self.reduced,
            "complete": self.complete,
            "worlds": [one.to_json() for one in self.worlds],
            "rows": self.rows,
            "claim": self.claim,
        }


def _row(one: WorldCoverage, depth: int) -> dict[str, str]:
    more = len(one.scenarios) - 1
    shown = {
        "world": one.scenarios[0] + (f" and {more} more" if more > 0 else ""),
        "id": one.world,
        "seed": str(one.seed),
        "calls": f"{one.sites:,}",
        "kinds": str(len(one.kinds)),
    }
    for name, counts in (("strikes", one.first), ("pairs", one.pairs))[:depth]:
        shown[name] = f"{counts.ran:,} of {counts.planned:,}, {counts.equivalent:,} equivalent"
    both = _added((one.first, one.pairs))
    for word in ("held", "broken", "unproven", "never-struck", "broke"):
        shown[word.replace("-", " ")] = f"{both.words.get(word, 0):,}"
    shown["left out"] = f"{both.cut:,}" if one.control == "held" else "all: see the claim"
    return shown


def _added(parts: Sequence[Counts]) -> Counts:
    whole = Counts()
    for part in parts:
        whole.planned += part.planned
        for into, counts in ((whole.words, part.words), (whole.reasons, part.reasons)):
            for name, count in counts.items():
                into[name] = into.get(name, 0) + count
    return whole


def claim_of(coverage: Coverage, /) -> list[str]:
    """What the sweep has shown, in sentences that stay true out of context.

    >>> world = WorldCoverage(world="w-1", seed=0, scenarios=("a/b",), sites=2, control="held",
    ...     kinds=("crash",), first=Counts(planned=8, words={"held": 8}))
    >>> claim_of(Coverage(worlds=(world,)))[1]
    'Each strike alone: ran 8 of 8, 0 equivalent, under seeds 0.'
    """
    worlds = [one for one in coverage.worlds if one.control == "held"]
    out = [_what(coverage), *_not_looked_at(coverage.worlds), *_nothing_applies(worlds)]
    for depth, (words, parts) in enumerate(
        (
            ("Each strike alone", [one.first for one in worlds]),
            ("Each pair of strikes, the second after the first", [one.pairs for one in worlds]),
        ),
        1,
    ):
        if depth <= coverage.depth:
            out.append(_counted(words, _added(parts), worlds))
    both = _added([part for one in worlds for part in (one.first, one.pairs)])
    out.append(_endings(both))
    if both.cut or any(one.unpaired for one in worlds):
        out.append(_left_out(both, worlds))
    if coverage.depth > 1:
        out += _led_nowhere(worlds)
    out += _refused(coverage.worlds)
    if not both.ran:
        return [*out, "So nothing is known of this agent under faults."]
    if not coverage.reduced:
        out.append("Nothing was called equivalent, as was asked: all that is counted was executed.")
    elif both.reasons:
        least = min(one.twice for one in worlds if one.first.reasons or one.pairs.reasons)
        out.append(
            "Two strikes are called equivalent only where right after them the whole state of the "
            f"world is the same, and where at least {_many(least, 'execution')} gave the same "
            "histories in a second interpreter, with other orders of sets and one after the other "
            "in reverse."
        )
    struck = [one for one in worlds if one.executed]
    out.append(_lengths(struck))
    out.append(_limits(coverage.depth, struck))
    return out


def _seeds(worlds: Sequence[WorldCoverage]) -> str:
    return ", ".join(str(seed) for seed in sorted({one.seed for one in worlds}))


def _what(coverage: Coverage) -> str:
    """Which worlds there are, and how many of them were swept at all."""
    worlds = coverage.worlds
    scenarios = {name for one in worlds for name in one.scenarios}
    kinds = {kind for one in worlds for kind in one.kinds}
    calls = _many(sum(one.sites for one in worlds), "call")
    named = f"{_many(len(worlds), 'world')} of {_many(len(scenarios), 'scenario')}"
    how = f"{_many(len(kinds), 'kind')} of fault, each in every phase in which it makes sense."
    swept = [one for one in worlds if one.whole and one.first.planned]
    if len(swept) == len(worlds):
        was = "was" if len(worlds) == 1 else "were"
        return f"{named}, whose executions without faults make {calls}, {was} swept with {how}"
    ends = {
        "swept": swept,
        "swept in part": [one for one in worlds if not one.whole and one.executed],
        "looked at and not struck": [
            one for one in worlds if one.control == "held" and not one.executed
        ],
        "not swept, since already the execution without any fault did not hold": [
            one for one in worlds if one.control not in ("", "held")
        ],
        "not looked at at all": [one for one in worlds if not one.control],
    }
    told = [
        f"{len(found):,} {'was' if len(found) == 1 else 'were'} {words}"
        for words, found in ends.items()
        if found
    ]
    if not any(one.control == "held" for one in worlds):
        return f"Of {named} {', '.join(told)}."
    return (
        f"Of {named} {', '.join(told)}. Where that held, executions without faults make {calls}; "
        f"what is planned to strike them is {how}"
    )


def _not_looked_at(worlds: Sequence[WorldCoverage]) -> list[str]:
    """The worlds of which not even the calls are known."""
    unseen = [one for one in worlds if not one.control]
    if not unseen:
        return []
    names = "; ".join(_name(one) for one in unseen[:_SHOWN_MAX])
    more = f"; and {len(unseen) - _SHOWN_MAX:,} more" if len(unseen) > _SHOWN_MAX else ""
    return [f"Not looked at, so that nothing of the following counts them: {names}{more}."]


def _nothing_applies(worlds: Sequence[WorldCoverage]) -> list[str]:
    """The worlds whose calls none of the kinds can strike."""
    idle = [one for one in worlds if not one.first.planned]
    if not idle:
        return []
    return [
        f"No kind of fault that was asked for applies to a call of {_many(len(idle), 'world')}."
    ]


def _name(one: WorldCoverage) -> str:
    return f"world {one.world} (seed {one.seed}, {one.scenarios[0]})"


def _counted(what: str, counts: Counts, worlds: Sequence[WorldCoverage]) -> str:
    why = ""
    if counts.reasons:
        ordered = sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0]))
        told = [f"{reason} ({count:,})" for reason, count in ordered[:_SHOWN_MAX]]
        rest = sum(count for _, count in ordered[_SHOWN_MAX:])
        why = " because " + "; ".join(told) + (f"; and others ({rest:,})" if rest else "")
    seeds = _seeds([one for one in worlds if one.executed])
    under = f", under seeds {seeds}" if seeds else ""
    return (
        f"{what}: ran {counts.ran:,} of {counts.planned:,}, {counts.equivalent:,} "
        f"equivalent{why}{under}."
    )


_ENDINGS: Final[Mapping[str, str]] = {
    "held": "held",
    "broken": "were broken",
    "unproven": "proved nothing",
    "never-struck": "were never struck where they were planned",
    "broke": "could not run (they hung, flooded, or broke the interpreter or the lab), so nothing "
    "may be read from them",
}


def _endings(counts: Counts) -> str:
    told = [
        f"{counts.words.get(word, 0):,} {words}"
        for word, words in _ENDINGS.items()
        if counts.words.get(word) or word in ("held", "broken")
    ]
    return f"Of {_many(counts.ran, 'execution')} with faults {', '.join(told)}."


def _left_out(both: Counts, worlds: Sequence[WorldCoverage]) -> str:
    unpaired = sum(one.unpaired for one in worlds)
    told = f"Left out: {_many(both.cut, 'planned execution')}"
    if unpaired:
        told += f", and what would come second after {_many(unpaired, 'first strike')}"
    return told + "; of these nothing is known."


def _led_nowhere(worlds: Sequence[WorldCoverage]) -> list[str]:
    """First strikes after which there is no place for a second one."""
    counts = _added([one.first for one in worlds]).words
    lost, missed = counts.get("broke", 0), counts.get("never-struck", 0)
    told = [f"{lost:,} that could not run"] * bool(lost)
    told += [f"{missed:,} that were never struck"] * bool(missed)
    return [f"No second strike followed first ones: {' and '.join(told)}."] if told else []


def _refused(worlds: Sequence[WorldCoverage]) -> list[str]:
    """The worlds in which something did not go as it should."""
    out = []
    for one in worlds:
        name = f"World{_name(one).removeprefix('world')}"
        if one.control in ("broken", "broke"):
            out.append(f"{name} was not swept: already without any fault, {one.why}.")
        elif one.differs:
            there = f" ({one.ended})" if one.ended else ""
            out.append(
                f"{name}: nothing was called equivalent, since {one.differs} had another history "
                f"in another interpreter{there}."
            )
    if any(one.ruled and one.executed for one in worlds):
        out.append(
            "Nothing was called equivalent, since the contract's own invariants may read the "
            "strike itself."
        )
    return out


def _lengths(worlds: Sequence[WorldCoverage]) -> str:
    heal = ", ".join(f"{ms:,}" for ms in sorted({one.heal_ms for one in worlds}))
    return (
        f"Delays and late copies took {DELAY_MS:,} ms; what is held, paused or cut off stays so "
        f"until the lab heals, at the latest after {heal} ms of virtual time. Other lengths were "
        "not tried."
    )


def _limits(depth: int, worlds: Sequence[WorldCoverage]) -> str:
    alone = depth == 1
    missing = "two faults in one execution" if alone else "three faults in one execution"
    where = "calls that are made only after a fault"
    if not alone:
        where = (
            "a second strike at the call of the first, at one that was under way then or at one "
            "that begins after the lab has healed"
        )
    return (
        f"Nothing is said of other schedules than those of seeds {_seeds(worlds)}, of "
        f"{missing}, of {where}, nor of other sizes of the workload."
    )


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
