"""Objects of ours on the engine that no container is known for: stopped, kept for some days, adopted or purged."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from rexec.errors import NotFound
from rexec.server.core import catalogue as offered
from rexec.server.core.clock import Clock
from rexec.server.core.describe import describe
from rexec.server.core.lifecycle import tell
from rexec.server.core.names import generate
from rexec.server.core.secrets import Secrets
from rexec.server.ports.engine import Engine
from rexec.server.ports.records import ContainerRow, Limits, Observation, Phase, Stage, Status, Target, UserRow
from rexec.server.ports.store import Database, Transaction

_log = structlog.get_logger(__name__)
_ADOPTED = "This container was found on the engine without an owner and was adopted; a start goes on with its data."
_USERS = 500


@dataclass(frozen=True, slots=True)
class Stray:
    observation: Observation
    since: datetime
    until: datetime
    """When it is purged."""


class Quarantine:
    def __init__(self, database: Database, engine: Engine, clock: Clock, secrets: Secrets, days: float) -> None:
        self._database = database
        self._engine = engine
        self._clock = clock
        self._secrets = secrets
        self._kept = timedelta(days=days)

    async def take(self, observation: Observation) -> None:
        """One that a sweep found. Removed at once only where our own log shows that it was to be deleted."""
        key, now = observation.engine_key, self._clock()
        async with self._database.transaction() as tx:
            row = await tx.containers.by_engine_key(key)
            since = now if row is not None else await tx.quarantine.enter(key, now)
        if row is not None:
            if row.deleted_at is not None:
                await self._engine.delete(key)
            return
        if now - since >= self._kept:
            await self._engine.delete(key)
            await self._forget(key)
            _log.warning("an unknown container was purged", engine_key=key, since=since)
        elif observation.phase in (Phase.RUNNING, Phase.PAUSED):
            _log.warning("an unknown container is quarantined", engine_key=key)
            await self._engine.stop(key, 0)

    async def strays(self) -> list[Stray]:
        """What is there now, and until when."""
        seen = await self._engine.list()
        async with self._database.reading() as tx:
            unknown = [found for found in seen if await tx.containers.by_engine_key(found.engine_key) is None]
            since = await tx.quarantine.all()
        noted = [(found, since.get(found.engine_key, self._clock())) for found in unknown]
        return [Stray(found, at, at + self._kept) for found, at in noted]

    async def adopt(self, engine_key: str, owner: str | None) -> ContainerRow:
        """Make it a stopped container of `owner`, a user's name; else of the first admin. Raises `NotFound`."""
        observation = await self._engine.inspect(engine_key)
        if observation.phase is Phase.MISSING:
            raise NotFound(f"the engine has no rexec-{engine_key}", code="container_not_found")
        now = self._clock()
        async with self._database.transaction() as tx:
            user = await _owner(tx, owner)
            await tx.users.lock(user.id)
            if await tx.containers.by_engine_key(engine_key) is not None:
                raise NotFound(f"rexec-{engine_key} is no stray: its container is known", code="container_not_found")
            row = self._row(observation, user, now)
            await tx.containers.insert(row)
            await tx.quarantine.leave(engine_key)
            await tell(tx, row, "container_created", describe(row, now), now)
        return row

    async def purge(self, engine_key: str) -> None:
        """At once. Raises `NotFound` for what is no stray."""
        async with self._database.reading() as tx:
            known = await tx.containers.by_engine_key(engine_key)
        if known is not None or (await self._engine.inspect(engine_key)).phase is Phase.MISSING:
            raise NotFound(f"rexec-{engine_key} is no stray", code="container_not_found")
        await self._engine.delete(engine_key)
        await self._forget(engine_key)

    async def _forget(self, engine_key: str) -> None:
        async with self._database.transaction() as tx:
            await tx.quarantine.leave(engine_key)

    def _row(self, seen: Observation, user: UserRow, now: datetime) -> ContainerRow:
        key = str(uuid.uuid4())
        return ContainerRow(
            id=key, user_id=user.id, name=generate(), image=offered.CUSTOM, custom_image=seen.image or "unknown",
            role=None, shell=offered.shell_options({}, offered.CUSTOM, None),
            limits=seen.limits or Limits(memory_mb=256, cpu_millis=250, disk_mb=1024),
            environment=self._secrets.seal({}, key), environment_names=(), labels={}, user="root",
            status=Status.STOPPED, target=Target.STOPPED, stage=Stage.READY, progress=100, reason=None,
            message=_ADOPTED, enforced=seen.enforced, degraded=(), engine=self._engine.name, host=self._engine.host,
            engine_key=seen.engine_key, engine_id=seen.engine_id, ip_address=None, created_at=now,
            started_at=seen.started_at, last_used_at=None, expires_at=None, deleted_at=None, settled_at=now, attempts=0,
            version=1, claimed_by=None, claimed_until=None,
        )  # fmt: skip


async def _owner(tx: Transaction, name: str | None) -> UserRow:
    if name is not None:
        user = await tx.users.by_username(name)
    else:
        user = next((found for found in await tx.users.list(_USERS, None) if found.is_admin), None)
    if user is None:
        raise NotFound(f"there is no user {name}" if name else "there is no admin yet", code="user_not_found")
    return user
