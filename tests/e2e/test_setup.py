"""A guest that never answers: the creation ends, and says why."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

from support import images
from support.client import small
from support.daemon import Daemon
from support.server import Served

DEAF = "deaf-guest:1"


def deaf(url: str) -> None:
    command = ["docker", "-H", url, "import", "-c", "ENV REXEC_GUEST_RUN=/nowhere", "-", DEAF]
    subprocess.run(command, input=images.static(images.guest_binary()), check=True, capture_output=True)


async def test_a_guest_that_does_not_answer_is_setup_failed_and_no_hang(docker_daemon: Daemon) -> None:
    """Its image has it look for the server in another place."""
    await asyncio.to_thread(deaf, docker_daemon.url)
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    server = Served(data, docker_daemon.url, REXEC_GUEST_TIMEOUT="3")
    await server.start()
    try:
        wanted = small(image="custom", custom_image=DEAF)
        made = (await server.api.http.post("/api/containers", params={"wait": 120}, json=wanted)).json()
        assert (made["status"], made["reason"]) == ("error", "setup_failed"), made
        assert "its guest did not answer within 3 s" in made["message"]
        await server.api.delete(made["id"])
    finally:
        await server.stop()
        await server.api.http.aclose()
        shutil.rmtree(data, ignore_errors=True)
