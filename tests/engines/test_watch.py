"""A daemon that goes away and comes back, seen through a socket that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from engine_bench import Bench, Watched

from rexec.errors import Unavailable
from rexec.server.engines.docker import DockerEngine
from rexec.server.ports.records import Phase


class Cable:
    """Carries a Unix socket's connections to another one until it is cut."""

    def __init__(self, here: Path, there: str) -> None:
        self.here = here
        self._there = there
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def join(self) -> None:
        self._server = await asyncio.start_unix_server(self._carry, self.here)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        self.here.unlink(missing_ok=True)
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._there)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}
            writer.close()
            far_writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


@pytest.fixture
async def cable(daemon_url: str, tmp_path: Path) -> AsyncIterator[Cable]:
    cable = Cable(tmp_path / "d.sock", daemon_url.removeprefix("unix://"))
    await cable.join()
    yield cable
    await cable.cut()


async def test_a_watch_outlives_the_daemon(
    bench: Bench,
    cable: Cable,
    make_engine: Callable[..., DockerEngine],
    watching: Callable[[DockerEngine], tuple[Watched, asyncio.Task[None]]],
    tmp_path: Path,
) -> None:
    spec = bench.spec()
    async with make_engine(tmp_path / "g", "watch" + bench.installation, url=f"unix://{cable.here}") as engine:
        watched, task = watching(engine)
        try:
            await watched.until(lambda seen: seen == [None])
            await engine.start(spec)
            await watched.phase(spec.engine_key, Phase.RUNNING)
            await cable.cut()
            with pytest.raises(Unavailable):
                await engine.ping()
            with pytest.raises(Unavailable):
                await engine.inspect(spec.engine_key)
            await bench.client.json("POST", f"containers/rexec-{spec.engine_key}/kill")
            await cable.join()
            await watched.until(lambda seen: seen.count(None) == 2)
            await engine.ping()
            assert (await engine.list())[0].exit_code == 137
            await engine.start(spec)
            await watched.until(lambda seen: seen[-1] is not None and seen[-1].phase is Phase.RUNNING)
        finally:
            task.cancel()
            await asyncio.wait([task])
            await engine.delete(spec.engine_key)
            await engine.remove_network()
