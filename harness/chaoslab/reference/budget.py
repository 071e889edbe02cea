"""A budget over all sessions and processes: at most so many credits within so much time.

To look whether there is room and to act upon it later is not enough, since others look in between.
So a *slot* is taken before anything is sent, by a change that is applied to what stands at the
moment of the write. Three things keep the count right whatever happens:

- A slot belongs to the key of an action, so that whoever resumes the action has it already.
- It counts until the window has passed since the *answer*. The action was carried out at some
  moment between request and answer, and only from the answer on is that certainly over.
- While there is no answer it counts as long as a request may be on its way. So nothing leaks for
  ever, and what is carried out late finds its slot still taken.

    budget/credit  {"slots": {KEY: until_ms}}

>>> with_slot({"a": 5, "b": 90}, "c", now_ms=10, until_ms=99, most=2)
{'b': 90, 'c': 99}
>>> with_slot({"a": 50, "b": 90}, "c", now_ms=10, until_ms=99, most=2) is None
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from chaoslab.reference.errors import NotNow
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.world import Item, World

ID: Final = "budget/credit"
Slots = dict[str, int]  # key of an action -> until when it counts


class Budget:
    """The budget as this process sees it."""

    def __init__(self, world: World, settings: Settings, store: Store) -> None:
        self._world, self._settings, self._store = world, settings, store

    async def take(self, own: Ownership, key: str) -> None:
        """Takes a slot for an action, or keeps the one that it has. Waits a little where none is
        free; `NotNow` where that does not help."""
        clock, settings = self._world.clock, self._settings
        patient_until = clock.now_ms() + settings.slot_patience_ms
        while True:
            now = clock.now_ms()
            slots = await self._take_now(own, key, now)
            if key in slots:
                return
            if now >= patient_until:
                raise NotNow("the budget of goodwill is used up for now")
            await clock.sleep(max(1, min(*slots.values(), patient_until) - clock.now_ms()))

    async def _take_now(self, own: Ownership, key: str, now_ms: int) -> Slots:
        until_ms, most = now_ms + self._settings.in_flight_ms, self._settings.credits_max
        return await self._change(
            own, lambda slots: with_slot(slots, key, now_ms=now_ms, until_ms=until_ms, most=most)
        )

    async def answered(self, own: Ownership, key: str) -> None:
        """The action was carried out, at the latest now: from here on the window counts."""
        until = self._world.clock.now_ms() + self._settings.credits_window_ms
        await self._change(own, lambda slots: {**slots, key: until})

    async def give_back(self, own: Ownership, key: str) -> None:
        """The action was certainly not carried out."""
        await self._change(
            own,
            lambda slots: {k: v for k, v in slots.items() if k != key} if key in slots else None,
        )

    async def _change(self, own: Ownership, change: Callable[[Slots], Slots | None]) -> Slots:
        """Applies a change to the slots that stand, and returns those that stand after it."""

        def applied(value: Any) -> Mapping[str, Any] | None:
            changed = change(slots_of(value))
            return None if changed is None else {"slots": changed}

        known = await self._store.read(ID)
        item: Item = await self._store.amend(
            ID, known, applied, own, ttl_ms=self._settings.task_ttl_ms
        )
        return slots_of(item.value)


def with_slot(
    slots: Mapping[str, int], key: str, /, *, now_ms: int, until_ms: int, most: int
) -> Slots | None:
    """The slots with one for `key` and without those that are over; None where there is no room."""
    open_slots = {k: until for k, until in slots.items() if until > now_ms or k == key}
    if key not in open_slots and len(open_slots) >= most:
        return None
    return {**open_slots, key: until_ms}


def slots_of(value: Any, /) -> Slots:
    """The slots in an item's value."""
    slots = value.get("slots") if isinstance(value, Mapping) else None
    return dict(slots) if isinstance(slots, Mapping) else {}
