"""Where the effects of a team's own service are read: its database, an address, an MCP tool, a
command or a function, as `effects = {…}` of the contract says.

What a service answered proves nothing about what it did. So every source is asked itself, only to
be read, with a bound on time and size, and each of its rows is one effect with a reference that no
other has. The holes of a query are bound as values; no text of an agent becomes SQL.

>>> row_of({"id": 7, "idem_key": "k", "share": 0.5}, EffectSource(sql="select 1"))
Row(ref='7', key='k', fields={'id': 7, 'idem_key': 'k', 'share': '0.5'})
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, cast
from urllib.parse import urlsplit
from uuid import UUID

from chaoslab.adapters import load_function
from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.holes import holes_in
from chaoslab.contract.markers import field_of
from chaoslab.contract.target import EffectSource
from chaoslab.core.errors import ChaosError, LabError, UsageError
from chaoslab.core.jsons import Json, canonical, plain
from chaoslab.serve.floats import parsed, without_floats
from chaoslab.serve.holes import filled, filled_json
from chaoslab.serve.loopback import check_address
from chaoslab.serve.matching import service_of
from chaoslab.serve.sql import ROWS_MAX, query
from chaoslab.serve.upstream import Broken, Unreached, ask, target_of

__all__ = ["CallMcp", "Row", "Source", "SourceError", "query", "row_of", "source_of"]

CallMcp: TypeAlias = Callable[[str, str, Mapping[str, Json]], Awaitable[Json]]

READ_S: Final = 10.0
BYTES_MAX: Final = 16 << 20
_KEYS: Final = ("idem_key", "idempotency_key", "key")
_ABSENT: Final = re.compile(r"unable to open database file|no such table|does not exist")


@dataclass(frozen=True, slots=True)
class Row:
    """One effect, as its source tells it."""

    ref: str
    key: str | None
    fields: Mapping[str, Json]


class SourceError(LabError):
    """The effects of a tool cannot be read. `absent`: the place where they stand is not there,
    which is no mistake before the service has made it."""

    def __init__(self, tool: str, source: str, what: str, *, hint: str, absent: bool = False):
        super().__init__(f"the effects of {tool} cannot be read ({source}): {what}", hint=hint)
        self.tool = tool
        self.source = source
        self.absent = absent


class Source(Protocol):
    """Reads all effects that stand, in the order of the source. Raises SourceError."""

    async def read(self) -> tuple[Row, ...]:
        """All effects, whoever caused them."""
        ...


def source_of(
    tool: ToolContract,
    contract: Contract,
    holes: Mapping[str, str],
    /,
    *,
    call_mcp: CallMcp | None = None,
) -> Source:
    """The source that a tool declares. `holes` are the names of the execution; an address of a
    service is its own here, so that reading is no request of the agent."""
    effects = tool.effects
    if effects is None:
        raise SourceError(
            tool.name,
            "none",
            "the contract names no source",
            hint=f"add effects = {{ sql = … }} to [tools.{tool.name}]",
        )
    own = {f"services.{name}": one.url for name, one in contract.services.items() if one.url}
    base = _Base(tool=tool, effects=effects, contract=contract, holes={**holes, **own})
    if effects.sql:
        return _Sql(base)
    if effects.get:
        return _Get(base)
    if effects.tool:
        return _Mcp(base, call_mcp)
    if effects.command:
        return _Command(base)
    return _Function(base)


def row_of(raw: Any, effects: EffectSource, /) -> Row:
    """A row from its fields. ValueError says what it lacks."""
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError(f"a row is {type(raw).__name__}; allowed: an object with fields")
    fields: dict[str, Any] = {}
    for name, value in raw.items():
        fields[str(name)] = plain(_recordable(value), where=f"the field {name!r}")
    ref = field_of(fields, effects.ref) if effects.ref else next(iter(fields.values()))
    if ref is None or ref == "":
        named = effects.ref or next(iter(fields))
        raise ValueError(f"a row has no reference in {named!r}; it has {', '.join(fields)}")
    if effects.key:
        key = field_of(fields, effects.key)
    else:
        key = next((fields[name] for name in _KEYS if fields.get(name) is not None), None)
    return Row(_text(ref), None if key is None or key == "" else _text(key), fields)


def _recordable(value: Any) -> Any:
    """What a database or a function may give, as JSON without floats."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (date, time, timedelta, UUID)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _recordable(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_recordable(part) for part in value]
    return without_floats(value)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else canonical(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What all sources share."""

    tool: ToolContract
    effects: EffectSource
    contract: Contract
    holes: Mapping[str, str]

    def error(self, source: str, what: str, hint: str, *, absent: bool = False) -> SourceError:
        return SourceError(self.tool.name, source, what, hint=hint, absent=absent)

    def fill(self, text: str) -> str:
        """A text with its holes filled; one that is unknown is told rather than passed on."""
        for name in holes_in(text):
            if name not in self.holes:
                raise self.error(
                    "its text",
                    f"there is no value for {{{name}}} in {text!r}",
                    f"use one of {', '.join(self.holes)}",
                )
        return filled(text, self.holes)

    def folder(self) -> str | None:
        """Where relative paths start and commands run: the folder of the agent."""
        target = self.contract.target
        return self.fill(target.cwd) if target is not None and target.cwd else None

    def rows(self, source: str, found: Iterable[Any]) -> tuple[Row, ...]:
        """Rows from what was read, each with a reference of its own."""
        rows: dict[str, Row] = {}
        for raw in found:
            try:
                row = row_of(raw, self.effects)
            except (ValueError, UsageError) as error:
                raise self.error(source, str(error), "name ref and key in effects") from None
            if row.ref in rows:
                raise self.error(
                    source,
                    f"two rows have the reference {row.ref!r}, so it names no single effect",
                    "let the first column be the primary key, or name it: ref = …",
                )
            if len(rows) >= ROWS_MAX:
                raise self.error(
                    source, f"there are more than {ROWS_MAX} rows", "read only those of this run"
                )
            rows[row.ref] = row
        return tuple(rows.values())

    def listed(self, source: str, found: Json) -> tuple[Row, ...]:
        """Rows from JSON, at the place that `path` names."""
        path = self.effects.path
        if path:
            found = field_of(found, path) if isinstance(found, Mapping) else None
        if not isinstance(found, (list, tuple)):
            what = f"at {path!r} " if path else ""
            raise self.error(
                source,
                f"the answer has no list {what}(it is {type(found).__name__} there)",
                "let path lead to the list of effects, as in path = 'data.items'",
            )
        return self.rows(source, found)


@dataclass(frozen=True, slots=True)
class _Sql:
    """A query."""

    base: _Base

    async def read(self) -> tuple[Row, ...]:
        base = self.base
        where = base.fill(self._database())
        folder = Path(base.folder() or ".")
        upstream = base.contract.services.get(service_of(base.tool))
        hosts = upstream.hosts if upstream is not None else ()
        ask_it = partial(query, where, base.effects.sql, base.holes, folder, hosts=hosts)
        try:
            found = await asyncio.to_thread(ask_it)
        except UsageError as error:
            raise base.error("sql", str(error), "use a local database for tests") from None
        except ChaosError as error:
            raise base.error("sql", error.what, error.hint) from None
        except Exception as error:  # whatever a driver raises; the text is the database's own
            what = str(error).partition("\n")[0] or type(error).__name__
            hint = "run the query by hand against the service's database, and check `database`"
            absent = _ABSENT.search(what) is not None
            raise base.error("sql", what, hint, absent=absent) from None
        return base.rows("sql", found)

    def _database(self) -> str:
        effects, contract = self.base.effects, self.base.contract
        service = service_of(self.base.tool)
        upstream, target = contract.services.get(service), contract.target
        own = upstream.database if upstream is not None else ""
        agents = target.database if target is not None else ""
        if effects.database or own or agents:
            return effects.database or own or agents
        place = f"[services.{service}], " if service else ""
        raise self.base.error(
            "sql",
            "no database is named",
            f'add database = "{{state}}/app.db" to effects, {place}or [agent]',
        )


@dataclass(frozen=True, slots=True)
class _Get:
    """A GET that answers JSON."""

    base: _Base

    async def read(self) -> tuple[Row, ...]:
        url = self.base.fill(self.base.effects.get)
        service = service_of(self.base.tool)
        upstream = self.base.contract.services.get(service)
        try:
            check_address(url, upstream.hosts if upstream is not None else ())
            parts = urlsplit(url)
            base = f"{parts.scheme}://{parts.netloc}"
            target = target_of(base, parts.path.lstrip("/"), parts.query)
            headers = ((b"accept", b"application/json"),)
            reply = await ask(base, "GET", target, headers=headers, answer_s=READ_S)
        except (UsageError, Unreached, Broken) as error:
            hint = "let get name an address of the service that answers JSON"
            raise self.base.error("get", str(error), hint) from None
        if reply.status != 200:
            raise self.base.error(
                "get", f"{target} answered {reply.status}", "it must answer 200, without redirects"
            )
        try:
            found = parsed(reply.unpacked(BYTES_MAX), where="the answer")
        except ValueError as error:
            raise self.base.error("get", str(error), "it must answer JSON") from None
        return self.base.listed("get", found)


@dataclass(frozen=True, slots=True)
class _Mcp:
    """A tool of an MCP server; who speaks MCP is handed in."""

    base: _Base
    call_mcp: CallMcp | None

    async def read(self) -> tuple[Row, ...]:
        service, slash, name = self.base.effects.tool.partition("/")
        if self.call_mcp is None or not slash or service not in self.base.contract.services:
            known = ", ".join(self.base.contract.services) or "none"
            raise self.base.error(
                "tool",
                f"there is no MCP service for {self.base.effects.tool!r}",
                f"write tool = 'SERVICE/TOOL' with a service of the contract ({known})",
            )
        args = filled_json(dict(self.base.effects.args), self.base.holes)
        assert isinstance(args, Mapping)
        try:
            found = await asyncio.wait_for(self.call_mcp(service, name, args), READ_S)
        except ChaosError:
            raise
        except Exception as error:
            what = f"{service}/{name} failed: {type(error).__name__}: {error}"
            raise self.base.error("tool", what, "call it by hand and see") from None
        return self.base.listed("tool", self._content(found))

    def _content(self, found: Json) -> Json:
        """What a tool's result holds: its structured content, else the JSON of its text."""
        if not isinstance(found, Mapping) or not {"content", "structuredContent"} & found.keys():
            return cast(Json, without_floats(found))
        parts: Any = found.get("content") or ()
        texts = [part.get("text", "") for part in parts if isinstance(part, Mapping)]
        if found.get("isError"):
            what = f"{self.base.effects.tool} answered an error: {' '.join(map(str, texts))}"
            raise self.base.error("tool", what, "call it by hand and see")
        inner = found.get("structuredContent")
        if inner is None:
            try:
                return parsed("".join(map(str, texts)), where="its text")
            except ValueError as error:
                raise self.base.error("tool", str(error), "it must answer JSON") from None
        if isinstance(inner, Mapping) and inner.keys() == {"result"} and not self.base.effects.path:
            inner = inner["result"]  # how a server wraps what is no object
        return cast(Json, without_floats(inner))


@dataclass(frozen=True, slots=True)
class _Command:
    """A command that prints one JSON object a line. Nothing of it is left running."""

    base: _Base

    async def read(self) -> tuple[Row, ...]:
        argv = [self.base.fill(part) for part in self.base.effects.command]
        hint = "run it by hand; it must print one JSON object a line and end with code 0"
        try:
            transport, printed = await asyncio.get_running_loop().subprocess_exec(
                _Printed,
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                cwd=self.base.folder(),
                start_new_session=True,
            )
        except OSError as error:
            what = f"{argv[0]!r} cannot be started: {type(error).__name__}"
            raise self.base.error("command", what, hint) from None
        group = transport.get_pid()
        try:
            await asyncio.wait_for(printed.ended.wait(), READ_S)
        except TimeoutError:
            what = f"{argv[0]!r} did not end within {READ_S:g} s"
            raise self.base.error("command", what, hint) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            await printed.exited.wait()
            transport.close()
        if printed.size > BYTES_MAX:
            raise self.base.error("command", f"it printed more than {BYTES_MAX} bytes", hint)
        said, complained = bytes(printed.out[1]), bytes(printed.out[2])
        code = transport.get_returncode()
        if code:
            words = complained.decode("utf-8", "replace").strip().splitlines()[-1:]
            what = f"{argv[0]!r} ended with code {code}: {''.join(words)}"
            raise self.base.error("command", what, hint)
        return self.base.rows("command", self._lines(said, hint))

    def _lines(self, said: bytes, hint: str) -> list[Json]:
        found = []
        for number, line in enumerate(said.split(b"\n"), 1):
            if line.strip():
                try:
                    found.append(parsed(line, where=f"line {number}"))
                except ValueError as error:
                    raise self.base.error("command", str(error), hint) from None
        return found


class _Printed(asyncio.SubprocessProtocol):
    """What a command prints, until it has ended and closed its output, or printed too much."""

    def __init__(self) -> None:
        self.out = {1: bytearray(), 2: bytearray()}
        self.size = 0
        self.ended = asyncio.Event()
        self.exited = asyncio.Event()
        self._open = {0, 1, 2}  # 0 stands for the process

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keeps what fits."""
        self.size += len(data)
        if self.size > BYTES_MAX:
            self.ended.set()
        else:
            self.out[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """One of its outputs is closed."""
        self._over(fd)

    def process_exited(self) -> None:
        """It has ended; what it started may still hold its outputs."""
        self.exited.set()
        self._over(0)

    def _over(self, part: int) -> None:
        self._open.discard(part)
        if not self._open:
            self.ended.set()


class _Function:
    """A function of the team's own, called with the holes, in a thread."""

    def __init__(self, base: _Base) -> None:
        self._base = base
        folder = base.folder()
        name = base.fill(base.effects.function)
        if folder and not Path(name).is_absolute():
            name = str(Path(folder, name))
        self._function = load_function(name)

    async def read(self) -> tuple[Row, ...]:
        """See `Source`."""
        name = self._base.effects.function
        call = asyncio.to_thread(lambda: list(self._function(dict(self._base.holes))))
        try:
            found = await asyncio.wait_for(call, READ_S)
        except TimeoutError:
            what = f"it did not end within {READ_S:g} s"
            raise self._base.error("function", what, f"mend {name}") from None
        except Exception as error:
            what = f"it raised {type(error).__name__}: {error}"
            raise self._base.error("function", what, f"mend {name}") from None
        return self._base.rows("function", found)
