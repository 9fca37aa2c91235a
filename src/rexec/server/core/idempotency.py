"""`Idempotency-Key`: the same request again gets the first answer again, through a crash as well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rexec.errors import Conflict, Invalid
from rexec.server.core.clock import Clock
from rexec.server.ports.records import IdempotencyRow, Principal
from rexec.server.ports.store import Database, Transaction

LIFE = timedelta(hours=24)
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Remembered:
    """An answer that was given before. `answer` is None when the server died between the commit and its answer: then
    `subject` names what was made."""

    status: int | None
    answer: dict[str, Any] | None
    subject: str | None


class Idempotency:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._running: set[tuple[str, str]] = set()
        """What this server works on: a row that is neither finished nor here was left by a crash."""

    async def begin(self, principal: Principal, key: str, path: str, body: bytes, *, secret: bool) -> Remembered | None:
        """None: go on, then `finish` or `forget`. Raises `Conflict` (`in_progress`, `key_reused`, `already_done`)."""
        if not 1 <= len(key) <= _LONGEST_KEY or not key.isprintable():
            raise Invalid(f"Idempotency-Key must have 1 to {_LONGEST_KEY} printable characters")
        now = self._clock()
        row = IdempotencyRow(principal.user_id, key, path, hashlib.sha256(body).digest(), None, None, secret, None, now)
        if (principal.user_id, key) in self._running:
            raise Conflict("the first request with this key still runs", code="in_progress")
        self._running.add((principal.user_id, key))
        try:
            return await self._begin(row)
        except BaseException:
            self._running.discard((principal.user_id, key))
            raise

    async def _begin(self, row: IdempotencyRow) -> Remembered | None:
        async with self._database.transaction() as tx:
            first = await tx.idempotency.begin(row)
            if first is not None and row.created_at - first.created_at > LIFE:
                await tx.idempotency.forget(row.user_id, row.key)
                first = await tx.idempotency.begin(row)
        if first is None:
            return None
        if (first.path, first.body_digest) != (row.path, row.body_digest):
            raise Conflict("this key was used for another request", code="key_reused")
        if first.status is None and first.subject is None:
            return None
        self._running.discard((row.user_id, row.key))
        if first.secret:
            raise Conflict("this was done; its answer held a secret and is not told again", code="already_done")
        return Remembered(first.status, first.answer, first.subject)

    async def tie(self, tx: Transaction, principal: Principal, key: str, subject: str) -> None:
        """What is made, in the transaction that makes it."""
        await tx.idempotency.subject(principal.user_id, key, subject)

    async def finish(self, principal: Principal, key: str, status: int, answer: Mapping[str, Any] | None) -> None:
        async with self._database.transaction() as tx:
            await tx.idempotency.finish(principal.user_id, key, status, answer)
        self._running.discard((principal.user_id, key))

    async def forget(self, principal: Principal, key: str) -> None:
        """It failed: it may be tried again."""
        async with self._database.transaction() as tx:
            await tx.idempotency.forget(principal.user_id, key)
        self._running.discard((principal.user_id, key))
