"""Where the regions of real processes keep memory and its ledger: `--store`.

SQLite is the default, a file in each region's own folder. A PostgreSQL is named by its address;
`postgresql` alone stands for the address in the environment, so that a password needs to stand in
no process list and no shell history.

A password is never shown: not by `str`, not by `repr`, not in an error. Whoever needs it asks for
it by name.

>>> store = store_from("postgresql://lab:hunter22@127.0.0.1:5432/test", environment={})
>>> str(store), store.password
('postgresql://lab@127.0.0.1:5432/test', 'hunter22')
>>> "hunter22" in repr(store)
False
>>> store_from("postgresql://lab@127.0.0.1/test", environment={"PGPASSWORD": "x y"}).url
'postgresql://lab:x%20y@127.0.0.1:5432/test'
>>> store_from("mysql://root:hunter22@127.0.0.1/test", environment={})
Traceback (most recent call last):
...
chaoslab.core.errors.UsageError: the store cannot be used: got \
'mysql://root:…@127.0.0.1/test' (str); allowed: sqlite, postgresql, or \
postgresql://USER@HOST:PORT/DATABASE; next: leave --store away for SQLite
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote, unquote, urlsplit

from chaoslab.core.errors import UsageError

VARIABLE: Final = "CHAOSLAB_POSTGRES"
PASSWORD: Final = "PGPASSWORD"  # the name that PostgreSQL's own programs know  # noqa: S105
_PORT: Final = 5432
_ALLOWED: Final = "sqlite, postgresql, or postgresql://USER@HOST:PORT/DATABASE"
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:]*:[0-9a-f:]*")
_NO_PORT: Final = re.compile(r"(?<=//)([^/@:]*):(?!\d{1,5}(/|$)).*", re.DOTALL)
_SECRET: Final = re.compile(r"(?<=//)([^/@:]*):.*(?=@)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAt:
    """A store; by default that of the region itself. `server`: the version that answered."""

    kind: Literal["sqlite", "postgresql"] = "sqlite"
    user: str = ""
    password: str = field(default="", repr=False)
    host: str = ""
    port: int = _PORT
    database: str = ""
    server: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind == "sqlite" else self._address(quote(self.user, safe=""))

    @property
    def url(self) -> str:
        """The whole address, with the password: for whoever connects, never for people."""
        word = ":" + quote(self.password, safe="") if self.password else ""
        return self._address(quote(self.user, safe="") + word)

    def _address(self, who: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        at = f"{who}@" if who else ""
        return f"postgresql://{at}{host}:{self.port}/{quote(self.database, safe='')}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs beside `str(store)` to connect."""
        return {PASSWORD: self.password} if self.password else {}

    def to_json(self) -> dict[str, str | None]:
        """What may go on record.

        >>> StoreAt().to_json()
        {'kind': 'sqlite', 'address': None, 'server': None}
        """
        address = None if self.kind == "sqlite" else str(self)
        return {"kind": self.kind, "address": address, "server": self.server or None}

    def hidden(self, text: str, /) -> str:
        """A text of somebody else's, such as an error of the database, without the password.

        >>> StoreAt(kind="postgresql", password="hunter22").hidden("no such user: hunter22")
        'no such user: …'
        """
        for word in filter(None, (self.password, quote(self.password, safe=""))):
            text = text.replace(word, "…")
        return _SECRET.sub(r"\1:…", text)


SQLITE: Final = StoreAt()


def store_from(text: str, /, *, environment: Mapping[str, str] | None = None) -> StoreAt:
    """The store that a text names. UsageError, without any password, where it names none."""
    env = os.environ if environment is None else environment
    if text in ("", "sqlite"):
        return SQLITE
    if text != "postgresql":
        return _with_password(_postgres(text, env, "--store"), env)
    if not env.get(VARIABLE):
        raise UsageError(
            f"the store is named postgresql, and {VARIABLE} does not say where that is",
            allowed=f"{VARIABLE}=postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint="set it, or name the whole address",
        )
    return _postgres(env[VARIABLE], env, VARIABLE)


def _with_password(store: StoreAt, env: Mapping[str, str]) -> StoreAt:
    """The store, with the password of the address in the environment where both are the same: a
    run that is done again has its address on record, and no password."""
    if store.password or not env.get(VARIABLE):
        return store
    known = _postgres(env[VARIABLE], env, VARIABLE)
    return known if str(known) == str(store) else store


def _postgres(text: str, env: Mapping[str, str], where: str) -> StoreAt:
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port or _PORT
    except ValueError:  # whose words quote what may be a part of the password
        raise _refused(text, "has no address that can be read", where) from None
    name = unquote(parts.path.removeprefix("/"))
    if parts.scheme not in ("postgresql", "postgres"):
        raise _refused(text, "cannot be used", where)
    if not _HOST.fullmatch(host):
        raise _refused(text, "has no plain host, which a proxy could stand in front of", where)
    if parts.query or parts.fragment or "/" in name:
        raise _refused(text, "has more behind its database, which the lab does not pass on", where)
    if not name or any(ord(sign) < 32 for sign in name + unquote(parts.username or "")):
        raise _refused(text, "names no database", where)
    return StoreAt(
        kind="postgresql",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or "") or env.get(PASSWORD, ""),
        host=host,
        port=port,
        database=name,
    )


def _refused(text: str, why: str, where: str) -> UsageError:
    subject = "the store" if where == "--store" else f"the store in {where}"
    return UsageError(
        f"{subject} {why}",
        value=_without_password(text),
        allowed=_ALLOWED,
        hint="leave --store away for SQLite",
    )


def _without_password(text: str) -> str:
    """An address that may be of any form: whatever could be a password is left out.

    >>> _without_password("postgresql://lab:hun/ter@22@h/db"), _without_password("p://h?password=x")
    ('postgresql://lab:…@h/db', 'p://h?…')
    >>> _without_password("postgresql://lab:hunter22"), _without_password("postgresql://h:5432/")
    ('postgresql://lab:…', 'postgresql://h:5432/')
    """
    head, mark, _ = text.partition("?")
    shown = _SECRET.sub(r"\1:…", head) + (mark and "?…")
    return shown if "@" in shown else _NO_PORT.sub(r"\1:…", shown)
