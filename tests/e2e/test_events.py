"""Events: replayed by number, reset, as server-sent events, in the Go implementation's envelope; broken containers that
go by themselves."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from support.client import Api, Watcher, small
from support.daemon import Daemon
from support.server import Served

DEADLINE = 60


@pytest.fixture(scope="module")
async def user(served: Served) -> AsyncIterator[Api]:
    """Whose events nobody else makes."""
    made = await served.api.http.post("/api/admin/users", json={"username": "listener"})
    assert made.status_code == 201, made.text
    opened = served.as_token(made.json()["token"])
    yield opened
    await opened.http.aclose()


async def _until(socket: Any, type: str) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(DEADLINE):
        while not seen or seen[-1]["type"] != type:
            seen.append(json.loads(await socket.recv()))
    return seen


async def _told(api: Api, headers: dict[str, str], params: dict[str, Any], until: str) -> list[dict[str, Any]]:
    """Server-sent events, each with its `id`."""
    seen: list[dict[str, Any]] = []
    async with (
        asyncio.timeout(DEADLINE),
        api.http.stream("GET", "/api/events", headers=headers, params=params) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = ""
        async for line in answer.aiter_lines():
            if line.startswith("id:"):
                number = line[3:].strip()
            elif line.startswith("data:"):
                seen.append({**json.loads(line[5:]), "id": number})
                if seen[-1]["type"] == until:
                    return seen
    raise AssertionError("the stream ended")


async def test_what_was_missed_is_replayed_from_a_number(user: Api) -> None:
    async with Watcher(user) as watcher:
        made = await user.http.post("/api/containers", json=small(name="heard"))
        assert made.status_code == 202, made.text
        container = made.json()["id"]
        await watcher.until_settled(container)
        await user.delete(container)
        await watcher.until("container_deleted", container)
    live = watcher.seen
    first = next(message for message in live if message["type"] == "container_created")
    assert first["data"]["id"] == container
    assert [message["seq"] for message in live] == sorted({message["seq"] for message in live})

    async with user.connect(f"/ws/events?since={first['seq']}") as socket:
        replayed = await _until(socket, "container_deleted")
    kinds = [message["type"] for message in live if message["seq"] > first["seq"]]
    told = [message["type"] for message in replayed]
    assert [kind for kind in told if kind != "container_progress"] == [k for k in kinds if k != "container_progress"]
    stages = [message["data"]["stage"] for message in replayed if message["type"] == "container_progress"]
    assert list(dict.fromkeys(stages)) == stages, "one message for each stage is enough on replay"
    assert stages[-1] == "ready"
    assert {message["seq"] for message in replayed} <= {message["seq"] for message in live}

    for headers, params in (({"Last-Event-ID": str(first["seq"])}, {}), ({}, {"since": first["seq"]})):
        streamed = await _told(user, headers, params, "container_deleted")
        assert [message["seq"] for message in streamed] == [message["seq"] for message in replayed]
        assert all(message["id"] == str(message["seq"]) for message in streamed)
    refused = await user.http.get("/api/events", headers={"Last-Event-ID": "x"})
    assert refused.status_code == 400


async def test_a_number_that_is_not_kept_is_a_reset_with_the_present_state(user: Api) -> None:
    made = await user.http.post("/api/containers", json=small(name="present"))
    container = made.json()["id"]
    async with user.connect("/ws/events?since=999999") as socket:
        seen = await _until(socket, "container_updated")
    assert [message["type"] for message in seen] == ["reset", "container_updated"]
    assert seen[1]["data"]["id"] == container
    await user.delete(container)


async def test_the_go_envelope_tells_the_same(user: Api) -> None:
    async with user.connect("/api/containers/events") as socket:
        first = json.loads(await socket.recv())
        assert first["type"] == "list"
        assert first["container"].keys() == {"containers", "count", "limit"}
        await socket.send('{"type": "ping"}')
        assert json.loads(await socket.recv()) == {"type": "pong"}
        made = await user.http.post("/api/containers", json=small(name="enveloped"))
        container = made.json()["id"]
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(DEADLINE):
            while not any(one["container"].get("complete") for one in seen):
                seen.append(json.loads(await socket.recv()))
        ready = seen[-1]["container"]
        assert (ready["stage"], ready["progress"]) == ("ready", 100), seen[-1]
        assert ready["container"]["status"] == "running"
        assert ready["container_id"] == ready["container"]["container_id"]
        assert [one["type"] for one in seen if one["type"] != "progress"] == ["created", "updated"]
        assert all(one.keys() == {"type", "container", "timestamp"} for one in seen)
        await user.http.post(f"/api/containers/{container}/stop")
        await _until(socket, "stopped")
        await user.http.post(f"/api/containers/{container}/start")
        await _until(socket, "started")
        await user.delete(container)
        assert (await _until(socket, "deleted"))[-1]["container"]["id"] == container


async def test_a_broken_container_that_is_old_goes_and_its_end_is_told(docker_daemon: Daemon, registry: str) -> None:
    """On a server to which the day is over at once: it looks at its start."""
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    server = Served(
        data, docker_daemon.url, REXEC_IMAGES__PRIVATE_REGISTRIES=f'["{registry}"]', REXEC_ERROR_SECONDS="0"
    )  # fmt: skip
    await server.start()
    try:
        wanted = small(name="broken", image="custom", custom_image=f"{registry}/none:1")
        made = await server.api.http.post("/api/containers", params={"wait": 120}, json=wanted)
        assert (made.json()["status"], made.json()["reason"]) == ("error", "image_not_found"), made.text
        await server.stop()
        await server.start()
        async with server.api.connect("/ws/events?since=0") as socket:
            gone = (await _until(socket, "container_deleted"))[-1]
        assert gone["data"]["id"] == made.json()["id"]
        assert (await server.api.http.get(f"/api/containers/{made.json()['id']}")).status_code == 404
        assert (await server.api.http.delete(f"/api/containers/{made.json()['id']}")).status_code == 200
    finally:
        await server.stop()
        await server.api.http.aclose()
        shutil.rmtree(data, ignore_errors=True)
