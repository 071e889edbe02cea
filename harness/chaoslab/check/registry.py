"""All checks in their order, and the one function that judges an execution.

>>> CHECK_IDS[0], TITLES["limits.recovery"]
('effects.delivery', 'recovery is quick enough')
>>> from chaoslab.check.model import Evidence
>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import View
>>> judge(Evidence(history=View([]), contract=Contract(), limits=Limits())).verdict
'unknown'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chaoslab.check import (
    access,
    atomic,
    budgets,
    capacity,
    effects,
    egress,
    isolation,
    keys,
    lifecycle,
    limits,
    lineage,
    linearizable,
    lost_update,
    outcome,
    policy,
    recovery,
    regions,
    retention,
)
from chaoslab.check.model import Capability, Checker, Evidence, Finding, Verdict, Violation, Where
from chaoslab.check.texts import TEXTS
from chaoslab.core import collector

CHECKS: Final[tuple[Checker, ...]] = (
    effects.CHECK,
    keys.CHECK,
    lineage.CHECK,
    outcome.CHECK,
    lifecycle.LEGAL,
    lifecycle.QUARANTINE,
    atomic.CHECK,
    lost_update.CHECK,
    linearizable.CHECK,
    policy.CHECK,
    retention.CHECK,
    access.CHECK,
    isolation.SESSIONS,
    isolation.INSTANCE,
    limits.ATTEMPTS,
    limits.TASKS,
    limits.RECOVERY,
    limits.AMPLIFICATION,
    egress.CHECK,
    budgets.CHECK,
    capacity.CHECK,
    recovery.CONVERGES,
    recovery.DETERMINISTIC,
    regions.FENCED,
    regions.LOSS,
)
CHECK_IDS: Final[tuple[str, ...]] = tuple(check.id for check in CHECKS)
TITLES: Final[dict[str, str]] = {check: TEXTS[check].title for check in CHECK_IDS}


def without(*missing: Capability) -> tuple[Checker, ...]:
    """The checks that need none of these. The fault-free execution itself is judged by
    `without("control", "repeats")`: there is nothing to compare it with.

    >>> "recovery.converges" in [check.id for check in without("control")]
    False
    """
    return tuple(check for check in CHECKS if not check.needs & set(missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict over all checks, with every finding in the order of the checks."""

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Every breach, check by check."""
        return tuple(v for finding in self.findings for v in finding.violations)

    def finding(self, check: str, /) -> Finding:
        """The finding of one check; KeyError where it did not take part."""
        for found in self.findings:
            if found.check == check:
                return found
        raise KeyError(check)


def judge(
    evidence: Evidence,
    /,
    *,
    checks: Sequence[Checker] = CHECKS,
    where: Where = "fault",
) -> Judgement:
    """Runs the checks. One that crashes proves nothing either way, so it says unknown.

    `where` is stamped on every violation: "control" for a judgement of the fault-free execution.
    """
    with collector.paused():
        findings = [_asked(check, evidence) for check in checks]
        evidence.facts.graph = None  # it knows the facts as well: only a collection would end both
    if where != "fault":
        findings = [
            replace(f, violations=tuple(replace(v, where=where) for v in f.violations))
            for f in findings
        ]
    return Judgement(
        verdict=overall(f.verdict for f in findings),
        findings=tuple(findings),
    )


def overall(verdicts: Iterable[Verdict], /) -> Verdict:
    """invalid > unknown > valid; where nothing was applicable nothing is known.

    >>> overall(["valid", "not-applicable"]), overall(["valid", "unknown"]), overall([])
    ('valid', 'unknown', 'unknown')
    """
    seen = set(verdicts)
    for verdict in ("invalid", "unknown", "valid"):
        if verdict in seen:
            return verdict
    return "unknown"


def _asked(check: Checker, evidence: Evidence) -> Finding:
    try:
        return check(evidence)
    except Exception as error:
        return Finding(
            check=check.id,
            verdict="unknown",
            reason=f"the check itself broke: {type(error).__name__}",
        )
