"""What users do with containers. Requests write rows and targets; only the reconciler acts on the engine."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rexec.errors import Conflict, NotFound, RexecError, TimedOut, Unavailable, Unsupported
from rexec.server.core import catalogue as offered
from rexec.server.core.admission import Admission
from rexec.server.core.catalogue import Catalogue
from rexec.server.core.clock import Clock
from rexec.server.core.describe import describe
from rexec.server.core.events import PROGRESS, progress_of
from rexec.server.core.host import Host
from rexec.server.core.lifecycle import check, tell, transition, wrong_state
from rexec.server.core.recent import Recent
from rexec.server.core.secrets import Secrets
from rexec.server.core.tiers import Tiers
from rexec.server.core.wanted import Changes, NewContainer, new_row
from rexec.server.ports.bus import Bus
from rexec.server.ports.engine import Engine
from rexec.server.ports.records import (
    ContainerRow,
    Enforced,
    Feature,
    Limits,
    Principal,
    Reason,
    Stage,
    Status,
    Target,
)
from rexec.server.ports.store import ContainerFilter, Database, Transaction

_WAKE_TIMEOUT = 30.0
_TOLD_WITHIN = 5.0
_ALIVE = (Status.RUNNING, Status.PAUSED)
_MOVING = (Status.CREATING, Status.STARTING, Status.STOPPING)

BeforeCommit = Callable[[Transaction, ContainerRow], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a start went: whether the engine's object had to be made again, and what became of the data."""

    recreated: bool = False
    data_kept: bool = True


