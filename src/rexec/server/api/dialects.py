"""How a terminal speaks to its client: docs/terminal-protocol.md."""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.websockets import WebSocket

from rexec.errors import Invalid, RexecError
from rexec.server.api import sockets
from rexec.server.ports.guest import Frame
from rexec.server.ports.records import ContainerRow, Stats

_SIZE_MOST = 10_000
_FORWARDED = ("resized", "lagged")


class Dialect(ABC):
    """What is common. `frame` and `said` are called from two tasks, each by one of them only."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.exited = False
        self._restoring = False

    async def frame(self, frame: Frame) -> int | None:
        """Pass one frame of the guest on; the offset to acknowledge to it, if it is for us to do."""
        if frame.kind == "o":
            counted = not self._restoring
            self._restoring = False
            await self.output(frame.payload, frame.offset or 0, counted=counted)
            return (frame.offset or 0) + len(frame.payload) if counted and self.acknowledges else None
        if frame.kind == "c":
            message = frame.control()
            kind = message.get("type")
            if kind == "restore":
                self._restoring = True
            elif kind == "exit":
                self.exited = True
            await self.control(str(kind), message)
        return None

    acknowledges = True

    @abstractmethod
    async def output(self, data: bytes, offset: int, *, counted: bool) -> None: ...

    @abstractmethod
    async def control(self, kind: str, message: dict[str, Any]) -> None:
        """`ready`, `restore`, `resized`, `lagged`, `error`, `exit`."""

    async def waiting(self, row: ContainerRow) -> None:
        """The container is still being created."""
        return

    @abstractmethod
    def said(self, data: bytes | None, text: str | None) -> bytes | dict[str, Any] | None:
        """Input, a control message for the guest (or `ping`), or nothing."""

    async def pong(self) -> None:
        return None

    async def stats(self, stats: Stats) -> None:
        return None

    async def ended(self, reason: str) -> None:
        """The container ended under the shell."""
        await self.control("exit", {"type": "exit", "code": -1, "reason": reason})

    async def failed(self, error: RexecError) -> None:
        return None


class JsonDialect(Dialect):
    """`rexec.v1`: text frames of JSON."""

    def __init__(self, socket: WebSocket) -> None:
        super().__init__(socket)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = 0
        self._next = 0

    async def output(self, data: bytes, offset: int, *, counted: bool) -> None:
        if not counted:
            restored = {"data": data.decode(errors="replace"), "offset": offset, "next": offset, "restore": True}
            await sockets.say(self.socket, {"type": "output", **restored})
            return
        text, begun = self._decoder.decode(data), offset - self._held
        self._held = len(self._decoder.getstate()[0])
        self._next = offset + len(data) - self._held
        if text:
            await sockets.say(self.socket, {"type": "output", "data": text, "offset": begun, "next": self._next})

    async def _flush(self) -> None:
        """The beginning of a character that never came to its end."""
        text, begun = self._decoder.decode(b"", final=True), self._next
        if text:
            end = begun + self._held
            self._held = 0
            await sockets.say(self.socket, {"type": "output", "data": text, "offset": begun, "next": end})

    async def control(self, kind: str, message: dict[str, Any]) -> None:
        if kind == "ready":
            await self._connected(message)
        elif kind == "lagged":
            self._decoder.reset()
            self._held = 0
            await sockets.say(self.socket, message)
        elif kind in ("error", "exit", "resized"):
            if kind == "exit":
                await self._flush()
            await sockets.say(self.socket, {**message, "data": message.get("error") or message.get("reason") or ""})

    async def _connected(self, message: dict[str, Any]) -> None:
        told = {name: message.get(name) for name in ("terminal", "epoch", "offset", "live", "cols", "rows", "role")}
        await sockets.say(self.socket, {"type": "connected", "data": "Terminal session established", **told})
        await sockets.say(self.socket, {"type": "container_status", "data": "running"})
        await sockets.say(self.socket, {"type": "shell_starting", "data": "Starting shell..."})
        await sockets.say(self.socket, {"type": "shell_ready", "data": "Shell ready"})

    async def waiting(self, row: ContainerRow) -> None:
        await sockets.say(self.socket, _waiting(row))

    def said(self, data: bytes | None, text: str | None) -> bytes | dict[str, Any] | None:
        if data is not None:
            return data
        message = sockets.parsed(text or "")
        match message:
            case {"type": "input", "data": str(typed)}:
                return typed.encode("utf-8", "replace")
            case {"type": "input"}:
                raise Invalid("data of an input must be text")
            case {"type": "resize", **size}:
                return _resize(size)
            case {"type": "ping"}:
                return {"type": "ping"}
            case {"type": "pong"}:
                return None
        return (text or "").encode("utf-8", "replace")

    async def pong(self) -> None:
        await sockets.say(self.socket, {"type": "pong"})

    async def stats(self, stats: Stats) -> None:
        reading = asdict(stats)
        await sockets.say(self.socket, {"type": "stats", "data": {**reading, "cpu": reading["cpu_percent"]}})

    async def failed(self, error: RexecError) -> None:
        await sockets.say(
            self.socket, {"type": "error", "data": error.message, "error": error.message, "code": error.code}
        )


class BinaryDialect(Dialect):
    """`rexec.v2`: binary frames are the bytes, text frames control; the client acknowledges."""

    acknowledges = False

    async def output(self, data: bytes, offset: int, *, counted: bool) -> None:
        await self.socket.send_bytes(data)

    async def control(self, kind: str, message: dict[str, Any]) -> None:
        if kind in ("ready", "restore", "error", "exit", *_FORWARDED):
            await sockets.say(self.socket, message)

    async def waiting(self, row: ContainerRow) -> None:
        await sockets.say(self.socket, _waiting(row))

    def said(self, data: bytes | None, text: str | None) -> bytes | dict[str, Any] | None:
        if data is not None:
            return data
        message = sockets.parsed(text or "")
        match message:
            case {"type": "resize", **size}:
                return _resize(size)
            case {"type": "ack", "offset": int(offset)} if 0 <= offset < 1 << 62:
                return {"type": "ack", "offset": offset}
            case {"type": "ping"}:
                return {"type": "ping"}
        return None

    async def pong(self) -> None:
        await sockets.say(self.socket, {"type": "pong"})

    async def stats(self, stats: Stats) -> None:
        await sockets.say(self.socket, {"type": "stats", **asdict(stats)})

    async def failed(self, error: RexecError) -> None:
        await sockets.say(self.socket, {"type": "error", "error": error.message, "code": error.code})


class RawDialect(Dialect):
    """`rexec.raw`: bytes only."""

    async def output(self, data: bytes, offset: int, *, counted: bool) -> None:
        await self.socket.send_bytes(data)

    async def control(self, kind: str, message: dict[str, Any]) -> None:
        return None

    def said(self, data: bytes | None, text: str | None) -> bytes | dict[str, Any] | None:
        if data is not None:
            return data
        message = sockets.parsed(text or "")
        if message is not None and message["type"] == "resize":
            return _resize(message)
        return (text or "").encode("utf-8", "replace")


def dialect_for(subprotocol: str | None, socket: WebSocket) -> Dialect:
    if subprotocol == "rexec.v2":
        return BinaryDialect(socket)
    if subprotocol == "rexec.raw" or (subprotocol is None and socket.query_params.get("mode") == "raw"):
        return RawDialect(socket)
    return JsonDialect(socket)


def _resize(message: Mapping[Any, Any]) -> dict[str, Any]:
    cols, rows = message.get("cols"), message.get("rows")
    if type(cols) is int and type(rows) is int and 1 <= cols <= _SIZE_MOST and 1 <= rows <= _SIZE_MOST:
        return {"type": "resize", "cols": cols, "rows": rows}
    raise Invalid(f"cols and rows of a resize must be whole numbers from 1 to {_SIZE_MOST}")


def _waiting(row: ContainerRow) -> dict[str, Any]:
    return {
        "type": "container_status", "data": str(row.status), "stage": str(row.stage), "progress": row.progress,
        "message": row.message or "",
    }  # fmt: skip
