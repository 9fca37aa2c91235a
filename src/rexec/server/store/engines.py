"""How each database is opened. SQLite: WAL, one connection that writes, a few that read and never wait for it.
PostgreSQL: writers that wait for one another leave connections for who only reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from rexec.server.store.sqlite import connect

_READERS = 4
_POSTGRES_WRITERS, _POSTGRES_READERS = 12, 8
_POOL_PATIENCE = 10
_POSTGRES_PATIENCE = {
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}
"""So that nobody waits for ever for a server that was cut off in the middle of a transaction."""
_ALONE: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
"""Each statement by itself."""
_SQLITE_PRAGMAS = (
    "busy_timeout=30000",
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "foreign_keys=ON",
    "temp_store=MEMORY",
    "cache_size=-1024",
)
"""`synchronous=NORMAL` in WAL mode loses no consistency: after a power cut the last commits may be missing, after a
crash of the server nothing is."""


def parse(url: str) -> URL:
    """`postgresql://…`, `sqlite:///path` and a bare path, with the asynchronous driver filled in."""
    if "://" not in url:
        return URL.create("sqlite+aiosqlite", database=str(Path(url).absolute()))
    parsed = make_url(url)
    driver = {"sqlite": "sqlite+aiosqlite", "postgres": "postgresql+asyncpg", "postgresql": "postgresql+asyncpg"}
    return parsed.set(drivername=driver.get(parsed.drivername, parsed.drivername))


def file_of(url: URL) -> Path | None:
    """Where the database is, if it is a file of ours."""
    named = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)) if named else None


def make_private(url: URL) -> None:
    """Before the first connection: what SQLite adds beside its file has the file's mode."""
    if (file := file_of(url)) is not None:
        file.touch(mode=0o600)
        file.chmod(0o600)


def open_writer(url: URL) -> AsyncEngine:
    """On SQLite every transaction of this engine begins as a writer."""
    if url.get_backend_name() != "sqlite":
        return _postgres(url, _POSTGRES_WRITERS)
    return _sqlite(url, connections=1, begin="BEGIN IMMEDIATE")


def open_reader(url: URL) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return _postgres(url, _POSTGRES_READERS, **_ALONE)
    return _sqlite(url, connections=_READERS, begin=None)


def driver_assertions(url: URL) -> tuple[type[Exception], ...]:
    """As what a connection shows that is cut while its driver is at work, besides the documented errors."""
    if url.get_backend_name() == "sqlite":
        return ()
    import asyncpg  # noqa: PLC0415 (a twentieth of a server's memory, for PostgreSQL only)

    return (asyncpg.InternalClientError,)


def _postgres(url: URL, connections: int, **options: Any) -> AsyncEngine:
    return create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=_POOL_PATIENCE, pool_pre_ping=True,
        connect_args={"server_settings": _POSTGRES_PATIENCE, "command_timeout": 60, "timeout": _POOL_PATIENCE},
        **options,
    )  # fmt: skip


def _sqlite(url: URL, *, connections: int, begin: str | None) -> AsyncEngine:
    """`begin` None: each statement by itself, which costs one turn of the driver's thread instead of three."""
    engine = create_async_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=30, pool_reset_on_return="rollback" if begin else None,
        connect_args={"async_creator_fn": connect}, **({} if begin else _ALONE),
    )  # fmt: skip

    @event.listens_for(engine.sync_engine, "connect")
    def opened(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in _SQLITE_PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if begin is not None:

        @event.listens_for(engine.sync_engine, "begin")
        def began(connection: Any) -> None:
            connection.exec_driver_sql(begin)

    return engine
