"""Reads the single values of which the tables about agents and services are made: commands,
addresses, queries, paths, and texts with holes.

Every text is checked for holes that nobody could fill, since a process that starts with a literal
`{modle}` in its environment fails far from the slip. Paths are taken from the contract's folder
on, so that a run means the same from any folder.

>>> from chaoslab.contract.holes import RUN_HOLES
>>> from chaoslab.core.tables import Problems
>>> problems = Problems("chaoslab.toml")
>>> table = Table({"command": "python 'my agent.py'", "reset": [3]}, problems)
>>> argv(table, "command", Holes(RUN_HOLES)), argv(table, "reset", Holes(RUN_HOLES))
(('python', 'my agent.py'), ())
>>> problems.lines
['reset: got [3] (list); allowed: a list of strings, or one string, split as a shell would']
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from chaoslab.contract.holes import TASK_HOLES, holes_in, quoted_hole
from chaoslab.core.errors import shown
from chaoslab.core.tables import Table

Argv: TypeAlias = tuple[str, ...]
COMMAND: Final = "a list of strings, or one string, split as a shell would"
HTTP: Final = re.compile(r"https?://\S+|\{[\w.-]+\}\S*")


class Holes:
    """The names that may stand in braces in a text."""

    def __init__(self, names: Iterable[str], services: Collection[str] = ()) -> None:
        self._names = tuple(names)
        self._services = tuple(services)

    def and_tasks(self) -> Holes:
        """The same in what belongs to one task."""
        return Holes((*self._names, *TASK_HOLES), self._services)

    def check(self, table: Table, key: str, value: Any) -> None:
        """Complains of holes that nobody could fill."""
        allowed = (*self._names, *(f"services.{name}" for name in self._services))
        for name in dict.fromkeys(holes_in(value)):
            if name not in allowed:
                why = "which is only known where a task is" if name in TASK_HOLES else ""
                told = f"the hole {{{name}}}, {why}" if why else f"the unknown hole {{{name}}}"
                names = ", ".join(f"{{{one}}}" for one in allowed)
                table.complain(key, f"got {shown(value)} with {told}; allowed: {names}")


def argv(table: Table, key: str, holes: Holes, /) -> Argv:
    """The command under a key; empty where there is none."""
    raw = table.get(key)
    return () if raw is None else split(table, key, raw, holes)


def split(table: Table, key: str, raw: Any, holes: Holes, /) -> Argv:
    """A command that was given as a list of strings, or as one string."""
    if isinstance(raw, str):
        try:
            raw = shlex.split(raw)
        except ValueError as error:
            table.complain(key, f"got {shown(raw)}, which cannot be split: {error}")
            return ()
    if (
        not isinstance(raw, list)
        or not raw
        or not all(isinstance(p, str) for p in raw)
        or not raw[0]
    ):
        table.complain(key, f"got {shown(raw)}; allowed: {COMMAND}")
        return ()
    holes.check(table, key, raw)
    return tuple(raw)


def texts(table: Table, key: str, holes: Holes, /) -> dict[str, str]:
    """A table of strings, such as an environment."""
    part = table.table(key)
    found = {name: part.text(name) for name in part.raw}
    for name, value in found.items():
        holes.check(part, name, value)
    return found


def url(table: Table, key: str, holes: Holes, /) -> str:
    """An HTTP address; it may begin with a hole."""
    text = table.text(key)
    if key in table.raw and not HTTP.fullmatch(text):
        if isinstance(table.raw[key], str):
            table.complain(key, f"got {shown(text)}; allowed: http://… or https://…")
        return ""
    holes.check(table, key, text)
    return text


def sql(table: Table, key: str, holes: Holes, /) -> str:
    """A query; its holes are values, so they stand without quotes."""
    text = table.text(key)
    if key in table.raw and isinstance(table.raw[key], str):
        if not text.strip():
            table.complain(key, f"got {shown(text)}; allowed: one query")
        quoted = quoted_hole(text)
        if quoted:
            bare = quoted.strip("'")
            table.complain(
                key, f"got {shown(quoted)}; a hole is a value, so allowed: {bare} without quotes"
            )
    holes.check(table, key, text)
    return text


def database(table: Table, folder: Path, holes: Holes, /) -> str:
    """The `database` of a table."""
    text = table.text("database")
    holes.check(table, "database", text)
    return file_at(text, folder)


def file_at(text: str, folder: Path, /) -> str:
    """A database: a path made whole; an address, or what begins with a hole, as it stands."""
    return text if not text or "://" in text or text.startswith("{") else path_at(text, folder)


def path_at(path: str, folder: Path, /) -> str:
    """A path from a folder on, made whole; one that begins with a hole as it stands."""
    return path if path.startswith("{") else str((folder / path).resolve())


def folder_at(table: Table, folder: Path, /) -> str:
    """The `cwd` of a table; where it says none, the contract's folder."""
    text = table.text("cwd")
    if text and not text.startswith("{") and not (folder / text).is_dir():
        table.complain("cwd", f"there is no folder {folder / text}")
    return path_at(text, folder)


def template_at(table: Table, folder: Path, /) -> str:
    """The `template` of a table, a file or a folder."""
    text = table.text("template")
    if text and not (folder / text).exists():
        table.complain("template", f"there is no file or folder {folder / text}")
    return str((folder / text).resolve()) if text else ""


def function_at(table: Table, folder: Path, /) -> str:
    """The `function` of a table, `path.py:name`, with its path made whole."""
    text = table.text("function")
    if not text:
        return ""
    path, colon, name = text.rpartition(":")
    if not colon or not path.endswith(".py") or not name.isidentifier():
        table.complain("function", f"got {text!r} (str); allowed: path.py:function")
        return ""
    if not (folder / path).is_file():
        table.complain("function", f"there is no file {folder / path}")
    return f"{path_at(path, folder)}:{name}"


def duration_ms(table: Table, name: str, default: int, /) -> int:
    """`NAME_ms`, or the same in seconds as `NAME_s`."""
    ms = table.maybe_integer(f"{name}_ms", least=1)
    seconds = table.maybe_integer(f"{name}_s", least=1)
    if ms is not None and seconds is not None:
        table.complain(f"{name}_s", f"stands beside {name}_ms; allowed: one of them")
    if seconds is not None:
        return seconds * 1_000
    return default if ms is None else ms


def is_json(value: Any, /) -> bool:
    """Whether a TOML value can be written as JSON: TOML has dates beside it."""
    if isinstance(value, Mapping):
        return all(is_json(v) for v in value.values())
    if isinstance(value, list):
        return all(is_json(v) for v in value)
    return value is None or isinstance(value, (bool, int, float, str))
