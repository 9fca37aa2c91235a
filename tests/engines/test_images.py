"""Images from a real registry, from mirrors, from packages, and those that cannot be had."""

import asyncio
import io
import os
import secrets
import shutil
import socket
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiodocker
import pytest
from engine_bench import BASE, Bench

from rexec.errors import Invalid, NotFound, RexecError, TooLarge, Unavailable
from rexec.server.engines.docker.client import Client
from rexec.server.engines.docker.images import Images
from rexec.server.flights import Flights
from rexec.server.images import ImageRules, Mirrors, RegistrySource
from rexec.server.images.build import suite
from rexec.server.ports.images import ProgressCallback
from rexec.server.ports.records import Image, PullProgress
from rexec.server.ports.reference import parse

_CONFIG = """version: 0.1
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
log: {{level: info}}
"""


def _quiet(progress: PullProgress) -> None:
    del progress


@pytest.fixture(scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    root = tmp_path_factory.mktemp("registry")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (root / "config.yml").write_text(_CONFIG.format(root=root / "data", port=port))
    process = await asyncio.create_subprocess_exec(
        "docker-registry", "serve", str(root / "config.yml"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while b"listening on" not in await process.stderr.readline():
            assert process.returncode is None
    rest = asyncio.create_task(process.stderr.read())
    yield f"127.0.0.1:{port}"
    process.terminate()
    await asyncio.gather(process.wait(), rest)


@pytest.fixture(scope="module")
async def pushed(registry: str, bench: Bench) -> str:
    """An image of three layers of 8 MiB that nothing compresses, in the registry and not on the engine."""
    return await _push(bench, registry, "some/image", layers=3)


async def _push(bench: Bench, registry: str, path: str, *, layers: int) -> str:
    client = bench.client
    repository, tag = f"{registry}/{path}", secrets.token_hex(4)
    parent = "rexec.local/empty:probe"
    for _ in range(layers):
        made = await client.json("POST", "containers/create", body={"Image": parent, "Cmd": ["x"]})
        archive = _tar(secrets.token_hex(4), os.urandom(8 << 20))
        await client.json("PUT", f"containers/{made['Id']}/archive", params={"path": "/"}, body=archive)
        params = {"container": made["Id"], "repo": repository, "tag": tag}
        parent = (await client.json("POST", "commit", params=params, body={}))["Id"]
        await client.json("DELETE", f"containers/{made['Id']}")
    async with aiodocker.Docker(client.url) as docker:
        await docker.images.push(repository, tag=tag)
    await client.json("DELETE", f"images/{repository}:{tag}")
    return f"{repository}:{tag}"


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def local(client: Client) -> Images:
    return Images(client)


async def test_a_pull_tells_its_bytes_and_never_goes_back(pushed: str, local: Images) -> None:
    source = RegistrySource(ImageRules(private_registries=("*",)))
    told: list[PullProgress] = []
    image = await source.fetch(pushed, local, told.append, timeout=60)
    assert image.size_bytes >= 24 << 20
    shares = [progress.current / progress.total for progress in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert told[-1].total >= 24 << 20
    assert len({round(share, 1) for share in shares}) > 3
    again: list[PullProgress] = []
    assert await source.fetch(pushed, local, again.append, timeout=60) == image
    assert again == []
    await local.remove_image(pushed)


async def test_many_waiters_share_one_pull(pushed: str, local: Images) -> None:
    source = RegistrySource(ImageRules(private_registries=("*",)))
    told: list[list[PullProgress]] = [[] for _ in range(5)]
    images = await asyncio.gather(*(source.fetch(pushed, local, heard.append, timeout=60) for heard in told))
    assert len({image.digest for image in images}) == 1
    assert all(heard[-1].current == heard[-1].total for heard in told)
    await local.remove_image(pushed)


async def test_a_digest_names_the_same_image(pushed: str, local: Images) -> None:
    source = RegistrySource(ImageRules(private_registries=("*",)))
    await source.fetch(pushed, local, _quiet, timeout=60)
    answer = await local.inspect(pushed)
    assert answer is not None
    by_digest = answer["RepoDigests"][0]
    await local.remove_image(pushed)
    fetched = await source.fetch(by_digest, local, _quiet, timeout=60)
    assert fetched.digest == answer["Id"]
    await local.remove_image(by_digest)


async def test_a_mirror_is_asked_first(bench: Bench, registry: str, local: Images) -> None:
    mirrored = await _push(bench, registry, "library/rexec-mirrored", layers=1)
    name = mirrored.removeprefix(f"{registry}/library/")
    source = RegistrySource(ImageRules(mirrors=("127.0.0.1:1", registry)))
    image = await source.fetch(name, local, _quiet, timeout=60)
    assert image.ref == name
    assert await local.image(mirrored) is None
    await local.remove_image(name)


async def test_what_is_nowhere_is_told_from_what_cannot_be_reached(registry: str, local: Images) -> None:
    source = RegistrySource(ImageRules(private_registries=("*",), build=False))
    with pytest.raises(NotFound) as absent:
        await source.fetch(f"{registry}/none/such:1", local, _quiet, timeout=60)
    assert absent.value.code == "image_not_found"
    with pytest.raises(Unavailable) as away:
        await source.fetch("127.0.0.1:1/some:1", local, _quiet, timeout=60)
    assert away.value.code == "pull_failed"
    with pytest.raises(NotFound) as gone:
        await source.fetch("rexec.local/gone:1", local, _quiet, timeout=60)
    assert gone.value.code == "image_not_found"


async def test_internal_registries_are_refused(registry: str, local: Images) -> None:
    source = RegistrySource(ImageRules())
    for name in (f"{registry}/some/image:1", "localhost/some:1", "0x7f000001:80/some:1"):
        with pytest.raises(RexecError) as caught:
            await source.fetch(name, local, _quiet, timeout=60)
        assert isinstance(caught.value, Invalid), name
        assert caught.value.code == "image_refused"


async def test_too_large_an_image_is_broken_off(pushed: str, local: Images) -> None:
    source = RegistrySource(ImageRules(private_registries=("*",), largest_bytes=10 << 20))
    with pytest.raises(TooLarge):
        await source.fetch(pushed, local, _quiet, timeout=60)
    assert await local.image(pushed) is None


async def test_time_is_bounded(pushed: str, local: Images) -> None:
    source = RegistrySource(ImageRules(private_registries=("*",)))
    with pytest.raises(Unavailable) as caught:
        await source.fetch(pushed, local, _quiet, timeout=0.01)
    assert caught.value.code == "pull_failed"
    await local.remove_image(pushed)


async def test_an_image_is_built_from_packages(bench: Bench, local: Images, tmp_path: Path) -> None:
    """The base image of this suite may have been built already: then under another name."""
    if shutil.which("mmdebstrap") is None or os.geteuid() != 0:
        pytest.skip("mmdebstrap is not installed, or this is not root")
    if await local.image("debian:12") is not None:
        await local.remove_image("debian:12")
    told: list[PullProgress] = []
    source = RegistrySource(ImageRules(packages=Mirrors()))
    image = await source.fetch("debian:12", local, told.append, timeout=110)
    assert image.environment["PATH"]
    steps = [progress.current for progress in told if progress.layer == "packages"]
    assert steps == sorted(steps)
    assert steps[-1] == 100
    spec = bench.spec(image="debian:12")
    await bench.engine.start(spec)
    code, said = await bench.run(spec, ". /etc/os-release; echo $VERSION_CODENAME")
    assert (code, said) == (0, "bookworm")
    await bench.engine.delete(spec.engine_key)
    await local.remove_image("debian:12")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("debian", ("debian", "trixie")),
        ("debian:bookworm-slim", ("debian", "bookworm")),
        ("ubuntu:24.04", ("ubuntu", "noble")),
        ("debian:12@sha256:" + "a" * 64, None),
        ("quay.io/library/debian:12", None),
        ("someone/debian:12", None),
        ("alpine", None),
        ("debian:nope", None),
    ],
)
def test_what_can_be_built(text: str, wanted: tuple[str, str] | None) -> None:
    assert suite(parse(text)) == wanted


async def test_work_nobody_waits_for_is_ended() -> None:
    flights = Flights()
    began, ended = asyncio.Event(), asyncio.Event()

    async def work(progress: ProgressCallback) -> Image:
        progress(PullProgress(None, 1, 2))
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    heard: list[PullProgress] = []
    first = asyncio.create_task(flights.join("k", work, heard.append))
    await began.wait()
    second = asyncio.create_task(flights.join("k", work, heard.append))
    await asyncio.sleep(0)
    assert heard == [PullProgress(None, 1, 2)] * 2
    first.cancel()
    await asyncio.wait([first])
    assert not ended.is_set()
    second.cancel()
    await asyncio.wait([second])
    assert ended.is_set()


async def test_a_failed_fetch_is_tried_afresh() -> None:
    flights = Flights()
    made = Image(ref=BASE, digest="d", size_bytes=1, architecture="amd64")
    outcomes = [NotFound("no"), made]

    async def work(progress: ProgressCallback) -> Image:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(NotFound):
        await flights.join("k", work, _quiet)
    assert await flights.join("k", work, _quiet) == made
