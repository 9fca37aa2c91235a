"""Every error Rexec raises on purpose.

    RexecError
    ├── Invalid                 the request can never work as written
    ├── Unauthenticated         no principal
    ├── Forbidden               a principal without the right
    │   └── LimitReached        … or without room left under its tier
    ├── NotFound
    ├── Conflict                the name is taken, or the state is wrong for this
    ├── TooLarge
    ├── Unsupported             the engine or host cannot do this
    ├── RateLimited
    ├── Unavailable             engine away, server full: worth a retry
    ├── OutOfSpace              no disk left
    ├── TimedOut
    └── Broken                  the other side (engine, guest) did something it must not

The tree knows no HTTP: `rexec.server.api.problems` holds the one table from class to status.
`code` is stable and part of the wire contract; `extras` are the further keys of the error body.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class RexecError(Exception):
    default_code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, /, *, code: str | None = None, **extras: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.extras = extras


class Invalid(RexecError):
    """`extras["details"]`, where given, is a list of `{"field", "message"}`."""

    default_code = "invalid_request"


class Unauthenticated(RexecError):
    default_code = "unauthenticated"


class Forbidden(RexecError):
    default_code = "forbidden"


class LimitReached(Forbidden):
    """Extras: `current`, `limit`, `tier`, `message`."""

    default_code = "container_limit_reached"


class NotFound(RexecError):
    default_code = "not_found"


class Conflict(RexecError):
    default_code = "conflict"


class TooLarge(RexecError):
    default_code = "too_large"


class Unsupported(RexecError):
    default_code = "unsupported"


class RateLimited(RexecError):
    """Extras: `retry_after` in whole seconds."""

    default_code = "rate_limited"


class Unavailable(RexecError):
    """Extras: `retry_after` in whole seconds, where known."""

    default_code = "unavailable"


class OutOfSpace(RexecError):
    default_code = "disk_full"


class TimedOut(RexecError):
    default_code = "timed_out"


class Broken(RexecError):
    default_code = "internal_error"


@contextmanager
def full_disk_told() -> Iterator[None]:
    """The operating system's want of disk in our words."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfSpace("the server's disk is full") from error
