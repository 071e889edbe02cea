"""Verdicts from a history: pure functions of the evidence, and their words for people."""

from chaoslab.check.because import because
from chaoslab.check.describe import explain
from chaoslab.check.limits import recovery_ms
from chaoslab.check.model import (
    Capability,
    Check,
    Checker,
    Evidence,
    Finding,
    Verdict,
    Violation,
    conclude,
)
from chaoslab.check.recovery import goal
from chaoslab.check.registry import CHECK_IDS, CHECKS, TITLES, Judgement, judge, overall, without

__all__ = [
    "CHECKS",
    "CHECK_IDS",
    "TITLES",
    "Capability",
    "Check",
    "Checker",
    "Evidence",
    "Finding",
    "Judgement",
    "Verdict",
    "Violation",
    "because",
    "conclude",
    "explain",
    "goal",
    "judge",
    "overall",
    "recovery_ms",
    "without",
]
