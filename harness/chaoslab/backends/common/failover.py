"""What becomes of regions: given up, promoted, and back again. The supervisor's other half.

A promotion or a return takes no time in the simulator, and a while where regions are processes of
their own. So what follows it is a continuation: the hub calls it at once, or when the processes
have answered.
"""

from __future__ import annotations

from collections.abc import Sequence

from chaoslab.backends.common.hub import Hub, Lost, Process
from chaoslab.backends.common.work import Work
from chaoslab.core.jsons import Json
from chaoslab.scenario.model import Regions


class Failover:
    """See the module. The rest of the supervisor provides what is declared here."""

    hub: Hub
    home: str
    work: dict[str, Work]
    _regions: Regions
    _returning: bool

    def start(self, region: str, slot: int, *, fresh: bool = False) -> None:
        """A new incarnation in a region."""
        raise NotImplementedError

    def _assign_waiting(self) -> None:
        raise NotImplementedError

    def _drop_holder(self, process: Process) -> None:
        raise NotImplementedError

    def _serve_again(self) -> None:
        raise NotImplementedError

    def suspect_later(self, process: Process) -> None:
        """A process that does not answer for too long is given up."""

        def check() -> None:
            if process.alive and process.parked is not None and not process.suspected:
                self._give_up(process.region, [process])

        self.hub.after(self._regions.failover_after_ms, f"~suspect/{process.id}", check)

    def goes_on(self) -> None:
        """What was to be handed out while nobody could take it is handed out now."""
        self._assign_waiting()

    def region_down(self, region: str, for_ms: int | None) -> None:
        """Everything in a region dies."""
        if not self.hub.copies[region].up:
            return
        self.hub.fell(region)
        self.hub.recorder.add("event", "region.down", {"region": region})
        for process in self._living(region):
            self.hub.kill(process, "region down")
        self._lost_region(region, for_ms)

    def region_cut(self, region: str, for_ms: int | None) -> None:
        """A region loses its link to everything outside of it."""
        if not self.hub.copies[region].linked:
            return
        self.hub.parted(region)
        self.hub.recorder.add("event", "region.partition", {"region": region})
        self._lost_region(region, for_ms)

    def _lost_region(self, region: str, for_ms: int | None) -> None:
        def check() -> None:
            if not self._usable(region):
                self._give_up(region, self._living(region))

        self.hub.after(self._regions.failover_after_ms, f"~suspect/{region}", check)
        if for_ms is not None:
            self.hub.after(for_ms, f"~join/{region}", lambda: self.join(region))

    def _give_up(self, region: str, processes: list[Process]) -> None:
        others = [n for n, c in self.hub.copies.items() if n != region and c.up and c.linked]
        healthy = any(p.serving for p in self._living(region) if p not in processes)
        for process in processes:
            process.suspected = True
        if region == self.home and others and not healthy:
            self._promote(others[0], processes)
            return
        if not self._usable(region):
            self.hub.drop(region)
        self._replace(processes)

    def _promote(self, region: str, processes: list[Process]) -> None:
        self.home = region

        def promoted(epoch: int, tail: Sequence[Lost]) -> None:
            value: dict[str, Json] = {"region": region, "epoch": epoch, "lost": _lost(tail)}
            self.hub.recorder.add("event", "region.promote", value)
            self._replace(processes)

        self.hub.promote(region, promoted)

    def _replace(self, processes: list[Process]) -> None:
        """Whoever was given up is replaced, and what it held is handed out again."""
        replaced = False
        if not any(p.alive and not p.suspected for p in self._living(self.home)):
            for slot in range(self._regions.processes):
                self.start(self.home, slot)
            replaced = True
        for process in processes:
            self._drop_holder(process)
        if not replaced:
            self._assign_waiting()

    def _usable(self, region: str) -> bool:
        copy = self.hub.copies[region]
        return copy.up and copy.linked

    def join(self, region: str) -> None:
        """A region comes back and follows the primary."""
        if self._usable(region):
            return

        def joined(tail: Sequence[Lost]) -> None:
            value: dict[str, Json] = {"region": region, "lost": _lost(tail)}
            self.hub.recorder.add("event", "region.join", value)
            wanted = region == self.home or self._regions.active == "all"
            if wanted and not self._living(region):
                for slot in range(self._regions.processes):
                    self.start(region, slot)
            if self._returning and region == self.home:
                self._returning = False
                self._serve_again()

        self.hub.join(region, joined)

    def _living(self, region: str) -> list[Process]:
        return [p for p in self.hub.processes if p.region == region and p.alive]


def _lost(tail: Sequence[Lost]) -> list[Json]:
    return [{"id": row.id, "version": list(row.version), "op": row.op} for row in tail]
