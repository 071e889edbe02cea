"""Doing things to the outside: each action once, or an honest word that nobody can tell.

The order is always the same: intent on record, ownership checked, the call, result on record. What
may follow a failed call depends on two questions only. Did it certainly not happen (`Refused`)?
Then it may be tried again. May it have happened (`Indeterminate`)? Then only a keyed service may
be asked again, with the same key and the same words; for an un-keyed one the step becomes
`uncertain` and stays so. A step that a crash left in `intent` is treated like a lost reply.

Tries are counted in the record before each one, so a crash does not start the count again. What a
budget allows is counted before as well; and what is sensitive is added to a request as it leaves,
so that it stands neither in the record nor in what the model is told.
"""

from __future__ import annotations

from dataclasses import replace

from chaoslab.reference.attributes import Attributes
from chaoslab.reference.budget import Budget
from chaoslab.reference.errors import NotNow
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.records import Step, StepState
from chaoslab.reference.sessions import Sessions
from chaoslab.reference.settings import Settings, pause_ms
from chaoslab.reference.taskbook import Entry
from chaoslab.reference.tickets import Tickets
from chaoslab.reference.toolbox import TOOLS, Tool
from chaoslab.world import (
    BadRequest,
    Conflict,
    ConnectionRefused,
    Indeterminate,
    RateLimited,
    Refused,
    ToolReply,
    Trapped,
    Unavailable,
    World,
    WorldError,
)


class Actions:
    """The hands of one process."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        sessions: Sessions,
        tickets: Tickets,
        attributes: Attributes,
        budget: Budget,
    ) -> None:
        self._world, self._settings = world, settings
        self._sessions, self._tickets = sessions, tickets
        self._attributes, self._budget = attributes, budget

    async def make_room(self, own: Ownership, step: Step) -> None:
        """Takes what an action needs before it may be sent. `NotNow` where it cannot be had."""
        if slot := _slot(step):
            await self._budget.take(own, slot)

    async def carry_out(self, entry: Entry, step: Step, *, resumed: bool = False) -> None:
        """Brings a step from `intent` to `done`, `uncertain` or `failed`.

        `NotNow` where the tries of this delivery are used up and others are left.
        """
        tool = TOOLS[step.tool]
        if resumed and not tool.keyed:
            await self._settle(entry, step, "uncertain", "it was begun and no answer is on record")
            return
        what = f"{step.tool} {step.marker}"
        self._sessions.move(entry.own.session, "waiting-for-tool", what)
        doubt, known, again, wait, problem = resumed, resumed, False, 0, ""
        for nth in range(1, self._settings.tries_per_delivery + 1):
            if wait:
                await self._world.clock.sleep(wait)
            if nth > 1 or resumed:
                if step.tries >= self._settings.tries_in_all:
                    break
                step = replace(step, tries=step.tries + 1)
                await entry.put_step(step)
            entry.own.check()
            try:
                await self.act_and_record(entry, step)
            except WorldError as error:
                problem, wait = error.code, self.wait_ms(tool, error, nth)
                doubt = doubt or isinstance(error, Indeterminate)
                known = known or isinstance(error, (Indeterminate, Conflict))
                if isinstance(error, Trapped):
                    await self._note_trap(entry, error)
                if not self.may_repeat(tool, error):
                    break
            else:
                self._sessions.move(entry.own.session, "active", f"{what} is done")
                return
        else:
            again = step.tries < self._settings.tries_in_all
        if not known and (slot := _slot(step)):
            await self._budget.give_back(entry.own, slot)  # no try has reached the service
        if again:
            raise NotNow(f"{what} gets no answer now: {problem}")
        await self._settle(entry, step, "uncertain" if doubt else "failed", problem)

    async def act_and_record(self, entry: Entry, step: Step) -> None:
        """One try: the call first, and what it brought on record after."""
        reply = await self.attempt(await self.to_send(entry, step))
        if slot := _slot(step):
            await self._budget.answered(entry.own, slot)
        await entry.put_step(replace(step, state="done", ref=reply.ref))

    async def to_send(self, entry: Entry, step: Step) -> Step:
        """The step as its request goes out, with what must not be on record."""
        wanted = TOOLS[step.tool].attributes
        if not wanted:
            return step
        known = await self._attributes.of(entry.record.tenant, entry.record.session)
        for name in wanted.values():
            if name not in known:
                raise BadRequest(f"no {name} of the customer is on record")
        entry.own.check()  # reading took its time
        more = {argument: known[name] for argument, name in wanted.items()}
        return replace(step, args={**step.args, **more})

    async def attempt(self, step: Step) -> ToolReply:
        """Sends the request of a step."""
        tool = TOOLS[step.tool]
        if tool.wasm:
            return await self._tickets.open(step.args, self.key(step))
        return await self._world.tools.call(
            step.tool, step.args, key=self.key(step), deadline_ms=tool.deadline_ms
        )

    def key(self, step: Step) -> str | None:
        """The idempotency key of a request: that of the action, in every try."""
        return step.key

    def may_repeat(self, tool: Tool, error: WorldError) -> bool:
        """Whether a failed request may be sent again."""
        if isinstance(error, Indeterminate):
            return tool.keyed
        if isinstance(error, Conflict):
            return bool(error.details.get("in_flight"))
        return isinstance(error, (ConnectionRefused, RateLimited, Unavailable))

    async def _note_trap(self, entry: Entry, error: Trapped) -> None:
        await entry.note_trap()
        await self._sessions.note_trap(entry.own, str(error.details.get("trap", error.code)))

    async def _settle(self, entry: Entry, step: Step, state: StepState, why: str) -> None:
        await entry.put_step(replace(step, state=state, why=why))
        self._sessions.move(entry.own.session, "active", f"{step.tool} {step.marker} is {state}")

    def wait_ms(self, tool: Tool, error: WorldError, nth: int) -> int:
        """How long to wait before the next try: what the service says, or longer each time."""
        settings = self._settings
        wait = pause_ms(
            nth,
            self._world.random,
            first_ms=settings.retry_first_ms,
            most_ms=settings.retry_most_ms,
        )
        if isinstance(error, Conflict):
            return wait + tool.settle_ms
        asked = error.details.get("retry_after_ms") if isinstance(error, Refused) else None
        return wait + asked if isinstance(asked, int) else wait


def _slot(step: Step) -> str:
    """The key under which an action has its slot of the budget; "" where it needs none."""
    return step.key or "" if TOOLS[step.tool].budgeted else ""
