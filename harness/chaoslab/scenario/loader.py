"""Reads scenario files, strictly: file, key, value, what was allowed, all at once.

>>> from chaoslab.core.resources import resource_path
>>> load_scenario(resource_path("scenarios/matrix/timeout-after-commit.toml")).id
'matrix/timeout-after-commit'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from chaoslab.check import CHECK_IDS
from chaoslab.contract.loader import limits_from
from chaoslab.core.errors import ScenarioError, shown
from chaoslab.core.resources import data_root
from chaoslab.core.tables import Problems, Table, load_toml
from chaoslab.faults import KINDS, PHASES, PORTS, ROLES, Fault, problem
from chaoslab.faults.model import SCOPES, TRAP_MODES, known_place
from chaoslab.scenario.model import (
    Regions,
    Release,
    Scenario,
    Schedule,
    Use,
    Workload,
)
from chaoslab.scenario.workloads import find_workload

FORMAT = 1
NEEDS = ("wasm", "regions", "memory", "leases")
BUILDS = ("abort", "unwind")
TIMES_MAX = 100
GAP_MS_MAX = 366 * 86_400_000  # a year: longer than anything is kept


def load_scenario(path: Path, /, *, workload: Workload | None = None) -> Scenario:
    """The scenario in a file. ScenarioError names every problem of the file at once.

    `workload`: a team's own, which stands for the packaged one that `use` names.
    """
    return scenario_from(load_toml(path, ScenarioError), str(path), workload=workload)


def scenario_from(
    raw: Mapping[str, Any], file: str, /, *, workload: Workload | None = None
) -> Scenario:
    """A scenario from parsed TOML; `file` is named in messages."""
    problems = Problems(file)
    top = Table(raw, problems)
    top.format_is(FORMAT)
    schedule = top.table("schedule")
    scenario = Scenario(
        name=top.text("name", must=True),
        title=top.text("title", must=True),
        family=top.text("family", must=True),
        workload=_use(top.table("workload")),
        heal_after_ms=schedule.integer("heal_after_ms", 120_000, least=1),
        linger_ms=schedule.integer("linger_ms", 600_000),
        schedule=_schedule(schedule),
        faults=tuple(_fault(t) for t in top.tables("faults")),
        regions=_regions(top.table("regions")),
        operator=tuple(_release(t) for t in top.tables("operator")),
        limits=limits_from(top.table("limits")),
        needs=top.strings("needs"),
        expect=top.text("expect", "valid", among=("valid", *CHECK_IDS)),
    )
    for need in scenario.needs:
        if need not in NEEDS:
            top.complain("needs", f"got {need!r} (str); allowed: {', '.join(NEEDS)}")
    _cross_check(top, scenario, workload)
    top.close()
    problems.raise_if_any(ScenarioError)
    return scenario


def _cross_check(top: Table, scenario: Scenario, workload: Workload | None) -> None:
    for number, fault in enumerate(scenario.faults):
        if fault.scope == "region" and len(scenario.regions.names) < 2:
            top.complain(f"faults[{number}]", "scope = region needs two names in [regions]")
    if any(f.kind == "partition" for f in scenario.faults) and len(scenario.regions.names) < 2:
        top.complain("faults", "a partition needs two names in [regions]")
    if workload is None:
        names = sorted(p.stem for p in (data_root() / "fixtures" / "workloads").glob("*.toml"))
        if scenario.workload.use not in names:
            allowed = ", ".join(names)
            top.complain("workload.use", f"got {scenario.workload.use!r} (str); allowed: {allowed}")
            return
        workload = find_workload(scenario.workload.use)
    for name in scenario.workload.mix:
        if name not in workload.kinds:
            allowed = ", ".join(workload.kinds)
            top.complain("workload.mix", f"got {name!r} (str); allowed: {allowed}")
    modules = {s.wasm for s in workload.services.values() if s.wasm}
    for name in scenario.workload.wasm:
        if name not in modules:
            top.complain("workload.wasm", f"got {name!r}; allowed: {', '.join(sorted(modules))}")
    places = {f"tools.{n}" for n in workload.services} | {f"wasm.{n}" for n in modules}
    lookups = {f"tools.{n}.lookup" for n in workload.services}
    for number, fault in enumerate(scenario.faults):
        if "." in fault.at and fault.at not in PORTS and fault.at not in places | lookups:
            allowed = ", ".join((*ROLES, *sorted(places), *PORTS))
            top.complain(f"faults[{number}].at", f"got {fault.at!r} (str); allowed: {allowed}")


def _use(table: Table) -> Use:
    wasm = table.table("wasm")
    builds = {name: wasm.text(name, "abort", among=BUILDS) for name in wasm.raw}
    use = Use(
        use=table.text("use", "support"),
        sessions=table.integer("sessions", 2, least=1, most=10_000),
        tasks=table.integer("tasks", 2, least=1, most=10_000),
        mix=table.strings("mix"),
        concurrent=table.boolean("concurrent"),
        gap_ms=table.integer("gap_ms", 0, most=GAP_MS_MAX),
        deliveries=table.integer("deliveries", 1, least=1, most=8),
        rewords=table.boolean("rewords", True),
        wasm=builds,
    )
    if use.concurrent and use.gap_ms:
        table.complain(
            "gap_ms",
            f"got {use.gap_ms} (int) beside concurrent = true, where no task waits for another; "
            "allowed: 0, or concurrent = false",
        )
    table.close()
    return use


def _schedule(table: Table) -> Schedule:
    seeds = table.get("seeds")
    if seeds is not None and (
        not isinstance(seeds, list)
        or not seeds
        or not all(type(s) is int and 0 <= s < 2**63 for s in seeds)
    ):
        table.complain("seeds", f"got {shown(seeds)}; allowed: a list of integers of 0 or more")
        seeds = None
    recorded = "choices" in table.raw
    choices = table.table("choices")
    named = {key: choices.integer(key, 0, most=255) for key in choices.raw}
    schedule = Schedule(
        seeds=tuple(seeds or (0,)),
        jitter_ms=table.integer("jitter_ms", 1, most=60_000),
        choices=named if recorded else None,
    )
    table.close()
    return schedule


def _fault(table: Table) -> Fault:
    phase = table.text("phase", among=PHASES)
    if "phase" not in table.raw:
        table.complain("phase", f"a fault without a phase is refused; allowed: {', '.join(PHASES)}")
    fault = Fault(
        at=table.text("at", must=True),
        phase=phase,
        kind=table.text("kind", among=tuple(KINDS), must=True),
        session=table.text("session"),
        task=table.text("task"),
        marker=table.text("marker"),
        attempt=table.integer("attempt", 1, least=1),
        after_items=table.integer("after_items", 0),
        for_ms=table.maybe_integer("for_ms", least=1),
        scope=table.text("scope", "process", among=SCOPES),
        mode=table.text("mode", "panic", among=TRAP_MODES),
        every=table.boolean("every"),
        times=table.integer("times", 1, least=1, most=TIMES_MAX),
    )
    table.close()
    for key, kinds in _ONLY_WITH.items():
        if key in table.raw and fault.kind in KINDS and fault.kind not in kinds:
            table.complain(key, f"means nothing for {fault.kind}; allowed for: {', '.join(kinds)}")
    if not known_place(fault.at):
        if "at" in table.raw and isinstance(table.raw["at"], str):
            places = ", ".join((*ROLES, "tools.NAME", "wasm.MODULE", *PORTS))
            table.complain("at", f"got {fault.at!r} (str); allowed: {places}")
    elif fault.phase and fault.kind:
        found = problem(fault)
        if found:
            table.complain("", f"{found}; {_allowed(fault)}")
    return fault


# Keys that only some kinds look at; elsewhere they would be ignored in silence.
_ONLY_WITH = {
    "for_ms": ("delay", "duplicate", "hold", "pause", "partition", "crash"),
    "scope": ("crash",),
    "mode": ("trap",),
}


def _allowed(fault: Fault) -> str:
    if fault.kind in KINDS:
        phases = [p for p in PHASES if p in KINDS[fault.kind][0]]
        return f"allowed for {fault.kind}: {', '.join(phases)}"
    return f"allowed: {', '.join(KINDS)}"


def _regions(table: Table) -> Regions:
    plain = Regions()
    names = table.strings("names", plain.names)
    if not names or len(set(names)) != len(names) or len(names) > 5:
        table.complain("names", "allowed: one to five different names")
        names = plain.names
    numbers = {
        f.name: table.integer(f.name, getattr(plain, f.name), least=1 if "_after" in f.name else 0)
        for f in fields(Regions)
        if f.name.endswith("_ms")
    }
    regions = Regions(
        names=names,
        active=table.text("active", plain.active, among=("primary", "all")),
        processes=table.integer("processes", 1, least=1, most=8),
        **numbers,
    )
    table.close()
    return regions


def _release(table: Table) -> Release:
    release = Release(session=table.text("release", must=True), at_ms=table.integer("at_ms", 0))
    table.close()
    return release
