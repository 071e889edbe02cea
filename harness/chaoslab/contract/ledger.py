"""The tables that a team's own query sees: the ledger of one execution as a small database.

Everything stands in them as it happened; times are milliseconds of the execution's clock, `op` is
the number of an entry of the history. Arguments and values are JSON text, so that SQLite's
`json_extract(args, '$.amount_cents')` reaches into them.

>>> problem("select op from effects where stands and key is null")
''
>>> problem("delete from effects")
'only a query is allowed: not authorized'
>>> problem("select * from refunds").partition(";")[0]
'no such table: refunds'
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

TABLES: Final[Mapping[str, str]] = {
    "effects": "op, time_ms, tool, marker, ref, key, args, task, session, tenant, process, "
    "stands, undone_op",
    "requests": "op, time_ms, tool, marker, key, attempt, args, task, session, process, "
    "answer, error",
    "outcomes": "op, time_ms, task, session, process, status, reason, answer, counted",
    "claims": "op, task, session, tool, marker, ref",
    "tasks": "task, session, tenant, deliveries, status",
    "memory": "op, time_ms, id, value, version, task, session, process, erased",
    "entries": "op, time_ms, type, f, process, session, task, call, marker, key, value",
}

# What these answer differs from one time to the next, or reaches beyond the database.
_REFUSED: Final = frozenset(
    (
        *("random", "randomblob", "date", "time", "datetime", "julianday", "strftime"),
        *("unixepoch", "timediff", "current_date", "current_time", "current_timestamp"),
        *("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"),
    )
)
_ALLOWED: Final = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))
_STEPS_MAX: Final = 50_000  # in units of a thousand: a second or two of a query


def empty() -> sqlite3.Connection:
    """The tables, empty, in memory."""
    base = sqlite3.connect(":memory:")
    for name, columns in TABLES.items():
        base.execute(f"create table {name} ({columns})")
    return base


def closed(base: sqlite3.Connection, /) -> sqlite3.Connection:
    """From now on the database only answers queries, each within a bound."""
    left = [_STEPS_MAX]

    def used_up() -> int:
        left[0] -= 1
        return left[0] < 0

    base.commit()
    base.set_authorizer(_judge)
    base.set_progress_handler(used_up, 1_000)
    return base


def _judge(action: int, one: str | None, two: str | None, *_: str | None) -> int:
    if action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (two or "").lower() not in _REFUSED:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def problem(sql: str, /) -> str:
    """Why a query cannot be asked; "" where it can."""
    base = closed(empty())
    try:
        if base.execute(sql).description is None:
            return "only a query is allowed: it returns nothing"
    except (sqlite3.Error, sqlite3.Warning) as error:
        text = str(error)
        if text == "interrupted":
            return "the query takes too long, even where there is nothing in the tables"
        if "not authorized" in text or "prohibited" in text:
            return f"only a query is allowed: {text}"
        told = "; ".join(f"{name}({columns})" for name, columns in TABLES.items())
        return f"{text}; the tables are {told}"
    finally:
        base.close()
    return ""
