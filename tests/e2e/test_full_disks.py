"""Disks that are really full: what can go on goes on, the rest says why, and nothing has to be put right afterwards."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiodocker
import pytest

from support.client import Api, small
from support.server import Served

PATIENCE = 110


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """The disk of this folder, until nothing goes in any more."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            piece = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
            while piece >= 1 << 16:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), piece)
                except OSError:
                    piece //= 2
            for last in (4096, 1):
                with suppress(OSError):
                    while file.write(b"x" * last):
                        continue
        yield
    finally:
        filler.unlink(missing_ok=True)


async def ready(server: Served, status: int) -> dict[str, str]:
    async with asyncio.timeout(PATIENCE):
        while (answer := await server.api.http.get("/ready")).status_code != status:
            await asyncio.sleep(0.1)
    told: dict[str, str] = answer.json()
    return told


@pytest.fixture
def small_disk() -> Iterator[Path]:
    place = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)
    place.rmdir()


@pytest.fixture
async def cramped(daemon_url: str, small_disk: Path) -> AsyncIterator[Served]:
    """A server whose data and log are on a small disk of their own."""
    async with Served(small_disk, daemon_url).at_work() as server:
        yield server


async def test_a_full_disk_under_the_server(cramped: Served) -> None:
    api, http = cramped.api, cramped.api.http
    container, stopped = [(await api.create())["id"] for _ in range(2)]
    at = f"/api/containers/{container}"
    assert (await http.post(f"/api/containers/{stopped}/stop")).status_code == 200
    begun = [(await http.post("/api/containers", json=small())).json()["id"] for _ in range(3)]
    with full(cramped.data):
        told = await ready(cramped, 503)
        assert (told["engine"], told["database"]) == ("ok", "the disk of the database is full")
        for request in (
            http.post("/api/containers", json=small()),
            http.post(f"/api/containers/{stopped}/start"),
            http.patch(at, json={"labels": {"a": "b"}}),
            http.post("/api/auth/guest", json={"username": "visitor"}, headers={"Authorization": ""}),
            http.delete(at),
        ):
            refused = await request
            assert (refused.status_code, refused.json()["code"]) == (503, "database_full"), refused.text
            assert int(refused.headers["Retry-After"]) > 0
        for _ in range(30):
            assert (await api.exec(container, "echo here"))["stdout"] == "here\n"
        assert (await http.put(f"{at}/files", params={"path": "/root/x"}, content=b"x" * 99_999)).status_code == 200
        assert (await api.get(container))["status"] == "running"

    await ready(cramped, 200)
    assert (await http.post(f"/api/containers/{stopped}/start")).status_code == 200
    for one in begun:
        async with asyncio.timeout(PATIENCE):
            while (shown := await api.get(one))["status"] == "creating":
                await asyncio.sleep(0.1)
        if shown["status"] == "error":
            # The database found room where the folder of its guest did not.
            assert shown["reason"] == "disk_full", shown
            assert (await http.post(f"/api/containers/{one}/start")).status_code == 200
        assert (await api.exec(one, "echo here"))["stdout"] == "here\n"
        history = (await http.get(f"/api/containers/{one}/events")).json()["events"]
        progress = [event["data"]["progress"] for event in history if event["type"] == "container_progress"]
        assert progress == sorted(progress)
    with closing(sqlite3.connect(cramped.data / "rexec.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def create(api: Api, image: str) -> dict[str, Any]:
    wanted = small(image="custom", custom_image=image)
    answer = await api.http.post("/api/containers", params={"wait": 100}, json=wanted)
    return {**answer.json(), "answered": answer.status_code}


async def test_a_full_disk_under_the_engine(
    api: Api, docker: aiodocker.Docker, daemon_root: Path, registry_image: str
) -> None:
    async with api.container() as container:
        files = f"/api/containers/{container['id']}/files"
        assert (await api.http.put(files, params={"path": "/root/kept"}, content=b"old")).status_code == 200
        before = {found.id for found in await docker.containers.list(all=True)}
        outcomes: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE):
            while outcomes.keys() != {"refused", "failed"}:
                # What the server last saw of the disk decides: it looks every few seconds.
                with full(daemon_root):
                    while outcomes.keys() != {"refused", "failed"}:
                        made = await create(api, registry_image)
                        if made["answered"] == 507:
                            outcomes["refused"] = made
                            break
                        outcomes["failed"] = made
                        await asyncio.sleep(1)
                    assert (await api.exec(container["id"], "echo here"))["stdout"] == "here\n"
                    put = await api.http.put(files, params={"path": "/root/kept"}, content=bytes(30 << 20))
                    assert (put.status_code, put.json()["code"]) == (507, "disk_full")
                    assert (await api.exec(container["id"], "cat /root/kept"))["stdout"] == "old"
                while (await create(api, registry_image))["answered"] == 507:
                    await asyncio.sleep(0.2)
        assert outcomes["refused"]["code"] == "disk_full"
        assert (outcomes["failed"]["status"], outcomes["failed"]["reason"]) == ("error", "disk_full")
        listed = (await api.http.get("/api/containers")).json()["containers"]
        living = {shown["container_id"] for shown in listed if shown["status"] == "running"}
        async with asyncio.timeout(PATIENCE):
            while {found.id for found in await docker.containers.list(all=True)} - before - living:
                await asyncio.sleep(0.1)
