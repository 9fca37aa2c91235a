"""A large file up and down, against `docker cp`."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Figure, Workbench

SIZE = int(os.environ.get("REXEC_BENCH_FILE_MIB", "1024")) << 20
CHUNK = 1 << 20


async def run(bench: Workbench) -> list[Figure]:
    with TemporaryDirectory() as place:
        file = Path(place, "large")
        with file.open("wb") as out:
            for _ in range(SIZE // CHUNK):
                out.write(os.urandom(CHUNK))
        async with (
            bench.container(memory_mb=1024, cpu_shares=2000, disk_mb=4096) as container,
            bench.raw() as raw,
        ):
            before = bench.resident_mib()
            up, peak_up = await watched(bench, upload(bench, container["id"], file))
            docker_up = await docker_cp(str(file), f"{raw.id}:/large")
            down, peak_down = await watched(bench, download(bench, container["id"]))
            docker_down = await docker_cp(f"{raw.id}:/large", str(Path(place, "back")))
    return [
        Figure(f"upload of {SIZE >> 20} MiB, against docker cp", up, "ms", 1, docker_up),
        Figure(f"download of {SIZE >> 20} MiB, against docker cp", down, "ms", 1, docker_down),
        Figure("… memory that the server took more at the peak", max(peak_up, peak_down) - before, "MiB", 32),
    ]


async def upload(bench: Workbench, container: str, file: Path) -> float:
    return await curl(bench, container, "--upload-file", str(file), "--header", "Expect:", "--output", os.devnull)


async def download(bench: Workbench, container: str) -> float:
    return await curl(bench, container, "--output", os.devnull)


async def curl(bench: Workbench, container: str, *what: str) -> float:
    """A program, as `docker cp` is one: a client in Python would cost as much as the server."""
    url = f"{bench.url}/api/containers/{container}/files?path=/large"
    begin = time.perf_counter()
    asking = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--fail", "--header", f"Authorization: Bearer {bench.token}", *what, url
    )
    assert await asking.wait() == 0
    return (time.perf_counter() - begin) * 1000


async def docker_cp(source: str, to: str) -> float:
    begin = time.perf_counter()
    copy = await asyncio.create_subprocess_exec("docker", "cp", "-q", source, to)
    assert await copy.wait() == 0
    return (time.perf_counter() - begin) * 1000


async def watched(bench: Workbench, work: object) -> tuple[float, float]:
    """The result of `work` and the highest resident memory meanwhile."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    peak = bench.resident_mib()
    while not task.done():
        peak = max(peak, bench.resident_mib())
        await asyncio.wait([task], timeout=0.05)
    return await task, peak
