"""The invariants of a team as checks: queries as they are, functions loaded from their files.

A function of the team's is foreign code, so it is only ever loaded inside a worker, where a hang or
a crash of it costs its own finding and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslab.adapters import load_function
from chaoslab.backends.common import merged_contract
from chaoslab.check import Check, Evidence, Finding, Violation, judge
from chaoslab.check.invariants import by_function, by_query
from chaoslab.contract import Contract, Invariant
from chaoslab.history import View, read
from chaoslab.run.model import RunSpec
from chaoslab.run.plan import limits_in_force


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOwn:
    """A request to a worker: invariants of the team over the histories of a run, as files."""

    spec: RunSpec
    invariants: tuple[Invariant, ...]
    history: Path
    control: Path | None = None
    repeat: Path | None = None


def own_checks(contract: Contract, /) -> tuple[Check, ...]:
    """One check per invariant of the contract. AdapterError where a function cannot be loaded."""
    return tuple(_check(one) for one in contract.invariants)


def _check(invariant: Invariant) -> Check:
    if invariant.sql:
        return by_query(invariant)
    function: Callable[[Evidence], Any] = load_function(invariant.check)
    return by_function(invariant, function)


def judge_own(request: JudgeOwn, /) -> list[dict[str, Any]]:
    """The findings of the asked invariants, as JSON.

    Each is asked twice, each time over evidence that was read afresh: a function that changes what
    it is given, or that follows chance, spoils no other rule and is found out.
    """
    return [_to_json(_asked(request, one)) for one in request.invariants]


def _asked(request: JudgeOwn, invariant: Invariant) -> Finding:
    check = _check(invariant)
    [first] = judge(_evidence(request), checks=(check,)).findings
    if invariant.sql:
        return first
    [second] = judge(_evidence(request), checks=(check,)).findings
    if first == second:
        return first
    return Finding(
        check=first.check,
        verdict="unknown",
        reason=f"{invariant.check} gave two answers to the same evidence; it must depend on "
        "nothing else",
    )


def _evidence(request: JudgeOwn) -> Evidence:
    spec = request.spec
    return Evidence(
        history=View(read(request.history).ops),
        contract=merged_contract(spec.contract, spec.workload),
        limits=limits_in_force(spec),
        control=None if request.control is None else View(read(request.control).ops),
        repeats=() if request.repeat is None else (View(read(request.repeat).ops),),
        recorded=spec.target is not None,
    )


def _to_json(finding: Finding) -> dict[str, Any]:
    whole = {name: getattr(finding, name) for name in finding.__dataclass_fields__}
    whole["violations"] = [
        {name: getattr(v, name) for name in v.__dataclass_fields__} for v in finding.violations
    ]
    return whole


def finding_from(raw: dict[str, Any], /) -> Finding:
    """A finding from what a worker sent."""
    violations = tuple(
        Violation(**{**v, "witness": tuple(v["witness"])}) for v in raw["violations"]
    )
    return Finding(**{**raw, "violations": violations})
