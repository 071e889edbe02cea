"""The only door to the wall clock outside the backends; what it says never enters a digest."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

Day = date  # the type, for modules that speak of days and never ask which one it is

# The simulator's guard replaces time.monotonic_ns and its like while an agent runs, so the
# real functions are kept under names of our own.
_monotonic_ns = time.monotonic_ns


def monotonic_ms() -> int:
    """Milliseconds on a clock that never goes back, for durations only."""
    return _monotonic_ns() // 1_000_000


def monotonic_ns() -> int:
    """Nanoseconds on a clock that never goes back, for durations only."""
    return _monotonic_ns()


def utc_stamp() -> str:
    """Now, as a folder name: 20260131-235959."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def utc_now() -> str:
    """Now, to the second: 2026-01-31T23:59:59Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_today() -> date:
    """Today, where the sun is over Greenwich: the same day on every machine of a pipeline."""
    return datetime.now(UTC).date()
