"""`Idempotency-Key`: the same request again gets the first answer again, through a crash as well."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rexec.errors import Conflict, Invalid, Unavailable
from rexec.server.core.clock import Clock
from rexec.server.ports.records import IdempotencyRow, Principal
from rexec.server.ports.store import Database, Transaction

LIFE = timedelta(hours=24)
_LEASE = timedelta(seconds=60)
_RENEW_EVERY = 20.0
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer that was given before. `answer` is None when the server died between the commit and its answer: then
    `subject` names what was made."""

    status: int | None
    answer: dict[str, Any] | None
    subject: str | None


class Idempotency:
    """A request that runs is leased by its server, which renews that while it works. What a killed server left is taken
    over: by itself at once, by another one when the lease is over."""

    def __init__(self, database: Database, clock: Clock, server: str) -> None:
        self._database = database
        self._clock = clock
        self._server = server
        self._running: dict[tuple[str, str], tuple[str, bytes]] = {}
        """Path and body of what this server works on: a row that is its own and not here was left by a crash."""

    async def begin(self, principal: Principal, key: str, path: str, body: bytes, *, secret: bool) -> Remembered | None:
        """None: go on, `working`, then `finish` or `abandon`. Without its `answer`: build it again, then `finish`.
        Raises `Conflict` (`in_progress`, `key_reused`, `already_done`)."""
        if not 1 <= len(key) <= _LONGEST_KEY or not key.isprintable():
            raise Invalid(f"Idempotency-Key must have 1 to {_LONGEST_KEY} printable characters")
        now = self._clock()
        row = IdempotencyRow(
            principal.user_id, key, path, hashlib.sha256(body).digest(), None, None, secret, None, now,
            self._server, now + _LEASE,
        )  # fmt: skip
        mine = (principal.user_id, key)
        if mine in self._running:
            raise _running_still() if self._running[mine] == (path, row.body_digest) else _reused()
        self._running[mine] = (path, row.body_digest)
        try:
            known = await self._begin(row)
        except BaseException:
            del self._running[mine]
            raise
        if known is not None and known.answer is not None:
            del self._running[mine]
        return known

    async def _begin(self, row: IdempotencyRow) -> Remembered | None:
        async with self._database.transaction() as tx:
            first = await tx.idempotency.begin(row)
            if first is not None and row.created_at - first.created_at > LIFE:
                await tx.idempotency.forget(row.user_id, row.key)
                first = await tx.idempotency.begin(row)
            if first is None:
                return None
            if (first.path, first.body_digest) != (row.path, row.body_digest):
                raise _reused()
            if first.status is None:
                if self._held_elsewhere(first, row.created_at):
                    raise _running_still()
                await tx.idempotency.claim(row.user_id, row.key, self._server, row.created_at + _LEASE)
                if first.subject is None:
                    return None
        if first.secret:
            raise Conflict("this was done; its answer held a secret and is not told again", code="already_done")
        return Remembered(first.status, first.answer, first.subject)

    def _held_elsewhere(self, row: IdempotencyRow, now: datetime) -> bool:
        """A lease far ahead of any that is given comes from a clock that was wrong, and binds nobody."""
        until = row.claimed_until
        return row.claimed_by != self._server and until is not None and now < until <= now + 2 * _LEASE

    @asynccontextmanager
    async def working(self, principal: Principal, key: str) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(principal.user_id, key))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            del self._running[principal.user_id, key]

    async def _renew(self, user_id: str, key: str) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            with suppress(Unavailable):
                async with self._database.transaction() as tx:
                    await tx.idempotency.claim(user_id, key, self._server, self._clock() + _LEASE)

    async def tie(self, tx: Transaction, principal: Principal, key: str, subject: str) -> None:
        """What is made, in the transaction that makes it."""
        await tx.idempotency.subject(principal.user_id, key, subject)

    async def finish(self, principal: Principal, key: str, status: int, answer: Mapping[str, Any] | None) -> None:
        async with self._database.transaction() as tx:
            await tx.idempotency.finish(principal.user_id, key, status, answer)

    async def abandon(self, principal: Principal, key: str) -> None:
        """It failed: it may be tried again, unless it had made something."""
        async with self._database.transaction() as tx:
            await tx.idempotency.abandon(principal.user_id, key)


def _running_still() -> Conflict:
    return Conflict("the first request with this key still runs", code="in_progress")


def _reused() -> Conflict:
    return Conflict("this key was used for another request", code="key_reused")
