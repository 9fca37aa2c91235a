"""Users, guests, sessions and API tokens."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rexec.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from rexec.server.core.access import (
    GUEST_SCOPES,
    SCOPES,
    Access,
    allowed,
    digest,
    ends,
)
from rexec.server.core.clock import Clock, rfc3339
from rexec.server.ports.records import Principal, SessionRow, TokenRow, UserRow
from rexec.server.ports.store import Database, Transaction

ADMIN = "admin"
_PREFIX = 12
_ACCESS = timedelta(minutes=15)
_SESSION = timedelta(days=30)
_MOST_TOKENS = 100


BeforeCommit = Callable[[Transaction, str], Awaitable[None]]


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
    def __init__(self, database: Database, clock: Clock, access: Access, *, guest_seconds: int) -> None:
        self._database = database
        self._clock = clock
        self._access = access
        self._guest_seconds = guest_seconds

    async def bootstrap(self, given: str | None, *, reset: bool = False) -> str | None:
        """Make the first admin; its token when one was made now (`given`, or a new one), else None. With `given` or
        `reset`, older admin tokens of this kind end. Of two servers that start together one is first."""
        try:
            return await self._bootstrap(given, reset=reset)
        except Conflict:
            return await self._bootstrap(given, reset=reset)

    async def _bootstrap(self, given: str | None, *, reset: bool) -> str | None:
        now = self._clock()
        async with self._database.transaction() as tx:
            admin = await tx.users.by_username(ADMIN)
            if admin is None:
                admin = new_user(ADMIN, None, "enterprise", now, is_admin=True)
                await tx.users.insert(admin)
            await tx.users.lock(admin.id)
            present = [token for token in await tx.tokens.list(admin.id) if token.name == ADMIN]
            if given is None and present and not reset:
                return None
            if given is not None and any(token.digest == digest(given) for token in present):
                return None
            for token in present:
                await tx.tokens.revoke(admin.id, token.id, now)
            ends(tx, admin.id)
            made = given or new_token()
            await tx.tokens.insert(token_row(admin.id, ADMIN, made, frozenset(SCOPES), now, None))
        return made

    async def guest(self, username: str, email: str | None, returning: Principal | None) -> tuple[SignedIn, bool]:
        """A new guest, or the one that proves itself with its own token; and whether it came back."""
        now = self._clock()
        async with self._database.transaction() as tx:
            if returning is not None and returning.is_guest:
                user = await tx.users.get(returning.user_id)
                if user is not None and user.username == username:
                    return await self._sign_in(tx, user, GUEST_SCOPES, user.expires_at or now), True
            until = now + timedelta(seconds=self._guest_seconds)
            user = new_user(username, email, "guest", now, is_guest=True, expires_at=until)
            await tx.users.insert(user)
            return await self._sign_in(tx, user, GUEST_SCOPES, until), False

    async def sign_in(self, principal: Principal, user_agent: str | None) -> SignedIn:
        """The session ends with the token or the session that opens it, whose scopes it has."""
        now = self._clock()
        async with self._database.transaction() as tx:
            user = found(await tx.users.get(principal.user_id))
            token_id = principal.token_id
            if principal.session_id is not None and (opener := await tx.sessions.get(principal.session_id)):
                token_id = opener[0].token_id
            until = min(at for at in (now + _SESSION, principal.ends_at) if at is not None)
            return await self._sign_in(tx, user, principal.scopes, until, user_agent, token_id)

    async def refresh(self, refresh_token: str) -> SignedIn:
        """Raises `Unauthenticated`; a refresh token that was used before ends its session (it was stolen)."""
        session_id, _, secret = refresh_token.partition(".")
        now, fresh = self._clock(), secrets.token_urlsafe(32)
        async with self._database.transaction() as tx:
            held = await tx.sessions.get(session_id)
            if held is None or not secret:
                raise Unauthenticated("Invalid or expired token", code="invalid_token")
            session, user = held
            rotated = await tx.sessions.rotate(session_id, digest(secret), digest(fresh), now)
            if not rotated:
                await tx.sessions.revoke(session_id, now)
                ends(tx, user.id)
        if not rotated or user.disabled_at is not None:
            raise Unauthenticated("Invalid or expired token", code="invalid_token")
        return self._signed(user, session.id, fresh, session.expires_at)

    async def sign_out(self, principal: Principal, session_id: str | None = None) -> None:
        ending = session_id or principal.session_id
        if ending is None:
            return
        async with self._database.transaction() as tx:
            held = await tx.sessions.get(ending)
            if held is None or held[0].user_id != principal.user_id:
                raise NotFound("session not found", code="session_not_found")
            await tx.sessions.revoke(ending, self._clock())
            ends(tx, principal.user_id)

    async def sessions(self, principal: Principal) -> list[SessionRow]:
        async with self._database.reading() as tx:
            return await tx.sessions.list(principal.user_id, self._clock())

    async def tokens(self, principal: Principal) -> list[TokenRow]:
        async with self._database.reading() as tx:
            return await tx.tokens.list(principal.user_id)

    async def make_token(
        self, principal: Principal, name: str, scopes: Collection[str] | None, expires_in: int | None,
        *, before_commit: BeforeCommit | None = None,
    ) -> tuple[TokenRow, str]:  # fmt: skip
        """From a session or with `admin`, never with more than its maker's scopes. `before_commit` takes part."""
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
        now, made = self._clock(), new_token()
        until = None if expires_in is None else now + timedelta(seconds=expires_in)
        row = token_row(principal.user_id, name, made, wanted, now, until)
        async with self._database.transaction() as tx:
            await tx.users.lock(principal.user_id)
            if len(await tx.tokens.list(principal.user_id)) >= _MOST_TOKENS:
                raise Conflict(f"at most {_MOST_TOKENS} tokens: delete one first", code="too_many_tokens")
            await tx.tokens.insert(row)
            if before_commit is not None:
                await before_commit(tx, row.id)
        return row, made

    async def revoke_token(self, principal: Principal, token_id: str) -> None:
        async with self._database.transaction() as tx:
            if not await tx.tokens.revoke(principal.user_id, token_id, self._clock()):
                raise NotFound("token not found", code="token_not_found")
            ends(tx, principal.user_id)

    async def _sign_in(
        self, tx: Transaction, user: UserRow, scopes: frozenset[str], until: datetime, user_agent: str | None = None,
        token_id: str | None = None,
    ) -> SignedIn:  # fmt: skip
        now, secret, session_id = self._clock(), secrets.token_urlsafe(32), secrets.token_hex(16)
        agent = (user_agent or "")[:255]
        await tx.sessions.insert(
            SessionRow(
                session_id, user.id, digest(secret), allowed(user, scopes), now, until, now, None, agent, token_id
            )
        )
        return self._signed(user, session_id, secret, until)

    def _signed(self, user: UserRow, session_id: str, secret: str, until: datetime) -> SignedIn:
        expires = until if user.is_guest else min(until, self._clock() + _ACCESS)
        token = self._access.sign("session", {"sub": user.id, "sid": session_id}, expires)
        return SignedIn(user, token, f"{session_id}.{secret}", expires, until)

    def cookie(self, signed: SignedIn) -> str:
        """A token for the cookie: as long as the session, which every request looks up."""
        session_id = signed.refresh_token.partition(".")[0]
        return self._access.sign("session", {"sub": signed.user.id, "sid": session_id}, signed.session_ends_at)


def new_user(username: str, email: str | None, tier: str, now: datetime, **flags: Any) -> UserRow:
    given = {"is_admin": False, "is_guest": False, "expires_at": None, **flags}
    return UserRow(
        id=f"usr_{secrets.token_hex(10)}", username=username, email=email, tier=tier, created_at=now,
        disabled_at=None, last_seq=0, **given,
    )  # fmt: skip


def new_token() -> str:
    return f"rexec_{secrets.token_hex(32)}"


def token_row(
    user_id: str, name: str, text: str, scopes: frozenset[str], now: datetime, until: datetime | None
) -> TokenRow:
    return TokenRow(
        id=f"tok_{secrets.token_hex(10)}", user_id=user_id, name=name, digest=digest(text), prefix=text[:_PREFIX],
        scopes=scopes, created_at=now, expires_at=until, last_used_at=None, revoked_at=None,
    )  # fmt: skip


def found(user: UserRow | None) -> UserRow:
    if user is None:
        raise NotFound("user not found", code="user_not_found")
    return user
