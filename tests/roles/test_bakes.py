"""Bakes that fail, are cut off, are shared and are made again: with small recipes of the tests' own."""

from __future__ import annotations

import asyncio
import hashlib
import platform
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from typing import Any

import aiodocker
import pytest

from support.client import Api, small
from support.daemon import Daemon
from support.server import Served

pytestmark = pytest.mark.timeout(300)
RUN = token_hex(4)
"""Layers outlive a server and are found by the next."""
SHARED = """
description = "Waits until it is let go"
size_mb = 1
[tools]
tool = "test -e /baked"
[[steps]]
name = "slow"
script = "until [ -e /tmp/go ]; do sleep 0.2; done; date +%s%N > /baked; : {text}"
"""
FAILING = """
description = "Fails in its second step"
size_mb = 1
[tools]
tool = "true"
[[steps]]
name = "first"
script = "echo all is well"
[[steps]]
name = "second"
script = "echo about to break; exit 3"
"""
GREEDY = """
description = "Takes more memory than a build has"
size_mb = 1
[tools]
tool = "true"
[[steps]]
name = "hoard"
script = "exec tail /dev/zero"
"""
QUICK = """
description = "Quick"
size_mb = 1
[tools]
tool = "cat /baked"
{tools}
[[steps]]
name = "write"
script = "date +%s%N > /baked; echo {text} > /text"
{steps}
"""


@pytest.fixture(scope="module")
async def own(docker_daemon: Daemon) -> AsyncIterator[Served]:
    """A server with recipes that tests write; it is restarted to read them."""
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    recipes = data / "recipes"
    recipes.mkdir()
    waiting = {role: SHARED.replace("{text}", f"{role} {RUN}") for role in ("shared", "beside")}
    for role, text in (*waiting.items(), ("failing", FAILING), ("quick", quick(RUN)), ("greedy", GREEDY)):
        (recipes / f"{role}.toml").write_text(text)
    server = Served(data, docker_daemon.url, REXEC_LAYERS__RECIPES=str(recipes), REXEC_LAYERS__MEMORY_MB="256")
    await server.start()
    yield server
    await server.stop()
    await server.api.http.aclose()
    shutil.rmtree(data, ignore_errors=True)


def quick(text: str, tools: str = "", steps: str = "") -> str:
    return QUICK.format(text=text, tools=tools, steps=steps)


async def made(api: Api, role: str, image: str = "debian:bookworm") -> dict[str, Any]:
    answer = await api.http.post("/api/containers", params={"wait": 120}, json=small(image=image, role=role))
    assert answer.status_code == 200, answer.text
    container: dict[str, Any] = answer.json()
    return container


@asynccontextmanager
async def ran(api: Api, role: str, image: str = "debian:bookworm") -> AsyncIterator[dict[str, Any]]:
    container = await made(api, role, image)
    assert container["status"] == "running", container["message"]
    yield container
    await api.delete(container["id"])


async def baked_at(api: Api, image: str) -> str:
    """When the layer behind a new container was baked."""
    async with ran(api, "quick", image) as container:
        stdout: str = (await api.exec(container["id"], "cat /baked"))["stdout"]
        return stdout


async def builds(docker: aiodocker.Docker, own: Served) -> list[aiodocker.containers.DockerContainer]:
    """Of this server, found as the server itself finds them."""
    name = hashlib.sha256(f"{platform.node()} {own.url.removeprefix('http://')}".encode()).hexdigest()[:8]
    found = await docker.containers.list(all=True, filters={"label": [f"rexec.builder={name}"]})
    return [each for each in found if not each["Labels"].get("rexec.engine_key")]


async def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.5)
    return found


async def let_go(build: aiodocker.containers.DockerContainer) -> None:
    execution = await build.exec(["touch", "/tmp/go"])
    async with execution.start(detach=False) as stream:
        while await stream.read_out() is not None:
            pass


async def test_a_failing_step_is_named_with_its_last_words(own: Served, docker: aiodocker.Docker) -> None:
    container = await made(own.api, "failing")
    assert (container["status"], container["reason"]) == ("error", "setup_failed")
    assert "step `second`: exit 3" in container["message"]
    assert container["message"].endswith("about to break")
    assert await builds(docker, own) == []
    await own.api.delete(container["id"])


async def test_a_build_that_runs_out_of_memory_says_so(own: Served) -> None:
    container = await made(own.api, "greedy")
    assert (container["status"], container["reason"]) == ("error", "setup_failed")
    assert "step `hoard`: exit 137, the build ran out of memory" in container["message"]
    await own.api.delete(container["id"])


