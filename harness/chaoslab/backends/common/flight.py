"""One call on its way: sent, arrived, committed, answered; and struck in any of these phases.

    call()  ──before-send──▶  travels  ──▶  begin ──before-commit──▶ commit ──after-commit──▶
            reply travels ──▶ delivered ──after-reply──▶ the agent goes on

The request of a dead process is already in the network: whether it still arrives is a choice.
A deadline ends the waiting, never the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any

from chaoslab.backends.common.call import Call
from chaoslab.backends.common.distant import CUT_OFF, asked, copied, stopped
from chaoslab.backends.common.hub import DOING, MS, Doing, Hub, Process
from chaoslab.backends.common.loop import Event
from chaoslab.core.jsons import Json
from chaoslab.faults import Placed, Site
from chaoslab.faults.model import MODEL_KINDS
from chaoslab.world.errors import (
    ConnectionReset,
    DeadlineExceeded,
    Indeterminate,
    RateLimited,
    ServerError,
    Trapped,
    WorldError,
)
from chaoslab.world.request import Caller

_DELAY_MS = 1_000


class Flight:
    """See the module."""

    __slots__ = (
        "_hub",
        "_timer",
        "arrived",
        "call",
        "doing",
        "done",
        "future",
        "index",
        "name",
        "process",
        "refused",
        "site",
        "waiting",
    )

    def __init__(self, hub: Hub, process: Process, call: Call) -> None:
        self._hub = hub
        self.process = process
        self.call = call
        self.doing: Doing = DOING.get()
        self.site: Site = hub.site(call.f, call.marker, self.doing)
        nth = process.calls[self.doing.task] = process.calls.get(self.doing.task, 0) + 1
        self.name = f"{process.id}/{self.doing.task or '-'}/{nth}"
        self.waiting: list[Placed] = hub.nemesis.at(self.site)
        self.future: asyncio.Future[Any] = hub.loop.create_future()
        self.done = False
        self.arrived = False
        self.refused = False  # whether the caller was told that nothing was done
        self._timer: Event | None = None
        self.index = self._record("invoke", call.value)
        process.flights[self.index] = self

    def _record(self, type: Any, value: Json, call: int = -1) -> int:
        return self._hub.recorder.add(
            type,
            self.call.f,
            value,
            process=self.process.id,
            session=self.site.session,
            task=self.site.task,
            call=call,
            marker=self.site.marker,
            attempt=self.site.attempt,
            key=self.call.key,
        )

    # -- leaving

    async def fly(self) -> Any:
        """Sends the request and waits for what comes back, if anything does."""
        hub, extra_ns, send = self._hub, 0, True
        for one in self._struck("before-send"):
            kind = one.fault.kind
            if kind == "silence":
                send = False
            elif kind == "reset":
                send = False
                self._answer(None, ConnectionReset("the connection broke before it was sent"))
            elif kind == "delay":
                extra_ns += _for(one) * MS
            else:
                self._hurt(one)
        if not self.process.alive:
            await hub.loop.create_future()  # never: nothing of a dead process goes on
        deadline_ns = hub.loop.now_ns + self.call.deadline_ms * MS
        self._timer = hub.deadline(deadline_ns, self.name + "/deadline", self.late, self.process)
        if send:
            owner = self.process if self.call.local else None
            travel, tie = hub.travel_ns(self.call.base_ms * MS, self.name + "/out")
            when = hub.loop.now_ns + travel + extra_ns
            if self.process.parked is not None:
                owner = self.process  # a paused process sends when it goes on
            hub.loop.schedule(when, tie, self.name + "/out", self._arrive, owner)
        try:
            return await self.future
        except asyncio.CancelledError:
            if hub.hangs_up:
                self._hung_up()
            raise

    def _struck(self, phase: str, kinds: frozenset[str] | None = None) -> list[Placed]:
        """Takes and records the faults that wait for this phase."""
        if not self.waiting or self._hub.nemesis.healed:
            return []
        found = [
            one
            for one in self.waiting
            if one.fault.phase == phase
            and one.fault.kind != "trap"
            and (one.fault.kind in kinds if kinds else one.fault.kind not in MODEL_KINDS)
        ]
        for one in found:
            self.waiting.remove(one)
            self._note_strike(one, phase)
        return found

    def _note_strike(self, one: Placed, phase: str) -> None:
        self._hub.strike(one, phase=phase, site=self.site, call=self.index, process=self.process.id)

    def _hurt(self, one: Placed) -> None:
        """The faults that hit the process or its region, whatever the call."""
        fault, supervisor = one.fault, self._hub.supervisor
        if fault.kind == "crash":
            if fault.scope == "region":
                supervisor.region_down(self.process.region, fault.for_ms)
            else:
                self._hub.kill(self.process, "crash")
        elif fault.kind == "pause":
            self._hub.pause(self.process, fault.for_ms)
        elif fault.kind == "partition":
            supervisor.region_cut(self.process.region, fault.for_ms)

    # -- at the service

    def _arrive(self) -> None:
        hub = self._hub
        if not self.process.alive and not self.arrived and not self._orphan_arrives():
            return
        self.arrived = True
        for release in hub.overtaken.pop(self.call.f, ()):
            hub.loop.schedule(hub.loop.now_ns + MS, 15, self.name + "/overtaken", release)
        if self.call.outside and not hub.linked(self.process.region):
            return  # swallowed by the partition
        try:
            reply = self.call.begin(self._caller())
        except WorldError as error:
            self._reply(None, error)
            return
        if reply is not None:
            self._after_commit(reply)
            return
        half_ns = self.call.duration_ms * MS // 2
        if half_ns:
            name = self.name + "/half"
            hub.loop.schedule(hub.loop.now_ns + half_ns, 8, name, self._before_commit)
        else:
            self._before_commit()

    def _orphan_arrives(self) -> bool:
        """Whether, or when, the request of a dead process still arrives."""
        if self.call.local:
            return False
        choice = self._hub.choices.take(self.name + "/orphan")
        if choice < 128:
            return True
        if choice >= 192:
            self.arrived = True
            name = self.name + "/orphan"
            when = self._hub.loop.now_ns + (choice - 191) * 100 * MS
            self._hub.loop.schedule(when, choice & 15, name, self._arrive)
        return False

    def _caller(self) -> Caller:
        return Caller(
            process=self.process.id,
            region=self.process.region,
            session=self.doing.session,
            task=self.doing.task,
            tenant=self.doing.tenant,
            call=self.index,
            now_ns=self._hub.loop.now_ns,
        )

    def _before_commit(self) -> None:
        hub, commit_in_ns = self._hub, self.call.duration_ms * MS // 2
        for one in self._struck("before-commit"):
            kind, name = one.fault.kind, f"{self.name}/again{one.number}"
            if kind in ("silence", "reset", "error-reply", "rate-limit"):
                self.call.abandon()
                self.refused = kind == "rate-limit"
                self._refuse(kind)
                return
            if kind == "hold":
                self.call.abandon()
                hub.hold(one.number, self._again, one.fault.for_ms)
                return
            if kind == "reorder":
                self.call.abandon()
                hub.overtaken.setdefault(self.call.f, []).append(self._again)
                hub.hold(one.number, self._once_more_if_waiting, None)
                return
            if kind == "delay":
                commit_in_ns += _for(one) * MS
            elif kind == "duplicate":
                hub.loop.schedule(hub.loop.now_ns + MS, 14, name, self._copy_arrives)
            else:
                self._hurt(one)
                if kind == "crash" and not self._survives_crash():
                    self.call.abandon()
                    return
        if commit_in_ns:
            name = self.name + "/commit"
            hub.loop.schedule(hub.loop.now_ns + commit_in_ns, 8, name, self._commit)
        else:
            self._commit()

    def _again(self) -> None:
        """The request arrives (once more, or at last)."""
        if self.call.local and not self.process.alive:
            return
        self.arrived = True
        self._arrive()

    def _copy_arrives(self) -> None:
        """A second copy of the request arrives. Its answer goes nowhere: the caller waits for
        that of the first, and a refusal of the copy must not pass for one of the request. Where the
        first was refused for certain, the limit refuses the copy as well."""
        if self.refused:
            return
        with suppress(WorldError):
            if self.call.begin(self._caller()) is not None:
                return
            if self.call.duration_ms:
                name = self.name + "/copied"
                when = self._hub.loop.now_ns + self.call.duration_ms * MS
                self._hub.loop.schedule(when, 14, name, self._copy_commits)
            else:
                self._copy_commits()

    def _copy_commits(self) -> None:
        if self.call.distant:
            self._hub.loop.create_task(copied(self.call, self._caller()), context=Context())
            return
        with suppress(WorldError):
            if self.call.steps is not None:
                for _ in self.call.steps(self._caller()):
                    pass
            else:
                self.call.commit(self._caller(), self)

    def _once_more_if_waiting(self) -> None:
        waiting = self._hub.overtaken.get(self.call.f, [])
        if self._again in waiting:
            waiting.remove(self._again)
            self._again()

    def _refuse(self, kind: str) -> None:
        if kind == "reset":
            self._reply(None, ConnectionReset("the connection broke"))
        elif kind == "error-reply":
            self._reply(None, ServerError("500"))
        elif kind == "rate-limit":
            self._reply(None, RateLimited("429", retry_after_ms=1_000))

    def _survives_crash(self) -> bool:
        """Whether a request that had arrived is still carried out after its caller died.

        The plainest choice is that it is not: before-commit then means not committed.
        """
        if self.call.local:
            return False
        choice = self._hub.choices.take(self.name + "/orphan")
        if choice >= 192:
            name = self.name + "/orphan"
            when = self._hub.loop.now_ns + (choice - 191) * 100 * MS
            self._hub.loop.schedule(when, choice & 15, name, self._again)
            return False
        return choice >= 128

    def _commit(self) -> None:
        if self.call.local and not self.process.alive:
            return
        if self.call.distant:
            self._hub.loop.create_task(self._forward(), context=Context())
            return
        try:
            if self.call.steps is not None:
                reply = self._commit_steps(self.call.steps)
            else:
                reply = self.call.commit(self._caller(), self)
        except WorldError as error:
            if isinstance(error, Trapped):
                self._after_commit(None, error)
            else:
                self._reply(None, error)
            return
        if reply is not None:
            self._after_commit(reply)

    def _to_be_lost(self) -> bool:
        """Whether the answer will not reach the caller, though what it asks for is done."""
        return not self._hub.nemesis.healed and any(
            one.fault.phase == "after-commit" and one.fault.kind in ("silence", "reset")
            for one in self.waiting
        )

    async def _forward(self) -> None:
        """Asks a service that is not the lab's own, and reads its answer in full."""
        try:
            if self.call.unanswered is not None and self._to_be_lost():
                reply = await self.call.unanswered(self._caller())
            else:
                reply = await asked(self.call, self._caller(), self._cut_off)
        except WorldError as error:
            self._reply(None, error)
            return
        if reply is not CUT_OFF:
            self._after_commit(reply)

    def _commit_steps(self, steps: Callable[[Caller], Iterator[Any]]) -> Any:
        """Commits a group item by item. None: it was cut off and the answer is on its way."""
        done: list[Any] = []
        try:
            for version in steps(self._caller()):
                done.append(version)
                if self._cut_off(len(done)):
                    return None
        except WorldError as error:
            raise stopped(error, done) from None
        return tuple(done)

    def _cut_off(self, written: int) -> bool:
        """Whether a group ends after so many of its items."""
        for one in self._mid_write(written):
            kind = one.fault.kind
            if kind in ("crash", "pause"):
                self._hurt(one)
                if kind == "pause":
                    continue
            elif kind in ("reset", "error-reply"):
                self._refuse(kind)
            return True
        return False

    def _mid_write(self, written: int) -> list[Placed]:
        found = [
            one
            for one in self.waiting
            if one.fault.phase == "mid-write" and one.fault.after_items == written
        ]
        if self._hub.nemesis.healed:
            return []
        for one in found:
            self.waiting.remove(one)
            self._note_strike(one, "mid-write")
        return found

    def mishap(self) -> str:
        """The fault of the model's own kind that strikes this answer, or ""."""
        found = self._struck("after-commit", MODEL_KINDS)
        return found[0].fault.kind if found else ""

    def trap(self, point: str) -> str | None:
        """What the Wasm guest is to do at a point of its own, if anything."""
        for one in self.waiting:
            if one.fault.kind == "trap" and one.fault.phase == point:
                if not self._hub.nemesis.healed:
                    self.waiting.remove(one)
                    self._note_strike(one, point)
                    return one.fault.mode
        return None

    # -- the way back

    def _after_commit(self, reply: Any, error: WorldError | None = None) -> None:
        hub, extra_ns = self._hub, 0
        for one in self._struck("after-commit"):
            kind = one.fault.kind
            if kind == "silence":
                return
            if kind in ("reset", "error-reply"):
                self._refuse(kind)
                return
            if kind == "hold":
                hub.hold(one.number, partial(self._reply, reply, error), one.fault.for_ms)
                return
            if kind == "delay":
                extra_ns += _for(one) * MS
            elif kind == "duplicate":
                name = f"{self.name}/again{one.number}"
                when = hub.loop.now_ns + _for(one) * MS
                hub.loop.schedule(when, 14, name, self._copy_arrives)
            else:
                self._hurt(one)
                if not self.process.alive:
                    return
        self._reply(reply, error, extra_ns)

    def _reply(self, reply: Any, error: WorldError | None, extra_ns: int = 0) -> None:
        if self.done or (self.call.outside and not self._hub.linked(self.process.region)):
            return
        self._answer(reply, error, extra_ns)

    def _answer(self, reply: Any, error: WorldError | None, extra_ns: int = 0) -> None:
        hub = self._hub
        travel, tie = hub.travel_ns(self.call.base_ms * MS, self.name + "/back")
        when = hub.loop.now_ns + travel + extra_ns
        action = partial(self._deliver, reply, error)
        hub.loop.schedule(when, tie, self.name + "/back", action, self.process)

    def _hung_up(self) -> None:
        """Whoever asked does not wait any more."""
        if not self.done and self.process.alive:
            self._deliver(None, DeadlineExceeded("the agent closed the connection"))

    def late(self) -> None:
        """The waiting ends, never the request."""
        self._deliver(None, DeadlineExceeded(f"no answer in {self.call.deadline_ms} ms"))

    def _deliver(self, reply: Any, error: WorldError | None) -> None:
        if self.done:
            return
        self.done = True
        if self._timer is not None:
            self._timer.cancelled = True
            self._timer = None  # a cycle less for the collector
        self.process.flights.pop(self.index, None)
        if error is None:
            self._record(self.call.type_of(reply), self.call.result(reply), self.index)
        else:
            kind = "info" if isinstance(error, Indeterminate) else "fail"
            self._record(kind, {"error": error.code, **_details(error)}, self.index)
        for one in self._struck("after-reply"):
            self._hurt(one)
        if self.waiting and error is not None and not isinstance(error, Indeterminate):
            self._hub.missed(self.site, self.waiting)
        if not self.process.alive or self.future.done():
            return
        if error is None:
            self.future.set_result(reply)
        else:
            # Without the frames of the lab: they are not the agent's, and they hold on to this.
            self.future.set_exception(error.with_traceback(None))

    def killed(self) -> None:
        """The process died while it waited."""
        if not self.done:
            self.done = True
            self._record("info", {"error": "killed"}, self.index)


async def fly(hub: Hub, process: Process, call: Call) -> Any:
    """Makes a call; for a process that is dead it never comes back and leaves no trace."""
    if not process.alive:
        await hub.loop.create_future()
    return await Flight(hub, process, call).fly()


def _for(one: Placed) -> int:
    return _DELAY_MS if one.fault.for_ms is None else one.fault.for_ms


def _details(error: WorldError) -> dict[str, Json]:
    out: dict[str, Json] = {}
    for name, value in error.details.items():
        if isinstance(value, tuple):
            out[name] = list(value)
        elif value is None or isinstance(value, (bool, int, str)):
            out[name] = value
    return out
