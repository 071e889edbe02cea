"""What an agent promises: values, the strict loader, and markers."""

from chaoslab.contract.markers import marker_of
from chaoslab.contract.model import (
    DEFAULT_LIMITS,
    Contract,
    Limits,
    Promise,
    Resume,
    Role,
    ToolContract,
    default_contract,
)

__all__ = [
    "DEFAULT_LIMITS",
    "Contract",
    "Limits",
    "Promise",
    "Resume",
    "Role",
    "ToolContract",
    "default_contract",
    "marker_of",
]
