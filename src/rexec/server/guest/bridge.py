"""Many connections to one guest over one wire, where engine and server share no file system (docs/guest-protocol.md
§1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import structlog

from rexec.errors import Broken, RexecError
from rexec.server.guest.connection import READ_SIZE
from rexec.server.guest.errors import nonsense, unreachable
from rexec.server.guest.lane import LARGEST, Lane

_log = structlog.get_logger(__name__)
_HEAD = 9
_MOST_LANES = 600

Wire: TypeAlias = Callable[[asyncio.Protocol], Awaitable[None]]
"""Connects a protocol to a bridge's standard streams inside one container."""


class Bridge:
    """Opens the wire when a connection is wanted and there is none, or none any more."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._trunk: Trunk | None = None
        self._opening: asyncio.Task[Trunk] | None = None

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One more connection to the guest."""
        trunk = self._trunk
        if trunk is None or trunk.gone:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._open())
                self._opening.add_done_callback(_look)
            # One that gives up does not take the wire away from those who wait with it.
            trunk = await asyncio.shield(self._opening)
        return trunk.connect()

    def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._trunk is not None:
            self._trunk.close()

    async def _open(self) -> Trunk:
        trunk = Trunk()
        try:
            await self._wire(trunk)
        except RexecError as error:
            raise unreachable(f"no bridge to the guest: {error.message}") from error
        self._trunk = trunk
        return trunk


def _look(opening: asyncio.Task[Trunk]) -> None:
    """Its failure is told even if nobody waits for it any more."""
    if not opening.cancelled() and (error := opening.exception()) is not None:
        _log.debug("no bridge to the guest", error=str(error))


class Trunk(asyncio.Protocol):
    """The frames of one wire. What comes is checked: a guest that breaks the rules loses all of its connections."""

    def __init__(self) -> None:
        self.congested = False
        self._transport: asyncio.Transport | None = None
        self._lanes: dict[int, Lane] = {}
        self._last = 0
        self._received = bytearray()

    @property
    def gone(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.gone or len(self._lanes) >= _MOST_LANES:
            raise unreachable("the guest takes no more connections")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_SIZE, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        self._last += 1
        lane = self._lanes[self._last] = Lane(self, self._last, protocol)
        self.send(b"o", self._last)
        protocol.connection_made(lane)
        return reader, asyncio.StreamWriter(lane, protocol, reader, loop)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, kind: bytes, lane: int, payload: bytes = b"") -> None:
        if self._transport is not None:
            head = kind + lane.to_bytes(4, "big") + len(payload).to_bytes(4, "big")
            self._transport.write(head + payload)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=READ_SIZE)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            self._take()
        except Broken as error:
            _log.warning("a bridge was closed", error=error.message)
            self.close()

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        for number in list(self._lanes):
            if self.congested:
                return
            if (lane := self._lanes.pop(number, None)) is not None:
                # Those that waited longest come first.
                self._lanes[number] = lane
                lane.pump()

    def eof_received(self) -> None:
        """None: the transport closes itself."""

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():
            lane.lost(ConnectionResetError("the bridge to the guest ended"))

    def _take(self) -> None:
        """Every frame that is complete."""
        done = 0
        with memoryview(self._received) as received:
            while len(received) - done >= _HEAD:
                length = int.from_bytes(received[done + 5 : done + _HEAD], "big")
                if length > LARGEST:
                    raise nonsense("sent a frame that is too long")
                end = done + _HEAD + length
                if end > len(received):
                    break
                kind, number = received[done], int.from_bytes(received[done + 1 : done + 5], "big")
                self._frame(kind, number, received[done + _HEAD : end].tobytes())
                done = end
        del self._received[:done]

    def _frame(self, kind: int, number: int, payload: bytes) -> None:
        lane = self._lanes.get(number)
        if lane is None:
            raise nonsense("spoke on a connection that is not open")
        match chr(kind):
            case "d":
                lane.took_data(payload)
            case "w" if len(payload) == 4:
                lane.took_room(int.from_bytes(payload, "big"))
            case "e":
                lane.took_end()
            case "c":
                del self._lanes[number]
                lane.took_close()
            case _:
                raise nonsense("sent a frame of no known kind")
