"""What happens by itself: containers that end, engines that come back, sessions that are over."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Self

import structlog

from rexec.errors import RexecError, Unavailable
from rexec.server.core.access import ends
from rexec.server.core.clock import Clock, rfc3339
from rexec.server.core.containers import Containers
from rexec.server.core.creation import Creation
from rexec.server.core.describe import describe
from rexec.server.core.host import Host
from rexec.server.core.lifecycle import ended, retire, tell, transition
from rexec.server.core.quarantine import Quarantine
from rexec.server.core.reconciler import Reconciler
from rexec.server.core.tasks import Tasks
from rexec.server.core.tiers import Tiers
from rexec.server.ports.bus import Bus
from rexec.server.ports.engine import Engine
from rexec.server.ports.guest import Guests
from rexec.server.ports.records import ContainerRow, Observation, Phase, Reason, Status, Target
from rexec.server.ports.store import ContainerFilter, Database
from rexec.server.settings import Settings

_log = structlog.get_logger(__name__)
_TICK = 1.0
_TRIM_EVERY = 3600.0
_BATCH = 200
_EVENTS = 10_000
_WARNING = timedelta(minutes=5)
_IDEMPOTENCY = timedelta(hours=24)
_ALIVE = (Status.RUNNING, Status.PAUSED)


class Sweep:
    """An async context manager: watches the engine, compares it with the rows, and keeps the clock."""

    def __init__(
        self, database: Database, bus: Bus, engine: Engine, guests: Guests, clock: Clock, *, settings: Settings,
        host: Host, tiers: Tiers, containers: Containers, creation: Creation, reconciler: Reconciler,
        quarantine: Quarantine,
    ) -> None:  # fmt: skip
        self._database = database
        self._bus = bus
        self._engine = engine
        self._guests = guests
        self._clock = clock
        self._settings = settings
        self._host = host
        self._tiers = tiers
        self._containers = containers
        self._creation = creation
        self._reconciler = reconciler
        self._quarantine = quarantine
        self._warned: set[tuple[str, str]] = set()
        self._missed: set[str] = set()
        """Ends that were seen while the reconciler had the container in its hands: looked at again."""
        self._due = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        with suppress(Unavailable):
            await self.sweep()
        tasks = await self._stack.enter_async_context(Tasks())
        tasks.start(self._watch())
        tasks.start(self._sweeps())
        tasks.start(self._ticks())
        tasks.start(self._trims())
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()
        with suppress(RexecError):
            await self._write_uses()

    async def sweep(self) -> None:
        """Compare what the engine has with what is known, both ways. The engine is asked first: a row is there before
        its object, so that an object without a row is nobody's."""
        seen = {observation.engine_key: observation for observation in await self._engine.list()}
        async with self._database.reading() as tx:
            rows = {row.engine_key: row for row in await tx.containers.of_engine(self._engine.name, self._engine.host)}
        for key, row in rows.items():
            if row.status in _ALIVE:
                await self._guests.expect(key)
            observation = seen.get(key)
            if observation is None and row.status in _ALIVE:
                observation = await self._engine.inspect(key)
            if observation is not None:
                await self.observed(observation)
        for key in seen.keys() - rows.keys():
            await self._quarantine.take(seen[key])

    async def observed(self, observation: Observation) -> None:
        """Bring a row up to what the engine was seen to do by itself."""
        if observation.phase in (Phase.EXITED, Phase.MISSING):
            self._creation.ended(observation)
        async with self._database.reading() as tx:
            row = await tx.containers.by_engine_key(observation.engine_key)
        if observation.phase is Phase.MISSING and (row is None or row.deleted_at is not None):
            await self._guests.forget(observation.engine_key)
        if row is None or row.deleted_at is not None:
            return
        if self._reconciler.busy(row.id):
            if observation.phase in (Phase.EXITED, Phase.MISSING):
                self._missed.add(row.engine_key)
            return
        if row.status in _ALIVE:
            await self._alive(row, observation)
        elif row.status in (Status.STOPPED, Status.ERROR) and observation.phase is Phase.RUNNING:
            _log.warning("a container runs that should not: stopping it", container_id=row.id)
            await self._engine.stop(row.engine_key, self._settings.stop_grace)
        elif row.status in (Status.STOPPED, Status.ERROR) and observation.phase is Phase.MISSING:
            await self._lost(row)

    async def _lost(self, row: ContainerRow) -> None:
        """One that did not run is gone as well: a start will rebuild it, and that is told before."""
        if row.engine_id is None or row.reason == Reason.LOST:
            return
        _, reason, message = ended(Observation(row.engine_key, Phase.MISSING))
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            updated = await tx.containers.update(row, reason=reason, message=message)
            if updated is not None:
                event = "container_error" if row.status is Status.ERROR else "container_updated"
                await tell(tx, updated, event, describe(updated, now), now)

    async def _alive(self, row: ContainerRow, observation: Observation) -> None:
        if observation.phase in (Phase.EXITED, Phase.MISSING):
            observation = await self._engine.inspect(row.engine_key)
        if observation.phase in (Phase.EXITED, Phase.MISSING):
            status, reason, message = ended(observation)
            target = Target.RUNNING if status is Status.STARTING else Target.STOPPED
            await self._move(row, status, target, reason=reason, message=message)
            if status is not Status.STARTING:
                await self._guests.forget(row.engine_key)
        elif observation.phase is Phase.PAUSED and row.status is Status.RUNNING and row.target is Target.RUNNING:
            await self._move(row, Status.PAUSED, Target.PAUSED)
        elif observation.phase is Phase.RUNNING and row.status is Status.PAUSED and row.target is Target.PAUSED:
            await self._move(row, Status.RUNNING, Target.RUNNING)

    async def _move(
        self, row: ContainerRow, status: Status, target: Target, reason: str | None = None, message: str | None = None
    ) -> None:
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            moved = await transition(tx, row, status, self._clock(), target=target, reason=reason, message=message)
        if moved is not None:
            _log.info("seen", container_id=row.id, status=str(status), reason=reason)

    async def _watch(self) -> None:
        async for observation in self._engine.watch():
            if observation is None:
                self._due.set()
                continue
            try:
                await self.observed(observation)
            except RexecError as error:
                _log.warning("an observation was lost", engine_key=observation.engine_key, error=error.message)
                self._due.set()

    async def _sweeps(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.sweep_interval):
                    await self._due.wait()
            self._due.clear()
            try:
                await self.sweep()
            except (RexecError, OSError) as error:
                _log.warning("the sweep has to wait", error=str(error))
                await asyncio.sleep(_TICK)
                self._due.set()

    async def _ticks(self) -> None:
        turn = 0
        while True:
            with suppress(RexecError):
                if turn % 5 == 0:
                    await self._host.refresh()
                await self._look_again()
                await self._write_uses()
                await self._expire()
                if turn % 30 == 0:
                    await self.idle()
                    await self._end_guests()
            turn += 1
            await asyncio.sleep(_TICK)

    async def _look_again(self) -> None:
        missed, self._missed = self._missed, set()
        for key in missed:
            await self.observed(await self._engine.inspect(key))

    async def _write_uses(self) -> None:
        used, self._containers.used = self._containers.used, {}
        if used:
            async with self._database.transaction() as tx:
                await tx.containers.touch(used)

    async def _expire(self) -> None:
        now = self._clock()
        async with self._database.reading() as tx:
            rows = await tx.containers.overdue(now + _WARNING, _BATCH)
        for row in rows:
            await self._warn(row)
            if row.expires_at is not None and row.expires_at <= now:
                await self._end(row, Reason.EXPIRED, "The session of this container is over.")

    async def _warn(self, row: ContainerRow) -> None:
        """Once for every end, by whichever server comes first; also when the end is here already, by a clock that
        jumped or a server that was away."""
        ending = (row.id, rfc3339(row.expires_at) if row.expires_at else "")
        if ending in self._warned:
            return
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            told = await tx.events.of_container(row.id, 0, _EVENTS)
            ends = [event.data.get("expires_at") for event in told if event.type == "container_expiring"]
            if ending[1] not in ends:
                await tell(tx, row, "container_expiring", describe(row, now), now)
        self._warned.add(ending)

    async def idle(self) -> None:
        """Stop what nobody used for longer than its owner's tier lets it idle."""
        allowed = {name: self._tiers.of(name).idle_seconds for name in self._tiers.names}
        if not any(allowed.values()):
            return
        now = self._clock()
        async with self._database.reading() as tx:
            rows = await tx.containers.list(ContainerFilter(None, statuses=[Status.RUNNING], limit=10_000))
            owners = {row.user_id: await tx.users.get(row.user_id) for row in rows}
        for row in rows:
            owner = owners[row.user_id]
            seconds = allowed.get(owner.tier) if owner else None
            used = row.last_used_at or row.started_at or row.created_at
            if seconds is not None and now - used > timedelta(seconds=seconds):
                await self._end(row, Reason.IDLE, f"Nobody used this container for {seconds} s.")

    async def _end_guests(self) -> None:
        now = self._clock()
        async with self._database.reading() as tx:
            guests = await tx.users.expired_guests(now, _BATCH)
        for guest in guests:
            async with self._database.transaction() as tx:
                await tx.users.lock(guest.id)
                await tx.users.update(guest.id, disabled_at=now, deleted_at=now)
                await retire(tx, guest.id, Reason.EXPIRED, "The guest's account is over.", now)
                ends(tx, guest.id)

    async def _end(self, row: ContainerRow, reason: Reason, message: str) -> None:
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            aimed = await tx.containers.update(row, target=Target.STOPPED, reason=reason, message=message)
            if aimed is not None:
                tx.after_commit("work", f"container:{row.id}")

    async def _trims(self) -> None:
        while True:
            now = self._clock()
            with suppress(RexecError):
                async with self._database.transaction() as tx:
                    await tx.events.trim(
                        now - timedelta(days=self._settings.event_days), self._settings.events_per_user
                    )
                    await tx.idempotency.trim(now - _IDEMPOTENCY)
                    await tx.counters.trim(now)
                    await tx.sessions.trim(now - timedelta(days=self._settings.event_days))
                    await tx.containers.purge(now - timedelta(seconds=self._settings.error_seconds))
                await self._remove_broken()
            await asyncio.sleep(_TRIM_EVERY)

    async def _remove_broken(self) -> None:
        """What has been in `error` too long goes as if its owner had deleted it."""
        now = self._clock()
        async with self._database.reading() as tx:
            rows = await tx.containers.broken(now - timedelta(seconds=self._settings.error_seconds), _BATCH)
        for row in rows:
            await self._remove(row)

    async def _remove(self, row: ContainerRow) -> None:
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            gone = await tx.containers.update(row, deleted_at=now, target=Target.DELETED, attempts=0)
            if gone is not None:
                await tell(tx, gone, "container_deleted", describe(gone, now), now)
                tx.after_commit("work")
