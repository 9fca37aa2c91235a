"""How the guest and the shell get into the containers of an engine that does not see our files: in a named volume, made
once of what is in it and mounted read-only."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tarfile
from collections.abc import AsyncIterator
from io import BufferedRandom
from pathlib import Path
from tempfile import TemporaryFile

import structlog

from rexec.errors import Conflict, NotFound
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.objects import GUEST_BINARY, INSTALLATION, Mount
from rexec.server.engines.docker.throwaway import throwaway

_log = structlog.get_logger(__name__)
_TARGET = str(Path(GUEST_BINARY).parents[1])
_PLACE = "/content"
_COMPLETE = "complete"
_CHUNK = 1 << 18
_UPLOAD_TIMEOUT = 600.0


class VolumeFiles:
    """Implements `files.Files`. The volume's name says what is in it, so that an upgrade makes another one and running
    containers keep theirs; those that nobody uses any more are removed."""

    def __init__(self, client: Client, installation: str, guest_binary: Path, shell_bundle: Path | None) -> None:
        self._client = client
        self._installation = installation
        self._guest_binary = guest_binary
        self._shell_bundle = shell_bundle
        self._lock = asyncio.Lock()
        self._name = ""

    async def install(self) -> None:
        async with self._lock:
            with TemporaryFile() as archive:
                digest = await asyncio.to_thread(self._pack, archive)
                self._name = f"rexec-{self._installation[:8]}-{digest}"
                await self._fill(archive)
            await self._remove_others()

    async def prepare(self, engine_key: str, hostname: str) -> tuple[Mount, ...]:
        """Docker makes an empty volume of a name that it does not know: it is looked for first."""
        try:
            await self._client.json("GET", f"volumes/{self._name}")
        except NotFound:
            await self.install()
        return (Mount(self._name, _TARGET, kind="volume"),)

    async def forget(self, engine_key: str) -> None:
        """Nothing is kept for one container."""

    def _pack(self, archive: BufferedRandom) -> str:
        """The tar that fills the volume, and a digest of it."""

        def rooted(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            return entry

        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder in ("bin", "run"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            entry = tar.gettarinfo(self._guest_binary, f"bin/{Path(GUEST_BINARY).name}")
            entry.mode, entry.mtime = 0o755, 0
            with self._guest_binary.open("rb") as binary:
                tar.addfile(rooted(entry), binary)
            if self._shell_bundle is not None:
                tar.add(self._shell_bundle, "shell", filter=rooted)
            tar.addfile(tarfile.TarInfo(_COMPLETE))
        archive.seek(0)
        return hashlib.file_digest(archive, "sha256").hexdigest()[:16]

    async def _fill(self, archive: BufferedRandom) -> None:
        """Create the volume and put everything in, unless an earlier server came to the end of it."""
        await self._client.json(
            "POST", "volumes/create", body={"Name": self._name, "Labels": {INSTALLATION: self._installation}}
        )
        mount = {"Type": "volume", "Source": self._name, "Target": _PLACE}
        async with throwaway(self._client, self._installation, {"Mounts": [mount]}) as name:
            path = f"containers/{name}/archive"
            try:
                async with self._client.stream("GET", path, params={"path": f"{_PLACE}/{_COMPLETE}"}, timeout=60):
                    return
            except NotFound:
                _log.info("the engine does not see our files: the guest goes into a volume", volume=self._name)
            body = _chunks(archive)
            async with self._client.stream(
                "PUT", path, params={"path": _PLACE}, body=body, timeout=_UPLOAD_TIMEOUT
            ) as response:
                await response.read()

    async def _remove_others(self) -> None:
        filters = json.dumps({"label": [f"{INSTALLATION}={self._installation}"]})
        answer = await self._client.json("GET", "volumes", params={"filters": filters})
        for volume in answer.get("Volumes") or []:
            if volume["Name"] == self._name:
                continue
            try:
                await self._client.json("DELETE", f"volumes/{volume['Name']}")
            except (Conflict, NotFound):
                _log.debug("a volume is still used, or gone", volume=volume["Name"])


async def _chunks(archive: BufferedRandom) -> AsyncIterator[bytes]:
    archive.seek(0)
    while piece := await asyncio.to_thread(archive.read, _CHUNK):
        yield piece
