"""A container's life on a real Docker Engine."""

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from engine_bench import LIMITS, Bench, Watched

from rexec.errors import Broken, Conflict, Invalid, NotFound, RexecError
from rexec.server.engines.docker import DockerEngine
from rexec.server.engines.docker.objects import CAPABILITIES
from rexec.server.ports.records import Feature, Limits, Phase, Spec


async def test_every_action_may_be_repeated(bench: Bench) -> None:
    spec = bench.spec()
    started = await bench.engine.start(spec)
    again = await bench.engine.start(spec)
    assert started.phase is again.phase is Phase.RUNNING
    assert started.engine_id == again.engine_id
    assert started.ip_address
    assert started.started_at is not None
    for _ in range(2):
        assert (await bench.engine.pause(spec.engine_key)).phase is Phase.PAUSED
    for _ in range(2):
        assert (await bench.engine.resume(spec.engine_key)).phase is Phase.RUNNING
    for _ in range(2):
        stopped = await bench.engine.stop(spec.engine_key, 5)
        assert (stopped.phase, stopped.exit_code) == (Phase.EXITED, 0)
    assert (await bench.engine.start(spec)).engine_id == started.engine_id
    assert (bench.guests / spec.engine_key).is_dir()
    for _ in range(2):
        await bench.engine.delete(spec.engine_key)
    assert (await bench.engine.inspect(spec.engine_key)).phase is Phase.MISSING
    assert not (bench.guests / spec.engine_key).exists()
    assert not (bench.guests / ".etc" / spec.engine_key).exists()


async def test_missing_objects_are_said_to_be_missing(bench: Bench) -> None:
    for call in (bench.engine.pause("nobody"), bench.engine.resume("nobody"), bench.engine.stop("nobody", 1)):
        assert (await call).phase is Phase.MISSING
    with pytest.raises(NotFound):
        await bench.engine.logs("nobody", tail=1)
    with pytest.raises(NotFound):
        await bench.engine.update("nobody", LIMITS)


async def test_a_stopped_or_paused_container_is_started_or_refused(bench: Bench) -> None:
    spec = bench.spec()
    await bench.engine.start(spec)
    await bench.engine.pause(spec.engine_key)
    assert (await bench.engine.start(spec)).phase is Phase.RUNNING
    await bench.engine.pause(spec.engine_key)
    assert (await bench.engine.stop(spec.engine_key, 2)).phase is Phase.EXITED
    with pytest.raises(Conflict):
        await bench.engine.pause(spec.engine_key)
    await bench.engine.pause((await _running(bench)).engine_key)
    await bench.engine.delete(spec.engine_key)


async def test_many_starts_of_one_key_make_one_container(bench: Bench) -> None:
    spec = bench.spec()
    seen = await asyncio.gather(*(bench.engine.start(spec) for _ in range(6)))
    assert len({observation.engine_id for observation in seen}) == 1
    assert all(observation.phase is Phase.RUNNING for observation in seen)
    listed = [o for o in await bench.engine.list() if o.engine_key == spec.engine_key]
    assert len(listed) == 1
    await asyncio.gather(*(bench.engine.delete(spec.engine_key) for _ in range(3)))
    assert (await bench.engine.inspect(spec.engine_key)).phase is Phase.MISSING


async def test_only_our_own_objects_are_seen(
    bench: Bench, make_engine: Callable[..., DockerEngine], tmp_path: Path
) -> None:
    spec = await _running(bench)
    async with make_engine(tmp_path, "other" + bench.installation) as twin:
        assert await twin.list() == []
        with pytest.raises(Broken):
            await twin.inspect(spec.engine_key)
        with pytest.raises(Broken):
            await twin.start(spec)
        await twin.remove_network()
    assert spec.engine_key in {o.engine_key for o in await bench.engine.list()}