class Containers:
    def __init__(
        self,
        database: Database,
        bus: Bus,
        engine: Engine,
        clock: Clock,
        *,
        host: Host,
        tiers: Tiers,
        catalogue: Catalogue,
        secrets: Secrets,
    ) -> None:
        self._database = database
        self._bus = bus
        self._engine = engine
        self._clock = clock
        self._host = host
        self._tiers = tiers
        self._admission = Admission(tiers)
        self._catalogue = catalogue
        self._secrets = secrets
        self._recent = Recent(bus, self.find)
        self.used: dict[str, datetime] = {}
        """Last uses that the reconciler has yet to write down."""

    async def create(
        self, principal: Principal, wanted: NewContainer, *, before_commit: BeforeCommit | None = None
    ) -> ContainerRow:
        """One transaction; `before_commit` takes part in it. Raises in the contract's order: `Invalid`, `Forbidden`,
        `Conflict` (`name_taken`), `LimitReached`, what `before_commit` raises, `OutOfSpace` or `Unavailable`."""
        image, limits = self.check(principal, wanted)
        offered.permit(principal, image)
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.users.lock(principal.user_id)
            row = self._row(
                principal, wanted, image, limits, await self._admission.name(tx, principal, wanted.name), now
            )
            await self._admission.room(tx, principal)
            if before_commit is not None:
                await before_commit(tx, row)
            offered.check_host(image)
            self._tiers.check_host()
            await tx.containers.insert(row)
            await tell(tx, row, "container_created", describe(row, now), now)
            await tell(tx, row, PROGRESS, progress_of(row), now)
            tx.after_commit("work")
        return row

    def check(self, principal: Principal, wanted: NewContainer) -> tuple[str, Limits]:
        """The image in the catalogue's spelling, and the limits. Raises `Invalid` for what can never work."""
        self._catalogue.check_role(wanted.role)
        image = self._catalogue.resolve(principal, wanted.image, wanted.custom_image)
        sizes = {"memory_mb": wanted.memory_mb, "cpu_millis": wanted.cpu_millis, "disk_mb": wanted.disk_mb}
        return image, self._tiers.admit(principal, sizes)

    async def find(self, principal: Principal, reference: str) -> ContainerRow:
        async with self._database.reading() as tx:
            return await self._find(tx, principal, reference)

    async def page(
        self, principal: Principal, wanted: ContainerFilter, *, everyone: bool = False
    ) -> list[ContainerRow]:
        """One's own; with `everyone`, for admins, all there are."""
        owner = None if everyone and principal.is_admin else principal.user_id
        async with self._database.reading() as tx:
            return await tx.containers.list(replace(wanted, user_id=owner))

    def limit(self, principal: Principal) -> int | None:
        return self._admission.limit(principal)

    async def count(self, principal: Principal) -> int:
        async with self._database.reading() as tx:
            return await tx.containers.count(principal.user_id)

    async def start(self, principal: Principal, reference: str, timeout: float) -> tuple[ContainerRow, Outcome]:
        async with self._database.transaction() as tx:
            row = await self._locked(tx, principal, reference)
            idle = row.status not in (Status.RUNNING, Status.PAUSED)
            check(row, "start")
            if row.status in (Status.STOPPED, Status.ERROR):
                owner = await self._admission.owner(tx, principal, row)
                await self._admission.room(tx, owner, again=row)
                now = self._clock()
                target, expires = Target.RUNNING, self._admission.expiry(owner, now)
                row = _current(
                    await transition(
                        tx, row, Status.STARTING, now, target=target, expires_at=expires, stage=Stage.READY
                    )
                )
            elif row.status is Status.PAUSED:
                row = await self._aim(tx, row, Target.RUNNING)
        row = await self._settled(row, Status.RUNNING, timeout)
        recreated = idle and row.reason == Reason.RECREATED
        return row, Outcome(recreated=recreated, data_kept=not recreated)

    async def stop(self, principal: Principal, reference: str, timeout: float) -> ContainerRow:
        async with self._database.transaction() as tx:
            row = await self._locked(tx, principal, reference)
            check(row, "stop")
            if row.status not in (Status.STOPPED, Status.STOPPING):
                row = _current(
                    await transition(tx, row, Status.STOPPING, self._clock(), target=Target.STOPPED, reason=Reason.USER)
                )
        return await self._settled(row, Status.STOPPED, timeout)

    async def pause(self, principal: Principal, reference: str, timeout: float) -> ContainerRow:
        return await self._switch(principal, reference, "pause", Target.PAUSED, timeout)

    async def resume(self, principal: Principal, reference: str, timeout: float) -> ContainerRow:
        return await self._switch(principal, reference, "resume", Target.RUNNING, timeout)

    async def renew(self, principal: Principal, reference: str, seconds: int | None) -> ContainerRow:
        """Raises `Invalid` for more than the tier's session."""
        now = self._clock()
        async with self._database.transaction() as tx:
            row = await self._locked(tx, principal, reference)
            owner = await tx.users.get(row.user_id)
            expires = self._admission.renewal(principal, seconds, now, owner.expires_at if owner else None)
            return await self._change(tx, row, now, expires_at=expires)

    async def change(self, principal: Principal, reference: str, changes: Changes) -> ContainerRow:
        """Raises `Invalid`, `Conflict` (`name_taken`, `memory_in_use`), `Unsupported`."""
        row = await self.find(principal, reference)
        limits = self._changed_limits(principal, row, changes)
        resized = limits != row.limits
        if resized:
            await self._resize(row, limits)
        values: dict[str, Any] = {"limits": limits}
        if changes.name is not None:
            values["name"] = changes.name
        if changes.labels is not None:
            values["labels"] = dict(changes.labels)
        try:
            async with self._database.transaction() as tx:
                row = await self._locked(tx, principal, row.id)
                return await self._change(tx, row, self._clock(), **values)
        except Conflict:
            if resized:
                await self._resize(row, row.limits)
            raise

    async def delete(self, principal: Principal, reference: str) -> ContainerRow:
        """Frees name and count at once; the engine's object goes soon after. Again, by id, is success."""
        now = self._clock()
        async with self._database.transaction() as tx:
            gone = await tx.containers.get(reference)
            if gone is not None and gone.deleted_at and (principal.is_admin or gone.user_id == principal.user_id):
                return gone
            row = await self._locked(tx, principal, reference)
            row = _current(await tx.containers.update(row, deleted_at=now, target=Target.DELETED, attempts=0))
            await tell(tx, row, "container_deleted", describe(row, now), now)
            tx.after_commit("work")
            return row

    async def wait(
        self, container_id: str, until: Callable[[ContainerRow], bool], timeout: float
    ) -> ContainerRow | None:
        """The row as soon as `until` holds; the last one seen when the time is over, None when it is gone."""
        async with self._bus.subscribe(f"container:{container_id}") as subscription:
            row = await self._get(container_id)
            try:
                async with asyncio.timeout(timeout):
                    while row is not None and not until(row):
                        await subscription.wait()
                        row = await self._get(container_id)
            except TimeoutError:
                return row
            return row

    async def running(self, principal: Principal, reference: str) -> ContainerRow:
        """For what goes on inside: a paused one is woken; the use is noted. Raises `Conflict` (`not_running`)."""
        row = await self._recent.find(principal, reference)
        if row.status is Status.PAUSED:
            row = await self.resume(principal, row.id, _WAKE_TIMEOUT)
        if row.status is not Status.RUNNING:
            raise Conflict(f"the container is not running: it is {row.status}", code="not_running", status=row.status)
        self.touch(row)
        return row

    async def after(self, principal: Principal, reference: str, cut: Unavailable) -> RexecError:
        """What a cut of what went on inside means: the container's end, where it came to one, which may be told a
        moment later; else `cut`."""
        if cut.code != "guest_unreachable":
            return cut
        deleted = NotFound("the container was deleted", code="container_not_found", reason="deleted")
        try:
            row = await self.find(principal, reference)
        except NotFound:
            return deleted
        seen = await self.wait(row.id, lambda now: now.status not in _ALIVE or now.deleted_at is not None, _TOLD_WITHIN)
        if seen is None or seen.deleted_at is not None:
            return deleted
        if seen.status in _ALIVE:
            return cut
        why = f"the container is not running: it is {seen.status} ({seen.reason or 'for no known reason'})"
        return Conflict(why, code="not_running", status=str(seen.status), reason=seen.reason)

    def touch(self, row: ContainerRow) -> None:
        self.used[row.id] = self._clock()

    async def logs(self, principal: Principal, reference: str, tail: int) -> bytes:
        row = await self.find(principal, reference)
        if row.engine_id is None:
            return b""
        try:
            return await self._engine.logs(row.engine_key, tail=tail)
        except NotFound:
            return b""

    def environment(self, row: ContainerRow) -> dict[str, str]:
        return self._secrets.open(row.environment, row.id) if row.environment_names else {}

    def describe(self, row: ContainerRow) -> dict[str, Any]:
        used = self.used.get(row.id)
        return describe(replace(row, last_used_at=used) if used else row, self._clock())

    def _row(
        self, principal: Principal, wanted: NewContainer, image: str, limits: Limits, name: str, now: datetime
    ) -> ContainerRow:
        capacity = self._host.capacity()
        key = str(uuid.uuid4())
        return new_row(
            wanted, key,
            user_id=principal.user_id, name=name, image=image, limits=limits,
            environment=self._secrets.seal(wanted.environment, key),
            enforced=capacity.enforced if capacity else Enforced(), engine=self._engine.name, host=self._engine.host,
            created_at=now, expires_at=self._admission.expiry(principal, now),
        )  # fmt: skip

    async def _find(self, tx: Transaction, principal: Principal, reference: str) -> ContainerRow:
        found = await tx.containers.find(principal.user_id, reference)
        if not found and principal.is_admin:
            found = await tx.containers.find(None, reference)
        if not found:
            raise NotFound("container not found", code="container_not_found")
        if len(found) > 1:
            raise Conflict("more than one container begins like that", code="ambiguous", count=len(found))
        return found[0]

    async def _locked(self, tx: Transaction, principal: Principal, reference: str) -> ContainerRow:
        """As `_find`, and nobody else writes for its owner until this transaction ends."""
        row = await self._find(tx, principal, reference)
        await tx.users.lock(row.user_id)
        return _current(await tx.containers.get(row.id))

    async def _aim(self, tx: Transaction, row: ContainerRow, target: Target) -> ContainerRow:
        tx.after_commit("work", f"container:{row.id}")
        return _current(await tx.containers.update(row, target=target))

    async def _change(self, tx: Transaction, row: ContainerRow, now: datetime, **values: Any) -> ContainerRow:
        row = _current(await tx.containers.update(row, **values))
        await tell(tx, row, "container_updated", describe(row, now), now)
        return row

    async def _switch(
        self, principal: Principal, reference: str, verb: str, target: Target, timeout: float
    ) -> ContainerRow:
        if Feature.PAUSE not in self._engine.features:
            raise Unsupported(f"this engine cannot {verb} a container")
        wanted = Status(target)
        async with self._database.transaction() as tx:
            row = await self._locked(tx, principal, reference)
            check(row, verb)
            if row.target is not target:
                row = await self._aim(tx, row, target)
        return await self._settled(row, wanted, timeout)

    async def _settled(self, row: ContainerRow, wanted: Status, timeout: float) -> ContainerRow:
        """Wait until `row` is as wanted, or cannot come there any more."""

        def there(now: ContainerRow) -> bool:
            return now.status is wanted or now.deleted_at is not None or now.status is Status.ERROR or _elsewhere(now)

        def _elsewhere(now: ContainerRow) -> bool:
            return now.status not in _MOVING and str(now.status) == str(now.target)

        seen = await self.wait(row.id, there, timeout)
        if seen is None or seen.deleted_at is not None:
            raise NotFound("container not found", code="container_not_found")
        if seen.status is wanted:
            return seen
        if there(seen):
            raise Conflict(
                seen.message or f"the container is {seen.status}",
                code=seen.reason or "wrong_state",
                status=str(seen.status),
                reason=seen.reason,
            )
        raise TimedOut(f"the container is still {seen.status} after {timeout:g} s", status=str(seen.status))

    async def _resize(self, row: ContainerRow, limits: Limits) -> None:
        """The engine's object, if there is one: where it is gone, the next start makes it by the row."""
        if row.status in (Status.CREATING, Status.STARTING):
            raise wrong_state(row, "resize")
        if row.engine_id is None:
            return
        if Feature.LIVE_RESIZE not in self._engine.features:
            raise Unsupported("this engine cannot change the size of a container")
        try:
            await self._engine.update(row.engine_key, limits)
        except NotFound:
            if row.status in (Status.RUNNING, Status.PAUSED):
                raise Conflict("the engine has lost the container", code="lost") from None

    def _changed_limits(self, principal: Principal, row: ContainerRow, changes: Changes) -> Limits:
        wanted = {"memory_mb": changes.memory_mb, "cpu_millis": changes.cpu_millis}
        given = {name: value for name, value in wanted.items() if value is not None}
        self._tiers.admit(principal, given)
        return replace(row.limits, **given)

    async def _get(self, container_id: str) -> ContainerRow | None:
        async with self._database.reading() as tx:
            return await tx.containers.get(container_id)


def _current(row: ContainerRow | None) -> ContainerRow:
    if row is None:
        raise Conflict("the container was changed meanwhile; try again", code="changed_meanwhile")
    return row
