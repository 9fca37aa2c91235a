"""Containers in the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    Select,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from rexec.errors import Conflict
from rexec.server.ports.records import ContainerRow, Enforced, Limits, Status, Target
from rexec.server.ports.store import ContainerFilter
from rexec.server.store.tables import containers as table

_SHORTEST_PREFIX = 12
_LONGEST_LEASE = timedelta(minutes=2)
"""One that ends later was taken by a clock that was set back since, and binds nobody."""
_LIMITS = tuple(field.name for field in fields(Limits))
_COLUMNS = tuple(column.name for column in table.columns if column.name not in _LIMITS)
_LIVING = table.c.deleted_at.is_(None)
_REFERENCE: BindParameter[str] = bindparam("reference")
_NAMED = or_(
    table.c.id == _REFERENCE,
    table.c.engine_id == _REFERENCE,
    table.c.engine_id.like(bindparam("beginning", type_=table.c.engine_id.type), escape="/"),
)
_FIND = select(table).where(_LIVING, _NAMED).limit(10)
_FIND_OWN = (
    select(table)
    .where(_LIVING, table.c.user_id == bindparam("owner"), or_(_NAMED, table.c.name == _REFERENCE))
    .limit(10)
)
"""Built once: putting a query together costs more than running it."""
_SETTLED = or_(
    table.c.status == table.c.target,
    (table.c.status == Status.ERROR) & (table.c.target != Target.DELETED),
)


def _values(changes: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(changes)
    limits = values.pop("limits", None)
    if limits is not None:
        values.update(asdict(limits))
    if "enforced" in values:
        values["enforced"] = asdict(values["enforced"])
    for name in ("environment_names", "degraded"):
        if name in values:
            values[name] = list(values[name])
    return values


def _row(found: Row[Any]) -> ContainerRow:
    columns = found._mapping
    values = {name: columns[name] for name in _COLUMNS}
    values["limits"] = Limits(**{name: columns[name] for name in _LIMITS})
    values["enforced"] = Enforced(**values["enforced"])
    values["environment_names"] = tuple(values["environment_names"])
    values["degraded"] = tuple(values["degraded"])
    values["status"] = Status(values["status"])
    values["target"] = Target(values["target"])
    return ContainerRow(**values)


class SqlContainers:
    """Implements `ports.store.Containers`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def insert(self, row: ContainerRow) -> None:
        values = {field.name: getattr(row, field.name) for field in fields(ContainerRow)}
        try:
            await self._connection.execute(insert(table).values(_values(values)))
        except IntegrityError as error:
            raise _name_taken(row.name) from error

    async def get(self, container_id: str) -> ContainerRow | None:
        found = (await self._connection.execute(select(table).where(table.c.id == container_id))).first()
        return _row(found) if found else None

    async def find(self, user_id: str | None, reference: str) -> list[ContainerRow]:
        values = {"reference": reference, "beginning": _beginning(reference)}
        query = _FIND
        if user_id is not None:
            query, values = _FIND_OWN, values | {"owner": user_id}
        found = await self._all(query, values)
        for wanted in ("id", "name", "engine_id"):
            exact = [row for row in found if getattr(row, wanted) == reference]
            if exact and (wanted != "name" or user_id is not None):
                return exact
        return [row for row in found if (row.engine_id or "").startswith(reference)]

    async def by_engine_key(self, engine_key: str) -> ContainerRow | None:
        found = (await self._connection.execute(select(table).where(table.c.engine_key == engine_key))).first()
        return _row(found) if found else None

    async def count(self, user_id: str) -> int:
        query = select(func.count()).where(_LIVING, table.c.user_id == user_id, table.c.status != Status.ERROR)
        return int((await self._connection.execute(query)).scalar_one())

    async def count_living(self, user_id: str, name: str) -> int:
        query = select(func.count()).where(_LIVING, table.c.user_id == user_id, table.c.name == name)
        return int((await self._connection.execute(query)).scalar_one())

    async def update(self, row: ContainerRow, **changes: Any) -> ContainerRow | None:
        statement = (
            update(table)
            .where(table.c.id == row.id, table.c.version == row.version)
            .values(_values(changes) | {"version": row.version + 1})
            .returning(table)
        )
        try:
            found = (await self._connection.execute(statement)).first()
        except IntegrityError as error:
            raise _name_taken(str(changes.get("name", row.name))) from error
        return _row(found) if found else None

    async def touch(self, used: Mapping[str, datetime]) -> None:
        if not used:
            return
        at = bindparam("at", type_=table.c.last_used_at.type)
        statement = update(table).where(table.c.id == bindparam("of")).values(last_used_at=at)
        await self._connection.execute(statement, [{"of": key, "at": used[key]} for key in sorted(used)])

    async def unsettled(self, now: datetime, limit: int, owner: str) -> list[ContainerRow]:
        query = select(table).where(~_SETTLED, _free(now, owner), table.c.status != Status.DELETED)
        return await self._all(query.order_by(table.c.created_at).limit(limit))

    async def claim(self, container_id: str, owner: str, now: datetime, until: datetime) -> ContainerRow | None:
        statement = (
            update(table)
            .where(table.c.id == container_id, _free(now, owner))
            .values(claimed_by=owner, claimed_until=until)
            .returning(table)
        )
        found = (await self._connection.execute(statement)).first()
        return _row(found) if found else None

    async def release(self, container_id: str, owner: str) -> None:
        statement = update(table).where(table.c.id == container_id, table.c.claimed_by == owner)
        await self._connection.execute(statement.values(claimed_by=None, claimed_until=None))

    async def overdue(self, now: datetime, limit: int) -> list[ContainerRow]:
        due = (table.c.expires_at <= now) & table.c.target.in_([Target.RUNNING, Target.PAUSED])
        return await self._all(select(table).where(_LIVING, due).order_by(table.c.expires_at).limit(limit))

    async def of_engine(self, engine: str, host: str) -> list[ContainerRow]:
        present = (table.c.engine == engine) & (table.c.host == host) & (table.c.status != Status.DELETED)
        return await self._all(select(table).where(present))

    async def purge(self, before: datetime) -> int:
        gone = delete(table).where(table.c.status == Status.DELETED, table.c.deleted_at < before)
        return (await self._connection.execute(gone)).rowcount

    async def broken(self, before: datetime, limit: int) -> list[ContainerRow]:
        old = _LIVING & (table.c.status == Status.ERROR) & (table.c.settled_at < before)
        return await self._all(select(table).where(old).order_by(table.c.settled_at).limit(limit))

    async def _all(self, query: Select[Any], values: Mapping[str, Any] | None = None) -> list[ContainerRow]:
        return [_row(found) for found in await self._connection.execute(query, values)]

    def _labelled(self, key: str, value: str) -> Any:
        if self._connection.dialect.name == "postgresql":
            return type_coerce(table.c.labels, JSONB).contains({key: value})
        each = func.json_each(table.c.labels).table_valued("key", "value")
        return exists(select(1).select_from(each).where(each.c.key == key, each.c.value == value))

    async def list(self, wanted: ContainerFilter) -> list[ContainerRow]:
        query = select(table).where(_LIVING).order_by(table.c.created_at.desc(), table.c.id.desc())
        if wanted.user_id is not None:
            query = query.where(table.c.user_id == wanted.user_id)
        if wanted.statuses:
            query = query.where(table.c.status.in_([str(status) for status in wanted.statuses]))
        if wanted.name is not None:
            query = query.where(table.c.name == wanted.name)
        if wanted.before is not None:
            at, last = wanted.before
            earlier = (table.c.created_at == at) & (table.c.id < last)
            query = query.where(or_(table.c.created_at < at, earlier))
        for key, value in wanted.labels.items():
            query = query.where(self._labelled(key, value))
        return await self._all(query.limit(wanted.limit))


def _free(now: datetime, owner: str) -> ColumnElement[bool]:
    until = table.c.claimed_until
    return or_(table.c.claimed_by == owner, until.is_(None), until <= now, until > now + _LONGEST_LEASE)


def _beginning(reference: str) -> str | None:
    """The pattern of engine ids that begin so; too short a reference matches none."""
    if len(reference) < _SHORTEST_PREFIX:
        return None
    return re.sub(r"([/%_])", r"/\1", reference) + "%"


def _name_taken(name: str) -> Conflict:
    return Conflict("container with this name already exists", code="name_taken", name=name)
