"""A user's events, replayed and followed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rexec.server.core.clock import Clock, rfc3339
from rexec.server.core.describe import describe
from rexec.server.ports.bus import Bus
from rexec.server.ports.records import ContainerRow, EventRow, Status
from rexec.server.ports.store import ContainerFilter, Database

PROGRESS = "container_progress"
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the event sockets. `seq` is the user's count at that point."""

    seq: int
    type: str
    data: dict[str, Any]
    at: datetime

    def json(self) -> dict[str, Any]:
        return {"type": self.type, "data": self.data, "seq": self.seq, "timestamp": rfc3339(self.at)}


def progress_of(row: ContainerRow) -> dict[str, Any]:
    return {"id": row.id, "stage": str(row.stage), "message": row.message or "", "progress": row.progress}


class Events:
    def __init__(self, database: Database, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock

    async def follow(self, user_id: str, since: int | None) -> AsyncIterator[Message]:
        """With `since`: what came after it, or `reset` and the present state when that is no longer kept. Without: the
        present progress of what is being created. Then everything as it happens, for ever."""
        async with self._bus.subscribe(f"user:{user_id}") as subscription:
            async with self._database.reading() as tx:
                oldest, newest = await tx.events.bounds(user_id)
                reset = since is not None and not oldest - 1 <= since <= newest
                present = await tx.containers.list(ContainerFilter(user_id)) if since is None or reset else []
            now = self._clock()
            if reset:
                yield Message(newest, "reset", {}, now)
                for row in reversed(present):
                    yield Message(newest, "container_updated", describe(row, now), now)
            for row in reversed(present):
                if row.status is Status.CREATING:
                    yield Message(newest, PROGRESS, progress_of(row), now)
            cursor = newest if since is None or reset else since
            while True:
                rows = await self._after(user_id, cursor)
                for event in coalesced(rows):
                    yield _message(event)
                if rows:
                    cursor = rows[-1].seq
                else:
                    await subscription.wait()

    async def history(self, container_id: str, after: int, limit: int) -> list[Message]:
        async with self._database.reading() as tx:
            return [_message(row) for row in await tx.events.of_container(container_id, after, limit)]

    async def _after(self, user_id: str, seq: int) -> list[EventRow]:
        async with self._database.reading() as tx:
            return await tx.events.after(user_id, seq, _BATCH)


def coalesced(rows: Iterable[EventRow]) -> list[EventRow]:
    """Of the progress that one stage of one container told in a row that a reader is behind with, the last."""
    kept: dict[tuple[str | None, Any, int], EventRow] = {}
    for row in rows:
        own = 0 if row.type == PROGRESS else row.seq
        kept.pop((row.container_id, row.data.get("stage"), own), None)
        kept[row.container_id, row.data.get("stage"), own] = row
    return sorted(kept.values(), key=lambda row: row.seq)


def _message(row: EventRow) -> Message:
    return Message(row.seq, row.type, row.data, row.created_at)
