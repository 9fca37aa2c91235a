"""The way to the present schema, and a database that is not there."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from contracts.rows import user
from rexec.errors import Broken, Unavailable
from rexec.server.bus import LocalBus
from rexec.server.store import SqlDatabase, migrate, migrations
from rexec.server.store.engines import open_writer, parse
from rexec.server.store.schema import known
from rexec.server.store.tables import metadata

MIGRATING = """
import asyncio, sys
from rexec.server.bus import LocalBus
from rexec.server.store import SqlDatabase

async def main():
    async with SqlDatabase(sys.argv[1], LocalBus()) as database:
        await database.migrate()

asyncio.run(main())
"""


async def test_two_servers_that_start_at_once_migrate_once_and_end_at_the_tables(url: str, bus: LocalBus) -> None:
    servers = [await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATING, url) for _ in range(3)]
    assert await asyncio.gather(*(server.wait() for server in servers)) == [0, 0, 0]
    async with SqlDatabase(url, bus) as again:
        await again.migrate()

    def difference(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    engine = open_writer(parse(url))
    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []
    await engine.dispose()


def modes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


async def test_a_database_in_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "rexec.db"
    file.touch(mode=0o644)
    async with SqlDatabase(f"sqlite:///{file}", LocalBus()) as database:
        await database.migrate()
        kept = await asyncio.to_thread(modes, tmp_path)
    assert kept == dict.fromkeys(("rexec.db", "rexec.db-wal", "rexec.db-shm"), 0o600)


async def test_the_migrations_are_read_as_alembic_reads_them() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    scripts = ScriptDirectory.from_config(config)
    assert known() == ({script.revision for script in scripts.walk_revisions()}, set(scripts.get_heads()))


async def test_the_schema_of_a_newer_server_is_refused(url: str, bus: LocalBus) -> None:
    async with SqlDatabase(url, bus) as database:
        await database.migrate()
        engine = open_writer(parse(url))
        async with engine.begin() as connection:
            await connection.execute(text("INSERT INTO alembic_version VALUES ('9999')"))
        await engine.dispose()
        with pytest.raises(Broken, match="newer server"):
            await database.migrate()


async def test_a_reader_does_not_wait_for_a_writer(database: SqlDatabase) -> None:
    async with database.transaction() as writing:
        await writing.keys.get_or_create("k", b"v")
        async with asyncio.timeout(2), database.reading() as tx:
            assert await tx.users.get("nobody") is None


async def test_a_database_that_is_away_is_unavailable(bus: LocalBus) -> None:
    async with SqlDatabase("postgresql://nobody@/none?host=/nowhere", bus) as database:
        with pytest.raises(Unavailable):
            await database.ping()


async def test_who_reads_goes_on_while_all_writers_wait_and_they_are_told_to_return(postgres_url: str) -> None:
    """Twenty writers wait for one row: more than there are connections for them."""
    async with SqlDatabase(postgres_url, LocalBus()) as database:
        await migrate.main(postgres_url)
        owner = user()
        async with database.transaction() as tx:
            await tx.users.insert(owner)

        async def write() -> None:
            async with database.transaction() as tx:
                await tx.users.lock(owner.id)

        async with database.transaction() as held:
            await held.users.lock(owner.id)
            waiting = [asyncio.create_task(write()) for _ in range(20)]
            while not all(task.done() for task in waiting):
                async with database.reading() as tx:
                    assert await tx.users.get(owner.id) == owner
                await asyncio.wait(waiting, timeout=0.5)
        for task in waiting:
            error = task.exception()
            assert isinstance(error, Unavailable)
            assert error.extras["retry_after"] >= 1
        await write()


async def test_writers_outlast_somebody_elses_long_transaction_on_sqlite(tmp_path: Path) -> None:
    async with SqlDatabase(str(tmp_path / "db"), LocalBus()) as database:
        await migrate.main(str(tmp_path / "db"))
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        async def write() -> None:
            async with database.transaction() as tx:
                await tx.users.insert(user())

        waiting = [asyncio.create_task(write()) for _ in range(5)]
        done, _ = await asyncio.wait(waiting, timeout=0.5)
        assert not done
        other.execute("COMMIT")
        other.close()
        await asyncio.gather(*waiting)
