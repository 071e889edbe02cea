"""The hub of an execution on real processes: a fault that kills or pauses does it to the system's
process group, and no message travels longer than it really does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common.hub import CopyView, Hub, Joined, Process, Promoted
from chaoslab.backends.common.loop import Event
from chaoslab.backends.process.children import Child, kill_strays, signal_strays
from chaoslab.backends.process.loop import LiveLoop
from chaoslab.backends.process.regional import Regional
from chaoslab.faults import Placed, Site
from chaoslab.history import Writer
from chaoslab.world.api import Item
from chaoslab.world.cast import Cast


class LiveHub(Hub):
    """See the module. `run` names the execution in the environment of everything it starts."""

    hangs_up = True

    def __init__(
        self, spec: ExecutionSpec, writer: Writer, loop: LiveLoop, cast: Cast, run: str
    ) -> None:
        # Nothing is drawn: what the simulator decides by a choice, here really happens.
        super().__init__(replace(spec, choices={}), writer, loop, cast)
        assert spec.target is not None
        # An interpreter takes its time on a busy machine, and a race of which only one side has
        # begun is none.
        self.begin_ms = spec.target.ready_ms * spec.target.speed
        self.live = loop
        self.run = run
        self.children: dict[str, list[Child]] = {}
        self.regional: Regional | None = None  # where regions are processes of their own

    def travel_ns(self, base_ns: int, name: str) -> tuple[int, int]:
        """Messages travel by themselves; a copy of memory is as far behind as the scenario says."""
        return base_ns if name.startswith("replicate/") else 0, 0

    def missed(self, site: Site, waiting: list[Placed]) -> None:
        """Here nobody has decided who comes first, so what lost a race meets the next try."""
        for one in waiting:
            self.nemesis.postpone(one, site)

    def deadline(
        self, when_ns: int, name: str, late: Callable[[], None], process: Process
    ) -> Event:
        """Where the machine kept the lab from what was due meanwhile, that comes first: an answer
        that only the lab held up is not late."""

        def expired() -> None:
            stood_ns = self.live.stood_still_ns
            if first.cancelled:
                return
            if stood_ns:
                self.loop.schedule(self.loop.now_ns + stood_ns, 15, name, expired, process)
            else:
                late()

        first = super().deadline(when_ns, name, expired, process)
        return first

    # -- regions

    @property
    def copies(self) -> Mapping[str, CopyView]:
        """The regions, in the scenario's order."""
        return super().copies if self.regional is None else self.regional.copies

    def fell(self, region: str) -> None:
        """A region is down."""
        if self.regional is None:
            super().fell(region)
        else:
            self.regional.fell(region)

    def parted(self, region: str) -> None:
        """A region is cut off."""
        if self.regional is None:
            super().parted(region)
        else:
            self.regional.parted(region)

    def drop(self, region: str) -> None:
        """A region counts for no quorum any more."""
        if self.regional is None:
            super().drop(region)
        else:
            self.regional.drop(region)

    def promote(self, region: str, done: Promoted) -> None:
        """Makes a region the primary."""
        if self.regional is None:
            super().promote(region, done)
        else:
            self.regional.promote(region, done)

    def join(self, region: str, done: Joined) -> None:
        """A region is back."""
        if self.regional is None:
            super().join(region, done)
        else:
            self.regional.join(region, done)

    def standing(self, region: str) -> Sequence[Item]:
        """What can be read in a region at the end."""
        return super().standing(region) if self.regional is None else self.regional.standing()

    @property
    def replicating(self) -> bool:
        """Whether a promotion or a return is under way."""
        return super().replicating or (self.regional is not None and self.regional.busy > 0)

    # -- processes

    def kill(self, process: Process, why: str) -> None:
        """SIGKILL to the process, its group and whatever left the group; then the record."""
        if not process.alive:
            return
        for child in self.children.pop(process.id, []):
            child.close()
        kill_strays(self.run, process.id)
        super().kill(process, why)
        self.loop.bury(process)

    def strike(self, one: Placed, *, phase: str, site: Site, call: int, process: str) -> None:
        """Records a strike; one that leaves a request without any answer also says how long."""
        super().strike(one, phase=phase, site=site, call=call, process=process)
        target = self.spec.target
        if one.fault.kind == "silence" and target is not None:
            silence_ms = target.silence_ms * target.speed
            self.after(silence_ms, f"~silence/{call}", lambda: self._end_silence(process, call))

    def _end_silence(self, process: str, call: int) -> None:
        for one in self.processes:
            flight = one.flights.get(call) if one.id == process else None
            if flight is not None:
                flight.late()

    def pause(self, process: Process, for_ms: int | None) -> None:
        """SIGSTOP, until `for_ms` have passed or the lab heals."""
        if process.alive and process.parked is None:
            self._signal(process, signal.SIGSTOP)
        super().pause(process, for_ms)

    def resume(self, process: Process) -> None:
        """SIGCONT."""
        if process.alive and process.parked is not None:
            self._signal(process, signal.SIGCONT)
        super().resume(process)

    def _signal(self, process: Process, number: int) -> None:
        for child in self.children.get(process.id, []):
            child.signal(number)
        signal_strays(self.run, process.id, number)

    def close(self) -> None:
        """Ends everything that was started."""
        for children in self.children.values():
            for child in children:
                child.close()
        self.children.clear()
        super().close()
        kill_strays(self.run)
