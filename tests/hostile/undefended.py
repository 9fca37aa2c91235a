"""A container as Docker runs it when nobody asks for more: what an attack is worth without the defence it is tried on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiodocker


class Undefended:
    def __init__(self, url: str, id: str, address: str, log: str, pid: int) -> None:
        self._url = url
        self.id = id
        self.address = address
        self.log = log
        self.pid = pid

    async def run(self, command: str) -> int:
        """The exit code of a command of bash."""
        process = await asyncio.create_subprocess_exec(
            "docker", "-H", self._url, "exec", self.id, "bash", "-c", command,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await process.wait()


@asynccontextmanager
async def undefended(
    docker: aiodocker.Docker, url: str, image: str = "debian:bookworm", **host: Any
) -> AsyncIterator[Undefended]:
    """On Docker's own bridge; `host` is what its HostConfig says besides."""
    config = {"Image": image, "Cmd": ["sleep", "infinity"], "HostConfig": host}
    container = await docker.containers.create(config)
    try:
        await container.start()
        shown = await container.show()
        address = shown["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        yield Undefended(url, container.id, address, shown["LogPath"], shown["State"]["Pid"])
    finally:
        await container.delete(force=True, v=True)
