"""What every backend shares: the hub of an execution, a call's way through its phases, the world's
ports, and the supervisor that starts, restarts, hands out and heals."""

from chaoslab.backends.common.evidence import merged_contract

__all__ = ["merged_contract"]
