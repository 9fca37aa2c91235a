"""From any earlier schema to the present one, with Alembic's scripts in `migrations/`; a program of its own: the URL
comes on its standard input. Alembic and what it needs are a tenth of a server's memory, for a moment of its life."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from rexec.server.store.engines import open_writer, parse

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x7265786563
"""Number of the advisory lock that one process holds while it migrates (PostgreSQL)."""


def upgrade(connection: Connection) -> None:
    """Within the caller's transaction, which is a writing one on SQLite and takes a lock of its own on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        for patience in ("lock_timeout", "statement_timeout"):
            connection.execute(text(f"SET LOCAL {patience} = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    # Several heads: steps that do not depend on one another may be written side by side.
    command.upgrade(config, "heads")


async def main(url: str) -> None:
    engine = open_writer(parse(url))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.stdin.read()))
