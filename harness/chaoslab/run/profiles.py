"""How much to run where: before a merge, every night, before a release.

A pipeline has a time in which people wait for it. So a profile chooses scenarios and seeds, and a
limit; the first seed of every scenario comes before the second of any, so that a limit costs
further seeds before it costs a whole scenario. What a limit cut is said, never passed over.

>>> PROFILES["pr"].seeds, PROFILES["nightly"].planted, parse_time("90s")
(1, True, 90000)
>>> more_seeds((3, 7), 4)
(3, 7, 8, 9)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from chaoslab.core.errors import UsageError
from chaoslab.core.visible import visible
from chaoslab.run.model import RunSpec
from chaoslab.run.select import known_scenarios

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_TIME: Final = re.compile(r"([1-9][0-9]{0,5})([smh])", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is run where the command line does not say otherwise.

    `everything`: all packaged families, else the matrix. `seeds` of each scenario: its own, then
    further ones. `max_time_ms` is None where there is no limit.
    """

    name: str
    everything: bool
    seeds: int
    planted: bool
    max_time_ms: int | None


PROFILES: Final[Mapping[str, Profile]] = {
    one.name: one
    for one in (
        Profile(name="pr", everything=False, seeds=1, planted=False, max_time_ms=10 * 60_000),
        Profile(name="nightly", everything=True, seeds=5, planted=True, max_time_ms=60 * 60_000),
        Profile(name="release", everything=True, seeds=20, planted=True, max_time_ms=None),
    )
}


def names_for(names: Sequence[str], profile: Profile | None, /) -> list[str]:
    """The scenarios that were named; where none were, those of the profile."""
    if names:
        return list(names)
    if profile is None or not profile.everything:
        return ["matrix"]
    return sorted({name.partition("/")[0] for name in known_scenarios()})


def more_seeds(own: Sequence[int], count: int, /) -> tuple[int, ...]:
    """That many seeds: a scenario's own, then further ones, counted up from its greatest."""
    first = max(own) + 1
    return (*own, *range(first, first + count))[:count]


def with_seeds(specs: Sequence[RunSpec], count: int, /) -> list[RunSpec]:
    """Each scenario of these runs under that many seeds."""
    firsts: dict[tuple[str, str], RunSpec] = {}
    for spec in specs:
        firsts.setdefault((spec.scenario.id, spec.agent), spec)
    return [
        replace(spec, seed=seed)
        for spec in firsts.values()
        for seed in more_seeds(spec.scenario.schedule.seeds, count)
    ]


def order(specs: Sequence[RunSpec], /) -> list[RunSpec]:
    """The first seed of every scenario, then the second of every one, and so on."""
    seen: dict[tuple[str, str], int] = {}
    turns = []
    for spec in specs:
        name = (spec.scenario.id, spec.agent)
        turns.append(seen.setdefault(name, 0))
        seen[name] += 1
    return [specs[n] for n in sorted(range(len(specs)), key=turns.__getitem__)]


# -- a limit in time


def parse_time(text: str, /) -> int:
    """Milliseconds from `90s`, `10m` or `1h`. UsageError for anything else."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise UsageError("this is no length of time", value=text, allowed="90s, 10m, 1h")
    return int(found[1]) * _UNITS_MS[found[2]]


def time_text(ms: int, /) -> str:
    """A limit in words.

    >>> time_text(600_000), time_text(90_000), time_text(7_200_000)
    ('10 min', '90 s', '2 h')
    """
    for unit, words in (("h", "h"), ("m", "min")):
        if ms % _UNITS_MS[unit] == 0:
            return f"{ms // _UNITS_MS[unit]} {words}"
    return f"{ms / 1_000:g} s"


def cut_json(spec: RunSpec, /) -> dict[str, Any]:
    """What the results say of a run for which there was no time left."""
    return {
        "id": spec.id,
        "scenario": spec.scenario.id,
        "agent": spec.agent,
        "seed": spec.seed,
        "why": "the time was up before its turn came",
    }


def cut_words(cut: Iterable[Mapping[str, Any]], /, *, limit: str = "") -> str:
    """What was left out, a scenario at a time; empty where nothing was.

    >>> cut_words([{"scenario": "a/b", "agent": "x", "seed": n} for n in (3, 4, 5, 9)])
    'cut for want of time: a/b seeds 3-5, 9'
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for one in cut:
        groups.setdefault((one["scenario"], one["agent"]), []).append(one["seed"])
    if not groups:
        return ""
    agents = {agent for _, agent in groups}
    said = [
        visible(f"{scenario} {_seeds(seeds)}" + (f" ({agent})" if len(agents) > 1 else ""))
        for (scenario, agent), seeds in groups.items()
    ]
    return f"cut for want of time{f' ({limit})' if limit else ''}: " + "; ".join(said)


def _seeds(seeds: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    said = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {said}"
