"""The same over both ways to a guest: sockets in a folder that the engine mounts, and a bridge to an engine that sees
none of our files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiodocker
import pytest
import websockets

from support import images
from support.daemon import Daemon
from support.distant import distant_daemon
from support.server import Served
from support.v2 import V2

ECHO = (
    "my $l = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => 4000);"
    "while (my $c = $l->accept) { local $/; my $all = <$c>; print $c $all; close $c }"
)
KILL_THE_BRIDGE = "for p in /proc/[0-9]*; do if grep -qzx dial $p/cmdline; then kill -9 ${p#/proc/}; fi; done"


@pytest.fixture(scope="module")
def distant() -> Iterator[Daemon]:
    with distant_daemon() as started:
        images.load(started.url, images.guest_binary(), few=True)
        yield started


@pytest.fixture(scope="module")
async def bridged(distant: Daemon) -> AsyncIterator[Served]:
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    async with Served(data, distant.url, REXEC_SWEEP_INTERVAL="5").at_work() as server:
        yield server
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="module", params=["mounted", "bridged"])
def way(request: pytest.FixtureRequest) -> Served:
    served: Served = request.getfixturevalue("served" if request.param == "mounted" else "bridged")
    return served


@pytest.fixture(scope="module")
async def box(way: Served) -> AsyncIterator[dict[str, Any]]:
    """A container that the tests of one way share."""
    async with way.api.container() as container:
        yield container


async def test_commands(way: Served, box: dict[str, Any]) -> None:
    api = way.api
    ran = await api.exec(box["id"], "cat; echo wrong >&2; exit 7", stdin="given")
    assert (ran["stdout"], ran["stderr"], ran["exit_code"]) == ("given", "wrong\n", 7)
    many = await asyncio.gather(*(api.exec(box["id"], ["echo", str(n)]) for n in range(60)))
    assert [ran["stdout"] for ran in many] == [f"{n}\n" for n in range(60)]
    large = await api.exec(box["id"], "head -c 900000 /dev/zero | tr '\\0' x")
    assert len(large["stdout"]) == 900_000
    late = await api.http.post(
        f"/api/containers/{box['id']}/exec", json={"command": "echo so far; sleep 100", "timeout": 1}
    )
    assert (late.status_code, late.json()["stdout"]) == (504, "so far\n")


async def test_live_streams_end_with_their_clients(way: Served, box: dict[str, Any]) -> None:
    async with way.api.connect(f"/api/containers/{box['id']}/exec/stream") as socket:
        await socket.send(json.dumps({"type": "start", "command": "echo $$; exec sleep 1000"}))
        pid = None
        async with asyncio.timeout(60):
            while pid is None:
                message = json.loads(await socket.recv())
                pid = message["data"].strip() if message["type"] == "stdout" else None
    async with asyncio.timeout(60):
        while (await way.api.exec(box["id"], ["test", "-d", f"/proc/{pid}"]))["exit_code"] == 0:
            await asyncio.sleep(0.1)


async def test_a_shell_goes_on_over_kill_9_of_the_server(way: Served, box: dict[str, Any]) -> None:
    at = f"/ws/terminal/{box['id']}?id=survivor"
    async with way.api.connect(at, subprotocols=["rexec.v2"]) as socket:
        terminal = V2(socket)
        await terminal.control("ready")
        await socket.send(
            b"for i in $(seq 1 3000); do echo line-$i; test $((i % 100)) -gt 0 || sleep 0.05; done; echo the-en''d\n"
        )
        await terminal.until(b"line-300\r\n")
        await way.kill()
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await terminal.step()
    await way.start()
    query = f"{at}&epoch={terminal.epoch}&since={terminal.offset}"
    async with way.api.connect(query, subprotocols=["rexec.v2"]) as socket:
        resumed = V2(socket)
        await resumed.until(b"the-end")
    assert not [message for message in resumed.controls if message["type"] == "lagged"]
    numbers = re.findall(rb"line-(\d+)\r\n", terminal.output + resumed.output)
    assert [int(number) for number in numbers] == list(range(1, 3001))


async def test_a_flood_stops_where_nobody_reads(way: Served, box: dict[str, Any]) -> None:
    at = f"/ws/terminal/{box['id']}?id=flood"
    async with way.api.connect(at, subprotocols=["rexec.v2"], max_queue=1, close_timeout=1) as socket:
        terminal = V2(socket)
        await terminal.control("ready")
        await socket.send(b"yes\n")
        await terminal.until(b"y\r\ny\r\n")
        before = way.resident_mib()
        # Others are answered meanwhile, and what nobody reads is nowhere kept.
        for _ in range(20):
            await way.api.exec(box["id"], ["true"])
        assert way.resident_mib() - before < 16


async def test_files(way: Served, box: dict[str, Any]) -> None:
    http, at = way.api.http, f"/api/containers/{box['id']}/files"
    content = os.urandom(12 << 20)
    name = base64.b64encode(b"/home/user/a \n\xff.bin").decode()
    put = await http.put(at, params={"path_b64": name}, content=content)
    assert put.status_code == 200, put.text
    got = await http.get(at, params={"path_b64": name})
    assert got.content == content
    part = await http.get(at, params={"path_b64": name}, headers={"Range": "bytes=1000000-1999999"})
    assert (part.status_code, part.content) == (206, content[1_000_000:2_000_000])
    tar = await http.get(f"{at}/archive", params={"path": "/home/user"})
    assert tar.status_code == 200
    assert (await http.put(f"{at}/archive", params={"path": "/copy"}, content=tar.content)).status_code == 200
    listed = (await http.get(f"{at}/list", params={"path": "/copy/user"})).json()["files"]
    assert [(entry["size"], base64.b64decode(entry["name_b64"])) for entry in listed] == [(12 << 20, b"a \n\xff.bin")]


async def test_changes_are_told(way: Served, box: dict[str, Any]) -> None:
    async with way.api.connect(f"/api/containers/{box['id']}/files/watch?path=/home/user") as socket:
        async with asyncio.timeout(60):
            assert json.loads(await socket.recv())["type"] == "ready"
            await way.api.exec(box["id"], "mkdir -p deep/er; echo x > deep/er/file", cwd="/home/user")
            seen: set[str] = set()
            while "/home/user/deep/er/file" not in seen:
                seen.add(json.loads(await socket.recv()).get("path", ""))


async def test_a_tunnel_carries_both_ways_and_half_closes(way: Served, box: dict[str, Any]) -> None:
    api = way.api
    command = ["perl", "-MIO::Socket::INET", "-e", ECHO]
    began = await api.http.post(f"/api/containers/{box['id']}/processes", json={"command": command})
    assert began.status_code == 201, began.text
    async with asyncio.timeout(60):
        while not any(
            port["port"] == 4000 for port in (await api.http.get(f"/api/containers/{box['id']}/ports")).json()["ports"]
        ):
            await asyncio.sleep(0.1)
    content = os.urandom(3 << 20)
    async with api.connect(f"/ws/ports/{box['id']}/4000") as socket:
        for start in range(0, len(content), 65536):
            await socket.send(content[start : start + 65536])
        await socket.send(b"")
        back = b""
        async with asyncio.timeout(60):
            while piece := await socket.recv():
                assert isinstance(piece, bytes)
                back += piece
    assert back == content


async def test_it_is_found_again_after_stop_and_start(way: Served, box: dict[str, Any]) -> None:
    for verb in ("stop", "start"):
        answer = await way.api.http.post(f"/api/containers/{box['id']}/{verb}")
        assert answer.status_code == 200, answer.text
    assert (await way.api.exec(box["id"], ["echo", "again"]))["stdout"] == "again\n"
    stats = (await way.api.http.get(f"/api/containers/{box['id']}/stats")).json()
    assert stats["memory"] > 0


async def test_a_bridge_that_is_killed_is_built_again(bridged: Served) -> None:
    async with bridged.api.container() as container:
        for _ in range(3):
            cut = await bridged.api.http.post(
                f"/api/containers/{container['id']}/exec", json={"command": KILL_THE_BRIDGE}
            )
            assert (cut.status_code, cut.json().get("code")) == (503, "guest_unreachable")
            assert (await bridged.api.exec(container["id"], ["echo", "here"]))["stdout"] == "here\n"


async def test_an_open_bridge_does_not_hold_up_the_servers_end(bridged: Served) -> None:
    async with bridged.api.container() as container:
        at = f"/api/containers/{container['id']}/exec"
        waiting = asyncio.create_task(bridged.api.http.post(at, json={"command": "touch began; sleep 90"}))
        while (await bridged.api.exec(container["id"], ["test", "-e", "began"]))["exit_code"]:
            continue
        bridged.send(signal.SIGTERM)
        cut = await waiting
        assert (cut.status_code, cut.json()["code"], cut.headers["Retry-After"]) == (503, "draining", "5")
        assert await bridged.ended() == 0
        await bridged.start()
        assert (await bridged.api.exec(container["id"], ["echo", "here"]))["stdout"] == "here\n"


async def test_an_image_of_one_program_is_reached_over_a_bridge(bridged: Served) -> None:
    async with bridged.api.container(image="custom", custom_image=images.STATIC) as container:
        ran = await bridged.api.exec(container["id"], ["/app", "version"])
        assert ran["exit_code"] == 0


async def test_what_a_distant_engine_cannot_enforce_is_told(bridged: Served) -> None:
    told = [line for line in bridged.log.read_text().splitlines() if '"engine ready"' in line]
    assert "containers can reach this host and internal networks" in told[-1]
    async with bridged.api.container() as container:
        ran = await bridged.api.exec(container["id"], "echo x >>/etc/hosts; echo x >/.rexec/new")
        assert ran["stderr"].count("Read-only file system") == 2


async def test_the_volume_is_made_once_and_old_ones_go(bridged: Served, distant: Daemon) -> None:
    async with aiodocker.Docker(distant.url) as docker:

        async def volumes() -> list[dict[str, Any]]:
            answer = await docker.volumes.list(filters={"label": "rexec.installation"})
            return list(answer["Volumes"])

        [only] = await volumes()
        await docker.volumes.create({"Name": "rexec-old", "Labels": only["Labels"]})
        await bridged.stop()
        await bridged.start()
        assert await volumes() == [only]
