"""Users, tokens and sessions in the store."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row, Select, Table, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from rexec.errors import Conflict
from rexec.server.ports.records import SessionRow, TokenRow, UserRow
from rexec.server.store.tables import sessions, tokens, users

_Row = TypeVar("_Row", TokenRow, SessionRow)


def _user(found: Row[Any], prefix: str = "") -> UserRow:
    return UserRow(**{field.name: found._mapping[prefix + field.name] for field in fields(UserRow)})


def _scoped(kind: type[_Row], found: Row[Any]) -> _Row:
    values = {field.name: found._mapping[field.name] for field in fields(kind)}
    return kind(**values | {"scopes": frozenset(values["scopes"])})


def _with_user(table: Table) -> Select[Any]:
    owner = [column.label(f"of_{column.name}") for column in users.columns]
    return select(table, *owner).join(users, users.c.id == table.c.user_id)


class SqlUsers:
    """Implements `ports.store.Users`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, row: UserRow) -> None:
        try:
            async with self._connection.begin_nested():
                await self._connection.execute(insert(users).values(asdict(row)))
        except IntegrityError as error:
            raise Conflict("this user name is taken", code="name_taken", name=row.username) from error

    async def get(self, user_id: str) -> UserRow | None:
        return await self._one(select(users).where(users.c.id == user_id))

    async def lock(self, user_id: str) -> UserRow | None:
        return await self._one(select(users).where(users.c.id == user_id).with_for_update())

    async def by_username(self, username: str) -> UserRow | None:
        registered = ~users.c.is_guest & users.c.deleted_at.is_(None)
        return await self._one(select(users).where(users.c.username == username, registered))

    async def update(self, user_id: str, **changes: Any) -> UserRow | None:
        found = await self._connection.execute(
            update(users).where(users.c.id == user_id).values(changes).returning(users)
        )
        row = found.first()
        return _user(row) if row else None

    async def expired_guests(self, now: datetime, limit: int) -> list[UserRow]:
        ended = users.c.is_guest & (users.c.expires_at <= now) & users.c.disabled_at.is_(None)
        query = select(users).where(ended).order_by(users.c.expires_at).limit(limit)
        return [_user(found) for found in await self._connection.execute(query)]

    async def _one(self, query: Select[Any]) -> UserRow | None:
        found = (await self._connection.execute(query)).first()
        return _user(found) if found else None

    async def list(self, limit: int, after: str | None) -> list[UserRow]:
        query = select(users).where(users.c.deleted_at.is_(None)).order_by(users.c.id).limit(limit)
        if after is not None:
            query = query.where(users.c.id > after)
        return [_user(found) for found in await self._connection.execute(query)]


class SqlTokens:
    """Implements `ports.store.Tokens`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, row: TokenRow) -> None:
        await self._connection.execute(insert(tokens).values(asdict(row) | {"scopes": sorted(row.scopes)}))

    async def by_digest(self, digest: bytes) -> tuple[TokenRow, UserRow] | None:
        found = (await self._connection.execute(_with_user(tokens).where(tokens.c.digest == digest))).first()
        return (_scoped(TokenRow, found), _user(found, "of_")) if found else None

    async def get(self, token_id: str) -> tuple[TokenRow, UserRow] | None:
        found = (await self._connection.execute(_with_user(tokens).where(tokens.c.id == token_id))).first()
        return (_scoped(TokenRow, found), _user(found, "of_")) if found else None

    async def revoke(self, user_id: str, token_id: str, now: datetime) -> bool:
        here = (tokens.c.id == token_id) & (tokens.c.user_id == user_id) & tokens.c.revoked_at.is_(None)
        if (await self._connection.execute(update(tokens).where(here).values(revoked_at=now))).rowcount == 0:
            return False
        opened = (sessions.c.token_id == token_id) & sessions.c.revoked_at.is_(None)
        await self._connection.execute(update(sessions).where(opened).values(revoked_at=now))
        return True

    async def revoke_all(self, user_id: str, now: datetime) -> None:
        living = (tokens.c.user_id == user_id) & tokens.c.revoked_at.is_(None)
        await self._connection.execute(update(tokens).where(living).values(revoked_at=now))

    async def touch(self, token_id: str, now: datetime) -> None:
        await self._connection.execute(update(tokens).where(tokens.c.id == token_id).values(last_used_at=now))

    async def list(self, user_id: str) -> list[TokenRow]:
        living = select(tokens).where(tokens.c.user_id == user_id, tokens.c.revoked_at.is_(None))
        return [_scoped(TokenRow, row) for row in await self._connection.execute(living.order_by(tokens.c.created_at))]


class SqlSessions:
    """Implements `ports.store.Sessions`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, row: SessionRow) -> None:
        await self._connection.execute(insert(sessions).values(asdict(row) | {"scopes": sorted(row.scopes)}))

    async def get(self, session_id: str) -> tuple[SessionRow, UserRow] | None:
        found = (await self._connection.execute(_with_user(sessions).where(sessions.c.id == session_id))).first()
        return (_scoped(SessionRow, found), _user(found, "of_")) if found else None

    async def rotate(self, session_id: str, old: bytes, new: bytes, now: datetime) -> bool:
        valid = (
            (sessions.c.id == session_id)
            & (sessions.c.refresh_digest == old)
            & sessions.c.revoked_at.is_(None)
            & (sessions.c.expires_at > now)
        )
        statement = update(sessions).where(valid).values(refresh_digest=new, last_used_at=now)
        return (await self._connection.execute(statement)).rowcount > 0

    async def revoke(self, session_id: str, now: datetime) -> bool:
        living = (sessions.c.id == session_id) & sessions.c.revoked_at.is_(None)
        return (await self._connection.execute(update(sessions).where(living).values(revoked_at=now))).rowcount > 0

    async def revoke_all(self, user_id: str, now: datetime) -> None:
        living = (sessions.c.user_id == user_id) & sessions.c.revoked_at.is_(None)
        await self._connection.execute(update(sessions).where(living).values(revoked_at=now))

    async def trim(self, before: datetime) -> int:
        ended = or_(sessions.c.expires_at < before, sessions.c.revoked_at < before)
        return (await self._connection.execute(delete(sessions).where(ended))).rowcount

    async def list(self, user_id: str, now: datetime) -> list[SessionRow]:
        living = (sessions.c.user_id == user_id) & sessions.c.revoked_at.is_(None) & (sessions.c.expires_at > now)
        query = select(sessions).where(living).order_by(sessions.c.created_at)
        return [_scoped(SessionRow, found) for found in await self._connection.execute(query)]
