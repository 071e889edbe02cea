r"""Strict reading of TOML tables: every problem of a file in one message.

A reader asks for what it knows; whatever was not asked for is unknown and refused. Problems are
collected, so that a person mends a file once and not line after line.

>>> problems = Problems("x.toml")
>>> table = Table({"seed": -1, "sed": 2}, problems)
>>> table.integer("seed", 0, least=0)
0
>>> table.close()
>>> print("\n".join(problems.lines))
seed: got -1 (int); allowed: an integer of 0 or more
sed: unknown key; did you mean seed?; allowed: seed
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from chaoslab.core.errors import ChaosError, shown


class Problems:
    """Collects what is wrong with one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, where: str, text: str) -> None:
        """Notes one problem at a dotted place."""
        self.lines.append(f"{where}: {text}")

    def raise_if_any(self, error: type[ChaosError]) -> None:
        """Raises one error that names them all."""
        if self.lines:
            many = "a problem" if len(self.lines) == 1 else f"{len(self.lines)} problems"
            raise error(f"{self.file} has {many}:\n  " + "\n  ".join(self.lines))


class Table:
    """One TOML table that is read key by key."""

    def __init__(self, raw: Mapping[str, Any], problems: Problems, path: str = "") -> None:
        self.raw = raw
        self.problems = problems
        self.path = path
        self._asked: list[str] = []

    def _where(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _bad(self, key: str, value: object, allowed: str) -> None:
        self.problems.add(self._where(key), f"got {shown(value)}; allowed: {allowed}")

    def complain(self, key: str, text: str) -> None:
        """Notes a problem that the reader found by itself."""
        self.problems.add(self._where(key) if key else self.path or "file", text)

    def get(self, key: str) -> Any:
        """The raw value or None; the key counts as known."""
        self._asked.append(key)
        return self.raw.get(key)

    def text(
        self, key: str, default: str = "", *, among: Collection[str] = (), must: bool = False
    ) -> str:
        """A string, one of `among` where given."""
        value = self.get(key)
        allowed = ", ".join(among) or "a string"
        if value is None:
            if must:
                self.problems.add(self._where(key), f"is missing; allowed: {allowed}")
            return default
        if not isinstance(value, str) or (among and value not in among):
            self._bad(key, value, allowed)
            return default
        return value

    def integer(self, key: str, default: int, *, least: int = 0, most: int = 2**62) -> int:
        """An integer within bounds."""
        found = self.maybe_integer(key, least=least, most=most)
        return default if found is None else found

    def maybe_integer(self, key: str, *, least: int = 0, most: int = 2**62) -> int | None:
        """An integer within bounds, or None where the key is absent."""
        value = self.get(key)
        if value is None:
            return None
        if type(value) is not int or not least <= value <= most:
            upper = "" if most == 2**62 else f" and at most {most}"
            self._bad(key, value, f"an integer of {least} or more{upper}")
            return None
        return value

    def boolean(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self.get(key)
        if value is None:
            return default
        if type(value) is not bool:
            self._bad(key, value, "true or false")
            return default
        return value

    def strings(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of strings."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self._bad(key, value, "a list of strings")
            return default
        return tuple(value)

    def table(self, key: str) -> Table:
        """A sub-table; empty where absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, Mapping):
            self._bad(key, value, f"a table [{self._where(key)}]")
            value = None
        return Table(value or {}, self.problems, self._where(key))

    def tables(self, key: str) -> list[Table]:
        """A list of tables."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
            self._bad(key, value, f"a list of tables [[{self._where(key)}]]")
            return []
        return [Table(v, self.problems, f"{self._where(key)}[{i}]") for i, v in enumerate(value)]

    def close(self) -> None:
        """Complains of every key that nobody asked for."""
        known = sorted(set(self._asked))
        for key in self.raw:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.problems.add(
                    self._where(key), f"unknown key{hint}; allowed: {', '.join(known)}"
                )

    def format_is(self, major: int) -> None:
        """Demands `format = major`."""
        value = self.get("format")
        if type(value) is not int or value != major:
            seen = "is missing" if value is None else f"got {shown(value)}"
            self.problems.add(self._where("format"), f"{seen}; allowed: {major}")


def load_toml(path: Path, error: type[ChaosError], /) -> dict[str, Any]:
    """The file as a dict; one clear error where it cannot be read or is not TOML."""
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise error(f"{path} does not exist", hint="check the path") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder", allowed="a .toml file") from None
    except UnicodeDecodeError as failure:
        raise error(f"{path} is not UTF-8 text: {failure.reason}") from None
    except tomllib.TOMLDecodeError as failure:
        raise error(f"{path} is not TOML: {failure}", hint="mend that line") from None
    except OSError as failure:
        raise error(f"{path} cannot be read: {failure.strerror}") from None
