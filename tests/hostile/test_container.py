"""A container that attacks: paths, logs, disk, processes, network, the server as its guest's master.

Each of these fails without its defence, which docs/security.md names.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiodocker
import pytest

from support.client import Api
from support.server import Served


async def test_nothing_that_the_server_uses_can_be_written_or_swapped(api: Api) -> None:
    async with api.container() as container:
        for path in ("/.rexec/bin", "/.rexec/run", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
            tried = await api.exec(
                container["id"],
                f"mv {path} {path}.old || ln -sfn /tmp {path} || rm -rf {path} || echo x > {path} || mount -t tmpfs none {path}",
            )
            assert tried["exit_code"] != 0, path
        run = await api.exec(
            container["id"], "touch /.rexec/run/x; ln -s /var/run/docker.sock /.rexec/run/y.sock; ls /.rexec/run"
        )
        assert run["stdout"].split() == [name for name in run["stdout"].split() if name.endswith(".sock")]
        assert "y.sock" not in run["stdout"]
        assert (await api.exec(container["id"], "echo fine"))["stdout"] == "fine\n"


async def test_a_log_flood_is_bounded(api: Api, docker: aiodocker.Docker, daemon_root: Path) -> None:
    async with api.container() as container:
        engine_id = (await api.get(container["id"]))["container_id"]
        await api.exec(container["id"], "head -c 200000000 /dev/zero | tr '\\0' x > /proc/1/fd/1", timeout=60)
        kept = sum(
            found.stat().st_size for found in (daemon_root / "containers" / engine_id).rglob("*") if found.is_file()
        )
        assert kept < 32 << 20


@pytest.mark.parametrize("where", ["/home/user/fill", "/tmp/fill", "/var/fill"])
async def test_a_full_disk_stays_the_containers_own(api: Api, where: str) -> None:
    async with api.container() as container:
        if not (await api.get(container["id"]))["enforced"]["disk"]:
            pytest.skip("the storage driver keeps no disk limit here")
        filled = await api.exec(container["id"], f"head -c 3G /dev/zero > {where}", timeout=120)
        assert filled["exit_code"] != 0
        size = await api.exec(container["id"], f"stat -c %s {where}")
        assert int(size["stdout"]) <= 1200 << 20
        assert (await api.exec(container["id"], f"rm {where}; echo freed"))["stdout"] == "freed\n"


async def test_declared_volumes_are_under_the_limit(api: Api, volume_image: str) -> None:
    async with api.container(image="custom", custom_image=volume_image) as container:
        if not (await api.get(container["id"]))["enforced"]["disk"]:
            pytest.skip("the storage driver keeps no disk limit here")
        filled = await api.exec(container["id"], "head -c 3G /dev/zero > /data/fill", timeout=120)
        assert filled["exit_code"] != 0


@pytest.mark.parametrize(
    "bomb",
    [
        ":(){ :|:& };:; sleep 5",
        "while true; do setsid sleep 600 & done 2>/dev/null",
        "perl -e 'while (1) { fork() }'",
    ],
)
async def test_a_fork_bomb_hits_its_limit_and_the_guest_lives(api: Api, bomb: str) -> None:
    async with api.container() as container:
        at = f"/api/containers/{container['id']}/exec"
        await api.http.post(at, json={"command": ["bash", "-c", bomb], "timeout": 5})
        async with asyncio.timeout(60):
            while True:
                answer = await api.http.post(at, json={"command": ["echo", "alive"]})
                if answer.status_code == 200:
                    break
                assert answer.json()["code"] in ("pids_limit", "timed_out", "guest_unreachable"), answer.text
                await asyncio.sleep(0.2)
        assert answer.json()["stdout"] == "alive\n"
        assert (await api.get(container["id"]))["status"] == "running"


async def reach(api: Api, container: str, address: str, port: int) -> bool:
    """Whether a connection opens (bash's own /dev/tcp)."""
    command = ["bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"]
    answer = await api.http.post(f"/api/containers/{container}/exec", json={"command": command, "timeout": 4})
    assert answer.status_code in (200, 504), answer.text
    return bool(answer.json()["exit_code"] == 0)


async def test_the_host_is_out_of_reach(api: Api, served: Served) -> None:
    listening = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 0)
    port = listening.sockets[0].getsockname()[1]
    async with api.container() as container:
        routes = await api.exec(container["id"], "cat /proc/net/route")
        gateways = {
            ".".join(str(int(line.split()[2][at : at + 2], 16)) for at in (6, 4, 2, 0))
            for line in routes["stdout"].splitlines()[1:]
            if line.split()[1] == "00000000"
        }
        assert gateways
        for address in (*gateways, "169.254.169.254", "10.0.0.1", "192.168.0.1", "172.17.0.1"):
            assert not await reach(api, container["id"], address, port), address
            assert not await reach(api, container["id"], address, int(served.url.rpartition(":")[2])), address
    listening.close()
    await listening.wait_closed()


