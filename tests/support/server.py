"""A real `rexec serve` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import httpx2

from rexec.server.bus import LocalBus
from rexec.server.store import SqlDatabase
from support.client import Api

_START = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """One server; `kill` and `start` as often as a test wants. Its admin's `api` stays the same."""

    def __init__(self, data: Path, docker: str, **settings: str) -> None:
        port = free_port()
        self.data = data
        self.docker = docker
        self.url = f"http://127.0.0.1:{port}"
        self.token = f"rexec_{secrets.token_hex(32)}"
        self._settings = {
            "REXEC_BIND": f"127.0.0.1:{port}",
            "REXEC_DATA_DIR": str(data),
            "REXEC_ADMIN_TOKEN": self.token,
            "REXEC_FIRST_RUN_CHECK": "false",
            "REXEC_LOG_FORMAT": "json",
            "REXEC_DOCKER_HOST": docker,
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None
        self.api = self.as_token(self.token)

    def as_token(self, token: str) -> Api:
        headers = {"Authorization": f"Bearer {token}"}
        http = httpx2.AsyncClient(
            base_url=self.url, headers=headers, timeout=150, limits=httpx2.Limits(max_connections=300)
        )
        return Api(http, self.url, token)

    @property
    def database_url(self) -> str:
        return self._settings.get("REXEC_DATABASE_URL", f"sqlite:///{self.data}/rexec.db")

    @asynccontextmanager
    async def database(self) -> AsyncIterator[SqlDatabase]:
        """Beside the server: for what no request can do, as moving an end into the past."""
        async with SqlDatabase(self.database_url, LocalBus()) as opened:
            yield opened

    def share(self, other: Served) -> None:
        """Take the same admin's token as another server of the same database."""
        self.token = other.token
        self._settings["REXEC_ADMIN_TOKEN"] = other.token
        self.api = self.as_token(other.token)

    def set(self, **settings: str) -> None:
        """From the next start on."""
        self._settings |= settings

    @property
    def log(self) -> Path:
        return self.data / "server.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Nothing where it runs."""
        if self._process is not None and self._process.returncode is None:
            return
        with self.log.open("ab") as log:
            self._process = await self._run("serve", log=log)
        async with asyncio.timeout(_START):
            while not await self._answers():
                if self._process.returncode is not None:
                    raise RuntimeError(f"the server ended:\n{self.log.read_text()[-3000:]}")
                await asyncio.sleep(0.05)

    async def command(self, *words: str) -> None:
        """Another of `rexec`'s commands, beside the server; it has to succeed."""
        with self.log.open("ab") as log:
            process = await self._run(*words, log=log)
            assert await process.wait() == 0, self.log.read_text()[-3000:]

    async def _run(self, *words: str, log: IO[bytes]) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REXEC_")}
        command = [sys.executable, "-m", "rexec.cli", *words]
        return await asyncio.create_subprocess_exec(
            *command, env={**environment, **self._settings}, stdout=log, stderr=log
        )

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[Served]:
        """Leaves no container and no traceback."""
        await self.start()
        yield self
        for container in (await self.api.http.get("/api/containers?all=true")).json()["containers"]:
            await self.api.delete(container["id"])
        await self.stop()
        await self.api.http.aclose()
        text = self.log.read_text()
        assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:4000]

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Its exit status, once it has one."""
        assert self._process is not None
        return await self._process.wait()

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()

    async def _answers(self) -> bool:
        try:
            return bool((await self.api.http.get("/ready")).status_code == 200)
        except httpx2.TransportError:
            return False

    def resident_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def logged(self, **wanted: Any) -> list[str]:
        return [
            line for line in self.log.read_text().splitlines() if all(str(value) in line for value in wanted.values())
        ]
