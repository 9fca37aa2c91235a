"""Who asks, and what a token lets it do."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import datetime, timedelta
from typing import Any

import jwt

from rexec.errors import Forbidden, Unauthenticated
from rexec.server.core.clock import Clock
from rexec.server.ports.records import Principal, SessionRow, TokenRow, UserRow
from rexec.server.ports.store import Database

SCOPES = ("containers:read", "containers:write", "exec", "terminal", "files", "ports", "tokens", "admin")
ALL_BUT_ADMIN = frozenset(SCOPES) - {"admin"}
GUEST_SCOPES = ALL_BUT_ADMIN - {"tokens"}
_API_TOKEN = re.compile(r"rexec_[0-9a-f]{64}", re.ASCII)
_REMEMBERED_SECONDS = 3.0
_MOST_REMEMBERED = 10_000
_TOUCH_AFTER = timedelta(minutes=1)
_ALGORITHM = "HS256"


def digest(token: str) -> bytes:
    """All that is kept of a token; it has 256 random bits, so that one round is enough."""
    return hashlib.sha256(token.encode()).digest()


def principal_of(user: UserRow, scopes: frozenset[str], **ids: str | None) -> Principal:
    allowed = scopes if user.is_admin else scopes - {"admin"}
    return Principal(user.id, user.username, user.tier, user.is_admin, user.is_guest, allowed, user.expires_at, **ids)


def require(principal: Principal, scope: str) -> None:
    if scope not in principal.scopes:
        raise Forbidden(f"this token lacks the scope {scope}", code="scope_required", scope=scope)


class Access:
    """What was found out about a token is remembered for a few seconds; `forget` ends that at once on this server."""

    def __init__(self, database: Database, clock: Clock, key: bytes) -> None:
        self._database = database
        self._clock = clock
        self._key = key
        self._remembered: dict[bytes, tuple[float, Principal]] = {}

    async def authenticate(self, token: str) -> Principal:
        """An API token or a session's. Raises `Unauthenticated`."""
        kept = digest(token)
        known = self._remembered.get(kept)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        if _API_TOKEN.fullmatch(token):
            principal = await self._api_token(kept)
        else:
            principal = await self._session(self.claims(token, "session"))
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[kept] = (time.monotonic() + _REMEMBERED_SECONDS, principal)
        return principal

    def forget(self) -> None:
        self._remembered.clear()

    def sign(self, audience: str, claims: dict[str, Any], expires: datetime) -> str:
        now = self._clock()
        return jwt.encode({**claims, "aud": audience, "iat": now, "exp": expires}, self._key, _ALGORITHM)

    def claims(self, token: str, audience: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                [_ALGORITHM],
                audience=audience,
                options={"require": ["exp", "aud"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise _unknown() from error
        if claims["exp"] <= self._clock().timestamp():
            raise Unauthenticated("the token has expired", code="token_expired")
        return claims

    async def _api_token(self, kept: bytes) -> Principal:
        async with self._database.reading() as tx:
            found = await tx.tokens.by_digest(kept)
        if found is None:
            raise _unknown()
        token, user = found
        self._check(token, user)
        now = self._clock()
        if token.last_used_at is None or now - token.last_used_at > _TOUCH_AFTER:
            async with self._database.transaction() as tx:
                await tx.tokens.touch(token.id, now)
        return principal_of(user, token.scopes, token_id=token.id)

    async def _session(self, claims: dict[str, Any]) -> Principal:
        async with self._database.reading() as tx:
            found = await tx.sessions.get(str(claims.get("sid")))
        if found is None:
            raise _unknown()
        session, user = found
        self._check(session, user)
        return principal_of(user, session.scopes, session_id=session.id)

    def _check(self, held: TokenRow | SessionRow, user: UserRow) -> None:
        now = self._clock()
        if held.revoked_at is not None:
            raise Unauthenticated("the token was revoked", code="token_revoked")
        if held.expires_at is not None and held.expires_at <= now:
            raise Unauthenticated("the token has expired", code="token_expired")
        if user.disabled_at is not None or (user.expires_at is not None and user.expires_at <= now):
            raise Unauthenticated("the account has ended", code="account_ended")


def _unknown() -> Unauthenticated:
    return Unauthenticated("Invalid or expired token", code="invalid_token")
