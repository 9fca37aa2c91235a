"""A PostgreSQL of the tests' own, from the distribution's package."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

_OPTIONS = (
    "listen_addresses=", "fsync=off", "full_page_writes=off", "max_connections=120", "shared_buffers=32MB",
)  # fmt: skip
_START = 60


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is lacking: make test installs the distribution's package")
    return found[-1].parent


class Cluster:
    """One PostgreSQL, reached over a Unix socket. Its server refuses to run as root and gets another user."""

    def __init__(self) -> None:
        self._root = Path(mkdtemp(prefix="rexec-pg-"))
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._root, "postgres")
            group = pwd.getpwnam("postgres").pw_gid
            self._user = {"user": "postgres", "group": group, "extra_groups": []}
        subprocess.run(
            [_programs() / "initdb", "-D", self._root / "data", "-U", "rexec", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--locale=C"],
            check=True, capture_output=True, cwd="/", **self._user,
        )  # fmt: skip
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://rexec@/postgres?host={self._root}"

    def start(self) -> None:
        options = [part for option in _OPTIONS for part in ("-c", option)]
        log = self._root / "log"
        with log.open("ab") as out:
            self._server = subprocess.Popen(
                [_programs() / "postgres", "-D", self._root / "data", "-k", self._root, *options],
                stdout=out, stderr=out, cwd="/", **self._user,
            )  # fmt: skip
        ready = [_programs() / "pg_isready", "-q", "-h", self._root, "-U", "rexec"]
        deadline = time.monotonic() + _START
        while subprocess.run(ready, check=False).returncode != 0:
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, with all connections cut."""
        self._server.send_signal(2)
        self._server.wait(timeout=_START)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        if self._server.poll() is None:
            self.stop()
        shutil.rmtree(self._root, ignore_errors=True)


@contextmanager
def cluster() -> Iterator[Cluster]:
    started = Cluster()
    try:
        yield started
    finally:
        started.remove()


@contextmanager
def database_in(cluster_url: str) -> Iterator[str]:
    """The URL of an empty database, dropped at the end whoever is still connected."""
    name = f"test_{secrets.token_hex(6)}"

    def say(statement: str) -> None:
        subprocess.run([_programs() / "psql", "-qX", cluster_url, "-c", statement], check=True, capture_output=True)

    say(f"CREATE DATABASE {name}")
    try:
        yield cluster_url.replace("/postgres?", f"/{name}?")
    finally:
        say(f"DROP DATABASE {name} WITH (FORCE)")
