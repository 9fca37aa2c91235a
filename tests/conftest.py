"""What tests of several folders share: an engine, images, a registry, a served app. All of it real."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp

import aiodocker
import pytest

from support import images, namespace
from support.client import Api
from support.daemon import Daemon, daemon
from support.postgres import Cluster, cluster
from support.server import Served, free_port


def pytest_configure(config: pytest.Config) -> None:
    """Wherever tests really run: in each worker, or here if there is none."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        namespace.enter()


@pytest.fixture(scope="session")
def docker_daemon() -> Iterator[Daemon]:
    with daemon() as started:
        images.load(started.url, images.guest_binary())
        yield started


@pytest.fixture(scope="session")
def daemon_root(docker_daemon: Daemon) -> Path:
    return docker_daemon.root


@pytest.fixture(scope="session")
def daemon_url(docker_daemon: Daemon) -> str:
    return docker_daemon.url


@pytest.fixture(scope="session")
async def docker(docker_daemon: Daemon) -> AsyncIterator[aiodocker.Docker]:
    """The engine itself, for what happens behind the server's back."""
    opened = aiodocker.Docker(docker_daemon.url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def guest_binary() -> Path:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    path = Path(__file__).parents[1] / f"src/rexec/server/guest/bin/rexec-guest-{machine}"
    if not path.exists():
        pytest.fail("the guest is not built: run scripts/build-guest")
    return path


@pytest.fixture(scope="session")
def registry(docker_daemon: Daemon) -> Iterator[str]:
    """`host:port` of an empty registry."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("docker-registry is lacking: make test installs it")
    place, port = Path(mkdtemp(prefix="rexec-registry-")), free_port()
    config = place / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {place}\nhttp:\n  addr: 127.0.0.1:{port}\n"
    )
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    deadline = time.monotonic() + 20
    while b"listening" not in (place / "log").read_bytes():
        assert process.poll() is None, (place / "log").read_text()
        assert time.monotonic() < deadline, (place / "log").read_text()
        time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait()
    shutil.rmtree(place)


@pytest.fixture
def registry_image(docker_daemon: Daemon, registry: str) -> str:
    """An image that is in the registry and no longer in the engine."""
    reference = f"{registry}/pulled/image:{os.urandom(4).hex()}"
    docker = ["docker", "-H", docker_daemon.url]
    subprocess.run(
        [*docker, "import", "-", reference], input=images.unique(images.guest_binary()), check=True, capture_output=True
    )
    subprocess.run([*docker, "push", "-q", reference], check=True, capture_output=True)
    subprocess.run([*docker, "rmi", reference], check=True, capture_output=True)
    return reference


@pytest.fixture(scope="session")
def static_image(docker_daemon: Daemon) -> str:
    return images.STATIC


@pytest.fixture(scope="session")
def volume_image(docker_daemon: Daemon) -> str:
    return images.VOLUME


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    with cluster() as started:
        yield started


@pytest.fixture(scope="session")
async def served(docker_daemon: Daemon, registry: str) -> AsyncIterator[Served]:
    data = Path(mkdtemp(prefix="rexec-data-", dir="/var/tmp"))
    server = Served(
        data, docker_daemon.url,
        REXEC_IMAGES__PRIVATE_REGISTRIES=f'["{registry}"]', REXEC_SWEEP_INTERVAL="5", REXEC_LOGINS_PER_MINUTE="6000",
    )  # fmt: skip
    await server.start()
    yield server
    await server.stop()
    await server.api.http.aclose()
    text = server.log.read_text()
    shutil.rmtree(data, ignore_errors=True)
    assert server.token not in text, "the admin's token is in the log"
    assert "Traceback" not in text, text[text.index("Traceback") - 500 :][:4000]


@pytest.fixture
async def api(served: Served) -> AsyncIterator[Api]:
    """The admin's, on a server that runs; what a test forgot is deleted."""
    yield served.api
    for container in (await served.api.http.get("/api/containers?all=true")).json()["containers"]:
        await served.api.delete(container["id"])


@pytest.fixture
async def guest_api(served: Served, api: Api) -> AsyncIterator[Api]:
    """A guest's."""
    made = await api.http.post("/api/auth/guest", json={"username": "visitor"}, headers={"Authorization": ""})
    assert made.status_code == 200, made.text
    guest = served.as_token(made.json()["token"])
    yield guest
    await guest.http.aclose()


@pytest.fixture
async def minted(served: Served) -> AsyncIterator[Callable[[Api, list[str]], Awaitable[Api]]]:
    """Tokens with chosen scopes."""
    made: list[Api] = []

    async def mint(maker: Api, scopes: list[str]) -> Api:
        answer = await maker.http.post("/api/tokens", json={"name": "minted", "scopes": scopes})
        assert answer.status_code == 201, answer.text
        made.append(served.as_token(answer.json()["token"]))
        return made[-1]

    yield mint
    for api in made:
        await api.http.aclose()
