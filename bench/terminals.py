"""What a terminal adds to a PTY: echo, floods, and what idle ones cost."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import time
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import websockets

from bench.measure import Figure, Workbench, p50, p99

FLOOD = "tr '\\0' y </dev/zero"
KEYS = 1000
TURNS = 3
WARM, WINDOW = 0.25, 1.5
IDLE, SETTLING, WATCHED = 100, 2.0, 20.0


async def run(bench: Workbench) -> list[Figure]:
    async with bench.container(memory_mb=512, cpu_shares=2000) as container:
        return [await echo(bench, container), await flood(bench, container), await prompt(bench), *await idle(bench)]


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
        """It may be the first word of a large frame, or lie over two."""
        kept = b""
        while wanted not in (seen := kept + await self.read()):
            kept = seen[-len(wanted) :]


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


async def prompt(bench: Workbench) -> Figure:
    """From the start of an enhanced shell with everything on to the first prompt it can be typed at."""
    every = ("enhanced", "autosuggestions", "syntax_highlight", "history_search", "git_aliases", "system_stats")
    taken = []
    async with bench.container(memory_mb=512, cpu_shares=2000, shell=dict.fromkeys(every, True)) as container:
        for turn in range(22):
            begin = time.perf_counter()
            async with attach(bench, container, f"prompt-{turn}") as terminal:
                await terminal.until("❯".encode())
            taken.append((time.perf_counter() - begin) * 1000)
            await bench.http.delete(f"/api/containers/{container['id']}/terminals/prompt-{turn}")
    return Figure("first prompt of the enhanced shell, everything on, p50", p50(taken[2:]), "ms", 150)


async def echo(bench: Workbench, container: dict[str, Any]) -> Figure:
    """A key to `cat` and back, in turns with the same on a local PTY; the difference of each pair is what we add."""
    added = []
    with raw_pty("exec cat") as master:
        async with attach(bench, container, "echo") as terminal:
            await terminal.socket.send(b"stty raw -echo; printf 'be%s' gun; exec cat\r")
            await terminal.until(b"begun")
            for turn in range(KEYS + 20):
                begin = time.perf_counter()
                os.write(master, b"x")
                os.read(master, 16)
                local = time.perf_counter() - begin
                begin = time.perf_counter()
                await terminal.socket.send(b"x")
                await terminal.until(b"x")
                if turn >= 20:
                    added.append((time.perf_counter() - begin - local) * 1000)
                await asyncio.sleep(0.002)
    return Figure("terminal: echo of a key, p99, added to a raw PTY's", p99(added), "ms", 5)


async def flood(bench: Workbench, container: dict[str, Any]) -> Figure:
    """What one client reads in a window of time, in turns with the same command on a local PTY."""
    ours, local = [], []
    for turn in range(TURNS):
        local.append(await asyncio.to_thread(raw_flood))
        ours.append(await our_flood(bench, container, f"flood{turn}"))
    return Figure(
        "terminal: flood to one client, against a raw PTY read", p50(ours), "MiB/s", 0.6, p50(local), at_least=True
    )


async def our_flood(bench: Workbench, container: dict[str, Any], name: str) -> float:
    async with attach(bench, container, name) as terminal:
        await terminal.socket.send(f"stty raw -echo; printf 'be%s' gun; exec {FLOOD}\r".encode())
        await terminal.until(b"begun")
        begin, seen = time.perf_counter() + WARM, 0
        while (now := time.perf_counter()) < begin + WINDOW:
            read = len(await terminal.read())
            seen += read if now >= begin else 0
        rate = seen / (time.perf_counter() - begin) / (1 << 20)
    answer = await bench.http.delete(f"/api/containers/{container['id']}/terminals/{name}")
    answer.raise_for_status()
    return rate


def raw_flood() -> float:
    """Read as fast as it comes, in pieces as large as a frame of ours."""
    with raw_pty(f"exec {FLOOD}") as master:
        begin, seen = time.perf_counter() + WARM, 0
        while (now := time.perf_counter()) < begin + WINDOW:
            read = len(os.read(master, 64 << 10))
            seen += read if now >= begin else 0
        return seen / (time.perf_counter() - begin) / (1 << 20)


@contextmanager
def raw_pty(command: str) -> Iterator[int]:
    """The command on a local PTY without a line discipline's work; its master."""
    pid, master = pty.fork()
    if pid == 0:
        tty.setraw(0)
        os.execvp("sh", ["sh", "-c", command])
    try:
        yield master
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(master)
        os.waitpid(pid, 0)


async def idle(bench: Workbench) -> list[Figure]:
    """CPU of the server with a terminal open on each of some idle containers, as a share of one core."""
    made = []
    for _ in range(IDLE // 5):
        made += await asyncio.gather(*(bench.create() for _ in range(5)))
    before = bench.resident_mib()
    async with AsyncExitStack() as stack:
        for container in made:
            terminal = await stack.enter_async_context(attach(bench, container, "main"))
            await terminal.read()
        await asyncio.sleep(SETTLING)
        begin = bench.cpu_seconds()
        await asyncio.sleep(WATCHED)
        share = (bench.cpu_seconds() - begin) / WATCHED * 100
        each = (bench.resident_mib() - before) * 1024 / len(made)
    await asyncio.gather(*(bench.delete(container) for container in made))
    return [
        Figure(f"{IDLE} idle containers with an open terminal each: server CPU, of one core", share, "%", 1),
        Figure("… memory of the server for each open terminal", max(each, 0.0), "KiB", 200),
    ]
