"""A bench for the simulator: an agent as text, a small business, faults, and what came of it."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslab.backends.api import ExecutionEnd, ExecutionSpec
from chaoslab.backends.sim import simulate
from chaoslab.contract import Contract, ToolContract
from chaoslab.faults import Fault, Placed, problem
from chaoslab.history import Op, View, Writer
from chaoslab.scenario import Regions, Scenario, Schedule, Service, Step, TaskKind, Use, Workload

NS_PER_MS = 1_000_000
_NUMBER = itertools.count()


def tool(name: str, **offers: Any) -> ToolContract:
    """A tool that recognises an action by its `order`."""
    return ToolContract(name=name, identity_fields=("order",), **offers)


SHOP = Workload(
    name="shop",
    services={
        "pay": Service(contract=tool("pay", keys=True, lookup=True)),
        "mail": Service(contract=tool("mail")),
        "haul": Service(contract=tool("haul", keys=True, long_running=True), duration_ms=30_000),
        "ticket": Service(contract=tool("ticket", keys=True), wasm="ticket"),
    },
    kinds={
        "job": TaskKind(
            name="job",
            prompt="Do {order}.",
            data={"order": "{order}"},
            plan=(
                Step(tool="pay", args={"order": "{order}", "why": "{words}"}),
                Step(tool="mail", args={"order": "{order}"}),
            ),
            answer="Did {order}.",
        )
    },
)

HEAD = """
import asyncio
from chaoslab.world import *

class Base:
    async def start(self, world): self.world = world
    async def handle(self, task): return self.done(task)
    async def stop(self): pass
    def done(self, task, **more):
        return Outcome(task=task.id, status="completed", **more)
    async def pay(self, task, name="pay", key="k", deadline_ms=1_000):
        order = task.data["order"]
        return await self.world.tools.call(
            name, {"order": order}, key=key and f"{key}-{order}", deadline_ms=deadline_ms)
    def say(self, text): self.world.report.log(text)
    async def patient(self, task, name="pay", key="k"):
        for _ in range(5):
            try:
                return await self.pay(task, name, key, 60_000)
            except Refused:
                await self.world.clock.sleep(2_000)
            except Indeterminate:
                pass
"""

TAIL = """
def make():
    return Agent()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An execution: how it ended, and its history."""

    end: ExecutionEnd
    view: View

    def calls(self, f: str) -> list[Op]:
        """The invokes of a port."""
        return [op for op in self.view.named(f) if op.type == "invoke"]

    def commits(self, f: str) -> list[Op]:
        """The ledger changes of a port."""
        return [op for op in self.view.named(f) if op.type == "commit"]

    def ends(self, f: str) -> list[tuple[str, str]]:
        """How each call of a port ended: (type, error)."""
        found = []
        for op in self.calls(f):
            done = self.view.completion(op.index)
            found.append(("open", "") if done is None else (done.type, done.get("error", "")))
        return found

    def named(self, f: str) -> list[Op]:
        """All entries of a name."""
        return list(self.view.named(f))

    def logs(self) -> list[str]:
        """What the agent logged."""
        return [op.get("text") for op in self.named("report.log")]

    def outcomes(self) -> dict[str, Any]:
        """How each task ended."""
        return dict(self.view.named("lab.end")[-1].get("outcomes"))


def strike(at: str, phase: str, kind: str, **more: Any) -> Fault:
    """A fault that the scenario loader would accept."""
    fault = Fault(at=at, phase=phase, kind=kind, **more)
    assert not problem(fault), problem(fault)
    return fault


def write_agent(folder: Path, body: str) -> str:
    """An adapter file around the text of `class Agent(Base)`, as a reference."""
    path = folder / f"agent_{next(_NUMBER)}.py"
    path.write_text(HEAD + textwrap.dedent(body) + TAIL, encoding="utf-8")
    return f"{path}:make"


def run(
    folder: Path,
    body: str,
    *,
    faults: Sequence[Fault] = (),
    sessions: int = 1,
    tasks: int = 1,
    regions: Regions | None = None,
    contract: Contract | None = None,
    choices: Mapping[str, int] | None = None,
    by_seed: bool = False,
    seed: int = 0,
    use: Mapping[str, Any] | None = None,
    scenario: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Result:
    """One execution of an agent given as text. Decisions are the plainest ones (0) unless
    `choices` or `by_seed` says otherwise; each fault strikes its first match."""
    plan = Scenario(
        name="bench",
        title="bench",
        family="bench",
        workload=Use(use="shop", sessions=sessions, tasks=tasks, **(use or {})),
        schedule=Schedule(),
        faults=tuple(faults),
        regions=regions or Regions(),
        **(scenario or {}),
    )
    full = ExecutionSpec(
        scenario=plan,
        workload=SHOP,
        contract=contract or Contract(),
        agent=body if body.endswith(":make") else write_agent(folder, body),
        seed=seed,
        placed=tuple(Placed(number=n, fault=f) for n, f in enumerate(faults)),
        choices=None if by_seed else (choices or {}),
        **spec,
    )
    end = simulate(full, Writer(None, {}))
    return Result(end=end, view=View(end.ops))
