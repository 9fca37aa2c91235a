"""What every request passes before its route: an id, who asks, how often, how much; and its line in the log."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rexec.errors import Broken, Forbidden, Invalid, RateLimited, RexecError, Unauthenticated, Unavailable
from rexec.server.api import addresses, credentials
from rexec.server.api.bodies import Bodies
from rexec.server.api.hosts import Hosts
from rexec.server.api.problems import answer, body_of, close_code, dumps
from rexec.server.api.standing import Receiving, watched
from rexec.server.core.ratelimit import Allowance
from rexec.server.core.services import Services
from rexec.server.ports.records import Principal

_log = structlog.get_logger("rexec.access")
_SECONDS = Histogram(
    "rexec_http_request_seconds", "Time to the end of an answer.", ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)  # fmt: skip
PUBLIC = ("/health", "/ready", "/api/version", "/api/openapi.json", "/api/docs", "/metrics")
_PUBLIC_FOLDERS = ("/api/auth/",)
_GUARDED_FOLDERS = ("/api/", "/ws/")
_NUL = re.compile(rb"%00|\x00")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; "
        "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
}
_CORS_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_CORS_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-Range, Last-Event-ID, Range"
_LONGEST_REASON = 120
_LEFT = 499
"""In the log and the metrics: the client went away in the middle of its body, and nobody is there to be answered."""


def is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(_PUBLIC_FOLDERS) or not path.startswith(_GUARDED_FOLDERS)


class Gate:
    """Pure ASGI, around the whole app."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services
        self._bodies = Bodies(services.settings.body_limit, services.settings.upload_limit)
        self._hosts = Hosts(services.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = secrets.token_hex(8)
        begun, status = time.perf_counter(), 0
        allowed_origin = self._allowed_origin(services, scope, headers)

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._dress(message, state, request_id, allowed_origin)
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            self._hosts.check(headers)
            if scope["method"] == "OPTIONS" and headers.get("access-control-request-method"):
                await _preflight(told, allowed_origin)
            else:
                await self._admit(services, scope, headers)
                async with AsyncExitStack() as stack:
                    receiving = self._bodies.bounded(scope, receive)
                    received, sent, finish = _ending_streams(services, state, receiving, told, stack)
                    await self._app(scope, received, sent)
                    await finish()
        except RexecError as error:
            if status:
                raise
            await answer(error, request_id)(scope, receive, told)
        except asyncio.CancelledError:
            # The server ends, and has waited as long as it may.
            if not status:
                ending = Unavailable("the server is ending: ask again", code="draining")
                await answer(ending, request_id)(scope, receive, told)
        except ClientDisconnect:
            status = status or _LEFT
        except Exception:
            _log.exception("a request broke", method=scope["method"], path=scope["path"])
            if status:
                raise
            await answer(Broken("an error inside the server", code="internal_error"), request_id)(scope, receive, told)
        finally:
            taken = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", "none")
            _SECONDS.labels(scope["method"], route, str(status)).observe(taken)
            _log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(taken * 1000, 1))

    async def _admit(self, services: Services, scope: Scope, headers: Headers) -> None:
        """401, then 429, then 413 and 415; the rest is the route's."""
        path, state = scope["path"], scope["state"]
        if is_public(path):
            if path.startswith(_PUBLIC_FOLDERS) and scope["method"] != "GET":
                await self._spend(services, state, f"address:{_address(services, scope, headers)}", None)
                self._check_cookie_origin(services, scope, headers)
        else:
            await self._enter(services, scope, headers)
        self._bodies.check(scope, headers)
        _check_text(scope)

    async def _enter(self, services: Services, scope: Scope, headers: Headers) -> Principal:
        """Who fails to say who it is has its address counted."""
        state = scope["state"]
        try:
            principal = state["principal"] = await self._authenticate(services, scope, headers)
        except Unauthenticated:
            await self._spend(services, state, f"failed:{_address(services, scope, headers)}", None)
            raise
        await self._spend(services, state, f"user:{principal.user_id}", principal)
        return principal

    async def _spend(self, services: Services, state: dict[str, Any], key: str, principal: Principal | None) -> None:
        """`principal` None: somebody who has not signed in, by address."""
        limit: int | None = services.settings.logins_per_minute
        if principal is not None:
            limit = None if principal.is_admin else services.tiers.of(principal.tier).requests_per_minute
        if limit is not None:
            try:
                state["allowance"] = await services.rate_limits.spend(key, limit)
            except RateLimited:
                state["allowance"] = Allowance(limit, 0)
                raise

    async def _authenticate(self, services: Services, scope: Scope, headers: Headers) -> Principal:
        found = credentials.find(scope, headers)
        if found.kind == "none":
            raise Unauthenticated("Authorization token required", code="token_required")
        if found.kind == "ticket":
            return await services.tickets.redeem(found.text, scope["path"])
        if found.kind == "cookie":
            self._check_cookie_origin(services, scope, headers)
        return await services.access.authenticate(found.text)

    def _check_cookie_origin(self, services: Services, scope: Scope, headers: Headers) -> None:
        """A stranger's page must not act by the cookie of somebody who is signed in, nor sign anybody in."""
        origin = headers.get("origin")
        if not credentials.needs_own_origin(scope) or (origin is None and not headers.get("cookie")):
            return
        if origin is None or not credentials.own_origin(scope, headers, origin, services.settings.public_url):
            raise Forbidden("this request must come from the server's own page", code="origin_refused")

    def _allowed_origin(self, services: Services, scope: Scope, headers: Headers) -> str | None:
        origin = headers.get("origin")
        return origin if origin is not None and origin in services.settings.allowed_origins else None

    def _dress(self, message: Message, state: Mapping[str, Any], request_id: str, origin: str | None) -> None:
        headers = MutableHeaders(scope=message)
        headers["X-Request-Id"] = request_id
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        allowance = state.get("allowance")
        if allowance is not None:
            headers.setdefault("X-RateLimit-Limit", str(allowance.limit))
            headers.setdefault("X-RateLimit-Remaining", str(max(0, allowance.remaining)))
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = (
                "X-Request-Id, Retry-After, Location, X-RateLimit-Limit, X-RateLimit-Remaining"
            )
            headers.add_vary_header("Origin")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = secrets.token_hex(8)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begun = time.perf_counter()
        try:
            self._hosts.check(headers)
            settings = services.settings
            if not credentials.origin_allowed(scope, headers, settings.allowed_origins, settings.public_url):
                raise Forbidden("this page may not open sockets here", code="origin_refused")
            principal = await self._enter(services, scope, headers)
            _check_text(scope)
            async with AsyncExitStack() as stack:
                if (limit := services.tiers.socket_limit(principal)) is not None:
                    await stack.enter_async_context(services.sockets.one_more(principal.user_id, limit))
                await self._hold(services, principal, scope, receive, send)
        except RexecError as error:
            await refuse(scope, receive, send, error)
        finally:
            _log.info("socket", path=scope["path"], seconds=round(time.perf_counter() - begun, 1))

    async def _hold(self, services: Services, principal: Principal, scope: Scope, receive: Receive, send: Send) -> None:
        """The socket itself, which ends with what let it in."""
        receiving = Receiving(receive)
        closed = False

        async def ended(error: Unauthenticated) -> None:
            nonlocal closed
            if not receiving.end(error):
                await refuse(scope, receive, send, error)
                closed = True

        async def sent(message: Message) -> None:
            if message["type"] == "websocket.accept":
                scope["state"]["accepted"] = True
            if not closed:
                await send(message)

        async with watched(services, principal, ended):
            await self._app(scope, receiving, sent)


