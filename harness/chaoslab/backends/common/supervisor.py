"""Who starts, restarts, hands out and fails over: the lab's part around the agent.

The lab never retries on the agent's behalf. It restarts a dead process, hands a task out again
until an outcome was recorded (as a queue would), gives up a region that does not answer, and at
the end heals everything and demands that the work gets done.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from chaoslab.backends.common.failover import Failover
from chaoslab.backends.common.hub import DOING, Doing, Hub, Process
from chaoslab.backends.common.loop import CURRENT
from chaoslab.backends.common.outcomes import outcome_json, place
from chaoslab.backends.common.ports import SimWorld
from chaoslab.backends.common.work import Source, Work
from chaoslab.core.errors import AgentBroke, ChaosError, shown
from chaoslab.core.jsons import Json, plain
from chaoslab.world.api import Outcome, Releasable, Resumable
from chaoslab.world.errors import WorldError

_AGAIN_MS = 1_000
_BOOTS_MAX = 10


class Supervisor(Failover):
    """See the module; what becomes of regions is in `failover`."""

    def __init__(self, hub: Hub, source: Source) -> None:
        self.hub = hub
        self._source = source
        self._regions = hub.spec.scenario.regions
        self.home = self._regions.names[0]
        self.work: dict[str, Work] = {}
        self._counters: dict[str, int] = {}
        self._boots: dict[str, int] = {}
        self._expected = 0  # processes that start at the beginning
        self._begun = False
        self._returning = False  # whether the primary is on its way back after all faults
        number = 0
        for tasks in hub.cast.sessions.values():
            for task in tasks:
                self.work[task.id] = Work(task=task, number=number)
                number += 1
        self._open = number  # tasks without an outcome
        hub.supervisor = self

    # -- processes

    def boot(self) -> None:
        """Starts the processes and submits the first tasks."""
        names = self._regions.names if self._regions.active == "all" else (self.home,)
        for region in names:
            for slot in range(self._regions.processes):
                self._expected += 1
                self.start(region, slot, fresh=True)
        self.hub.after(self.hub.begin_ms, "~begin", self._begin)
        for release in self.hub.spec.scenario.operator:
            name = f"~operator/{release.session}/{release.at_ms}"
            session = release.session
            self.hub.after(release.at_ms, name, lambda s=session: self._release(s))  # type: ignore[misc]

    def _begin(self) -> None:
        """Hands out the first tasks, once all first processes are ready (or do not get so)."""
        if self._begun:
            return
        self._begun = True
        use = self.hub.spec.scenario.workload
        for tasks in self.hub.cast.sessions.values():
            for task in tasks if use.concurrent else tasks[:1]:
                self._hand_out(self.work[task.id])

    def start(self, region: str, slot: int, *, fresh: bool = False) -> None:
        """A new incarnation in a region."""
        number = self._counters[region] = self._counters.get(region, 0) + 1
        process = Process(id=f"{region}-{number}", region=region, slot=slot)
        self.hub.processes.append(process)
        self.hub.recorder.add("event", "process.start", {"region": region}, process=process.id)
        try:
            process.agent = self._source.create()
        except ChaosError as error:
            self.hub.broke.append(str(error))
            process.alive = False
            return
        self._run(process, NOBODY_TASK, self._boot(process, fresh), self._booted)

    async def _boot(self, process: Process, fresh: bool) -> list[str]:
        await process.agent.start(SimWorld(self.hub, process))
        resumes = self.hub.spec.contract.resume == "self"
        if fresh or not resumes or not isinstance(process.agent, Resumable):
            return []
        named = await process.agent.recover()
        if not isinstance(named, (list, tuple, set, frozenset)) or not all(
            isinstance(t, str) for t in named
        ):
            text = (
                f"the agent's recover() returned no list of task ids: {shown(named)} "
                f"({self._source.name})"
            )
            self.hub.broke.append(text)
            raise AgentBroke(text)
        return sorted(named)

    def _booted(self, process: Process, named: Any, error: BaseException | None) -> None:
        if error is not None:
            self._boot_failed(process, error)
            return
        process.ready = True
        self.hub.recorder.add(
            "event", "process.ready", {"region": process.region}, process=process.id
        )
        if named:
            tasks: list[Json] = sorted(named)
            self.hub.recorder.add("event", "process.recovers", {"tasks": tasks}, process=process.id)
        for name in named:
            work = self.work.get(name)
            if work is not None and work.outcome is None and process not in work.holders:
                work.holders.append(process)
                work.waiting = False
        if not self._begun and sum(p.serving for p in self.hub.processes) >= self._expected:
            self._begin()
        self._assign_waiting()

    def _assign_waiting(self) -> None:
        for work in self.work.values():
            if work.waiting:
                self._assign(work)

    def _boot_failed(self, process: Process, error: BaseException) -> None:
        self._note(f"{process.id}: start or recover raised", error)
        count = self._boots[process.region] = self._boots.get(process.region, 0) + 1
        if (not isinstance(error, WorldError) and count > 2) or count > _BOOTS_MAX:
            words = f"{type(error).__name__}: {error} ({place(error)})"
            if isinstance(error, ChaosError):  # which says itself what and where
                words = str(error)
            self.hub.broke.append(f"the agent does not start: {words}")
        self.hub.kill(process, "boot failed")

    def lost(self, process: Process) -> None:
        """A process died: its tasks wait for another, and one is started in its place."""
        self._drop_holder(process)
        if process.suspected:
            self._assign_waiting()  # it has been replaced already
            return
        if not self.hub.copies[process.region].up:
            return  # giving up the region comes next
        wait = self._regions.restart_after_ms
        region, slot = process.region, process.slot
        name = f"~restart/{process.id}"
        self.hub.after(wait, name, lambda: self._restart(region, slot))

    def _restart(self, region: str, slot: int) -> None:
        copies = self.hub.copies
        if copies[region].up and (region == self.home or self._regions.active == "all"):
            self.start(region, slot)
        else:
            self._assign_waiting()

    def _drop_holder(self, process: Process) -> None:
        for work in self.work.values():
            if process in work.holders:
                work.holders = [h for h in work.holders if h is not process]
                if work.outcome is None and not work.holders:
                    work.waiting = True
                    # An agent that resumes by itself is asked first, when its next process is up.
                    if self.hub.spec.contract.resume != "self":
                        self._assign(work)

    # -- tasks

    def _hand_out(self, work: Work) -> None:
        """The first hand-out of a task, as often at once as the scenario says."""
        work.waiting = True
        for _ in range(self.hub.spec.scenario.workload.deliveries):
            self._assign(work)

    def _assign(self, work: Work) -> None:
        serving = [p for p in self.hub.processes if p.serving and p.takes_tasks]
        if self._regions.active != "all":
            serving = [p for p in serving if p.region == self.home]
        if not serving or work.outcome is not None:
            work.waiting = work.outcome is None
            return
        work.waiting = False
        process = serving[(work.number + work.deliveries) % len(serving)]
        work.deliveries += 1
        # Copies: what an agent does to its task reaches neither the record nor the next delivery.
        own: Any = plain(work.task.data, where="data")
        task = replace(work.task, delivery=work.deliveries, data=own)
        value: dict[str, Json] = {
            "tenant": task.tenant,
            "delivery": task.delivery,
            "prompt": task.prompt,
            "data": plain(work.task.data, where="data"),
            "deadline_ms": task.deadline_ms,
        }
        self.hub.recorder.add(
            "event", "task.submit", value, process=process.id, session=task.session, task=task.id
        )
        work.holders.append(process)
        doing = Doing(task.id, task.session, task.tenant)
        self._run(process, doing, process.agent.handle(task), self._handled(work))

    def _handled(self, work: Work) -> Callable[[Process, Any, BaseException | None], None]:
        def done(process: Process, outcome: Any, error: BaseException | None) -> None:
            if process in work.holders:
                work.holders.remove(process)
            if error is not None:
                self._raised(work, process, error)
            else:
                self._outcome(work, process, outcome)

        return done

    def _raised(self, work: Work, process: Process, error: BaseException) -> None:
        name = type(error).__name__
        if isinstance(error, MemoryError):
            self.hub.broke.append(f"the agent ran out of memory ({place(error)})")
        words = f"{name}: {error} ({place(error)})"
        work.raised = str(error) if isinstance(error, ChaosError) else words
        self._note(f"{work.task.id}: the handler raised", error)
        self.hub.recorder.add(
            "event",
            "task.raised",
            {"error": name},
            process=process.id,
            session=work.task.session,
            task=work.task.id,
        )
        self._again_later(work)

    def _again_later(self, work: Work) -> None:
        if work.outcome is None and not work.holders:
            work.waiting = True
            count = work.deliveries

            def again() -> None:
                if work.waiting and not work.holders and work.deliveries == count:
                    self._assign(work)

            self.hub.after(_AGAIN_MS, f"~again/{work.task.id}/{count}", again)

    def reported(self, process: Process, outcome: Outcome) -> None:
        """The agent reports an outcome on its own account."""
        try:
            value = outcome_json(outcome)
        except ChaosError as error:
            self.hub.broke.append(str(error))
            return
        work = self.work.get(outcome.task)
        if work is None:
            self.hub.broke.append(f"the agent reported an unknown task: {outcome.task!r}")
            return
        self.hub.recorder.add(
            "event",
            "report.outcome",
            value,
            process=process.id,
            session=work.task.session,
            task=work.task.id,
        )
        if process in work.holders:
            work.holders.remove(process)
        self._outcome(work, process, outcome)

    def _outcome(self, work: Work, process: Process, outcome: Any) -> None:
        try:
            value = outcome_json(outcome)
            if outcome.task != work.task.id:
                raise AgentBroke(
                    f"handle({work.task.id}) returned the outcome of another task",
                    value=outcome.task,
                )
        except ChaosError as error:
            self.hub.broke.append(str(error))
            return
        final = outcome.status != "deferred"
        counted = final and work.outcome is None
        value["counted"] = counted
        self.hub.recorder.add(
            "event",
            "task.outcome",
            value,
            process=process.id,
            session=work.task.session,
            task=work.task.id,
        )
        if counted:
            work.outcome = outcome
            self._open -= 1
            work.waiting = False
            self._next_of_session(work)
        elif not final:
            self._again_later(work)

    def _next_of_session(self, work: Work) -> None:
        use = self.hub.spec.scenario.workload
        tasks = self.hub.cast.sessions[work.task.session]
        position = [t.id for t in tasks].index(work.task.id) + 1
        if use.concurrent or position == len(tasks):
            return
        following = self.work[tasks[position].id]
        if use.gap_ms:
            name = f"~gap/{following.task.id}"
            self.hub.after(use.gap_ms, name, lambda: self._hand_out(following))
        else:
            self._hand_out(following)

    def _release(self, session: str) -> None:
        for process in self.hub.processes:
            if process.serving and isinstance(process.agent, Releasable):
                self.hub.recorder.add("event", "session.release", {}, session=session)
                release = process.agent.release(session)
                self._run(process, Doing("", session, ""), release, lambda p, r, e: None)
                return

    # -- the end

    @property
    def settled(self) -> bool:
        """Every task has an outcome, and nobody who could act waits for an answer."""
        return not self._open and (
            not any(p.flights for p in self.hub.processes if p.alive and p.parked is None)
            and not any(
                w.holders and any(h.alive and h.parked is None for h in w.holders)
                for w in self.work.values()
            )
            and not self.hub.replicating
        )

    def heal(self) -> None:
        """No more faults: the paused go on, the held arrive, the cut off join."""
        self.hub.nemesis.healed = True
        self.hub.recorder.add("event", "nemesis.heal")
        for region in self._regions.names:
            self.join(region)
        for entry in tuple(self.hub.held):
            self.hub.release(entry)
        for process in self.hub.processes:
            self.hub.resume(process)
        if self._usable(self.home):
            self._serve_again()
        else:
            self._returning = True  # it is on its way back, which takes a while

    def _serve_again(self) -> None:
        """Nobody is left without a process to hand a task to."""
        if not any(p.serving or (p.alive and not p.ready) for p in self._living(self.home)):
            if not any(p.alive and not p.suspected for p in self._living(self.home)):
                self.start(self.home, 0)

    def stop(self) -> None:
        """Asks every living process to stop."""
        for process in self.hub.processes:
            if process.alive and process.ready:
                self.hub.recorder.add(
                    "event", "process.stop", {"region": process.region}, process=process.id
                )
                self._run(process, NOBODY_TASK, process.agent.stop(), lambda p, r, e: None)

    # -- running the agent's code

    def _run(
        self,
        process: Process,
        doing: Doing,
        coro: Coroutine[Any, Any, Any],
        done: Callable[[Process, Any, BaseException | None], None],
    ) -> None:
        context = contextvars.Context()
        context.run(CURRENT.set, process)
        context.run(DOING.set, doing)
        task = self.hub.loop.create_task(coro, context=context)

        def finished(task: asyncio.Task[Any]) -> None:
            if not process.alive:
                return
            error = None if task.cancelled() else task.exception()
            if task.cancelled():
                error = asyncio.CancelledError("the agent cancelled its own handler")
            done(process, None if error is not None else task.result(), error)

        task.add_done_callback(finished, context=contextvars.Context())

    def _note(self, what: str, error: BaseException) -> None:
        if len(self.hub.notes) < 20:
            lines = "".join(traceback.format_exception(error))
            self.hub.notes.append(f"{what} {type(error).__name__}: {error}\n{lines[-4000:]}")


NOBODY_TASK = Doing()
