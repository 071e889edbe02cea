"""Where the regions of one execution keep their memory: a file in the folder of each, or a schema
of a PostgreSQL that all of them share.

It is the same for a region's process and for the lab as the referee, which reads what was
committed there whatever became of the region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from chaoslab.contract.stores import StoreAt
from chaoslab.core.errors import LabError
from chaoslab.regions.postgres import PostgresStore, with_schema
from chaoslab.regions.rows import Refusal, Row
from chaoslab.regions.schemas import Schema
from chaoslab.regions.sqlite import SqliteStore

_NO_TABLE: Final = "42P01"


class Keep(Protocol):
    """The stores of an execution, one for each region."""

    @property
    def place(self) -> tuple[str, int] | None:
        """Where it is, if a line leads to it."""
        ...

    def python(self) -> list[str]:
        """Options of the interpreter: where no package is needed, it need not look for any."""
        ...

    def arguments(self, region: str, /, *, at: tuple[str, int] | None = None) -> list[str]:
        """What a region's command line says of its store; `at`, where a proxy stands in front."""
        ...

    def environment(self) -> Mapping[str, str]:
        """What else its process needs to know."""
        ...

    def ledger(self, region: str, after: int, /, *, dead: bool = False) -> list[Row]:
        """What a region committed. `dead`: its process is, so what it left open is ended first.
        LabError where it cannot be read."""
        ...

    def close(self) -> str:
        """Removes all of it, once no region runs any more; why not, where that cannot be."""
        ...


def keep_of(store: StoreAt, run: str, folder: Path, /) -> Keep:
    """The stores for an execution. LabError where the database does not answer."""
    return Files(folder) if store.kind == "sqlite" else Tables(store, run)


class Files:
    """SQLite: it goes with the folder of the execution."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> tuple[str, int] | None:
        """See `Keep`."""
        return None

    def python(self) -> list[str]:
        """See `Keep`."""
        return ["-S"]

    def arguments(self, region: str, /, *, at: tuple[str, int] | None = None) -> list[str]:
        """See `Keep`."""
        return []

    def environment(self) -> Mapping[str, str]:
        """See `Keep`."""
        return {}

    def ledger(self, region: str, after: int, /, *, dead: bool = False) -> list[Row]:
        """See `Keep`."""
        path = self._folder / region / "region.db"
        if not path.exists():
            return []
        store = SqliteStore(path)
        try:
            return store.ledger(after)
        finally:
            store.close()

    def close(self) -> str:
        """See `Keep`."""
        return ""


class Tables:
    """PostgreSQL: a schema that is there from the start to the end of the execution."""

    def __init__(self, store: StoreAt, run: str) -> None:
        import psycopg  # noqa: PLC0415  (optional)

        self._store = store
        try:
            self._schema = Schema(store.url, run)
        except psycopg.Error as error:
            said = store.hidden(str(error)).strip().partition("\n")[0]
            raise LabError(f"the store cannot be used: {said}", value=str(store)) from None

    @property
    def place(self) -> tuple[str, int] | None:
        """See `Keep`."""
        return self._store.host, self._store.port

    def python(self) -> list[str]:
        """See `Keep`."""
        return []

    def arguments(self, region: str, /, *, at: tuple[str, int] | None = None) -> list[str]:
        """See `Keep`. The password is in the environment, which no process list shows."""
        place = self._store if at is None else replace(self._store, host=at[0], port=at[1])
        return ["--store", with_schema(str(place), self._schema.name)]

    def environment(self) -> Mapping[str, str]:
        """See `Keep`."""
        return self._store.environment

    def ledger(self, region: str, after: int, /, *, dead: bool = False) -> list[Row]:
        """See `Keep`. It is read without any proxy: the referee sees all."""
        store = PostgresStore(self._store.url, region, schema=self._schema.name, reader=True)
        try:
            (store.settle if dead else store.quiet)()
            return store.ledger(after)
        except Refusal as refusal:
            if refusal.details.get("sqlstate") == _NO_TABLE:
                return []  # the region has not come to life yet
            raise LabError(
                f"what {region} committed cannot be read: {refusal.words}", value=str(self._store)
            ) from None
        finally:
            store.close()

    def close(self) -> str:
        """See `Keep`."""
        return self._store.hidden(self._schema.close())
