"""From an error to an answer: the one table, and the one shape of an error body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from rexec import errors
from rexec.errors import RexecError

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
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "guest_protocol": 502,
    "connection_refused": 502,
}


def status_of(error: RexecError) -> int:
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)


def body_of(error: RexecError, request_id: str) -> dict[str, Any]:
    return {**error.extras, "error": error.message, "code": error.code, "request_id": request_id}


def dumps(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


class Json(Response):
    """An answer that is written as it is, without a second validation."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


def answer(error: RexecError, request_id: str) -> Json:
    headers = {}
    if "retry_after" in error.extras:
        headers["Retry-After"] = str(error.extras["retry_after"])
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return Json(body_of(error, request_id), status_of(error), headers)


def invalid(error: RequestValidationError) -> errors.Invalid:
    """Pydantic's findings in the words of the contract."""
    details = [{"field": _field(found["loc"]), "message": _message(found)} for found in error.errors()]
    first = details[0]
    text = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return errors.Invalid(text, details=details)


def _field(where: Sequence[str | int]) -> str:
    known = [str(part) for part in where[1:]] if where and where[0] in _PLACES else [str(part) for part in where]
    return ".".join(part for part in known if not part.isdigit() or len(known) > 1)


_PLACES = ("body", "query", "path", "header")


def _message(found: Mapping[str, Any]) -> str:
    if found["type"] == "extra_forbidden":
        return "is not a key of this request"
    if found["type"] == "missing":
        return "is required"
    if found["type"] == "json_invalid":
        return "the body is not valid JSON"
    text: str = found["msg"]
    return text.removeprefix("Value error, ")[:500]
