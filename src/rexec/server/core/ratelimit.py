"""Rate limits in fixed windows of a minute, kept together by all replicas.

A server takes what it may spend from the shared counter in blocks, so that most requests cost no transaction; a block
is a twentieth of the limit, which is how far replicas can be wrong about one another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rexec.errors import RateLimited
from rexec.server.core.clock import Clock
from rexec.server.ports.store import Database, Transaction

WINDOW = 60
_BLOCKS = 20
_MOST_KEYS = 20_000


@dataclass(slots=True)
class _Purse:
    window: int
    left: int = 0
    shared: int = 0
    """What is left in the shared counter, as last seen."""


@dataclass(frozen=True, slots=True)
class Allowance:
    limit: int
    remaining: int


class RateLimits:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._purses: dict[str, _Purse] = {}

    async def spend(self, key: str, limit: int) -> Allowance:
        """One request of `key`. Raises `RateLimited`."""
        window, _ = self._window()
        purse = self._purses.get(key)
        if purse is None or purse.window != window:
            if len(self._purses) >= _MOST_KEYS:
                self._purses.clear()
            purse = self._purses[key] = _Purse(window, shared=limit)
        if purse.left <= 0:
            await self._take(key, purse, limit)
        if purse.left <= 0:
            raise self.refusal(limit)
        purse.left -= 1
        return Allowance(limit, purse.left + purse.shared)

    async def spend_in(self, tx: Transaction, key: str, limit: int) -> None:
        """One of something rare, within the transaction that does it: what is rolled back does not count."""
        window, ends = self._window()
        if await tx.counters.hit(key, window, 1, ends) > limit:
            raise self.refusal(limit)

    def refusal(self, limit: int) -> RateLimited:
        _, ends = self._window()
        wait = max(1, int((ends - self._clock()).total_seconds()) + 1)
        return RateLimited("rate limit exceeded", retry_after=wait, limit=limit)

    async def _take(self, key: str, purse: _Purse, limit: int) -> None:
        if purse.shared <= 0:
            return
        window, ends = self._window()
        block = max(1, limit // _BLOCKS)
        async with self._database.transaction() as tx:
            taken = await tx.counters.hit(key, window, block, ends)
        purse.left += min(block, max(0, limit - (taken - block)))
        purse.shared = max(0, limit - taken)

    def _window(self) -> tuple[int, datetime]:
        window = int(self._clock().timestamp()) // WINDOW
        return window, datetime.fromtimestamp((window + 1) * WINDOW, UTC)
