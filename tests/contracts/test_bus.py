"""The bus, within a process and over PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import asyncpg
import pytest

from rexec.server.bus import LocalBus
from rexec.server.bus.postgres import PostgresBus
from rexec.server.ports.bus import Subscription
from support.postgres import Cluster, database_in

PATIENCE = 60


async def soon(work: Awaitable[None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await work


async def heard(bus: PostgresBus, subscription: Subscription, topic: str) -> None:
    """Publish until it is heard on the other side: a bus that is being opened there may miss the first."""
    listening = asyncio.ensure_future(subscription.wait())
    async with asyncio.timeout(PATIENCE):
        while not listening.done():
            await bus.publish(topic)
            await asyncio.wait([listening], timeout=0.1)
    await listening


async def cut(url: str) -> None:
    """End every other connection to this database."""
    admin = await asyncpg.connect(url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    await admin.close()


@pytest.mark.parametrize("kind", ["local", "postgres"])
async def test_wakes_coalesce_and_are_kept_until_looked_at(kind: str, request: pytest.FixtureRequest) -> None:
    bus = LocalBus() if kind == "local" else PostgresBus(request.getfixturevalue("postgres_url"))
    async with bus, bus.subscribe("a", "b") as subscription:
        for _ in range(1000):
            await bus.publish("a", "b", "c")
        await soon(subscription.wait())
        waiting = asyncio.create_task(subscription.wait())
        if kind == "local":
            await asyncio.sleep(0)
            assert not waiting.done()
        await bus.publish("b")
        await soon(waiting)


async def test_one_process_wakes_another_and_topics_outgrow_one_payload(postgres_url: str) -> None:
    many = [f"container:{number:040}" for number in range(2000)]
    async with PostgresBus(postgres_url) as here, PostgresBus(postgres_url) as there:
        async with there.subscribe("first") as first, there.subscribe(many[-1]) as last:
            await heard(here, first, "first")
            await here.publish(*many)
            await soon(last.wait())


async def test_too_many_topics_wake_everybody(postgres_url: str) -> None:
    async with PostgresBus(postgres_url) as here, PostgresBus(postgres_url) as there:
        async with there.subscribe("first") as first, there.subscribe("never named") as quiet:
            await heard(here, first, "first")
            await here.publish(*(f"t{number}" for number in range(10_001)))
            await soon(quiet.wait())


async def test_what_is_published_during_cuts_arrives(postgres_url: str) -> None:
    """A cut comes before, within and after every step of the connection's life; nothing of that may end it."""
    async with PostgresBus(postgres_url) as here, PostgresBus(postgres_url) as there:
        for turn in range(12):
            topic = f"turn:{turn}"
            async with there.subscribe(topic) as subscription:
                cutting = [asyncio.create_task(cut(postgres_url)) for _ in range(turn % 3 + 1)]
                for _ in range(turn):
                    await asyncio.sleep(0)
                await here.publish(topic)
                await soon(subscription.wait())
                await asyncio.wait(cutting)
        async with there.subscribe("after") as subscription:
            await heard(here, subscription, "after")


async def test_a_database_that_restarts_is_found_again(own_cluster: Cluster) -> None:
    with database_in(own_cluster.url) as url:
        async with PostgresBus(url) as here, PostgresBus(url) as there, there.subscribe("t") as subscription:
            await heard(here, subscription, "t")
            await asyncio.to_thread(own_cluster.restart)
            await here.publish("t")
            await soon(subscription.wait())
            await heard(here, subscription, "t")
