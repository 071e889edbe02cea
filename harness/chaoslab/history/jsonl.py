"""A history on disk: a header line, then one line per entry, flushed as it grows.

A line is written whole or torn; a torn last line is what a killed writer leaves, so reading
stops there and says so instead of failing. Damage anywhere else is an error.

The digest covers the entries alone: the header may carry where and when.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from chaoslab.core.errors import FormatError
from chaoslab.core.jsons import Json, canonical
from chaoslab.history.op import Op

FORMAT: Final = 1
_FLUSH_EVERY = 64


class Writer:
    """Appends entries to a file and keeps their digest; without a path only the digest."""

    __slots__ = ("_file", "_hash", "_pending")

    def __init__(self, path: Path | None, header: Mapping[str, Json]) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._pending = 0
        self._file: BinaryIO | None = None
        if path is not None:
            # A history holds whatever the agent was given, so nobody else may read it.
            self._file = open(path, "wb", opener=_private)  # noqa: SIM115 - closed by close()
            head: dict[str, Json] = {"format": FORMAT, "kind": "history", **header}
            self._file.write(canonical(head).encode() + b"\n")
            self._file.flush()

    def append(self, op: Op) -> None:
        """Adds one entry. OSError where the disk refuses."""
        line = op.line().encode() + b"\n"
        self._hash.update(line)
        if self._file is not None:
            self._file.write(line)
            self._pending += 1
            if self._pending >= _FLUSH_EVERY:
                self._file.flush()
                self._pending = 0

    def digest(self) -> str:
        """The fingerprint of the entries so far, 32 hexadecimal digits."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Flushes and closes the file; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Nowhere(Writer):
    """Takes entries and keeps nothing, not even a digest: for who has them in memory and throws
    them away. Spelling out each entry is a tenth of what an execution costs."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None, {})

    def append(self, op: Op) -> None:
        """Adds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A history as it was read. `torn` tells that the last line was cut off."""

    header: Mapping[str, Any]
    ops: tuple[Op, ...]
    torn: bool = False
    digest: str = field(default="")


def read(path: Path, /) -> Stored:
    """Reads a history. FormatError where it is none, is damaged, or of another major version."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read: {error.strerror}", hint="run the scenario again"
        ) from None
    torn = lines[-1] != b""
    if not lines[0]:
        raise FormatError(f"{path} is empty", hint="run the scenario again")
    header = _header(path, lines[0])
    body = lines[1:-1]
    hasher = hashlib.blake2b(digest_size=16)
    ops = []
    for number, line in enumerate(body):
        try:
            op = Op.from_json(json.loads(line))
        except (ValueError, FormatError) as error:
            raise FormatError(
                f"{path}, line {number + 2} is damaged: {error}", hint="run the scenario again"
            ) from error
        if op.index != number:
            raise FormatError(
                f"{path}, line {number + 2}: entry numbers are not in order",
                value=op.index,
                allowed=str(number),
            )
        hasher.update(line + b"\n")
        ops.append(op)
    return Stored(header=header, ops=tuple(ops), torn=torn, digest=hasher.hexdigest())


def _header(path: Path, line: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(line)
    except ValueError as error:
        raise FormatError(f"{path} does not start with a header line: {error}") from error
    if not isinstance(header, dict) or header.get("kind") != "history":
        raise FormatError(f"{path} is not a history of chaoslab", hint="name a *.jsonl of a run")
    if header.get("format") != FORMAT:
        raise FormatError(
            f"{path} has another major version",
            value=header.get("format"),
            allowed=str(FORMAT),
            hint="read it with the version of chaoslab that wrote it",
        )
    return header
