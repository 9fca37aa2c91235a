"""The event log, counted per user without holes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from rexec.server.ports.records import EventRow
from rexec.server.store.tables import events as table
from rexec.server.store.tables import users


class SqlEvents:
    """Implements `ports.store.Events`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def append(
        self, user_id: str, type: str, container_id: str | None, data: Mapping[str, Any], now: datetime
    ) -> EventRow:
        counting = (
            update(users).where(users.c.id == user_id).values(last_seq=users.c.last_seq + 1).returning(users.c.last_seq)
        )
        seq = int((await self._connection.execute(counting)).scalar_one())
        row = EventRow(user_id, seq, type, container_id, dict(data), now)
        await self._connection.execute(
            insert(table).values(
                user_id=user_id, seq=seq, type=type, container_id=container_id, data=row.data, created_at=now
            )
        )
        return row

    async def after(self, user_id: str, seq: int, limit: int) -> list[EventRow]:
        query = select(table).where(table.c.user_id == user_id, table.c.seq > seq)
        return await self._all(query.order_by(table.c.seq).limit(limit))

    async def of_container(self, container_id: str, after: int, limit: int) -> list[EventRow]:
        query = select(table).where(table.c.container_id == container_id, table.c.seq > after)
        return await self._all(query.order_by(table.c.seq).limit(limit))

    async def bounds(self, user_id: str) -> tuple[int, int]:
        newest = (await self._connection.execute(select(users.c.last_seq).where(users.c.id == user_id))).scalar() or 0
        oldest = select(func.min(table.c.seq)).where(table.c.user_id == user_id)
        return int((await self._connection.execute(oldest)).scalar() or newest + 1), int(newest)

    async def trim(self, before: datetime, keep_per_user: int) -> int:
        old = await self._connection.execute(delete(table).where(table.c.created_at < before))
        kept = select(users.c.last_seq - keep_per_user).where(users.c.id == table.c.user_id).scalar_subquery()
        many = await self._connection.execute(delete(table).where(table.c.seq <= kept))
        return old.rowcount + many.rowcount

    async def _all(self, query: Select[Any]) -> list[EventRow]:
        return [EventRow(**found._mapping) for found in await self._connection.execute(query)]
