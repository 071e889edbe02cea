"""One execution in the simulator, from the first task to the final readings.

tasks ▸ faults strike ▸ settled or out of time ▸ heal ▸ settled ▸ linger ▸ stop ▸ final reads
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from chaoslab.adapters import AgentSource
from chaoslab.backends.api import ExecutionEnd, ExecutionSpec
from chaoslab.backends.common.evidence import final_reads, merged_contract
from chaoslab.backends.common.hub import MS, Hub
from chaoslab.backends.common.outcomes import place
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.sim.guard import Leaks, guarded
from chaoslab.backends.sim.loop import SimLoop
from chaoslab.core import collector
from chaoslab.core.jsons import Json
from chaoslab.history import Writer
from chaoslab.world.cast import cast_of

_CONVERGE_MS = 600_000
_IDLE_STEPS_MAX = 300_000
_SPINS = (
    "the agent spins: it comes back hundreds of thousands of times without asking the world for "
    "anything; let it wait for something, or sleep longer"
)
_STOP_MS = 10_000


Watch = Callable[[Hub, Supervisor, SimLoop], bool]


class _Seen(Exception):
    """Whoever watched has seen enough."""


class _Stepping:
    """Steps of the loop; right after the one in which the last planned fault strikes, `watch` is
    asked, once, whether the rest is of no interest."""

    def __init__(self, hub: Hub, supervisor: Supervisor, loop: SimLoop, watch: Watch | None):
        self._hub, self._supervisor, self.loop = hub, supervisor, loop
        self._watch = watch
        self._wanted = sum(len(one.sites) for one in hub.spec.placed)

    def step(self) -> None:
        """One event, and all that it makes ready."""
        self.loop.step()
        self.look()

    def look(self) -> None:
        """Asks, where all has struck."""
        if self._watch is None or sum(self._hub.nemesis.fired.values()) < self._wanted:
            return
        watch, self._watch = self._watch, None
        if not self._hub.broke and watch(self._hub, self._supervisor, self.loop):
            raise _Seen


def simulate(spec: ExecutionSpec, writer: Writer, /, *, watch: Watch | None = None) -> ExecutionEnd:
    """Runs one execution to its end and leaves its history in `writer`.

    `watch` is asked once, right after the step in which the last of the faults struck, each of
    which is bound to one site then; where it says True the execution stops there. AdapterError
    where the agent cannot even be loaded; everything that happens later is in the result (`broke`).
    """
    spec = replace(spec, contract=merged_contract(spec.contract, spec.workload))
    cast = cast_of(spec.scenario, spec.workload, spec.seed)
    source = AgentSource(spec.agent)
    loop = SimLoop()
    hub = Hub(spec, writer, loop, cast)
    supervisor = Supervisor(hub, source)
    loop.on_exit = lambda leaving: hub.broke.append(
        f"the agent wants to end the interpreter: SystemExit({leaving.code!r})"
    )
    loop.on_error = lambda error: hub.broke.append(
        f"the lab itself failed: {type(error).__name__}: {error} ({place(error)})"
    )
    loop.on_spin = lambda: hub.broke.append(_SPINS)
    stopped = False
    with guarded() as leaks, loop.entered(), collector.paused():
        try:
            source.create()  # a first look, so that a bad adapter is an error and not a history
            supervisor.boot()
            _drive(hub, supervisor, loop, _Stepping(hub, supervisor, loop, watch))
            final_reads(hub, supervisor)
        except _Seen:
            stopped = True
        finally:
            hub.close()
    end = replace(_end(hub, supervisor, loop, writer, leaks), stopped=stopped)
    hub.sever()
    return end


def _drive(hub: Hub, supervisor: Supervisor, loop: SimLoop, stepping: _Stepping) -> None:
    scenario = hub.spec.scenario
    loop.drain()
    stepping.look()
    heal_at = scenario.heal_after_ms * MS
    while not supervisor.settled and not hub.broke:
        due = loop.next_time()
        if due is None or due > heal_at:
            break
        if _over_budget(hub, loop):
            return
        stepping.step()
    if hub.broke:
        return
    if not supervisor.settled and loop.next_time() is not None:
        loop.now_ns = max(loop.now_ns, heal_at)
    supervisor.heal()
    loop.drain()
    converge_ms = _CONVERGE_MS + scenario.workload.idle_ms
    _until(hub, supervisor, stepping, loop.now_ns + converge_ms * MS, settled=True)
    waiting: list[Json] = [w.task.id for w in supervisor.work.values() if w.outcome is None]
    if waiting and loop.next_time() is None:
        hub.recorder.add("event", "lab.deadlock", {"waiting": waiting})
    _until(hub, supervisor, stepping, loop.now_ns + scenario.linger_ms * MS, settled=False)
    supervisor.stop()
    loop.drain()
    _until(hub, supervisor, stepping, loop.now_ns + _STOP_MS * MS, settled=False)


def _until(
    hub: Hub, supervisor: Supervisor, stepping: _Stepping, limit_ns: int, *, settled: bool
) -> None:
    """Steps until a time, or until settled where that is asked for."""
    loop = stepping.loop
    while not hub.broke and not (settled and supervisor.settled):
        due = loop.next_time()
        if due is None:
            return
        if due > limit_ns:
            loop.now_ns = max(loop.now_ns, limit_ns)
            return
        if _over_budget(hub, loop):
            return
        stepping.step()


def _over_budget(hub: Hub, loop: SimLoop) -> bool:
    if len(hub.recorder.ops) >= hub.spec.ops_max:
        if hub.recorder.ops[-1].f != "lab.budget":
            value: dict[str, Json] = {"limit": "ops", "value": hub.spec.ops_max}
            hub.recorder.add("event", "lab.budget", value)
        return True
    hub.idle_steps = 0 if len(hub.recorder.ops) != hub.seen_ops else hub.idle_steps + 1
    hub.seen_ops = len(hub.recorder.ops)
    if hub.idle_steps > _IDLE_STEPS_MAX:
        hub.broke.append(_SPINS)
        return True
    limit_ms = hub.spec.virtual_ms_max + hub.spec.scenario.workload.idle_ms
    if (loop.next_time() or 0) > limit_ms * MS:
        if hub.recorder.ops[-1].f != "lab.budget":
            value = {"limit": "virtual_ms", "value": limit_ms}
            hub.recorder.add("event", "lab.budget", value)
        return True
    return False


def _end(
    hub: Hub, supervisor: Supervisor, loop: SimLoop, writer: Writer, leaks: Leaks
) -> ExecutionEnd:
    broke = leaks.found + hub.broke
    silent = not hub.spec.placed and not broke
    for work in supervisor.work.values():
        if silent and work.raised and work.outcome is None:
            broke.append(
                f"without any fault, the agent's handler of {work.task.id} raised {work.raised}"
            )
            break
    return ExecutionEnd(
        digest=writer.digest(),
        ops=tuple(hub.recorder.ops),
        sites=tuple(hub.sites),
        choices=hub.choices.taken,
        fired=hub.nemesis.fired,
        broke=broke[0] if broke else "",
        notes=tuple(hub.notes),
        virtual_ms=loop.now_ns // MS,
        agent_us=loop.agent_ns // 1_000,
    )