async def test_neighbours_are_out_of_reach_by_address_and_by_name(api: Api) -> None:
    async with api.container() as first, api.container() as second:
        serving = f"/api/containers/{second['id']}/processes"
        server = [
            "perl",
            "-MIO::Socket::INET",
            "-e",
            "$s=IO::Socket::INET->new(Listen=>5,LocalPort=>8000); while($c=$s->accept){close $c}",
        ]
        started = await api.http.post(serving, json={"command": server})
        assert started.status_code == 201, started.text
        async with asyncio.timeout(20):
            while not await reach(api, second["id"], "127.0.0.1", 8000):
                await asyncio.sleep(0.1)
        shown = await api.get(second["id"])
        names = [shown["ip_address"], shown["name"], second["id"], shown["container_id"][:12]]
        hostname = (await api.exec(second["id"], "cat /etc/hostname"))["stdout"].strip()
        for name in (*names, hostname):
            assert not await reach(api, first["id"], name, 8000), name


async def test_garbage_from_a_false_guest_harms_only_its_own_container(api: Api, served: Served) -> None:
    """A shell inside connects to the server's socket itself and answers its requests with rubbish."""
    async with api.container() as hostile, api.container() as neighbour:
        lie = (
            "use IO::Socket::UNIX; my @s = glob('/.rexec/run/*.sock'); my @c;"
            'my @lies = ("\\0" x 70000, "HTTP/1.1 200 OK\\r\\nContent-Length: -1\\r\\n\\r\\n",'
            ' "HTTP/1.1 200 OK\\r\\n" . ("A: b\\r\\n" x 100000), "HTTP/1.1 200 OK\\r\\nContent-Length: 99999999999\\r\\n\\r\\n{",'
            ' "HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nnull", "HTTP/1.1 101 no\\r\\n\\r\\n" . ("o" . pack(\'N\', 4294967295)));'
            "$SIG{PIPE} = 'IGNORE'; for my $n (1..600) { my $c = IO::Socket::UNIX->new(Peer => $s[0]) or next;"
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


async def test_the_capabilities_are_the_few_that_are_promised(api: Api) -> None:
    async with api.container() as container:
        status = (await api.exec(container["id"], "cat /proc/self/status"))["stdout"]
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        kept = {number for number in range(41) if int(fields["CapBnd"], 16) >> number & 1}
        assert kept == {0, 1, 3, 4, 5, 6, 7, 10, 19}
        assert fields["NoNewPrivs"] == "1"
        assert fields["Seccomp"] == "2"


async def test_memory_is_bounded_without_swap(api: Api) -> None:
    async with api.container(memory_mb=256) as container:
        answer = await api.http.post(
            f"/api/containers/{container['id']}/exec",
            json={"command": ["perl", "-e", "$x = 'a' x (600 << 20); sleep 1"], "timeout": 60},
        )
        assert answer.json()["exit_code"] != 0
