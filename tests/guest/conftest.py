"""A real guest in a PID namespace of its own, and liars in its place."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from rexec.server.guest import Links
from rexec.server.guest.link import Link
from support.settle import settle


@pytest.fixture
async def links() -> AsyncIterator[tuple[Links, Path]]:
    directory = Path(mkdtemp(prefix="rexec-g-"))
    async with Links(directory, "r1") as links:
        yield links, directory
    await settle()
    shutil.rmtree(directory)


@pytest.fixture
def key() -> str:
    return secrets.token_hex(8)


@pytest.fixture
async def guest(links: tuple[Links, Path], key: str, guest_binary: Path) -> AsyncIterator[Link]:
    opened, directory = links
    await opened.expect(key)
    process = await asyncio.create_subprocess_exec(
        "unshare", "--fork", "--pid", "--mount-proc", "--kill-child", guest_binary, "init",
        env={"REXEC_GUEST_RUN": str(directory / key), "PATH": os.environ["PATH"], "HOME": str(directory)},
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    yield await opened.wait(key, 60)
    process.kill()
    await process.wait()


@pytest.fixture
def guest_directory(guest: Link, links: tuple[Links, Path]) -> Path:
    """Of a running guest's sockets."""
    return links[1]


@pytest.fixture
def guest_key(guest: Link, key: str) -> str:
    return key


@pytest.fixture(scope="session")
def lies() -> Iterator[asyncio.Runner]:
    """A loop of its own, for tests that are generated."""
    with asyncio.Runner() as runner:
        yield runner
