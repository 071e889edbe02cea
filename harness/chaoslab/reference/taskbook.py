"""The task records in memory: opening, taking over, changing and finishing them.

Whoever gets the session takes the record over with a write of his own. That write is the moment
from which the store refuses the one before: it carries the newer fence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chaoslab.reference.ownership import Ownership
from chaoslab.reference.records import Step, TaskRecord
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.world import Item, Outcome, Task, World

PREFIX = "task/"


class Entry:
    """The record of one task, in the hands of its owner."""

    def __init__(self, store: Store, settings: Settings, own: Ownership, item: Item) -> None:
        self._store, self._settings, self.own, self._item = store, settings, own, item

    @property
    def record(self) -> TaskRecord:
        """The record as it was last read or written."""
        return TaskRecord.from_json(self._item.value)

    async def put_step(self, step: Step, opening: Sequence[Mapping[str, Any]] = ()) -> None:
        """Writes a step, in the place of the same action's earlier state if there is one.
        `opening` goes along with the first one."""

        def change(record: TaskRecord) -> TaskRecord:
            same = record.step(step.tool, step.marker)
            if same is None:
                steps = [*record.steps, step]
            else:
                steps = [step if s is same else s for s in record.steps]
            return replace(record, steps=steps, opening=record.opening or list(opening))

        await self._change(change)

    async def note_trap(self) -> None:
        """Counts a trap of this task."""
        await self._change(lambda record: replace(record, traps=record.traps + 1))

    async def finish(self, outcome: Outcome) -> None:
        """Writes the outcome. From now on everybody who asks is told this one."""
        await self._change(lambda record: record.with_outcome(outcome))

    async def take_over(self) -> None:
        """Makes this process the record's owner."""
        writer = self._store.process
        await self._change(lambda record: replace(record, owner=writer))

    async def _change(self, change: Callable[[TaskRecord], TaskRecord]) -> None:
        self._item = await self._store.amend(
            self._item.id,
            self._item,
            lambda value: change(TaskRecord.from_json(value)).to_json(),
            self.own,
            ttl_ms=self._settings.task_ttl_ms,
        )


class TaskBook:
    """All task records."""

    def __init__(self, world: World, settings: Settings, store: Store) -> None:
        self._world, self._settings, self._store = world, settings, store

    async def find(self, own: Ownership, task: str) -> Entry | None:
        """The record of a task, if it has one."""
        item = await self._store.read(PREFIX + task)
        return None if item is None else Entry(self._store, self._settings, own, item)

    async def create(self, own: Ownership, task: Task, policy: str) -> Entry:
        """Accepts a new task: from here on it will be finished, whoever dies."""
        profile = task.data.get("profile")
        record = TaskRecord(
            task=task.id,
            session=task.session,
            tenant=task.tenant,
            prompt=task.prompt,
            profile={k: str(v) for k, v in profile.items()} if isinstance(profile, Mapping) else {},
            due_ms=self._world.clock.now_ms() + task.deadline_ms,
            policy=policy,
            owner=self._world.process,
        )
        item = await self._store.amend(
            PREFIX + task.id,
            None,
            lambda there: record.to_json() if there is None else None,
            own,
            ttl_ms=self._settings.task_ttl_ms,
        )
        return Entry(self._store, self._settings, own, item)

    async def unfinished(self) -> list[TaskRecord]:
        """The tasks that were accepted and have no outcome yet."""
        records = [TaskRecord.from_json(i.value) for i in await self._store.scan(PREFIX)]
        return [record for record in records if record.outcome is None]
