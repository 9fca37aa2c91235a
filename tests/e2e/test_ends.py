"""How containers end, and what is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiodocker
import httpx2
import pytest
import websockets

from support.client import Api, Watcher, small


async def kill(docker: aiodocker.Docker, engine_id: str, signal: str = "KILL") -> None:
    container = docker.containers.container(engine_id)
    await container.kill(signal=signal)


async def events(api: Api, at: str) -> tuple[str, dict[str, Any]]:
    """The last event of a command that streams."""
    async with api.http.stream("POST", f"{at}/stream", json=long("events")) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                last = (kind, json.loads(line.removeprefix("data: ")))
    return last


async def messages(api: Api, at: str) -> tuple[dict[str, Any], int]:
    """The last message of a command on a socket, and what the socket is closed with."""
    async with api.connect(f"{at}/stream") as socket:
        await socket.send(json.dumps({"type": "start", **long("messages")}))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                last = json.loads(await socket.recv())
    assert closed.value.rcvd is not None
    return last, closed.value.rcvd.code


def long(mark: str) -> dict[str, Any]:
    return {"command": f"echo begun; touch /dev/shm/{mark}; exec sleep 4245", "timeout": 300}


async def commands_tell(
    api: Api, container: str, end: Callable[[], Awaitable[Any]], status: int, code: str, reason: str
) -> None:
    """In each way to run one, when its container comes to an end."""
    at = f"/api/containers/{container}/exec"
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        streamed = tasks.create_task(events(api, at))
        said = tasks.create_task(messages(api, at))
        asked = tasks.create_task(api.http.post(at, json=long("asked")))
        marks = "test -e events -a -e messages -a -e asked"
        begun = await api.exec(container, f"cd /dev/shm; until {marks}; do sleep 0.1; done", timeout=100)
        assert begun["exit_code"] == 0
        await end()
    (kind, event), (message, closed), answer = streamed.result(), said.result(), asked.result()
    assert (kind, message["type"], closed) == ("error", "error", 4000 + status)
    assert (answer.status_code, {told["code"] for told in (event, message, answer.json())}) == (status, {code})
    assert {told.get("reason") for told in (event, message, answer.json())} == {reason}


async def test_one_killed_from_outside_is_told(api: Api, docker: aiodocker.Docker) -> None:
    async with api.container() as container, Watcher(api) as watcher:
        engine_id = (await api.get(container["id"]))["container_id"]
        await commands_tell(api, container["id"], lambda: kill(docker, engine_id), 409, "not_running", "killed")
        told = await watcher.until("container_error", container["id"])

        assert told["data"]["status"] == "error"
        assert told["data"]["reason"] == "killed"

        assert (await api.http.post(f"/api/containers/{container['id']}/start")).status_code == 200
        await commands_tell(
            api, container["id"], lambda: api.delete(container["id"]), 404, "container_not_found", "deleted"
        )


async def test_one_that_is_ended_from_inside_is_stopped_and_starts_again_with_its_data(api: Api) -> None:
    async with api.container() as container, Watcher(api) as watcher:
        await api.exec(container["id"], "echo kept > /home/user/kept")
        await api.http.post(f"/api/containers/{container['id']}/exec", json={"command": "kill -TERM 1", "timeout": 2})
        told = await watcher.until("container_stopped", container["id"])
        assert told["data"]["reason"] == "exited"

        again = await api.http.post(f"/api/containers/{container['id']}/start")
        assert again.status_code == 200, again.text
        assert again.json()["status"] == "running"
        assert (await api.exec(container["id"], "cat /home/user/kept"))["stdout"] == "kept\n"


async def test_a_child_out_of_memory_is_told_and_the_container_lives(api: Api) -> None:
    async with api.container(memory_mb=256) as container:
        eater = ["sh", "-c", "x=$(head -c 600M /dev/zero | tr '\\0' a); echo $x | wc -c"]
        answer = await api.http.post(f"/api/containers/{container['id']}/exec", json={"command": eater})
        assert answer.status_code == 200, answer.text
        assert answer.json()["exit_code"] != 0
        assert answer.json()["reason"] == "out_of_memory"
        assert (await api.exec(container["id"], "echo alive"))["stdout"] == "alive\n"


async def test_a_guest_out_of_memory_is_told_and_starts_again_with_its_data(api: Api, daemon_url: str) -> None:
    """Whatever else runs dies before the guest does. So the guest alone writes into memory that nothing can take back,
    beyond a limit that the engine was given behind the server's back."""
    async with api.container(memory_mb=256) as container, Watcher(api) as watcher:
        at = f"/api/containers/{container['id']}"
        await api.exec(container["id"], "echo kept > /root/kept")
        engine_id = (await api.get(container["id"]))["container_id"]
        less = ["update", "--memory", "32m", "--memory-swap", "32m", engine_id]
        updating = await asyncio.create_subprocess_exec(
            "docker", "-H", daemon_url, *less, stdout=asyncio.subprocess.DEVNULL
        )
        assert await updating.wait() == 0
        with suppress(httpx2.HTTPError):
            await api.http.put(f"{at}/files", params={"path": "/dev/shm/fill"}, content=b"x" * (60 << 20))

        told = await watcher.until("container_error", container["id"])
        assert told["data"]["reason"] == "out_of_memory", told
        started = await api.http.post(f"{at}/start")
        assert started.status_code == 200, started.text
        assert (await api.exec(container["id"], "cat /root/kept"))["stdout"] == "kept\n"


