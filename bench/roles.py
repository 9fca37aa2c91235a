"""Roles: a bake from nothing, and a start from the baked layer beside one of the bare image."""

from __future__ import annotations

import time
from typing import Any

from bench.measure import SMALL, Figure, Workbench, p50

ROLE = "go"
ROUNDS = 15


async def run(bench: Workbench) -> list[Figure]:
    await _started(bench, {})
    shown = (await bench.http.get("/api/roles")).json()["roles"]
    layers = next(role["baked"] for role in shown if role["name"] == ROLE)
    first = await _started(bench, {"role": ROLE})
    bare, baked = [], []
    for _ in range(ROUNDS):
        bare.append(await _started(bench, {}))
        baked.append(await _started(bench, {"role": ROLE}))
    what = "the first start with a role, which bakes it" if not layers else "the first start with a role (baked before)"
    return [
        Figure(f"{what}: {ROLE}", first / 1000, "s", None),
        Figure(f"start with a baked role ({ROLE}) against the bare image, p50", p50(baked), "ms", 1.1, p50(bare)),
    ]


async def _started(bench: Workbench, wanted: dict[str, Any]) -> float:
    """Milliseconds from the POST to `running`."""
    began = time.perf_counter()
    answer = await bench.http.post("/api/containers", params={"wait": 300}, json={**SMALL, **wanted})
    took = (time.perf_counter() - began) * 1000
    container = answer.json()
    assert container["status"] == "running", container
    await bench.delete(container)
    return took
