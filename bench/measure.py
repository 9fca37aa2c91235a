"""What every bench needs: a server under test, Docker beside it, clocks, and figures with their goals."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
import httpx2

IMAGE = os.environ.get("REXEC_BENCH_IMAGE", "debian:bookworm")

SMALL = {"image": IMAGE, "memory_mb": 256, "cpu_shares": 250, "disk_mb": 1024, "shell": {"enhanced": False}}


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `against` is what the ratio's goal compares with; without it the goal is absolute.
    Without a goal it is there to be compared with."""

    what: str
    measured: float
    unit: str
    goal: float | None
    against: float | None = None
    at_least: bool = False

    @property
    def judged(self) -> float:
        return self.measured if self.against is None else self.measured / self.against

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.goal is None:
            return None
        return self.judged >= self.goal if self.at_least else self.judged <= self.goal

    def row(self) -> str:
        against, ratio, unit = "", "", self.unit
        if self.against is not None:
            against, ratio, unit = f"{self.against:.1f} {self.unit}", f"{self.judged:.3f} ×", "×"
        goal = "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g} {unit}"
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        return f"| {' | '.join((self.what, f'{self.measured:.1f} {self.unit}', against, ratio, goal, verdict))} |"


@dataclass(slots=True)
class Workbench:
    http: httpx2.AsyncClient
    lean: aiohttp.ClientSession
    """The client that Docker's side is measured with: what is compared with Docker goes through it."""
    docker: aiodocker.Docker
    url: str
    token: str
    pid: int
    engine: str

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def resident_mib(self) -> float:
        """Memory of the server process now, from /proc."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmRSS")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def create(self, **wanted: Any) -> dict[str, Any]:
        body = {
            "image": IMAGE,
            "memory_mb": 256,
            "cpu_shares": 500,
            "disk_mb": 1024,
            "shell": {"enhanced": False},
            **wanted,
        }
        answer = await self.http.post("/api/containers", params={"wait": 120}, json=body)
        answer.raise_for_status()
        container: dict[str, Any] = answer.json()
        if container["status"] != "running":
            raise RuntimeError(f"the container did not start: {container}")
        return container

    async def post(self, path: str, body: dict[str, Any], *, status: int, **params: Any) -> dict[str, Any]:
        """By the lean client."""
        async with self.lean.post(path, json=body, params=params) as answer:
            said: dict[str, Any] = await answer.json()
            assert answer.status == status, said
            return said

    async def delete(self, container: dict[str, Any]) -> None:
        (await self.http.delete(f"/api/containers/{container['id']}")).raise_for_status()

    @asynccontextmanager
    async def container(self, **wanted: Any) -> AsyncIterator[dict[str, Any]]:
        container = await self.create(**wanted)
        try:
            yield container
        finally:
            await self.delete(container)

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Any]:
        """A container of Docker's own with the same limits, sleeping."""
        raw = await self.docker.containers.create(raw_config())
        await raw.start()
        try:
            yield raw
        finally:
            await raw.delete(force=True, v=True)


def raw_config() -> dict[str, Any]:
    return {
        "Image": IMAGE,
        "Cmd": ["sleep", "86400"],
        "HostConfig": {
            "Memory": 256 << 20,
            "MemorySwap": 256 << 20,
            "NanoCpus": 500_000_000,
            "PidsLimit": 512,
        },
    }


async def timed(work: Callable[[], Awaitable[object]], times: int, warm: int = 2) -> list[float]:
    """Milliseconds of each of `times` runs, one after the other, after `warm` that do not count."""
    taken = []
    for turn in range(warm + times):
        begin = time.perf_counter()
        await work()
        if turn >= warm:
            taken.append((time.perf_counter() - begin) * 1000)
    return taken


def p50(values: list[float]) -> float:
    return statistics.median(values)


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def workbench(**settings: str) -> AsyncIterator[Workbench]:
    token, port = f"rexec_{secrets.token_hex(32)}", free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="rexec-bench-") as data:
        log = Path(data, "server.log").open("wb")
        environment = {
            **os.environ,
            "REXEC_BIND": f"127.0.0.1:{port}",
            "REXEC_DATA_DIR": data,
            "REXEC_ADMIN_TOKEN": token,
            "REXEC_FIRST_RUN_CHECK": "false",
            "REXEC_UPLOAD_LIMIT": str(4 << 30),
            **settings,
        }
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rexec.cli", "serve", env=environment, stdout=log, stderr=log
        )
        headers = {"Authorization": f"Bearer {token}"}
        docker = aiodocker.Docker()
        try:
            async with (
                httpx2.AsyncClient(base_url=url, headers=headers, timeout=180) as http,
                aiohttp.ClientSession(url, headers=headers) as lean,
            ):
                await answering(http, server, Path(data, "server.log"))
                version = (await docker.version())["Version"]
                yield Workbench(http, lean, docker, url, token, server.pid, f"Docker {version}")
        finally:
            await docker.close()
            if server.returncode is None:
                server.terminate()
            await server.wait()
            uninstall = [sys.executable, "-m", "rexec.cli", "uninstall", "--yes"]
            await (await asyncio.create_subprocess_exec(*uninstall, env=environment, stdout=log, stderr=log)).wait()
            log.close()


async def answering(http: httpx2.AsyncClient, server: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(120):
        while server.returncode is None:
            try:
                if (await http.get("/ready")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise RuntimeError(f"the server ended at once:\n{log.read_text()[-2000:]}")
