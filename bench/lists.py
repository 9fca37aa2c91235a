"""Lists, and what authentication and rate limits add to a request."""

from __future__ import annotations

import asyncio

from bench.measure import SMALL, Figure, Workbench, p50, timed


async def run(bench: Workbench) -> list[Figure]:
    made = []
    for start in range(0, 100, 10):
        answers = await asyncio.gather(
            *(
                bench.http.post("/api/containers", params={"wait": 120}, json={**SMALL, "name": f"list-{start + n}"})
                for n in range(10)
            )
        )
        made += [answer.json() for answer in answers]

    async def listed() -> None:
        answer = await bench.http.get("/api/containers")
        assert answer.json()["count"] == 100

    async def version() -> None:
        (await bench.http.get("/api/version")).raise_for_status()

    listing = await timed(listed, 60)
    public = await timed(version, 300, warm=20)
    await asyncio.gather(*(bench.delete(container) for container in made))
    signed = await timed(lambda: bench.http.get("/api/profile"), 300, warm=20)
    return [
        Figure("list of 100 containers, p50", p50(listing), "ms", 15),
        Figure(
            "authentication and rate limit added to a request, p50",
            max(0.0, p50(signed) - p50(public)),
            "ms",
            1,
        ),
    ]
