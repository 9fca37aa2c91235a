"""A connection to SQLite that takes one turn of its thread for a statement and all its rows. The driver's own cursor
takes four (open, execute, fetch, close), each a switch of threads there and back: most of what a short read costs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import aiosqlite

Rows: TypeAlias = Sequence[Any]


class Cursor:
    """As much of an asynchronous DBAPI cursor as SQLAlchemy asks for; the rows are in memory once `execute` is back."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: Rows = ()
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Cursor:
        return self

    async def execute(self, operation: str, parameters: Any = ()) -> None:
        await self._turn(lambda native: native.execute(operation, parameters))

    async def executemany(self, operation: str, parameters: Iterable[Any]) -> None:
        await self._turn(lambda native: native.executemany(operation, parameters))

    async def fetchall(self) -> Rows:
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        self._rows = ()

    async def _turn(self, run: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> None:
        self._rows, self.description, self.rowcount, self.lastrowid = await self._connection.turn(run)


class Connection(aiosqlite.Connection):
    def cursor(self) -> Cursor:  # type: ignore[override]
        return Cursor(self)

    async def rollback(self) -> None:
        """The pool asks for one whenever a connection comes back; mostly there is nothing to undo."""
        if self.in_transaction:
            await super().rollback()

    async def turn(self, run: Callable[[sqlite3.Connection], sqlite3.Cursor]) -> tuple[Rows, Any, int, int | None]:
        """Raises what `sqlite3` raises."""

        def whole() -> tuple[Rows, Any, int, int | None]:
            cursor = run(self._conn)
            rows = cursor.fetchall() if cursor.description else ()
            seen = rows, cursor.description, cursor.rowcount, cursor.lastrowid
            cursor.close()
            return seen

        answer: tuple[Rows, Any, int, int | None] = await self._execute(whole)  # type: ignore[no-untyped-call]
        return answer


def connect(database: str, **options: Any) -> Connection:
    """As `aiosqlite.connect`; its thread does not keep the program from ending."""
    connection = Connection(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
    connection._thread.daemon = True
    return connection
