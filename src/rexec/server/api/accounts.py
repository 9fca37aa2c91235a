"""Signing in, tokens, the profile; users, for admins."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from rexec.answers import accounts as told
from rexec.answers.answer import Shape
from rexec.answers.system import Tier, Tiers
from rexec.errors import Forbidden, Unauthenticated
from rexec.models import ChangeTier, ChangeUser, MakeGuest, MakeTicket, MakeToken, MakeUser, Refresh, SignIn
from rexec.server.api.credentials import COOKIE, find
from rexec.server.api.idempotent import once, tying
from rexec.server.api.problems import Json
from rexec.server.api.routing import P, S, operation
from rexec.server.core.accounts import SignedIn, describe_token, describe_user
from rexec.server.core.clock import rfc3339
from rexec.server.core.services import Services
from rexec.server.core.tickets import LIFE
from rexec.server.ports.records import Principal

router = APIRouter(tags=["accounts"])
_SIGNED_IN: Shape = told.CookieSet | told.SignedIn


def _seconds(services: Services, signed: SignedIn) -> int:
    return round((signed.expires_at - services.clock()).total_seconds())


def _tokens(services: Services, signed: SignedIn) -> dict[str, Any]:
    return {
        "token": signed.token, "refresh_token": signed.refresh_token, "expires_in": _seconds(services, signed),
        "session_expires_at": rfc3339(signed.session_ends_at), "user": describe_user(signed.user),
    }  # fmt: skip


async def _present(request: Request, services: Services) -> Principal | None:
    """Who asks on a public route, if they can be told."""
    found = find(request.scope, request.headers)
    with suppress(Unauthenticated):
        if found.kind in ("token", "cookie"):
            return await services.access.authenticate(found.text)
    return None


@operation(router, "POST", "/api/auth/guest", scope=None, answer=told.GuestIn)
async def guest(request: Request, services: S, body: MakeGuest) -> Response:
    """Become a guest; one that returns proves itself with its token."""
    if not services.settings.guest_accounts:
        raise Forbidden("this server takes no guests", code="guests_disabled")
    returning = await _present(request, services)
    signed, returned = await services.accounts.guest(body.username, body.email, returning)
    limit = services.tiers.of("guest").containers
    message = "Welcome back." if returned else "Welcome. This account and its containers end with the session."
    return Json(
        {
            **_tokens(services, signed),
            "guest": True,
            "returning_guest": returned,
            "containers": limit,
            "message": message,
        }
    )


@operation(
    router, "POST", "/api/auth/session", scope=None, answer=_SIGNED_IN, refuses=("invalid_token",)
)  # fmt: skip
async def sign_in(request: Request, services: S, body: SignIn) -> Response:
    """Sign in with a token.

    For a browser the session comes as a cookie that no script can read; with `cookie: false`, as a short token and one
    to refresh it."""
    principal = await services.access.authenticate(body.token)
    signed = await services.accounts.sign_in(principal, request.headers.get("user-agent"))
    if not body.cookie:
        return Json(_tokens(services, signed))
    answer = Json({"user": describe_user(signed.user), "session_expires_at": rfc3339(signed.session_ends_at)})
    age = int((signed.session_ends_at - services.clock()).total_seconds())
    answer.set_cookie(
        COOKIE, services.accounts.cookie(signed), max_age=age, path="/", httponly=True, samesite="strict",
        secure=_secure(request, services),
    )  # fmt: skip
    return answer


@operation(router, "DELETE", "/api/auth/session", scope=None, answer=told.Done)
async def sign_out(request: Request, services: S) -> Response:
    """End the session that asks; without one there is nothing to do."""
    principal = await _present(request, services)
    if principal is not None:
        await services.accounts.sign_out(principal)
    answer = Json({"message": "signed out"})
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=_secure(request, services))
    return answer


@operation(router, "POST", "/api/auth/refresh", scope=None, answer=told.SignedIn, refuses=("invalid_token",))
async def refresh(services: S, body: Refresh) -> Response:
    """The next short token; a refresh token works once."""
    return Json(_tokens(services, await services.accounts.refresh(body.refresh_token)))


@operation(router, "GET", "/api/profile", scope="containers:read", answer=told.Profile)
async def profile(services: S, principal: P) -> Response:
    """Who one is, what one may use, and what one uses."""
    return Json(await services.profiles.of(principal))


@operation(router, "GET", "/api/sessions", scope="tokens", answer=told.Sessions)
async def sessions(services: S, principal: P) -> Response:
    """List one's sessions."""
    rows = await services.accounts.sessions(principal)
    shown = [
        {
            "id": row.id, "created_at": rfc3339(row.created_at), "expires_at": rfc3339(row.expires_at),
            "last_used_at": rfc3339(row.last_used_at), "user_agent": row.user_agent,
            "current": row.id == principal.session_id,
        }
        for row in rows
    ]  # fmt: skip
    return Json({"sessions": shown, "count": len(shown)})


@operation(
    router, "DELETE", "/api/sessions/{session}", scope="tokens", answer=told.Removed, refuses=("session_not_found",)
)  # fmt: skip
async def end_session(services: S, principal: P, session: str) -> Response:
    """End one of one's sessions."""
    await services.accounts.sign_out(principal, session)
    return Json({"message": "session ended", "id": session})


