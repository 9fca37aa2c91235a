"""The connections of one guest that wait to be used. They are dialled by the guest, or, where no file system is shared,
by the engine's bridge."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from rexec.server.guest.connection import READ_SIZE, Connection
from rexec.server.guest.errors import unreachable

_MOST_IDLE = 32
_MOST = 600
_ACQUIRE_TIMEOUT = 5.0

Dial: TypeAlias = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Pool:
    def __init__(self, dial: Dial | None = None) -> None:
        self._dial = dial
        self._idle: deque[Connection] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._used: set[Connection] = set()
        self._retries = 0
        self._closed = False

    def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A guest's new connection; more than any honest guest keeps are refused."""
        if self._closed or len(self._idle) >= _MOST_IDLE or len(self._used) >= _MOST:
            writer.transport.abort()
            return
        writer.transport.set_write_buffer_limits(high=READ_SIZE)
        self._put(Connection(reader, writer))

    async def acquire(self) -> Connection:
        """Raises `Unavailable` (`guest_unreachable`) when none comes in time."""
        try:
            async with asyncio.timeout(_ACQUIRE_TIMEOUT):
                connection = await self._next()
        except TimeoutError as error:
            raise unreachable("the guest does not answer") from error
        self._used.add(connection)
        return connection

    def release(self, connection: Connection, *, kept: bool) -> None:
        self._used.discard(connection)
        if kept and not self._closed and len(self._idle) < _MOST_IDLE:
            self._retries = 0
            self._put(connection)
        else:
            connection.abort()

    def count_retry(self) -> bool:
        """Whether one more connection that died before it answered may be passed over."""
        self._retries += 1
        return self._retries <= _MOST_IDLE

    def close(self) -> None:
        self._closed = True
        for connection in (*self._idle, *self._used):
            connection.abort()
        self._idle.clear()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(unreachable("the container is gone"))

    async def _next(self) -> Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    return connection
                connection.abort()
            if self._closed:
                raise unreachable("the container is not running")
            if self._dial is not None:
                return Connection(*await self._dial())
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            try:
                await waiting
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)

    def _put(self, connection: Connection) -> None:
        self._idle.append(connection)
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
