"""Serializable transactions over a connection that may break at any byte.

What a caller must know afterwards is exactly one of three things:

- it is committed: the database has said so;
- nothing happened (`Refusal`): a connection broke before COMMIT was sent, or the database refused,
  and a conflict with another transaction was tried again until the limits were reached;
- nobody can say (`Unsure`): COMMIT was sent, and what came back was no answer.

The third is never guessed at here, neither way. Whoever keeps the record can look later: after
`alone` nothing that was left open can still commit.

psycopg is imported only where it connects: this module may be read where it is not installed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from zlib import crc32

from chaoslab.regions.rows import Refusal, Unsure

if TYPE_CHECKING:
    import psycopg

    Base: TypeAlias = psycopg.Connection[Any]

T = TypeVar("T")
# A serialization failure and a deadlock: rolled back for certain, also in answer to COMMIT.
_AGAIN: Final = frozenset(("40001", "40P01"))
_LOOK_S: Final = 0.005
_BROKEN: Final = ("08", "57P")  # the connection, and a server that ends or starts
_BUSY: Final = frozenset(("55P03", "57014"))  # a lock, a statement that took too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often and how long something is tried. `reply_ms`: how long the database may take for
    one answer before its connection counts as broken."""

    tries: int = 12
    total_ms: int = 3_000
    reply_ms: int = 30_000
    lock_ms: int = 3_000


