"""The small tables that replicas share: remembered requests, keys, counters, open sockets, changed tiers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Insert, Table, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from rexec.server.ports.records import IdempotencyRow
from rexec.server.store.tables import counters, idempotency, keys, quarantine, sockets, tiers


def _upsert(connection: AsyncConnection, table: Table) -> Any:
    """INSERT with ON CONFLICT, which both databases have and SQLAlchemy spells per dialect."""
    insert: Insert
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    return insert


class SqlIdempotency:
    """Implements `ports.store.Idempotency`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def begin(self, row: IdempotencyRow) -> IdempotencyRow | None:
        inserting = _upsert(self._connection, idempotency).values(asdict(row)).on_conflict_do_nothing()
        if (await self._connection.execute(inserting)).rowcount > 0:
            return None
        here = (idempotency.c.user_id == row.user_id) & (idempotency.c.key == row.key)
        found = (await self._connection.execute(select(idempotency).where(here))).one()
        return IdempotencyRow(**found._mapping)

    async def claim(self, user_id: str, key: str, server: str, until: datetime) -> None:
        await self._set(user_id, key, claimed_by=server, claimed_until=until)

    async def subject(self, user_id: str, key: str, subject: str) -> None:
        await self._set(user_id, key, subject=subject)

    async def finish(self, user_id: str, key: str, status: int, answer: Mapping[str, Any] | None) -> None:
        await self._set(user_id, key, status=status, answer=None if answer is None else dict(answer))

    async def abandon(self, user_id: str, key: str) -> None:
        untied = idempotency.c.subject.is_(None) & idempotency.c.status.is_(None)
        here = (idempotency.c.user_id == user_id) & (idempotency.c.key == key) & untied
        await self._connection.execute(delete(idempotency).where(here))

    async def forget(self, user_id: str, key: str) -> None:
        here = (idempotency.c.user_id == user_id) & (idempotency.c.key == key)
        await self._connection.execute(delete(idempotency).where(here))

    async def trim(self, before: datetime) -> int:
        return (await self._connection.execute(delete(idempotency).where(idempotency.c.created_at < before))).rowcount

    async def _set(self, user_id: str, key: str, **values: Any) -> None:
        here = (idempotency.c.user_id == user_id) & (idempotency.c.key == key)
        await self._connection.execute(update(idempotency).where(here).values(values))


class SqlKeys:
    """Implements `ports.store.Keys`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get_or_create(self, name: str, value: bytes) -> bytes:
        inserting = _upsert(self._connection, keys).values(name=name, value=value).on_conflict_do_nothing()
        await self._connection.execute(inserting)
        kept = (await self._connection.execute(select(keys.c.value).where(keys.c.name == name))).scalar_one()
        return bytes(kept)


class SqlQuarantine:
    """Implements `ports.store.Quarantine`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def enter(self, engine_key: str, now: datetime) -> datetime:
        inserting = _upsert(self._connection, quarantine).values(engine_key=engine_key, since=now)
        await self._connection.execute(inserting.on_conflict_do_nothing())
        kept = select(quarantine.c.since).where(quarantine.c.engine_key == engine_key)
        since: datetime = (await self._connection.execute(kept)).scalar_one()
        return since

    async def leave(self, engine_key: str) -> None:
        await self._connection.execute(delete(quarantine).where(quarantine.c.engine_key == engine_key))

    async def all(self) -> dict[str, datetime]:
        found = await self._connection.execute(select(quarantine.c.engine_key, quarantine.c.since))
        return {row.engine_key: row.since for row in found}


class SqlCounters:
    """Implements `ports.store.Counters`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def hit(self, key: str, window: int, amount: int, expires_at: datetime) -> int:
        inserting = _upsert(self._connection, counters).values(
            key=key, window=window, count=amount, expires_at=expires_at
        )
        counting = inserting.on_conflict_do_update(
            index_elements=[counters.c.key, counters.c.window], set_={"count": counters.c.count + amount}
        ).returning(counters.c.count)
        return int((await self._connection.execute(counting)).scalar_one())

    async def read(self, key: str, window: int) -> int:
        query = select(counters.c.count).where(counters.c.key == key, counters.c.window == window)
        return int((await self._connection.execute(query)).scalar() or 0)

    async def trim(self, now: datetime) -> int:
        return (await self._connection.execute(delete(counters).where(counters.c.expires_at <= now))).rowcount


class SqlSockets:
    """Implements `ports.store.Sockets`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def elsewhere(self, user_id: str, server: str, now: datetime) -> int:
        others = (sockets.c.user_id == user_id) & (sockets.c.server != server) & (sockets.c.expires_at > now)
        return int((await self._connection.execute(select(func.sum(sockets.c.count)).where(others))).scalar() or 0)

    async def put(self, user_id: str, server: str, count: int, expires_at: datetime) -> None:
        values = {"count": count, "expires_at": expires_at}
        inserting = _upsert(self._connection, sockets).values(user_id=user_id, server=server, **values)
        await self._connection.execute(
            inserting.on_conflict_do_update(index_elements=[sockets.c.user_id, sockets.c.server], set_=values)
        )

    async def replace(self, server: str, counts: Mapping[str, int], expires_at: datetime) -> None:
        await self._connection.execute(delete(sockets).where(sockets.c.server == server))
        rows = [
            {"user_id": user_id, "server": server, "count": count, "expires_at": expires_at}
            for user_id, count in counts.items()
        ]
        if rows:
            await self._connection.execute(insert(sockets), rows)


class SqlTierChanges:
    """Implements `ports.store.TierChanges`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def all(self) -> dict[str, dict[str, Any]]:
        return {found.name: dict(found.changes) for found in await self._connection.execute(select(tiers))}

    async def put(self, name: str, changes: Mapping[str, Any]) -> None:
        values = {"changes": dict(changes)}
        inserting = _upsert(self._connection, tiers).values(name=name, **values)
        await self._connection.execute(inserting.on_conflict_do_update(index_elements=[tiers.c.name], set_=values))