async def test_a_container_runs_the_guest_and_nothing_of_the_image(bench: Bench) -> None:
    spec = await _running(bench, image=await _image(bench, "USER 1000", 'ENTRYPOINT ["/bin/false"]', "ENV COLOUR=blue"))
    answer = await bench.client.json("GET", f"containers/rexec-{spec.engine_key}/json")
    assert answer["Path"] == "/.rexec/bin/rexec-guest"
    assert "COLOUR=blue" in answer["Config"]["Env"]
    assert await bench.run(spec, "id -u; hostname; pwd") == (0, f"0\r\n{spec.hostname}\r\n/")
    code, status = await bench.run(spec, "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/1/status")
    assert code == 0
    numbers = dict(line.split(":\t") for line in status.split("\r\n"))
    assert int(numbers["CapBnd"], 16).bit_count() == len(CAPABILITIES)
    assert (numbers["NoNewPrivs"], numbers["Seccomp"]) == ("1", "2")


async def test_nothing_of_the_host_can_be_written(bench: Bench) -> None:
    spec = await _running(bench)
    _, mounts = await bench.run(spec, "cat /proc/mounts")
    ours = [line.split() for line in mounts.split("\r\n") if line.split()[1].startswith(("/.rexec", "/etc/"))]
    assert {mount[1] for mount in ours} == {
        "/.rexec/bin", "/.rexec/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    }  # fmt: skip
    assert all("ro" in mount[3].split(",") for mount in ours)
    for path in ("/.rexec/run/x.sock", "/.rexec/bin/rexec-guest", "/etc/hosts", "/etc/resolv.conf"):
        code, said = await bench.run(spec, f"echo x >> {path}")
        assert code != 0
        assert "Read-only" in said or "Text file busy" in said


async def test_limits_are_applied_and_changed_live(bench: Bench) -> None:
    spec = await _running(bench)
    path = f"containers/rexec-{spec.engine_key}/json"
    config = (await bench.client.json("GET", path))["HostConfig"]
    assert config["Memory"] == config["MemorySwap"] == 256 << 20
    assert (config["NanoCpus"], config["PidsLimit"]) == (1_000_000_000, 200)
    await bench.engine.update(spec.engine_key, Limits(memory_mb=512, cpu_millis=500, disk_mb=1024))
    config = (await bench.client.json("GET", path))["HostConfig"]
    assert config["Memory"] == config["MemorySwap"] == 512 << 20
    assert config["NanoCpus"] == 500_000_000
    await bench.run(spec, "head -c 100M /dev/zero > /dev/shm/filler 2>/dev/null; head -c 50M /dev/zero > /dev/shm/f")
    with pytest.raises(Conflict) as caught:
        await bench.engine.update(spec.engine_key, Limits(memory_mb=32, cpu_millis=500, disk_mb=1024))
    assert caught.value.code == "memory_in_use"


async def test_logs_are_the_last_lines(bench: Bench) -> None:
    spec = await _running(bench)
    await bench.run(spec, "for n in 1 2 3 4; do echo line $n > /proc/1/fd/1; done")
    async with asyncio.timeout(60):
        while (logs := await bench.engine.logs(spec.engine_key, tail=2)) != b"line 3\nline 4\n":
            assert len(logs) < 100
            await asyncio.sleep(0)


async def test_a_flooded_log_stays_small(bench: Bench) -> None:
    spec = await _running(bench)
    await bench.run(spec, "yes 0123456789012345678901234567890123456789 | head -c 30000000 > /proc/1/fd/1", timeout=60)
    assert len(await bench.engine.logs(spec.engine_key, tail=10_000_000)) <= 1 << 20
    info = await bench.client.json("GET", "info")
    seen = await bench.engine.inspect(spec.engine_key)
    directory = Path(info["DockerRootDir"]) / "containers" / str(seen.engine_id)
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    assert size < 4 << 20


async def test_commit_makes_an_image_of_a_container(bench: Bench) -> None:
    spec = await _running(bench)
    await bench.run(spec, "echo kept > /root/kept")
    image = await bench.engine.commit(spec.engine_key, f"rexec.local/test:{spec.engine_key}", {})
    try:
        copy = await _running(bench, image=image.ref)
        assert await bench.run(copy, "cat /root/kept") == (0, "kept")
        await bench.engine.delete(copy.engine_key)
    finally:
        await bench.engine.remove_image(image.ref)
    assert await bench.engine.image(image.ref) is None


async def test_deaths_are_told_at_once_with_their_reason(bench: Bench, watched: Watched) -> None:
    killed, stopped = await _running(bench), await _running(bench)
    await bench.client.json("POST", f"containers/rexec-{killed.engine_key}/kill", params={"signal": "KILL"})
    seen = await watched.phase(killed.engine_key, Phase.EXITED)
    assert (seen.exit_code, seen.out_of_memory) == (137, False)
    assert seen.finished_at is not None
    await bench.engine.stop(stopped.engine_key, 5)
    assert (await watched.phase(stopped.engine_key, Phase.EXITED)).exit_code == 0
    await bench.client.json("DELETE", f"containers/rexec-{stopped.engine_key}", params={"force": 1})
    await watched.phase(stopped.engine_key, Phase.MISSING)
    listed = {o.engine_key: o for o in await bench.engine.list()}
    assert listed[killed.engine_key].exit_code == 137
    assert stopped.engine_key not in listed


async def test_memory_has_an_end(bench: Bench, watched: Watched) -> None:
    spec = await _running(bench)
    code, _ = await bench.run(spec, "head -c 600M /dev/zero | tail -c 500M > /dev/null")
    assert code == 137

    def told(seen: list[object]) -> bool:
        return any(getattr(o, "engine_key", "") == spec.engine_key and getattr(o, "out_of_memory", False) for o in seen)

    await watched.until(told)
    assert (await bench.engine.inspect(spec.engine_key)).phase is Phase.RUNNING


async def test_a_death_by_a_kill_is_no_death_by_memory_because_a_child_once_was(bench: Bench, watched: Watched) -> None:
    spec = await _running(bench)
    code, _ = await bench.run(spec, "head -c 600M /dev/zero | tail -c 500M > /dev/null")
    assert code == 137
    path = f"containers/rexec-{spec.engine_key}"
    await watched.until(lambda seen: any(o and o.engine_key == spec.engine_key and o.out_of_memory for o in seen))
    later = datetime.now(UTC) + timedelta(seconds=3)
    while datetime.now(UTC) < later:
        await asyncio.sleep(0.1)
    await bench.client.json("POST", f"{path}/kill", params={"signal": "KILL"})
    seen = await watched.phase(spec.engine_key, Phase.EXITED)
    assert (seen.exit_code, seen.out_of_memory) == (137, False)
    assert (await bench.client.json("GET", f"{path}/json"))["State"]["OOMKilled"]
    assert not next(o for o in await bench.engine.list() if o.engine_key == spec.engine_key).out_of_memory
    assert (await bench.engine.start(spec)).phase is Phase.RUNNING


async def test_an_image_that_is_not_here_is_named(bench: Bench) -> None:
    spec = bench.spec(image="rexec.local/none:x")
    with pytest.raises(NotFound) as caught:
        await bench.engine.start(spec)
    assert caught.value.code == "image_not_found"
    assert (await bench.engine.inspect(spec.engine_key)).phase is Phase.MISSING


async def test_a_key_cannot_be_a_path(bench: Bench) -> None:
    for call in (bench.engine.delete("../x"), bench.engine.inspect("a/b"), bench.engine.logs("", tail=1)):
        with pytest.raises(Invalid):
            await call


async def test_capacity_is_the_hosts(bench: Bench) -> None:
    capacity = await bench.engine.capacity()
    assert capacity.cpus >= 1
    assert capacity.memory_mb > 256
    assert capacity.disk_total_mb > capacity.disk_free_mb > 0
    assert capacity.enforced.disk == (Feature.DISK_LIMIT in bench.engine.features)
    assert capacity.enforced.disk or any("disk" in sentence for sentence in capacity.degraded)


async def test_volumes_are_within_the_container(bench: Bench) -> None:
    image = await _image(bench, "VOLUME /data", "VOLUME /root", "ENV COLOUR=blue")
    spec = await _running(bench, image=image)
    answer = await bench.client.json("GET", f"containers/rexec-{spec.engine_key}/json")
    assert all(mount["Type"] == "bind" for mount in answer["Mounts"])
    assert "COLOUR=blue" in answer["Config"]["Env"]
    assert await bench.run(spec, "grep -cE ' /(data|root) ' /proc/mounts") == (1, "0")
    await bench.engine.delete(spec.engine_key)
    await bench.engine.remove_image(image)


@pytest.mark.parametrize("path", ["/filler", "/data/filler"])
async def test_the_disk_has_an_end(bench: Bench, path: str) -> None:
    if Feature.DISK_LIMIT not in bench.engine.features:
        pytest.skip("the storage driver of this daemon enforces no disk limit")
    spec = await _running(bench, image=await _image(bench, "VOLUME /data"))
    code, _ = await bench.run(spec, f"mkdir -p /data; head -c 900M /dev/zero > {path}", timeout=120)
    assert code == 0
    code, said = await bench.run(spec, f"head -c 600M /dev/zero >> {path}", timeout=120)
    assert code != 0
    assert "quota" in said or "No space" in said
    await bench.engine.delete(spec.engine_key)


async def test_a_lost_network_is_made_again(
    make_engine: Callable[..., DockerEngine], bench: Bench, tmp_path: Path
) -> None:
    async with make_engine(tmp_path, "lostnet" + bench.installation) as engine:
        spec = bench.spec()
        try:
            await engine.start(spec)
            await engine.stop(spec.engine_key, 5)
            await engine.remove_network()
            assert (await engine.start(spec)).ip_address
        finally:
            await engine.delete(spec.engine_key)
            await engine.remove_network()


async def test_servers_that_start_together_share_network_and_guest(
    bench: Bench, make_engine: Callable[..., DockerEngine], tmp_path: Path
) -> None:
    installation = secrets.token_hex(8)
    engines = [make_engine(tmp_path / "g", installation) for _ in range(4)]
    try:
        await asyncio.gather(*(engine.__aenter__() for engine in engines))
        answer = await bench.client.json("GET", "networks")
        assert [network["Name"] for network in answer].count(f"rexec-{installation[:8]}") == 1
        assert [path.name for path in (tmp_path / "g/.bin").iterdir()] == ["rexec-guest"]
    finally:
        await engines[0].remove_network()
        for engine in engines:
            await engine.__aexit__(None, None, None)


async def test_its_end_is_the_end_of_what_it_carries(bench: Bench, make_engine: Callable[..., DockerEngine]) -> None:
    """The HTTP client waits for the ends of its connections, of those that were taken over from it too."""
    spec = await _running(bench)
    wires = _Wire(), _Wire()
    async with asyncio.timeout(60):
        async with make_engine(bench.guests, bench.installation) as engine:
            for wire in wires:
                await engine.dial(spec.engine_key, wire)
            wires[0].transport.abort()
        for wire in wires:
            await wire.lost.wait()


class _Wire(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


async def test_failures_are_ours(bench: Bench, make_engine: Callable[..., DockerEngine], tmp_path: Path) -> None:
    engine = make_engine(tmp_path, bench.installation, url=f"unix://{tmp_path}/none.sock")
    with pytest.raises(RexecError) as caught:
        await engine.__aenter__()
    assert caught.value.code == "engine_unavailable"


async def _running(bench: Bench, image: str | None = None) -> Spec:
    spec = bench.spec() if image is None else bench.spec(image=image)
    assert (await bench.engine.start(spec)).phase is Phase.RUNNING
    return spec


async def _image(bench: Bench, *changes: str) -> str:
    """The base image under a changed configuration."""
    name = "rexec.local/test"
    made = await bench.client.json("POST", "containers/create", body={"Image": "debian:bookworm", "Cmd": ["x"]})
    try:
        params = {"container": made["Id"], "repo": name, "tag": made["Id"][:12], "changes": "\n".join(changes)}
        await bench.client.json("POST", "commit", params=params, body={})
    finally:
        await bench.client.json("DELETE", f"containers/{made['Id']}")
    return f"{name}:{made['Id'][:12]}"
