"""Reading pages of the outside: redirects are followed by hand, and each hop is asked for.

A page that is allowed may send its reader anywhere, so the rules are asked before *every* request
and not only before the first. Reading has no effect: it needs no key and no intent on record, and
after a lost answer it is simply done again, within a bound.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import urljoin

from chaoslab.reference.errors import NotNow
from chaoslab.reference.policies import Policies
from chaoslab.reference.records import Step
from chaoslab.reference.settings import Settings, pause_ms
from chaoslab.reference.store import LATER
from chaoslab.world import Indeterminate, NetworkReply, Refused, World

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_CHARS_MAX: Final = 4_000  # a page goes into a record and a prompt, so its length is bounded too


class Pages:
    """The outside, as this process reads it."""

    def __init__(self, world: World, settings: Settings, policies: Policies) -> None:
        self._world, self._settings, self._policies = world, settings, policies

    async def read(self, policy: str, step: Step) -> Step:
        """The step as it goes on record: `done` with the page, or `declined` where the way to it
        leads where it must not. `NotNow` where nobody answers."""
        url = str(step.args["url"])
        for hop in range(self._settings.redirects_max + 1):
            objection = await self.objection(policy, url, hop)
            if objection:
                return replace(step, state="declined", why=objection)
            try:
                reply = await self._get(url)
            except Refused as error:
                return replace(step, state="declined", why=f"nobody can read that: {error.code}")
            location = reply.headers.get("location", "")
            if reply.status not in _REDIRECTS or not location:
                return replace(step, state="done", page=_text(reply))
            url = _next(url, location)
        return replace(step, state="declined", why="the page only leads on to others")

    async def objection(self, policy: str, url: str, hop: int) -> str:
        """Why the rules forbid a request, the first (`hop` 0) or one that a page led to."""
        return await self._policies.objection(policy, "browse", {"url": url})

    async def _get(self, url: str) -> NetworkReply:
        settings, problem = self._settings, ""
        for nth in range(1, settings.page_tries + 1):
            try:
                return await self._world.network.request(
                    "GET", url, deadline_ms=settings.page_deadline_ms
                )
            except (Indeterminate, *LATER) as error:
                problem = error.code
            await self._world.clock.sleep(
                pause_ms(
                    nth,
                    self._world.random,
                    first_ms=settings.retry_first_ms,
                    most_ms=settings.retry_most_ms,
                )
            )
        raise NotNow(f"a page gets no answer now: {problem}")


def _next(url: str, location: str) -> str:
    """Where a redirect leads. What cannot be told apart is left as it is, for the rules to see."""
    try:
        return urljoin(url, location)
    except ValueError:
        return location


def _text(reply: NetworkReply) -> str:
    if reply.status != 200:
        return f"there is no such page (status {reply.status})"
    return reply.body.decode("utf-8", "replace")[:_CHARS_MAX]
