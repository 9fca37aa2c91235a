"""Commands that stream and commands that go on by themselves: input, leaving, ends, limits."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from typing import Any

import websockets

from support.client import Api

BIG = 900_000
"""More than all buffers between here and a command hold."""


async def events(api: Api, container: str, **wanted: Any) -> list[tuple[str, dict[str, Any]]]:
    seen, kind = [], ""
    at = f"/api/containers/{container}/exec/stream"
    async with asyncio.timeout(90), api.http.stream("POST", at, json=wanted) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                seen.append((kind, json.loads(line.removeprefix("data:"))))
    return seen


async def test_input_that_comes_back_at_once_blocks_nothing(api: Api) -> None:
    async with api.container() as container:
        seen = await events(api, container["id"], command=["cat"], stdin="x" * BIG)
        assert sum(len(said["data"]) for kind, said in seen if kind == "stdout") == BIG
        assert seen[-1][1]["exit_code"] == 0
        at = f"/api/containers/{container['id']}/exec/stream"
        async with api.connect(at) as socket, asyncio.timeout(90):
            await socket.send(json.dumps({"type": "start", "command": ["cat"], "stdin": "y" * BIG}))
            await socket.send(
                json.dumps({"type": "stdin", "data_b64": base64.b64encode(b"z" * BIG).decode()[:1_000_000]})
            )
            await socket.send(json.dumps({"type": "eof"}))
            count = 0
            while (said := json.loads(await socket.recv()))["type"] != "exit":
                count += len(said.get("data", ""))
            assert said["exit_code"] == 0
            assert count == BIG + 750_000


async def test_a_client_that_leaves_takes_its_command_with_it(api: Api) -> None:
    """All of it, in each way to run one; also one that never reads what its client still wanted to send."""
    double = "setsid sh -c 'echo here; exec sleep 4241' & setsid sleep 4241 & sleep 4241"
    body = {"command": double, "timeout": 300, "stdin": "x" * BIG}
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec"
        asking = asyncio.create_task(api.http.post(at, json=body))
        await running(api, container["id"], 3)
        asking.cancel()
        await asyncio.wait([asking])
        await running(api, container["id"], 0)
        async with api.http.stream("POST", f"{at}/stream", json=body) as answer:
            async for line in answer.aiter_lines():
                if "here" in line:
                    break
        await running(api, container["id"], 0)
        await left_in_the_middle(api, f"{at}/stream", {"type": "start", **body})
        await running(api, container["id"], 0)


async def left_in_the_middle(api: Api, at: str, start: dict[str, Any]) -> None:
    """Leaves with more under way than all buffers hold."""
    async with api.connect(at) as socket, asyncio.timeout(60):
        await socket.send(json.dumps(start))
        while "here" not in json.loads(await socket.recv()).get("data", ""):
            pass
        sending = asyncio.create_task(flood(socket))
        await running(api, at.split("/")[3], 3)
        done, _ = await asyncio.wait([sending], timeout=1)
        assert not done
        socket.transport.abort()
    sending.cancel()
    await asyncio.wait([sending])


async def flood(socket: Any) -> None:
    with suppress(websockets.ConnectionClosed):
        while True:
            await socket.send(b"x" * BIG)


async def running(api: Api, container: str, count: int) -> None:
    """Waits until so many of the commands run."""
    async with asyncio.timeout(60):
        while True:
            seen = await api.exec(container, "grep -lszx '424[1]' /proc/[0-9]*/cmdline | wc -l")
            if int(seen["stdout"]) == count:
                return
            await asyncio.sleep(0.2)


async def test_a_terminal_stream_takes_signals_and_sizes(api: Api) -> None:
    async with api.container() as container, api.connect(f"/api/containers/{container['id']}/exec/stream") as socket:
        text, said = "", {"type": ""}
        await socket.send(
            json.dumps({"type": "start", "command": "stty size; sleep 4240", "tty": {"cols": 91, "rows": 31}})
        )
        async with asyncio.timeout(60):
            while "31 91" not in text:
                text += json.loads(await socket.recv()).get("data", "")
            await socket.send(json.dumps({"type": "signal", "signal": "SIGTERM"}))
            while said["type"] != "exit":
                said = json.loads(await socket.recv())
        assert (said["exit_code"], said["reason"]) == (143, "signaled")


async def test_a_process_goes_on_and_is_asked_about(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/processes"
        asked = {"command": "echo out; echo err >&2; cat > /tmp/in; exec sleep 4242", "stdin": "typed"}
        key = {"Idempotency-Key": "one-process"}
        made = await api.http.post(at, json=asked, headers=key)
        assert made.status_code == 201, made.text
        again = await api.http.post(at, json=asked, headers=key)
        detached = await api.http.post(
            f"/api/containers/{container['id']}/exec", json={"command": ["sh", "-c", "exit 7"], "detach": True}
        )
        assert detached.status_code == 201, detached.text
        first, second = made.json()["id"], detached.json()["id"]
        assert again.json()["id"] == first
        ended = (await api.http.get(f"{at}/{second}/wait", params={"timeout": 60})).json()
        assert (ended["running"], ended["exit_code"], ended["reason"]) == (False, 7, "exited")
        listed = (await api.http.get(at)).json()["processes"]
        assert {process["id"] for process in listed} == {first, second}

        async with asyncio.timeout(60):
            while (await api.http.get(f"{at}/{first}")).json()["stderr_offset"] < 4:
                await asyncio.sleep(0.05)
        logs = await api.http.get(f"{at}/{first}/logs", params={"offset": 1})
        assert (logs.content, logs.headers["rexec-offset"], logs.headers["rexec-end"]) == (b"ut\n", "1", "4")
        assert (await api.http.get(f"{at}/{first}/logs", params={"stream": "stderr"})).content == b"err\n"
        assert (await api.http.get(f"{at}/{first}/logs", params={"offset": 99})).status_code == 416
        unknown = await api.http.get(f"{at}/{first}/logs", params={"follow": "true"})
        assert (unknown.status_code, unknown.json()["details"][0]["field"]) == (400, "follow")
        assert (await api.exec(container["id"], "cat /tmp/in"))["stdout"] == "typed"
        assert (await api.http.post(f"{at}/{first}/signal", json={"signal": "TERM"})).status_code == 200
        ended = (await api.http.get(f"{at}/{first}/wait", params={"timeout": 60})).json()
        assert (ended["exit_code"], ended["reason"]) == (143, "signaled")
        assert (await api.http.post(f"{at}/{first}/signal", json={"signal": 9})).status_code == 409
        assert (await api.http.delete(f"{at}/{first}")).status_code == 200
        assert (await api.http.get(f"{at}/{first}")).status_code == 404


async def test_ends_are_named_and_nothing_is_left_over(api: Api) -> None:
    async with api.container() as container:
        eaten = await api.exec(container["id"], ["perl", "-e", "$x = 'a' x (600 << 20); sleep 1"])
        assert (eaten["exit_code"], eaten["reason"]) == (137, "out_of_memory")
        assert eaten["memory_peak"] > 200 << 20
        killed = await api.exec(container["id"], "kill -9 $$")
        assert (killed["exit_code"], killed["reason"]) == (137, "signaled")
        short = await api.http.post(
            f"/api/containers/{container['id']}/exec", json={"command": "sleep 9", "timeout": 0.0001}
        )
        assert short.status_code == 504
        orphans = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; cat /proc/[0-9]*/stat"
        after = await api.exec(container["id"], orphans, timeout=120)
        assert after["exit_code"] in (0, 1)
        async with asyncio.timeout(60):
            while ") Z " in (await api.exec(container["id"], "cat /proc/[0-9]*/stat; true"))["stdout"]:
                await asyncio.sleep(0.1)


async def test_a_full_pids_limit_is_said_and_passes_with_its_cause(api: Api) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}"
        bomb = {"command": ["bash", "-c", "while :; do sleep 4243 & done 2>/dev/null"], "detach": True}
        started = await api.http.post(f"{at}/exec", json=bomb)
        assert started.status_code == 201, started.text
        async with asyncio.timeout(90):
            while (answer := await api.http.post(f"{at}/exec", json={"command": ["true"]})).status_code != 503:
                await asyncio.sleep(0.05)
        assert answer.json()["code"] == "pids_limit", answer.text
        assert (await api.http.delete(f"{at}/processes/{started.json()['id']}")).status_code == 200
        async with asyncio.timeout(60):
            while (answer := await api.http.post(f"{at}/exec", json={"command": "echo alive"})).status_code != 200:
                await asyncio.sleep(0.1)
        assert answer.json()["stdout"] == "alive\n"
