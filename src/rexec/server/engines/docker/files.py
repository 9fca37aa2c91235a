"""What a container sees of the host: the guest's binary, its sockets, its names. All of it read-only.

Docker would mount files of its own over /etc/hosts, /etc/hostname and /etc/resolv.conf, which the container can write
and no disk limit covers; ours take their place.
"""

from __future__ import annotations

import asyncio
import shutil
import stat
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

from rexec.errors import full_disk_told
from rexec.server.engines.docker.objects import GUEST_BINARY, Mount, check_key

_RESOLVER = "127.0.0.11"
"""Docker's own name server inside every container of a user-defined network."""


class Files(Protocol):
    """How the guest, the shell and the names get into containers."""

    async def install(self) -> None:
        """What all containers share."""

    async def prepare(self, engine_key: str, hostname: str) -> tuple[Mount, ...]:
        """What one container needs, and the mounts that show it; again is success."""

    async def forget(self, engine_key: str) -> None:
        """Remove what was kept for one container; missing is success."""


class HostFiles:
    """Implements `Files` for an engine that sees ours. Everything beneath the guest directory that is the engine's:
    `<key>/` (whose sockets the server's links make), `.bin/` and `.etc/`."""

    def __init__(self, directory: Path, guest_binary: Path, shell_bundle: Path | None) -> None:
        self._directory = directory
        self._guest_binary = guest_binary
        self._shell_bundle = shell_bundle

    async def install(self) -> None:
        with full_disk_told():
            await asyncio.to_thread(self._install)

    async def prepare(self, engine_key: str, hostname: str) -> tuple[Mount, ...]:
        with full_disk_told():
            return await asyncio.to_thread(self._prepare, engine_key, hostname)

    async def forget(self, engine_key: str) -> None:
        await asyncio.to_thread(self._forget, engine_key)

    def _install(self) -> None:
        """The guest's binary at a place that outlives an upgrade of this package, replaced in one step: running
        containers keep the one they started, later starts get the new one."""
        target = self._directory / ".bin" / Path(GUEST_BINARY).name
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: several servers that share the directory may start at once.
        with NamedTemporaryFile(dir=target.parent, prefix=f"{target.name}.", delete=False) as fresh:
            path = Path(fresh.name)
        try:
            shutil.copyfile(self._guest_binary, path)
            path.chmod(0o755)
            path.rename(target)
        finally:
            path.unlink(missing_ok=True)

    def _prepare(self, engine_key: str, hostname: str) -> tuple[Mount, ...]:
        """Writes what the mounts of one container need; again is success (the directory may be lost in a reboot)."""
        check_key(engine_key)
        sockets = self._directory / engine_key
        sockets.mkdir(parents=True, exist_ok=True)
        names = self._directory / ".etc" / engine_key
        names.mkdir(parents=True, exist_ok=True)
        texts = {
            "hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n",
            "hostname": f"{hostname}\n",
            "resolv.conf": f"nameserver {_RESOLVER}\noptions ndots:0\n",
        }
        for name, text in texts.items():
            (names / name).write_text(text)
            (names / name).chmod(0o644)
        mounts = [
            Mount(str(self._directory / ".bin"), str(Path(GUEST_BINARY).parent)),
            Mount(str(sockets), "/.rexec/run"),
            *(Mount(str(names / name), f"/etc/{name}") for name in texts),
        ]
        if self._shell_bundle is not None:
            mounts.append(Mount(str(self._shell_bundle), "/.rexec/shell"))
        return tuple(mounts)

    def _forget(self, engine_key: str) -> None:
        """Remove what was kept for one container, following nothing; missing is success."""
        check_key(engine_key)
        for path in (self._directory / engine_key, self._directory / ".etc" / engine_key):
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
