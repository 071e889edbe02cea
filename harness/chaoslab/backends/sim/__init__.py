"""The deterministic simulator: virtual time, keyed decisions, uncatchable death."""

from chaoslab.backends.sim.execution import simulate
from chaoslab.backends.sim.guard import guarded

__all__ = ["guarded", "simulate"]
