"""What a drawn fault can do at a place: of each kind, in each phase, and how long.

What the lab keeps back longer than a service knows a key comes about twice there, whatever an
agent does: it has long had its answer, and cannot call back what is still on its way. That would
be a mistake of nobody. So nothing is kept back for longer than keys are known; where the lab heals
later than that, what would last until then has an end of its own.

>>> days = ways_at("tools.ship", heals_ms=700_000_000, keeps_ms=86_400_000)
>>> sorted({way.kind for ways in days for way in ways if way.kind in ("hold", "reorder")})
['hold']
>>> {way.for_ms is None for ways in days for way in ways if way.kind == "hold"}
{False}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from chaoslab.backends.common import merged_contract
from chaoslab.faults import KINDS, PHASES, Fault, problem
from chaoslab.faults.model import TRAP_MODES
from chaoslab.run.model import RunSpec

Lengths = tuple[tuple[str, tuple[int, ...]], ...]

ACTING: Final = ("tools", "wasm", "network")  # where an agent does something to the world
FOR_EVER_MS: Final = 2**62
# How long things last, in orders that matter to an agent: less than it waits for an answer, more
# than that, and more than a lease or a failover takes.
LENGTHS_MS: Final = {
    "delay": (1_500, 8_000, 40_000),
    "duplicate": (1_500, 20_000),
    "hold": (5_000, 40_000),
    "pause": (2_000, 12_000, 60_000),
    "partition": (10_000, 90_000),
}
_PLAIN: Final[Lengths] = tuple(LENGTHS_MS.items())
UNTIL_HEALED: Final = ("hold", "pause", "partition")  # where for_ms is left out
_REGION_MS: Final = 90_000
# In a world of days nothing stands still until its end.
_HEALS_SOON_MS: Final = 3_600_000


def keeps_ms(spec: RunSpec, /) -> int:
    """How long keys are known at least: as the services have it, and as the contract says."""
    contract = merged_contract(spec.contract, spec.workload)
    services = (one.contract for one in spec.workload.services.values())
    tools = (tool for tool in (*services, *contract.tools.values()) if tool.keys)
    return min((tool.key_retention_ms for tool in tools), default=FOR_EVER_MS)


def ends_ms(spec: RunSpec, /) -> int | None:
    """After how long what lasts until the lab heals has to end by itself, where that is far too
    late; else None."""
    soon_ms = min(_HEALS_SOON_MS, keeps_ms(spec))
    return soon_ms if spec.scenario.heal_after_ms > soon_ms else None


@lru_cache(maxsize=4_096)
def ways_at(
    at: str,
    /,
    *,
    regions: bool = False,
    heals_ms: int,
    keeps_ms: int,
    lengths: Lengths = _PLAIN,
    items: tuple[int, ...] = (1, 2),
) -> tuple[tuple[Fault, ...], ...]:
    """A group for each kind, in it each phase and way. `regions`: whether there is more than one;
    `heals_ms`: when the lab heals; `keeps_ms`: how long keys are known; `items`: after how many
    items a group of writes is torn."""
    late = heals_ms > keeps_ms
    ends = heals_ms > min(_HEALS_SOON_MS, keeps_ms)
    known = dict(lengths)
    found = []
    for kind in KINDS:
        # Whatever overtakes a request that waits may never come.
        if (kind == "partition" and not regions) or (
            kind == "reorder" and late and at.startswith(ACTING)
        ):
            continue
        fitting = tuple(min(ms, keeps_ms) for ms in known.get(kind, ()))
        ways = tuple(
            dict.fromkeys(
                way
                for phase in PHASES
                for way in _ways(Fault(at=at, phase=phase, kind=kind), fitting, items, ends)
                if not problem(way) and (regions or way.scope != "region")
            )
        )
        if ways:
            found.append(ways)
    return tuple(found)


def _ways(
    plain: Fault, lengths: Sequence[int], items: Sequence[int], ends: bool
) -> Iterator[Fault]:
    if plain.kind == "trap":
        yield from (replace(plain, mode=mode) for mode in TRAP_MODES)
        return
    grouped = [plain]
    if plain.phase == "mid-write":
        grouped = [replace(plain, after_items=count) for count in items]
    for fault in grouped:
        if fault.kind != "delay" and not (ends and fault.kind in UNTIL_HEALED):
            yield fault
        yield from (replace(fault, for_ms=length) for length in lengths)
        if fault.kind == "crash":
            yield replace(fault, scope="region", for_ms=_REGION_MS if ends else None)
