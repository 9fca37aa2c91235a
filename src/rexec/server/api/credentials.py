"""Where a request carries its token, and whether its Origin may use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers

COOKIE = "rexec_session"
SUBPROTOCOLS = ("rexec.v1", "rexec.v2", "rexec.raw")
_TOKEN_ENTRY = "rexec.token."  # noqa: S105
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Credentials:
    kind: Literal["token", "ticket", "cookie", "none"]
    text: str = ""


def offered(scope: Mapping[str, Any]) -> list[str]:
    """A WebSocket's subprotocols, the token entry among them."""
    return list(scope.get("subprotocols") or ())


def find(scope: Mapping[str, Any], headers: Headers) -> Credentials:
    """In the contract's order: the header, a subprotocol entry, `?token=`, `?ticket=`, and last the page's cookie."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return Credentials("token", given.strip())
    if headers.get("authorization"):
        return Credentials("none")
    for entry in offered(scope):
        if entry.startswith(_TOKEN_ENTRY):
            return Credentials("token", entry.removeprefix(_TOKEN_ENTRY))
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if scope["type"] == "websocket" and query.get("token"):
        return Credentials("token", query["token"][0])
    if query.get("ticket") and (scope["type"] == "websocket" or scope["method"] in _SAFE):
        return Credentials("ticket", query["ticket"][0])
    cookie = _cookie(headers)
    return Credentials("cookie", cookie) if cookie else Credentials("none")


def select(entries: Sequence[str]) -> str | None:
    """The first subprotocol of ours in the client's order; with a token entry alone, `rexec.v1`."""
    for entry in entries:
        if entry in SUBPROTOCOLS:
            return entry
    return "rexec.v1" if any(entry.startswith(_TOKEN_ENTRY) for entry in entries) else None


def origin_allowed(scope: Mapping[str, Any], headers: Headers, allowed: Sequence[str], public_url: str | None) -> bool:
    """No Origin (no browser), the server's own, or one that the settings name."""
    origin = headers.get("origin")
    return origin is None or own_origin(scope, headers, origin, public_url) or origin in allowed


def own_origin(scope: Mapping[str, Any], headers: Headers, origin: str, public_url: str | None) -> bool:
    if public_url is not None and urlsplit(origin)[:2] == urlsplit(public_url)[:2]:
        return True
    secure = scope.get("scheme") in ("https", "wss")
    parts = urlsplit(origin)
    return parts.netloc == headers.get("host") and (parts.scheme == "https" or not secure) and bool(parts.netloc)


def needs_own_origin(scope: Mapping[str, Any]) -> bool:
    """What a cookie alone must not be enough for."""
    return scope["type"] == "websocket" or scope["method"] not in _SAFE


def _cookie(headers: Headers) -> str | None:
    try:
        jar = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return None
    return jar[COOKIE].value if COOKIE in jar else None
