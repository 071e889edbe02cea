"""From a scenario's faults to exact sites, and from sites to strikes.

A fault names its site as a pattern or by role; the fault-free run says which sites there are.
`place` binds each fault to exact sites before anything is struck, in order of name and never of
time, so that a schedule cannot change what a scenario means. A fault whose site does not occur
without faults (a second try, a read during recovery) stays a pattern and strikes the first
match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from chaoslab.contract import Contract
from chaoslab.faults.model import NONE, Fault, Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One fault of the scenario (`number`, from 0) bound to sites; no sites: still a pattern."""

    number: int
    fault: Fault
    sites: tuple[Site, ...] = ()
    eligible: int = 0


def place(
    faults: Sequence[Fault], sites: Iterable[Site], contract: Contract, /
) -> tuple[Placed, ...]:
    """Binds faults to the sites of the fault-free run."""
    ordered = sorted(set(sites), key=_order)
    out = []
    for number, fault in enumerate(faults):
        first = replace(fault, attempt=1)
        found = [s for s in ordered if matches(first, s, contract)]
        struck = found if fault.every else found[:1]
        out.append(
            Placed(
                number=number,
                fault=fault,
                sites=tuple(site for one in struck for site in lasting(fault, one)),
                eligible=len(found),
            )
        )
    return tuple(out)


def lasting(fault: Fault, site: Site, /) -> list[Site]:
    """The tries of the action at a site that a fault strikes, the first one first.

    >>> site = Site(session="s1", task="s1-t1", port="tools.refund", marker="o-1", attempt=1)
    >>> lost = Fault(at="tools.refund", phase="after-commit", kind="reset", attempt=2, times=3)
    >>> [one.attempt for one in lasting(lost, site)]
    [2, 3, 4]
    """
    return [replace(site, attempt=fault.attempt + nth) for nth in range(fault.times)]


def matches(fault: Fault, site: Site, contract: Contract, /) -> bool:
    """Whether a site fits a fault's pattern."""
    return (
        fault.attempt == site.attempt
        and fault.session in ("", site.session or NONE)
        and fault.task in ("", site.task or NONE)
        and fault.marker in ("", site.marker or NONE)
        and at_port(fault.at, site.port, contract)
        # A question to a guest, which names no action, does not reach the code that traps.
        and (fault.kind != "trap" or bool(site.marker))
    )


def at_port(at: str, port: str, contract: Contract, /) -> bool:
    """Whether a port is what a place or role names.

    >>> at_port("tools:*", "tools.refund", Contract())
    True
    """
    group, colon, role = at.partition(":")
    if not colon:
        return at == port
    head, _, name = port.partition(".")
    if head != group or port == "wasm.instantiate" or name.endswith(".lookup"):
        return False
    return role == "*" or role in contract.tool(name).roles()


@dataclass(slots=True)
class Nemesis:
    """Hands out strikes, each exactly once, and counts them."""

    placed: Sequence[Placed]
    contract: Contract
    healed: bool = False
    fired: dict[int, int] = field(default_factory=dict)
    _exact: dict[Site, list[Placed]] = field(default_factory=dict)
    _late: list[Placed] = field(default_factory=list)

    def __post_init__(self) -> None:
        for one in self.placed:
            for site in one.sites:
                self._exact.setdefault(site, []).append(one)
            if not one.sites:
                self._late.append(one)

    def at(self, site: Site, /) -> list[Placed]:
        """The faults that wait at this site; asked once, when the call begins."""
        if self.healed:
            return []
        found = self._exact.pop(site, [])
        for one in tuple(self._late):
            if matches(one.fault, site, self.contract):
                self._late.remove(one)
                found.append(one)
                for later in lasting(one.fault, site)[1:]:
                    self._exact.setdefault(later, []).append(one)
        return found

    def postpone(self, one: Placed, site: Site, /) -> None:
        """A call was refused before the fault at its site could strike: it waits for the next try
        of the same action. One that lasts for several tries waits there already."""
        if one.fault.times == 1 and not self.healed:
            again = replace(site, attempt=site.attempt + 1)
            self._exact.setdefault(again, []).append(one)

    def left(self) -> list[tuple[int, tuple[Site, ...]]]:
        """The faults that have not met their call yet: their numbers, and where they wait."""
        exact: dict[int, list[Site]] = {}
        for site, ones in self._exact.items():
            for one in ones:
                exact.setdefault(one.number, []).append(site)
        waiting = [(number, tuple(sites)) for number, sites in exact.items()]
        return sorted([*waiting, *((one.number, ()) for one in self._late)], key=lambda x: x[0])

    def count(self, one: Placed, /) -> None:
        """Notes that a fault has struck."""
        self.fired[one.number] = self.fired.get(one.number, 0) + 1


def _order(site: Site) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    return tuple(
        _natural(x) for x in (site.session, site.task, site.port, site.marker, str(site.attempt))
    )


@lru_cache(maxsize=65_536)
def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.split(r"(\d+)", text)
    return tuple((1, int(p), "") if p.isdigit() else (0, 0, p) for p in parts)
