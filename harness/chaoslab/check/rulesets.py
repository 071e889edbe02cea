"""Which checks count under which ruleset, so that a new version of the lab breaks no pipeline.

A contract pins a ruleset. A check that came later is asked all the same, and what it finds is
shown as a warning, until the contract is raised to its ruleset or requires it by name.

>>> counts("effects.delivery", "2026.1")
True
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from chaoslab.contract.loader import RULESETS

# The ruleset with which a check came; what is not named here was there from the first.
SINCE: Final[dict[str, str]] = {}


def since(check: str, /) -> str:
    """The ruleset from which on a check counts. A team's own rules always count."""
    return SINCE.get(check, RULESETS[0])


def counts(check: str, ruleset: str, /, *, required: Collection[str] = ()) -> bool:
    """Whether a check counts for a contract with this ruleset and these required checks."""
    return check in required or RULESETS.index(since(check)) <= RULESETS.index(ruleset)
