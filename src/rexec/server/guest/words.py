"""What a guest may say on its streams: the keys of each control message, their kinds and sizes. Other keys are dropped,
other messages refused; so nothing that a container made up reaches a client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from rexec.server.guest.errors import nonsense

_LONGEST = 500
_LONGEST_PATH = 8192
_FARTHEST = 1 << 53
"""What every client of JSON counts exactly."""

Check: TypeAlias = Callable[[Any], bool]
Words: TypeAlias = Mapping[str, Mapping[str, Check]]


def loads(data: bytes) -> Any:
    """JSON as the standard has it. Raises `Broken`."""
    try:
        return json.loads(data, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise nonsense("said what is not JSON") from error


def checked(payload: bytes, words: Words) -> bytes:
    """A control message with the keys that it may have. Raises `Broken`."""
    said = loads(payload)
    kind = said.get("type") if isinstance(said, dict) else None
    if not isinstance(kind, str) or kind not in words:
        raise nonsense("sent a message of no known kind")
    known = {name: said[name] for name in words[kind] if name in said}
    wrong = sorted(name for name, right in words[kind].items() if not right(known.get(name)))
    if wrong:
        raise nonsense(f"sent {kind} with a {wrong[0]} that cannot be")
    return json.dumps({"type": kind, **known}).encode()


def _refused(name: str) -> Any:
    raise ValueError(name)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST


def _path(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_PATH


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _FARTHEST


def _code(value: Any) -> bool:
    return type(value) is int and -1 <= value <= 255


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 10_000


def _perhaps(check: Check) -> Check:
    return lambda value: value is None or check(value)


_ERROR: Final = {"error": _text, "code": _text}

EXEC: Final[Words] = {
    "started": {"pid": _count},
    "exit": {
        "exit_code": _code, "reason": _text, "timed_out": _flag, "duration_ms": _count, "memory_peak": _perhaps(_count),
    },
    "error": _ERROR,
}  # fmt: skip

TERMINAL: Final[Words] = {
    "ready": {
        "terminal": _text, "epoch": _text, "offset": _count, "live": _perhaps(_count), "cols": _size, "rows": _size,
        "role": lambda value: value in ("editor", "viewer"), "created": _perhaps(_flag), "resumed": _perhaps(_flag),
        "pid": _perhaps(_count),
    },
    "restore": {"length": _count},
    "resized": {"cols": _size, "rows": _size},
    "lagged": {"from": _count, "to": _count},
    "exit": {"code": _code, "reason": _text},
    "error": _ERROR,
}  # fmt: skip

_CHANGE: Final = {"path": _path, "path_b64": _perhaps(_path), "is_dir": _flag}

WATCH: Final[Words] = {
    "ready": {},
    "create": _CHANGE, "modify": _CHANGE, "delete": _CHANGE, "attrib": _CHANGE,
    "move": {**_CHANGE, "from": _path, "from_b64": _perhaps(_path)},
    "overflow": {"reason": _perhaps(_text)},
    "end": {"reason": _text},
    "error": _ERROR,
}  # fmt: skip

TUNNEL: Final[Words] = {"error": _ERROR}
