"""The words that every check speaks: evidence in, a finding out.

A check is a pure function of the evidence. It never runs anything, and it answers `valid` only
where it really looked at something: a check with nothing to look at says `not-applicable`, one
that lacks evidence says `unknown`. So "no violation found" and "nothing was examined" can never
be mistaken for each other.

>>> conclude("effects.delivery", [], looked_at=14, things="operations").reason
'looked at 14 operations'
>>> conclude("effects.delivery", [], looked_at=0, nothing="no tool was used").verdict
'not-applicable'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chaoslab.check.facts import Facts
from chaoslab.contract import Contract, Limits
from chaoslab.core.jsons import digest
from chaoslab.history import View

Verdict = Literal["valid", "invalid", "unknown", "not-applicable"]
Where = str  # "fault", "control", or "repeat-1" and so on

# What an execution has to offer before a check can say anything.
Capability = Literal[
    "tools",
    "keys",
    "intents",
    "outcomes",
    "transitions",
    "memory",
    "network",
    "marks",
    "canaries",
    "wasm",
    "leases",
    "regions",
    "strikes",
    "control",
    "repeats",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that a verdict may rest on.

    `limits` are the numbers in force (contract over scenario over default); `control` is the
    fault-free execution of the same workload, `repeats` are executions of the same choices.
    `recorded`: these are histories of real processes on the wall clock, recorded and not
    deterministic, in which not everything shows that the agent does.
    """

    history: View
    contract: Contract
    limits: Limits
    control: View | None = None
    repeats: tuple[View, ...] = ()
    recorded: bool = False
    # Joined views, one per history, shared by all checks; no part of the evidence itself.
    _facts: dict[int, Facts] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    @property
    def facts(self) -> Facts:
        """The joined view of the history."""
        return self.facts_of(self.history)

    def facts_of(self, view: View, /) -> Facts:
        """The joined view of the history, of the control or of a repeat."""
        found = self._facts.get(id(view))
        if found is None:
            found = self._facts[id(view)] = Facts(view, self.contract, recorded=self.recorded)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One breach. `witness` are the numbers of the entries that prove it, ascending, and no
    more of them than the proof needs. `anomaly` says how it came about."""

    check: str
    code: str
    subject: str
    explanation: str
    witness: tuple[int, ...]
    tool: str = ""
    anomaly: str = ""
    where: Where = "fault"

    @property
    def fingerprint(self) -> str:
        """The same bug has the same fingerprint, whatever the seed, ids and numbers."""
        return digest([self.check, self.code, self.tool, self.anomaly])


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check says. `reason`: what was looked at, or why it cannot tell."""

    check: str
    verdict: Verdict
    violations: tuple[Violation, ...] = ()
    reason: str = ""
    looked_at: int = 0


class Checker(Protocol):
    """A check. `needs`: without these its answer is not-applicable or unknown."""

    @property
    def id(self) -> str:
        """The name by which people and files refer to it."""
        ...

    @property
    def needs(self) -> frozenset[Capability]:
        """What an execution has to offer."""
        ...

    def __call__(self, evidence: Evidence, /) -> Finding:
        """The finding. Whatever it raises is taken for unknown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A checker made of a plain function."""

    id: str
    run: Callable[[Evidence], Finding]
    needs: frozenset[Capability] = frozenset()

    def __call__(self, evidence: Evidence, /) -> Finding:
        """The finding of the function."""
        return self.run(evidence)


def conclude(
    check: str,
    violations: Sequence[Violation],
    *,
    looked_at: int,
    things: str = "entries",
    nothing: str = "there was nothing to look at",
    missing: str = "",
) -> Finding:
    """A finding by the one rule: a breach outweighs missing evidence (`missing` says which),
    missing evidence outweighs having looked, and having looked at nothing proves nothing."""
    verdict: Verdict
    if violations:
        verdict, reason = "invalid", f"looked at {looked_at} {things}"
    elif missing:
        verdict, reason = "unknown", missing
    elif looked_at == 0:
        verdict, reason = "not-applicable", nothing
    else:
        verdict, reason = "valid", f"looked at {looked_at} {things}"
    return Finding(
        check=check,
        verdict=verdict,
        violations=tuple(violations),
        reason=reason,
        looked_at=looked_at,
    )


def indexes(*found: Iterable[int] | int) -> tuple[int, ...]:
    """A witness from numbers and groups of numbers: ascending, each once, none negative.

    >>> indexes(7, [3, 7], -1)
    (3, 7)
    """
    flat: set[int] = set()
    for item in found:
        flat.update((item,) if isinstance(item, int) else item)
    return tuple(sorted(i for i in flat if i >= 0))


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "task"), plural(2, "task")
    ('1 task', '2 tasks')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
