"""Who asks, and what a token lets it do."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Self

import jwt

from rexec.errors import Forbidden, Unauthenticated, Unavailable
from rexec.models import TOKEN
from rexec.server.core.clock import Clock
from rexec.server.ports.bus import Bus
from rexec.server.ports.records import Principal, SessionRow, TokenRow, UserRow
from rexec.server.ports.store import Database, Transaction

SCOPES = ("containers:read", "containers:write", "exec", "terminal", "files", "ports", "tokens", "admin")
ALL_BUT_ADMIN = frozenset(SCOPES) - {"admin"}
GUEST_SCOPES = ALL_BUT_ADMIN - {"tokens"}
_REMEMBERED_SECONDS = 3.0
_MOST_REMEMBERED = 10_000
_TOUCH_AFTER = timedelta(minutes=1)
_ALGORITHM = "HS256"
_TOPIC = "access"


def digest(token: str) -> bytes:
    """All that is kept of a token; it has 256 random bits, so that one round is enough."""
    return hashlib.sha256(token.encode()).digest()


def allowed(user: UserRow, scopes: frozenset[str]) -> frozenset[str]:
    return scopes if user.is_admin else scopes - {"admin"}


def principal_of(user: UserRow, scopes: frozenset[str], ends_at: datetime | None, **ids: str | None) -> Principal:
    return Principal(
        user.id, user.username, user.tier, user.is_admin, user.is_guest, allowed(user, scopes), user.expires_at,
        ends_at=ends_at, **ids,
    )  # fmt: skip


def account_topic(user_id: str) -> str:
    return f"account:{user_id}"


def ends(tx: Transaction, user_id: str) -> None:
    """Something that lets this user in ends, or changes: every server forgets what it remembers of tokens, and whoever
    holds a socket open looks again."""
    tx.after_commit(_TOPIC, account_topic(user_id))


def require(principal: Principal, scope: str) -> None:
    if scope not in principal.scopes:
        raise Forbidden(f"this token lacks the scope {scope}", code="scope_required", scope=scope)


class Access:
    """What was found out about a token is remembered for a few seconds; `forget` ends that at once on this server. An
    async context manager: while it is open, what any server says by `ends` is heard as well."""

    def __init__(self, database: Database, bus: Bus, clock: Clock, key: bytes) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._key = key
        self._remembered: dict[bytes, tuple[float, Principal]] = {}
        self._turn = 0
        """Grows when something ended: what was read before must not be remembered after."""
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    async def _listen(self) -> None:
        async with self._bus.subscribe(_TOPIC) as subscription:
            while True:
                await subscription.wait()
                self.forget()

    async def authenticate(self, token: str) -> Principal:
        """An API token or a session's. Raises `Unauthenticated`."""
        kept = digest(token)
        known = self._remembered.get(kept)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        seconds = _REMEMBERED_SECONDS
        turn = self._turn
        if re.fullmatch(TOKEN, token):
            principal = await self._api_token(kept)
        else:
            claims = self.claims(token, "session")
            principal = await self.holder(claims.get("sid"), None)
            seconds = min(seconds, claims["exp"] - self._clock().timestamp())
        if principal.ends_at is not None:
            seconds = min(seconds, (principal.ends_at - self._clock()).total_seconds())
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        if turn == self._turn:
            self._remembered[kept] = (time.monotonic() + seconds, principal)
        return principal

    async def holder(self, session_id: str | None, token_id: str | None) -> Principal:
        """Who holds a session, or an API token, as it is now. Raises `Unauthenticated`."""
        async with self._database.reading() as tx:
            if session_id is not None:
                found: tuple[SessionRow | TokenRow, UserRow] | None = await tx.sessions.get(session_id)
            else:
                found = await tx.tokens.get(str(token_id))
        if found is None:
            raise _unknown()
        held, user = found
        ends_at = self._check(held, user)
        return principal_of(user, held.scopes, ends_at, session_id=session_id, token_id=token_id)

    def forget(self) -> None:
        self._turn += 1
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
        ends_at = self._check(token, user)
        now = self._clock()
        if token.last_used_at is None or now - token.last_used_at > _TOUCH_AFTER:
            with suppress(Unavailable):
                async with self._database.transaction() as tx:
                    await tx.tokens.touch(token.id, now)
        return principal_of(user, token.scopes, ends_at, token_id=token.id)

    def _check(self, held: TokenRow | SessionRow, user: UserRow) -> datetime | None:
        """When the one or the other ends by itself."""
        now = self._clock()
        if held.revoked_at is not None:
            raise Unauthenticated("the token was revoked", code="token_revoked")
        if held.expires_at is not None and held.expires_at <= now:
            raise Unauthenticated("the token has expired", code="token_expired")
        if user.disabled_at is not None or (user.expires_at is not None and user.expires_at <= now):
            raise Unauthenticated("the account has ended", code="account_ended")
        return min((at for at in (held.expires_at, user.expires_at) if at is not None), default=None)


def _unknown() -> Unauthenticated:
    return Unauthenticated("Invalid or expired token", code="invalid_token")
