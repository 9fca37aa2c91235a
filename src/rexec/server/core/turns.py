"""How many containers are acted on at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Turns:
    """Whoever only waits for work that others share steps `aside`, so that a pull or a bake that hundreds wait for
    holds nobody else up."""

    def __init__(self, number: int) -> None:
        self._free = asyncio.Semaphore(number)
        self._aside: set[str] = set()

    async def take(self) -> None:
        await self._free.acquire()

    def end(self, container_id: str) -> None:
        """Of the turn that was taken for this container; it may have been cancelled while it was aside."""
        if container_id in self._aside:
            self._aside.discard(container_id)
        else:
            self._free.release()

    @asynccontextmanager
    async def aside(self, container_id: str) -> AsyncGenerator[None, None]:
        self._aside.add(container_id)
        self._free.release()
        try:
            yield
        finally:
            await self._free.acquire()
            self._aside.discard(container_id)
