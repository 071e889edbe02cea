"""Hypothesis' database of failing examples: read when a campaign begins, written when it ends.

An example is a list of draws. While a campaign runs nothing of it changes, so what one shard finds
cannot steer another, and the rows of a campaign depend on what was in the database at its
beginning alone. A database is never worth a campaign: where it cannot be read or written, that is
said in words, and costs nothing else.

>>> overlay = Overlay({b"key": (b"old",)}, b"key")
>>> overlay.save(b"whatever Hypothesis calls the test", b"new")
>>> list(overlay.fetch(b"whatever Hypothesis calls the test")), overlay.saved
([b'old'], {b'new': None})
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase

from chaoslab.core.errors import UsageError, mend_disk

Entries = Mapping[bytes, tuple[bytes, ...]]
_OTHERS = (b".secondary", b".pareto")  # what Hypothesis keeps beside the failures of a test


class Overlay(ExampleDatabase):
    """What one shard sees: a copy that is only read, under one key, and a buffer beside it.

    Hypothesis makes its key from the source of the test, so the smallest edit of ours would lose
    all examples; here its primary key means ours. An example that fails no more is not handed out
    again, and stands in `dropped`. After `close` nothing changes.
    """

    def __init__(self, entries: Entries, key: bytes) -> None:
        super().__init__()
        self._values = tuple(sorted(entries.get(key, ())))
        self._closed = False
        # As dictionaries, which keep their order.
        self.saved: dict[bytes, None] = {}
        self.dropped: dict[bytes, None] = {}

    def fetch(self, key: bytes) -> Iterable[bytes]:
        """The examples of the beginning, but for those that fail no more."""
        if not key.endswith(_OTHERS):
            yield from (value for value in self._values if value not in self.dropped)

    def save(self, key: bytes, value: bytes) -> None:
        """Notes an example that fails."""
        if not self._closed and not key.endswith(_OTHERS):
            self.saved[bytes(value)] = None

    def delete(self, key: bytes, value: bytes) -> None:
        """Notes that an example does not fail, or shows what another one shows."""
        if not self._closed and not key.endswith(_OTHERS):
            self.dropped[bytes(value)] = None

    def close(self) -> None:
        """Takes no more notes: whatever is said now is about an example that was cut off."""
        self._closed = True


@dataclass(slots=True)
class Examples:
    """The database of a campaign. `problems` says in words what did not work."""

    where: str
    key: bytes
    problems: list[str] = field(default_factory=list)

    def read(self) -> dict[bytes, tuple[bytes, ...]]:
        """What stands under the key; nothing where it cannot be read."""
        try:
            found = tuple(sorted(_open(self.where).fetch(self.key)))
        except UsageError:
            raise
        except Exception as error:  # a network's, a file system's: nothing that we know better
            self.problems.append(f"{self._named} cannot be read: {_said(error)}")
            return {}
        return {self.key: found} if found else {}

    def write(self, saved: Iterable[bytes], dropped: Iterable[bytes] = ()) -> None:
        """Adds what was found, and takes out what fails no more and was not found again."""
        kept = dict.fromkeys(saved)
        gone = [value for value in dict.fromkeys(dropped) if value not in kept]
        if not kept and not gone:
            return
        try:
            if "://" not in self.where:
                Path(self.where).mkdir(parents=True, exist_ok=True)
            database = _open(self.where)
            for value in gone:
                database.delete(self.key, value)
            for value in kept:
                database.save(self.key, value)
            # The directory's own database is silent about what it could not write.
            missing = len(kept.keys() - set(database.fetch(self.key)))
        except Exception as error:
            self.problems.append(f"{self._named} cannot be written: {_said(error)}")
            return
        if missing:
            self.problems.append(
                f"{self._named} did not keep {missing} of {len(kept)} examples; next: "
                "name a folder that you may write to"
            )

    @property
    def _named(self) -> str:
        return f"the database {self.where}"


def check_database(where: str, /) -> None:
    """UsageError where there can be no such database: said before anything runs."""
    _open(where)


def _open(where: str) -> ExampleDatabase:
    if where.startswith(("redis://", "rediss://", "unix://")):
        return _redis(where)
    if "://" in where or not where:
        raise UsageError(
            "there is no such database", value=where, allowed="a folder, or redis://HOST:PORT"
        )
    return DirectoryBasedExampleDatabase(os.path.abspath(where))


def _redis(where: str) -> ExampleDatabase:
    try:
        client: Any = importlib.import_module("redis")
        face: Any = importlib.import_module("hypothesis.extra.redis")
    except ImportError:
        raise UsageError(
            "a database in Redis needs the package redis, which is not installed",
            value=where,
            hint="pip install redis, or name a folder",
        ) from None
    try:
        link = client.Redis.from_url(where, socket_connect_timeout=5, socket_timeout=5)
    except ValueError as error:
        raise UsageError(
            f"this is no address of a Redis: {error}", value=where, allowed="redis://HOST:PORT"
        ) from None
    database: ExampleDatabase = face.RedisExampleDatabase(link, key_prefix=b"chaoslab:")
    return database


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}; next: {mend_disk(error)}"
    return f"{type(error).__name__}: {error}"
