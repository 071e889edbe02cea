"""Worlds: what scenarios are about when their faults are taken away.

A sweep strikes a world everywhere, so two scenarios that differ in their faults alone would be
swept twice for nothing. A world keeps the workload, the regions, the schedule and the operator of
its scenarios. It does not keep their limits: those were written about the scenario's own faults
(a lost answer of a tool without keys has to end as uncertain, whatever a scenario with another
fault allows), so in a sweep the contract's limits count, and the defaults where it has none.

>>> from chaoslab.run.select import REFERENCE, scenario_files, specs_for
>>> names = ["matrix/timeout-after-commit", "matrix/timeout-before-commit"]
>>> [world] = worlds_of(specs_for(scenario_files(names), REFERENCE, seeds=[3]))
>>> world.scenarios, world.seed, world.spec.scenario.faults
(('matrix/timeout-after-commit', 'matrix/timeout-before-commit'), 3, ())
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from chaoslab.contract import Limits
from chaoslab.core.jsons import digest
from chaoslab.run.model import RunSpec
from chaoslab.scenario import Regions, Scenario, Schedule, Use, Workload
from chaoslab.scenario.writing import scenario_toml

FAMILY = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One world under one seed. `id` says what it is, whatever the seed; `scenarios` are those
    that share it."""

    id: str
    spec: RunSpec
    scenarios: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """The world and its seed, by which batches and rows are named."""
        return f"{self.id}-s{self.seed}"


def worlds_of(
    specs: Sequence[RunSpec], /, *, sessions: int | None = None, tasks: int | None = None
) -> list[World]:
    """One world per different world and seed, in order of first mention.

    `sessions` and `tasks` resize them, which makes still more of them the same.
    """
    first: dict[tuple[str, int, str], tuple[RunSpec, Scenario]] = {}
    names: dict[tuple[str, int, str], list[str]] = {}
    for spec in specs:
        bare = _bare(_resized(spec.scenario, sessions, tasks), spec.workload)
        key = (f"w-{digest(asdict(bare), size=3)}", spec.seed, spec.agent)
        first.setdefault(key, (spec, bare))
        found = names.setdefault(key, [])
        if spec.scenario.id not in found:
            found.append(spec.scenario.id)
    return [
        _world(name, spec, bare, tuple(names[name, seed, agent]))
        for (name, seed, agent), (spec, bare) in first.items()
    ]


def _world(name: str, spec: RunSpec, bare: Scenario, scenarios: tuple[str, ...]) -> World:
    others = len(scenarios) - 1
    more = f" and {others} more" if others else ""
    scenario = replace(
        bare,
        name=name,
        title=f"The world of {scenarios[0]}{more}, without faults",
        schedule=replace(bare.schedule, seeds=(spec.seed,)),
    )
    own = replace(
        spec,
        scenario=scenario,
        scenario_text=scenario_toml(scenario),
        role="subject",
        expected_check="",
        choices=None,
    )
    return World(id=name, spec=own, scenarios=scenarios, seed=spec.seed)


def _resized(scenario: Scenario, sessions: int | None, tasks: int | None) -> Scenario:
    use = scenario.workload
    use = replace(use, sessions=sessions or use.sessions, tasks=tasks or use.tasks)
    left = {f"s{n}" for n in range(1, use.sessions + 1)}
    operator = tuple(one for one in scenario.operator if one.session in left)
    return replace(scenario, workload=use, operator=operator)


def _bare(scenario: Scenario, workload: Workload) -> Scenario:
    """Only what a world consists of; what cannot make a difference has its default."""
    return replace(
        scenario,
        name="world",
        title="",
        family=FAMILY,
        workload=_plainest(scenario.workload, tuple(workload.kinds)),
        schedule=replace(scenario.schedule, seeds=Schedule().seeds),
        regions=_alone(scenario.regions),
        faults=(),
        limits=Limits(),
        needs=(),
        expect="valid",
    )


def _plainest(use: Use, kinds: Sequence[str]) -> Use:
    """The same use in the plainest words: a mix names what is done and no more, and of tasks that
    are alone none is beside or after another.

    >>> _plainest(Use(tasks=1, concurrent=True, mix=("ship", "refund")), ("refund", "ship")).mix
    ('ship',)
    >>> _plainest(Use(tasks=3, mix=("refund", "ship")), ("refund", "ship")).mix
    ()
    """
    mix = tuple(kind for kind in use.mix if kind in kinds) or tuple(kinds)
    if len(mix) >= use.tasks:
        mix = mix[: use.tasks]
    builds = {name: build for name, build in use.wasm.items() if build != "abort"}
    plain = replace(use, wasm=builds, mix=() if mix == tuple(kinds)[: use.tasks] else mix)
    return plain if use.tasks > 1 else replace(plain, concurrent=False, gap_ms=0)


def _alone(regions: Regions) -> Regions:
    """Where there is no second region, nothing is replicated."""
    if len(regions.names) > 1:
        return regions
    return replace(regions, active=Regions().active, lag_ms=Regions().lag_ms)
