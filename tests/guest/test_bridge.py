"""A bridge to a guest that keeps no rule, and to one that reads nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexec.errors import Unavailable
from rexec.server.guest.bridge import Bridge
from rexec.server.guest.lane import WINDOW

HEAD = 9
SOON = 60


class Far:
    """The other end of a wire, in a test's hands."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.writer: asyncio.StreamWriter
        self.wires = 0

    async def wire(self, protocol: asyncio.Protocol) -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: protocol, sock=ours)
        self.reader, self.writer = await asyncio.open_connection(sock=theirs)
        self.wires += 1

    def send(self, kind: bytes, lane: int, payload: bytes = b"") -> None:
        self.writer.write(kind + lane.to_bytes(4, "big") + len(payload).to_bytes(4, "big") + payload)

    async def next(self) -> tuple[bytes, int, bytes]:
        head = await self.reader.readexactly(HEAD)
        payload = await self.reader.readexactly(int.from_bytes(head[5:], "big"))
        return head[:1], int.from_bytes(head[1:5], "big"), payload

    async def ended(self) -> None:
        async with asyncio.timeout(SOON):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                return


@asynccontextmanager
async def bridge() -> AsyncIterator[tuple[Bridge, Far]]:
    far = Far()
    opened = Bridge(far.wire)
    try:
        yield opened, far
    finally:
        opened.close()
        if far.wires:
            far.writer.close()


async def test_lanes_are_connections_of_their_own() -> None:
    async with bridge() as (opened, far):
        (first, to_first), (second, to_second) = await opened.dial(), await opened.dial()
        assert [await far.next(), await far.next()] == [(b"o", 1, b""), (b"o", 2, b"")]
        assert far.wires == 1
        to_second.write(b"two")
        to_first.write(b"one")
        to_first.write_eof()
        assert [await far.next() for _ in range(3)] == [(b"d", 2, b"two"), (b"d", 1, b"one"), (b"e", 1, b"")]
        for lane, payload in ((1, b"for one"), (2, b"for two")):
            far.send(b"d", lane, payload)
            far.send(b"e", lane)
            far.send(b"c", lane)
        assert (await first.read(), await second.read()) == (b"for one", b"for two")
        with pytest.raises(ConnectionError):
            to_second.write(b"too late")
            await to_second.drain()


async def test_what_is_not_read_is_held_back_and_hinders_no_other() -> None:
    async with bridge() as (opened, far):
        reader, writer = await opened.dial()
        other, to_other = await opened.dial()
        for _ in range(2 * WINDOW // 32768):
            far.send(b"d", 1, bytes(32768))
        far.send(b"d", 2, b"passes")
        async with asyncio.timeout(SOON):
            assert await other.read(100) == b"passes"
        writer.write(bytes(3 * WINDOW))
        sent = granted = 0
        while sent < WINDOW:
            kind, lane, payload = await far.next()
            sent += len(payload) if (kind, lane) == (b"d", 1) else 0
            granted += int.from_bytes(payload, "big") if kind == b"w" else 0
        assert sent == WINDOW
        assert granted < 2 * WINDOW
        got = 0
        while got < 2 * WINDOW:
            got += len(await reader.read(65536))
        far.send(b"w", 1, (100).to_bytes(4, "big"))
        async with asyncio.timeout(SOON):
            while sent < WINDOW + 100 or granted < 2 * WINDOW:
                kind, lane, payload = await far.next()
                sent += len(payload) if (kind, lane) == (b"d", 1) else 0
                granted += int.from_bytes(payload, "big") if kind == b"w" else 0
        assert (sent, granted) == (WINDOW + 100, 2 * WINDOW)
        for end in (writer, to_other):
            end.transport.abort()


async def test_a_closed_lane_is_closed_there_and_a_new_wire_follows_a_lost_one() -> None:
    async with bridge() as (opened, far):
        _, writer = await opened.dial()
        writer.transport.abort()
        assert [(await far.next())[0] for _ in range(2)] == [b"o", b"c"]
        far.send(b"d", 1, b"was under way")
        far.send(b"c", 1)
        reader, second = await opened.dial()
        assert await far.next() == (b"o", 2, b"")
        far.writer.close()
        with pytest.raises(ConnectionError):
            await reader.read()
        assert second.is_closing()
        _, third = await opened.dial()
        assert far.wires == 2
        assert not third.is_closing()
        third.transport.abort()
        assert await far.next() == (b"o", 1, b"")


LIES = {
    "a lane that is not open": [(b"d", 9, b"x")],
    "an unknown kind": [(b"?", 1, b"")],
    "room that was not taken": [(b"w", 1, (1).to_bytes(4, "big"))],
    "no room": [(b"w", 1, bytes(4))],
    "a number too long": [(b"w", 1, bytes(8))],
    "a frame too long": [(b"d", 1, bytes(32769))],
    "two ends": [(b"e", 1, b""), (b"e", 1, b"")],
    "words after the end": [(b"e", 1, b""), (b"d", 1, b"x")],
    "more than the window": [(b"d", 1, bytes(32768))] * (4 * WINDOW // 32768),
    "nothing, again and again": [(b"d", 1, b"")],
}


@pytest.mark.parametrize("lie", LIES)
async def test_who_breaks_the_rules_loses_the_wire(lie: str) -> None:
    async with bridge() as (opened, far):
        reader, writer = await opened.dial()
        for frame in LIES[lie]:
            far.send(*frame)
        await far.ended()
        assert writer.is_closing()
        with pytest.raises(ConnectionError):
            await reader.read()


@given(st.lists(st.binary(max_size=200), max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_bytes_do_harm(pieces: list[bytes]) -> None:
    async def feed() -> None:
        async with bridge() as (opened, far):
            reader, writer = await opened.dial()
            for piece in pieces:
                far.writer.write(piece)
            far.writer.close()
            with suppress(ConnectionError):
                assert len(await reader.read()) <= sum(map(len, pieces))
            writer.transport.abort()

    asyncio.run(feed())


async def test_no_wire_is_told_as_a_guest_that_cannot_be_reached() -> None:
    async def none(protocol: asyncio.Protocol) -> None:
        raise Unavailable("the engine is away", code="engine_unavailable")

    with pytest.raises(Unavailable) as told:
        await Bridge(none).dial()
    assert told.value.code == "guest_unreachable"
