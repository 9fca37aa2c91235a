"""What listens in a container, and tunnels to it: their ends, their floods, their refusals."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from websockets import ConnectionClosed, InvalidStatus

from support import images
from support.client import Api
from support.server import Served

IMAGES = {
    "debian": {"image": images.DEBIAN},
    "alpine": {"image": images.ALPINE},
    "static": {"image": "custom", "custom_image": images.STATIC},
}
FLOOD = 96 << 20
PEERS = """
use IO::Socket::INET; use Socket; $SIG{CHLD} = 'IGNORE';
my %peers = (
    4100 => sub { select undef, undef, undef, 0.05 until -e '/go'; my $n = 0;
                  while (my $got = sysread $_[0], my $part, 65536) { $n += $got } syswrite $_[0], $n },
    4101 => sub { syswrite $_[0], 'x' x 65536 for 1 .. 96 * 16 },
    4102 => sub { shutdown $_[0], 1; local $/; my $all = readline $_[0]; open F, '>', '/got'; print F $all; close F },
    4103 => sub { sysread $_[0], my $part, 1; setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) },
    4104 => sub { sleep 10000 },
);
for my $port (keys %peers) {
    next if fork; $SIG{CHLD} = 'IGNORE';
    my $l = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => $port);
    while (my $c = $l->accept) { if (fork == 0) { $peers{$port}->($c); exit } close $c }
}
sleep 10000;
"""


class Box:
    """A container with something to listen with."""

    def __init__(self, api: Api, container: dict[str, Any]) -> None:
        self.api, self.id = api, container["id"]
        self.at = f"/api/containers/{self.id}"

    async def begin(self, *command: str, user: str = "root") -> None:
        began = await self.api.http.post(f"{self.at}/processes", json={"command": list(command), "user": user})
        assert began.status_code == 201, began.text

    async def listening(self, *ports: int) -> dict[int, dict[str, Any]]:
        """Once all of them are."""
        async with asyncio.timeout(60):
            while True:
                listed = (await self.api.http.get(f"{self.at}/ports")).json()["ports"]
                found = {port["port"]: port for port in listed}
                if set(ports) <= set(found):
                    return found
                await asyncio.sleep(0.05)

    def tunnel(self, port: int | str, **options: Any) -> Any:
        return self.api.connect(f"/ws/ports/{self.id}/{port}", close_timeout=1, **options)


@pytest.fixture(scope="module")
def busybox() -> dict[str, bytes]:
    """Alpine's, with the library that it needs: they run anywhere."""
    found: dict[str, bytes] = {}
    with tarfile.open(images.alpine()) as tar:
        while len(found) < 2 and (entry := tar.next()) is not None:
            name = entry.name.removeprefix(".")
            if entry.isfile() and (name == "/bin/busybox" or name.startswith("/lib/ld-musl-")):
                content = tar.extractfile(entry)
                assert content is not None
                found[name] = content.read()
    return found


@pytest.fixture(scope="module", params=IMAGES)
async def box(request: pytest.FixtureRequest, served: Served, busybox: dict[str, bytes]) -> AsyncIterator[Box]:
    async with served.api.container(**IMAGES[request.param]) as container:
        box = Box(served.api, container)
        for name, content in busybox.items():
            query = {"path": name, "mode": "755"}
            put = await served.api.http.put(f"{box.at}/files", params=query, content=content)
            assert put.status_code == 200, put.text
        yield box


