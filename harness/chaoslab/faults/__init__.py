"""What can go wrong, where, and when: faults, sites, and the nemesis that strikes them."""

from chaoslab.faults.model import (
    KINDS,
    NONE,
    PHASES,
    PORTS,
    ROLES,
    Fault,
    Phase,
    Site,
    exact,
    problem,
)
from chaoslab.faults.plan import Nemesis, Placed, at_port, lasting, matches, place

__all__ = [
    "KINDS",
    "NONE",
    "PHASES",
    "PORTS",
    "ROLES",
    "Fault",
    "Nemesis",
    "Phase",
    "Placed",
    "Site",
    "at_port",
    "exact",
    "lasting",
    "matches",
    "place",
    "problem",
]
