"""One connection of a bridge, to asyncio a transport like any other (docs/guest-protocol.md §1.1)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol, cast

from rexec.server.guest.errors import nonsense

WINDOW = 512 * 1024
"""What may be under way on one lane, in one direction, and not taken yet."""
LARGEST = 32 * 1024
_TAKEN = WINDOW // 8
_HIGH_WATER = 64 * 1024


class Carrier(Protocol):
    """What a lane needs of its bridge."""

    @property
    def congested(self) -> bool:
        """Whether the wire takes no more for now; `Lane.pump` is called when it does again."""

    def send(self, kind: bytes, lane: int, payload: bytes = b"") -> None: ...


class Lane(asyncio.Transport):
    def __init__(self, carrier: Carrier, number: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._carrier = carrier
        self._number = number
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._room = WINDOW
        self._high = _HIGH_WATER
        self._held_up = False
        self._ending = False
        self._end_sent = False
        self._closing = False
        self._closed = False
        self._paused = False
        self._unread: deque[bytes] = deque()
        self._owed = 0
        self._read = 0
        self._ended = False

    # What the bridge calls. All of it raises `Broken` for what no guest may send.

    def took_data(self, data: bytes) -> None:
        self._owed += len(data)
        if self._ended or not data or self._owed > WINDOW:
            raise nonsense("sent more on a connection than it may")
        if self._closed:
            return
        if self._paused:
            self._unread.append(data)
        else:
            self._give(data)

    def took_room(self, count: int) -> None:
        if not 0 < count <= WINDOW - self._room:
            raise nonsense("took more from a connection than there was")
        self._room += count
        self.pump()

    def took_end(self) -> None:
        if self._ended:
            raise nonsense("ended a connection twice")
        self._ended = True
        if not self._paused:
            self._give_end()

    def took_close(self) -> None:
        """The guest's end of the whole connection: what it sent before is still read."""
        self._ended = self._closing = True
        self._unsent.clear()
        if not self._paused:
            self.lost(None)

    def lost(self, error: Exception | None) -> None:
        """Nothing goes either way any more."""
        self._closing = True
        self._unsent.clear()
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    def pump(self) -> None:
        """Send what there is room for."""
        with memoryview(self._unsent) as unsent:
            sent = 0
            while sent < len(unsent) and self._room and not self._carrier.congested:
                piece = bytes(unsent[sent : sent + min(LARGEST, self._room)])
                self._carrier.send(b"d", self._number, piece)
                sent += len(piece)
                self._room -= len(piece)
        del self._unsent[:sent]
        if self._held_up and len(self._unsent) <= self._high // 2:
            self._held_up = False
            self._protocol.resume_writing()
        if not (self._unsent or self._closed):
            self._finish()

    # What asyncio calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._ending:
            return
        self._unsent += data
        self.pump()
        if len(self._unsent) > self._high and not self._held_up:
            self._held_up = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._ending and not self._closing:
            self._ending = True
            self.pump()

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.pump()

    def abort(self) -> None:
        if not self._closed:
            self._carrier.send(b"c", self._number)
            self.lost(None)

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        while self._unread and not self._paused:
            self._give(self._unread.popleft())
        if self._ended and not self._unread and not self._paused:
            self.lost(None) if self._closing else self._give_end()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = _HIGH_WATER if high is None else high

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def _give(self, data: bytes) -> None:
        self._protocol.data_received(data)
        self._read += len(data)
        if self._read >= _TAKEN and not self._closed:
            self._owed -= self._read
            self._carrier.send(b"w", self._number, self._read.to_bytes(4, "big"))
            self._read = 0

    def _give_end(self) -> None:
        if not self._closed and not self._protocol.eof_received():
            self.close()

    def _finish(self) -> None:
        """Once everything is sent."""
        if self._closing:
            self.abort()
        elif self._ending and not self._end_sent:
            self._end_sent = True
            self._carrier.send(b"e", self._number)
