"""Debian and Ubuntu images built from the distributions' own packages, for hosts that reach no registry."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from rexec.errors import Unavailable
from rexec.server.ports.images import LocalImages, ProgressCallback
from rexec.server.ports.records import PullProgress
from rexec.server.ports.reference import DEFAULT_REGISTRY, Reference

_log = structlog.get_logger(__name__)
_PROGRAM = "mmdebstrap"
_SUITES: Mapping[str, Mapping[str, str]] = {
    "debian": {
        "latest": "trixie", "stable": "trixie", "trixie": "trixie", "13": "trixie",
        "oldstable": "bookworm", "bookworm": "bookworm", "12": "bookworm",
        "bullseye": "bullseye", "11": "bullseye",
    },
    "ubuntu": {
        "latest": "noble", "noble": "noble", "24.04": "noble",
        "jammy": "jammy", "22.04": "jammy", "focal": "focal", "20.04": "focal",
    },
}  # fmt: skip
_UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
_CHANGES = (
    'CMD ["bash"]',
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)
_STEPS = (
    ("running apt-get update", 2),
    ("downloading packages", 10),
    ("extracting archives", 35),
    ("installing essential packages", 45),
    ("installing remaining packages", 70),
    ("cleaning package lists", 85),
    ("creating tarball", 88),
    ("done", 95),
)
"""Lines of mmdebstrap and how far, in hundredths, they show the work to be. It tells no bytes."""


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Where packages are fetched from; None is the distribution's own default."""

    debian: str | None = None
    ubuntu: str | None = None


def suite(reference: Reference) -> tuple[str, str] | None:
    """The distribution and suite that `reference` stands for, if it can be built."""
    distribution, _, name = reference.path.partition("/")[2].partition("/")
    if reference.registry != DEFAULT_REGISTRY or reference.digest or name or not reference.path.startswith("library/"):
        return None
    found = _SUITES.get(distribution, {}).get((reference.tag or "latest").removesuffix("-slim"))
    return (distribution, found) if found else None


async def build(reference: Reference, local: LocalImages, progress: ProgressCallback, mirrors: Mirrors) -> None:
    """Make the image and import it under its familiar name. Raises `Unavailable` (`pull_failed`)."""
    wanted = suite(reference)
    if wanted is None:
        raise _failed(reference, "it is none that can be built here")
    _check_means(reference, wanted[0])
    _log.info("building an image from packages", image=reference.familiar, suite=wanted[1])
    with tempfile.TemporaryDirectory(prefix="rexec-build-") as directory:
        archive = Path(directory) / "root.tar"
        await _bootstrap(reference, _command(*wanted, archive, mirrors), directory, progress)
        await local.import_root(archive, reference.familiar, _CHANGES)
    progress(PullProgress("packages", 100, 100))


def _check_means(reference: Reference, distribution: str) -> None:
    if shutil.which(_PROGRAM) is None:
        raise _failed(reference, f"no registry answers and {_PROGRAM} is not installed")
    if os.geteuid() != 0:
        raise _failed(reference, f"no registry answers and {_PROGRAM} needs root")
    if distribution == "ubuntu" and not _UBUNTU_KEYRING.exists():
        raise _failed(reference, "no registry answers and the package ubuntu-keyring is not installed")


def _command(distribution: str, suite_name: str, archive: Path, mirrors: Mirrors) -> list[str]:
    # Ubuntu's minimal set lacks apt, without which no role is baked on it.
    command = [_PROGRAM, "--variant=minbase", "--include=apt", "--format=tar"]
    mirror = mirrors.debian
    if distribution == "ubuntu":
        mirror = mirrors.ubuntu or "http://archive.ubuntu.com/ubuntu"
        command += ["--components=main,universe", f"--keyring={_UBUNTU_KEYRING}"]
    return [*command, suite_name, str(archive), *([mirror] if mirror else [])]


async def _bootstrap(reference: Reference, command: list[str], directory: str, progress: ProgressCallback) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": directory, "LC_ALL": "C"},
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=5)
    try:
        await _follow(process, last, progress)
        await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()  # it unmounts and removes its tree on TERM
            await asyncio.shield(process.wait())
    if process.returncode != 0:
        raise _failed(reference, f"{_PROGRAM} failed: {' / '.join(last)}")


async def _follow(process: asyncio.subprocess.Process, last: deque[str], progress: ProgressCallback) -> None:
    """Progress from what the program says, line by line, however long its lines are."""
    assert process.stderr is not None  # noqa: S101 # it was asked for
    buffer = b""
    reached = 0
    while chunk := await process.stderr.read(4096):
        *lines, buffer = (buffer + chunk)[-65536:].replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            text = line.decode(errors="replace").strip()
            if text.startswith(("E:", "W:")):
                last.append(text[:200])
            step = next((share for words, share in _STEPS if text.startswith(f"I: {words}")), 0)
            if step > reached:
                reached = step
                progress(PullProgress("packages", reached, 100))


def _failed(reference: Reference, why: str) -> Unavailable:
    return Unavailable(f"the image {reference.familiar} could not be had: {why}", code="pull_failed")
