"""kill -9 in the middle: nothing is lost, nothing is made twice."""

from __future__ import annotations

import asyncio

import aiodocker
import httpx2

from support.client import small
from support.server import Served


async def test_a_retried_create_after_kill_9_makes_one_container(served: Served) -> None:
    headers = {"Idempotency-Key": "the-same-one"}
    sending = asyncio.create_task(served.api.http.post("/api/containers", json=small(name="once"), headers=headers))
    await asyncio.sleep(0.01)
    await served.kill()
    await asyncio.gather(sending, return_exceptions=True)
    await served.start()

    answer = await served.api.http.post("/api/containers", json=small(name="once"), headers=headers)
    assert answer.status_code == 202, answer.text
    listed = (await served.api.http.get("/api/containers")).json()["containers"]
    assert [container["name"] for container in listed].count("once") == 1
    again = await served.api.http.post("/api/containers", json=small(name="once"), headers=headers)
    assert again.json()["id"] == answer.json()["id"]
    other = await served.api.http.post("/api/containers", json=small(name="twice"), headers=headers)
    assert other.status_code == 409
    await served.api.delete(answer.json()["id"])


async def test_creations_under_way_are_finished_by_the_next_start(served: Served, docker: aiodocker.Docker) -> None:
    made = [(await served.api.http.post("/api/containers", json=small())).json()["id"] for _ in range(5)]
    await served.kill()
    await served.start()

    for container in made:
        async with asyncio.timeout(60):
            while (await served.api.get(container))["status"] == "creating":
                await asyncio.sleep(0.1)
        assert (await served.api.get(container))["status"] == "running"
        assert (await served.api.exec(container, "echo here"))["stdout"] == "here\n"
        await served.api.delete(container)


async def test_a_deleted_one_is_gone_after_kill_9_too(served: Served, docker: aiodocker.Docker) -> None:
    container = await served.api.create()
    engine_id = (await served.api.get(container["id"]))["container_id"]
    await served.api.delete(container["id"])
    await served.kill()
    await served.start()

    async with asyncio.timeout(30):
        while engine_id in {found.id for found in await docker.containers.list(all=True)}:
            await asyncio.sleep(0.1)
    try:
        answer = await served.api.http.get(f"/api/containers/{container['id']}")
    except httpx2.TransportError:
        raise AssertionError("the server is away") from None
    assert answer.status_code == 404
