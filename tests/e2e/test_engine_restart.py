"""The engine restarts under an open terminal: containers live on, and so does what is in them."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from support import images
from support.daemon import LocalDaemon, daemon
from support.server import Served
from support.v2 import V2


@pytest.fixture(scope="module")
def restarting() -> Iterator[LocalDaemon]:
    """Of this file's own: the other tests' engine stays up."""
    with daemon(beside=True) as started:
        images.load(started.url, images.guest_binary(), few=True)
        yield started


@pytest.fixture
async def served_there(restarting: LocalDaemon) -> AsyncIterator[Served]:
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    server = Served(data, restarting.url, REXEC_SWEEP_INTERVAL="2")
    await server.start()
    yield server
    await server.stop()
    await server.api.http.aclose()
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
