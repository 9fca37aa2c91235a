"""One transaction: every noun of the store on one connection, and what to say once it has committed."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from rexec.server.ports.store import (
    Containers,
    Counters,
    Events,
    Idempotency,
    Keys,
    Quarantine,
    Sessions,
    Sockets,
    TierChanges,
    Tokens,
    Users,
)
from rexec.server.store.accounts import SqlSessions, SqlTokens, SqlUsers
from rexec.server.store.containers import SqlContainers
from rexec.server.store.events import SqlEvents
from rexec.server.store.ledgers import (
    SqlCounters,
    SqlIdempotency,
    SqlKeys,
    SqlQuarantine,
    SqlSockets,
    SqlTierChanges,
)


class SqlTransaction:
    """Implements `ports.store.Transaction`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.containers: Containers = SqlContainers(connection)
        self.events: Events = SqlEvents(connection)
        self.users: Users = SqlUsers(connection)
        self.tokens: Tokens = SqlTokens(connection)
        self.sessions: Sessions = SqlSessions(connection)
        self.idempotency: Idempotency = SqlIdempotency(connection)
        self.keys: Keys = SqlKeys(connection)
        self.counters: Counters = SqlCounters(connection)
        self.quarantine: Quarantine = SqlQuarantine(connection)
        self.sockets: Sockets = SqlSockets(connection)
        self.tiers: TierChanges = SqlTierChanges(connection)
        self.topics: dict[str, None] = {}

    def after_commit(self, *topics: str) -> None:
        self.topics.update(dict.fromkeys(topics))
