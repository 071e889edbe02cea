"""A region's copy in PostgreSQL: memory and the ledger of its commits, in the same transactions.

Isolation is SERIALIZABLE. What collides with another transaction is tried again within limits, and
refused after them. A connection that breaks before COMMIT is sent is a refusal, since nothing
happened; one that breaks after it leaves the question open (`Unsure`), and the ledger answers it
for the record, never for the agent.

The tables are those of one region in the schema of one execution (`schemas`), so regions in one
database share nothing that could not as well be in several.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from zlib import crc32

from chaoslab.regions.rows import Change, Refusal, Row, State, judged, row_of
from chaoslab.regions.transactions import Patience, Transactions

_TABLE: Final = re.compile(r"<(\w+)>")
_NAME_MAX: Final = 40  # of the 63 bytes of a name: the rest is for which table it is
# Rows stay text: their values may hold what the types of a database refuse, such as a NUL in a
# text or a NaN. An id is bytes, so that it sorts as in every other store.
_TABLES: Final = (
    'create table if not exists "{0}meta" (epoch bigint, leads bool, count bigint, nth bigint)',
    'create table if not exists "{0}rows" (id bytea primary key, row text not null)',
    'create table if not exists "{0}fences" (session text primary key, fence bigint not null)',
    'create table if not exists "{0}ledger" '
    "(nth bigint primary key, uid text not null unique, row text not null)",
    'insert into "{0}meta" select 1, false, 0, 0 where not exists (select from "{0}meta")',
)


class PostgresStore:
    """See the module and `store.Store`."""

    def __init__(
        self,
        url: str,
        region: str,
        /,
        *,
        schema: str,
        patience: Patience | None = None,
        reader: bool = False,
    ) -> None:
        """`url` may go through a proxy. `reader`: to read only, beside the one that writes."""
        self._own = f"{table_name(region)}."
        self._name = f"{schema}/{table_name(region, 18)}"  # PostgreSQL cuts it at 63
        self.transactions = Transactions(
            url,
            name=f"{self._name}?" if reader else self._name,
            path=schema,
            patience=patience or Patience(),
        )
        if reader:
            return
        try:
            # A process that was killed may have left a transaction open, and its locks with it.
            self.transactions.alone()
            self.transactions.write(self._make)
        except BaseException:
            self.close()
            raise

    @property
    def at_commit(self) -> Callable[[], None] | None:
        """Called in the thread of a change when all of it is done and COMMIT is about to be sent:
        who wants a fault to strike just there waits in it."""
        return self.transactions.at_commit

    @at_commit.setter
    def at_commit(self, called: Callable[[], None] | None) -> None:
        self.transactions.at_commit = called

    def _make(self, base: Any) -> None:
        for statement in _TABLES:
            base.execute(statement.format(self._own))

    def _sql(self, text: str) -> str:
        """Table names are of this region: `<rows>` stands for its rows."""
        return _TABLE.sub(lambda found: f'"{self._own}{found[1]}"', text)

    # -- what the copy is

    def state(self) -> State:
        """See `Store`."""
        found = self.transactions.read(
            lambda base: base.execute(
                self._sql(
                    "select epoch, leads, count, nth, "
                    "(select json_object_agg(session, fence)::text from <fences>) from <meta>"
                )
            ).fetchone()
        )
        epoch, leads, count, nth, fences = found or (1, False, 0, 0, None)
        seen = json.loads(fences or "{}")
        return State(epoch=epoch, leads=leads, count=count, nth=nth, fences=seen)

    def lead(self, epoch: int, count: int) -> None:
        """See `Store`."""
        query = self._sql("update <meta> set epoch = %s, leads = true, count = greatest(count, %s)")
        self.transactions.write(lambda base: base.execute(query, (epoch, count)))

    def follow(
        self, epoch: int, rows: Sequence[Row], fences: Mapping[str, int], count: int
    ) -> None:
        """See `Store`."""
        note = self._sql("update <meta> set epoch = %s, leads = false, count = %s")

        def work(base: Any) -> None:
            base.execute(note, (epoch, count))
            base.execute(self._sql("delete from <rows>"))
            base.execute(self._sql("delete from <fences>"))
            self._put(base, rows)
            self._seen(base, fences)

        self.transactions.write(work)

    # -- reads

    def read(self, id: str) -> Row | None:
        """See `Store`."""
        query = self._sql("select row from <rows> where id = %s")
        found = self.transactions.read(lambda base: base.execute(query, (_key(id),)).fetchone())
        return None if found is None else _row(found[0])

    def scan(self, prefix: str) -> list[Row]:
        """See `Store`."""
        low = _key(prefix)
        query, values = "select row from <rows> where id >= %s", [low]
        if low:  # no byte of UTF-8 is the last one there is
            query, values = query + " and id < %s", [low, low[:-1] + bytes((low[-1] + 1,))]
        return self._rows(query + " order by id", values)

    def ledger(self, after: int) -> list[Row]:
        """See `Store`."""
        return self._rows("select row from <ledger> where nth > %s order by nth", [after])

    def committed(self, uid: str, /) -> Row | None:
        """What became of a change whose COMMIT was not answered, once nothing of it can be under
        way any more. For the record: an agent is never told what it could not know. Refusal where
        the database does not say."""
        self.settle()
        found = self._rows("select row from <ledger> where uid = %s", [uid])
        return found[0] if found else None

    def settle(self) -> None:
        """Makes sure that nothing which a writer of this region left open can commit any more: its
        process is dead, or its connection is given up. Refusal where the database does not say."""
        if not self.transactions.alone(self._name):
            raise Refusal("unavailable", "an earlier transaction of this region does not end")

    def quiet(self) -> None:
        """Waits until no COMMIT of a writer of this region is being carried out."""
        if not self.transactions.quiet(self._name):
            raise Refusal("unavailable", "a commit of this region does not end")

    def _rows(self, query: str, values: Sequence[Any]) -> list[Row]:
        asked = self._sql(query)
        found = self.transactions.read(lambda base: base.execute(asked, values).fetchall())
        return [_row(text) for (text,) in found]

    # -- changes

    def write(self, change: Change) -> Row:
        """See `Store`. Unsure: COMMIT was sent, and nobody knows."""
        return self.transactions.write(lambda base: self._write(base, change))

    def _write(self, base: Any, change: Change) -> Row:
        asked = self._sql(
            "select epoch, count, nth, (select row from <rows> where id = %s), "
            "(select fence from <fences> where session = %s) from <meta>"
        )
        found = base.execute(asked, (_key(change.id), change.fence_session)).fetchone()
        epoch, count, nth, text, fence = found
        standing = None if text is None else _row(text)
        over = judged(change, standing, {} if fence is None else {change.fence_session: fence})
        version = (epoch, count + 1)
        if change.erased and over is None:
            return row_of(change, version=version, nth=0, over=None)
        row = row_of(change, version=version, nth=nth + 1, over=over)
        base.execute(
            self._sql(
                "with noted as (update <meta> set count = %s, nth = %s), "
                "put as (insert into <rows> values (%s, %s) "
                "on conflict (id) do update set row = excluded.row) "
                "insert into <ledger> values (%s, %s, %s)"
            ),
            (version[1], row.nth, _key(row.id), _text(row), row.nth, row.uid, _text(row)),
        )
        if change.fence is not None:
            self._seen(base, {change.fence_session: change.fence})
        return row

    def put(self, rows: Sequence[Row], fences: Mapping[str, int], epoch: int) -> bool:
        """See `Store`."""

        def work(base: Any) -> bool:
            own, leads, count = base.execute(
                self._sql("select epoch, leads, count from <meta>")
            ).fetchone()
            if leads or own != epoch:
                return False
            asked = self._sql("select row from <rows> where id = any(%s)")
            texts = base.execute(asked, ([_key(row.id) for row in rows],)).fetchall()
            standing = {row.id: row.version for row in (_row(text) for (text,) in texts)}
            newer = {}
            for row in rows:
                if row.id not in standing or standing[row.id] < row.version:
                    newer[row.id] = row
                    standing[row.id] = row.version
            self._put(base, list(newer.values()))
            self._seen(base, fences)
            top = max([count, *(row.version[1] for row in rows)])
            base.execute(self._sql("update <meta> set count = %s"), (top,))
            return True

        return self.transactions.write(work)

    def _put(self, base: Any, rows: Sequence[Row]) -> None:
        if rows:
            ids, texts = [_key(row.id) for row in rows], [_text(row) for row in rows]
            query = (
                "insert into <rows> select * from unnest(%s::bytea[], %s::text[]) "
                "on conflict (id) do update set row = excluded.row"
            )
            base.execute(self._sql(query), (ids, texts))

    def _seen(self, base: Any, fences: Mapping[str, int]) -> None:
        if fences:
            query = (
                "insert into <fences> as f select * from unnest(%s::text[], %s::bigint[]) "
                "on conflict (session) do update set fence = greatest(f.fence, excluded.fence)"
            )
            base.execute(self._sql(query), (list(fences), list(fences.values())))

    def close(self) -> None:
        """See `Store`."""
        self.transactions.close()


# -- names


def with_schema(url: str, schema: str, /) -> str:
    """The address of a store in a schema, as one text.

    >>> told = with_schema("postgresql://lab@127.0.0.1:5432/test", "chaoslab_r1")
    >>> told, split_schema(told)[1]
    ('postgresql://lab@127.0.0.1:5432/test?schema=chaoslab_r1', 'chaoslab_r1')
    """
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query), ("schema", schema)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def split_schema(url: str, /) -> tuple[str, str]:
    """The address and the schema again.

    >>> split_schema("postgresql://h/test?sslmode=disable&schema=s1")
    ('postgresql://h/test?sslmode=disable', 's1')
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    schema = query.pop("schema", "public")
    return urlunsplit(parts._replace(query=urlencode(query))), schema


def table_name(region: str, most: int = _NAME_MAX, /) -> str:
    """What the tables of a region begin with; short, and different for different regions.

    >>> table_name("eu"), table_name("a" * 60)[-10:]
    ('eu', 'a-1f98bd29')
    """
    plain = all(sign.isascii() and (sign.isalnum() or sign in "-_") for sign in region)
    if plain and len(region) <= most:
        return region
    kept = "".join(sign for sign in region if sign.isascii() and sign.isalnum())
    return f"{kept[: most - 9]}-{crc32(region.encode()):08x}"


def _key(id: str) -> bytes:
    return id.encode("utf-8", "surrogatepass")


def _text(row: Row) -> str:
    return json.dumps(row.json(), separators=(",", ":"))


def _row(text: str) -> Row:
    return Row.of_json(json.loads(text))
