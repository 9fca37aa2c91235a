"""How often and how much, counted over servers; and whom a server believes about where a request comes from."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network

import pytest
import websockets
from starlette.datastructures import Headers

from accounts.conftest import FRIEND, LOGINS, NOBODY, Pair, from_address, somewhere, until
from rexec.server.api import addresses
from support.client import small
from support.server import Served

WRONG = {"token": "rexec_" + "0" * 64}


def minute() -> int:
    return int(time.time()) // 60


async def test_requests_are_counted_over_both_and_told_truly(pair: Pair) -> None:
    async with pair.tier("pro", requests_per_minute=60):
        user = await pair.user(tier="pro")
        servers = [pair.at(pair.here, user["token"]), pair.at(pair.there, user["token"])]
        admitted: dict[int, int] = {}
        refused = None
        async with asyncio.timeout(110):
            for turn in range(10_000):
                before = minute()
                answer = await servers[turn % 2].http.get("/api/images")
                if answer.status_code == 429:
                    refused = answer
                    break
                assert answer.headers["x-ratelimit-limit"] == "60"
                assert 0 <= int(answer.headers["x-ratelimit-remaining"]) < 60
                if before == minute():
                    admitted[before] = admitted.get(before, 0) + 1
        assert refused is not None
        assert max(admitted.values()) <= 60
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert refused.json()["retry_after"] == int(refused.headers["retry-after"])
        assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("60", "0")


async def test_only_admitted_creates_count_and_a_refusal_tells_their_limit(pair: Pair) -> None:
    async with pair.tier("pro", creates_per_minute=2, containers=2):
        user = await pair.user(tier="pro")
        here, there = pair.at(pair.here, user["token"]), pair.at(pair.there, user["token"])
        begun = minute()
        for _ in range(4):
            assert (await here.http.post("/api/containers", json=small(memory_mb=1))).status_code == 400
        first = await here.http.post("/api/containers", json=small())
        second = await there.http.post("/api/containers", json=small())
        assert (first.status_code, second.status_code) == (202, 202)
        full = await here.http.post("/api/containers", json=small())
        assert (full.status_code, full.json()["code"]) == (403, "container_limit_reached")
        await here.delete(first.json()["id"])
        third = await there.http.post("/api/containers", json=small())
        if third.status_code == 429:
            assert (third.headers["x-ratelimit-limit"], third.headers["x-ratelimit-remaining"]) == ("2", "0")
            assert 1 <= int(third.headers["retry-after"]) <= 61
        else:
            assert (third.status_code, minute() > begun) == (202, True), "only in a new minute"


async def test_open_sockets_are_counted_over_both(pair: Pair) -> None:
    async with pair.tier("pro", sockets=3):
        user = await pair.user(tier="pro")
        here, there = pair.at(pair.here, user["token"]), pair.at(pair.there, user["token"])

        async def refused_everywhere() -> None:
            for api in (here, there):
                with pytest.raises(websockets.InvalidStatus) as refused:
                    async with api.connect("/ws/events"):
                        pass
                assert refused.value.response.status_code == 429
                assert refused.value.response.headers["retry-after"] == "5"

        async with here.connect("/ws/events"), there.connect("/ws/events"):
            async with there.connect("/ws/events"):
                await refused_everywhere()
                async with here.connect("/ws/events", subprotocols=["rexec.v1"]) as browser:
                    with pytest.raises(websockets.ConnectionClosed):
                        await browser.recv()
                    assert browser.close_code == 4429
                used = (await here.http.get("/api/profile")).json()
                assert (used["usage"]["sockets"], used["limits"]["sockets"]) == (3, 3)

            async def one_left() -> bool:
                return bool((await here.http.get("/api/profile")).json()["usage"]["sockets"] == 2)

            await until(one_left)
            async with here.connect("/ws/events"):
                await refused_everywhere()


async def test_wrong_tokens_are_counted_by_address_and_forged_addresses_are_not_believed(
    replicas: tuple[Served, Served],
) -> None:
    """The servers trust a proxy at 127.0.0.1, and nobody at 127.0.0.9."""
    begun = minute()
    forged: list[int] = []
    clients = [from_address("127.0.0.9", server) for server in replicas]
    while minute() < begun + 2 and 429 not in forged:
        for turn in range(2 * LOGINS):
            answer = await clients[turn % 2].post("/api/auth/session", json=WRONG, headers=somewhere())
            forged.append(answer.status_code)
            if answer.status_code == 429:
                assert 1 <= int(answer.headers["retry-after"]) <= 61
                assert answer.headers["x-ratelimit-remaining"] == "0"
                break
    assert 429 in forged
    lists = [{"X-Forwarded-For": f"{somewhere()['X-Forwarded-For']}, 127.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}]
    for headers in lists:
        answer = await clients[0].post("/api/auth/session", json=WRONG, headers=headers)
        assert answer.status_code == 429 or minute() > begun
    # The proxy is believed, about the last hop only: what a client wrote before it is not.
    proxied = [
        (await replicas[turn % 2].api.http.post(
            "/api/auth/session", json=WRONG,
            headers={**NOBODY, "X-Forwarded-For": f"198.51.100.{turn}, {hop}"},
        )).status_code
        for hop in (somewhere()["X-Forwarded-For"],)
        for turn in range(3 * LOGINS)
    ]  # fmt: skip
    assert 429 in proxied
    fresh = {**NOBODY, **somewhere()}
    assert (await replicas[0].api.http.post("/api/auth/session", json=WRONG, headers=fresh)).status_code == 401
    for client in clients:
        await client.aclose()


async def test_who_guesses_at_any_route_or_socket_is_slowed_down_and_who_knows_is_not(
    replicas: tuple[Served, Served],
) -> None:
    address = somewhere()
    statuses = []
    for turn in range(4 * LOGINS):
        headers = {"Authorization": f"Bearer {WRONG['token']}", **address}
        if turn % 2:
            answer = await replicas[0].api.http.get("/api/containers", headers=headers)
            statuses.append(answer.status_code)
        else:
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with replicas[1].api.connect("/ws/events", additional_headers=headers):
                    pass
            statuses.append(refused.value.response.status_code)
    assert set(statuses) == {401, 429}
    assert (await replicas[0].api.http.get("/api/profile", headers=address)).status_code == 200


def test_which_hop_is_the_client() -> None:
    trusted = [ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/48")]

    def seen(peer: str, *lines: str) -> str:
        headers = Headers(raw=[(b"x-forwarded-for", line.encode()) for line in lines])
        return str(addresses.client({"client": (peer, 1)}, headers, trusted))

    assert seen("192.0.2.1", "198.51.100.1") == "192.0.2.1", "a stranger says where it comes from"
    assert seen("10.0.0.1", "198.51.100.1") == "198.51.100.1"
    assert seen("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.2.3.4") == "198.51.100.1"
    assert seen("10.0.0.1", "203.0.113.9", "198.51.100.1:4711") == "198.51.100.1", "the proxy's is the last header"
    assert seen("10.0.0.1", "[2001:db8:2::1]:443") == "2001:db8:2::1"
    assert seen("10.0.0.1", "203.0.113.9, unknown") == "10.0.0.1"
    assert seen("10.0.0.1", "10.0.0.2, 10.0.0.3") == "10.0.0.2"
    assert seen("::ffff:10.0.0.1", "198.51.100.1") == "198.51.100.1"
    assert seen("10.0.0.1") == "10.0.0.1"
    assert addresses.client({"client": None}, Headers(), trusted) is None
    one, other, far = (
        addresses.counted(addresses.client({"client": (text, 1)}, Headers(), []))
        for text in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
    )
    assert one == other
    assert one != far


async def test_pages_of_strangers_may_nothing_and_friends_only_with_a_token(replicas: tuple[Served, Served]) -> None:
    api = replicas[0].api
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization", **NOBODY}
    stranger = await api.http.options("/api/containers", headers={**asked, "Origin": "https://evil.example"})
    assert stranger.status_code == 403
    assert not [name for name in stranger.headers if name.startswith("access-control-")]
    friend = await api.http.options("/api/containers", headers={**asked, "Origin": FRIEND})
    assert (friend.status_code, friend.headers["access-control-allow-origin"]) == (204, FRIEND)
    assert "access-control-allow-credentials" not in friend.headers
    read = await api.http.get("/api/profile", headers={"Origin": FRIEND})
    assert read.headers["access-control-allow-origin"] == FRIEND
    assert "x-ratelimit-remaining" in read.headers["access-control-expose-headers"].lower()
    for origin in ("https://evil.example", "null", f"{FRIEND}.evil.example"):
        async with api.connect("/ws/events", origin=origin) as socket:
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4403
        posted = await api.http.post("/api/auth/session", json=WRONG, headers={**NOBODY, **somewhere(), "Origin": origin,
                                                                              "Cookie": "rexec_session=x"})  # fmt: skip
        assert posted.status_code == 403
    async with api.connect("/ws/events", origin=FRIEND):
        pass
