"""The schema of one execution in a PostgreSQL that it shares with others, and its end.

Each execution has a schema of its own, so that several labs can use one server at once, and nothing
of one is ever seen by another. The lab that made a schema holds a lock in its name for as long as
it lives; the database lets go of that lock at any death. Since it also does where the server itself
is killed, which is one of the faults, the schema says as well which process made it. What neither a
lock nor a living process speaks for is left by a lab that is dead, and the next one drops it.

This module imports psycopg only where it connects, and nothing else of the lab, as a region may run
where there is no more than a bare Python.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

if TYPE_CHECKING:
    import psycopg

PREFIX: Final = "chaoslab_"
_LOCKS: Final = 0x43484C42  # "CHLB": the lab's own name space of advisory locks
_LEAST: Final = 14
_CONNECT_S: Final = 5
_LEFT_S: Final = 3_600  # after so long, what another machine made without a lock is abandoned
_BUSY_MS: Final = 5_000


def connect(url: str, /, *, name: str, **options: Any) -> psycopg.Connection[Any]:
    """A connection of the lab, which the server's list of activity shows under a name."""
    import psycopg  # noqa: PLC0415  (optional)

    return psycopg.connect(
        url, connect_timeout=_CONNECT_S, application_name=name, autocommit=True, **options
    )


def probe(url: str, /) -> str:
    """The version of the server, where one answers and lets schemas be made; psycopg's own errors
    where not."""
    import psycopg  # noqa: PLC0415

    with connect(url, name=f"{PREFIX}probe") as base:
        if base.info.server_version < _LEAST * 10_000:
            raise psycopg.NotSupportedError(
                f"PostgreSQL {_LEAST} or newer is needed, and this is {_version(base)}"
            )
        (may,) = base.execute(
            "select has_database_privilege(current_database(), 'create')"
        ).fetchone() or (False,)
        if not may:
            raise psycopg.errors.InsufficientPrivilege("this user may not make schemas in it")
        return _version(base)


def _version(base: psycopg.Connection[Any]) -> str:
    number = base.info.server_version
    return f"{number // 10_000}.{number % 10_000}"


class Schema:
    """A schema for one execution, held for as long as this lives."""

    def __init__(self, url: str, run: str, /) -> None:
        """Makes it, after dropping what dead labs left. `run` is a name that no other execution
        has."""
        self.name = PREFIX + re.sub(r"[^a-z0-9]+", "_", run.lower())[:24]
        self._url = url
        self._base = connect(url, name=self.name)
        try:
            self.server = _version(self._base)
            _drop_abandoned(self._base)
            _lock(self._base, self.name)
            # In one transaction: a schema without its comment would be taken for abandoned.
            with self._base.transaction():
                self._base.execute(f'create schema "{self.name}"')
                self._base.execute(
                    f'comment on schema "{self.name}" is {_quoted(_maker(_now_s(self._base)))}'
                )
        except BaseException:
            self._base.close()
            raise

    def close(self) -> str:
        """Drops it, also where the server was started again in between; why not, where it cannot
        be: then the next lab does."""
        import psycopg  # noqa: PLC0415

        said = ""
        for _ in range(2):
            try:
                _drop(self._base, self.name)
                said = ""
                break
            except psycopg.Error as error:
                said = str(error).strip()
                self._base.close()
                with suppress(psycopg.Error):
                    self._base = connect(self._url, name=self.name)
        self._base.close()
        return said


def drop_abandoned(url: str, /) -> int:
    """Drops the schemas of labs that are dead; how many."""
    with connect(url, name=f"{PREFIX}sweep") as base:
        return _drop_abandoned(base)


def _drop_abandoned(base: psycopg.Connection[Any]) -> int:
    import psycopg  # noqa: PLC0415

    rows = base.execute(
        "select nspname, obj_description(oid, 'pg_namespace'), "
        "extract(epoch from now())::bigint from pg_namespace "
        "where nspname like %s order by nspname",
        (PREFIX.replace("_", r"\_") + "%",),
    ).fetchall()
    count = 0
    for name, comment, now_s in rows:
        if _alive(comment, now_s):
            continue
        with _locked(base, name) as ours:
            if ours:
                # Somebody else may have dropped it, or work in it so that it cannot be locked.
                with suppress(psycopg.Error):
                    _drop(base, name)
                    count += 1
    return count


def _drop(base: psycopg.Connection[Any], name: str) -> None:
    """Takes a schema away from whoever still works in it."""
    base.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where (application_name = %s or starts_with(application_name, %s)) "
        "and pid <> pg_backend_pid() and usename = current_user",
        (name, f"{name}/"),
    )
    with base.transaction():
        base.execute(f"set local lock_timeout = {_BUSY_MS}")
        base.execute("set local client_min_messages = error")
        base.execute(f'drop schema if exists "{name}" cascade')


# -- who lives


def _lock(base: psycopg.Connection[Any], name: str) -> None:
    base.execute("select pg_advisory_lock(%s, %s)", (_LOCKS, _number(name)))


@contextmanager
def _locked(base: psycopg.Connection[Any], name: str) -> Iterator[bool]:
    """Whether nobody else holds the lock of a schema; while this lasts, nobody does."""
    asked = (_LOCKS, _number(name))
    (ours,) = base.execute("select pg_try_advisory_lock(%s, %s)", asked).fetchone() or (False,)
    try:
        yield bool(ours)
    finally:
        if ours:
            base.execute("select pg_advisory_unlock(%s, %s)", asked)


def _number(name: str) -> int:
    """A lock's number, of 32 bits with a sign."""
    number = crc32(name.encode())
    return number - (1 << 32) if number >= 1 << 31 else number


def _now_s(base: psycopg.Connection[Any]) -> int:
    """The server's time, which is the same for all labs."""
    (now_s,) = base.execute("select extract(epoch from now())::bigint").fetchone() or (0,)
    return int(now_s)


def _maker(now_s: int) -> str:
    """Which process makes a schema, so that another one can see whether it lives."""
    pid = os.getpid()
    return json.dumps({"machine": _machine(), "pid": pid, "born": _born(pid), "made_s": now_s})


def _alive(comment: str | None, now_s: int) -> bool:
    """Whether the process that a comment names lives. One of another machine, or in another
    container, cannot be seen from here: it is taken to live for a while."""
    try:
        maker = json.loads(comment or "")
        machine, pid, made_s = maker["machine"], int(maker["pid"]), int(maker["made_s"])
        born = maker["born"]
    except (ValueError, KeyError, TypeError):
        return False
    if machine != _machine():
        return made_s <= now_s < made_s + _LEFT_S
    return born is not None and _born(pid) == born


def _machine() -> str:
    """This machine since it was started, and the name space of process ids in it."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        told.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(told)


def _born(pid: int) -> int | None:
    """When a process was started, in ticks since the machine was; None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
