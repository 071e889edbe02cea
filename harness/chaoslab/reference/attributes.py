"""What is sensitive about a customer: kept in one place, and taken from there when it is sent.

The model can do its work without it, so it is neither in a prompt nor in what the model says, and
therefore not in a task's record, a log or an answer either. What is not copied cannot leak. It is
stored by tenant and session, and read anew for each request: a copy that a process kept for itself
would have to be told apart by customer again, and would outlive what was erased.

>>> kept_of({"customer": {"name": "Ada"}, "attributes": {"iban": "DE00"}, "order": "o-7"})
{'name': 'Ada', 'iban': 'DE00'}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.world import Task


class Attributes:
    """The attributes of all customers."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    async def keep(self, own: Ownership, task: Task) -> None:
        """Stores what came with a task, if anything did."""
        found = kept_of(task.data)
        if not found:
            return

        def change(there: Any) -> Mapping[str, Any] | None:
            same = isinstance(there, Mapping) and all(there.get(k) == v for k, v in found.items())
            return None if same else found

        id = _id(task.tenant, task.session)
        known = await self._store.read(id)
        await self._store.amend(id, known, change, own, ttl_ms=self._settings.attributes_ttl_ms)

    async def of(self, tenant: str, session: str) -> Mapping[str, Any]:
        """What is known of a customer."""
        item = await self._store.read(_id(tenant, session))
        return item.value if item is not None and isinstance(item.value, Mapping) else {}


def kept_of(data: Mapping[str, Any], /) -> dict[str, Any]:
    """What of a task's data is kept as the customer's."""
    groups = (data.get("customer"), data.get("attributes"))
    return {k: v for group in groups if isinstance(group, Mapping) for k, v in group.items()}


def _id(tenant: str, session: str) -> str:
    return f"attr/{tenant}/{session}"
