"""What every backend takes and gives: an execution as a pure function of its specification."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chaoslab.contract import Contract
from chaoslab.contract.target import Target
from chaoslab.core.jsons import Json
from chaoslab.faults import Placed, Site
from chaoslab.history import Op
from chaoslab.scenario import Scenario, Workload
from chaoslab.world.api import ModelReply

# Who answers instead of the scripted model: (task, messages, tools) -> reply. A ChaosError that it
# raises ends the execution.
Answering: TypeAlias = Callable[
    [str, Sequence[Mapping[str, Json]], Sequence[str]], Awaitable[ModelReply]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionSpec:
    """Everything that an execution depends on.

    `target` None: the simulator, else the agent as commands on real processes. `choices` None:
    decisions follow the seed; else they are taken from there, 0 where absent.
    """

    scenario: Scenario
    workload: Workload
    contract: Contract
    agent: str
    seed: int
    placed: tuple[Placed, ...] = ()
    choices: Mapping[str, int] | None = None
    target: Target | None = None
    ops_max: int = 200_000
    virtual_ms_max: int = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEnd:
    """What an execution leaves besides its history.

    `broke` is empty, or why no verdict may be read from it; `notes` may carry paths and trap
    texts and never enters a digest. `agent_us` is wall time in the agent's own code and its side of
    the calls; `stopped`: whoever watched had seen enough.
    """

    digest: str
    ops: tuple[Op, ...]
    sites: tuple[Site, ...]
    choices: Mapping[str, int]
    fired: Mapping[int, int]
    broke: str = ""
    notes: tuple[str, ...] = ()
    virtual_ms: int = 0
    agent_us: int = 0
    stopped: bool = False
