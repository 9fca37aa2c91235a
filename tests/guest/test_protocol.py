"""Versions of the protocol, and what a guest may say: generated lies, in its messages and in its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rexec.errors import Broken, RexecError, Unavailable
from rexec.server.api.problems import dumps
from rexec.server.guest import Links
from rexec.server.guest.link import Link
from rexec.server.guest.words import EXEC, TERMINAL, TUNNEL, WATCH, checked
from rexec.server.ports.records import ExecRequest, TerminalOpen
from support.settle import settle

SAID = (EXEC, TERMINAL, TUNNEL, WATCH)
KEYS = sorted({key for words in SAID for checks in words.values() for key in checks})
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.builds(
    lambda kind, said: {**said, "type": kind},
    st.sampled_from([kind for words in SAID for kind in words]) | JSON,
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8),
)


@pytest.mark.parametrize(("spoken", "agreed"), [((1,), True), ((2, 1), True), ((3, 2), False)])
async def test_the_newest_version_that_both_speak_is_spoken(
    guest_directory: Path, guest_key: str, spoken: tuple[int, ...], agreed: bool
) -> None:
    """Against the real guest; also without a greeting first, as after a restart of the server."""
    async with Links(guest_directory, "other", spoken=spoken) as links:
        await links.expect(guest_key)
        if agreed:
            assert (await links.get(guest_key).exec(ExecRequest(("echo", "x")))).stdout == b"x\n"
            link = await links.wait(guest_key, 30)
            async with link.attach(TerminalOpen(name="spoken")) as stream:
                assert await stream.receive() is not None
        else:
            with pytest.raises(Unavailable, match="speaks version 1 of the protocol, this server 3 and 2"):
                await links.wait(guest_key, 30)
    await settle()


@given(
    st.binary(max_size=300)
    | JSON.map(lambda said: json.dumps(said).encode())
    | MESSAGES.map(lambda said: json.dumps(said).encode())
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_message_is_well_formed_or_refused(said: bytes) -> None:
    for words in SAID:
        with suppress(Broken):
            message = json.loads(checked(said, words))
            assert set(message) <= {"type", *words[message["type"]]}
            assert json.loads(dumps(message)) is not None


def test_a_message_of_ten_thousand_brackets_is_refused() -> None:
    with pytest.raises(Broken):
        checked(b"[" * 65_000, TERMINAL)


HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: rexec-stream\r\n",
        b"HTTP/1.1 404 No\r\n", b"HTTP/1.1 204 No\r\n", b"HTTP/1.0 200\r\n", b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/9.9 999 \xff\r\n", b"",
    ]
)  # fmt: skip
LENGTHS = st.sampled_from(
    [
        b"", b"Content-Length: 2\r\n", b"Content-Length: 2\r\nContent-Length: 3\r\n", b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"A: b\r\n" * 9000,
        b"Rexec-Offset: x\r\n", b"Content-Length: 70\r\n",
    ]
)  # fmt: skip
FRAMES = st.builds(
    lambda kind, payload, lie: kind + (len(payload) + lie).to_bytes(4, "big") + payload,
    st.sampled_from([b"c", b"o", b"e", b"x", b"i", b"?"]),
    MESSAGES.map(lambda said: json.dumps(said).encode()) | st.binary(max_size=40),
    st.sampled_from([0, 0, 0, 1, 1 << 20, 1 << 31]),
)
BODIES = (
    JSON.map(lambda said: json.dumps(said).encode())
    | st.binary(max_size=80)
    | st.lists(FRAMES, max_size=4).map(b"".join)
    | st.just(b"ffffffffffffffff\r\n")
    | st.just(b"[" * 300_000)
)
LIES = st.builds(lambda head, length, body: head + length + b"\r\n" + body, HEADS, LENGTHS, BODIES)


async def _told_a_lie(link: Link, asked: int) -> None:
    """Every way of asking; what comes back is an answer or an error of ours."""
    match asked:
        case 0:
            await link.exec(ExecRequest(("true",), timeout=1))
        case 1:
            await link.hello()
        case 2:
            await link.stats()
        case 3:
            async with link.download("/v1/files", query={"path": "/x"}) as download:
                async for _ in download.chunks():
                    pass
        case 4:
            dumps(await link.call("GET", "/v1/processes"))
        case 5:
            dumps(await link.start(ExecRequest(("true",)), "id"))
        case 6:
            await link.upload("/v1/files", query={"path": "/x"}, body=_body())
        case _:
            opening = (
                link.attach(TerminalOpen()), link.exec_stream(ExecRequest(("true",))), link.tunnel(80),
                link.watch(b"/", recursive=True),
            )[asked - 7]  # fmt: skip
            async with opening as stream:
                while (frame := await stream.receive()) is not None:
                    if frame.kind == "c":
                        frame.control()


async def _body() -> AsyncIterator[bytes]:
    for _ in range(64):
        yield b"x" * 65_536


@given(lie=LIES, asked=st.integers(0, 10))
@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_guest_answers_is_an_answer_or_an_error_of_ours(
    lies: asyncio.Runner, lie: bytes, asked: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def once() -> None:
        directory = tmp_path_factory.mktemp("l")
        async with Links(directory, "r") as links:
            await links.expect("k")

            async def liar() -> None:
                reader, writer = await asyncio.open_unix_connection(str(directory / "k" / "r.sock"))
                try:
                    await reader.read(1)
                    writer.write(lie)
                finally:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()

            lying = [asyncio.create_task(liar()) for _ in range(3)]
            async with asyncio.timeout(60):
                with suppress(RexecError):
                    await _told_a_lie(links.get("k"), asked)
            for task in lying:
                task.cancel()
            await asyncio.wait(lying)
        await settle()

    lies.run(once())
