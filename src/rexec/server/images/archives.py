"""Archives of every kind as one plain tar, so that an image needs no program to unpack them. All of it blocks."""

from __future__ import annotations

import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rexec.errors import Broken

_AR = b"!<arch>\n"
_AR_HEADER = 60
_ZIPS = (".zip", ".whl")
_BAD = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, KeyError, ValueError, EOFError)
Member = tuple[tarfile.TarInfo, IO[bytes] | None]


def as_tar(archive: Path, name: str, inner: str | None, beneath: str, folder: Path) -> Path:
    """Written into `folder`; see `ports.layers.Downloads.unpacked`."""
    try:
        if inner is not None:
            archive, name = _taken_out(archive, name, inner, folder), inner
        target = folder / "content.tar"
        prefix = f"{beneath.strip('/')}/" if beneath.strip("/") else ""
        count = 0
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
            for entry, content in _members(archive, name):
                entry.name = entry.name.removeprefix("./")
                if entry.name.startswith(prefix) and entry.name.rstrip("/") not in ("", "."):
                    entry.name = entry.name.removeprefix(prefix)
                    if entry.islnk():
                        entry.linkname = entry.linkname.removeprefix("./").removeprefix(prefix)
                    entry.uid = entry.gid = 0
                    entry.uname = entry.gname = ""
                    if entry.name:
                        out.addfile(entry, content)
                        count += 1
    except _BAD as error:
        raise Broken(f"{name} cannot be unpacked: {error}", code="bad_archive") from error
    if not count:
        raise Broken(f"{name} holds nothing beneath {beneath or '/'}", code="bad_archive")
    return target


def _taken_out(archive: Path, name: str, inner: str, folder: Path) -> Path:
    target = folder / "inner"
    for entry, content in _members(archive, name):
        if entry.name.removeprefix("./") == inner and content is not None:
            with target.open("wb") as out:
                while piece := content.read(1 << 20):
                    out.write(piece)
            return target
    raise KeyError(f"there is no {inner} in it")


def _members(archive: Path, name: str) -> Iterator[Member]:
    if name.endswith(_ZIPS):
        yield from _zipped(archive)
    elif name.endswith(".deb"):
        with archive.open("rb") as file:
            yield from _tarred(_debian_data(file))
    else:
        with archive.open("rb") as file:
            yield from _tarred(file)


def _tarred(file: IO[bytes]) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r:*") as tar:
        for entry in tar:
            if entry.isreg() or entry.isdir() or entry.issym() or entry.islnk():
                yield entry, tar.extractfile(entry) if entry.isreg() else None


def _zipped(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as packed:
        for info in packed.infolist():
            mode = info.external_attr >> 16
            entry = tarfile.TarInfo(info.filename)
            entry.mode = stat.S_IMODE(mode) or (0o755 if info.is_dir() else 0o644)
            if info.is_dir():
                entry.type = tarfile.DIRTYPE
                yield entry, None
            elif stat.S_ISLNK(mode):
                entry.type, entry.linkname = tarfile.SYMTYPE, packed.read(info).decode()
                yield entry, None
            else:
                entry.size = info.file_size
                with packed.open(info) as content:
                    yield entry, content


def _debian_data(file: IO[bytes]) -> IO[bytes]:
    """The files' own archive within a Debian package, which is an `ar` of three."""
    if file.read(len(_AR)) != _AR:
        raise ValueError("it is no Debian package")
    while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
        size = int(header[48:58])
        if header[:16].strip().startswith(b"data.tar"):
            return io.BytesIO(file.read(size))
        file.seek(size + size % 2, io.SEEK_CUR)
    raise ValueError("it holds no data.tar")
