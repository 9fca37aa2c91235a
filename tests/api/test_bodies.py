"""Bodies that are too large, of the wrong type, or come too slowly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.datastructures import Headers

from rexec.errors import Invalid, TooLarge
from rexec.server.api.bodies import Bodies
from rexec.server.api.forms import Form

CREATE, UPLOAD = "/api/containers", "/api/containers/files/files"
NAMED_FILES = "/api/containers/files"
DEADLINE = 60


def _scope(path: str, method: str = "POST") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path}


@pytest.mark.parametrize(
    ("path", "method", "headers", "code"),
    [
        (CREATE, "POST", {"content-length": "11", "content-type": "text/plain"}, "too_large"),
        (CREATE, "POST", {"content-length": "-1", "content-type": "application/json"}, "too_large"),
        (CREATE, "POST", {"content-length": "10", "content-type": "text/plain"}, "unsupported_media_type"),
        (CREATE, "POST", {"transfer-encoding": "chunked"}, "unsupported_media_type"),
        (NAMED_FILES, "PATCH", {"content-length": "11", "content-type": "application/json"}, "too_large"),
        (UPLOAD, "PUT", {"content-length": "101"}, "too_large"),
        (CREATE, "POST", {"content-length": "10", "content-type": "Application/JSON; charset=utf-8"}, None),
        (CREATE, "POST", {"content-length": "0"}, None),
        (CREATE, "GET", {"content-length": "11"}, None),
        (UPLOAD, "PUT", {"content-length": "100"}, None),
    ],
)
def test_a_head_tells_what_is_not_taken(path: str, method: str, headers: dict[str, str], code: str | None) -> None:
    bodies = Bodies(10, 100)
    if code is None:
        bodies.check(_scope(path, method), Headers(headers))
        return
    with pytest.raises((Invalid, TooLarge)) as refused:
        bodies.check(_scope(path, method), Headers(headers))
    assert refused.value.code == code


async def _all(path: str, *parts: bytes | None, slowest: float = DEADLINE) -> bytes:
    """`parts` as they come; None: nothing comes any more."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        part = left.pop(0)
        if part is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    bounded = Bodies(10, 100, slowest).bounded(_scope(path), receive)
    whole = b""
    async with asyncio.timeout(DEADLINE):
        while True:
            message = await bounded()
            whole += message["body"]
            if not message["more_body"]:
                return whole


async def test_what_comes_is_counted() -> None:
    assert await _all(CREATE, b"12345", b"67890") == b"1234567890"
    with pytest.raises(TooLarge):
        await _all(CREATE, b"12345", b"678901", None)
    assert len(await _all(UPLOAD, b"x" * 60, b"y" * 40)) == 100


async def test_json_that_drips_is_ended() -> None:
    with pytest.raises(Invalid) as late:
        await _all(CREATE, b"{", None, slowest=0.05)
    assert late.value.code == "request_timeout"


async def form(*pieces: bytes) -> tuple[bytes, bytes]:
    """The file's name and content of a form that comes in these pieces."""

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    read = Form({b"boundary": b"b"}, stream())
    return await read.filename(), b"".join([piece async for piece in read.content()])


FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nhello\r\n'
FIELD = b'--b\r\nContent-Disposition: form-data; name="more"\r\n\r\nx\r\n'
END = b"--b--\r\n"


@pytest.mark.parametrize("pieces", [(FIELD + FILE + FIELD + END,), (FIELD, FILE, FIELD, END)])
async def test_a_form_has_fields_besides_its_file(pieces: tuple[bytes, ...]) -> None:
    assert await form(*pieces) == (b"a.txt", b"hello")


@pytest.mark.parametrize("pieces", [(FILE + FILE + END,), (FILE, FILE, END)])
async def test_a_second_file_of_a_form_is_not_lost_in_silence(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(Invalid, match="more than one file"):
        await form(*pieces)
