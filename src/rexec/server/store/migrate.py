"""From any earlier schema to the present one, with Alembic's scripts in `migrations/`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x7265786563
"""Number of the advisory lock that one process holds while it migrates (PostgreSQL)."""


def upgrade(connection: Connection) -> None:
    """Within the caller's transaction, which is a writing one on SQLite and takes a lock of its own on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    # Several heads: steps that do not depend on one another may be written side by side.
    command.upgrade(config, "heads")
