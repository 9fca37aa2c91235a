"""The seam to what is remembered.

One `Database`, one `transaction()` per request. A writing transaction begins as a writer: SQLite with BEGIN IMMEDIATE,
PostgreSQL by locking the user's row first (`users.lock`), so that limits and `seq` are serialised per user.
Times are aware UTC datetimes on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self

from rexec.server.ports.records import (
    ContainerRow,
    EventRow,
    IdempotencyRow,
    SessionRow,
    Status,
    TokenRow,
    UserRow,
)


@dataclass(frozen=True, slots=True)
class ContainerFilter:
    """What a list shows: newest first by (created_at, id), living ones only."""

    user_id: str | None = None
    """None: everybody's (admins)."""
    statuses: Collection[Status] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    limit: int = 1000
    before: tuple[datetime, str] | None = None
    """The (created_at, id) of the last item of the page before."""


class Containers(Protocol):
    """`deleted_at is null` is what "living" means below. A `Conflict` ends the transaction it was raised in."""

    async def insert(self, row: ContainerRow) -> None:
        """Raises `Conflict` (code `name_taken`) when the user has a living container of that name."""

    async def get(self, container_id: str) -> ContainerRow | None:
        """By id, whatever its state, deleted ones too while their row is kept."""

    async def find(self, user_id: str | None, reference: str) -> list[ContainerRow]:
        """Living ones that `reference` names: the first non-empty of id, name, engine id, prefix (≥ 12) of the engine
        id. Within `user_id`'s own; with None by id, engine id or prefix over all users. Two or more mean ambiguous."""

    async def by_engine_key(self, engine_key: str) -> ContainerRow | None:
        """Deleted ones too, while their row is kept."""

    async def count(self, user_id: str) -> int:
        """Living ones that count against the limit: all but those in `error`."""

    async def count_living(self, user_id: str, name: str) -> int:
        """Living ones of that name, 0 or 1."""

    async def update(self, row: ContainerRow, **changes: Any) -> ContainerRow | None:
        """Set columns where id and `row.version` match; returns the new row with version + 1, or None when somebody
        else was first. Accepts the field names of `ContainerRow`. Raises `Conflict` (`name_taken`)."""

    async def touch(self, used: Mapping[str, datetime]) -> None:
        """Set `last_used_at` of many at once, without a new version."""

    async def unsettled(self, now: datetime, limit: int, owner: str) -> list[ContainerRow]:
        """Rows whose status is not what their target wants (deleted ones too) and that nobody but `owner`
        holds a lease on."""

    async def claim(self, container_id: str, owner: str, now: datetime, until: datetime) -> ContainerRow | None:
        """Take or renew the lease; None when another holds it. Does not change the version. One that ends more than two
        minutes from `now` is void: the clock it was taken by has been set back."""

    async def release(self, container_id: str, owner: str) -> None: ...

    async def overdue(self, now: datetime, limit: int) -> list[ContainerRow]:
        """Living rows with `expires_at` ≤ now whose target is running or paused."""

    async def of_engine(self, engine: str, host: str) -> list[ContainerRow]:
        """Every row, deleted-but-present ones too, that this engine may hold an object for."""

    async def purge(self, before: datetime) -> int:
        """Forget rows in status `deleted` whose `deleted_at` is before."""

    async def broken(self, before: datetime, limit: int) -> list[ContainerRow]:
        """Living ones in `error`, settled before."""

    async def list(self, wanted: ContainerFilter) -> list[ContainerRow]: ...


class Events(Protocol):
    async def append(
        self, user_id: str, type: str, container_id: str | None, data: Mapping[str, Any], now: datetime
    ) -> EventRow:
        """Takes the user's next `seq` in this transaction."""

    async def after(self, user_id: str, seq: int, limit: int) -> list[EventRow]: ...

    async def of_container(self, container_id: str, after: int, limit: int) -> list[EventRow]: ...

    async def bounds(self, user_id: str) -> tuple[int, int]:
        """(oldest kept seq, newest seq); (1, 0) when there are none yet."""

    async def trim(self, before: datetime, keep_per_user: int) -> int: ...


class Users(Protocol):
    async def insert(self, row: UserRow) -> None:
        """Raises `Conflict` (`name_taken`) for the name of somebody who is registered."""

    async def get(self, user_id: str) -> UserRow | None: ...

    async def lock(self, user_id: str) -> UserRow | None:
        """As `get`, and nobody else writes for this user until this transaction ends."""

    async def by_username(self, username: str) -> UserRow | None:
        """A registered one that is not deleted; guests share names."""

    async def update(self, user_id: str, **changes: Any) -> UserRow | None: ...

    async def expired_guests(self, now: datetime, limit: int) -> list[UserRow]:
        """Guests past `expires_at` that are not disabled yet."""

    async def list(self, limit: int, after: str | None) -> list[UserRow]:
        """By id."""


