"""Brings every container to its target. Nobody else acts on the engine.

A row that is not where its target wants it is on the queue; a worker takes a lease on it, asks `plan` and acts. Every
action is idempotent, so that after a crash doing it again is the resume."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any, Self

import structlog

from rexec.errors import NotFound, OutOfSpace, RexecError, Unavailable
from rexec.server.core.clock import Clock
from rexec.server.core.creation import Creation, Superseded
from rexec.server.core.events import PROGRESS
from rexec.server.core.lifecycle import Action, plan, tell, transition
from rexec.server.core.tasks import Tasks
from rexec.server.core.turns import Turns
from rexec.server.ports.bus import Bus
from rexec.server.ports.engine import Engine
from rexec.server.ports.guest import Guests
from rexec.server.ports.records import ContainerRow, Reason, Stage, Status, Target
from rexec.server.ports.store import Database

_log = structlog.get_logger(__name__)
_LEASE = timedelta(seconds=60)
_RENEW = 20.0
_ATTEMPTS = 3
_AWAY_ATTEMPTS = 40
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0
_QUEUE_BATCH = 500


class Reconciler:
    """An async context manager: at work while it is entered. `name` stays the same over restarts of this server, so
    that it finds its own leases again at once."""

    def __init__(
        self, database: Database, bus: Bus, engine: Engine, guests: Guests, clock: Clock, creation: Creation, *,
        name: str, turns: Turns, stop_grace: float,
    ) -> None:  # fmt: skip
        self._database = database
        self._bus = bus
        self._engine = engine
        self._guests = guests
        self._clock = clock
        self._creation = creation
        self._turns = turns
        self._grace = stop_grace
        self._name = name
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self._busy: set[str] = set()
        self._again: set[str] = set()
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._stack = AsyncExitStack()
        self._actions: Mapping[Action, Callable[[ContainerRow], Coroutine[Any, Any, ContainerRow]]] = {
            Action.CREATE: creation.create,
            Action.START: creation.start,
            Action.STOP: self._stop,
            Action.PAUSE: self._pause,
            Action.RESUME: self._resume,
            Action.DELETE: self._delete,
        }

    async def __aenter__(self) -> Self:
        tasks = await self._stack.enter_async_context(Tasks())
        tasks.start(self._feed())
        tasks.start(self._work(tasks))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for handle in self._later.values():
            handle.cancel()
        await self._stack.aclose()

    def busy(self, container_id: str) -> bool:
        """Whether a worker of this server acts on it now."""
        return container_id in self._busy

    def wake(self, container_id: str) -> None:
        """Have a look at this one soon."""
        if container_id not in self._queued:
            self._queued.add(container_id)
            self._queue.put_nowait(container_id)

    async def _feed(self) -> None:
        async with self._bus.subscribe("work") as subscription:
            while True:
                try:
                    async with self._database.reading() as tx:
                        rows = await tx.containers.unsettled(self._clock(), _QUEUE_BATCH, self._name)
                except Unavailable:
                    await asyncio.sleep(1)
                    continue
                for row in rows:
                    if row.id not in self._later or row.target is Target.DELETED:
                        self.wake(row.id)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RENEW):
                        await subscription.wait()

    async def _work(self, tasks: Tasks) -> None:
        while True:
            container_id = await self._queue.get()
            self._queued.discard(container_id)
            if container_id in self._busy:
                self._again.add(container_id)
                continue
            self._busy.add(container_id)
            await self._turns.take()
            tasks.start(self._turn(container_id))

    async def _turn(self, container_id: str) -> None:
        try:
            await self._settle(container_id)
        except Unavailable as error:
            _log.warning("a container has to wait", container_id=container_id, error=error.message)
            self._retry(container_id, 1)
        except Exception:
            _log.exception("a container could not be reconciled", container_id=container_id)
            self._retry(container_id, _ATTEMPTS)
        finally:
            self._turns.end(container_id)
            self._busy.discard(container_id)
            if container_id in self._again:
                self._again.discard(container_id)
                self.wake(container_id)

    async def _settle(self, container_id: str) -> None:
        """Act until nothing is left to do for this container, under a lease."""
        async with self._database.reading() as tx:
            seen = await tx.containers.get(container_id)
        if seen is None or plan(seen.status, seen.target) is Action.NOTHING:
            return
        while True:
            now = self._clock()
            async with self._database.transaction() as tx:
                row = await tx.containers.claim(container_id, self._name, now, now + _LEASE)
            if row is None:
                return
            action = plan(row.status, row.target)
            if action is Action.NOTHING:
                break
            if not await self._act(row, action):
                break
        async with self._database.transaction() as tx:
            await tx.containers.release(container_id, self._name)

    async def _act(self, row: ContainerRow, action: Action) -> bool:
        """Whether to go on with this container at once."""
        log = _log.bind(container_id=row.id, action=str(action))
        acting: asyncio.Task[ContainerRow] = asyncio.create_task(self._actions[action](row))
        guarding = asyncio.create_task(self._guard(row, acting))
        try:
            await asyncio.wait([acting])
        finally:
            acting.cancel()
            guarding.cancel()
            await asyncio.wait([acting, guarding])
        if acting.cancelled():
            log.info("given up: it is wanted otherwise")
            return True
        error = acting.exception()
        if error is None:
            log.info("done", status=str(acting.result().status))
            return True
        if isinstance(error, Superseded):
            return True
        return await self._failed(row, action, error)

    async def _guard(self, row: ContainerRow, acting: asyncio.Task[Any]) -> None:
        """Keep the lease, and end the action when its target is no longer the row's."""
        async with self._bus.subscribe(f"container:{row.id}") as subscription:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RENEW):
                        await subscription.wait()
                now = self._clock()
                with suppress(Unavailable):
                    async with self._database.reading() as tx:
                        seen = await tx.containers.get(row.id)
                    if seen is None or (seen.target is not row.target and seen.target is Target.DELETED):
                        acting.cancel()
                    elif seen.claimed_until is not None and seen.claimed_until - now < _LEASE / 2:
                        async with self._database.transaction() as tx:
                            await tx.containers.claim(row.id, self._name, now, now + _LEASE)

    async def _failed(self, row: ContainerRow, action: Action, error: BaseException) -> bool:
        """Try again later while that may help; else settle the row in `error`. A delete is tried for ever."""
        if not isinstance(error, RexecError):
            _log.error("an action broke", container_id=row.id, action=str(action), exc_info=error)
        async with self._database.reading() as tx:
            now_row = await tx.containers.get(row.id)
        if now_row is None or (now_row.target is Target.DELETED and action is not Action.DELETE):
            return now_row is not None
        attempts = now_row.attempts + 1
        away = isinstance(error, Unavailable) and error.code != Reason.PULL_FAILED
        final = _is_final(error) or attempts >= (_AWAY_ATTEMPTS if away else _ATTEMPTS)
        if final and action is not Action.DELETE:
            await self._give_up(now_row, action, error)
            return False
        async with self._database.transaction() as tx:
            await tx.users.lock(now_row.user_id)
            message = f"Waiting: {_text(error)}"
            updated = await tx.containers.update(now_row, attempts=attempts, message=message)
            if updated is not None and updated.status is Status.CREATING:
                data = {"id": row.id, "stage": str(updated.stage), "message": message, "progress": updated.progress}
                await tell(tx, updated, PROGRESS, data, self._clock())
        self._retry(row.id, attempts)
        return False

    async def _give_up(self, row: ContainerRow, action: Action, error: BaseException) -> None:
        _log.warning("a container failed", container_id=row.id, action=str(action), error=_text(error))
        if action is Action.CREATE:
            with suppress(RexecError):
                await self._engine.delete(row.engine_key)
        with suppress(RexecError):
            await self._guests.forget(row.engine_key)
        now = self._clock()
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            stage = {"stage": Stage.ERROR} if action is Action.CREATE else {}
            moved = await transition(tx, row, Status.ERROR, now, reason=_reason(error), message=_text(error), **stage)
            if moved is not None and action is Action.CREATE:
                data = {"id": row.id, "stage": "error", "message": _text(error), "progress": row.progress}
                await tell(tx, moved, PROGRESS, {**data, "reason": _reason(error)}, now)

    def _retry(self, container_id: str, attempts: int) -> None:
        wait = min(_FIRST_WAIT * 2 ** (attempts - 1), _LONGEST_WAIT)

        def again() -> None:
            self._later.pop(container_id, None)
            self.wake(container_id)

        if container_id not in self._later:
            self._later[container_id] = asyncio.get_running_loop().call_later(wait, again)

    async def _stop(self, row: ContainerRow) -> ContainerRow:
        if row.status is not Status.STOPPING:
            row = await self._move(row, Status.STOPPING, reason=row.reason, message=row.message)
        await self._engine.stop(row.engine_key, self._grace)
        await self._guests.forget(row.engine_key)
        return await self._move(row, Status.STOPPED, reason=row.reason, message=row.message, ip_address=None)

    async def _pause(self, row: ContainerRow) -> ContainerRow:
        await self._engine.pause(row.engine_key)
        return await self._move(row, Status.PAUSED)

    async def _resume(self, row: ContainerRow) -> ContainerRow:
        await self._engine.resume(row.engine_key)
        return await self._move(row, Status.RUNNING)

    async def _delete(self, row: ContainerRow) -> ContainerRow:
        await self._engine.delete(row.engine_key)
        await self._guests.forget(row.engine_key)
        return await self._move(row, Status.DELETED)

    async def _move(self, row: ContainerRow, status: Status, **changes: Any) -> ContainerRow:
        """`transition`, on the newest version of a row that only changed in what does not matter here."""
        async with self._database.transaction() as tx:
            await tx.users.lock(row.user_id)
            newest = await tx.containers.get(row.id)
            if newest is None or newest.status is not row.status:
                raise Superseded
            moved = await transition(tx, newest, status, self._clock(), **changes)
        if moved is None:
            raise Superseded
        return moved


def _is_final(error: BaseException) -> bool:
    return isinstance(error, NotFound | OutOfSpace) or _reason(error) is Reason.SETUP_FAILED


def _reason(error: BaseException) -> Reason:
    code = error.code if isinstance(error, RexecError) else ""
    if isinstance(error, OutOfSpace):
        return Reason.DISK_FULL
    return Reason(code) if code in _REASONS else Reason.ENGINE_ERROR


_REASONS = {Reason.IMAGE_NOT_FOUND, Reason.PULL_FAILED, Reason.SETUP_FAILED, Reason.DISK_FULL, Reason.OUT_OF_MEMORY}


def _text(error: BaseException) -> str:
    return error.message if isinstance(error, RexecError) else "an error inside the server; its log has the details"
