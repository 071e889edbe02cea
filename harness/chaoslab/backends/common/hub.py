"""The simulated universe of one execution: loop, record, services, processes and strikes.

Everything that a call or the supervisor must know of is here; who decides what is elsewhere:
`flight` takes one call through its phases, `supervisor` starts, restarts and fails over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common.choices import Choices
from chaoslab.backends.common.inputs import Inputs
from chaoslab.backends.common.loop import Event, Loop
from chaoslab.core.jsons import Json
from chaoslab.faults import Nemesis, Placed, Site
from chaoslab.history import Recorder, Writer
from chaoslab.world.api import Item
from chaoslab.world.cast import Cast
from chaoslab.world.leases import LeaseService
from chaoslab.world.memory import Copy, MemoryService, Row
from chaoslab.world.model import ModelService
from chaoslab.world.network import NetworkService
from chaoslab.world.tools import ToolService

MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Doing:
    """For which task a call is made."""

    task: str = ""
    session: str = ""
    tenant: str = ""


NOBODY = Doing()
DOING: ContextVar[Doing] = ContextVar("chaoslab_doing", default=NOBODY)


class CopyView(Protocol):
    """What the supervisor sees of a region's copy of memory."""

    @property
    def up(self) -> bool:
        """Whether the region runs."""
        ...

    @property
    def linked(self) -> bool:
        """Whether it can reach what is outside of it."""
        ...

    @property
    def leads(self) -> bool:
        """Whether it takes changes."""
        ...


class Lost(Protocol):
    """A change that a promotion or a return has discarded; `op` is its place on record."""

    @property
    def id(self) -> str:
        """The item."""
        ...

    @property
    def version(self) -> tuple[int, int]:
        """What is gone."""
        ...

    @property
    def op(self) -> int:
        """The number of its commit."""
        ...


Promoted: TypeAlias = Callable[[int, Sequence[Lost]], None]
Joined: TypeAlias = Callable[[Sequence[Lost]], None]


class InFlight(Protocol):
    """A call that is on its way; see `flight`."""

    def killed(self) -> None:
        """Its process died."""
        ...

    def late(self) -> None:
        """Nobody waits for its answer any more."""
        ...


class Keeper(Protocol):
    """Who decides what becomes of processes, regions and tasks; see `supervisor`."""

    def lost(self, process: Process) -> None:
        """A process died."""
        ...

    def suspect_later(self, process: Process) -> None:
        """A process stands still."""
        ...

    def goes_on(self) -> None:
        """A process that stood still does so no more."""
        ...

    def region_down(self, region: str, for_ms: int | None) -> None:
        """Everything in a region dies."""
        ...

    def region_cut(self, region: str, for_ms: int | None) -> None:
        """A region loses its link."""
        ...

    def reported(self, process: Process, outcome: Any) -> None:
        """The agent reports an outcome on its own account."""
        ...


@dataclass(slots=True, eq=False)
class Process:
    """One incarnation of the agent."""

    id: str
    region: str
    slot: int
    alive: bool = True
    parked: list[asyncio.Handle] | None = None
    tasks: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    flights: dict[int, InFlight] = field(default_factory=dict)
    agent: Any = None
    ready: bool = False
    suspected: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    takes_tasks: bool = True

    @property
    def serving(self) -> bool:
        """Whether it may be handed tasks."""
        return self.alive and self.ready and not self.suspected and self.parked is None


