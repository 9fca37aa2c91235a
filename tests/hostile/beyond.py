"""A network behind the host's, with the addresses that a cloud or an office keeps for itself; each answers on port 80."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PUBLIC = "203.0.113.9"
IPV4 = ("169.254.169.254", "10.77.7.7", "172.31.77.7", "192.168.77.7", "100.64.77.7")
IPV6 = ("fd00:ec2::254", "fd77:9::7")
_LISTEN = (
    "import socket; s = socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)\n"
    "print('up', flush=True)\n"
    "while True: s.accept()[0].close()"
)


async def shell(*commands: str) -> None:
    process = await asyncio.create_subprocess_shell(
        "set -e; " + "; ".join(commands), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said


@asynccontextmanager
async def beyond() -> AsyncIterator[None]:
    """Routed from the tests' own network, as its host does for any other."""
    name, way = f"rxb{secrets.token_hex(4)}", "198.19.255"
    listener = await asyncio.create_subprocess_exec(
        "unshare", "--net", sys.executable, "-c", _LISTEN, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert listener.stdout is not None
        assert await listener.stdout.readline() == b"up\n"
        inside = f"nsenter -t {listener.pid} -n ip"
        await shell(
            f"ip link add {name} type veth peer name eth0 netns {listener.pid}",
            f"ip address add {way}.1/30 dev {name}",
            f"ip link set {name} up",
            f"ip -6 address add fd77:8::1/64 dev {name} nodad",
            f"{inside} link set lo up",
            f"{inside} link set eth0 up",
            f"{inside} address add {way}.2/30 dev eth0",
            f"{inside} -6 address add fd77:8::2/64 dev eth0 nodad",
            f"{inside} route add default via {way}.1",
            f"{inside} -6 route add default via fd77:8::1",
            *(f"{inside} address add {address}/32 dev lo" for address in (PUBLIC, *IPV4)),
            *(f"{inside} -6 address add {address}/128 dev lo nodad" for address in IPV6),
            *(f"ip route add {address}/32 via {way}.2" for address in (PUBLIC, *IPV4)),
            *(f"ip -6 route add {address}/128 via fd77:8::2" for address in IPV6),
            "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
        )
        yield
    finally:
        await shell(f"ip link delete {name} 2>/dev/null || true")
        listener.kill()
        await listener.wait()


async def give_ipv6(bridge: str, pid: int, prefix: str) -> None:
    """To a container that has none: `prefix`2 with a way out by the bridge, which is `prefix`1."""
    enter = f"nsenter -t {pid} -n"
    await shell(
        f"echo 0 >/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6",
        f"ip -6 address replace {prefix}1/64 dev {bridge} nodad",
        f"{enter} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6'",
        f"{enter} ip -6 address replace {prefix}2/64 dev eth0 nodad",
        f"{enter} ip -6 route replace default via {prefix}1",
    )
