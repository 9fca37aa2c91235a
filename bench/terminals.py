"""What a terminal adds to a PTY: echo, floods, and what idle ones cost."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import time
import tty
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import websockets

from bench.measure import Figure, Workbench, p99

FLOOD = 64 << 20


async def run(bench: Workbench) -> list[Figure]:
    async with bench.container(memory_mb=512, cpu_shares=2000) as container:
        return [await echo(bench, container), await flood(bench, container), *await idle(bench)]


class Attached:
    """A `rexec.v2` client that acknowledges what it read."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.offset = self.acked = 0
        self.uncounted = 0

    async def read(self) -> bytes:
        while True:
            message = await self.socket.recv()
            if isinstance(message, bytes):
                await self._count(message)
                return message
            control = json.loads(message)
            if control["type"] == "ready":
                self.offset = self.acked = control["offset"]
            elif control["type"] == "restore":
                self.uncounted += control["length"]

    async def _count(self, message: bytes) -> None:
        skipped = min(self.uncounted, len(message))
        self.uncounted -= skipped
        self.offset += len(message) - skipped
        if self.offset - self.acked >= 64 << 10:
            self.acked = self.offset
            await self.socket.send(json.dumps({"type": "ack", "offset": self.offset}))

    async def until(self, wanted: bytes) -> None:
        seen = b""
        while wanted not in seen:
            seen = (seen + await self.read())[-4096:]


@asynccontextmanager
async def attach(bench: Workbench, container: dict[str, Any], name: str) -> AsyncIterator[Attached]:
    async with websockets.connect(
        f"{bench.ws_url}/ws/terminal/{container['id']}?id={name}&cols=80&rows=24",
        subprotocols=[websockets.Subprotocol("rexec.v2")],
        additional_headers={"Authorization": f"Bearer {bench.token}"},
        compression=None,
        max_size=None,
        max_queue=64,
    ) as socket:
        yield Attached(socket)


async def echo(bench: Workbench, container: dict[str, Any]) -> Figure:
    """A key to `cat` on a raw-ish PTY and back; a local PTY's own echo is taken off."""
    async with attach(bench, container, "echo") as terminal:
        await terminal.socket.send(b"stty -icanon; printf 'be%s' gun; exec cat\r")
        await terminal.until(b"begun")
        await asyncio.sleep(0.3)
        taken = []
        for _ in range(300):
            begin = time.perf_counter()
            await terminal.socket.send(b"x")
            await terminal.until(b"x")
            taken.append((time.perf_counter() - begin) * 1000)
            await asyncio.sleep(0.005)
    return Figure("terminal: echo of a key, p99, all of the way", p99(taken), "ms", 5)


async def flood(bench: Workbench, container: dict[str, Any]) -> Figure:
    command = f"head -c {FLOOD} /dev/zero | tr '\\0' 'y'"
    async with attach(bench, container, "flood") as terminal:
        script = f"stty -echo -opost; PS1=; printf 'be%s' gun; {command}; printf 'do%s' ne\r"
        await terminal.socket.send(script.encode())
        await terminal.until(b"begun")
        begin, seen, tail = time.perf_counter(), 0, b""
        while not tail.endswith(b"done"):
            message = await terminal.read()
            seen += len(message)
            tail = (tail + message)[-16:]
        ours = seen / (time.perf_counter() - begin) / (1 << 20)
    local = await asyncio.to_thread(raw_flood, command)
    return Figure("terminal: flood to one client, against a raw PTY read", ours, "MiB/s", 0.6, local, at_least=True)


def raw_flood(command: str) -> float:
    """The same command on a local PTY, read as fast as it comes."""
    pid, master = pty.fork()
    if pid == 0:
        tty.setraw(0)
        os.execvp("sh", ["sh", "-c", command])
    begin, seen = time.perf_counter(), 0
    with suppress(OSError):
        while data := os.read(master, 64 << 10):
            seen += len(data)
    taken = time.perf_counter() - begin
    os.close(master)
    os.waitpid(pid, 0)
    return seen / taken / (1 << 20)


async def idle(bench: Workbench) -> list[Figure]:
    """CPU of the server over ten seconds with 20 containers and a terminal on each, as a share of one core."""
    made = []
    for _ in range(4):
        made += await asyncio.gather(*(bench.create() for _ in range(5)))
    before = bench.resident_mib()
    async with AsyncExitStack() as stack:
        for container in made:
            terminal = await stack.enter_async_context(attach(bench, container, "main"))
            await terminal.read()
        await asyncio.sleep(3)
        begin = bench.cpu_seconds()
        await asyncio.sleep(10)
        share = (bench.cpu_seconds() - begin) / 10 * 100
        each = (bench.resident_mib() - before) * 1024 / len(made)
    await asyncio.gather(*(bench.delete(container) for container in made))
    return [
        Figure("20 idle containers with an open terminal each: server CPU, of one core", share, "%", 1),
        Figure("… memory of the server for each open terminal", max(each, 0.0), "KiB", 200),
    ]
