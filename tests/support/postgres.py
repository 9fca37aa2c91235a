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

import pytest


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.fail("PostgreSQL is lacking: make test installs the distribution's package")
    return found[-1].parent


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of its database, reached over a Unix socket. Its server refuses to run as root and gets another user."""
    programs = _programs()
    root = Path(mkdtemp(prefix="rexec-pg-"))
    user = {} if os.geteuid() else {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}
    if user:
        shutil.chown(root, "postgres")
    data = root / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "rexec", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
        check=True, capture_output=True, cwd="/", **user,
    )  # fmt: skip
    options = [
        "-k", root, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off",
        "-c", "max_connections=120", "-c", "shared_buffers=32MB",
    ]  # fmt: skip
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd="/", **user
        )
    try:
        ready = [programs / "pg_isready", "-q", "-h", root, "-U", "rexec"]
        deadline = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode != 0:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((root / "log").read_text())
            time.sleep(0.05)
        yield f"postgresql://rexec@/postgres?host={root}"
    finally:
        server.terminate()
        server.wait(timeout=20)
        shutil.rmtree(root, ignore_errors=True)


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
