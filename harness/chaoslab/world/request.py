"""Who asks: the part of every request that services see, whatever the port.

Services are synchronous and know neither time nor faults: `apply` decides and records what was
committed; the port around it adds delays, losses and deadlines.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Identity of one call. `call` is the number of its invoke, `now_ns` the time of arrival."""

    process: str
    region: str
    session: str
    task: str
    tenant: str
    call: int
    now_ns: int
