"""How a list is asked for: cursors, labels, the bare array."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from uuid import UUID

from rexec.errors import Invalid
from rexec.server.ports.records import ContainerRow


def cursor_of(row: ContainerRow) -> str:
    """Of the page that ends with `row`; opaque to clients."""
    return base64.urlsafe_b64encode(json.dumps([row.created_at.isoformat(), row.id]).encode()).decode()


def before(cursor: str | None) -> tuple[datetime, str] | None:
    """Raises `Invalid` for what is no cursor of ours."""
    if cursor is None:
        return None
    try:
        at, last = json.loads(base64.urlsafe_b64decode(cursor))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("a cursor without a zone")
        return moment.astimezone(UTC), str(UUID(last))
    except (binascii.Error, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise _invalid("cursor", "is not one of this list") from error


def labels(texts: list[str]) -> dict[str, str]:
    """`key=value` each; all of them must fit."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise _invalid("label", "must be key=value")
        if found.setdefault(key, value) != value:
            raise _invalid("label", f"gives {key[:63]} two values")
    return found


def wants_array(format: str | None, accept: str) -> bool:
    """`?format=array`, or `Accept: application/json;profile=array`."""
    if format is not None:
        return format == "array"
    for offer in accept.lower().split(","):
        media, *parameters = [part.strip() for part in offer.split(";")]
        if media == "application/json" and any(part.replace('"', "") == "profile=array" for part in parameters):
            return True
    return False


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(f"{field} {message}", details=[{"field": field, "message": message}])
