"""Users, guests, sessions and API tokens."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rexec.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from rexec.server.core.access import (
    ALL_BUT_ADMIN,
    GUEST_SCOPES,
    SCOPES,
    Access,
    digest,
    principal_of,
)
from rexec.server.core.clock import Clock, rfc3339
from rexec.server.core.tiers import SMALLEST, Tiers
from rexec.server.ports.records import Principal, SessionRow, TokenRow, UserRow
from rexec.server.ports.store import Database, Transaction

ADMIN = "admin"
_PREFIX = 12
_ACCESS = timedelta(minutes=15)
_SESSION = timedelta(days=30)
_MOST_TOKENS = 100


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`token` is short-lived; `refresh_token` gets the next one, once."""

    user: UserRow
    token: str
    refresh_token: str
    expires_at: datetime
    session_ends_at: datetime


def describe_user(user: UserRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": user.id, "username": user.username, "tier": user.tier, "is_admin": user.is_admin,
        "guest": user.is_guest, "created_at": rfc3339(user.created_at), "disabled": user.disabled_at is not None,
    }  # fmt: skip
    if user.email is not None:
        shown["email"] = user.email
    if user.expires_at is not None:
        shown["expires_at"] = rfc3339(user.expires_at)
    return shown


def describe_token(token: TokenRow) -> dict[str, Any]:
    times = {"expires_at": token.expires_at, "last_used_at": token.last_used_at}
    return {
        "id": token.id, "name": token.name, "prefix": token.prefix, "scopes": sorted(token.scopes),
        "created_at": rfc3339(token.created_at),
        **{name: rfc3339(at) if at else None for name, at in times.items()},
    }  # fmt: skip


