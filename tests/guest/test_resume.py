"""Resume, as a state machine: cuts, floods, slow readers, servers that come back. What is seen is what was written."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from rexec.server.guest import Links
from rexec.server.ports.guest import Frame, Stream
from rexec.server.ports.records import TerminalOpen
from support.settle import settle

READY = b"READY\n"
PATIENCE = 60.0


class Client:
    """One attachment at a time to one shell. It checks every byte against what was written, by its offset."""

    def __init__(self, links: Links, key: str) -> None:
        self.links = links
        self._key = key
        self._opening: AbstractAsyncContextManager[Stream] | None = None
        self._stream: Stream | None = None
        self._restoring = False
        self.epoch: str | None = None
        self.offset = 0
        self.base = -1
        self.written = bytearray()

    @property
    def attached(self) -> bool:
        return self._stream is not None

    @property
    def end(self) -> int:
        return self.base + len(self.written)

    async def attach(self, role: str = "editor") -> None:
        since = self.offset if self.epoch else None
        wanted = TerminalOpen(
            epoch=self.epoch, since=since, role="viewer" if role == "viewer" else "editor", env={"PS1": ""}
        )
        await self.links.wait(self._key, PATIENCE)
        self._opening = self.links.get(self._key).attach(wanted)
        self._stream = await self._opening.__aenter__()
        frame = await self._stream.receive()
        assert frame is not None
        ready = frame.control()
        assert self.epoch in (None, ready["epoch"])
        if ready["resumed"] or self.epoch is None:
            assert ready["offset"] == self.offset
        self.epoch = ready["epoch"]

    async def detach(self) -> None:
        if self._opening is not None:
            await self._opening.__aexit__(None, None, None)
        self._opening = self._stream = None

    async def type(self, text: bytes) -> None:
        assert self._stream is not None
        await self._stream.send("i", text)

    async def write(self, first: int, last: int) -> None:
        await self.type(b"seq %d %d\n" % (first, last))
        self.written += b"".join(b"%d\n" % number for number in range(first, last + 1))

    async def begin(self) -> None:
        await self.attach()
        await self.type(b"exec sh -c 'stty -echo -onlcr; echo REA\"\"DY; exec sh'\n")
        seen = b""
        while READY not in seen:
            seen += await self.read()
        self.base = self.offset - (len(seen) - seen.index(READY) - len(READY))
        assert seen.endswith(READY)

    async def read(self) -> bytes:
        """One frame."""
        assert self._stream is not None
        async with asyncio.timeout(PATIENCE):
            frame = await self._stream.receive()
        assert frame is not None
        return self._taken(frame)

    def _taken(self, frame: Frame) -> bytes:
        assert self._stream is not None
        if frame.kind == "c":
            said = frame.control()
            self._restoring = said["type"] == "restore"
            if said["type"] == "lagged":
                assert said["from"] == self.offset
                # The screen may begin before what was seen last: it is the present one, whole.
                self.offset = said["to"]
            return b""
        if self._restoring:
            self._restoring = False
            return b""
        assert frame.offset == self.offset
        if self.base >= 0 and self.offset >= self.base:
            at = self.offset - self.base
            assert frame.payload == self.written[at : at + len(frame.payload)]
        self.offset += len(frame.payload)
        self._stream.acknowledge(self.offset)
        return frame.payload


class Resume(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._directory = Path(mkdtemp(prefix="rexec-g-"))
        self._key, self._number = secrets.token_hex(4), 0
        self._run(self._begin())

    def _run(self, work: object) -> None:
        self._runner.run(work)  # type: ignore[arg-type]

    async def _begin(self) -> None:
        links = await self._links()
        self._client = Client(links, self._key)
        self._process = await asyncio.create_subprocess_exec(
            "unshare", "--fork", "--pid", "--mount-proc", "--kill-child", BINARY, "init",
            env={"REXEC_GUEST_RUN": str(self._directory / self._key), "PATH": os.environ["PATH"], "HOME": str(self._directory), "SHELL": "/bin/sh"},
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await self._client.begin()

    async def _links(self) -> Links:
        links = Links(self._directory, "r1")
        await links.expect(self._key)
        return links

    @precondition(lambda self: self._client.attached)
    @rule(lines=st.sampled_from([1, 10, 3000, 60_000, 400_000]))
    def flood(self, lines: int) -> None:
        first = self._number + 1
        self._number += lines
        self._run(self._client.write(first, self._number))

    @precondition(lambda self: self._client.attached)
    @rule(frames=st.integers(1, 40))
    def read(self, frames: int) -> None:
        async def some() -> None:
            for _ in range(frames):
                if self._client.offset < self._client.end:
                    await self._client.read()

        self._run(some())

    @precondition(lambda self: self._client.attached)
    @rule()
    def cut(self) -> None:
        self._run(self._client.detach())

    @precondition(lambda self: not self._client.attached)
    @rule(role=st.sampled_from(["editor", "editor", "viewer"]))
    def come_back(self, role: str) -> None:
        """A viewer reads a little and leaves: it cannot type."""

        async def back() -> None:
            await self._client.attach(role)
            if role == "viewer":
                if self._client.offset < self._client.end:
                    await self._client.read()
                await self._client.detach()

        self._run(back())

    @rule()
    def restart_the_server(self) -> None:
        async def again() -> None:
            await self._client.detach()
            await self._client.links.forget(self._key)
            await settle()
            self._client.links = await self._links()

        self._run(again())

    def teardown(self) -> None:
        async def finish() -> None:
            try:
                if not self._client.attached:
                    await self._client.attach()
                while self._client.offset < self._client.end:
                    await self._client.read()
                assert self._client.offset == self._client.end
            finally:
                await self._client.detach()
                await self._client.links.forget(self._key)
                self._process.kill()
                await self._process.wait()
                await settle()

        try:
            self._run(finish())
        finally:
            self._runner.close()
            shutil.rmtree(self._directory)


BINARY = Path()


@pytest.mark.timeout(300)
def test_what_is_seen_is_what_was_written(guest_binary: Path) -> None:
    global BINARY  # noqa: PLW0603
    BINARY = guest_binary
    run_state_machine_as_test(
        Resume, settings=settings(max_examples=8, stateful_step_count=16, deadline=None, derandomize=True)
    )
