"""Whether a database has the present schema, and the program that brings it there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sqlalchemy import URL, Connection, inspect, text

from rexec.errors import Broken

HEAD = max(path.stem.partition("_")[0] for path in (Path(__file__).parent / "migrations/versions").glob("0*.py"))
"""Migrations are named after their revision, which counts up."""


def current(connection: Connection) -> bool:
    """Raises `Broken` for a database that a newer server has migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if version is not None and str(version) > HEAD:
        raise Broken(f"the database has the schema {version} of a newer server; this one knows {HEAD}")
    return version == HEAD


async def migrate(url: URL) -> None:
    """Raises `Broken` with the last thing the program said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rexec.server.store.migrate",
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate(url.render_as_string(hide_password=False).encode())
    if process.returncode != 0:
        words = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise Broken(f"the database could not be migrated: {words[-1]}", code="migration_failed")
