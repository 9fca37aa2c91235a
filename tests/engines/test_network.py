"""From a container: the Internet's names and hosts, but not the host, its networks or the neighbours."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from engine_bench import Bench

from rexec.server.engines.docker import DockerEngine, NetworkRules
from rexec.server.engines.docker.firewall import host_resolvers
from rexec.server.ports.records import Observation, Spec

_LISTENER = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 9, LocalPort => 7000) or die;"
    " open F, q(>), q(/tmp/up); close F; while (my $c = $s->accept) { close $c }"
)


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def _reaches(bench: Bench, spec: Spec, address: str, port: int) -> bool:
    code, _ = await bench.run(spec, f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/{port}'")
    return code == 0


@pytest.fixture(scope="module")
async def listener() -> AsyncIterator[int]:
    """A port open on every address of the host."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
async def pair(bench: Bench) -> AsyncIterator[list[tuple[Spec, Observation]]]:
    specs = [bench.spec(), bench.spec()]
    started = [(spec, await bench.engine.start(spec)) for spec in specs]
    await bench.run(
        specs[1], f"setsid perl -e '{_LISTENER}' </dev/null >/dev/null 2>&1 & while [ ! -e /tmp/up ]; do :; done"
    )
    assert await _reaches(bench, specs[1], "127.0.0.1", 7000)
    yield started
    for spec in specs:
        await bench.engine.delete(spec.engine_key)


async def test_nothing_is_degraded(bench: Bench) -> None:
    assert not any("reach" in sentence for sentence in (await bench.engine.capacity()).degraded)


async def test_no_way_to_the_host_by_any_of_its_addresses(
    bench: Bench, pair: list[tuple[Spec, Observation]], listener: int
) -> None:
    spec, seen = pair[0]
    assert seen.ip_address is not None
    listed = (await _output("hostname", "-I")).split()
    addresses = {address for address in listed if "." in address} | {seen.ip_address.rpartition(".")[0] + ".1"}
    reader, writer = await asyncio.open_connection(next(iter(addresses & set(listed))), listener)
    writer.close()
    assert addresses
    assert [address for address in addresses if await _reaches(bench, spec, address, listener)] == []
    assert await reader.read() == b""


async def test_no_way_to_a_neighbour_by_address_or_name(bench: Bench, pair: list[tuple[Spec, Observation]]) -> None:
    (spec, _), (neighbour, seen) = pair
    assert seen.ip_address is not None
    _, writer = await asyncio.open_connection(seen.ip_address, 7000)
    writer.close()
    assert not await _reaches(bench, spec, seen.ip_address, 7000)
    assert not await _reaches(bench, spec, f"rexec-{neighbour.engine_key}", 7000)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "224.0.0.1"]
)
async def test_internal_addresses_are_refused_at_once(
    bench: Bench, pair: list[tuple[Spec, Observation]], address: str
) -> None:
    code, said = await bench.run(pair[0][0], f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/80'")
    assert code == 1, said


async def test_no_ipv6(bench: Bench, pair: list[tuple[Spec, Observation]]) -> None:
    code, said = await bench.run(pair[0][0], "grep -v ' lo$' /proc/net/if_inet6")
    assert (code, said) == (1, "")


async def test_the_resolver_answers_names_and_nothing_else(bench: Bench, pair: list[tuple[Spec, Observation]]) -> None:
    spec = pair[0][0]
    resolvers = host_resolvers()
    if not resolvers:
        pytest.skip("this host has no name server but its own")
    code, said = await bench.run(spec, "getent hosts deb.debian.org")
    assert code == 0, said
    assert not await _reaches(bench, spec, resolvers[0], 80)


async def test_packages_can_be_fetched(bench: Bench, pair: list[tuple[Spec, Observation]]) -> None:
    code, said = await bench.run(pair[0][0], "apt-get update -q", timeout=100)
    assert code == 0, said
    assert "Reading package lists" in said
    assert "Err:" not in said


async def test_flushed_rules_come_back(bench: Bench, pair: list[tuple[Spec, Observation]], listener: int) -> None:
    spec, seen = pair[0]
    assert seen.ip_address is not None
    gateway = seen.ip_address.rpartition(".")[0] + ".1"
    table = f"rexec_{bench.installation[:8]}"
    await _output("nft", "delete", "table", "inet", table)
    assert await _reaches(bench, spec, gateway, listener)
    await bench.engine._network.ensure(afresh=True)
    assert not await _reaches(bench, spec, gateway, listener)


async def test_a_hole_is_a_hole(
    bench: Bench, make_engine: Callable[..., DockerEngine], tmp_path: Path, listener: int
) -> None:
    rules = NetworkRules(allow=("10.231.77.1/32",), subnet="10.231.77.0/24")
    async with make_engine(tmp_path, "hole" + bench.installation, network=rules) as engine:
        spec = bench.spec()
        try:
            assert (await engine.start(spec)).ip_address == "10.231.77.2"
            assert await _reaches(bench, spec, "10.231.77.1", listener)
            assert not await _reaches(bench, spec, "172.17.0.1", listener)
        finally:
            await engine.delete(spec.engine_key)
            await engine.remove_network()
