"""What a guest's refusals become: one table from its codes to the error tree."""

from __future__ import annotations

from typing import Any

from rexec.errors import (
    Broken,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OutOfSpace,
    RateLimited,
    RexecError,
    TooLarge,
    Unavailable,
)

_CODES: dict[str, type[RexecError]] = {
    "bad_request": Invalid,
    "no_such_user": Invalid,
    "no_such_command": Invalid,
    "no_such_directory": Invalid,
    "range": Invalid,
    "not_found": NotFound,
    "exists": Conflict,
    "not_a_directory": Conflict,
    "is_a_directory": Conflict,
    "not_empty": Conflict,
    "not_running": Conflict,
    "viewer": Forbidden,
    "permission_denied": Forbidden,
    "too_large": TooLarge,
    "too_many_terminals": RateLimited,
    "too_many_processes": RateLimited,
    "disk_full": OutOfSpace,
    "pids_limit": Unavailable,
    "no_terminal": Unavailable,
    "too_busy": Unavailable,
    "connection_refused": Unavailable,
}
_RENAMED = {"bad_request": "invalid_request", "range": "range_not_satisfiable"}
_LONGEST_TEXT = 500
_RETRY_AFTER = 1


def unreachable(why: str) -> Unavailable:
    return Unavailable(why, code="guest_unreachable", retry_after=_RETRY_AFTER)


def nonsense(what: str) -> Broken:
    return Broken(f"the guest {what}", code="guest_protocol")


class OtherProtocol(Broken):
    """The guest refuses the version of the protocol that it was asked in."""


def _other_protocol(supported: Any) -> OtherProtocol:
    known = [number for number in supported if type(number) is int][:8] if isinstance(supported, list) else []
    versions = " and ".join(str(number)[:8] for number in known) or "none"
    return OtherProtocol(f"the guest speaks version {versions} of the protocol", code="guest_protocol")


def typed(body: Any) -> RexecError:
    """The error of `{"error", "code"}`, from an answer or a control frame."""
    code = body.get("code") if isinstance(body, dict) else None
    text = body.get("error") if isinstance(body, dict) else None
    if code == "protocol":
        return _other_protocol(body.get("supported"))
    if not isinstance(code, str) or not isinstance(text, str) or code not in _CODES:
        return nonsense("answered with an error of no known kind")
    kind, text = _CODES[code], text[:_LONGEST_TEXT]
    if code == "range" and type(size := body.get("size")) is int and 0 <= size < 1 << 63:
        return kind(text, code=_RENAMED[code], size=size)
    if issubclass(kind, RateLimited | Unavailable):
        return kind(text, code=code, retry_after=_RETRY_AFTER)
    return kind(text, code=_RENAMED.get(code, code))
