"""How many sockets everybody has open, over all servers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Self

from rexec.errors import RateLimited, Unavailable
from rexec.server.core.clock import Clock
from rexec.server.ports.store import Database

_LIFE = timedelta(seconds=60)
_RENEW_EVERY = 20.0


class OpenSockets:
    """Each server writes down how many it holds and says so again and again, so that what a killed one held counts no
    longer after a minute. An async context manager."""

    def __init__(self, database: Database, clock: Clock, server: str) -> None:
        self._database = database
        self._clock = clock
        self._server = server
        self._held: Counter[str] = Counter()
        self._turn = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._write_all()
        self._renewing = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        self._held.clear()
        with suppress(Unavailable):
            await self._write_all()

    @asynccontextmanager
    async def one_more(self, user_id: str, limit: int) -> AsyncIterator[None]:
        """Raises `RateLimited` (`too_many_sockets`)."""
        async with self._turn, self._database.transaction() as tx:
            await tx.users.lock(user_id)
            now = self._clock()
            if self._held[user_id] + 1 + await tx.sockets.elsewhere(user_id, self._server, now) > limit:
                raise RateLimited(
                    f"more than {limit} open sockets", code="too_many_sockets", retry_after=5, limit=limit
                )
            await tx.sockets.put(user_id, self._server, self._held[user_id] + 1, now + _LIFE)
            self._held[user_id] += 1
        try:
            yield
        finally:
            self._held[user_id] -= 1
            # What cannot be written down now is put right by the next renewal.
            with suppress(Unavailable):
                await self._write(user_id)
            if not self._held[user_id]:
                del self._held[user_id]

    def held(self, user_id: str) -> int:
        return self._held[user_id]

    async def total(self, user_id: str) -> int:
        async with self._database.reading() as tx:
            return self._held[user_id] + await tx.sockets.elsewhere(user_id, self._server, self._clock())

    async def _write(self, user_id: str) -> None:
        async with self._turn, self._database.transaction() as tx:
            await tx.sockets.put(user_id, self._server, self._held[user_id], self._until())

    async def _write_all(self) -> None:
        async with self._turn, self._database.transaction() as tx:
            await tx.sockets.replace(self._server, +self._held, self._until())

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            if self._held:
                with suppress(Unavailable):
                    await self._write_all()

    def _until(self) -> datetime:
        return self._clock() + _LIFE
