"""Terminals over the three subprotocols, across cut sockets and a killed server."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
import websockets

from support.client import Api, small
from support.server import Served
from support.v2 import V2


async def test_a_socket_opened_while_creating_waits_for_the_shell(api: Api) -> None:
    made = (await api.http.post("/api/containers", json=small())).json()
    async with api.connect(f"/ws/terminal/{made['id']}?cols=101&rows=33", subprotocols=["rexec.v2"]) as socket:
        assert socket.subprotocol == "rexec.v2"
        terminal = V2(socket)
        await terminal.control("ready", timeout=60)
        await socket.send(b"stty size; echo sm\\\nile\n")
        await terminal.until(b"33 101")
        await terminal.until(b"smile")
    await api.delete(made["id"])


async def test_v1_speaks_json_and_never_splits_a_character(api: Api) -> None:
    async with (
        api.container() as container,
        api.connect(f"/ws/terminal/{container['id']}", subprotocols=["rexec.v1"]) as socket,
    ):
        types, text = [], ""
        await socket.send(
            json.dumps(
                {"type": "input", "data": "printf '\\303'; sleep 0.2; printf '\\251t\\303\\251\\n'; echo do''ne\n"}
            )
        )
        async with asyncio.timeout(20):
            while "done" not in text:
                message = json.loads(await socket.recv())
                types.append(message["type"])
                text += message["data"] if message["type"] == "output" else ""
        assert "été" in text
        assert "�" not in text
        assert types[0] == "connected"
        assert "shell_ready" in types
        await socket.send(json.dumps({"type": "ping"}))
        await socket.send(json.dumps({"type": "input", "data": "exit 7\n"}))
        async with asyncio.timeout(20):
            while message["type"] != "exit":
                message = json.loads(await socket.recv())
        assert message["code"] == 7


async def test_two_sockets_share_a_shell_and_the_smaller_size(api: Api) -> None:
    async with api.container() as container:
        at = f"/ws/terminal/{container['id']}?id=shared"
        async with (
            api.connect(f"{at}&cols=120&rows=40", subprotocols=["rexec.v2"]) as first_socket,
            api.connect(f"{at}&cols=80&rows=50", subprotocols=["rexec.v2"]) as second_socket,
        ):
            first, second = V2(first_socket), V2(second_socket)
            await first.control("ready")
            await second.control("ready")
            await first_socket.send(b"stty size\n")
            await first.until(b"40 80")
            await second.until(b"40 80")
        listed = await api.http.get(f"/api/containers/{container['id']}/terminals")
        assert [terminal["name"] for terminal in listed.json()["terminals"]] == ["shared"]


async def test_raw_is_bytes_only(api: Api) -> None:
    async with (
        api.container() as container,
        api.connect(f"/ws/terminal/{container['id']}?id=raw", subprotocols=["rexec.raw"]) as socket,
    ):
        await socket.send(b"echo $((6 * 7))\n")
        seen = b""
        async with asyncio.timeout(20):
            while b"42" not in seen:
                frame = await socket.recv()
                assert isinstance(frame, bytes)
                seen += frame


async def test_a_shell_outlives_kill_9_of_the_server_without_a_gap_or_a_repeat(served: Served) -> None:
    api = served.api
    async with api.container() as container:
        at = f"/ws/terminal/{container['id']}?id=survivor"
        async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
            terminal = V2(socket)
            await terminal.control("ready")
            await socket.send(
                b"for i in $(seq 1 3000); do echo line-$i; test $((i % 100)) -gt 0 || sleep 0.05; done; echo the-en''d\n"
            )
            await terminal.until(b"line-300\r\n")
            await served.kill()
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await terminal.step()
        await served.start()
        query = f"{at}&epoch={terminal.epoch}&since={terminal.offset}"
        async with api.connect(query, subprotocols=["rexec.v2"]) as socket:
            resumed = V2(socket)
            await resumed.until(b"the-end", timeout=40)
        assert not [message for message in resumed.controls if message["type"] == "lagged"]
        numbers = re.findall(rb"line-(\d+)\r\n", terminal.output + resumed.output)
        assert [int(number) for number in numbers] == list(range(1, 3001))


async def test_a_flood_moves_no_memory_of_the_server(served: Served) -> None:
    api = served.api
    async with (
        api.container() as container,
        api.connect(f"/ws/terminal/{container['id']}?id=flood", subprotocols=["rexec.v2"], max_queue=1) as socket,
    ):
        await socket.send(b"yes\n")
        terminal = V2(socket)
        await terminal.control("ready")
        before = served.resident_mib()
        async with asyncio.timeout(60):
            while terminal.offset < 64 << 20:
                terminal.output = b""
                await terminal.step()
        assert served.resident_mib() - before < 16
        await asyncio.sleep(3)
        assert served.resident_mib() - before < 16
        await socket.send(b"\x03")