class Hub:
    """See the module. `hangs_up`: whoever waits for an answer may leave, and is then not told.
    `begin_ms`: tasks are handed out when all first processes are ready, or so late."""

    hangs_up = False
    begin_ms = 5_000

    def __init__(self, spec: ExecutionSpec, writer: Writer, loop: Loop, cast: Cast) -> None:
        self.spec = spec
        self.loop = loop
        self.cast = cast
        self.recorder = Recorder(writer, lambda: loop.now_ns, limit=spec.ops_max * 2)
        self.choices = Choices(seed=spec.seed, recorded=spec.choices)
        self.nemesis = Nemesis(spec.placed, spec.contract)
        self.leases = LeaseService(self.recorder)
        regions = spec.scenario.regions
        self.memory = MemoryService(
            self.recorder, regions.names, self.leases.session_of, self._ship
        )
        self.tools = ToolService(spec.contract, self.recorder)
        self.network = NetworkService(self.recorder)
        self.model = ModelService(spec.seed, cast.scripts, rewords=spec.scenario.workload.rewords)
        self.processes: list[Process] = []
        self.held: list[tuple[int, Callable[[], None]]] = []
        self.overtaken: dict[str, list[Callable[[], None]]] = {}
        self.sites: dict[Site, None] = {}
        self.attempts: dict[tuple[str, str, str, str], int] = {}
        self.broke: list[str] = []
        self.inputs = Inputs(self.broke)
        self.notes: list[str] = []
        self.idle_steps, self.seen_ops = 0, 0
        self.supervisor: Keeper
        self._jitter_ns = regions_jitter(spec)
        self._ships = 0

    # -- sites and choices

    def site(self, port: str, marker: str, doing: Doing) -> Site:
        """The exact place of a call that begins now."""
        name = (doing.session, doing.task, port, marker)
        nth = self.attempts[name] = self.attempts.get(name, 0) + 1
        site = Site(session=doing.session, task=doing.task, port=port, marker=marker, attempt=nth)
        self.sites[site] = None
        return site

    def travel_ns(self, base_ns: int, name: str) -> tuple[int, int]:
        """How long a message takes, and its place among those of the same time."""
        choice = self.choices.take(name)
        return base_ns + (choice >> 4) * self._jitter_ns, choice & 15

    def strike(self, one: Placed, *, phase: str, site: Site, call: int, process: str) -> None:
        """Records that a fault has struck."""
        self.nemesis.count(one)
        value: dict[str, Json] = {
            "fault": one.number,
            "kind": one.fault.kind,
            "phase": phase,
            "port": site.port,
        }
        if one.fault.after_items:
            value["after_items"] = one.fault.after_items
        if one.fault.scope != "process":
            value["scope"] = one.fault.scope
        if one.fault.kind == "trap" and one.fault.mode != "panic":
            value["mode"] = one.fault.mode
        self.recorder.add(
            "event",
            "nemesis.strike",
            value,
            process=process,
            session=site.session,
            task=site.task,
            call=call,
            marker=site.marker,
            attempt=site.attempt,
        )

    def missed(self, site: Site, waiting: list[Placed]) -> None:
        """Faults that were to strike a call which was refused before it came to their phase. In
        the simulator that is what the schedule has decided."""

    def deadline(
        self, when_ns: int, name: str, late: Callable[[], None], process: Process
    ) -> Event:
        """Ends the waiting of a process at a time; after all else that is due then."""
        return self.loop.schedule(when_ns, 15, name, late, process)

    # -- reachability

    def linked(self, region: str) -> bool:
        """Whether a region can reach what is outside of it."""
        return self.copies[region].linked

    # -- regions; where they are processes of their own, a hub of its own asks those

    @property
    def copies(self) -> Mapping[str, CopyView]:
        """The regions, in the scenario's order."""
        return self.memory.copies

    def fell(self, region: str) -> None:
        """A region is down."""
        self.memory.copies[region].up = False

    def parted(self, region: str) -> None:
        """A region is cut off."""
        self.memory.copies[region].linked = False

    def drop(self, region: str) -> None:
        """A region that cannot be reached counts for no quorum any more."""
        self.memory.drop(region)

    def promote(self, region: str, done: Promoted) -> None:
        """Makes a region the primary; `done` gets the epoch and what is lost by it."""
        done(*self.memory.promote(region))

    def join(self, region: str, done: Joined) -> None:
        """A region is back; `done` gets what it alone had, and is lost."""
        done(self.memory.join(region))

    def standing(self, region: str) -> Sequence[Item]:
        """What can be read in a region."""
        return self.memory.scan(self.memory.copies[region], "", self.loop.now_ns)

    # -- what is held back

    def hold(self, number: int, release: Callable[[], None], for_ms: int | None) -> None:
        """Keeps something back until `for_ms` have passed or the lab heals."""
        entry = (number, release)
        self.held.append(entry)
        if for_ms is not None:
            self.after(for_ms, f"~release/{len(self.held)}", lambda: self.release(entry))

    def release(self, entry: tuple[int, Callable[[], None]]) -> None:
        """Lets one held message go on, once."""
        if entry in self.held:
            self.held.remove(entry)
            self.recorder.add("event", "nemesis.release", {"fault": entry[0]})
            entry[1]()

    def after(self, ms: int, name: str, action: Callable[[], None]) -> None:
        """The lab's own timer; among events of the same time it comes after the agent's."""
        self.loop.schedule(self.loop.now_ns + ms * MS, 16, name, action)

    # -- replication

    def _ship(self, copy: Copy, row: Row) -> None:
        self._ships += 1
        name = f"replicate/{copy.region}/{row.version[0]}.{row.version[1]}"
        travel, tie = self.travel_ns(self.spec.scenario.regions.lag_ms * MS, name)
        epoch = row.version[0]

        def arrive() -> None:
            self._ships -= 1
            if copy.up and copy.linked and not copy.leads and copy.epoch <= epoch:
                source = next(
                    (c for c in self.memory.copies.values() if c.leads and c.epoch == epoch), None
                )
                if source is not None and source.linked and source.up:
                    copy.put(row)
                    copy.fences |= source.fences

        self.loop.schedule(self.loop.now_ns + travel, tie, name, arrive)

    @property
    def replicating(self) -> bool:
        """Whether changes are on their way to replicas."""
        return self._ships > 0

    # -- processes

    def kill(self, process: Process, why: str) -> None:
        """Nothing of the process runs any more; what it waited for is indeterminate."""
        if not process.alive:
            return
        process.alive = False
        process.parked = None
        self.recorder.add(
            "event", "process.kill", {"region": process.region, "why": why}, process=process.id
        )
        for call in sorted(process.flights):
            process.flights[call].killed()
        process.flights.clear()
        self.supervisor.lost(process)

    def pause(self, process: Process, for_ms: int | None) -> None:
        """The process stands still until `for_ms` have passed or the lab heals."""
        if not process.alive or process.parked is not None:
            return
        process.parked = []
        self.recorder.add("event", "process.pause", {"region": process.region}, process=process.id)
        if for_ms is not None:
            self.after(for_ms, f"~resume/{process.id}", lambda: self.resume(process))
        self.supervisor.suspect_later(process)

    def resume(self, process: Process) -> None:
        """A paused process goes on, unaware of the time that passed."""
        if process.alive and process.parked is not None:
            self.recorder.add(
                "event", "process.resume", {"region": process.region}, process=process.id
            )
            self.loop.unpark(process)
            self.supervisor.goes_on()

    def close(self) -> None:
        """Ends the execution: nothing of the agent may ever run again, not even at collection."""
        for process in self.processes:
            process.alive = False
            self.loop.bury(process)
            process.flights.clear()
            process.agent = None
        self.held.clear()
        self.loop.shut()

    def sever(self) -> None:
        """Lets go of the record and the services: the immortal tasks of the dead point here."""
        self.recorder.ops = []
        self.sites, self.overtaken = {}, {}
        self.processes = []
        del self.memory, self.tools, self.model, self.leases, self.network, self.supervisor


def regions_jitter(spec: ExecutionSpec) -> int:
    """The unit of a message's extra delay, in ns; a choice adds 0 to 15 of them."""
    return spec.scenario.schedule.jitter_ms * MS // 4
