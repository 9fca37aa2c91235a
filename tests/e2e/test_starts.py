"""A start that cannot be says why in one line."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest


async def refused(data: Path, **settings: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REXEC_", "DOCKER_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rexec.cli", "serve",
        env={**environment, "REXEC_BIND": "127.0.0.1:0", "REXEC_DATA_DIR": str(data), **settings},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(100):
        said, _ = await process.communicate()
    assert process.returncode in (1, 2), said.decode()
    [line] = said.decode().splitlines()
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
