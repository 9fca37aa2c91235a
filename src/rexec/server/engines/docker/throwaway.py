"""Containers that are never started, of an image with nothing in it: a door to what the engine mounts into one."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rexec.errors import NotFound
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.objects import INSTALLATION
from rexec.server.ports.reference import LOCAL_REGISTRY

_EMPTY = f"{LOCAL_REGISTRY}/empty:probe"


@asynccontextmanager
async def throwaway(client: Client, installation: str, host_config: dict[str, Any]) -> AsyncIterator[str]:
    """Its name; it is removed in the end."""
    name = f"rexec-probe-{secrets.token_hex(6)}"
    wanted = {
        "Image": _EMPTY,
        "Cmd": ["/none"],
        "Labels": {f"{INSTALLATION}.probe": installation},
        "HostConfig": {"NetworkMode": "none", **host_config},
    }
    try:
        await client.json("POST", "containers/create", params={"name": name}, body=wanted)
    except NotFound:
        await _import_empty(client)
        await client.json("POST", "containers/create", params={"name": name}, body=wanted)
    try:
        yield name
    finally:
        await client.json("DELETE", f"containers/{name}", params={"force": 1, "v": 1})


async def _import_empty(client: Client) -> None:
    # In one piece, since Podman does not look at `tag`.
    params = {"fromSrc": "-", "repo": _EMPTY}
    body = packed("rexec", b"")
    async with client.stream("POST", "images/create", params=params, body=body, timeout=60) as response:
        await response.read()


def packed(name: str, content: bytes) -> bytes:
    """A tar of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
