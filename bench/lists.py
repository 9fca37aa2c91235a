"""Lists on both databases, and what authentication and rate limits add to a request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.postgres import Cluster

from bench.measure import SMALL, Figure, Workbench, p50, timed, workbench

CONTAINERS, AT_ONCE = 100, 10


async def run(bench: Workbench) -> list[Figure]:
    figures = [*await listing(bench, "SQLite"), await passing(bench, "SQLite")]
    async with on_postgres() as other:
        return [*figures, *await listing(other, "PostgreSQL"), await passing(other, "PostgreSQL")]


@asynccontextmanager
async def on_postgres() -> AsyncIterator[Workbench]:
    cluster = await asyncio.to_thread(Cluster)
    try:
        async with workbench(REXEC_DATABASE_URL=cluster.url) as bench:
            yield bench
    finally:
        await asyncio.to_thread(cluster.remove)


async def listing(bench: Workbench, database: str) -> list[Figure]:
    made = []
    for _ in range(0, CONTAINERS, AT_ONCE):
        made += await asyncio.gather(*(bench.create(**SMALL) for _ in range(AT_ONCE)))

    async def listed() -> None:
        async with bench.lean.get("/api/containers") as answer:
            assert (await answer.json())["count"] == CONTAINERS

    taken = await timed(listed, 60)
    await asyncio.gather(*(bench.delete(container) for container in made))
    return [Figure(f"list of {CONTAINERS} containers, p50, {database}", p50(taken), "ms", 15)]


async def passing(bench: Workbench, database: str) -> Figure:
    """A request that gets no further than its method, of a guest (admins have no limit) and of nobody, in turns."""
    guest = await bench.post("/api/auth/guest", {"username": "bench"}, status=200)
    signed = {"Authorization": f"Bearer {guest['token']}"}

    async def refused(path: str, headers: dict[str, str]) -> None:
        async with bench.lean.put(path, json={}, headers=headers) as answer:
            assert answer.status == 405, await answer.text()

    with_account, without = [], []
    for _ in range(10):
        with_account += await timed(lambda: refused("/api/profile", signed), 20)
        without += await timed(lambda: refused("/api/version", {}), 20)
    added = max(0.0, p50(with_account) - p50(without))
    return Figure(f"authentication and rate limit added to a request, p50, {database}", added, "ms", 1)
