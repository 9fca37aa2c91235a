"""POST, a cold create, and what fifty containers cost the server."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.measure import IMAGE, Figure, Workbench, p50, raw_config, timed

BODY = {"image": IMAGE, "memory_mb": 256, "cpu_shares": 500, "disk_mb": 1024, "shell": {"enhanced": False}}


async def run(bench: Workbench) -> list[Figure]:
    return [await post(bench), *await cold(bench), await burst(bench), await memory(bench)]


async def post(bench: Workbench) -> Figure:
    taken = []
    for _ in range(20):
        begin = time.perf_counter()
        container = await bench.post("/api/containers", BODY, status=202)
        taken.append((time.perf_counter() - begin) * 1000)
        await bench.delete(container)
        await asyncio.sleep(0.7)  # "at idle": until the work of the one before is over
    return Figure("POST /api/containers answered, p50, idle", p50(taken), "ms", 10)


async def cold(bench: Workbench) -> list[Figure]:
    """What the API adds to Docker's own create and start: of the very same container, with its network, mounts and
    limits. And for comparison of a bare one, as `docker run` makes it. In turns: the machine's moods fall on all."""
    ours, same, bare = [], [], []
    for _ in range(12):
        begin = time.perf_counter()
        container = await bench.post("/api/containers", BODY, status=200, wait=120)
        ours.append((time.perf_counter() - begin) * 1000)
        same.append(await _started(bench, await _alike(bench, container)))
        await bench.delete(container)
        await asyncio.sleep(0.7)
        bare.append(await _started(bench, raw_config()))
    what = "cold create until the guest answers, p50, against Docker's create + start of"
    return [
        Figure(f"{what} the same container", p50(ours), "ms", 1.15, p50(same)),
        Figure(f"{what} a bare one on its default bridge", p50(ours), "ms", None, p50(bare)),
    ]


async def _alike(bench: Workbench, container: dict[str, Any]) -> dict[str, Any]:
    """What makes Docker create this container once more, under nobody's name, with another first program."""
    shown = await (await bench.docker.containers.get(container["container_id"])).show()
    config = shown["Config"]
    network = shown["HostConfig"]["NetworkMode"]
    return {
        **{name: config[name] for name in ("Image", "Hostname", "User", "WorkingDir", "Healthcheck")},
        "Entrypoint": ["sleep", "86400"],
        "HostConfig": shown["HostConfig"],
        "NetworkingConfig": {"EndpointsConfig": {network: {}}},
    }


async def _started(bench: Workbench, config: dict[str, Any]) -> float:
    begin = time.perf_counter()
    raw = await bench.docker.containers.create(config)
    await raw.start()
    taken = (time.perf_counter() - begin) * 1000
    await raw.delete(force=True, v=True)
    await asyncio.sleep(0.3)
    return taken


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
