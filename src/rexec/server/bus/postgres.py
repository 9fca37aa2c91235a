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
_LONGEST_PAYLOAD = 7_700
_MOST_WAITING = 10_000
_EVERYBODY = "*"
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_PATIENCE = 10.0
_PROBE_EVERY = 30.0


class PostgresBus:
    """Implements `ports.bus.Bus`. What this process publishes wakes its own readers at once; other processes hear of it
    through one connection that comes back by itself. What could not be sent meanwhile is kept, each topic once, and
    when it gets too much the others are told to look at everything. A payload is `<sender> <topic> <topic> …`."""

    prompt = False

    def __init__(self, url: str) -> None:
        self._url = url.replace("+asyncpg", "", 1)
        self._name = secrets.token_hex(8)
        self._local = LocalBus()
        self._waiting: dict[str, None] = {}
        self._news = asyncio.Event()
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
        self._waiting.update(dict.fromkeys(topics))
        if len(self._waiting) > _MOST_WAITING:
            self._waiting = {_EVERYBODY: None}
        self._news.set()

    @asynccontextmanager
    async def subscribe(self, *topics: str) -> AsyncGenerator[LocalSubscription, None]:
        async with self._local.subscribe(*topics) as subscription:
            yield subscription

    async def _keep_connected(self) -> None:
        """For ever: a cut shows itself as any of a dozen errors of the driver, some of them its own assertions."""
        wait = _FIRST_WAIT
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._connected()
            except Exception as error:
                _log.warning("the bus lost its database", error=type(error).__name__)
            if asyncio.get_running_loop().time() - begun > _LONGEST_WAIT:
                wait = _FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _connected(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=_PATIENCE)
        try:
            connection.add_termination_listener(lambda _: self._news.set())
            await connection.add_listener(_CHANNEL, self._heard)
            self._local.wake_everybody()
            while not connection.is_closed():
                await self._send(connection)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PROBE_EVERY):
                        await self._news.wait()
                self._news.clear()
        finally:
            connection.terminate()

    async def _send(self, connection: asyncpg.Connection) -> None:
        """All that waits. A topic leaves when the database has it; one that is published meanwhile is sent again."""
        if not self._waiting:
            await connection.execute("SELECT 1", timeout=_PATIENCE)
        while self._waiting:
            batch = self._batch()
            payload = f"{self._name} {' '.join(batch)}"
            try:
                await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, payload, timeout=_PATIENCE)
            except BaseException:
                self._waiting = batch | self._waiting
                raise

    def _batch(self) -> dict[str, None]:
        """The first that wait, as many as one payload holds; taken out."""
        batch: dict[str, None] = {}
        size = 0
        for topic in self._waiting:
            size += len(topic.encode()) + 1
            if batch and size > _LONGEST_PAYLOAD:
                break
            batch[topic] = None
        for topic in batch:
            del self._waiting[topic]
        return batch

    def _heard(self, connection: object, pid: int, channel: str, payload: object) -> None:
        sender, *topics = str(payload).split(" ")
        if sender == self._name:
            return
        if _EVERYBODY in topics:
            self._local.wake_everybody()
        else:
            self._local.deliver(*topics)
