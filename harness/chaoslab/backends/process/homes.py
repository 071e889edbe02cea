"""Where the regions of an execution live: as processes of this machine, or elsewhere.

`Regional` speaks with a region over the network wherever it is; what only its surroundings can do
(start it, kill it, stop it, cut its line) is asked of its home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chaoslab.regions.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a region listens. `host` and `port` are for the lab, `peer_host` and `peer_port` for
    the other regions, as they see it. Both stay the same for all restarts."""

    host: str
    port: int
    peer_host: str
    peer_port: int


class Homes(Protocol):
    """The surroundings of every region of one execution. A region is named as in the scenario."""

    @property
    def token(self) -> str:
        """What a region wants to hear first of whoever speaks with it."""
        ...

    async def start(self, region: str, /) -> Place:
        """Starts a region, or starts it again on the data and the ports it had; returns when it
        can be spoken with. LabError where it does not get so."""
        ...

    async def kill(self, region: str, /) -> None:
        """SIGKILL; nothing where it is dead already."""
        ...

    async def pause(self, region: str, /) -> None:
        """SIGSTOP, or the like: connections still succeed, and nobody answers."""
        ...

    async def resume(self, region: str, /) -> None:
        """SIGCONT, or the like."""
        ...

    async def cut(self, region: str, /) -> None:
        """Severs the lines between this region and the others, both ways. The lab itself still
        reaches it: whether an agent may is the lab's to know."""
        ...

    async def mend(self, region: str, /) -> None:
        """The lines are whole again."""
        ...

    async def ledger(self, region: str, after: int, /) -> list[Row]:
        """What the region committed, read from its data by the lab as the referee; the region may
        be dead, stopped or cut off."""
        ...

    async def close(self) -> None:
        """Ends every region and removes what it left."""
        ...
