"""`chaoslab sweep`: every applicable fault at every call, alone or in pairs."""

from __future__ import annotations

import argparse

from rich.console import Console

from chaoslab.cli.exploring import Desk, Explored, Plan, asked_for, carry_out, kinds_in
from chaoslab.explore.store import head_of
from chaoslab.explore.sweep import SweepPlan, stored_as
from chaoslab.explore.sweep import sweep as strike
from chaoslab.explore.worlds import worlds_of
from chaoslab.run.profiles import with_seeds


def sweep(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab sweep`."""
    asked = asked_for(arguments, seeds=arguments.seed, time=arguments.max_time)
    specs = asked.specs if arguments.seed else with_seeds(asked.specs, 1)
    plan = SweepPlan(
        worlds=worlds_of(specs, sessions=arguments.sessions, tasks=arguments.tasks),
        depth=arguments.depth,
        kinds=kinds_in(arguments.kinds),
        setting=asked.setting,
        reduce=not arguments.no_reduction,
    )
    base = [world.spec for world in plan.worlds]

    def explore(desk: Desk) -> Explored:
        worlds = len(plan.worlds)
        desk.counted.doing(f"striking {worlds} world{'s' * (worlds != 1)}")
        coverage = strike(
            plan,
            desk.spread,
            lambda rows: desk.keep(stored_as(rows), rows),
            done=dict(desk.rows.batches()),
            until_ms=desk.until_ms,
        )
        return Explored(
            coverage={"columns": list(coverage.rows[0]), **coverage.to_json()},
            claim=coverage.claim,
            complete=coverage.complete,
            differs=[
                f"{one.world}, seed {one.seed}: {one.differs} had another history in another "
                "interpreter"
                for one in coverage.worlds
                if one.differs
            ],
        )

    asked_plan = {
        "depth": plan.depth,
        "kinds": list(plan.kinds),
        "sessions": arguments.sessions,
        "tasks": arguments.tasks,
        "reduction": plan.reduce,
        "seeds": sorted({world.seed for world in plan.worlds}),
    }
    head = head_of("sweep", base, asked_plan)
    return carry_out(arguments, console, asked, Plan(head=head, base=base, explore=explore))
