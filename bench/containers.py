"""POST, a cold create, and what fifty containers cost the server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.measure import IMAGE, Figure, Workbench, p50, raw_config, timed


async def run(bench: Workbench) -> list[Figure]:
    return [await post(bench), await cold(bench), await burst(bench), await memory(bench)]


async def post(bench: Workbench) -> Figure:
    taken = []
    body = {"image": IMAGE, "memory_mb": 256, "cpu_shares": 500, "disk_mb": 1024}
    for _ in range(20):
        begin = time.perf_counter()
        answer = await bench.http.post("/api/containers", json=body)
        taken.append((time.perf_counter() - begin) * 1000)
        answer.raise_for_status()
        await bench.http.delete(f"/api/containers/{answer.json()['id']}")
        await asyncio.sleep(0.7)  # "at idle": until the work of the one before is over
    return Figure("POST /api/containers answered, p50, idle", p50(taken), "ms", 10)


async def cold(bench: Workbench) -> Figure:
    """In turns, so that the machine's moods fall on both."""
    ours, docker = [], []
    for _ in range(12):
        begin = time.perf_counter()
        container = await bench.create()
        ours.append((time.perf_counter() - begin) * 1000)
        await bench.delete(container)
        await asyncio.sleep(0.7)
        begin = time.perf_counter()
        raw = await bench.docker.containers.create(raw_config())
        await raw.start()
        docker.append((time.perf_counter() - begin) * 1000)
        await raw.delete(force=True, v=True)
        await asyncio.sleep(0.3)
    return Figure(
        "cold create until the guest answers, p50, against create + start", p50(ours), "ms", 1.15, p50(docker)
    )


async def burst(bench: Workbench) -> Figure:
    """Ten at once, all answering a command."""

    async def ours() -> None:
        container = await bench.create()
        made.append(container)
        answer = await bench.http.post(f"/api/containers/{container['id']}/exec", json={"command": ["true"]})
        answer.raise_for_status()

    async def docker() -> None:
        raw = await bench.docker.containers.create(raw_config())
        raws.append(raw)
        await raw.start()
        await raw_exec(raw)

    made: list[dict[str, Any]] = []
    raws: list[Any] = []
    [one] = await timed(lambda: asyncio.gather(*(ours() for _ in range(10))), 1, warm=0)
    [other] = await timed(lambda: asyncio.gather(*(docker() for _ in range(10))), 1, warm=0)
    await asyncio.gather(*(bench.delete(container) for container in made))
    await asyncio.gather(*(raw.delete(force=True, v=True) for raw in raws))
    return Figure("10 creates at once, each answering a command, wall time", one, "ms", 1.15, other)


async def memory(bench: Workbench) -> Figure:
    made: list[dict[str, Any]] = []
    for _ in range(10):
        made += await asyncio.gather(*(bench.create() for _ in range(5)))
    resident = bench.resident_mib()
    await asyncio.gather(*(bench.delete(container) for container in made))
    return Figure("server memory with 50 containers", resident, "MiB", 120)


async def raw_exec(raw: Any) -> None:
    """`true` through the engine's own exec, with its exit code, as `docker exec` does it."""
    command = await raw.exec(["true"])
    async with command.start() as stream:
        while await stream.read_out() is not None:
            pass
    assert (await command.inspect())["ExitCode"] == 0
