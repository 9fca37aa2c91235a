"""Tickets: a way in for what can send no header, for one path and one minute."""

from __future__ import annotations

import hmac
from datetime import timedelta

from rexec.errors import Unauthenticated
from rexec.server.core.access import Access, principal_of
from rexec.server.core.clock import Clock
from rexec.server.ports.records import Principal
from rexec.server.ports.store import Database

LIFE = timedelta(seconds=60)


class Tickets:
    """Signed with the sessions' key, so that any replica takes them; nothing is stored."""

    def __init__(self, database: Database, clock: Clock, access: Access) -> None:
        self._database = database
        self._clock = clock
        self._access = access

    def make(self, principal: Principal, path: str) -> str:
        """`path` without its query."""
        claims = {
            "sub": principal.user_id,
            "path": path.partition("?")[0],
            "scopes": sorted(principal.scopes - {"admin", "tokens"}),
        }
        return self._access.sign("ticket", claims, self._clock() + LIFE)

    async def redeem(self, ticket: str, path: str) -> Principal:
        """Raises `Unauthenticated` for another path, too."""
        claims = self._access.claims(ticket, "ticket")
        if not hmac.compare_digest(str(claims.get("path")).encode(), path.encode()):
            raise Unauthenticated("this ticket is for another path", code="invalid_token")
        async with self._database.reading() as tx:
            user = await tx.users.get(str(claims.get("sub")))
        if user is None or user.disabled_at is not None:
            raise Unauthenticated("the account has ended", code="account_ended")
        return principal_of(user, frozenset(claims.get("scopes", ())))