class Transactions:
    """One connection, opened when it is needed and opened again after it broke. For one thread.

    `at_commit`, where it is set, is called when everything of a transaction is done and COMMIT is
    about to be sent: whoever wants a fault to strike just there waits in it. `retried` counts the
    conflicts that were tried again.
    """

    def __init__(self, url: str, /, *, name: str, path: str, patience: Patience) -> None:
        """`name` is shown in the server's list of activity, and is that of nobody else; `path` is
        the schema to work in."""
        self._url, self._name, self._path, self._patience = url, name, path, patience
        self._base: Base | None = None
        self._line: socket.socket | None = None
        # Two that collided must not collide again, and no two have the same name.
        self._pause_s = (1 + crc32(name.encode()) % 17) / 1000
        self._doubt = False  # whether an earlier connection may still commit what it was sent
        self.at_commit: Callable[[], None] | None = None
        self.retried = 0

    def write(self, work: Callable[[Base], T], /) -> T:
        """Does something in a transaction; `work` may be called several times. Refusal, Unsure: see
        the module."""
        return self._tried(lambda base: self._written(base, work))

    def read(self, work: Callable[[Base], T], /) -> T:
        """Does something in one statement that changes nothing. Refusal where nobody answers."""
        return self._tried(lambda base: self._asked(base, work))

    def alone(self, name: str = "", /, *, limit_ms: int = 5_000) -> bool:
        """Ends every other connection of a name, by default our own; whether all are gone in time.
        From then on nothing that they left open can commit any more."""
        query = (
            "select bool_and(pg_terminate_backend(pid, %s)) from pg_stat_activity "
            "where application_name = %s and pid <> pg_backend_pid() and usename = current_user"
        )
        asked = (limit_ms, name or self._name)
        gone = self.read(lambda base: base.execute(query, asked).fetchone())
        return gone is None or gone[0] is not False

    def quiet(self, name: str, /, *, limit_ms: int = 2_000) -> bool:
        """Waits until no connection of a name is carrying out a COMMIT; whether that was in time.
        One whose client has lost it still does."""
        query = (
            "select count(*) from pg_stat_activity where application_name = %s "
            "and state = 'active' and query ilike 'commit%%' and pid <> pg_backend_pid()"
        )
        until = time.monotonic() + limit_ms / 1000
        while True:
            found = self.read(lambda base: base.execute(query, (name,)).fetchone())
            if not found or not found[0] or time.monotonic() >= until:
                return not found or not found[0]
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """Lets go of the connection."""
        if self._line is not None:
            self._line.close()
        if self._base is not None:
            self._base.close()
        self._base = self._line = None

    # -- one try after the other

    def _tried(self, once: Callable[[Base], T]) -> T:
        """Tries again what certainly did not happen: conflicts, and a connection that turns out to
        have broken while nothing was asked of it."""
        until = time.monotonic() + self._patience.total_ms / 1000
        number = 0
        while True:
            number += 1
            fresh = self._base is None
            try:
                return once(self._connected())
            except _Stale as stale:
                if fresh:
                    raise _no_connection() from stale.__cause__
            except _Collided as collided:
                pause_s = self._pause_s * number
                if number >= self._patience.tries or time.monotonic() + pause_s > until:
                    words = "other transactions were in the way, again and again"
                    raise Refusal("unavailable", words, tries=number) from collided.__cause__
                self.retried += 1
                time.sleep(pause_s)

    def _written(self, base: Base, work: Callable[[Base], T]) -> T:
        import psycopg  # noqa: PLC0415

        began = sent = False
        try:
            with self._awaited():
                base.execute("begin isolation level serializable")
                began = True
                result = work(base)
            if self.at_commit is not None:
                self.at_commit()
            sent = True
            with self._awaited():
                told = base.execute("commit").statusmessage
        except psycopg.Error as error:
            if sent and error.sqlstate not in _AGAIN:
                self.close()
                self._doubt = True
                raise Unsure("the answer to COMMIT was lost") from error
            raise self._not_done(base, error, began=began) from error
        except BaseException:
            self._undo(base)
            raise
        if told != "COMMIT":  # the answer where the transaction had failed before: it is undone
            raise Refusal("unavailable", "the database undid the change")
        return result

    def _asked(self, base: Base, work: Callable[[Base], T]) -> T:
        import psycopg  # noqa: PLC0415

        try:
            with self._awaited():
                return work(base)
        except psycopg.Error as error:
            raise self._not_done(base, error, began=False) from error

    def _not_done(self, base: Base, error: psycopg.Error, *, began: bool) -> Exception:
        """What is to be said of something that did not happen."""
        code = error.sqlstate
        if base.closed or (code or "").startswith(_BROKEN):
            self.close()
            return _no_connection() if began else _Stale()
        self._undo(base)
        if code in _AGAIN:
            return _Collided()
        if code in _BUSY:
            return Refusal("unavailable", "the database was too busy for it")
        said = str(error).partition("\n")[0]
        return Refusal("unavailable", f"the database refuses: {said}", sqlstate=code)

    # -- the connection

    def _connected(self) -> Base:
        import psycopg  # noqa: PLC0415

        if self._base is not None:
            return self._base
        options = {
            "search_path": f'"{self._path}"',
            "default_transaction_isolation": "serializable",
            "lock_timeout": self._patience.lock_ms,
            "client_min_messages": "error",
        }
        try:
            base = psycopg.connect(
                self._url,
                autocommit=True,  # BEGIN and COMMIT are sent by us, at moments that we know
                connect_timeout=max(2, self._patience.reply_ms // 1000),
                application_name=self._name,
                options=" ".join(f"-c {name}={value}" for name, value in options.items()),
            )
        except psycopg.Error as error:
            raise Refusal("connection-refused", "the database cannot be reached") from error
        self._base = base
        self._line = socket.fromfd(base.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        if self._doubt:
            # What goes on from here must not be overtaken by what was given up.
            self._doubt = False
            if not self.alone():
                self._doubt = True
                self.close()
                raise Refusal("unavailable", "an earlier transaction does not end")
        return base

    def _undo(self, base: Base) -> None:
        """Back to where nothing is open; a connection that cannot be brought there is let go."""
        import psycopg  # noqa: PLC0415

        try:
            if base.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                with self._awaited():
                    base.execute("rollback")
        except psycopg.Error:
            self.close()

    @contextmanager
    def _awaited(self) -> Iterator[None]:
        """Breaks the connection if the database does not answer in time. Who waits for an answer
        cannot be told to stop, so another thread takes the line away."""
        line = self._line
        assert line is not None

        def cut() -> None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._patience.reply_ms / 1000, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


class _Collided(Exception):
    """Rolled back because of another transaction."""


class _Stale(Exception):
    """The connection was broken before anything was asked."""


def _no_connection() -> Refusal:
    return Refusal("connection-refused", "the connection to the database broke before COMMIT")