async def test_stop_keeps_data_and_stopped_refuses_exec(api: Api) -> None:
    async with api.container() as container:
        await api.exec(container["id"], "echo kept > /root/kept")
        stopped = await api.http.post(f"/api/containers/{container['id']}/stop")
        assert stopped.status_code == 200
        refused = await api.http.post(f"/api/containers/{container['id']}/exec", json={"command": "true"})
        assert refused.status_code == 409
        assert refused.json()["code"] == "not_running"
        again = await api.http.post(f"/api/containers/{container['id']}/stop")
        assert again.status_code == 200
        started = await api.http.post(f"/api/containers/{container['id']}/start")
        assert started.json()["message"] == "container started"
        assert (await api.exec(container["id"], "cat /root/kept"))["stdout"] == "kept\n"


async def test_a_paused_one_wakes_for_a_command(api: Api) -> None:
    async with api.container() as container:
        paused = await api.http.post(f"/api/containers/{container['id']}/pause")
        assert paused.status_code == 200, paused.text
        assert (await api.get(container["id"]))["status"] == "paused"
        assert (await api.exec(container["id"], "echo awake"))["stdout"] == "awake\n"
        assert (await api.get(container["id"]))["status"] == "running"


async def test_one_that_vanished_is_rebuilt_and_says_so(api: Api, docker: aiodocker.Docker) -> None:
    async with api.container() as container, Watcher(api) as watcher:
        engine_id = (await api.get(container["id"]))["container_id"]
        await docker.containers.container(engine_id).delete(force=True)
        async with asyncio.timeout(60):
            while (await watcher.until("container_error", container["id"]))["data"]["reason"] != "lost":
                continue

        started = await api.http.post(f"/api/containers/{container['id']}/start")
        assert started.status_code == 200, started.text
        assert started.json()["message"] == "container recreated and started"
        assert started.json()["recreated"] is True
        assert started.json()["data_kept"] is False


async def creating(api: Api) -> str:
    answer = await api.http.post("/api/containers", json=small())
    return str(answer.json()["id"])


async def running(api: Api) -> str:
    return str((await api.create())["id"])


async def stopped(api: Api) -> str:
    container = await running(api)
    assert (await api.http.post(f"/api/containers/{container}/stop")).status_code == 200
    return container


async def paused(api: Api) -> str:
    container = await running(api)
    assert (await api.http.post(f"/api/containers/{container}/pause")).status_code == 200
    return container


async def broken(api: Api) -> str:
    answer = await api.http.post(
        "/api/containers",
        params={"wait": 60},
        json=small(image="custom", custom_image="registry.invalid/nothing:here"),
    )
    assert answer.json()["status"] == "error", answer.text
    assert answer.json()["reason"] in ("image_not_found", "pull_failed")
    return str(answer.json()["id"])


@pytest.mark.parametrize("state", [creating, running, stopped, paused, broken])
async def test_delete_is_possible_in_every_state_and_leaves_nothing(
    api: Api, docker: aiodocker.Docker, state: Callable[[Api], Awaitable[str]]
) -> None:
    container = await state(api)
    engine_id = (await api.get(container)).get("container_id")

    deleted = await api.http.delete(f"/api/containers/{container}")

    assert deleted.status_code == 200
    assert deleted.json()["message"] == "container deleted"
    assert (await api.http.get(f"/api/containers/{container}")).status_code == 404
    assert (await api.http.delete(f"/api/containers/{container}")).status_code == 200
    if engine_id:
        async with asyncio.timeout(60):
            while engine_id in {found.id for found in await docker.containers.list(all=True)}:
                await asyncio.sleep(0.1)
