"""An upgraded stream of frames (docs/guest-protocol.md §3), checked frame by frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from rexec.server.guest.errors import nonsense, typed, unreachable
from rexec.server.guest.words import Words, checked
from rexec.server.ports.guest import Frame

_HEAD = 5
_LARGEST = 65_536
_OFFSET = 8
_FARTHEST = 1 << 53
_ACKNOWLEDGED = 32_768
"""Of output, before it is worth a word."""
_LAST = ("exit", "end")
"""The words that end a stream which tells its end."""
_KINDS = {b"i": "i", b"o": "o", b"e": "e", b"c": "c", b"x": "x"}


def _framed(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


def _offset(payload: bytes) -> int:
    offset = int.from_bytes(payload[:_OFFSET], "big")
    if offset >= _FARTHEST:
        raise nonsense("sent output from nowhere")
    return offset


class FrameStream:
    """Implements `ports.guest.Stream`. `numbered`: output frames begin with their offset. `words`: what may be said.
    `tells_end`: it ends with a word or a frame that says so, and not with the connection."""

    def __init__(
        self, left: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, numbered: bool = False,
        words: Words | None = None, tells_end: bool = False,
    ) -> None:  # fmt: skip
        self._left = left
        self._reader = reader
        self._writer = writer
        self._numbered = numbered
        self._words = words
        self._tells_end = tells_end
        self._told = 0
        self._first: Frame | None = None
        self._ended = False

    async def receive(self) -> Frame | None:
        if self._first is not None:
            frame, self._first = self._first, None
            return frame
        if self._ended:
            return None
        head = await self._exactly(_HEAD, at_end=not self._tells_end)
        kind = _KINDS.get(head[:1]) if head else None
        if not head or kind == "x":
            self._ended = True
            return None
        length = int.from_bytes(head[1:], "big")
        if kind is None or length > _LARGEST:
            raise nonsense("sent a frame of no known kind or size")
        payload = await self._exactly(length)
        if kind == "o" and self._numbered:
            if length < _OFFSET:
                raise nonsense("sent output without its offset")
            return Frame("o", payload[_OFFSET:], _offset(payload))
        if kind == "c" and self._words is not None:
            said = Frame("c", checked(payload, self._words))
            self._ended = self._tells_end and said.control()["type"] in _LAST
            return said
        return Frame(kind, payload)  # type: ignore[arg-type]

    async def send(self, kind: Literal["i", "c"], payload: bytes) -> None:
        for start in range(0, len(payload) or 1, _LARGEST):
            await self._write(kind.encode(), payload[start : start + _LARGEST])

    async def send_control(self, message: Mapping[str, Any]) -> None:
        await self._write(b"c", json.dumps(message).encode())

    def acknowledge(self, offset: int) -> None:
        if offset - self._told >= _ACKNOWLEDGED:
            self._told = offset
            with suppress(OSError, RuntimeError):
                self._writer.write(_framed(b"c", json.dumps({"type": "ack", "offset": offset}).encode()))

    async def close_input(self) -> None:
        await self._write(b"x", b"")

    async def opened(self, timeout: float) -> None:
        """Wait for the first control frame and keep it for the reader. Raises the guest's error when it is one."""
        try:
            async with asyncio.timeout(timeout):
                first = await self.receive()
        except TimeoutError as error:
            raise unreachable("the guest did not answer in time") from error
        if first is None or first.kind != "c":
            raise nonsense("began a stream without a word")
        message = first.control()
        if message.get("type") == "error":
            raise typed(message)
        self._first = first

    async def _exactly(self, count: int, *, at_end: bool = False) -> bytes:
        if self._left:
            head, self._left = self._left[:count], self._left[count:]
            return head + await self._exactly(count - len(head)) if len(head) < count else head
        try:
            return await self._reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            if at_end and not error.partial:
                return b""
            raise unreachable("the guest cut a stream") from error
        except OSError as error:
            raise unreachable("the guest cut a stream") from error

    async def _write(self, kind: bytes, payload: bytes) -> None:
        try:
            self._writer.write(_framed(kind, payload))
            await self._writer.drain()
        except OSError as error:
            raise unreachable("the guest cut a stream") from error