def _ending_streams(
    services: Services, state: Mapping[str, Any], receive: Receive, send: Send, stack: AsyncExitStack
) -> tuple[Receive, Send, Callable[[], Awaitable[None]]]:
    """Server-sent events end with what let them in, or with the server, and say so. Other answers are not watched. The
    last is to be called when the app is done: what it has not ended then was cut off by the server's end."""
    receiving = Receiving(receive)
    streams = over = False

    async def last(error: RexecError) -> None:
        nonlocal over
        over = True
        data = dumps(body_of(error, state["request_id"])).decode()
        with suppress(RuntimeError, OSError):
            await send({"type": "http.response.body", "body": f"event: end\r\ndata: {data}\r\n\r\n".encode()})

    async def ended(error: Unauthenticated) -> None:
        await last(error)
        receiving.end(error)

    async def finish() -> None:
        if streams and not over:
            await last(Unavailable("the server is ending: follow again", code="draining", reason="draining"))

    async def received() -> Message:
        try:
            return await receiving()
        except Unauthenticated:
            return {"type": "http.disconnect"}

    async def sent(message: Message) -> None:
        nonlocal streams, over
        if over:
            return
        over = streams and not message.get("more_body", False)
        await send(message)
        principal = state.get("principal")
        if message["type"] == "http.response.start" and principal is not None and _streams_events(message):
            streams = True
            await stack.enter_async_context(watched(services, principal, ended))

    return received, sent, finish


def _streams_events(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"])


def _address(services: Services, scope: Scope, headers: Headers) -> str:
    return addresses.counted(addresses.client(scope, headers, services.settings.trusted_proxies))


def _check_text(scope: Scope) -> None:
    """No database, no engine takes a NUL in a text; what is not UTF-8 would silently become something else."""
    query = scope.get("query_string", b"")
    if "\x00" in scope["path"] or _NUL.search(query):
        raise Invalid("the path and the query must not contain NUL")
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError as error:
        raise Invalid("the query must be UTF-8: other names of files go as path_b64") from error


async def _preflight(send: Send, origin: str | None) -> None:
    headers = [] if origin is None else [
        (b"access-control-allow-methods", _CORS_METHODS.encode()),
        (b"access-control-allow-headers", _CORS_HEADERS.encode()),
        (b"access-control-max-age", b"600"),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 204 if origin else 403, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def refuse(scope: Scope, receive: Receive, send: Send, error: RexecError) -> None:
    """Before the upgrade, with a status and JSON, for programs; browsers cannot read that, they get a close code."""
    with suppress(RuntimeError, OSError, asyncio.IncompleteReadError):
        if not scope["state"].get("accepted"):
            entries = credentials.offered(scope)
            subprotocol = credentials.select(entries)
            if subprotocol is None and "origin" not in Headers(scope=scope):
                await _deny(scope, receive, send, error)
                return
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
        reason = error.message.encode()[:_LONGEST_REASON].decode(errors="ignore")
        await send({"type": "websocket.close", "code": close_code(error), "reason": reason})


async def _deny(scope: Scope, receive: Receive, send: Send, error: RexecError) -> None:
    response = answer(error, scope["state"]["request_id"])
    headers = [*response.raw_headers, (b"x-request-id", scope["state"]["request_id"].encode())]
    await send({"type": "websocket.http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": response.body})
