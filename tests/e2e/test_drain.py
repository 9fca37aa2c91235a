"""A server that is told to go goes: sockets are told to come again; containers and their shells stay."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest
import websockets

from support.client import Api, Watcher
from support.server import Served

PATIENCE = 60


async def says(terminal: Any, line: str, wanted: str) -> None:
    """Type a line, and read until its answer."""
    await terminal.send(json.dumps({"type": "input", "data": f"{line}\n"}))
    seen = ""
    async with asyncio.timeout(PATIENCE):
        while wanted not in seen:
            seen += json.loads(await terminal.recv()).get("data") or ""


async def closed(terminal: Any) -> int | None:
    """What it was closed with."""
    with pytest.raises(websockets.ConnectionClosed) as told:
        async with asyncio.timeout(PATIENCE):
            while True:
                await terminal.recv()
    return told.value.rcvd.code if told.value.rcvd is not None else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
async def test_sockets_are_closed_with_1012_and_shells_live_on(
    served: Served, api: Api, number: signal.Signals
) -> None:
    container = await api.create()
    began = await api.http.post(f"/api/containers/{container['id']}/processes", json={"command": "exec sleep 4246"})
    waiting = f"/api/containers/{container['id']}/processes/{began.json()['id']}/wait"
    waited = asyncio.create_task(api.http.get(waiting, params={"timeout": 60}))
    path = f"/ws/terminal/{container['id']}"
    try:
        async with (
            Watcher(api) as watcher,
            api.connect(path, subprotocols=["rexec.v1"]) as terminal,
            api.http.stream("GET", "/api/events", headers={"Accept": "text/event-stream"}) as told,
        ):
            assert told.status_code == 200
            await says(terminal, "kept=$((40 + 2)); echo is-$kept", "is-42")
            served.send(number)
            assert await closed(terminal) == 1012
            with pytest.raises(websockets.ConnectionClosed) as end:
                async with asyncio.timeout(PATIENCE):
                    while True:
                        await watcher.next()
            assert end.value.rcvd is not None
            assert end.value.rcvd.code == 1012
            async with asyncio.timeout(PATIENCE):
                assert "event: end" in [line async for line in told.aiter_lines()][-3:]
            assert (await waited).json()["code"] == "draining"
            async with asyncio.timeout(PATIENCE):
                assert await served.ended() == 0
    finally:
        await served.kill()
        await served.start()
    assert (await api.get(container["id"]))["status"] == "running"
    async with api.connect(path, subprotocols=["rexec.v1"]) as terminal:
        await says(terminal, "echo again-$kept", "again-42")
