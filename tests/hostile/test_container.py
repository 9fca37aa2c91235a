"""A container that attacks: paths, logs, disk, processes, network, the server as its guest's master.

Each of these fails without its defence, which docs/security.md names: where it can be done without harm, the same attack is
made from an undefended container beside it, and succeeds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiodocker
import pytest
from beyond import IPV4, IPV6, PUBLIC, beyond, give_ipv6
from undefended import undefended

from support.client import Api
from support.server import Served

SWAP = "mv {0} {0}.old || ln -sfn /tmp {0} || rm -rf {0} || echo x > {0} || mount -t tmpfs none {0}"
PLANT = "ln -s /var/run/docker.sock /.rexec/run/y.sock"
FLOOD = "head -c 60000000 /dev/zero | tr '\\0' x > /proc/1/fd/1"
ROOT = "chroot / true"
MANY = "perl -e 'pipe R, W; for (1..520) { defined($pid = fork) or exit 1; $pid or do { close W; <R>; exit } }'"
"""All of them live until the last one is there."""
MUCH = "perl -e '$x = q(a) x (600 << 20)'"
CONNECT = "exec 3<>/dev/tcp/{}/{}"
FILL = "rm -f {0}; fallocate -l 1300M {0}"


async def test_nothing_that_the_server_uses_can_be_written_or_swapped(
    api: Api, docker: aiodocker.Docker, daemon_url: str, tmp_path: Path
) -> None:
    async with (
        api.container() as container,
        undefended(docker, daemon_url, Binds=[f"{tmp_path}:/.rexec/run"]) as weak,
    ):
        for path in ("/.rexec/bin", "/.rexec/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
            assert (await api.exec(container["id"], SWAP.format(path)))["exit_code"] != 0, path
        for path in ("/etc/hosts", "/etc/resolv.conf"):
            assert await weak.run(f"echo x > {path}") == 0, path
        assert (await api.exec(container["id"], PLANT))["exit_code"] != 0
        assert await weak.run(PLANT) == 0
        assert (tmp_path / "y.sock").is_symlink()
        found = await api.exec(container["id"], "ls /.rexec/run")
        assert all(name.endswith(".sock") for name in found["stdout"].split())
        assert (await api.exec(container["id"], "echo fine"))["stdout"] == "fine\n"


def sizes(*paths: Path) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


async def test_a_log_flood_is_bounded(api: Api, docker: aiodocker.Docker, daemon_root: Path, daemon_url: str) -> None:
    async with api.container() as container, undefended(docker, daemon_url) as weak:
        engine_id = (await api.get(container["id"]))["container_id"]
        assert (await api.exec(container["id"], FLOOD, timeout=110))["exit_code"] == 0
        kept = sizes(*(daemon_root / "containers" / engine_id).rglob("*"))
        assert kept < 32 << 20
        assert await weak.run(FLOOD) == 0
        async with asyncio.timeout(60):
            while sizes(Path(weak.log)) < 60_000_000:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("path", ["/home/user/fill", "/tmp/fill", "/data/fill"])
async def test_a_full_disk_stays_the_containers_own(
    api: Api, docker: aiodocker.Docker, daemon_url: str, volume_image: str, path: str
) -> None:
    """The image declares /data as a VOLUME, which Docker keeps outside of a container's limit."""
    async with api.container(image="custom", custom_image=volume_image) as container:
        if not (await api.get(container["id"]))["enforced"]["disk"]:
            pytest.skip("the storage driver keeps no disk limit here")
        filled = await api.exec(container["id"], FILL.format(path), timeout=110)
        assert filled["exit_code"] != 0
        assert (await api.exec(container["id"], f"rm -f {path}; echo freed"))["stdout"] == "freed\n"
        limit = {"StorageOpt": {"size": "1200m"}} if path.startswith("/data") else {}
        async with undefended(docker, daemon_url, volume_image, **limit) as weak:
            assert await weak.run(f"mkdir -p {Path(path).parent}; {FILL.format(path)}") == 0


@pytest.mark.parametrize(
    "bomb",
    [
        "while true; do setsid sleep 600 & done 2>/dev/null",
        "perl -Mthreads -e 'while (1) { threads->create(sub { sleep 600 }) }'",
    ],
    ids=["processes", "threads"],
)
async def test_a_bomb_hits_its_limit_and_the_guest_lives(api: Api, bomb: str) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec"
        assert (await api.exec(container["id"], "perl -Mthreads -e 1"))["exit_code"] == 0
        await api.http.post(at, json={"command": ["bash", "-c", bomb], "timeout": 5})
        async with asyncio.timeout(100):
            while True:
                answer = await api.http.post(at, json={"command": ["echo", "alive"]})
                if answer.status_code == 200:
                    break
                assert answer.json()["code"] in ("pids_limit", "timed_out", "guest_unreachable"), answer.text
                await asyncio.sleep(0.2)
        assert answer.json()["stdout"] == "alive\n"
        assert (await api.get(container["id"]))["status"] == "running"


async def reached(api: Api, container: str, *targets: tuple[str, int]) -> list[str]:
    """To which of them a connection opens (bash's own /dev/tcp)."""
    tries = [f"(timeout 5 bash -c '{CONNECT.format(*target)}' && echo {target[0]}) &" for target in targets]
    said = await api.exec(container, ["bash", "-c", " ".join([*tries, "wait"])], timeout=60)
    return sorted(said["stdout"].split())


def connects(*targets: tuple[str, int]) -> str:
    """Succeeds if all of them do."""
    return " && ".join(CONNECT.format(*target) for target in targets)


