"""What this host really enforces, found out by trying."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from rexec.errors import OutOfSpace, RexecError
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.objects import INSTALLATION
from rexec.server.ports.records import Enforced
from rexec.server.ports.reference import LOCAL_REGISTRY

_log = structlog.get_logger(__name__)
_MIB = 1 << 20
_LIMIT = 24 * _MIB
_OVER = 40 * _MIB
_ROOM = 4 * _MIB
_EMPTY = f"{LOCAL_REGISTRY}/empty:probe"
_COUNTS_IMAGE = frozenset({"btrfs", "zfs"})
"""Drivers whose limit is on the whole file system of a container, the image's files included."""


@dataclass(frozen=True, slots=True)
class Host:
    """What was found. `counts_image`: the disk limit counts the image's own files too."""

    enforced: Enforced
    counts_image: bool
    driver: str
    degraded: tuple[str, ...]


async def probe(client: Client, info: dict[str, Any], installation: str) -> Host:
    """Asks Docker what its kernel can, and fills a throw-away container past a disk limit."""
    driver = str(info.get("Driver"))
    disk, why = await _disk_limit_bites(client, installation)
    enforced = Enforced(
        memory=bool(info.get("MemoryLimit")),
        cpu=bool(info.get("CpuCfsQuota")),
        pids=bool(info.get("PidsLimit")),
        disk=disk,
    )
    degraded = [
        f"{name} limits are not enforced: the engine's kernel lacks the cgroup controller"
        for name in ("memory", "cpu", "pids")
        if not getattr(enforced, name)
    ]
    if not disk:
        degraded.append(f"disk limits are not enforced: the storage driver {driver} cannot ({why})")
    if enforced.memory and not info.get("SwapLimit") and await _swap_here(client):
        degraded.append("memory limits do not count swap: the engine's kernel has no swap accounting")
    return Host(enforced, counts_image=driver in _COUNTS_IMAGE, driver=driver, degraded=tuple(degraded))


async def _disk_limit_bites(client: Client, installation: str) -> tuple[bool, str]:
    name = f"rexec-probe-{secrets.token_hex(6)}"
    try:
        await _ensure_empty_image(client)
        body = {
            "Image": _EMPTY,
            "Cmd": ["/none"],
            "Labels": {f"{INSTALLATION}.probe": installation},
            "HostConfig": {"StorageOpt": {"size": str(_LIMIT)}, "NetworkMode": "none"},
        }
        await client.json("POST", "containers/create", params={"name": name}, body=body)
    except RexecError as error:
        return False, error.message
    try:
        await _upload(client, name, _ROOM)
        await _upload(client, name, _OVER)
    except OutOfSpace:
        return True, ""
    except RexecError as error:
        return False, error.message
    finally:
        await client.json("DELETE", f"containers/{name}", params={"force": 1, "v": 1})
    return False, "a limit was accepted and not kept"


async def _upload(client: Client, name: str, size: int) -> None:
    """Random bytes, since a file system may compress others away."""
    await client.json("PUT", f"containers/{name}/archive", params={"path": "/"}, body=_tar("filler", os.urandom(size)))


async def _ensure_empty_image(client: Client) -> None:
    params = {"fromSrc": "-", "repo": _EMPTY.rpartition(":")[0], "tag": _EMPTY.rpartition(":")[2]}
    async with client.stream("POST", "images/create", params=params, body=_tar("rexec", b""), timeout=60) as response:
        await response.read()


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


async def _swap_here(client: Client) -> bool:
    if not client.is_local:
        return True
    swaps = await asyncio.to_thread(Path("/proc/swaps").read_text)
    return len(swaps.splitlines()) > 1
