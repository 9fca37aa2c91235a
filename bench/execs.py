"""A command's way through the API and the guest, against the engine's own exec."""

from __future__ import annotations

import asyncio

from bench.containers import raw_exec
from bench.measure import Figure, Workbench, p50, timed


async def run(bench: Workbench) -> list[Figure]:
    async with bench.container() as container, bench.raw() as raw:
        path = f"/api/containers/{container['id']}/exec"

        async def once() -> None:
            answer = await bench.post(path, {"command": ["true"]}, status=200)
            assert answer["exit_code"] == 0, answer

        ours, docker = [], []
        for _ in range(5):
            ours += await timed(once, 20)
            docker += await timed(lambda: raw_exec(raw), 8)
        [hundred] = await timed(lambda: asyncio.gather(*(once() for _ in range(100))), 1, warm=1)
    return [
        Figure("exec of `true`, p50, against the engine's exec", p50(ours), "ms", 0.06, p50(docker)),
        Figure(
            "100 execs at once, none lost, wall time against one after the other",
            hundred,
            "ms",
            1,
            p50(ours) * 100,
        ),
    ]
