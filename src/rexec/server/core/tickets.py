"""Tickets: a way in for what can send no header, for one path and one minute."""

from __future__ import annotations

import hmac
from dataclasses import replace
from datetime import timedelta

from rexec.errors import Unauthenticated
from rexec.server.core.access import Access
from rexec.server.core.clock import Clock
from rexec.server.ports.records import Principal

LIFE = timedelta(seconds=60)


class Tickets:
    """Signed with the sessions' key, so that any replica takes them; nothing is stored. A ticket ends with the token or
    the session that it was made with."""

    def __init__(self, clock: Clock, access: Access) -> None:
        self._clock = clock
        self._access = access

    def make(self, principal: Principal, path: str) -> str:
        """`path` without its query."""
        claims = {
            "sid": principal.session_id,
            "tid": principal.token_id,
            "path": path.partition("?")[0],
            "scopes": sorted(principal.scopes - {"admin", "tokens"}),
        }
        return self._access.sign("ticket", claims, self._clock() + LIFE)

    async def redeem(self, ticket: str, path: str) -> Principal:
        """Raises `Unauthenticated` for another path, too."""
        claims = self._access.claims(ticket, "ticket")
        if not hmac.compare_digest(str(claims.get("path")).encode(), path.encode()):
            raise Unauthenticated("this ticket is for another path", code="invalid_token")
        principal = await self._access.holder(claims.get("sid"), claims.get("tid"))
        return replace(principal, scopes=principal.scopes & frozenset(claims.get("scopes", ())))
