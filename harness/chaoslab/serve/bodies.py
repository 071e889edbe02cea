"""What stands in a request, read strictly: a mistake of an agent is a 400 that names it.

The world behind the handlers takes a wrong value for a broken adapter and ends the execution. Over
HTTP it is an ordinary bad request, so everything is checked here, before it gets there.

>>> fields = Fields({"value": 1, "fence": "x"}, where="the body")
>>> fields.maybe_whole("fence")
Traceback (most recent call last):
...
ValueError: the body: 'fence' is 'x' (str); allowed: a whole number of 0 or more
>>> fields.only("value")
Traceback (most recent call last):
...
ValueError: the body: there is no field 'fence'; allowed: value
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import unquote

from starlette.requests import Request

from chaoslab.core.errors import MISSING, shown
from chaoslab.core.jsons import Json
from chaoslab.serve.app import body_of
from chaoslab.serve.floats import parsed

TASK_HEADER: Final = "X-Chaoslab-Task"
_WHOLE_MAX: Final = 2**62


async def json_of(request: Request, /, *, empty: Json = None) -> Json:
    """The body as JSON without floats; `empty` where there is none. ValueError if it is not."""
    body = await body_of(request)
    return parsed(body) if body.strip() else empty


async def object_of(request: Request, /) -> dict[str, Json]:
    """The body as a JSON object; an absent one is empty."""
    found = await json_of(request, empty={})
    if not isinstance(found, dict):
        raise ValueError(f"the body is {shown(found)}; allowed: a JSON object")
    return found


async def fields_of(request: Request, /) -> Fields:
    """The fields of the JSON object that is the body."""
    return Fields(await object_of(request), where="the body")


def raw_path_of(request: Request, /) -> str:
    """What follows the prefix in the address, as it was sent: `%2F` is still no slash."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    parts = bytes(raw).decode("latin-1").split("/", 4)  # "", token, process, prefix, rest
    return parts[4] if len(parts) > 4 else ""


def path_of(request: Request, /) -> str:
    """What follows the prefix in the address, as text. ValueError where that is not UTF-8."""
    try:
        return unquote(raw_path_of(request), errors="strict")
    except UnicodeDecodeError:
        raise ValueError("the address is not UTF-8") from None


def task_of(request: Request, /) -> str:
    """The task that the agent says it acts for, or ""."""
    return request.headers.get(TASK_HEADER, "")


class Fields:
    """An object whose fields are taken out with their types. ValueError names what is wrong."""

    def __init__(self, raw: Mapping[str, Any], /, *, where: str) -> None:
        self._raw = raw
        self._where = where

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def only(self, *names: str) -> None:
        """Refuses every other field."""
        for name in self._raw:
            if name not in names:
                allowed = ", ".join(names)
                raise ValueError(f"{self._where}: there is no field {name!r}; allowed: {allowed}")

    def get(self, name: str, /) -> Json:
        """A field of any type; None where it is absent."""
        found: Json = self._raw.get(name)
        return found

    def needed(self, name: str, /) -> Json:
        """A field of any type that must be there."""
        if name not in self._raw:
            raise ValueError(f"{self._where}: the field {name!r} is missing")
        return self.get(name)

    def text(self, name: str, default: str | None = None, /) -> str:
        """Text; it must be there if no default is given."""
        found = self.needed(name) if default is None else self._raw.get(name, default)
        if not isinstance(found, str) or (default is None and not found):
            self.refuse(name, "text")
        return found

    def maybe_text(self, name: str, /) -> str | None:
        """Text, or None where the field is absent or null."""
        return None if self._raw.get(name) is None else self.text(name, "")

    def among(self, name: str, allowed: Collection[str], default: str | None = None, /) -> str:
        """One of a few words."""
        found = self.text(name, default)
        if found not in allowed:
            self.refuse(name, ", ".join(allowed))
        return found

    def maybe_whole(self, name: str, /) -> int | None:
        """A whole number of 0 or more, or None where the field is absent or null."""
        found = self._raw.get(name)
        if found is None:
            return None
        if type(found) is not int or not 0 <= found < _WHOLE_MAX:
            self.refuse(name, "a whole number of 0 or more")
        return found

    def object(self, name: str, /) -> dict[str, Json]:
        """An object; absent or null, it is empty."""
        found = self._raw.get(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            self.refuse(name, "an object")
        return found

    def objects(self, name: str, /) -> list[Fields]:
        """A list of objects; absent or null, it is empty."""
        found = self._raw.get(name)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            self.refuse(name, "a list of objects")
        return [Fields(one, where=f"{self._where}, {name}[{i}]") for i, one in enumerate(found)]

    def refuse(self, name: str, allowed: str) -> NoReturn:
        """Raises for a field."""
        found = self._raw.get(name, MISSING)
        what = "is missing" if found is MISSING else f"is {shown(found)}"
        raise ValueError(f"{self._where}: {name!r} {what}; allowed: {allowed}")
