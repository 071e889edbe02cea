"""The customer's profile: several items that are only good together.

A write of several items can stop after any of them, so the group is written under ids that bear
its revision and that nobody reads yet; then one compare-and-set on the *manifest* makes the whole
group valid at once. A reader goes through the manifest and takes all of a revision or nothing.
Torn groups stay behind unseen and are swept away later.

    profile/s1            {"revision": "s1-t2", "parts": ["city", "phone", "street"]}
    profile/s1/s1-t2/city "Springfield"
"""

from __future__ import annotations

from collections.abc import Mapping

from chaoslab.reference.errors import NotNow
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings
from chaoslab.reference.store import Store
from chaoslab.world import Conflict, Indeterminate, Item, Write

_TRIES_MAX = 5


class Profiles:
    """The profiles of all sessions."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._ttl_ms = store, settings.task_ttl_ms

    async def save(self, own: Ownership, revision: str, parts: Mapping[str, str], now: int) -> None:
        """Makes `parts` the session's profile. Doing it again changes nothing."""
        manifest = await self._store.read(_manifest(own.session))
        if _revision(manifest) == revision:
            return
        standing = await self._write_parts(own, revision, parts, now)
        await self._store.amend(
            _manifest(own.session),
            manifest,
            lambda _: {"revision": revision, "parts": sorted(parts)},
            own,
            ttl_ms=self._ttl_ms,
        )
        for item in standing:
            if not item.id.startswith(self.part(own.session, revision, "")):
                await self._store.erase(item.id, own)

    async def load(self, session: str) -> dict[str, str]:
        """The profile, whole; empty where there is none."""
        for _ in range(_TRIES_MAX):
            manifest = await self._store.read(_manifest(session))
            if manifest is None or not isinstance(manifest.value, Mapping):
                return {}
            prefix = self.part(session, _revision(manifest), "")
            items = await self._store.scan(prefix)
            found = {item.id.removeprefix(prefix): str(item.value) for item in items}
            names = manifest.value.get("parts")
            if isinstance(names, (list, tuple)) and all(name in found for name in names):
                return {str(name): found[str(name)] for name in names}
            # The revision was replaced while we read it: the next manifest has another.
        return {}

    def part(self, session: str, revision: str, name: str) -> str:
        """The id of a part; with "" for the last ones, the prefix of all that are below."""
        return "/".join(x for x in ("profile", session, revision) if x) + f"/{name}"

    async def _write_parts(
        self, own: Ownership, revision: str, parts: Mapping[str, str], now: int
    ) -> tuple[Item, ...]:
        """Writes the parts of a revision, whole. Returns what stood below the session before."""
        for _ in range(_TRIES_MAX):
            standing = await self._store.scan(self.part(own.session, "", ""))
            versions = {item.id: item.version for item in standing}
            writes = [
                Write(
                    id=id,
                    value=parts[name],
                    expect=versions.get(id),
                    expires_ms=now + self._ttl_ms,
                    durability="quorum",
                )
                for name in sorted(parts)
                for id in (self.part(own.session, revision, name),)
            ]
            try:
                await self._store.write_group(writes, own)
                return standing
            except (Conflict, Indeterminate):
                continue  # how far it got does not matter: all of it is written again
        raise NotNow("the profile cannot be written now")


def _manifest(session: str) -> str:
    return f"profile/{session}"


def _revision(manifest: Item | None) -> str:
    if manifest is None or not isinstance(manifest.value, Mapping):
        return ""
    return str(manifest.value.get("revision", ""))