async def test_the_host_and_internal_networks_are_out_of_reach(
    api: Api, docker: aiodocker.Docker, daemon_url: str
) -> None:
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, beyond(), api.container() as container, undefended(docker, daemon_url) as weak:
        seen = (await api.get(container["id"]))["ip_address"]
        gateways = [address.rpartition(".")[0] + ".1" for address in (seen, weak.address)]
        closed = [*((gateway, port) for gateway in gateways), *((internal, 80) for internal in IPV4)]
        assert await weak.run(connects(*closed)) == 0
        assert await reached(api, container["id"], *closed, (PUBLIC, 80)) == [PUBLIC]


async def test_they_are_out_of_reach_by_ipv6_too(api: Api, docker: aiodocker.Docker, daemon_url: str) -> None:
    """Containers have no IPv6 and cannot get it. Here both get it from outside; the rules hold all the same."""
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "::", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening, beyond(), api.container() as container, undefended(docker, daemon_url) as weak:
        shown = await (await docker.containers.get((await api.get(container["id"]))["container_id"])).show()
        [network] = shown["NetworkSettings"]["Networks"].values()
        told = await (await docker.networks.get(network["NetworkID"])).show()
        await give_ipv6(told["Options"]["com.docker.network.bridge.name"], shown["State"]["Pid"], "fd77:1::")
        await give_ipv6("docker0", weak.pid, "fd77:2::")
        internal = [(address, 80) for address in IPV6]
        async with asyncio.timeout(60):
            while await weak.run(connects(("fd77:2::1", port), *internal)) != 0:
                await asyncio.sleep(0.2)
        assert await reached(api, container["id"], ("fd77:1::1", port), *internal) == []


async def test_neighbours_are_out_of_reach_by_address_and_by_name(
    api: Api, docker: aiodocker.Docker, daemon_url: str
) -> None:
    serve = "$s=IO::Socket::INET->new(Listen=>5,LocalPort=>8000); while($c=$s->accept){close $c}"
    server = ["perl", "-MIO::Socket::INET", "-e", serve]
    async with (
        api.container() as first,
        api.container() as second,
        undefended(docker, daemon_url) as weak,
        undefended(docker, daemon_url) as neighbour,
    ):
        started = await api.http.post(f"/api/containers/{second['id']}/processes", json={"command": server})
        assert started.status_code == 201, started.text
        assert await neighbour.run(f"setsid perl -MIO::Socket::INET -e '{serve}' >/dev/null 2>&1 &") == 0
        async with asyncio.timeout(60):
            while not await reached(api, second["id"], ("127.0.0.1", 8000)):
                await asyncio.sleep(0.1)
            while await weak.run(f"exec 3<>/dev/tcp/{neighbour.address}/8000") != 0:
                await asyncio.sleep(0.1)
        shown = await api.get(second["id"])
        names = [shown["ip_address"], shown["name"], second["id"], shown["container_id"][:12]]
        hostname = (await api.exec(second["id"], "cat /etc/hostname"))["stdout"].strip()
        assert await reached(api, first["id"], *((name, 8000) for name in (*names, hostname))) == []


async def test_garbage_from_a_false_guest_harms_only_its_own_container(api: Api, served: Served) -> None:
    """A shell inside connects to the server's socket itself and answers its requests with rubbish."""
    async with api.container() as hostile, api.container() as neighbour:
        lie = (
            "use IO::Socket::UNIX; my @s = glob('/.rexec/run/*.sock'); my @c;"
            'my @lies = ("\\0" x 70000, "HTTP/1.1 200 OK\\r\\nContent-Length: -1\\r\\n\\r\\n",'
            ' "HTTP/1.1 200 OK\\r\\n" . ("A: b\\r\\n" x 100000), "HTTP/1.1 200 OK\\r\\nContent-Length: 99999999999\\r\\n\\r\\n{",'
            ' "HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nnull", "HTTP/1.1 101 no\\r\\n\\r\\n" . ("o" . pack(\'N\', 4294967295)));'
            "$SIG{PIPE} = 'IGNORE'; for my $n (1..520) { my $c = IO::Socket::UNIX->new(Peer => $s[0]) or next;"
            " print $c $lies[$n % @lies]; $c->flush; push @c, $c; } sleep 20;"
        )
        at = f"/api/containers/{hostile['id']}"
        started = await api.http.post(f"{at}/processes", json={"command": ["perl", "-e", lie]})
        assert started.status_code == 201, started.text
        before = served.resident_mib()
        for _ in range(30):
            answer = await api.http.post(f"{at}/exec", json={"command": ["true"], "timeout": 5})
            assert answer.status_code in (200, 500, 502, 503, 504), answer.text
            assert "error" in answer.json() or answer.json()["exit_code"] == 0
            fine = await api.exec(neighbour["id"], "echo fine")
            assert fine["stdout"] == "fine\n"
        assert served.resident_mib() - before < 48


async def test_capabilities_processes_and_memory_are_the_few_that_are_promised(
    api: Api, docker: aiodocker.Docker, daemon_url: str
) -> None:
    async with api.container(memory_mb=256) as container, undefended(docker, daemon_url) as weak:
        status = (await api.exec(container["id"], "cat /proc/self/status"))["stdout"]
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        kept = {number for number in range(41) if int(fields["CapBnd"], 16) >> number & 1}
        assert kept == {0, 1, 3, 4, 5, 6, 7, 10, 19}
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"
        for attack in (ROOT, MANY, MUCH):
            assert await weak.run(attack) == 0, attack
            at = f"/api/containers/{container['id']}/exec"
            tried = await api.http.post(at, json={"command": ["bash", "-c", attack], "timeout": 60})
            assert tried.json().get("exit_code") != 0, tried.text