class Tokens(Protocol):
    async def insert(self, row: TokenRow) -> None: ...

    async def by_digest(self, digest: bytes) -> tuple[TokenRow, UserRow] | None:
        """With its user, revoked and expired ones too: the caller judges."""

    async def get(self, token_id: str) -> tuple[TokenRow, UserRow] | None: ...

    async def revoke(self, user_id: str, token_id: str, now: datetime) -> bool:
        """With the sessions that were opened with it."""

    async def revoke_all(self, user_id: str, now: datetime) -> None: ...

    async def touch(self, token_id: str, now: datetime) -> None: ...

    async def list(self, user_id: str) -> list[TokenRow]: ...


class Sessions(Protocol):
    async def insert(self, row: SessionRow) -> None: ...

    async def get(self, session_id: str) -> tuple[SessionRow, UserRow] | None: ...

    async def rotate(self, session_id: str, old: bytes, new: bytes, now: datetime) -> bool:
        """Swap the refresh digest; False when `old` is not the one that is valid now."""

    async def revoke(self, session_id: str, now: datetime) -> bool: ...

    async def revoke_all(self, user_id: str, now: datetime) -> None: ...

    async def trim(self, before: datetime) -> int:
        """Forget those that ended before."""

    async def list(self, user_id: str, now: datetime) -> list[SessionRow]: ...


class Idempotency(Protocol):
    async def begin(self, row: IdempotencyRow) -> IdempotencyRow | None:
        """Remember a request; the row that is there already, if there is one, instead."""

    async def claim(self, user_id: str, key: str, server: str, until: datetime) -> None:
        """A server works on it, or still does."""

    async def subject(self, user_id: str, key: str, subject: str) -> None:
        """Tie it to what it creates, in the creating transaction."""

    async def finish(self, user_id: str, key: str, status: int, answer: Mapping[str, Any] | None) -> None: ...

    async def abandon(self, user_id: str, key: str) -> None:
        """A request that failed before it made anything may be tried again with the same key."""

    async def forget(self, user_id: str, key: str) -> None: ...

    async def trim(self, before: datetime) -> int: ...


class Keys(Protocol):
    """Small named secrets that all replicas share: the JWT key, the environment's key, the installation id."""

    async def get_or_create(self, name: str, value: bytes) -> bytes:
        """What is stored under `name`, after storing `value` if nothing was."""


class Quarantine(Protocol):
    """Since when objects that no container is known for have been noticed."""

    async def enter(self, engine_key: str, now: datetime) -> datetime:
        """When it was first noticed: `now` if not before."""

    async def leave(self, engine_key: str) -> None: ...

    async def all(self) -> dict[str, datetime]: ...


class Counters(Protocol):
    """Fixed-window counters for rate limits, shared by replicas."""

    async def hit(self, key: str, window: int, amount: int, expires_at: datetime) -> int:
        """Add and return the new count of (key, window)."""

    async def read(self, key: str, window: int) -> int: ...

    async def trim(self, now: datetime) -> int: ...


class Sockets(Protocol):
    """How many sockets each server holds open for a user, until it says so again or `expires_at`."""

    async def elsewhere(self, user_id: str, server: str, now: datetime) -> int: ...

    async def put(self, user_id: str, server: str, count: int, expires_at: datetime) -> None: ...

    async def replace(self, server: str, counts: Mapping[str, int], expires_at: datetime) -> None:
        """All of one server's."""


class TierChanges(Protocol):
    """What an admin changed about tiers, over the settings."""

    async def all(self) -> dict[str, dict[str, Any]]: ...

    async def put(self, name: str, changes: Mapping[str, Any]) -> None: ...


class Transaction(Protocol):
    containers: Containers
    events: Events
    users: Users
    tokens: Tokens
    sessions: Sessions
    idempotency: Idempotency
    keys: Keys
    counters: Counters
    quarantine: Quarantine
    sockets: Sockets
    tiers: TierChanges

    def after_commit(self, *topics: str) -> None:
        """Publish these topics on the bus once this has committed; nothing when it does not."""


class Database(Protocol):
    """An async context manager; migrated to head by `migrate` before the first transaction."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def ping(self) -> None:
        """Raises `Unavailable` unless the database answers now."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A writing transaction: commits at the end of the block, rolls back on an exception. Transient conflicts
        (`database is locked`, serialisation failures) come out as `Unavailable` with `retry_after`."""

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """A reading one, which never waits for a writer."""
