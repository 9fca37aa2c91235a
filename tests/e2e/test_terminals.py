"""Terminals over the three subprotocols; what cuts them is in test_transports.py."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

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
        async with asyncio.timeout(60):
            while "done" not in text:
                message = json.loads(await socket.recv())
                types.append(message["type"])
                text += message["data"] if message["type"] == "output" else ""
        assert "été" in text
        assert "�" not in text
        assert types[0] == "connected"
        assert "shell_ready" in types
        for wrong in ({"type": "input"}, {"type": "input", "data": 5}, {"type": "resize", "cols": "wide"}):
            await socket.send(json.dumps(wrong))
        await socket.send(json.dumps({"type": "ping"}))
        await socket.send(json.dumps({"type": "input", "data": "exit 7\n"}))
        refused = []
        async with asyncio.timeout(60):
            while message["type"] != "exit":
                message = json.loads(await socket.recv())
                refused += [message["code"]] if message["type"] == "error" else []
        assert refused == ["invalid_request"] * 3
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
        async with asyncio.timeout(60):
            while b"42" not in seen:
                frame = await socket.recv()
                assert isinstance(frame, bytes)
                seen += frame


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
        async with asyncio.timeout(100):
            while terminal.offset < 24 << 20:
                terminal.output = b""
                await terminal.step()
        assert served.resident_mib() - before < 16
        await socket.send(b"\x03")


async def test_a_plain_shell_keeps_the_path_it_was_given(api: Api) -> None:
    path = "/opt/tool/bin:/usr/bin:/bin"
    async with (
        api.container(environment={"PATH": path}) as container,
        api.connect(f"/ws/terminal/{container['id']}", subprotocols=["rexec.v2"]) as socket,
    ):
        terminal = V2(socket)
        await socket.send(b"echo =$PATH=\n")
        await terminal.until(f"={path}=".encode(), timeout=60)


async def test_terminals_are_listed_limited_and_closed(api: Api) -> None:
    async with api.container() as container:
        at, listed = f"/ws/terminal/{container['id']}", f"/api/containers/{container['id']}/terminals"
        opened = [await api.connect(f"{at}?newSession=true", subprotocols=["rexec.v2"]) for _ in range(20)]
        terminals = [V2(socket) for socket in opened]
        named = {(await terminal.control("ready", timeout=60))["terminal"]: terminal for terminal in terminals}
        names = set(named)
        assert names == {"main", *(f"main-{number}" for number in range(2, 21))}
        async with api.connect(f"{at}?newSession=true", subprotocols=["rexec.v2"]) as socket:
            refused = await V2(socket).control("error", timeout=60)
            assert refused["code"] == "too_many_terminals"
            await socket.wait_closed()
            assert socket.close_code == 4429
        shown = (await api.http.get(listed)).json()["terminals"]
        assert {terminal["name"] for terminal in shown if terminal["attached"] == 1} == names
        gone = await api.http.delete(f"{listed}/main-20")
        assert gone.status_code == 200, gone.text
        end = await named["main-20"].control("exit", timeout=60)
        assert end["reason"] == "closed"
        assert (await api.http.delete(f"{listed}/nobody")).status_code == 404
        for socket in opened:
            await socket.close()


async def test_a_viewer_sees_and_may_not_type(api: Api) -> None:
    async with api.container() as container:
        at = f"/ws/terminal/{container['id']}?id=seen"
        async with (
            api.connect(f"{at}&cols=90&rows=30", subprotocols=["rexec.v2"]) as editing,
            api.connect(f"{at}&cols=20&rows=10&role=viewer", subprotocols=["rexec.v2"]) as viewing,
        ):
            editor, viewer = V2(editing), V2(viewing)
            await editor.control("ready", timeout=60)
            assert (await viewer.control("ready", timeout=60))["role"] == "viewer"
            await viewing.send(b"touch /tmp/typed\n")
            assert (await viewer.control("error", timeout=60))["code"] == "viewer"
            await editing.send(b"ls /tmp/typed; stty size\n")
            await viewer.until(b"No such file", timeout=60)
            await viewer.until(b"30 90", timeout=60)


async def test_v1_says_where_its_output_goes_on(api: Api) -> None:
    """Bytes that are no UTF-8 included: `next` is the `since` of one who comes back."""
    async with api.container() as container:
        at, text = f"/ws/terminal/{container['id']}?id=v1", ""
        said: dict[str, Any] = {}
        async with api.connect(at, subprotocols=["rexec.v1"]) as socket, asyncio.timeout(60):
            epoch = json.loads(await socket.recv())["epoch"]
            await socket.send(b"printf 'be\\377gi\\303n\\n'; sleep 1; echo mid''dle; sleep 1; echo the-en''d\n")
            while "n\r\n" not in text:
                said = json.loads(await socket.recv())
                text += said["data"] if said["type"] == "output" else ""
        async with (
            api.connect(f"{at}&epoch={epoch}&since={said['next']}", subprotocols=["rexec.v1"]) as socket,
            asyncio.timeout(60),
        ):
            while "the-end" not in text:
                said = json.loads(await socket.recv())
                text += said["data"] if said["type"] == "output" else ""
        assert text.count("be\ufffdgi\ufffdn") == 1
        assert text.count("middle") == 1


async def test_who_leaves_in_the_middle_of_a_paste_is_gone(api: Api) -> None:
    """Though the shell reads nothing of it: its size no longer counts."""
    async with api.container() as container:
        at, listed = f"/ws/terminal/{container['id']}?id=busy", f"/api/containers/{container['id']}/terminals"
        async with (
            api.connect(f"{at}&cols=90&rows=30", subprotocols=["rexec.v2"]) as staying,
            api.connect(f"{at}&cols=60&rows=20", subprotocols=["rexec.v2"]) as leaving,
        ):
            terminal = V2(staying)
            await staying.send(b"stty raw -echo; echo READY; exec sleep 4246\n")
            await terminal.until(b"READY\n")
            pasting = asyncio.create_task(paste(leaving))
            done, _ = await asyncio.wait([pasting], timeout=1)
            assert not done
            leaving.transport.abort()
            async with asyncio.timeout(60):
                await pasting
                while True:
                    [shown] = (await api.http.get(listed)).json()["terminals"]
                    if (shown["attached"], shown["cols"], shown["rows"]) == (1, 90, 30):
                        break
                    await asyncio.sleep(0.1)


async def paste(socket: ClientConnection) -> None:
    with suppress(websockets.ConnectionClosed):
        while True:
            await socket.send(b"x" * 500_000)
