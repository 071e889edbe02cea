"""The agent itself: what the world starts, hands tasks to, and asks to recover.

It holds no state that matters. A task may arrive here twice, or arrive while a predecessor is
still at it, or be found unfinished after a crash: all three go through `_work`, one at a time per
session, first by a lock within this process and then by a lease among processes.

What is more than it can bear it puts off, before it has touched anything. A queue of its own would
grow without bound and be lost in a crash; that of whoever hands out the tasks is neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import ClassVar

from chaoslab.reference.actions import Actions
from chaoslab.reference.attributes import Attributes
from chaoslab.reference.budget import Budget
from chaoslab.reference.dialogue import Dialogue
from chaoslab.reference.errors import NotNow
from chaoslab.reference.job import Job, Parts
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.pages import Pages
from chaoslab.reference.policies import Policies
from chaoslab.reference.profile import Profiles
from chaoslab.reference.sessions import Sessions
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.reference.taskbook import TaskBook
from chaoslab.reference.tickets import Tickets
from chaoslab.world import Outcome, Task, World

_STOP_WITHIN_S = 5


class ReferenceAgent:
    """The model agent. Its parts are named here so that one can be replaced by a subclass."""

    settings: ClassVar[Settings] = Settings()
    ownership_class: ClassVar[type[Ownership]] = Ownership
    tickets_class: ClassVar[type[Tickets]] = Tickets
    actions_class: ClassVar[type[Actions]] = Actions
    store_class: ClassVar[type[Store]] = Store
    sessions_class: ClassVar[type[Sessions]] = Sessions
    book_class: ClassVar[type[TaskBook]] = TaskBook
    policies_class: ClassVar[type[Policies]] = Policies
    profiles_class: ClassVar[type[Profiles]] = Profiles
    dialogue_class: ClassVar[type[Dialogue]] = Dialogue
    attributes_class: ClassVar[type[Attributes]] = Attributes
    budget_class: ClassVar[type[Budget]] = Budget
    pages_class: ClassVar[type[Pages]] = Pages
    job_class: ClassVar[type[Job]] = Job

    async def start(self, world: World, /) -> None:
        """A boot or a reboot: nothing is remembered, and nothing needs to be reached yet."""
        settings = self.settings
        store = self.store_class(world, settings)
        sessions = self.sessions_class(world, settings, store)
        tickets = self.tickets_class(world)
        policies = self.policies_class(store)
        attributes = self.attributes_class(store, settings)
        budget = self.budget_class(world, settings, store)
        self._world = world
        self._parts = Parts(
            world=world,
            settings=settings,
            store=store,
            sessions=sessions,
            book=self.book_class(world, settings, store),
            policies=policies,
            profiles=self.profiles_class(store, settings),
            dialogue=self.dialogue_class(world, settings),
            actions=self.actions_class(world, settings, sessions, tickets, attributes, budget),
            attributes=attributes,
            pages=self.pages_class(world, settings, policies),
        )
        self._locks: dict[str, asyncio.Lock] = {}
        self._handling = 0
        self._resuming: set[asyncio.Task[None]] = set()

    async def handle(self, task: Task, /) -> Outcome:
        """Works on a task until it has an outcome, or says that it cannot be had now."""
        if self.full():
            return self.put_off(task)
        self._handling += 1
        try:
            return await self._work(task.id, task.session, task)
        finally:
            self._handling -= 1

    def full(self) -> bool:
        """Whether this process has as many tasks in hand as it can bear."""
        return self._handling + len(self._resuming) >= self.settings.tasks_in_hand_max

    def put_off(self, task: Task) -> Outcome:
        """What a task is told for which there is no room now."""
        return Outcome(task=task.id, status="deferred", reason="too many tasks are in hand")

    async def recover(self) -> Sequence[str]:
        """Takes up what was accepted and not finished, as much as it can bear, and names it.

        What it does not name will be handed out again. Another process may be alive and at one:
        the lease decides, and whoever comes second finds the outcome on record and repeats it.
        """
        try:
            records = await self._parts.book.unfinished()
        except NotNow:
            return []  # memory stays away: whatever is open will be handed out again
        resumed = records[: self.settings.tasks_in_hand_max]
        for record in resumed:
            resuming = asyncio.create_task(self._resume(record.task, record.session))
            self._resuming.add(resuming)
            resuming.add_done_callback(self._resuming.discard)
        return [record.task for record in resumed]

    def sessions(self) -> Mapping[str, str]:
        """The state of each session that this process has worked for."""
        return dict(self._parts.sessions.states)

    async def release(self, session: str, /) -> None:
        """The operator's word that a quarantined session is sound again."""
        seen = await self._parts.sessions.quarantined(session)
        if seen is not None:
            async with self._lock(session), self._owned(session).held() as own:
                await self._parts.sessions.release(own, seen)

    async def stop(self) -> None:
        """Lets resumed tasks come to their end for a moment, then leaves them to others."""
        open_tasks = tuple(self._resuming)
        if open_tasks:
            await asyncio.wait(open_tasks, timeout=_STOP_WITHIN_S)
        for one in open_tasks:
            one.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)

    async def _work(self, name: str, session: str, task: Task | None) -> Outcome:
        try:
            async with self._lock(session), self._owned(session).held() as own:
                return await self.job_class(self._parts, own).run(name, task)
        except NotNow as stop:
            return Outcome(task=name, status="deferred", reason=str(stop))

    async def _resume(self, name: str, session: str) -> None:
        with self._world.acting(task=name, session=session):
            try:
                outcome = await self._work(name, session, None)
            except Exception as error:
                # Nobody awaits this task, so an error of ours must not vanish with it.
                kind = type(error).__name__
                self._world.report.log("resuming a task ended in an error", task=name, error=kind)
                outcome = Outcome(task=name, status="deferred", reason=f"it raised {kind}")
            self._world.report.outcome(outcome)

    def _owned(self, session: str) -> Ownership:
        return self.ownership_class(self._world, self.settings, session)

    def _lock(self, session: str) -> asyncio.Lock:
        return self._locks.setdefault(session, asyncio.Lock())
