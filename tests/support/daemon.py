"""A Docker Engine of the tests' own: own socket, own data on btrfs with quota, so that disk limits are real."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest

_START = 180.0
_STARTS = 4
_DISK = "24G"


@dataclass(slots=True)
class Daemon:
    url: str
    root: Path


class LocalDaemon(Daemon):
    """It can be stopped or killed, and started again; its containers live on meanwhile."""

    def __init__(self, url: str, root: Path, command: Sequence[str], log: Path) -> None:
        super().__init__(url, root)
        self._command, self._log = command, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Again when it gives up, as any supervisor does: it waits only so long for its containerd."""
        for turn in range(_STARTS):
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
            try:
                started(self.url, self._process, self._log)
            except RuntimeError:
                self.kill()
                if turn == _STARTS - 1:
                    raise
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            ended(self._process)

    def kill(self) -> None:
        """With no moment to put anything in order."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def disk(place: Path) -> Iterator[Path]:
    """A btrfs of its own in a sparse file; a plain folder where the kernel has none."""
    image, root = place / "disk", place / "root"
    root.mkdir()
    try:
        _run("truncate", "-s", _DISK, image)
        _run("mkfs.btrfs", "-q", image)
        _run("mount", "-o", "loop", image, root)
    except (OSError, subprocess.CalledProcessError):
        yield root
        return
    try:
        _run("btrfs", "quota", "enable", root)
        yield root
    finally:
        subprocess.run(["umount", "-l", root], check=False, capture_output=True)


@contextmanager
def daemon(*, beside: bool = False) -> Iterator[LocalDaemon]:
    """`beside` another of the same network it leaves the firewall and the default bridge alone."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.fail("dockerd and root are lacking: make test installs and uses them")
    place = Path(mkdtemp(prefix="rexec-docker-", dir="/var/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        root = stack.enter_context(disk(place))
        run = Path(mkdtemp(prefix="rexec-d-", dir="/run"))
        stack.callback(shutil.rmtree, run, ignore_errors=True)
        url, octet = f"unix://{run}/docker.sock", secrets.randbelow(100) + 100
        network = ["--bip", f"10.{octet}.255.1/24"]
        if beside:
            network = ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        command = [
            "dockerd", "--host", url, "--data-root", str(root), "--exec-root", f"{run}/exec",
            "--pidfile", f"{run}/docker.pid", "--live-restore",
            "--default-address-pool", f"base=10.{octet}.0.0/16,size=24", "--registry-mirror", "http://127.0.0.1:9",
            *network,
        ]  # fmt: skip
        opened = LocalDaemon(url, root, command, place / "dockerd.log")
        stack.callback(opened.stop)
        opened.start()
        yield opened
        subprocess.run(
            f"docker -H {url} ps -aq | xargs -r docker -H {url} rm -f", shell=True, check=False, capture_output=True
        )


def started(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START
    while subprocess.run(["docker", "-H", url, "version"], check=False, capture_output=True).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text()[-3000:])
        time.sleep(0.2)


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
