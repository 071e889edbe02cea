"""The life of a session, as it is stored and as it is reported.

    initialized → active ⇄ waiting-for-tool      active, waiting-for-tool → completed | failed
    completed, failed → active (the next task)   any → quarantined
    quarantined → initialized                    only by the operator

What must outlive the process (how many traps there were, whether the session is quarantined) is
stored first and reported second: a report that the store has never heard of is worth nothing
after a crash. A quarantine is stored without expiry, or waiting would be a way out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaoslab.reference.errors import Quarantined
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.world import Durability, Item, Outcome, World

_RECENT_MAX = 32


class Sessions:
    """The sessions that this process has to do with."""

    def __init__(self, world: World, settings: Settings, store: Store) -> None:
        self._world, self._settings, self._store = world, settings, store
        self.states: dict[str, str] = {}

    def move(self, session: str, state: str, why: str) -> None:
        """Reports a move, once."""
        if self.states.get(session) != state:
            self.states[session] = state
            self._world.report.transition(session, state, why)

    async def open(self, own: Ownership, task: str) -> None:
        """Begins or goes on with a task of the session. `Quarantined` where nothing may be."""
        item = await self._store.read(_id(own.session))
        value = _value(item)
        if value["quarantine"]:
            self.move(own.session, "quarantined", value["quarantine"])
            raise Quarantined(value["quarantine"])
        # That a session is at work is worth knowing and no loss: this write may stay local.
        # Its first one is not, or a failover would make the session begin twice.
        durability: Durability = "quorum" if item is None else "local"
        await self._store.amend(
            _id(own.session),
            item,
            lambda value: {**_defaults(value), "state": "active", "last_task": task},
            own,
            ttl_ms=self._settings.session_ttl_ms,
            durability=durability,
        )
        if item is None and own.session not in self.states:
            # One that this process has worked for did not begin: its item has merely expired.
            self.move(own.session, "initialized", "its first task")
        self.states.pop(own.session, None)  # whatever this process thought, another may have moved
        self.move(own.session, "active", f"works on {task}")

    async def close(self, own: Ownership, outcome: Outcome) -> None:
        """The task has come to its end. Doing it twice counts it once."""

        def change(value: Any) -> Mapping[str, Any]:
            found = _defaults(value)
            again = outcome.task in found["recent"]
            recent = found["recent"] if again else [*found["recent"], outcome.task]
            found |= {"recent": recent[-_RECENT_MAX:], "state": _state_after(outcome)}
            return {**found, "turns": found["turns"] + (0 if again else 1)}

        item = await self._store.read(_id(own.session))
        await self._store.amend(
            _id(own.session), item, change, own, ttl_ms=self._settings.session_ttl_ms
        )

    def closed(self, own: Ownership, outcome: Outcome) -> None:
        """Reports what `close` stored."""
        self.move(own.session, _state_after(outcome), outcome.reason or f"{outcome.task} is done")

    async def note_trap(self, own: Ownership, why: str) -> None:
        """One more trap in this session. `Quarantined` at the last one that is tolerated."""
        limit = self._settings.traps_to_quarantine

        def change(value: Any) -> Mapping[str, Any]:
            found = _defaults(value)
            traps = found["traps"] + 1
            if traps < limit:
                return {**found, "traps": traps}
            reason = f"{traps} traps, the last one: {why}"
            return {**found, "traps": traps, "state": "quarantined", "quarantine": reason}

        # Nobody knows yet whether this is the one that quarantines, so the item must not expire.
        item = await self._store.read(_id(own.session))
        item = await self._store.amend(_id(own.session), item, change, own, ttl_ms=None)
        reason = _value(item)["quarantine"]
        if reason:
            self.move(own.session, "quarantined", reason)
            raise Quarantined(reason)

    async def quarantined(self, session: str) -> Item | None:
        """The session as it stands in quarantine; None where it does not."""
        item = await self._store.read(_id(session))
        return item if _value(item)["quarantine"] else None

    async def release(self, own: Ownership, seen: Item) -> None:
        """The operator has looked at what is `seen` and lets the session go on. A quarantine
        that came after that look stands."""

        def change(value: Any) -> Mapping[str, Any]:
            return {**_defaults(value), "traps": 0, "quarantine": "", "state": "initialized"}

        item = await self._store.read(_id(own.session))
        if item is None or item.version != seen.version:
            return
        await self._store.amend(
            _id(own.session), item, change, own, ttl_ms=self._settings.session_ttl_ms
        )
        self.move(own.session, "initialized", "released by the operator")


def _id(session: str) -> str:
    return f"session/{session}"


def _state_after(outcome: Outcome) -> str:
    return "failed" if outcome.status == "failed" else "completed"


def _value(item: Item | None) -> dict[str, Any]:
    return _defaults(None if item is None else item.value)


def _defaults(value: Any) -> dict[str, Any]:
    empty = {
        "state": "initialized",
        "turns": 0,
        "last_task": "",
        "recent": [],
        "traps": 0,
        "quarantine": "",
    }
    return {**empty, **value} if isinstance(value, Mapping) else empty
