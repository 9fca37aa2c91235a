"""Every promise of the store, kept on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rexec.server.bus import LocalBus
from rexec.server.store import SqlDatabase, migrate
from support.postgres import Cluster, cluster, database_in


@pytest.fixture
def postgres_url(postgres_cluster: Cluster) -> Iterator[str]:
    """An empty database of one test's own."""
    with database_in(postgres_cluster.url) as url:
        yield url


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that a test may end."""
    with cluster() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/rexec.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus()


@pytest.fixture
async def database(url: str, bus: LocalBus) -> AsyncIterator[SqlDatabase]:
    async with SqlDatabase(url, bus) as database:
        await migrate.main(url)
        yield database
