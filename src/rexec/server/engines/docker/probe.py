"""What this host really enforces, found out by trying."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from rexec.errors import Broken, Invalid, NotFound, OutOfSpace, RexecError
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.throwaway import packed, throwaway
from rexec.server.ports.records import Enforced

_log = structlog.get_logger(__name__)
_MIB = 1 << 20
_LIMIT = 24 * _MIB
_OVER = 40 * _MIB
_ROOM = 4 * _MIB
_READ = 4096
_APART = re.compile("kata|runsc", re.IGNORECASE)
"""Runtimes whose containers cannot connect to a socket of the host."""
_COUNTS_IMAGE = frozenset({"btrfs", "zfs"})
"""Drivers whose limit is on the whole file system of a container, the image's files included."""


@dataclass(frozen=True, slots=True)
class Host:
    """What was found. `counts_image`: the disk limit counts the image's own files too."""

    enforced: Enforced
    counts_image: bool
    driver: str
    degraded: tuple[str, ...]
    local_logs: bool = True


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
    drivers = (info.get("Plugins") or {}).get("Log") or ["local"]
    return Host(
        enforced,
        counts_image=driver in _COUNTS_IMAGE,
        driver=driver,
        degraded=tuple(degraded),
        local_logs="local" in drivers,
    )


async def shares_files(client: Client, info: dict[str, Any], directory: Path, installation: str) -> bool:
    """Whether a container sees what we write here and can connect to a socket in it, so that guests may dial us."""
    if _APART.search(str(info.get("DefaultRuntime"))):
        return False
    token = secrets.token_hex(16)
    place = directory / f".probe-{token}"
    await asyncio.to_thread(_leave, place, token)
    mount = {"Type": "bind", "Source": str(place), "Target": "/probe", "ReadOnly": True}
    try:
        async with throwaway(client, installation, {"Mounts": [mount]}) as name:
            path = f"containers/{name}/archive"
            async with client.stream("GET", path, params={"path": "/probe/token"}, timeout=30) as response:
                return token.encode() in await response.content.read(_READ)
    except (Invalid, NotFound, Broken) as error:
        _log.debug("the engine does not see our files", error=error.message)
        return False
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _leave(place: Path, token: str) -> None:
    place.mkdir(parents=True)
    (place / "token").write_text(token)


async def _disk_limit_bites(client: Client, installation: str) -> tuple[bool, str]:
    try:
        async with throwaway(client, installation, {"StorageOpt": {"size": str(_LIMIT)}}) as name:
            await _upload(client, name, _ROOM)
            await _upload(client, name, _OVER)
    except OutOfSpace:
        return True, ""
    except RexecError as error:
        return False, error.message
    return False, "a limit was accepted and not kept"


async def _upload(client: Client, name: str, size: int) -> None:
    """Random bytes, since a file system may compress others away."""
    body = packed("filler", os.urandom(size))
    await client.json("PUT", f"containers/{name}/archive", params={"path": "/"}, body=body)


async def _swap_here(client: Client) -> bool:
    if not client.is_local:
        return True
    swaps = await asyncio.to_thread(Path("/proc/swaps").read_text)
    return len(swaps.splitlines()) > 1