async def test_what_listens_is_listed_with_its_process_and_reached(box: Box) -> None:
    wanted = {
        4001: ("127.0.0.1", "ipv4", "root"), 4002: ("0.0.0.0", "ipv4", "user"), 4003: ("::", "ipv6", "user"),
    }  # fmt: skip
    for port, (address, _, user) in wanted.items():
        listen = ("-lk", "-s", address, "-p", str(port), "-e", "/bin/busybox", "cat")
        await box.begin("/bin/busybox", "nc", *listen, user=user)
    found = await box.listening(*wanted)
    for port, (address, family, user) in wanted.items():
        shown = found[port]
        assert (shown["address"], shown["family"], shown["user"], shown["process"]) == (
            address,
            family,
            user,
            "busybox",
        )
        assert shown["pid"] > 1
        async with box.tunnel(port) as socket, asyncio.timeout(60):
            await socket.send(b"there ")
            await socket.send("and back")
            await socket.send(b"")
            back = b""
            while piece := await socket.recv():
                back += piece
            assert back == b"there and back"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


@pytest.fixture(scope="module")
async def peers(served: Served) -> AsyncIterator[Box]:
    async with served.api.container() as container:
        box = Box(served.api, container)
        await box.begin("perl", "-e", PEERS)
        await box.listening(4100, 4101, 4102, 4103, 4104)
        yield box


async def _rested(box: Box, progress: list[int]) -> None:
    """Until nothing moves any more while others are answered."""
    async with asyncio.timeout(60):
        while True:
            before = sum(progress)
            for _ in range(10):
                await box.api.exec(box.id, ["true"])
            if before and sum(progress) == before:
                return


async def _bounded(box: Box, served: Served, before: float) -> None:
    assert served.resident_mib() - before < 32
    size = (await box.api.exec(box.id, "grep VmRSS /proc/1/status"))["stdout"].split()[1]
    assert int(size) < 48 << 10


async def test_a_flood_that_nobody_reads_waits(peers: Box, served: Served) -> None:
    before, sent = served.resident_mib(), [0]
    async with peers.tunnel(4100) as socket, asyncio.timeout(120):

        async def flood() -> None:
            for _ in range(FLOOD >> 16):
                await socket.send(bytes(1 << 16))
                sent.append(1)
            await socket.send(b"")

        sending = asyncio.create_task(flood())
        await _rested(peers, sent)
        assert not sending.done()
        await _bounded(peers, served, before)
        await peers.api.exec(peers.id, "touch /go")
        await sending
        assert await socket.recv() == str(FLOOD).encode()
        assert await socket.recv() == b""


async def test_a_flood_that_the_client_does_not_read_waits(peers: Box, served: Served) -> None:
    before = served.resident_mib()
    async with peers.tunnel(4101, max_queue=1) as socket, asyncio.timeout(120):
        await _rested(peers, [1])
        await _bounded(peers, served, before)
        came = 0
        while piece := await socket.recv():
            came += len(piece)
        assert came == FLOOD


async def test_either_side_may_end_first(peers: Box) -> None:
    async with peers.tunnel(4102) as socket, asyncio.timeout(60):
        assert await socket.recv() == b""
        for part in (b"after ", b"the end", b""):
            await socket.send(part)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    async with asyncio.timeout(60):
        while (await peers.api.exec(peers.id, "cat /got"))["stdout"] != "after the end":
            await asyncio.sleep(0.05)


async def test_what_breaks_is_told(peers: Box) -> None:
    for port, parts, code, said in (
        (4103, [b"x"], 4502, "the connection broke: connection reset by peer"),
        (4104, [b"", b"more"], 4400, "this direction has ended"),
    ):
        async with peers.tunnel(port) as socket, asyncio.timeout(60):
            with suppress(ConnectionClosed):
                for part in parts:
                    await socket.send(part)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, said)


async def test_refusals_have_a_status_for_programs_and_a_code_for_browsers(peers: Box) -> None:
    for port, status in (("4999", 502), ("0", 400), ("65536", 400), ("x", 400), ("4_1", 400), ("%EF%BC%91", 400)):
        with pytest.raises(InvalidStatus) as refused:
            async with peers.tunnel(port):
                pass
        assert refused.value.response.status_code == status, port
        async with peers.tunnel(port, subprotocols=["rexec.v1"]) as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4000 + status
