"""What an agent promises, and what "bounded" means for it, as values.

A contract is the team's word; a check never asks for more. Where no contract is given the
weakest sensible one stands in, and the headline says so.

>>> default_contract([ToolContract(name="refund")]).tools["refund"].promise
'at-least-once'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from chaoslab.contract.target import EffectSource, Target, Upstream

Promise = Literal["exactly-once", "at-most-once", "at-least-once"]
Resume = Literal["self", "redelivery"]
Role = Literal["keyed", "unkeyed", "long-running"]
Scope = Literal["all", "tenant", "session", "task"]
Consequence = Literal["money", "customer-visible", "internal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContract:
    """One tool: what its service offers, and what the agent promises over it.

    `identity_fields` are the argument fields that make two requests the same action, whatever
    the key or the wording; empty means all arguments. `compensate` names the tool that undoes
    an effect, given its reference.

    A tool of the team's own services has a `match`: `POST billing/v1/refunds` (method, service and
    path, in which `{name}` stands for any one part), `mcp crm/refund` or `python refund`. `key_at`
    tells where its key stands: `header:NAME`, `body:PATH` or `meta:NAME`; `conflict` is the HTTP
    status of a key that is in flight or was used otherwise; `effects` is where its effects are.
    `consequence` is what a breach costs, or empty where nothing was said.
    """

    name: str
    keys: bool = False
    key_retention_ms: int = 86_400_000
    lookup: bool = False
    compensate: str = ""
    identity_fields: tuple[str, ...] = ()
    promise: Promise = "at-least-once"
    long_running: bool = False
    match: str = ""
    key_at: str = ""
    conflict: int = 409
    effects: EffectSource | None = None
    description: str = ""
    consequence: str = ""

    @property
    def observed(self) -> bool:
        """Whether its effects are on record: it is a tool of the lab's own, says where its
        effects are read, or only reads."""
        reads = self.match.startswith(("GET ", "HEAD "))
        return not self.match or self.effects is not None or reads

    def roles(self) -> frozenset[Role]:
        """The roles by which a packaged scenario may name this tool."""
        out: set[Role] = {"keyed" if self.keys else "unkeyed"}
        if self.long_running:
            out.add("long-running")
        return frozenset(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryClass:
    """A class of memory items: those whose id starts with `prefix`; the longest prefix counts.

    `immutable`: what is written is never written again with another value. `retention_ms`: a
    value is kept at most so long after its write, and not used later than that, nor later than
    its own expiry; `skew_ms` is what clocks may differ by, and a request may be on its way.
    """

    name: str
    prefix: str
    immutable: bool = False
    retention_ms: int | None = None
    skew_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A sensitive attribute of a customer, and the only places it may be sent to: `model`,
    `network`, `log`, `report`, `answer`, `tools.NAME`, `wasm.MODULE`, `memory:PREFIX`."""

    name: str
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Where plain requests may go: exact host names, methods, and how much they may carry."""

    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("GET", "HEAD")
    body_bytes_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the standing effects of a tool may come to, per scope: the sum of an argument field,
    or their number where `field` is empty; within any `window_ms`, or in all."""

    name: str
    tool: str
    field: str = ""
    per: Scope = "all"
    most: int = 0
    window_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many tasks a process has in hand at most; whatever is more it defers, within
    `defer_within_ms`, and does later."""

    tasks_in_hand_max: int
    defer_within_ms: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """A rule of the team's own: a query over the ledger that must return nothing, or
    `path.py:check` over the evidence. `says` tells what a breach means."""

    name: str
    sql: str = ""
    check: str = ""
    says: str = ""
    consequence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What "bounded" means. None: nothing was promised, so the check is not applicable.

    Times are virtual in the simulator and wall time elsewhere; amplification is the tool
    requests of the fault execution in percent of those without faults.
    """

    attempts_per_operation_max: int | None = None
    failed_tasks_max: int | None = None
    uncertain_tasks_max: int | None = None
    recovery_ms_max: int | None = None
    amplification_percent_max: int | None = None

    def over(self, weaker: Limits, /) -> Limits:
        """These numbers where they are given, else those of `weaker`.

        >>> Limits(recovery_ms_max=5).over(Limits(recovery_ms_max=9, failed_tasks_max=1))
        ... # doctest: +ELLIPSIS
        Limits(...failed_tasks_max=1, ...recovery_ms_max=5, ...)
        """
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(weaker, **{k: v for k, v in own.items() if v is not None})


# What stands in where neither the contract nor the scenario gives a number.
DEFAULT_LIMITS = Limits(
    attempts_per_operation_max=5,
    failed_tasks_max=0,
    recovery_ms_max=120_000,
    amplification_percent_max=400,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The whole promise. `given` is False for the stand-in of a team that wrote none.

    `fencing`: the agent passes its fence with every memory write of a session it leased.
    `loss_ms_max`: a promotion may discard acknowledged local writes at most this old; None =
    nothing promised. `required`: checks that must be proven (exit 3 where they are not).
    `target`: the agent as commands, `services`: the team's own services around it. Of the rest,
    what is empty or None was not promised.
    """

    tools: Mapping[str, ToolContract] = field(default_factory=dict)
    resume: Resume = "redelivery"
    fencing: bool = False
    loss_ms_max: int | None = None
    limits: Limits = Limits()
    required: tuple[str, ...] = ()
    memory: Mapping[str, MemoryClass] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    egress: Egress | None = None
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    capacity: Capacity | None = None
    invariants: tuple[Invariant, ...] = ()
    consequences: Mapping[str, str] = field(default_factory=dict)  # by check
    target: Target | None = None
    services: Mapping[str, Upstream] = field(default_factory=dict)
    ruleset: str = "2026.1"
    name: str = ""
    given: bool = True

    def tool(self, name: str, /) -> ToolContract:
        """The line for a tool; for one that the contract does not name, the weakest line."""
        found = self.tools.get(name)
        return found if found is not None else ToolContract(name=name)

    def memory_class(self, id: str, /) -> MemoryClass | None:
        """The class of a memory item: that of the longest prefix which fits.

        >>> classes = {n: MemoryClass(name=n, prefix=n + "/") for n in ("policy", "policy/draft")}
        >>> Contract(memory=classes).memory_class("policy/draft/v2").name
        'policy/draft'
        """
        found = None
        for one in self.memory.values():
            if id.startswith(one.prefix) and (found is None or len(one.prefix) > len(found.prefix)):
                found = one
        return found


def default_contract(services: Iterable[ToolContract], /) -> Contract:
    """At-least-once and redelivery: what may be asked of a team that promised nothing.

    `services` says what the simulated services offer (keys, identity fields); only the promise
    is replaced by the weakest one.
    """
    return Contract(
        tools={t.name: replace(t, promise="at-least-once") for t in services},
        given=False,
        name="none (default)",
    )
