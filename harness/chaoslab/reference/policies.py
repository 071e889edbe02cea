"""The rules of the house: versions that are never rewritten, and a pointer to the one in force.

A task notes the version under which it began, so that a resumed task is judged by the rules it
started with, and so that one can say later why something was allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from chaoslab.reference.ownership import Ownership
from chaoslab.reference.store import Store

_CURRENT: Final = "policy/current"
_FIRST: Final = "policy/v1"
_FIRST_RULES: Final[Mapping[str, Any]] = {"refund_cents_max": 1_000_000, "hosts": ["kb.example"]}


class Policies:
    """The policies that this process has read. A version cannot change, so it is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Mapping[str, Any]] = {}

    async def current(self, own: Ownership) -> str:
        """The id of the version in force; the very first task of all sets up the first one."""
        item = await self._store.read(_CURRENT)
        if item is None:
            await self._create(_FIRST, _FIRST_RULES, own)
            item = await self._create(_CURRENT, {"version": _FIRST}, own)
        assert isinstance(item.value, Mapping)
        return str(item.value["version"])

    async def objection(self, version: str, tool: str, args: Mapping[str, Any]) -> str:
        """Why the rules forbid an action; "" where they do not."""
        rules = await self._rules(version)
        most = rules.get("refund_cents_max")
        if tool == "refund" and isinstance(most, int) and args["amount_cents"] > most:
            return f"{version} allows {most} cents at most"
        if tool == "browse":
            host = _host(args["url"])
            if host not in rules.get("hosts", ()):
                return f"{version} does not allow requests to {host or 'such an address'}"
        return ""

    async def _rules(self, version: str) -> Mapping[str, Any]:
        if version not in self._known:
            item = await self._store.read(version)
            value = None if item is None else item.value
            self._known[version] = value if isinstance(value, Mapping) else {}
        return self._known[version]

    async def _create(self, id: str, value: Mapping[str, Any], own: Ownership) -> Any:
        """Writes what is not there yet; what another process was quicker to write is left."""
        known = await self._store.read(id)
        return await self._store.amend(
            id, known, lambda there: value if there is None else None, own, ttl_ms=None
        )


def _host(url: str) -> str:
    """Whom a request would go to, with port and user where there are any: then it is not one of
    the plain names in the rules. "" where nobody can tell."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.netloc.lower() if parts.scheme in ("http", "https") else ""
