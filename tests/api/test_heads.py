"""Heads of requests that come slowly, without end, or are no heads."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from rexec.server.api.heads import LARGEST, BoundedHeads

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
DEADLINE = 60


class Quick(BoundedHeads):
    longest = 1.0


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=Quick, lifespan="off", log_config=None, access_log=False)  # type: ignore[arg-type]
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(DEADLINE):
        while not server.started:
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def _ended(reader: asyncio.StreamReader) -> bytes:
    """All until the server closes."""
    async with asyncio.timeout(DEADLINE):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def _told(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\n"])
async def test_a_head_that_drips_is_ended_though_it_never_pauses(port: int, begin: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    ended = asyncio.create_task(_ended(reader))
    while not ended.done():
        writer.write(b"a" if begin else b"")
        await asyncio.wait([ended], timeout=0.1)
    status, body = _told(await ended)
    assert status == 408
    assert body["code"] == "request_timeout"
    writer.close()


async def test_a_second_request_has_the_same_limit_and_an_idle_connection_has_none(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    async with asyncio.timeout(DEADLINE):
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < 2 * Quick.longest:
        await asyncio.sleep(0.1)
    writer.write(GET)
    async with asyncio.timeout(DEADLINE):
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
    writer.write(b"GET")
    assert _told(await _ended(reader))[0] == 408
    writer.close()


@pytest.mark.parametrize("sent", [b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * (LARGEST + 99)])
async def test_no_head_and_a_head_without_end_are_told_so(port: int, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    status, body = _told(await _ended(reader))
    assert status == 400
    assert {"error", "code", "request_id"} <= body.keys()
    writer.close()
