"""Files that recipes name, fetched once, verified, and kept while there is room."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog

from rexec.errors import Broken, NotFound, OutOfSpace
from rexec.server.flights import Flights
from rexec.server.images.archives import as_tar
from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.records import PullProgress

_log = structlog.get_logger(__name__)
_CONNECT = 10.0
_READ = 60.0
_PIECE = 1 << 18


class CachedDownloads:
    """Implements `ports.layers.Downloads`. Upstream is asked first, then `mirror`, which has each file at
    `<mirror>/<host>/<path>`. The folder holds at most `largest` bytes; what was used longest ago goes first."""

    def __init__(self, folder: Path, mirror: str | None, largest: int) -> None:
        self._folder = folder
        self._mirror = mirror
        self._largest = largest
        self._flights: Flights[Path] = Flights()

    async def fetch(self, url: str, sha256: str, progress: ProgressCallback) -> Path:
        kept = self._folder / sha256
        if await asyncio.to_thread(_still_good, kept, sha256):
            return kept
        return await self._flights.join(sha256, partial(self._fetch, url, sha256), progress)

    @asynccontextmanager
    async def unpacked(self, archive: Path, name: str, inner: str | None, beneath: str) -> AsyncGenerator[Path, None]:
        with tempfile.TemporaryDirectory(prefix="unpack-", dir=self._folder, ignore_cleanup_errors=True) as folder:
            yield await asyncio.to_thread(as_tar, archive, name, inner, beneath, Path(folder))

    async def _fetch(self, url: str, sha256: str, progress: ProgressCallback) -> Path:
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        tried = []
        for source in self._sources(url):
            try:
                await self._from(source, sha256, progress)
            except (aiohttp.ClientError, TimeoutError) as error:
                why = (
                    f"{error.status} {error.message}" if isinstance(error, aiohttp.ClientResponseError) else str(error)
                )
                tried.append(f"{urlsplit(source).hostname}: {why or 'no answer in time'}")
                _log.warning("a download failed", url=source, error=why)
            else:
                await asyncio.to_thread(self._tidy, sha256)
                return self._folder / sha256
        told = "; ".join(tried) + ("" if self._mirror else "; no mirror is set")
        raise NotFound(f"{url.rpartition('/')[2]} could not be had ({told})", code="download_unavailable")

    def _sources(self, url: str) -> list[str]:
        parts = urlsplit(url)
        mirrored = [f"{self._mirror.rstrip('/')}/{parts.netloc}{parts.path}"] if self._mirror else []
        return [url, *mirrored]

    async def _from(self, url: str, sha256: str, progress: ProgressCallback) -> None:
        limits = aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_read=_READ)
        async with (
            aiohttp.ClientSession(timeout=limits, trust_env=True, raise_for_status=True) as session,
            session.get(url) as response,
        ):
            fresh = await asyncio.to_thread(_begin, self._folder)
            try:
                found = await self._write(response, fresh, progress)
                if found != sha256:
                    raise Broken(f"{url} is not what it was: its checksum is {found}", code="checksum_mismatch")
                await asyncio.to_thread(fresh.rename, self._folder / sha256)
            except OSError as error:
                if isinstance(error, aiohttp.ClientError | TimeoutError):
                    raise
                raise OutOfSpace(f"the download of {url} could not be kept: {error.strerror}") from error
            finally:
                await asyncio.to_thread(fresh.unlink, missing_ok=True)

    async def _write(self, response: aiohttp.ClientResponse, fresh: Path, progress: ProgressCallback) -> str:
        digest, done, total = hashlib.sha256(), 0, response.content_length or 0
        if total > self._largest:
            raise Broken(f"{response.url} is larger than the room for downloads", code="download_too_large")
        with await asyncio.to_thread(fresh.open, "wb") as file:
            async for piece in response.content.iter_chunked(_PIECE):
                done += len(piece)
                if done > self._largest:
                    raise Broken(f"{response.url} is larger than the room for downloads", code="download_too_large")
                await asyncio.to_thread(_append, file, digest, piece)
                progress(PullProgress(response.url.name, done, total))
        return digest.hexdigest()

    def _tidy(self, newest: str) -> None:
        """Down to the largest size; the one that just came stays in any case."""
        files = [(file.stat(), file) for file in self._folder.iterdir() if file.is_file() and len(file.name) == 64]
        left = sum(stat.st_size for stat, _ in files)
        for stat, file in sorted(files, key=lambda entry: entry[0].st_mtime):
            if left <= self._largest:
                return
            if file.name != newest:
                file.unlink(missing_ok=True)
                left -= stat.st_size


def _begin(folder: Path) -> Path:
    with tempfile.NamedTemporaryFile(prefix="fetch-", dir=folder, delete=False) as file:
        return Path(file.name)


def _append(file: object, digest: object, piece: bytes) -> None:
    digest.update(piece)  # type: ignore[attr-defined]
    file.write(piece)  # type: ignore[attr-defined]


def _still_good(file: Path, sha256: str) -> bool:
    """Verified again at every use: it lay on a disk meanwhile."""
    try:
        with file.open("rb") as kept:
            if hashlib.file_digest(kept, "sha256").hexdigest() == sha256:
                file.touch()
                return True
        file.unlink(missing_ok=True)
    except OSError:
        return False
    return False
