"""From rows to findings: one mistake is one finding, however many executions show it.

A finding names the smallest execution that shows it, and can make the specification of that
execution again, from which it is shrunk and looked at whole. What costs most comes first: of a
thousand executions nobody reads more than the first few.

>>> double = ("effects.delivery", "duplicate-effect", "00112233aabbccdd", "2 x refund")
>>> rows = [Row(name=f"w1/{n}", world="w1", seed=0, word="broken", breaches=(double,),
...             faults=({"at": "tools.refund", "phase": "after-commit", "kind": "silence"},) * n)
...         for n in (2, 1)]
>>> [found] = findings_of(rows, ())
>>> found.executions, found.first.name
(2, 'w1/1')
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from chaoslab.check.rulesets import counts
from chaoslab.contract import Contract
from chaoslab.contract.consequences import consequence_of, rank
from chaoslab.core.errors import FormatError, ScenarioError
from chaoslab.core.jsons import digest
from chaoslab.explore.rows import Row
from chaoslab.faults import Fault
from chaoslab.run.model import RunSpec
from chaoslab.scenario import Scenario, find_workload, scenario_from

# So many of the executions that showed a mistake are named, by which it is looked for again.
STRIKES_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake. `executions` showed it, `first` is the smallest of them; `worlds` says how many
    it were in each world, and `strikes` names them, at most 200, as `strike_of` does."""

    fingerprint: str
    check: str
    code: str
    executions: int
    first: Row
    worlds: Mapping[str, int]
    strikes: tuple[str, ...]


def findings_of(
    rows: Iterable[Row],
    specs: Sequence[RunSpec],
    /,
    *,
    executions: Mapping[str, int] | None = None,
) -> list[Finding]:
    """The mistakes that some rows show, what costs most and then what is most frequent first.

    `specs` have the contract; `executions` are counts by fingerprint, where not all rows that were
    counted are here. A row that was not executed shows nothing by itself.
    """
    found: dict[str, _Seen] = {}
    for row in rows:
        if row.word != "equivalent":
            for fingerprint in dict.fromkeys(breach[2] for breach in row.breaches):
                found.setdefault(fingerprint, _Seen(first=row)).add(row)
    contract = specs[0].contract if specs else Contract()
    counted = executions or {}
    out = [_finding(mark, seen, counted.get(mark, 0)) for mark, seen in sorted(found.items())]
    return sorted(out, key=lambda one: _order(one, contract))


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What is remembered of the rows that show a mistake; there may be a million of them."""

    first: Row
    count: int = 0
    worlds: dict[str, int] = field(default_factory=dict)
    strikes: set[str] = field(default_factory=set)

    def add(self, row: Row) -> None:
        self.first = min(self.first, row, key=lambda one: (len(one.faults), one.name))
        self.count += 1
        self.worlds[row.world] = self.worlds.get(row.world, 0) + 1
        self.strikes.add(strike_of(row))


def _finding(fingerprint: str, seen: _Seen, executions: int) -> Finding:
    check, code = next(b[:2] for b in seen.first.breaches if b[2] == fingerprint)
    return Finding(
        fingerprint=fingerprint,
        check=check,
        code=code,
        executions=executions or seen.count,
        first=seen.first,
        worlds=dict(sorted(seen.worlds.items())),
        strikes=tuple(sorted(seen.strikes)[:STRIKES_MAX]),
    )


def _order(one: Finding, contract: Contract) -> tuple[bool, int, int, str]:
    """A row does not say which tool a breach is about, so it may be the dearest of those that its
    words name."""
    told = next(breach[3] for breach in one.first.breaches if breach[2] == one.fingerprint)
    words = frozenset(re.findall(r"[\w-]+", told))
    tools = ("", *(tool for tool in contract.tools if tool in words))
    cost = min(rank(consequence_of(contract, one.check, tool)) for tool in tools)
    return (not counting(one, contract), cost, -one.executions, one.fingerprint)


def counting(one: Finding, contract: Contract, /) -> bool:
    """Whether a finding counts under the contract's ruleset; else it is a warning."""
    return counts(one.check, contract.ruleset, required=contract.required)


def strike_of(row: Row, /) -> str:
    """What an execution was, in one short word: equal where it is the same again.

    >>> one = Row(name="w1/0", world="w1", seed=0, word="held")
    >>> strike_of(one) == strike_of(replace(one, name="w1/7", word="broken"))
    True
    """
    return digest([row.world, row.seed, [dict(fault) for fault in row.faults], row.scenario])


def spec_of(row: Row, specs: Sequence[RunSpec], /) -> RunSpec:
    """The run of which a row is an execution. FormatError where its world is not among `specs`, or
    what it says is no scenario."""
    base = next((s for s in specs if row.world in (s.scenario.name, s.scenario.id)), None)
    if row.scenario and specs:
        return _as_asked(base or specs[0], _scenario(row), row.seed)
    if base is None:
        raise FormatError(
            f"the row {row.name} is of the world {row.world}, which is none of this campaign",
            hint="begin anew, without --resume",
        )
    try:
        faults = tuple(Fault(**fault) for fault in row.faults)
    except TypeError as error:
        raise FormatError(f"the row {row.name} has no faults that can be read: {error}") from None
    return _as_asked(base, replace(base.scenario, faults=faults), row.seed)


def _scenario(row: Row) -> Scenario:
    try:
        raw: dict[str, Any] = tomllib.loads(row.scenario)
        return scenario_from(raw, f"the row {row.name}")
    except (tomllib.TOMLDecodeError, ScenarioError) as error:
        raise FormatError(f"the row {row.name} has no scenario that can be read: {error}") from None


def _as_asked(base: RunSpec, scenario: Scenario, seed: int) -> RunSpec:
    """Nothing is expected to be broken here, whatever the scenario expected with its own faults."""
    schedule = replace(scenario.schedule, seeds=(seed,))
    return replace(
        base,
        scenario=replace(scenario, schedule=schedule, expect="valid"),
        workload=find_workload(scenario.workload.use),
        seed=seed,
        role="subject",
        expected_check="",
        choices=None,
    )


def spread_over(names: Sequence[str], count: int, /) -> list[str]:
    """Some of them, evenly chosen; all of them where there are no more.

    >>> spread_over([f"{n}" for n in range(9)], 3)
    ['1', '4', '7']
    """
    if len(names) <= count:
        return list(names)
    return [names[(2 * n + 1) * len(names) // (2 * count)] for n in range(count)]
