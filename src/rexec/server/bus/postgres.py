"""The bus between replicas, on PostgreSQL's LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Self

import asyncpg
import structlog

from rexec.server.bus.local import LocalBus, LocalSubscription

_log = structlog.get_logger(__name__)
_CHANNEL = "rexec"
_LONGEST_PAYLOAD = 7_900
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_QUEUE = 4096


class PostgresBus:
    """Implements `ports.bus.Bus`. What this process publishes wakes its own readers at once; other processes hear of it
    through one connection that comes back by itself. A payload is `<sender> <topic> <topic> …`."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+asyncpg", "", 1)
        self._name = secrets.token_hex(8)
        self._local = LocalBus()
        self._outgoing: asyncio.Queue[str] = asyncio.Queue(_QUEUE)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def publish(self, *topics: str) -> None:
        self._local.deliver(*topics)
        for topic in topics:
            await self._outgoing.put(topic)

    @asynccontextmanager
    async def subscribe(self, *topics: str) -> AsyncGenerator[LocalSubscription, None]:
        async with self._local.subscribe(*topics) as subscription:
            yield subscription

    async def _keep_connected(self) -> None:
        wait = _FIRST_WAIT
        while True:
            try:
                connection = await asyncpg.connect(self._url, timeout=10)
                try:
                    await connection.add_listener(_CHANNEL, self._heard)
                    self._local.wake_everybody()
                    wait = _FIRST_WAIT
                    await self._send(connection)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                _log.warning("the bus lost its database", error=type(error).__name__, again_in=wait)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    async def _send(self, connection: asyncpg.Connection) -> None:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        ending = asyncio.create_task(ended.wait())
        try:
            await self._send_until(connection, ending)
        finally:
            ending.cancel()

    async def _send_until(self, connection: asyncpg.Connection, ending: asyncio.Task[bool]) -> None:
        while True:
            getting = asyncio.ensure_future(self._outgoing.get())
            try:
                await asyncio.wait([getting, ending], return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    raise ConnectionResetError("the database closed the bus's connection")
            finally:
                if not getting.done():
                    getting.cancel()
                    with suppress(asyncio.CancelledError):
                        await getting
            payload = f"{self._name} {' '.join(self._batch(getting.result()))}"
            await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, payload, timeout=10)

    def _batch(self, first: str) -> list[str]:
        """`first` and what else waits, each once, as much as one payload holds."""
        topics = {first: None}
        size = len(first)
        while not self._outgoing.empty() and size < _LONGEST_PAYLOAD - 200:
            topic = self._outgoing.get_nowait()
            size += len(topic) + 1
            topics[topic] = None
        return list(topics)

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        sender, *topics = str(payload).split(" ")
        if sender != self._name:
            self._local.deliver(*topics)
