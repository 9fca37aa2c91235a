"""What the tests of engines share: an engine with what was started on it, and what its watch told."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rexec.server.engines.docker import DockerEngine
from rexec.server.engines.docker.client import Client
from rexec.server.ports.records import Limits, Observation, Phase, Spec

BASE = "debian:bookworm"
LIMITS = Limits(memory_mb=256, cpu_millis=1000, disk_mb=1024, pids=200)


@dataclass
class Bench:
    """One engine and what was started on it."""

    engine: DockerEngine
    client: Client
    installation: str
    guests: Path

    def spec(self, image: str = BASE, limits: Limits = LIMITS) -> Spec:
        key = secrets.token_hex(6)
        return Spec(engine_key=key, image=image, limits=limits, hostname=f"h-{key}")

    async def run(self, spec: Spec, command: str, *, timeout: float = 30) -> tuple[int, str]:
        """A shell command inside, by Docker's own exec."""
        path = f"containers/rexec-{spec.engine_key}/exec"
        body = {"AttachStdout": True, "AttachStderr": True, "Tty": True, "Cmd": ["sh", "-c", command]}
        made = await self.client.json("POST", path, body=body)
        async with self.client.stream(
            "POST", f"exec/{made['Id']}/start", body={"Tty": True}, timeout=timeout
        ) as response:
            output = await response.read()
        ended = await self.client.json("GET", f"exec/{made['Id']}/json")
        return int(ended["ExitCode"]), output.decode(errors="replace").strip()

    async def close(self) -> None:
        for observation in await self.engine.list():
            await self.engine.delete(observation.engine_key)
        await self.engine.remove_network()


@dataclass
class Watched:
    """What an engine's watch has told so far, and a way to wait for more."""

    seen: list[Observation | None]
    grew: asyncio.Condition

    async def until(self, wanted: Callable[[list[Observation | None]], bool], timeout: float = 60) -> None:
        async with asyncio.timeout(timeout), self.grew:
            await self.grew.wait_for(lambda: wanted(self.seen))

    async def phase(self, key: str, phase: Phase) -> Observation:
        def found() -> Observation | None:
            return next((o for o in self.seen if o is not None and o.engine_key == key and o.phase is phase), None)

        await self.until(lambda _: found() is not None)
        observation = found()
        assert observation is not None
        return observation
