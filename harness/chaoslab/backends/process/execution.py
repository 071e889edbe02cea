"""One execution on real processes, from the reset to the final reads.

reset ▸ services ▸ agent ▸ tasks, faults ▸ settled or out of time ▸ heal ▸ settled ▸ linger ▸
stop ▸ inspect ▸ final reads ▸ nothing of it runs any more
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import cast

from chaoslab.backends.api import Answering, ExecutionEnd, ExecutionSpec
from chaoslab.backends.common.evidence import final_reads, merged_contract
from chaoslab.backends.common.hub import MS
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.process.children import many_files, reaped
from chaoslab.backends.process.hub import LiveHub
from chaoslab.backends.process.lab import LiveLab, words_of
from chaoslab.backends.process.ledgers import Ledgers
from chaoslab.backends.process.leftovers import Home, sweep
from chaoslab.backends.process.loop import LiveLoop
from chaoslab.backends.process.regions import regions_needed, started
from chaoslab.backends.process.server import serving
from chaoslab.backends.process.services import Services
from chaoslab.backends.process.setting import Setting
from chaoslab.contract.target import Target
from chaoslab.core.errors import ChaosError
from chaoslab.core.jsons import Json
from chaoslab.history import Writer
from chaoslab.serve.floats import without_floats
from chaoslab.serve.holes import filled
from chaoslab.world.cast import cast_of

_POLL_S = 0.02
_STATE_BYTES_MAX = 64 << 20
_TRIES_MAX = 10


def run_process(
    spec: ExecutionSpec, writer: Writer, /, *, answering: Answering | None = None
) -> ExecutionEnd:
    """Runs one execution on real processes and leaves its history in `writer`; `answering`
    replaces the scripted model.

    ChaosError where the agent cannot even be started; what happens later is in the result.
    """
    assert spec.target is not None
    _prepare()
    return asyncio.run(_Execution(spec, writer, spec.target, answering).run())


@cache
def _prepare() -> None:
    """Once for each interpreter."""
    sweep()
    many_files()


class _Execution:
    def __init__(
        self,
        spec: ExecutionSpec,
        writer: Writer,
        target: Target,
        answering: Answering | None = None,
    ) -> None:
        self.spec = replace(spec, contract=merged_contract(spec.contract, spec.workload))
        self.target, self.writer, self.answering = target, writer, answering
        self.broke: list[str] = []

    async def run(self) -> ExecutionEnd:
        """The whole of it; whatever happens, nothing that it started is left."""
        # The name is fresh, so that nothing of another execution can be taken for this one's.
        home = Home(f"r{secrets.token_hex(8)}")
        try:
            return await self._run(home)
        finally:
            home.close()

    async def _run(self, home: Home) -> ExecutionEnd:
        spec, target, self.home = self.spec, self.target, home
        if target.template:
            home.fill(target.template)
        cwd = Path(filled(target.cwd or ".", {"state": str(home.path)}))
        cast = cast_of(spec.scenario, spec.workload, spec.seed)
        loop = LiveLoop(target.speed, self._failed)
        hub = self.hub = LiveHub(spec, self.writer, loop, cast, home.run)
        self.loop, self.broke = loop, hub.broke
        setting = self.setting = Setting(target, hub, cwd=cwd, state=home.path)
        self.supervisor = setting.supervisor = Supervisor(hub, setting)
        services = Services(setting, spec.contract)
        try:
            await self._serve(setting, services)
            if hub.regional is not None:
                await hub.regional.finish(self.supervisor.home)
            final_reads(hub, self.supervisor)
        except ChaosError as error:
            self.broke.append(str(error))
        finally:
            await services.close()
            if hub.regional is not None:
                await hub.regional.close()
            hub.close()
            await reaped()
            self._weigh(home.path)
        return self._end()

    async def _serve(self, setting: Setting, services: Services) -> None:
        contract = await services.start()
        sources = services.sources(contract)
        hub = self.hub
        ledgers = Ledgers(hub.recorder, contract, sources)
        setting.lab = lab = LiveLab(
            hub, self.supervisor, self.target, contract, ledgers, self.answering
        )
        async with serving(lab, services.servers) as address:
            setting.address = address
            holes = setting.holes_of("lab")
            if self.target.reset:
                await setting.command(
                    self.target.reset, holes, setting.env_of("lab", holes), "reset"
                )
            await self._baseline(ledgers)
            if regions_needed(self.spec, self.target):
                hub.regional = await started(hub, setting, self.home)
            self.supervisor.boot()
            await self._drive()
            await self._finish(ledgers)

    async def _baseline(self, ledgers: Ledgers) -> None:
        """What stands before anything ran is no effect of this execution; where it is one of its
        actions, state of an earlier execution has leaked into it."""
        for tool, markers in (await ledgers.baseline()).items():
            known = [m for m in markers if self.setting.lab.attribution.planned(tool, m)]
            if known:
                self.broke.append(
                    f"state of an earlier execution is still there: the source of {tool} has an "
                    f"effect for {known[0]} before anything ran; next: name a `reset` command in "
                    "[agent], or let the service keep its data below {state}"
                )

    async def _drive(self) -> None:
        scenario, hub = self.spec.scenario, self.hub
        await self._until_handed_out()  # an agent that is slow to start loses no time for faults
        heal_ms = min(scenario.heal_after_ms, self.target.timeout_ms * self.target.speed // 2)
        await self._until(hub.loop.now_ns + heal_ms * MS)
        if self.broke:
            return
        self.supervisor.heal()
        converge_ms = (self.target.timeout_ms + scenario.workload.idle_ms) * self.target.speed
        await self._until(hub.loop.now_ns + converge_ms * MS)
        waiting: list[Json] = [
            w.task.id for w in self.supervisor.work.values() if w.outcome is None
        ]
        if waiting:
            hub.recorder.add("event", "lab.timeout", {"waiting": waiting})
        linger_ms = min(scenario.linger_ms, self.target.linger_ms * self.target.speed)
        await asyncio.sleep(self.loop.real_s(linger_ms * MS))

    async def _until_handed_out(self) -> None:
        """Waits until the first task is on its way, or nothing can be waited for any more."""
        limit_ns = self.hub.loop.now_ns + 3 * self.target.ready_ms * self.target.speed * MS
        while not self.broke and self.loop.now_ns < limit_ns:
            if any(work.deliveries for work in self.supervisor.work.values()):
                return
            await asyncio.sleep(_POLL_S)

    async def _until(self, limit_ns: int) -> None:
        """Waits until a time, or until settled."""
        while not self.broke and not self.supervisor.settled and self.loop.now_ns < limit_ns:
            if len(self.hub.recorder.ops) >= self.spec.ops_max:
                value: dict[str, Json] = {"limit": "ops", "value": self.spec.ops_max}
                self.hub.recorder.add("event", "lab.budget", value)
                self.broke.append(
                    f"the agent floods the lab: more than {self.spec.ops_max} entries"
                )
                return
            if not self.spec.placed and self._hopeless():
                return
            await asyncio.sleep(_POLL_S)

    def _hopeless(self) -> bool:
        """Whether the agent fails at a task again and again though nothing strikes it."""
        return any(
            w.outcome is None and w.raised and w.deliveries > _TRIES_MAX
            for w in self.supervisor.work.values()
        )

    async def _finish(self, ledgers: Ledgers) -> None:
        hub, living = self.hub, [p for p in self.hub.processes if p.alive and p.ready]
        if living and not self.broke:
            first = next((p for p in living if p.takes_tasks), living[0])
            shown = await first.agent.inspect()
            if shown is not None:
                hub.recorder.add("event", "final.inspect", {"state": _recordable(shown)})
        self.supervisor.stop()
        grace_s = (self.target.stop_grace_ms + 1_000) / 1000
        stopping = [t for p in living for t in p.tasks.values()]
        if stopping:
            await asyncio.wait(stopping, timeout=grace_s)
        for process in living:
            process.alive = False  # it was asked to stop, and that is no death to recover from
        await ledgers.final()
        for words in ledgers.problems.values():
            if self.spec.placed:
                self.setting.lab.note(words)
            else:
                self.broke.append(words)  # without its ledger nothing can be said of a tool

    def _failed(self, error: BaseException) -> None:
        self.broke.append(words_of(error))

    def _weigh(self, state: Path) -> None:
        size = sum(p.stat().st_size for p in state.rglob("*") if p.is_file())
        if size > _STATE_BYTES_MAX:
            self.hub.notes.append(f"the agent left {size >> 20} MiB in its folder")

    def _end(self) -> ExecutionEnd:
        hub, broke = self.hub, self.broke
        if not self.spec.placed and not broke:
            # Where other tasks have ended, the lab hears of ends, and this one is the agent's own.
            ended = any(work.outcome is not None for work in self.supervisor.work.values())
            for work in self.supervisor.work.values():
                if work.outcome is None:
                    if ended and not work.raised and work.task.id not in self.setting.unended:
                        continue
                    said = work.raised or f"it had no outcome within {self.target.timeout_ms} ms"
                    seen = self.setting.unended.get(work.task.id, "")
                    more = f" ({seen})" if seen else ""
                    broke.append(f"without any fault, {work.task.id} did not end: {said}{more}")
                    break
        return ExecutionEnd(
            digest=self.writer.digest(),
            ops=tuple(hub.recorder.ops),
            sites=tuple(hub.sites),
            choices={},
            fired=hub.nemesis.fired,
            broke=broke[0] if broke else "",
            notes=tuple(hub.notes),
            virtual_ms=hub.loop.now_ns // MS,
        )


def _recordable(shown: object) -> Json:
    return cast(Json, without_floats(shown))
