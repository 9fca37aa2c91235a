"""What a request may bring in its body: how much, of which type, how slowly."""

from __future__ import annotations

import asyncio
import re

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

from rexec.errors import Invalid, TooLarge

WITH_BODY = ("POST", "PUT", "PATCH")
_UPLOADS = re.compile(r"/api/containers/[^/]+/files(?:/archive)?")
_SLOWEST = 30.0
"""Seconds for the whole of a JSON body. An upload may take as long as it takes."""


class Bodies:
    def __init__(self, largest: int, largest_upload: int, slowest: float = _SLOWEST) -> None:
        self._largest = largest
        self._largest_upload = largest_upload
        self._slowest = slowest

    def check(self, scope: Scope, headers: Headers) -> None:
        """By what the head says of it. Raises `TooLarge`, then `Invalid` (`unsupported_media_type`)."""
        if scope["method"] not in WITH_BODY:
            return
        length, limit = headers.get("content-length"), self._limit(scope)
        if length is not None and (not length.isdecimal() or int(length) > limit):
            raise _too_large(limit)
        carries = length not in (None, "0") or "transfer-encoding" in headers
        if carries and not _is_upload(scope):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise Invalid("the body must be application/json", code="unsupported_media_type")

    def bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, which counts what comes, and raises `TooLarge`, or `Invalid` (`request_timeout`) for JSON that
        drips. Once the body is there it is `receive` as it was."""
        if scope["method"] not in WITH_BODY:
            return receive
        limit, seen, whole = self._limit(scope), 0, False
        ends = None if _is_upload(scope) else asyncio.get_running_loop().time() + self._slowest

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout_at(ends):
                    message = await receive()
            except TimeoutError:
                raise Invalid(f"the body took longer than {self._slowest:g} s", code="request_timeout") from None
            seen += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if seen > limit:
                raise _too_large(limit)
            return message

        return counted

    def _limit(self, scope: Scope) -> int:
        return self._largest_upload if _is_upload(scope) else self._largest


def _is_upload(scope: Scope) -> bool:
    return _UPLOADS.fullmatch(scope["path"]) is not None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes")