async def test_two_hundred_creations_wait_for_one_bake_and_hold_nobody_up(
    own: Served, docker: aiodocker.Docker
) -> None:
    api = own.api
    answers = await asyncio.gather(*(api.http.post("/api/containers", json=small(role="shared")) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {202}
    waiting = [answer.json()["id"] for answer in answers]
    (build,) = await until(lambda: builds(docker, own))

    async def all_wait() -> bool:
        listed = (await api.http.get("/api/containers?limit=1000")).json()["containers"]
        return sum(entry["stage"] == "configuring" for entry in listed) == 200

    await until(all_wait)
    async with api.container():
        pass  # one without a role starts at once, though all of these wait
    assert len(await builds(docker, own)) == 1
    await until(lambda: _says(api, waiting[0], "Installing the role shared: slow"))
    await asyncio.gather(*(api.delete(reference) for reference in waiting[3:]))
    await let_go(build)
    times = set()
    for reference in waiting[:3]:
        await until(partial(_is, api, reference, "running"))
        times.add((await api.exec(reference, "cat /baked"))["stdout"])
        await api.delete(reference)
    assert len(times) == 1, "all of them come from one bake"


async def _says(api: Api, reference: str, message: str) -> bool:
    return bool((await api.get(reference))["message"] == message)


async def _is(api: Api, reference: str, status: str) -> bool:
    return bool((await api.get(reference))["status"] == status)


async def test_a_bake_nobody_waits_for_any_more_is_cancelled(own: Served, docker: aiodocker.Docker) -> None:
    body = small(role="shared", image="alpine:latest")
    container = (await own.api.http.post("/api/containers", json=body)).json()
    await until(lambda: builds(docker, own))
    await own.api.delete(container["id"])

    async def gone() -> bool:
        return not await builds(docker, own)

    await until(gone)


async def test_a_killed_server_leaves_no_build_behind_and_goes_on(own: Served, docker: aiodocker.Docker) -> None:
    body = small(role="shared", image="alpine:latest")
    container = (await own.api.http.post("/api/containers", json=body)).json()
    (cut_off,) = await until(lambda: builds(docker, own))
    await own.kill()
    await own.start()

    async def another() -> aiodocker.containers.DockerContainer | None:
        return next((found for found in await builds(docker, own) if found.id != cut_off.id), None)

    await let_go(await until(another))
    await until(lambda: _is(own.api, container["id"], "running"))
    assert await builds(docker, own) == []
    await own.api.delete(container["id"])


async def test_a_command_and_another_server_beside_it_leave_a_bake_alone(own: Served, docker: aiodocker.Docker) -> None:
    body = small(role="beside", image="alpine:latest")
    container = (await own.api.http.post("/api/containers", json=body)).json()
    (build,) = await until(lambda: builds(docker, own))
    await own.command("doctor")
    other = Served(own.data, own.docker, REXEC_LAYERS__RECIPES=str(own.data / "recipes"))
    other.share(own)
    try:
        await other.start()
    finally:
        await other.stop()
        await other.api.http.aclose()
    assert [found.id for found in await builds(docker, own)] == [build.id]
    await let_go(build)
    await until(lambda: _is(own.api, container["id"], "running"))
    await own.api.delete(container["id"])


async def test_an_edited_recipe_is_baked_again_only_where_it_concerns(own: Served) -> None:
    api, recipe = own.api, own.data / "recipes/quick.toml"
    before = {image: await baked_at(api, image) for image in ("debian:bookworm", "alpine:latest")}
    assert await baked_at(api, "debian:bookworm") == before["debian:bookworm"]
    recipe.write_text(quick(RUN, steps='[[steps]]\nname = "apt only"\nmanagers = ["apt"]\nscript = "true"'))
    await own.stop()
    await own.start()
    after = {image: await baked_at(api, image) for image in ("debian:bookworm", "alpine:latest")}
    assert after["alpine:latest"] == before["alpine:latest"]
    assert after["debian:bookworm"] != before["debian:bookworm"]
    shown = {role["name"]: role["baked"] for role in (await api.http.get("/api/roles")).json()["roles"]}
    assert sorted(layer["image"] for layer in shown["quick"]) == ["alpine:latest", "debian:bookworm"]


async def test_downloads_come_from_the_mirror_are_verified_and_missing_ones_told(own: Served) -> None:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("tool-1/bin/hello")
        entry.size, entry.mode = 20, 0o755
        tar.addfile(entry, BytesIO(b"#!/bin/sh\necho hello"))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    mirror = own.data / "mirror/nowhere.invalid"
    mirror.mkdir(parents=True)
    (mirror / "hello.tar.gz").write_bytes(packed.getvalue())

    def step(name: str, sha256: str, optional: bool) -> str:
        return (
            f'[[steps]]\nname = "{name}"\nprovides = ["{name}"]\noptional = {str(optional).lower()}\n'
            f'[[steps.downloads]]\nurl = "http://nowhere.invalid/{name}.tar.gz"\nsha256 = "{sha256}"\n'
            'beneath = "tool-1"\ninto = "/usr/local"\n'
        )

    async with _served(own.data / "mirror") as url:
        own.set(REXEC_LAYERS__MIRROR=url)
        both = 'hello = "hello"\nabsent = "absent"'
        text = quick(RUN, both, step("hello", digest, True) + step("absent", "0" * 64, True))
        (own.data / "recipes/quick.toml").write_text(text)
        (own.data / "recipes/wrong.toml").write_text(quick("x", 'hello = "hello"', step("hello", "1" * 64, True)))
        await own.stop()
        await own.start()
        async with ran(own.api, "quick") as container:
            assert (await own.api.exec(container["id"], "hello"))["stdout"] == "hello\n"
            (lacks,) = container["degraded"]
            assert lacks.startswith("the role quick lacks absent: absent.tar.gz could not be had (nowhere.invalid: ")
        wrong = await made(own.api, "wrong")
        assert (wrong["status"], wrong["reason"]) == ("error", "setup_failed")
        assert "its checksum is" in wrong["message"]
        await own.api.delete(wrong["id"])


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[str]:
    """A plain web server over a folder."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().lstrip("/")
        file = folder / path
        body = file.read_bytes() if file.is_file() else b""
        status = "200 OK" if file.is_file() else "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
