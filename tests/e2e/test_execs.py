"""Commands: streams, exit codes, time-outs, truncation, live streams."""

from __future__ import annotations

import asyncio
import base64
import json

from support.client import Api


async def test_streams_exit_code_cwd_env_stdin_user(api: Api) -> None:
    async with api.container() as container:
        ran = await api.exec(
            container["id"],
            ["sh", "-c", "cat; echo $A >&2; pwd; id -un; exit 3"],
            cwd="/tmp",
            env={"A": "b c"},
            stdin="typed",
            user="user",
        )
        assert ran["stdout"] == "typed/tmp\nuser\n"
        assert ran["stderr"] == "b c\n"
        assert ran["exit_code"] == 3
        assert ran["timed_out"] is False


async def test_a_command_ends_when_its_client_leaves(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec"
        asking = asyncio.create_task(api.http.post(at, json={"command": "exec sleep 4244"}))
        runs = "grep -qszx '424[4]' /proc/[0-9]*/cmdline"
        begun = await api.exec(container["id"], f"until {runs}; do sleep 0.1; done", timeout=100)
        assert begun["exit_code"] == 0
        asking.cancel()
        await asyncio.wait([asking])
        gone = await api.exec(container["id"], f"while {runs}; do sleep 0.1; done", timeout=100)
        assert gone["exit_code"] == 0


async def test_a_timeout_is_504_with_what_came_and_kills_the_whole_tree(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec"
        late = await api.http.post(
            at, json={"command": "echo early; setsid sleep 4242 & setsid sleep 4243; echo never", "timeout": 1}
        )
        assert late.status_code == 504, late.text
        assert late.json()["stdout"] == "early\n"
        assert late.json()["exit_code"] == -1
        assert late.json()["timed_out"] is True
        assert {"error", "code"} <= late.json().keys()
        left = await api.exec(container["id"], "grep -lszx '424[23]' /proc/[0-9]*/cmdline")
        assert left["stdout"] == ""


async def test_truncated_and_binary_output_are_told(api: Api) -> None:
    async with api.container() as container:
        flood = await api.exec(container["id"], "head -c 3000000 /dev/zero | tr '\\0' x")
        assert flood["truncated"] is True
        assert len(flood["stdout"]) == 1 << 20
        odd = await api.exec(container["id"], ["printf", "\\377\\376"])
        assert base64.b64decode(odd["stdout_b64"]) == b"\xff\xfe"


async def test_a_hundred_at_once_all_answer(api: Api) -> None:
    async with api.container() as container:
        ran = await asyncio.gather(*(api.exec(container["id"], f"echo {number}") for number in range(100)))
        assert [result["stdout"] for result in ran] == [f"{number}\n" for number in range(100)]


async def test_server_sent_events_come_live(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec/stream"
        seen = []
        async with api.http.stream("POST", at, json={"command": "echo out; echo err >&2; exit 5"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            async for line in answer.aiter_lines():
                if line.startswith("event:"):
                    seen.append(line.removeprefix("event:").strip())
        assert {"stdout", "stderr", "exit"} <= set(seen)


async def test_a_socket_carries_live_stdin_and_signals(api: Api) -> None:
    async with api.container() as container, api.connect(f"/api/containers/{container['id']}/exec/stream") as socket:
        await socket.send(json.dumps({"type": "start", "command": ["cat"]}))
        await socket.send(json.dumps({"type": "stdin", "data": "ping\n"}))
        text, exit_code = "", None
        await socket.send(json.dumps({"type": "eof"}))
        async with asyncio.timeout(60):
            while exit_code is None:
                message = json.loads(await socket.recv())
                text += message.get("data", "") if message["type"] == "stdout" else ""
                exit_code = message.get("exit_code") if message["type"] == "exit" else None
        assert text == "ping\n"
        assert exit_code == 0


async def test_files_go_up_and_down_whatever_their_names(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/files"
        for name in ("plain", "with space", "new\nline", "ünïcode", "a?b&c=d#e"):
            path = f"/home/user/{name}"
            put = await api.http.put(at, params={"path": path}, content=name.encode() * 1000)
            assert put.status_code in (200, 201), put.text
            got = await api.http.get(at, params={"path": path})
            assert got.content == name.encode() * 1000
            part = await api.http.get(at, params={"path": path}, headers={"Range": "bytes=0-3"})
            assert part.status_code == 206
            assert part.content == (name.encode() * 1000)[:4]
        listed = (await api.http.get(f"{at}/list", params={"path": "/home/user"})).json()
        assert {"plain", "with space", "new\nline", "ünïcode", "a?b&c=d#e"} <= {f["name"] for f in listed["files"]}
        assert (await api.http.get(at, params={"path": "/nowhere"})).status_code == 404
        beyond = await api.http.get(at, params={"path": "/home/user/plain"}, headers={"Range": "bytes=999999-"})
        assert beyond.status_code == 416
