"""Whether a database has the present schema, and the program that brings it there."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from sqlalchemy import URL, Connection, inspect, text

from rexec.errors import Broken

_VERSIONS = Path(__file__).parent / "migrations/versions"
_NAMES = re.compile(r'^(down_)?revision = "(\w+)"$', re.MULTILINE)


def known() -> tuple[set[str], set[str]]:
    """All revisions, and the heads among them, read from the migrations without loading Alembic."""
    found = [match for path in _VERSIONS.glob("*.py") for match in _NAMES.findall(path.read_text())]
    revisions = {name for down, name in found if not down}
    return revisions, revisions - {name for down, name in found if down}


def current(connection: Connection) -> bool:
    """Raises `Broken` for a database that a newer server has migrated."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    present = set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())
    revisions, heads = known()
    if not present <= revisions:
        raise Broken("the database has the schema of a newer server", code="schema_too_new")
    return present == heads


async def migrate(url: URL) -> None:
    """Raises `Broken` with the last thing the program said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rexec.server.store.migrate", stdin=PIPE, stderr=PIPE
    )
    _, said = await process.communicate(url.render_as_string(hide_password=False).encode())
    if process.returncode != 0:
        words = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise Broken(f"the database could not be migrated: {words[-1]}", code="migration_failed")
