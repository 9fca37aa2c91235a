"""The store on SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Self

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from rexec.errors import Unavailable
from rexec.server.ports.bus import Bus
from rexec.server.store import schema
from rexec.server.store.engines import driver_assertions, file_of, make_private, open_reader, open_writer, parse
from rexec.server.store.transaction import SqlTransaction

_log = structlog.get_logger(__name__)
_RETRYABLE_SQLSTATES = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57014", "25P03", "53300")
_RETRY_AFTER = 1
_FULL = "disk is full"
_PASSING_WORDS = ("database is locked", _FULL, "unable to open", "connection is closed")
_FULL_RETRY_AFTER = 30
_ROOM = 1 << 20
"""What must be free on SQLite's disk: less is full, for its writes come in pages and its log grows."""


class SqlDatabase:
    """Implements `ports.store.Database`. `bus` hears the topics of each transaction after its commit."""

    def __init__(self, url: str, bus: Bus) -> None:
        self._url = parse(url)
        self._bus = bus
        self._writer: AsyncEngine = open_writer(self._url)
        self._reader: AsyncEngine = open_reader(self._url)
        self._assertions = driver_assertions(self._url)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(make_private, self._url)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._writer.dispose()
        await self._reader.dispose()

    async def migrate(self) -> None:
        """Bring the schema to head. Two servers that start at once do it one after the other."""
        with _passing_told(self._assertions):
            async with self._reader.connect() as connection:
                if await connection.run_sync(schema.current):
                    return
        await schema.migrate(self._url)

    async def ping(self) -> None:
        with _passing_told(self._assertions):
            async with self._reader.connect() as connection:
                await connection.execute(text("SELECT 1"))
        if (path := file_of(self._url)) is not None:
            room = await asyncio.to_thread(shutil.disk_usage, path.parent)
            if room.free < _ROOM:
                raise _full()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqlTransaction, None]:
        with _passing_told(self._assertions):
            async with self._writer.begin() as connection:
                transaction = SqlTransaction(connection)
                yield transaction
        if transaction.topics:
            await self._bus.publish(*transaction.topics)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[SqlTransaction, None]:
        with _passing_told(self._assertions):
            async with self._reader.connect() as connection:
                yield SqlTransaction(connection)


@contextmanager
def _passing_told(assertions: tuple[type[Exception], ...]) -> Iterator[None]:
    """The databases' passing troubles as `Unavailable`; the rest goes on as it is."""
    passing: tuple[type[Exception], ...] = (PoolTimeout, OSError, DBAPIError, *assertions)
    try:
        yield
    except passing as error:
        if isinstance(error, DBAPIError) and not _passing(error):
            raise
        _log.warning("the database did not take a transaction", error=type(error).__name__)
        if isinstance(error, DBAPIError) and _FULL in str(error.orig):
            raise _full() from error
        raise Unavailable("the database is busy or away", code="database_away", retry_after=_RETRY_AFTER) from error


def _full() -> Unavailable:
    """It passes: whatever failed for it can be done again as soon as there is room."""
    return Unavailable("the disk of the database is full", code="database_full", retry_after=_FULL_RETRY_AFTER)


def _passing(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    words = str(error.orig)
    return (
        error.connection_invalidated
        or state in _RETRYABLE_SQLSTATES
        or state.startswith("08")
        or any(part in words for part in _PASSING_WORDS)
    )
