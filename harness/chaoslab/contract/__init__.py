"""What an agent promises: values, the strict loader, and markers."""

from chaoslab.contract.markers import marker_of
from chaoslab.contract.model import (
    DEFAULT_LIMITS,
    Attribute,
    Budget,
    Capacity,
    Contract,
    Egress,
    Invariant,
    Limits,
    MemoryClass,
    Promise,
    Resume,
    Role,
    ToolContract,
    default_contract,
)

__all__ = [
    "DEFAULT_LIMITS",
    "Attribute",
    "Budget",
    "Capacity",
    "Contract",
    "Egress",
    "Invariant",
    "Limits",
    "MemoryClass",
    "Promise",
    "Resume",
    "Role",
    "ToolContract",
    "default_contract",
    "marker_of",
]
