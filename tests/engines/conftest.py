"""A real engine for every test of this folder."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from engine_bench import BASE, Bench, Watched

from rexec.server.engines.docker import DockerEngine, NetworkRules
from rexec.server.engines.docker.client import Client
from rexec.server.images import ImageRules, RegistrySource


@pytest.fixture(scope="session")
async def client(daemon_url: str) -> AsyncIterator[Client]:
    """The daemon itself, for what a test does behind the engine's back."""
    async with Client(daemon_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def make_engine(daemon_url: str, guest_binary: Path) -> Callable[..., DockerEngine]:
    def make(
        guests: Path,
        installation: str,
        *,
        url: str = daemon_url,
        images: ImageRules | None = None,
        network: NetworkRules | None = None,
        shell_bundle: Path | None = None,
    ) -> DockerEngine:
        return DockerEngine(
            url,
            installation,
            guests,
            guest_binary,
            network=network or NetworkRules(),
            images=RegistrySource(images or ImageRules()),
            shell_bundle=shell_bundle,
        )

    return make


@pytest.fixture(scope="session")
async def bench(
    make_engine: Callable[..., DockerEngine], client: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    guests = tmp_path_factory.mktemp("guests")
    installation = secrets.token_hex(8)
    async with make_engine(guests, installation) as engine:
        bench = Bench(engine, client, installation, guests)
        try:
            await engine.prepare(BASE, lambda progress: None, timeout=110)
            yield bench
        finally:
            await bench.close()


@pytest.fixture
def watching() -> Callable[[DockerEngine], tuple[Watched, asyncio.Task[None]]]:
    def begin(engine: DockerEngine) -> tuple[Watched, asyncio.Task[None]]:
        watched = Watched([], asyncio.Condition())

        async def follow() -> None:
            async for observation in engine.watch():
                async with watched.grew:
                    watched.seen.append(observation)
                    watched.grew.notify_all()

        return watched, asyncio.create_task(follow())

    return begin


@pytest.fixture
async def watched(
    bench: Bench, watching: Callable[[DockerEngine], tuple[Watched, asyncio.Task[None]]]
) -> AsyncIterator[Watched]:
    watched, task = watching(bench.engine)
    await watched.until(lambda seen: seen == [None])
    yield watched
    task.cancel()
    await asyncio.wait([task])
