"""One query to a database of the team's own, which can only read.

Each query gets a connection of its own, so that it sees what stands now and holds nothing open.
Holes are bound as values: a task called `x' or 1=1` stays a task.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder, "app.db")
...     with closing(sqlite3.connect(path)) as base:
...         _ = base.executescript("create table runs (id, n); insert into runs values ('a', 1)")
...     query(str(path), "select n from runs where id = {run}", {"run": "a"}, Path(folder))
[{'n': 1}]
"""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import LabError
from chaoslab.core.jsons import Json
from chaoslab.serve.holes import bound
from chaoslab.serve.loopback import check_address

READ_MS: Final = 10_000
ROWS_MAX: Final = 20_000
_BUSY_S: Final = 5.0

Rows = list[dict[str, Any]]


def query(
    database: str,
    sql: str,
    holes: Mapping[str, Json],
    folder: Path,
    /,
    *,
    hosts: Sequence[str] = (),
) -> Rows:
    """The rows of a query, at most one more than ROWS_MAX, with their columns in order.

    `database` is an SQLite file (a relative one from `folder` on) or a postgresql:// address on
    loopback or at one of `hosts`. Raises the errors of the database as they are.
    """
    if is_postgres(database):
        return _postgres(database, sql, holes, hosts)
    path = database
    for prefix in ("sqlite:///", "sqlite:"):
        path = path.removeprefix(prefix)
    return _sqlite(Path(folder, path).absolute(), sql, holes)


def is_postgres(database: str, /) -> bool:
    """Whether an address is that of PostgreSQL."""
    return database.startswith(("postgresql://", "postgres://"))


def _sqlite(path: Path, sql: str, holes: Mapping[str, Json]) -> Rows:
    text, values = bound(sql, holes)
    until = monotonic_ms() + READ_MS
    uri = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as base:
        base.execute("pragma query_only = on")
        base.set_progress_handler(lambda: monotonic_ms() > until, 10_000)
        cursor = base.execute(text, values)
        columns = [column[0] for column in cursor.description or ()]
        if not columns:
            raise sqlite3.OperationalError("the statement returns nothing; allowed: a select")
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchmany(ROWS_MAX + 1)]


def _postgres(url: str, sql: str, holes: Mapping[str, Json], hosts: Sequence[str]) -> Rows:
    try:
        psycopg = importlib.import_module("psycopg")
    except ImportError:
        raise LabError(
            "a query to PostgreSQL needs psycopg, which is not installed",
            hint="pip install 'chaoslab[real]'",
        ) from None
    check_address(f"http://{urlsplit(url).hostname or ''}", hosts)
    text, values = bound(sql.replace("%", "%%"), holes, form="%({})s")
    options = f"-c default_transaction_read_only=on -c statement_timeout={READ_MS}"
    with psycopg.connect(url, connect_timeout=5, options=options) as base:
        cursor = base.execute(text, values)
        columns = [column.name for column in cursor.description or ()]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchmany(ROWS_MAX + 1)]
