"""One task, from the moment its session is owned until its outcome is on record.

Everything here may be interrupted at any await and begun again by somebody else. So each part
asks the record first, does only what is missing, and could be done twice without harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaoslab.reference.actions import Actions
from chaoslab.reference.attributes import Attributes
from chaoslab.reference.dialogue import Dialogue, opening, transcript
from chaoslab.reference.errors import GaveUp, NotNow, Quarantined
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.pages import Pages
from chaoslab.reference.policies import Policies
from chaoslab.reference.profile import Profiles
from chaoslab.reference.records import Step
from chaoslab.reference.sessions import Sessions
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.reference.taskbook import Entry, TaskBook
from chaoslab.reference.toolbox import TOOLS, key_of
from chaoslab.world import Outcome, Task, ToolCall, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a process is made of; all jobs share it."""

    world: World
    settings: Settings
    store: Store
    sessions: Sessions
    book: TaskBook
    policies: Policies
    profiles: Profiles
    dialogue: Dialogue
    actions: Actions
    attributes: Attributes
    pages: Pages


class Job:
    """The work on one task by one owner."""

    def __init__(self, parts: Parts, own: Ownership) -> None:
        self._parts, self._own = parts, own

    async def run(self, name: str, task: Task | None) -> Outcome:
        """The outcome of a task. `task` is None where it is resumed from its record alone."""
        entry = await self._parts.book.find(self._own, name)
        recorded = None if entry is None else entry.record.recorded_outcome()
        if recorded is not None:
            return recorded  # delivered again after it was finished
        try:
            await self._parts.sessions.open(self._own, name)
            entry = await self._accept(entry, name, task)
            recorded = entry.record.recorded_outcome()
            return recorded or await self._finish(entry, *await self._work(entry))
        except Quarantined as stop:
            claims = () if entry is None else entry.record.claims()
            return Outcome(task=name, status="quarantined", claims=claims, reason=str(stop))

    async def _accept(self, entry: Entry | None, name: str, task: Task | None) -> Entry:
        if entry is not None:
            await entry.take_over()
            return entry
        if task is None:
            raise NotNow(f"there is no record of {name}")
        await self._parts.attributes.keep(self._own, task)
        policy = await self._parts.policies.current(self._own)
        return await self._parts.book.create(self._own, task, policy)

    async def _work(self, entry: Entry) -> tuple[str, str]:
        """Talks and acts until the model has its final word. Returns it, and why that is not
        the end that was hoped for, if so."""
        messages = entry.record.opening or await self._open(entry)
        try:
            for _ in range(self._parts.settings.turns_max):
                await self.finish_begun_steps(entry)
                self._check_deadline(entry)
                self._own.check()
                said = await self._parts.dialogue.ask(transcript(messages, entry.record.steps))
                if isinstance(said, str):
                    return said, ""
                await self._act(entry, messages, said)
            raise GaveUp("the model does not come to an end")
        except GaveUp as stop:
            return "", str(stop)

    async def _open(self, entry: Entry) -> list[Mapping[str, Any]]:
        """The first messages, with the profile as it stands on record, whole."""
        record, profiles = entry.record, self._parts.profiles
        if record.profile:
            now = self._parts.world.clock.now_ms()
            await profiles.save(self._own, record.task, record.profile, now)
        return opening(record.prompt, await profiles.load(record.session))

    async def finish_begun_steps(self, entry: Entry) -> None:
        """Takes up what an earlier owner had begun."""
        for step in entry.record.steps:
            if step.state == "intent":
                await self._parts.actions.make_room(self._own, step)
                await self._parts.actions.carry_out(entry, step, resumed=True)

    async def _act(self, entry: Entry, messages: list[Mapping[str, Any]], call: ToolCall) -> None:
        """Carries out what the model asked for, unless it was done or is forbidden."""
        world, record = self._parts.world, entry.record
        tool = TOOLS[call.name]
        args = {name: call.args[name] for name in tool.args}
        marker = str(args["url"]) if tool.page else world.marker_of(call.name, args)
        if record.step(call.name, marker) is not None:
            return  # the model repeats itself; the transcript tells it what became of it
        key = key_of(record.session, record.task, call.name, marker) if tool.keyed else None
        step = Step(tool=call.name, marker=marker, key=key, args=args, call=call.id)
        if tool.page:
            await entry.put_step(await self._parts.pages.read(record.policy, step), messages)
            return
        objection = await self._parts.policies.objection(record.policy, call.name, args)
        if objection:
            step.state, step.why, step.tries = "failed", objection, 0
        else:
            await self._parts.actions.make_room(self._own, step)
        await entry.put_step(step, messages)
        if not objection:
            world.report.intent(step.tool, step.marker, step.key)
            await self._parts.actions.carry_out(entry, step)

    def _check_deadline(self, entry: Entry) -> None:
        if self._parts.world.clock.now_ms() >= entry.record.due_ms:
            raise GaveUp("the task's deadline has passed")

    async def _finish(self, entry: Entry, answer: str, problem: str) -> Outcome:
        """Puts the outcome on record and then, not before, says it."""
        record = entry.record
        status = record.verdict()
        outcome = Outcome(
            task=record.task,
            status="failed" if problem and status == "completed" else status,
            answer=answer or None,
            claims=record.claims(),
            reason="; ".join(x for x in (problem, record.why()) if x),
        )
        await self._parts.sessions.close(self._own, outcome)
        await entry.finish(outcome)
        self._parts.sessions.closed(self._own, outcome)
        return outcome
