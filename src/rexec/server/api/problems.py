"""From an error to an answer: the one table, and the one shape of an error body."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from rexec import errors
from rexec.errors import RexecError
from rexec.server.api.sentences import details, sentence

_STATUSES: Mapping[type[RexecError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.Broken: 500,
    errors.Unsupported: 501,
    errors.Unavailable: 503,
    errors.TimedOut: 504,
    errors.OutOfSpace: 507,
}
_BY_CODE = {
    "method_not_allowed": 405,
    "request_timeout": 408,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "guest_protocol": 502,
    "connection_refused": 502,
    "connection_reset": 502,
}

_AWAY, _SOON = 503, 5
"""The status that always says when to try again, and the seconds where nobody knows better."""
_NO_RANGE = 416

_CLOSE_BASE = 4000
_TOO_BUSY = 1013


def status_of(error: RexecError) -> int:
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)


def close_code(error: RexecError) -> int:
    """Of a WebSocket that ends with this error."""
    return _TOO_BUSY if error.code == "too_busy" else _CLOSE_BASE + status_of(error)


def body_of(error: RexecError, request_id: str) -> dict[str, Any]:
    return {"error": error.message, **error.extras, "code": error.code, "request_id": request_id}


def dumps(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


class Json(Response):
    """An answer that is written as it is, without a second validation."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


def answer(error: RexecError, request_id: str, headers: Mapping[str, str] | None = None) -> Json:
    headers, status = dict(headers or {}), status_of(error)
    if "retry_after" in error.extras or status == _AWAY:
        headers["Retry-After"] = str(error.extras.get("retry_after", _SOON))
    if isinstance(error, errors.RateLimited) and "limit" in error.extras:
        headers |= {"X-RateLimit-Limit": str(error.extras["limit"]), "X-RateLimit-Remaining": "0"}
    if "size" in error.extras and status == _NO_RANGE:
        headers["Content-Range"] = f"bytes */{error.extras['size']}"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return Json(body_of(error, request_id), status, headers)


def invalid(error: RequestValidationError) -> errors.Invalid:
    """Pydantic's findings in the words of the contract."""
    told = details(error.errors())
    return errors.Invalid(sentence(told[0]), details=told)
