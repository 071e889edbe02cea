"""The only door to the wall clock outside the backends; what it says never enters a digest."""

from __future__ import annotations

import time
from datetime import UTC, datetime

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
