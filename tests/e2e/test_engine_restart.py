"""The engine restarts, or is killed, under open terminals and in the middle of work: containers live on, and so does
what is in them; what was begun is finished."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp

import aiodocker
import pytest

from support import images
from support.client import Watcher, small
from support.daemon import LocalDaemon, daemon
from support.server import Served
from support.v2 import V2

PATIENCE = 110


@pytest.fixture(scope="module")
def restarting() -> Iterator[LocalDaemon]:
    """Of this file's own: the other tests' engine stays up."""
    with daemon(beside=True) as started:
        images.load(started.url, images.guest_binary(), few=True)
        yield started


@pytest.fixture
async def served_there(restarting: LocalDaemon) -> AsyncIterator[Served]:
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    async with Served(data, restarting.url, REXEC_SWEEP_INTERVAL="3600").at_work() as server:
        yield server
    shutil.rmtree(data, ignore_errors=True)


async def test_a_terminal_goes_on_while_the_engine_restarts(restarting: LocalDaemon, served_there: Served) -> None:
    api = served_there.api
    async with api.container() as container:
        at = f"/ws/terminal/{container['id']}?id=survivor"
        async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
            terminal = V2(socket)
            await terminal.control("ready")
            loop = "n=0; until [ -e /tmp/stop ]; do n=$((n+1)); echo line-$n; sleep 0.02; done; echo the-en''d\n"
            await socket.send(loop.encode())
            await terminal.until(b"line-20\r\n")
            await asyncio.to_thread(restarting.stop)
            await socket.send(b": typed while it is down\n")
            await terminal.until(b"typed while it is down")
            await asyncio.to_thread(restarting.start)
        again = f"{at}&epoch={terminal.epoch}&since={terminal.offset}"
        async with api.connect(again, subprotocols=["rexec.v2"]) as socket:
            resumed = V2(socket)
            ran = await api.exec(container["id"], "touch /tmp/stop; echo here")
            assert ran["stdout"] == "here\n"
            await resumed.until(b"the-end")
        numbers = [int(number) for number in re.findall(rb"line-(\d+)\r\n", terminal.output + resumed.output)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert (await api.get(container["id"]))["status"] == "running"


async def until(server: Served, path: str, **wanted: object) -> None:
    """What a GET tells has come to this; `code` is the status of its answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await server.api.http.get(path)
            told = {**answer.json(), "code": answer.status_code}
            if wanted.items() <= told.items():
                return
            await asyncio.sleep(0.1)


@pytest.mark.timeout(300)
async def test_kill_9_of_the_engine_in_the_middle_of_work(restarting: LocalDaemon, served_there: Served) -> None:
    api, http = served_there.api, served_there.api.http
    lives, dies, stops, goes = [(await api.create())["id"] for _ in range(4)]
    async with aiodocker.Docker(restarting.url) as docker, Watcher(api) as watcher:
        first = (await docker.containers.container((await api.get(dies))["container_id"]).show())["State"]["Pid"]
        slow = asyncio.create_task(
            api.exec(lives, "until [ -e /tmp/back ]; do sleep 0.1; done; echo done", timeout=300)
        )
        async with api.connect(f"/ws/terminal/{lives}?id=open", subprotocols=["rexec.v2"]) as socket:
            terminal = V2(socket)
            await terminal.control("ready")
            made = [(await http.post("/api/containers", json=small())).json()["id"] for _ in range(3)]
            while not any(message["data"].get("stage") == "starting" for message in watcher.seen):
                await watcher.next()
            await asyncio.to_thread(restarting.kill)

            await until(served_there, "/ready", code=503)
            async with asyncio.timeout(PATIENCE):
                while (refused := await http.post("/api/containers", json=small())).status_code != 503:
                    made.append(refused.json()["id"])
                    await asyncio.sleep(1)
            assert int(refused.headers["Retry-After"]) > 0
            assert (await api.exec(lives, "echo still here"))["stdout"] == "still here\n"
            await socket.send(b"echo typ''ed\n")
            await terminal.until(b"typed")
            async with api.connect(f"/ws/terminal/{lives}?id=new", subprotocols=["rexec.v2"]) as other:
                opened = V2(other)
                await other.send(b"echo new''er\n")
                await opened.until(b"newer")
            stopping = asyncio.create_task(http.post(f"/api/containers/{stops}/stop"))
            await api.delete(goes)
            os.kill(first, signal.SIGKILL)

            await asyncio.to_thread(restarting.start)
            await until(served_there, "/ready", code=200)
            await socket.send(b"touch /tmp/back; echo aft''er\n")
            await terminal.until(b"after")
        assert (await slow)["stdout"] == "done\n"
        assert (await stopping).status_code in (200, 504)
        await until(served_there, f"/api/containers/{stops}", status="stopped")
        for container in made:
            await until(served_there, f"/api/containers/{container}", status="running")
            assert (await api.exec(container, "echo here"))["stdout"] == "here\n"
        await died(watcher, dies, "killed", "engine_restarted")
        # No sweep comes: the engine's own events are heard again.
        await docker.containers.container((await api.get(lives))["container_id"]).kill()
        await died(watcher, lives, "killed")
        living = {(await api.get(container))["container_id"] for container in (lives, dies, stops, *made)}
        async with asyncio.timeout(PATIENCE):
            while {found.id for found in await docker.containers.list(all=True)} != living:
                await asyncio.sleep(0.1)
    for container in (lives, dies, stops, *made):
        await api.delete(container)


async def died(watcher: Watcher, container: str, *reasons: str) -> None:
    async with asyncio.timeout(PATIENCE):
        told = iter(list(watcher.seen))
        while True:
            message = next(told, None) or await watcher.next(PATIENCE)
            if message["data"]["id"] == container and message["data"].get("reason") in reasons:
                return
