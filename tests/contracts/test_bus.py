"""The bus, within a process and over PostgreSQL."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from rexec.server.bus import LocalBus
from rexec.server.bus.postgres import PostgresBus


@pytest.mark.parametrize("kind", ["local", "postgres"])
async def test_wakes_coalesce_and_are_kept_until_looked_at(kind: str, request: pytest.FixtureRequest) -> None:
    bus = LocalBus() if kind == "local" else PostgresBus(request.getfixturevalue("postgres_url"))
    async with bus, bus.subscribe("a", "b") as subscription:
        for _ in range(1000):
            await bus.publish("a", "b", "c")
        await asyncio.wait_for(subscription.wait(), 5)
        waiting = asyncio.create_task(subscription.wait())
        if kind == "local":
            await asyncio.sleep(0)
            assert not waiting.done()
        await bus.publish("b")
        await asyncio.wait_for(waiting, 5)


async def test_one_process_wakes_another(postgres_url: str) -> None:
    async with PostgresBus(postgres_url) as here, PostgresBus(postgres_url) as there, there.subscribe("t") as heard:
        await asyncio.wait_for(heard.wait(), 10)
        await here.publish("t")
        await asyncio.wait_for(heard.wait(), 5)


async def test_a_killed_connection_comes_back_and_wakes_everybody(postgres_url: str) -> None:
    async with PostgresBus(postgres_url) as bus, bus.subscribe("quiet") as subscription:
        await asyncio.wait_for(subscription.wait(), 10)
        admin = await asyncpg.connect(postgres_url)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        await admin.close()
        await asyncio.wait_for(subscription.wait(), 10)