class Accounts:
    def __init__(
        self, database: Database, clock: Clock, access: Access, tiers: Tiers, *, default_tier: str, guest_seconds: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._access = access
        self._tiers = tiers
        self._default_tier = default_tier
        self._guest_seconds = guest_seconds

    async def bootstrap(self, given: str | None, *, reset: bool = False) -> str | None:
        """Make the first admin; its token when one was made now (`given`, or a new one), else None. With `given` or
        `reset`, older admin tokens of this kind end."""
        now = self._clock()
        async with self._database.transaction() as tx:
            admin = await tx.users.by_username(ADMIN)
            if admin is None:
                admin = _user(ADMIN, None, "enterprise", now, is_admin=True)
                await tx.users.insert(admin)
            await tx.users.lock(admin.id)
            present = [token for token in await tx.tokens.list(admin.id) if token.name == ADMIN]
            if given is None and present and not reset:
                return None
            if given is not None and any(token.digest == digest(given) for token in present):
                return None
            for token in present:
                await tx.tokens.revoke(admin.id, token.id, now)
            made = given or _api_token()
            await tx.tokens.insert(_token(admin.id, ADMIN, made, frozenset(SCOPES), now, None))
        self._access.forget()
        return made

    async def guest(self, username: str, email: str | None, returning: Principal | None) -> tuple[SignedIn, bool]:
        """A new guest, or the one that proves itself with its own token; and whether it came back."""
        now = self._clock()
        async with self._database.transaction() as tx:
            if returning is not None and returning.is_guest:
                user = await tx.users.get(returning.user_id)
                if user is not None and user.username == username:
                    return await self._sign_in(tx, user, GUEST_SCOPES, user.expires_at or now), True
            ends = now + timedelta(seconds=self._guest_seconds)
            user = _user(username, email, "guest", now, is_guest=True, expires_at=ends)
            await tx.users.insert(user)
            return await self._sign_in(tx, user, GUEST_SCOPES, ends), False

    async def sign_in(self, principal: Principal, user_agent: str | None) -> SignedIn:
        now = self._clock()
        async with self._database.transaction() as tx:
            user = _found(await tx.users.get(principal.user_id))
            ends = min(at for at in (now + _SESSION, user.expires_at) if at is not None)
            return await self._sign_in(tx, user, principal.scopes, ends, user_agent)

    async def refresh(self, refresh_token: str) -> SignedIn:
        """Raises `Unauthenticated`; a refresh token that was used before ends its session (it was stolen)."""
        session_id, _, secret = refresh_token.partition(".")
        now, fresh = self._clock(), secrets.token_urlsafe(32)
        async with self._database.transaction() as tx:
            found = await tx.sessions.get(session_id)
            if found is None or not secret:
                raise Unauthenticated("Invalid or expired token", code="invalid_token")
            session, user = found
            rotated = await tx.sessions.rotate(session_id, digest(secret), digest(fresh), now)
            if not rotated:
                await tx.sessions.revoke(session_id, now)
        if not rotated or user.disabled_at is not None:
            self._access.forget()
            raise Unauthenticated("Invalid or expired token", code="invalid_token")
        return self._signed(user, session.id, fresh, session.expires_at)

    async def sign_out(self, principal: Principal, session_id: str | None = None) -> None:
        ending = session_id or principal.session_id
        if ending is None:
            return
        async with self._database.transaction() as tx:
            found = await tx.sessions.get(ending)
            if found is None or found[0].user_id != principal.user_id:
                raise NotFound("session not found", code="session_not_found")
            await tx.sessions.revoke(ending, self._clock())
            tx.after_commit(f"user:{principal.user_id}")
        self._access.forget()

    async def sessions(self, principal: Principal) -> list[SessionRow]:
        async with self._database.reading() as tx:
            return await tx.sessions.list(principal.user_id, self._clock())

    async def tokens(self, principal: Principal) -> list[TokenRow]:
        async with self._database.reading() as tx:
            return await tx.tokens.list(principal.user_id)

    async def make_token(
        self, principal: Principal, name: str, scopes: Collection[str] | None, expires_in: int | None
    ) -> tuple[TokenRow, str]:
        """From a session or with `admin`, never with more than its maker's scopes."""
        wanted = frozenset(principal.scopes - {"admin"} if scopes is None else scopes)
        unknown = sorted(wanted - set(SCOPES))
        if unknown:
            message = f"there is no scope {unknown[0]}"
            raise Invalid(message, details=[{"field": "scopes", "message": message}], scopes=list(SCOPES))
        if principal.session_id is None and "admin" not in principal.scopes:
            raise Forbidden("a token is made from a session or by an admin", code="session_required")
        if not wanted <= principal.scopes:
            lacking = sorted(wanted - principal.scopes)
            raise Forbidden("a token cannot have more scopes than its maker", code="scope_required", scope=lacking[0])
        now, made = self._clock(), _api_token()
        ends = None if expires_in is None else now + timedelta(seconds=expires_in)
        row = _token(principal.user_id, name, made, wanted, now, ends)
        async with self._database.transaction() as tx:
            await tx.users.lock(principal.user_id)
            if len(await tx.tokens.list(principal.user_id)) >= _MOST_TOKENS:
                raise Conflict(f"at most {_MOST_TOKENS} tokens: delete one first", code="too_many_tokens")
            await tx.tokens.insert(row)
        return row, made

    async def revoke_token(self, principal: Principal, token_id: str) -> None:
        async with self._database.transaction() as tx:
            if not await tx.tokens.revoke(principal.user_id, token_id, self._clock()):
                raise NotFound("token not found", code="token_not_found")
            tx.after_commit(f"user:{principal.user_id}")
        self._access.forget()

    async def profile(self, principal: Principal) -> dict[str, Any]:
        async with self._database.reading() as tx:
            user = _found(await tx.users.get(principal.user_id))
            used = await tx.containers.count(principal.user_id)
        tier = self._tiers.of(principal.tier)
        ranges = self._tiers.ranges(principal)
        sizes = {
            wire: {"default": ranges[field].default, "max": ranges[field].max, "min": getattr(SMALLEST, field)}
            for wire, field in (("memory_mb", "memory_mb"), ("cpu_shares", "cpu_millis"), ("disk_mb", "disk_mb"))
        }
        limits = {
            "containers": self._tiers.container_limit(principal),
            **sizes,
            "session_seconds": None if principal.is_admin else tier.session_seconds,
            "creates_per_minute": None if principal.is_admin else tier.creates_per_minute,
            "requests_per_minute": None if principal.is_admin else tier.requests_per_minute,
            "sockets": tier.sockets,
            "terminals": tier.terminals,
        }
        shown = {"user": describe_user(user), "scopes": sorted(principal.scopes), "limits": limits}
        return {**shown, "usage": {"containers": used}}

    async def users(self, limit: int, after: str | None) -> list[UserRow]:
        async with self._database.reading() as tx:
            return await tx.users.list(limit, after)

    async def user(self, user_id: str) -> UserRow:
        async with self._database.reading() as tx:
            return _found(await tx.users.get(user_id))

    async def make_user(
        self, username: str, email: str | None, tier: str | None, *, is_admin: bool
    ) -> tuple[UserRow, str]:
        """With a first token of all scopes that it may have."""
        self._tiers.of(tier or self._default_tier)
        now, made = self._clock(), _api_token()
        user = _user(username, email, tier or self._default_tier, now, is_admin=is_admin)
        scopes = frozenset(SCOPES) if is_admin else ALL_BUT_ADMIN
        async with self._database.transaction() as tx:
            same = await tx.users.by_username(username)
            if same is not None and not same.is_guest:
                raise Conflict("this user name is taken", code="name_taken", name=username)
            await tx.users.insert(user)
            await tx.tokens.insert(_token(user.id, "first", made, scopes, now, None))
        return user, made

    async def change_user(self, principal: Principal, user_id: str, tier: str | None, disabled: bool | None) -> UserRow:
        changes: dict[str, Any] = {}
        if tier is not None:
            self._tiers.of(tier)
            changes["tier"] = tier
        if disabled is not None:
            if user_id == principal.user_id and disabled:
                raise Conflict("an admin cannot disable itself", code="wrong_state")
            changes["disabled_at"] = self._clock() if disabled else None
        async with self._database.transaction() as tx:
            user = await tx.users.update(user_id, **changes) if changes else await tx.users.get(user_id)
            tx.after_commit(f"user:{user_id}")
        self._access.forget()
        return _found(user)

    async def _sign_in(
        self, tx: Transaction, user: UserRow, scopes: frozenset[str], ends: datetime, user_agent: str | None = None
    ) -> SignedIn:
        now, secret, session_id = self._clock(), secrets.token_urlsafe(32), secrets.token_hex(16)
        allowed = principal_of(user, scopes).scopes
        await tx.sessions.insert(
            SessionRow(session_id, user.id, digest(secret), allowed, now, ends, now, None, (user_agent or "")[:255])
        )
        return self._signed(user, session_id, secret, ends)

    def _signed(self, user: UserRow, session_id: str, secret: str, ends: datetime) -> SignedIn:
        expires = ends if user.is_guest else min(ends, self._clock() + _ACCESS)
        token = self._access.sign("session", {"sub": user.id, "sid": session_id}, expires)
        return SignedIn(user, token, f"{session_id}.{secret}", expires, ends)

    def cookie(self, signed: SignedIn) -> str:
        """A token for the cookie: as long as the session, which every request looks up."""
        session_id = signed.refresh_token.partition(".")[0]
        return self._access.sign("session", {"sub": signed.user.id, "sid": session_id}, signed.session_ends_at)


def _user(username: str, email: str | None, tier: str, now: datetime, **flags: Any) -> UserRow:
    given = {"is_admin": False, "is_guest": False, "expires_at": None, **flags}
    return UserRow(
        id=f"usr_{secrets.token_hex(10)}", username=username, email=email, tier=tier, created_at=now,
        disabled_at=None, last_seq=0, **given,
    )  # fmt: skip


def _api_token() -> str:
    return f"rexec_{secrets.token_hex(32)}"


def _token(
    user_id: str, name: str, text: str, scopes: frozenset[str], now: datetime, ends: datetime | None
) -> TokenRow:
    return TokenRow(
        id=f"tok_{secrets.token_hex(10)}", user_id=user_id, name=name, digest=digest(text), prefix=text[:_PREFIX],
        scopes=scopes, created_at=now, expires_at=ends, last_used_at=None, revoked_at=None,
    )  # fmt: skip


def _found(user: UserRow | None) -> UserRow:
    if user is None:
        raise NotFound("user not found", code="user_not_found")
    return user