@operation(router, "GET", "/api/tokens", scope="tokens", answer=told.Tokens)
async def tokens(services: S, principal: P) -> Response:
    """List one's API tokens, without their text."""
    shown = [describe_token(row) for row in await services.accounts.tokens(principal)]
    return Json({"tokens": shown, "count": len(shown)})


@operation(
    router, "POST", "/api/tokens", scope="tokens", answer={201: told.TokenMade}, creates=True,
    refuses=("session_required", "too_many_tokens"),
)  # fmt: skip
async def make_token(request: Request, services: S, principal: P, body: MakeToken) -> Response:
    """Make an API token; its text is shown this once."""

    async def work() -> tuple[int, dict[str, Any]]:
        row, made = await services.accounts.make_token(
            principal, body.name, body.scopes, body.expires_in, before_commit=tying(request, services, principal)
        )
        return 201, {**describe_token(row), "token": made}

    return await once(request, services, principal, work, secret=True)


@operation(router, "DELETE", "/api/tokens/{token}", scope="tokens", answer=told.Removed, refuses=("token_not_found",))
async def revoke_token(services: S, principal: P, token: str) -> Response:
    """End an API token."""
    await services.accounts.revoke_token(principal, token)
    return Json({"message": "token deleted", "id": token})


@operation(router, "POST", "/api/tickets", scope="containers:read", answer={201: told.Ticket}, creates=True)
async def ticket(request: Request, services: S, principal: P, body: MakeTicket) -> Response:
    """A way in for what can send no header: one path, one minute."""

    async def work() -> tuple[int, dict[str, Any]]:
        made = services.tickets.make(principal, body.path)
        return 201, {"ticket": made, "path": body.path, "expires_in": int(LIFE.total_seconds())}

    return await once(request, services, principal, work, secret=True)


@operation(router, "GET", "/api/admin/users", scope="admin", answer=told.Users)
async def users(
    services: S, principal: P, limit: Annotated[int, Query(ge=1, le=1000)] = 200, cursor: str | None = None
) -> Response:
    """List the users, page by page."""
    found = await services.users.list(limit + 1, cursor)
    shown = [describe_user(user) for user in found[:limit]]
    more = {"next_cursor": shown[-1]["id"]} if len(found) > limit else {}
    return Json({"users": shown, "count": len(shown), **more})


@operation(
    router, "POST", "/api/admin/users", scope="admin", answer={201: told.UserMade}, creates=True,
    refuses=("name_taken", "unknown_tier"),
)  # fmt: skip
async def make_user(request: Request, services: S, principal: P, body: MakeUser) -> Response:
    """Make a user with a first token, which is shown this once."""

    async def work() -> tuple[int, dict[str, Any]]:
        user, made = await services.users.make(
            body.username, body.email, body.tier, is_admin=body.is_admin,
            before_commit=tying(request, services, principal),
        )  # fmt: skip
        return 201, {**describe_user(user), "token": made}

    return await once(request, services, principal, work, secret=True)


@operation(router, "GET", "/api/admin/users/{user}", scope="admin", answer=told.User, refuses=("user_not_found",))
async def user(services: S, principal: P, user: str) -> Response:
    """Show one user."""
    return Json(describe_user(await services.users.get(user)))


@operation(
    router, "PATCH", "/api/admin/users/{user}", scope="admin", answer=told.User,
    refuses=("user_not_found", "unknown_tier", "wrong_state"),
)  # fmt: skip
async def change_user(services: S, principal: P, user: str, body: ChangeUser) -> Response:
    """Change a user's tier, or disable the account."""
    return Json(describe_user(await services.users.change(principal, user, body.tier, body.disabled)))


@operation(
    router, "DELETE", "/api/admin/users/{user}", scope="admin", answer=told.UserRemoved,
    refuses=("user_not_found", "wrong_state"),
)  # fmt: skip
async def delete_user(services: S, principal: P, user: str) -> Response:
    """Delete an account with its containers, tokens and sessions."""
    gone = await services.users.delete(principal, user)
    return Json({"message": "user deleted", "id": gone.id, "username": gone.username})


@operation(router, "GET", "/api/admin/tiers", scope="admin", answer=Tiers)
async def tiers(services: S, principal: P) -> Response:
    """Show the tiers and their limits."""
    return Json({"tiers": {name: services.tiers.of(name).model_dump() for name in services.tiers.names}})


@operation(
    router, "PATCH", "/api/admin/tiers/{tier}", scope="admin", answer=Tier, refuses=("unknown_tier", "out_of_range")
)
async def change_tier(services: S, principal: P, tier: str, body: ChangeTier) -> Response:
    """Change a tier for everybody on it, on every server; what is left out stays."""
    changed = await services.changed_tiers.change(tier, body.model_dump(exclude_unset=True))
    return Json({"name": tier, **changed.model_dump()})


def _secure(request: Request, services: Services) -> bool:
    """Whether the browser is at https: behind a proxy only its Origin tells."""
    told = (services.settings.public_url, request.headers.get("origin"))
    return request.url.scheme == "https" or any((url or "").startswith("https:") for url in told)
