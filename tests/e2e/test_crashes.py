"""kill -9 in the middle: nothing is lost, nothing is made twice, nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiodocker
import pytest

from support.client import Watcher, small
from support.server import Served

PATIENCE = 60


@pytest.fixture
async def alone(served: Served) -> AsyncIterator[Served]:
    """The shared server with nothing on it, running again at the end."""
    yield served
    await served.start()
    for container in (await served.api.http.get("/api/containers?all=true")).json()["containers"]:
        await served.api.delete(container["id"])


async def settled(served: Served, container: str, *statuses: str) -> dict[str, object]:
    async with asyncio.timeout(PATIENCE):
        while (shown := await served.api.get(container))["status"] not in statuses:
            await asyncio.sleep(0.1)
    return shown


async def left(served: Served, docker: aiodocker.Docker) -> tuple[set[str], set[str]]:
    """The engine's objects and the guests' folders."""
    objects = await docker.containers.list(all=True, filters={"label": ["rexec.installation"]})
    folders = {folder.name for folder in (served.data / "guests").iterdir() if not folder.name.startswith(".")}
    return {found.id for found in objects}, folders


async def only(served: Served, docker: aiodocker.Docker, before: tuple[set[str], set[str]], *living: str) -> None:
    """What came since `before` is of `living`, one each."""
    wanted = {str((await served.api.get(container))["container_id"]) for container in living}
    assert len(wanted) == len(living)
    async with asyncio.timeout(PATIENCE):
        while True:
            objects, folders = await left(served, docker)
            if objects - before[0] == wanted and len(folders - before[1]) == len(living):
                return
            await asyncio.sleep(0.1)


async def test_a_retried_create_after_kill_9_makes_one_container(alone: Served) -> None:
    headers = {"Idempotency-Key": "the-same-one"}
    sending = asyncio.create_task(alone.api.http.post("/api/containers", json=small(name="once"), headers=headers))
    await asyncio.sleep(0.01)
    await alone.kill()
    await asyncio.gather(sending, return_exceptions=True)
    await alone.start()

    answer = await alone.api.http.post("/api/containers", json=small(name="once"), headers=headers)
    assert answer.status_code == 202, answer.text
    listed = (await alone.api.http.get("/api/containers")).json()["containers"]
    assert [container["name"] for container in listed].count("once") == 1
    again = await alone.api.http.post("/api/containers", json=small(name="once"), headers=headers)
    assert again.json()["id"] == answer.json()["id"]
    other = await alone.api.http.post("/api/containers", json=small(name="twice"), headers=headers)
    assert other.status_code == 409


@pytest.mark.parametrize("stage", ["validating", "pulling", "creating", "starting", "configuring"])
async def test_a_creation_goes_on_from_every_stage(
    alone: Served, docker: aiodocker.Docker, registry_image: str, stage: str
) -> None:
    before = await left(alone, docker)
    async with Watcher(alone.api) as watcher:
        wanted = small(image="custom", custom_image=registry_image)
        made = (await alone.api.http.post("/api/containers", json=wanted)).json()["id"]
        async with asyncio.timeout(PATIENCE):
            while (told := await watcher.next())["data"].get("stage") != stage or told["data"]["id"] != made:
                continue
        await alone.kill()
    await alone.start()

    await settled(alone, made, "running")
    assert (await alone.api.exec(made, ["/app", "version"]))["exit_code"] is not None
    history = (await alone.api.http.get(f"/api/containers/{made}/events")).json()["events"]
    progress = [event["data"]["progress"] for event in history if event["type"] == "container_progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    await only(alone, docker, before, made)


async def test_stops_starts_deletes_and_several_creations_go_on_too(alone: Served, docker: aiodocker.Docker) -> None:
    before = await left(alone, docker)
    stopped, started, deleted, kept = [(await alone.api.create())["id"] for _ in range(4)]
    await alone.api.exec(started, "echo kept > /root/kept")
    await alone.api.http.post(f"/api/containers/{started}/stop")
    made = [(await alone.api.http.post("/api/containers", json=small())).json()["id"] for _ in range(3)]
    asked = [
        asyncio.create_task(alone.api.http.post(f"/api/containers/{stopped}/stop")),
        asyncio.create_task(alone.api.http.post(f"/api/containers/{started}/start")),
    ]
    for container, status in ((stopped, ("stopping", "stopped")), (started, ("starting", "running"))):
        await settled(alone, container, *status)
    await alone.api.delete(deleted)
    await alone.kill()
    await asyncio.gather(*asked, return_exceptions=True)
    await alone.start()

    await settled(alone, stopped, "stopped")
    await settled(alone, started, "running")
    assert (await alone.api.exec(started, "cat /root/kept"))["stdout"] == "kept\n"
    assert (await alone.api.exec(kept, "echo here"))["stdout"] == "here\n"
    assert (await alone.api.http.get(f"/api/containers/{deleted}")).status_code == 404
    for container in made:
        await settled(alone, container, "running")
        assert (await alone.api.exec(container, "echo here"))["stdout"] == "here\n"
    await only(alone, docker, before, stopped, started, kept, *made)
