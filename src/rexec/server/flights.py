"""One piece of work per key, shared by all who wait for it: an image's fetch, a layer's bake."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.records import PullProgress

Result = TypeVar("Result")


@dataclass(eq=False)
class _Flight(Generic[Result]):
    task: asyncio.Task[Result]
    listeners: list[ProgressCallback] = field(default_factory=list)
    latest: PullProgress | None = None

    def tell(self, progress: PullProgress) -> None:
        self.latest = progress
        for listener in tuple(self.listeners):
            listener(progress)


class Flights(Generic[Result]):
    """`join` starts the work or shares the one under way; it is cancelled when nobody waits for it any more."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[Result]] = {}

    async def join(
        self, key: str, work: Callable[[ProgressCallback], Awaitable[Result]], progress: ProgressCallback
    ) -> Result:
        flight = self._flights.get(key)
        if flight is None or flight.task.done():
            flight = self._begin(key, work)
        flight.listeners.append(progress)
        if flight.latest is not None:
            progress(flight.latest)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(progress)
            if not flight.listeners and not flight.task.done():
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])

    def _begin(self, key: str, work: Callable[[ProgressCallback], Awaitable[Result]]) -> _Flight[Result]:
        async def run() -> Result:
            return await work(flight.tell)

        flight = _Flight(asyncio.create_task(run(), name=f"flight {key}"))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda task: self._ended(key, flight, task))
        return flight

    def _ended(self, key: str, flight: _Flight[Result], task: asyncio.Task[Result]) -> None:
        self._forget(key, flight)
        if not task.cancelled():
            task.exception()  # those who waited have it; nobody may be left to ask

    def _forget(self, key: str, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
