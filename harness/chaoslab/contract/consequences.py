"""What a breach costs, as the contract says it: money, something a customer sees, or neither.

A report shows first what costs most. Who writes a contract knows which tool moves money; what
nobody said is judged by what the check is about, and never put lower than it may be.

>>> consequence_of(Contract(), "memory.lost-update", "")
'internal'
>>> consequence_of(Contract(consequences={"memory.lost-update": "money"}), "memory.lost-update", "")
'money'
"""

from __future__ import annotations

from typing import Final, cast, get_args

from chaoslab.contract.model import Consequence, Contract

CONSEQUENCES: Final[tuple[Consequence, ...]] = get_args(Consequence)

# Checks whose breaches stay inside, unless the contract says otherwise. All others are about what
# a customer gets, or what somebody else gets to see.
_INSIDE: Final = ("memory.", "lifecycle.", "limits.", "capacity.", "recovery.deterministic")
_SEEN: Final = ("memory.access",)
_MONEY: Final = ("budgets",)


def consequence_of(contract: Contract, check: str, tool: str, /) -> Consequence:
    """What a breach of a check costs: the word of `[consequences]` for the check, else that of the
    rule or the tool that it is about, else the check's own."""
    own = contract.consequences.get(check)
    for one in contract.invariants:
        if check == f"invariant.{one.name}":
            own = own or one.consequence
    if tool in contract.tools:
        own = own or contract.tools[tool].consequence
    if own:
        return cast(Consequence, own)
    if check.startswith(_MONEY):
        return "money"
    if check.startswith(_INSIDE) and check not in _SEEN:
        return "internal"
    return "customer-visible"


def rank(consequence: str, /) -> int:
    """Its place in a report: the dearest first."""
    known: tuple[str, ...] = CONSEQUENCES
    return known.index(consequence) if consequence in known else len(known)
