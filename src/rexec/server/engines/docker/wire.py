"""The standard streams of a command that Docker runs inside a container, as a transport for any protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from rexec.server.engines.docker.client import Client, tell

_log = structlog.get_logger(__name__)
_HEAD = 8
_STDOUT = 1
_LAST_WORDS = 2048
_OPEN_TIMEOUT = 30.0
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
_UNANSWERED_MS = 30_000


async def open_wire(client: Client, container: str, command: list[str], protocol: asyncio.Protocol) -> None:
    """Run `command` as root: what `protocol` writes is its stdin, what it gets is its stdout. The end of either is the
    end of both. Raises as all of the engine's calls do when it cannot be run."""
    body = {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "User": "0:0",
        "WorkingDir": "/",
        "Cmd": command,
    }
    made = await client.json("POST", f"containers/{container}/exec", body=body, timeout=_OPEN_TIMEOUT)
    start: Mapping[str, Any] = {"Detach": False, "Tty": False}
    taken = await client.hijack(f"exec/{made['Id']}/start", start, timeout=_OPEN_TIMEOUT)
    keep_alive(taken.transport)
    streams = Streams(protocol, taken.ended)
    taken.transport.set_protocol(streams)
    streams.connection_made(taken.transport)
    if taken.early:
        streams.data_received(taken.early)


def keep_alive(transport: asyncio.Transport) -> None:
    """Find out within a minute that an engine on another host is gone."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (*_KEEP_ALIVE, (socket.TCP_USER_TIMEOUT, _UNANSWERED_MS), (socket.TCP_NODELAY, 1)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


class Streams(asyncio.Protocol):
    """Docker puts pieces of stdout and stderr into one stream, each behind a head of its own; stdin goes as it is."""

    def __init__(self, inner: asyncio.Protocol, ended: Callable[[Exception | None], None]) -> None:
        self._inner = inner
        self._ended = ended
        self._head = b""
        self._left = 0
        self._kind = 0
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._left >= len(data):
            self._piece(data)
            return
        start = 0
        while start < len(data):
            if self._left == 0:
                wanted = _HEAD - len(self._head)
                self._head += data[start : start + wanted]
                start += wanted
                if len(self._head) < _HEAD:
                    return
                self._left = int.from_bytes(self._head[4:], "big")
                self._kind, self._head = self._head[0], b""
                continue
            piece = data[start : start + self._left]
            start += len(piece)
            self._piece(piece)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error)
        if self._said:
            _log.info("a bridge ended", said=tell(self._said.decode(errors="replace")))
        self._inner.connection_lost(error)

    def _piece(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._kind == _STDOUT:
            self._inner.data_received(piece)
        else:
            self._said = (self._said + piece)[-_LAST_WORDS:]
