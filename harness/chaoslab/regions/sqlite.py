"""A region's copy in a SQLite file.

Write-ahead logging with `synchronous=NORMAL`: a process that is killed at any instant leaves whole
transactions. Only a machine that loses power may lose the last of them, and then still whole ones.
The ledger can be read by another process, also after the region's own is dead.

>>> import tempfile, pathlib
>>> with tempfile.TemporaryDirectory() as folder:
...     store = SqliteStore(pathlib.Path(folder) / "region.db")
...     store.lead(1, 0)
...     row = store.write(Change(uid="c1", id="cart", value={"items": 2}))
...     found = store.read("cart") == row == store.ledger(0)[0]
...     store.close()
>>> found, row.version
(True, (1, 1))
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaoslab.regions.rows import Change, Row, State, judged, row_of

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fences (session TEXT PRIMARY KEY, fence INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (nth INTEGER PRIMARY KEY, row TEXT NOT NULL);
INSERT OR IGNORE INTO meta VALUES ('epoch', 1), ('leads', 0), ('count', 0);
"""


class SqliteStore:
    """See the module and `store.Store`."""

    def __init__(self, path: Path, /) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_TABLES)
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def state(self) -> State:
        """See `Store`."""
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        (nth,) = self._db.execute("SELECT coalesce(max(nth), 0) FROM ledger").fetchone()
        return State(
            epoch=meta["epoch"],
            leads=bool(meta["leads"]),
            count=meta["count"],
            nth=nth,
            fences=self._fences(),
        )

    def _fences(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT session, fence FROM fences"))

    def _note(self, **values: int) -> None:
        rows = [(value, name) for name, value in values.items()]
        self._db.executemany("UPDATE meta SET value = ? WHERE name = ?", rows)

    def lead(self, epoch: int, count: int) -> None:
        """See `Store`."""
        with self._transaction():
            self._note(epoch=epoch, leads=1, count=max(count, self.state().count))

    def follow(
        self, epoch: int, rows: Sequence[Row], fences: Mapping[str, int], count: int
    ) -> None:
        """See `Store`."""
        with self._transaction():
            self._note(epoch=epoch, leads=0, count=count)
            self._db.execute("DELETE FROM rows")
            self._db.execute("DELETE FROM fences")
            self._put(rows)
            self._seen(fences)

    def read(self, id: str) -> Row | None:
        """See `Store`."""
        found = self._db.execute("SELECT row FROM rows WHERE id = ?", (id,)).fetchone()
        return None if found is None else _row(found)

    def scan(self, prefix: str) -> list[Row]:
        """See `Store`."""
        query = "SELECT row FROM rows WHERE substr(id, 1, ?) = ? ORDER BY id"
        return [_row(found) for found in self._db.execute(query, (len(prefix), prefix))]

    def write(self, change: Change) -> Row:
        """See `Store`."""
        with self._transaction():
            state = self.state()
            over = judged(change, self.read(change.id), state.fences)
            version = (state.epoch, state.count + 1)
            if change.erased and over is None:
                return row_of(change, version=version, nth=0, over=None)
            row = row_of(change, version=version, nth=state.nth + 1, over=over)
            self._put([row])
            self._db.execute("INSERT INTO ledger VALUES (?, ?)", (row.nth, _text(row)))
            self._note(count=version[1])
            if change.fence is not None:
                self._seen({change.fence_session: change.fence})
        return row

    def put(self, rows: Sequence[Row], fences: Mapping[str, int], epoch: int) -> bool:
        """See `Store`."""
        with self._transaction():
            state = self.state()
            if state.leads or state.epoch != epoch:
                return False
            newer = []
            for row in rows:
                old = self.read(row.id)
                if old is None or old.version < row.version:
                    newer.append(row)
            self._put(newer)
            self._seen(fences)
            self._note(count=max([state.count, *(row.version[1] for row in rows)]))
        return True

    def ledger(self, after: int) -> list[Row]:
        """See `Store`."""
        query = "SELECT row FROM ledger WHERE nth > ? ORDER BY nth"
        return [_row(found) for found in self._db.execute(query, (after,))]

    def close(self) -> None:
        """See `Store`."""
        self._db.close()

    def _put(self, rows: Sequence[Row]) -> None:
        named = [(row.id, _text(row)) for row in rows]
        self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", named)

    def _seen(self, fences: Mapping[str, int]) -> None:
        query = (
            "INSERT INTO fences VALUES (?, ?) ON CONFLICT (session) DO UPDATE "
            "SET fence = max(fence, excluded.fence)"
        )
        self._db.executemany(query, list(fences.items()))


def _text(row: Row) -> str:
    return json.dumps(row.json(), separators=(",", ":"))


def _row(found: Any) -> Row:
    return Row.of_json(json.loads(found[0]))


def read_ledger(path: Path, after: int, /) -> list[Row]:
    """The ledger in a region's file, for whoever is not the region: nothing is written, and nobody
    who writes is waited for. Empty where there is no file yet."""
    if not path.exists():
        return []
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        known = "SELECT 1 FROM sqlite_master WHERE name = 'ledger'"
        if db.execute(known).fetchone() is None:  # killed before it had made its tables
            return []
        query = "SELECT row FROM ledger WHERE nth > ? ORDER BY nth"
        return [_row(found) for found in db.execute(query, (after,))]
    finally:
        db.close()
