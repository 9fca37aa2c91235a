"""The server's side of the guest protocol, against the real guest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rexec.errors import Conflict, Invalid, NotFound, RexecError, Unavailable
from rexec.server.guest import Links
from rexec.server.guest.link import Link
from rexec.server.ports.records import ExecRequest, TerminalOpen


async def test_a_command_gives_its_streams_and_its_code(guest: Link) -> None:
    ran = await guest.exec(ExecRequest(("sh", "-c", "cat; echo err >&2; exit 4"), stdin=b"\xffin"))
    assert (ran.exit_code, ran.stdout, ran.stderr, ran.reason) == (4, b"\xffin", b"err\n", "exited")


async def test_a_hundred_at_once_and_a_thousand_after_one_another(guest: Link) -> None:
    ran = await asyncio.gather(*(guest.exec(ExecRequest(("echo", str(n)))) for n in range(100)))
    assert [result.stdout for result in ran] == [b"%d\n" % n for n in range(100)]
    for _ in range(1000):
        assert (await guest.exec(ExecRequest(("true",)))).exit_code == 0


async def test_a_call_that_is_given_up_ends_its_process(guest: Link, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    calling = asyncio.create_task(guest.exec(ExecRequest(("sh", "-c", f"touch {mark}; sleep 3; touch {mark}2"))))
    while not mark.exists():
        await asyncio.sleep(0.01)
    calling.cancel()
    await asyncio.wait([calling])
    for _ in range(100):
        ran = await guest.exec(ExecRequest(("sh", "-c", "grep -lzs '^sleep' /proc/[0-9]*/cmdline | wc -l")))
        if ran.stdout == b"0\n":
            break
    assert ran.stdout == b"0\n"


async def test_refusals_come_as_what_they_are(guest: Link, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no-such") as unknown:
        await guest.exec(ExecRequest(("no-such-command",)))
    assert unknown.value.code == "no_such_command"
    with pytest.raises(Invalid, match="too long"):
        async with guest.exec_stream(ExecRequest(("true", "x" * 200_000))):
            pass
    async with guest.exec_stream(ExecRequest(("true", *["x" * 1000] * 100))) as stream:
        while (frame := await stream.receive()) is not None:
            last = frame
    assert last.control()["exit_code"] == 0
    with pytest.raises(NotFound):
        async with guest.download("/v1/files", query={"path": "/nowhere"}):
            pass
    with pytest.raises(Conflict) as folder:
        async with guest.download("/v1/files", query={"path": str(tmp_path)}):
            pass
    assert folder.value.code == "is_a_directory"
    with pytest.raises(Unavailable) as refused:
        async with guest.tunnel(1):
            pass
    assert refused.value.code == "connection_refused"


async def test_files_go_both_ways_by_any_name(guest: Link, tmp_path: Path) -> None:
    path = bytes(tmp_path) + b"/odd \xff\n&name"
    block = bytes(range(256)) * 4096

    async def body() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield block

    await guest.upload("/v1/files", query={"path": path}, body=body())
    async with guest.download("/v1/files", query={"path": path}) as download:
        assert download.headers["content-length"] == str(64 * len(block))
        got = b"".join([chunk async for chunk in download.chunks()])
    assert got == block * 64
    listed = await guest.call("GET", "/v1/files/list", query={"path": str(tmp_path)})
    assert [entry["size"] for entry in listed["files"]] == [64 * len(block)]


async def test_an_upload_that_is_refused_ends_early(guest: Link) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 65536

    with pytest.raises(NotFound):
        await guest.upload("/v1/files", query={"path": "/no/such/folder/file"}, body=endless())
    assert sent < 10_000


async def test_a_terminal_goes_on_at_the_byte_where_it_was_cut(guest: Link) -> None:
    script = b"i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo n-$i; done; echo the-e''nd\n"
    seen, epoch, offset, turn = b"", None, 0, 0
    while b"the-end" not in seen:
        turn += 1
        wanted = TerminalOpen(name="t", epoch=epoch, since=offset if epoch else None)
        async with guest.attach(wanted) as stream:
            frame = await stream.receive()
            assert frame is not None
            ready = frame.control()
            assert ready["resumed"] is (epoch is not None)
            epoch = ready["epoch"]
            if turn == 1:
                await stream.send("i", b"stty -echo\n" + script)
            for _ in range(turn % 5 + 1):
                if b"the-end" in seen:
                    break
                frame = await stream.receive()
                assert frame is not None
                if frame.kind == "o":
                    assert frame.offset == offset
                    seen += frame.payload
                    offset += len(frame.payload)
                    stream.acknowledge(offset)
    numbers = [line for line in seen.split(b"\r\n") if line.startswith(b"n-") and line[2:].isdigit()]
    assert numbers == [b"n-%d" % n for n in range(1, 4001)]


async def test_the_readings_are_numbers(guest: Link) -> None:
    stats = await guest.stats()
    assert stats.memory > 0
    assert stats.cpu_usage_ns > 0


LIES = [
    b"\x00" * 70_000,
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\n\r\n[]",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"[" * 400_000,
    b"",
    json.dumps({"protocol": 1}).encode(),
]


@pytest.mark.parametrize("lie", LIES, ids=range(len(LIES)))
async def test_a_liar_in_the_guests_place_is_found_out(links: tuple[Links, Path], key: str, lie: bytes) -> None:
    opened, directory = links
    await opened.expect(key)
    writers = []
    for _ in range(4):
        _, writer = await asyncio.open_unix_connection(str(directory / key / "r1.sock"))
        writers.append(writer)
        if not lie.startswith(b"HTTP"):
            writer.write(lie)
    link = opened.get(key)

    async def answer() -> None:
        for writer in writers:
            writer.write(lie)
            writer.write_eof()

    lying = asyncio.create_task(answer())
    with pytest.raises(RexecError) as told:
        async with asyncio.timeout(60):
            await link.exec(ExecRequest(("true",), timeout=0.5))
    assert told.value.code in ("guest_protocol", "guest_unreachable")
    await lying
    for writer in writers:
        writer.close()
