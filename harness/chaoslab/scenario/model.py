"""A scenario as values: the workload, the faults, and everything a shrunk case must say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chaoslab.contract import Limits, ToolContract
from chaoslab.core.jsons import Json
from chaoslab.faults import Fault

Reaction = Literal["retry", "ask-again", "give-up", "carry-on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A simulated tool: what its service offers, how long it works, and, for a Wasm tool, the
    module in which it runs. `network`: there is no such service; the model may ask for it, and
    the agent carries it out by requests to the outside."""

    contract: ToolContract
    duration_ms: int = 0
    wasm: str = ""
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One tool call of a plan; argument templates in braces.

    `call` is the name by which the model asks for the tool, where the agent's function has another
    name than the tool's; a step with a `call` and no `tool` is a function that the contract does
    not speak of. A `parallel` step stands in one answer with the step before it. `on_error` says
    what the model does when the call's result is an error, by the error's code, or by `default`;
    after `retries_max` repetitions it gives up.
    """

    tool: str
    args: Mapping[str, Json]
    call: str = ""
    parallel: bool = False
    on_error: Mapping[str, Reaction] = field(default_factory=dict)
    retries_max: int = 3

    @property
    def name(self) -> str:
        """The name by which the model asks."""
        return self.call or self.tool

    def reaction(self, code: str, /) -> Reaction:
        """What follows an error of a code.

        >>> step = Step(tool="refund", args={}, on_error={"conflict": "carry-on"})
        >>> step.reaction("conflict"), step.reaction("")
        ('carry-on', 'give-up')
        """
        return self.on_error.get(code) or self.on_error.get("default", "give-up")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """A kind of task: what is asked, what comes with it, and what the model will do.

    `values` are lists of a team's own, of which each task gets one; `recording` holds the lines of
    a recorded model, which go before the plan.
    """

    name: str
    prompt: str
    data: Mapping[str, Json]
    plan: tuple[Step, ...]
    answer: str
    values: Mapping[str, tuple[Json, ...]] = field(default_factory=dict)
    recording: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The services and the kinds of task of a business, simulated or a team's own.

    `error_pattern` is a regular expression by which a tool's result is known for an error, besides
    the usual signs; "" for none.
    """

    name: str
    services: Mapping[str, Service]
    kinds: Mapping[str, TaskKind]
    error_pattern: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How a scenario uses its workload.

    `mix` cycles over the kinds of task within a session. `concurrent` hands out all tasks of a
    session at once, else each after the outcome of the one before, and `gap_ms` later.
    `deliveries` hands each task out so many times at once. `rewords` lets the model vary free
    text when it is asked again.
    """

    use: str = "support"
    sessions: int = 2
    tasks: int = 2
    mix: tuple[str, ...] = ()
    concurrent: bool = False
    gap_ms: int = 0
    deliveries: int = 1
    rewords: bool = True
    wasm: Mapping[str, str] = field(default_factory=dict)

    @property
    def idle_ms(self) -> int:
        """How long the gaps of one session are in all; no bound on the work counts them.

        >>> Use(tasks=3, gap_ms=60_000).idle_ms
        120000
        """
        return self.gap_ms * (self.tasks - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Seeds that are run where the user names none; jitter of the simulated network; and
    recorded choices, by which a shrunk schedule is said: None where decisions follow the seed,
    else 0, the plainest, for each that is not named."""

    seeds: tuple[int, ...] = (0,)
    jitter_ms: int = 1
    choices: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Where processes and memory live. `active` is `primary` (the others stand by) or `all`.

    `failover_after_ms`: a region or process that does not answer for so long is given up.
    """

    names: tuple[str, ...] = ("home",)
    active: str = "primary"
    processes: int = 1
    lag_ms: int = 50
    failover_after_ms: int = 3_000
    restart_after_ms: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The operator lets a quarantined session go."""

    session: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The test. `expect` is `valid`, or the id of the check that must be broken."""

    name: str
    title: str
    family: str
    workload: Use = Use()
    schedule: Schedule = Schedule()
    faults: tuple[Fault, ...] = ()
    regions: Regions = Regions()
    operator: tuple[Release, ...] = ()
    limits: Limits = Limits()
    needs: tuple[str, ...] = ()
    expect: str = "valid"
    heal_after_ms: int = 120_000
    linger_ms: int = 600_000

    @property
    def id(self) -> str:
        """`family/name`, by which commands and results speak of it."""
        return f"{self.family}/{self.name}"
