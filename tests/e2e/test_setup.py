"""A guest that never answers, or dies: the creation ends, and says why."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from support import images
from support.client import small
from support.daemon import Daemon
from support.server import Served

SPOILED = {
    # It looks for the server in another place.
    "deaf-guest:1": ("REXEC_GUEST_RUN=/nowhere", "its guest did not answer within 3 s"),
    # Go's own runtime ends it before its first line.
    "dying-guest:1": ("GOMEMLIMIT=lots", "Its last words: fatal error: malformed GOMEMLIMIT"),
}


def spoil(url: str) -> None:
    """Images that are whole but for a variable that the guest gets with them."""
    for name, (variable, _) in SPOILED.items():
        command = ["docker", "-H", url, "import", "-c", f"ENV {variable}", "-", name]
        subprocess.run(command, input=images.static(images.guest_binary()), check=True, capture_output=True)


@pytest.fixture(scope="module")
async def impatient(docker_daemon: Daemon) -> AsyncIterator[Served]:
    await asyncio.to_thread(spoil, docker_daemon.url)
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    server = Served(data, docker_daemon.url, REXEC_GUEST_TIMEOUT="3")
    await server.start()
    yield server
    await server.stop()
    await server.api.http.aclose()
    shutil.rmtree(data, ignore_errors=True)


async def test_a_guest_that_does_not_answer_is_setup_failed_with_its_last_words(impatient: Served) -> None:
    async def create(image: str, says: str) -> None:
        wanted = small(image="custom", custom_image=image)
        made = (await impatient.api.http.post("/api/containers", params={"wait": 120}, json=wanted)).json()
        assert (made["status"], made["reason"]) == ("error", "setup_failed"), made
        assert says in made["message"]
        assert len(made["message"]) < 1000
        shown = await impatient.api.get(made["id"])
        assert (shown["status"], shown["message"], shown["stage"]) == ("error", made["message"], "error")
        started = await impatient.api.http.post(f"/api/containers/{made['id']}/start")
        assert started.status_code >= 400, started.text
        assert (await impatient.api.get(made["id"]))["reason"] == "setup_failed"
        await impatient.api.delete(made["id"])

    await asyncio.gather(*(create(image, says) for image, (_, says) in SPOILED.items()))
