"""What clients may send on sockets: anything. Each gets its answer, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from support.client import Api
from support.v2 import V2

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**30, 1 << 62, 1 << 63, "", "x", "\ud800", "NaN", [], [[]], {}, {"cols": True}, "9" * 5000,
)  # fmt: skip
KEYS = ("data", "data_b64", "signal", "cols", "rows", "offset", "type", "tty", "command", "timeout", "stdin")
KINDS = ("input", "resize", "ack", "ping", "pong", "stdin", "eof", "signal", "start", "exit", "output", "", "no such")
ODD: tuple[str | bytes, ...] = (
    "", " ", "null", "[]", '"ping"', "{", '{"type":"ping"', '{"type":"ping","type":"resize"}', '{"type":["ping"]}',
    '{"type":"resize","cols":NaN,"rows":1}', "[" * 100_000, '{"a":' * 50_000, '{"type":"ack","offset":1e400}',
    '{"type":"ack","offset":' + "9" * 4000 + "}", "\x00", "x" * 900_000, b"", b"\x00\xff" * 1000, b"\r" * 100_000,
)  # fmt: skip
BROKEN = {
    "a text that is no UTF-8": (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007),
    "a frame without a mask": (b"\x81\x02hi", 1002),
    "a frame of no known kind": (b"\x83\x80\x00\x00\x00\x00", 1002),
    "reserved bits": (b"\xf1\x80\x00\x00\x00\x00", 1002),
    "a long ping": (b"\x89\xfe\x01\x00\x00\x00\x00\x00" + bytes(256), 1002),
    "a piece of nothing": (b"\x80\x80\x00\x00\x00\x00", 1002),
    "more than may be": (b"\x82\xff\x00\x00\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00", 1009),
    "more than there is": (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009),
}


def generated(count: int) -> list[str]:
    chance = random.Random(4)
    messages = []
    for _ in range(count):
        said = {chance.choice(KEYS): chance.choice(VALUES) for _ in range(chance.randrange(4))}
        messages.append(json.dumps({**said, "type": chance.choice((*KINDS, *KINDS, *VALUES[:4]))}))
    return messages


async def closed(socket: ClientConnection) -> int:
    async with asyncio.timeout(60):
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code or 0


async def test_a_terminal_takes_what_its_clients_send(api: Api) -> None:
    async with api.container() as container:
        at = f"/ws/terminal/{container['id']}?id=odd"
        async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
            shell = V2(socket)
            # Whatever the dialects take for typed goes nowhere, up to the end of all.
            await socket.send(b"stty raw -echo; echo READY; sed -n '/ENOUGH/q'; stty sane; echo do''ne\n")
            await shell.until(b"READY\n")
            for subprotocol in ("rexec.v1", "rexec.v2", "rexec.raw"):
                async with api.connect(f"{at}&role=editor", subprotocols=[subprotocol]) as other:
                    for message in (*ODD, *generated(150)):
                        await other.send(message)
                    if subprotocol != "rexec.raw":
                        await other.send(json.dumps({"type": "ping"}))
                        async with asyncio.timeout(60):
                            while b'"pong"' not in (await other.recv(decode=False)):
                                pass
            for sent, code in BROKEN.values():
                async with api.connect(at, subprotocols=["rexec.v2"]) as other:
                    other.transport.write(sent)
                    assert await closed(other) in (code, 1006), sent
            await socket.send(b"\nENOUGH\n")
            await shell.until(b"done\r\n")


async def test_a_command_takes_what_its_client_sends_or_says_what_is_wrong(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec/stream"

        async def told(*messages: str | bytes) -> int:
            """The last word to a command that would read for ever."""
            async with api.connect(at) as socket, asyncio.timeout(60):
                for message in messages:
                    await socket.send(message)
                await socket.send(json.dumps({"type": "eof"}))
                said = {"type": ""}
                while said["type"] not in ("exit", "error"):
                    said = json.loads(await socket.recv())
                if said["type"] == "error":
                    assert said["error"]
                    assert said["code"] in ("invalid_request", "no_such_command"), said
                return await closed(socket)

        start = json.dumps({"type": "start", "command": ["wc", "-c"]})
        for first in (*ODD, *generated(40)):
            assert await told(first) in (1000, 4400), first
        for message in (*ODD, *generated(80)):
            assert await told(start, message) in (1000, 4400), message
        for sent, code in BROKEN.values():
            async with api.connect(at) as socket:
                await socket.send(start)
                socket.transport.write(sent)
                assert await closed(socket) in (code, 1006), sent
        assert (await api.exec(container["id"], "echo alive"))["stdout"] == "alive\n"
