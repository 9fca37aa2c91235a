"""Accounts: who one is, tokens, sessions, users."""

from __future__ import annotations

from typing import Any, ClassVar

from rexec.answers.answer import Answer, Time

_AT, _END = "2030-01-15T10:30:00.000000Z", "2030-02-14T10:30:00.000000Z"
_USER: dict[str, Any] = {
    "id": "usr_5f2b8c1d9e", "username": "ann", "email": "ann@example.com", "tier": "free", "is_admin": False,
    "guest": False, "created_at": _AT, "disabled": False,
}  # fmt: skip
_TOKENS: dict[str, Any] = {
    "token": "eyJhbGciOi…", "refresh_token": "3f9c….kJ8s…", "expires_in": 900, "session_expires_at": _END,
    "user": _USER,
}  # fmt: skip
_TOKEN: dict[str, Any] = {
    "id": "tok_1f8a2b", "name": "laptop", "prefix": "rexec_3f9c2a", "scopes": ["containers:read", "exec"],
    "created_at": _AT, "expires_at": None, "last_used_at": None,
}  # fmt: skip


class User(Answer):
    example: ClassVar[Any] = _USER

    id: str
    username: str
    email: str | None = None
    tier: str
    is_admin: bool
    guest: bool
    created_at: Time
    expires_at: Time | None = None
    disabled: bool


class UserMade(User):
    """With a first token, which is shown this once."""

    example: ClassVar[Any] = {**_USER, "token": "rexec_" + "3f" * 32}

    token: str


class Users(Answer):
    example: ClassVar[Any] = {"users": [_USER], "count": 1}

    users: list[User]
    count: int
    next_cursor: str | None = None


class SignedIn(Answer):
    example: ClassVar[Any] = _TOKENS

    token: str
    refresh_token: str
    expires_in: int
    session_expires_at: Time
    user: User


class GuestIn(SignedIn):
    example: ClassVar[Any] = {
        **_TOKENS, "expires_in": 180000, "guest": True, "returning_guest": False, "containers": 1,
        "message": "Welcome. This account and its containers end with the session.",
    }  # fmt: skip

    guest: bool
    returning_guest: bool
    containers: int | None
    message: str


class CookieSet(Answer):
    """The session is in the cookie."""

    example: ClassVar[Any] = {"user": _USER, "session_expires_at": _END}

    user: User
    session_expires_at: Time


class Done(Answer):
    example: ClassVar[Any] = {"message": "signed out"}

    message: str


class Removed(Answer):
    example: ClassVar[Any] = {"message": "token deleted", "id": "tok_1f8a2b"}

    message: str
    id: str


class UserRemoved(Removed):
    example: ClassVar[Any] = {"message": "user deleted", "id": "usr_5f2b8c1d9e", "username": "ann"}

    username: str


class Sizes(Answer):
    min: int
    default: int
    max: int


class Allowed(Answer):
    """Null: no limit."""

    containers: int | None
    memory_mb: Sizes
    cpu_shares: Sizes
    disk_mb: Sizes
    session_seconds: int | None
    creates_per_minute: int | None
    requests_per_minute: int | None
    sockets: int | None
    terminals: int


class Used(Answer):
    """Sums over the containers that count; `sockets` over all servers."""

    containers: int
    running: int
    memory_mb: int
    cpu_shares: int
    disk_mb: int
    sockets: int


class Profile(Answer):
    example: ClassVar[Any] = {
        "user": _USER, "scopes": ["containers:read", "containers:write"],
        "usage": {
            "containers": 2, "running": 1, "memory_mb": 4096, "cpu_shares": 4000, "disk_mb": 20480, "sockets": 3,
        },
        "limits": {
            "containers": 5, "memory_mb": {"min": 256, "default": 2048, "max": 4096},
            "cpu_shares": {"min": 250, "default": 2000, "max": 4000},
            "disk_mb": {"min": 1024, "default": 10240, "max": 16384}, "session_seconds": 180000,
            "creates_per_minute": 30, "requests_per_minute": 1200, "sockets": 50, "terminals": 20,
        },
    }  # fmt: skip

    user: User
    scopes: list[str]
    limits: Allowed
    usage: Used


class Session(Answer):
    id: str
    created_at: Time
    expires_at: Time
    last_used_at: Time
    user_agent: str | None
    current: bool


class Sessions(Answer):
    example: ClassVar[Any] = {
        "sessions": [{"id": "3f9c", "created_at": _AT, "expires_at": _END, "last_used_at": _AT,
                      "user_agent": "Mozilla/5.0", "current": True}], "count": 1,
    }  # fmt: skip

    sessions: list[Session]
    count: int


class Token(Answer):
    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


class TokenMade(Token):
    """The only time that its text is shown."""

    example: ClassVar[Any] = {**_TOKEN, "token": "rexec_" + "3f" * 32}

    token: str


class Tokens(Answer):
    example: ClassVar[Any] = {"tokens": [_TOKEN], "count": 1}

    tokens: list[Token]
    count: int


class Ticket(Answer):
    example: ClassVar[Any] = {"ticket": "eyJhbGciOi…", "path": "/api/events", "expires_in": 60}

    ticket: str
    path: str
    expires_in: int
