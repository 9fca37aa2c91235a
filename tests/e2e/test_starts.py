"""A start that cannot be says why in one line."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import aiodocker
import pytest

from support.server import Served


async def run(data: Path, module: str, *words: str, **settings: str) -> tuple[int | None, list[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REXEC_", "DOCKER_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *words,
        env={**environment, "REXEC_BIND": "127.0.0.1:0", "REXEC_DATA_DIR": str(data), **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(100):
        said, _ = await process.communicate()
    return process.returncode, said.decode().splitlines()


async def refused(data: Path, **settings: str) -> str:
    status, said = await run(data, "rexec.server", **settings)
    assert status in (1, 2), said
    [line] = said
    return line


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        assert await refused(tmp_path, REXEC_BIND=bind) == f"rexec: cannot listen on {bind}: Address already in use"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("unix:///no/such.sock", "the container engine is away"),
        ("nonsense", "setting REXEC_DOCKER_HOST: "),
    ],
)
async def test_an_engine_that_is_not_there_is_named(tmp_path: Path, url: str, reason: str) -> None:
    assert reason in await refused(tmp_path, REXEC_DOCKER_HOST=url)


async def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for folder in (file, Path("/sys")):
        said = await refused(folder)
        assert said.startswith(f"rexec: cannot write in the data directory {folder}: ")


async def test_a_start_without_its_image_keeps_the_admins_token_for_the_next(tmp_path: Path, daemon_url: str) -> None:
    absent = "127.0.0.1:9/absent:1"
    wanted = {"REXEC_DEFAULT_IMAGE": absent, "REXEC_DOCKER_HOST": daemon_url, "REXEC_LOG_LEVEL": "error"}
    status, said = await run(tmp_path, "rexec.server", **wanted)
    assert (status, absent in said[-1]) == (1, True), said
    status, [token] = await run(tmp_path, "rexec.cli", "admin-token", **wanted)
    assert status == 0
    assert token.startswith("rexec_")


async def test_an_uninstalled_server_leaves_nothing_in_the_engine(
    tmp_path: Path, daemon_url: str, docker: aiodocker.Docker
) -> None:
    async def held() -> tuple[int, set[str]]:
        containers = await docker.containers.list(all=True)
        tables = await asyncio.create_subprocess_exec("nft", "list", "tables", stdout=asyncio.subprocess.PIPE)
        said, _ = await tables.communicate()
        return len(containers), {network["Name"] for network in await docker.networks.list()} | set(
            said.decode().split()
        )

    before = await held()
    server = Served(tmp_path, daemon_url)
    await server.start()
    await server.api.create()
    await server.stop()
    containers, places = await held()
    assert containers == before[0] + 1
    assert len(places - before[1]) >= 2
    await server.command("uninstall", "--yes")
    assert await held() == before
    await server.api.http.aclose()
