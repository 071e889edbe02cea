"""Checks what an agent passes to the world, before any of it gets near the record.

A mistake in a call is not a fault of the world: it would come back as the agent's own exception
and be taken for an unlucky handler. So it is raised in the agent and remembered by the lab.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NoReturn

from chaoslab.core.errors import MISSING, AgentBroke, UsageError
from chaoslab.core.jsons import plain
from chaoslab.world.api import Any_, Expect, Write


class Inputs:
    """The checks of one execution; `broke` is where mistakes are remembered."""

    __slots__ = ("_broke",)

    def __init__(self, broke: list[str]) -> None:
        self._broke = broke

    def refuse(self, what: str, value: object = MISSING, allowed: str = "") -> NoReturn:
        """Raises and remembers."""
        error = AgentBroke(
            f"the agent passed something to the world that cannot be: {what}",
            value=value,
            allowed=allowed,
        )
        self._broke.append(str(error))
        raise error

    def data(self, value: object, where: str) -> Any:
        """A deep copy of JSON without floats."""
        try:
            return plain(value, where=where)
        except UsageError as error:
            self.refuse(str(error))
        except Exception as error:  # an agent's own types may raise anything when they are read
            self.refuse(f"{where}, reading it raised {type(error).__name__}")

    def text(self, value: object, where: str) -> str:
        """A string that can be written."""
        if not isinstance(value, str):
            self.refuse(where, value, "text")
        found: str = self.data(value, where)
        return found

    def maybe_text(self, value: object, where: str) -> str | None:
        """A string or None."""
        return None if value is None else self.text(value, where)

    def among(self, value: object, where: str, allowed: Collection[str]) -> None:
        """One of a few words."""
        if not isinstance(value, str) or value not in allowed:
            self.refuse(where, value, ", ".join(allowed))

    def whole(self, value: object, where: str) -> int:
        """A whole number of 0 or more."""
        if type(value) is not int or not 0 <= value < 2**62:
            self.refuse(where, value, "a whole number of 0 or more")
        return value

    def maybe_whole(self, value: object, where: str) -> int | None:
        """A whole number or None."""
        return None if value is None else self.whole(value, where)

    def args(self, value: object, where: str) -> dict[str, Any]:
        """An object."""
        if not isinstance(value, Mapping):
            self.refuse(where, value, "an object with string keys")
        found: dict[str, Any] = self.data(value, where)
        return found

    def objects(self, value: object, where: str) -> list[Any]:
        """A list of objects."""
        if (
            isinstance(value, str)
            or not isinstance(value, Sequence)
            or not all(isinstance(v, Mapping) for v in value)
        ):
            self.refuse(where, value, "a list of objects")
        found: list[Any] = self.data(list(value), where)
        return found

    def write(self, write: object, where: str) -> Write:
        """One write, copied."""
        if not isinstance(write, Write):
            self.refuse(where, write, "chaoslab.world.Write")
        self.among(write.durability, "durability", ("local", "quorum"))
        return Write(
            id=self.text(write.id, "id"),
            value=self.data(write.value, "value"),
            expect=self._expect(write.expect),
            expires_ms=self.maybe_whole(write.expires_ms, "expires_ms"),
            durability=write.durability,
        )

    def _expect(self, value: object) -> Expect:
        if value is None or isinstance(value, Any_):
            return value
        if (
            isinstance(value, (tuple, list))
            and len(value) == 2
            and all(type(n) is int for n in value)
        ):
            return (value[0], value[1])
        self.refuse("expect", value, "a version, None or ANY")
