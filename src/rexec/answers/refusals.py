"""What a route may refuse with: a status and an example for each code that says more than its status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict

from rexec.answers.answer import Answer

_REQUEST = "8f14e45fceea167a"


class Detail(Answer):
    """`min` and `max` where a number is out of range."""

    field: str
    message: str
    min: int | None = None
    max: int | None = None


class Problem(Answer):
    """What went wrong, for people, and a code that does not change. Some codes bring keys of their own."""

    model_config = ConfigDict(extra="allow")
    example: ClassVar[Any] = {"error": "container not found", "code": "container_not_found", "request_id": _REQUEST}

    error: str
    code: str
    request_id: str
    details: list[Detail] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    error: str
    extras: Mapping[str, Any] = field(default_factory=dict)

    def body(self, code: str) -> dict[str, Any]:
        return {"error": self.error, **self.extras, "code": code, "request_id": _REQUEST}


def _details(name: str, message: str, **bounds: int) -> dict[str, Any]:
    return {"details": [{"field": name, "message": message, **bounds}]}


CODES: Mapping[str, Refusal] = {
    "invalid_request": Refusal(
        400, "surprise is not a key of this request", _details("surprise", "is not a key of this request")
    ),
    "out_of_range": Refusal(
        400, "memory_mb must be between 256 and 4096 (the tier free)",
        {**_details("memory_mb", "must be between 256 and 4096 (the tier free)", min=256, max=4096), "tier": "free"},
    ),
    "unsupported_image": Refusal(
        400, "unsupported image type",
        {"supported_images": ["ubuntu:24.04", "debian:bookworm", "alpine:latest", "archlinux:latest", "custom"]},
    ),
    "unsupported_role": Refusal(
        400, "unsupported role", {"supported_roles": ["node", "python", "go", "rust", "devops", "barebone"]}
    ),
    "unknown_tier": Refusal(
        400, "there is no tier gold", {"tiers": ["enterprise", "free", "guest", "pro"]}
    ),
    "token_required": Refusal(401, "Authorization token required"),
    "invalid_token": Refusal(401, "Invalid or expired token"),
    "scope_required": Refusal(403, "this token lacks the scope containers:write", {"scope": "containers:write"}),
    "tier_required": Refusal(403, "macOS needs the tier enterprise", {"tier": "enterprise"}),
    "container_limit_reached": Refusal(
        403, "container limit reached",
        {"current": 5, "limit": 5, "tier": "free", "message": "Upgrade your plan to create more containers"},
    ),
    "session_required": Refusal(403, "a token is made from a session or by an admin"),
    "origin_refused": Refusal(403, "this request must come from the server's own page"),
    "permission_denied": Refusal(403, "permission denied"),
    "container_not_found": Refusal(404, "container not found"),
    "not_found": Refusal(404, "there is no such file"),
    "user_not_found": Refusal(404, "user not found"),
    "token_not_found": Refusal(404, "token not found"),
    "session_not_found": Refusal(404, "session not found"),
    "ambiguous": Refusal(409, "more than one container begins like that", {"count": 2}),
    "name_taken": Refusal(409, "container with this name already exists", {"name": "dev-environment"}),
    "wrong_state": Refusal(409, "cannot pause a container that is stopped", {"status": "stopped"}),
    "not_running": Refusal(409, "the container is not running: it is stopped", {"status": "stopped"}),
    "memory_in_use": Refusal(409, "the container uses 900 MiB, more than 512 MiB"),
    "in_progress": Refusal(409, "the first request with this key still runs"),
    "key_reused": Refusal(409, "this key was used for another request"),
    "already_done": Refusal(409, "this was done; its answer held a secret and is not told again"),
    "too_many_tokens": Refusal(409, "at most 100 tokens: delete one first"),
    "request_timeout": Refusal(408, "the body took longer than 30 s"),
    "too_large": Refusal(413, "the body is larger than 1048576 bytes"),
    "unsupported_media_type": Refusal(415, "the body must be application/json"),
    "range_not_satisfiable": Refusal(416, "the file has 12 bytes", {"size": 12}),
    "rate_limited": Refusal(429, "rate limit exceeded", {"retry_after": 30, "limit": 1200}),
    "unsupported": Refusal(501, "this engine cannot pause a container"),
    "guest_protocol": Refusal(502, "the guest answered with an error of no known kind"),
    "unavailable": Refusal(503, "the database is busy or away", {"retry_after": 1}),
    "macos_unavailable": Refusal(
        503, "this host cannot run macOS: it lacks Apple hardware and a virtual machine engine"
    ),
    "guest_unreachable": Refusal(503, "the container does not answer", {"retry_after": 1}),
    "timed_out": Refusal(504, "the container is still stopping after 60 s", {"status": "stopping"}),
    "disk_full": Refusal(507, "there is no disk left for another container"),
}  # fmt: skip

ANYBODY = ("token_required", "invalid_token", "scope_required", "rate_limited", "unavailable", "invalid_request")
"""Of every route that wants a token."""
BODY = ("invalid_request", "request_timeout", "too_large", "unsupported_media_type")
ONE = ("container_not_found", "ambiguous")
"""Of every route to one container."""
INSIDE = ("not_running", "guest_protocol", "guest_unreachable", "timed_out")
"""Of every route to what is inside; a paused container is woken first."""
MOVES = ("wrong_state", "timed_out")
SAID = {
    400: "The request can never work as written", 401: "No token, or one that is not valid",
    403: "Not allowed", 404: "Not there, or not one's own", 409: "The name or the state is in the way",
    408: "The body came too slowly", 413: "Too large",
    415: "Not the type that is wanted", 416: "Not a range of this file",
    429: "Too often: try again after `Retry-After` seconds", 501: "The engine cannot do this",
    502: "What is inside the container broke the protocol", 503: "Away or full: try again",
    504: "Took too long", 507: "No disk left",
}  # fmt: skip


def described(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's answers for these codes, by status."""
    told: dict[int | str, dict[str, Any]] = {}
    for code in dict.fromkeys(codes):
        refusal = CODES[code]
        answer = told.setdefault(
            refusal.status,
            {"description": SAID[refusal.status], "content": {"application/json": {"examples": {}}}},
        )
        answer["content"]["application/json"]["examples"][code] = {"value": refusal.body(code)}
    return dict(sorted(told.items()))
