"""The deterministic simulator: virtual time, keyed decisions, uncatchable death."""

from chaoslab.backends.sim.execution import merged_contract, simulate

__all__ = ["merged_contract", "simulate"]
