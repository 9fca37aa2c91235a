"""Sessions and tokens over HTTP, and what ends with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx2
import pytest
import websockets

from support.client import Api
from support.server import Served

Minted = Callable[..., Awaitable[Api]]
NOBODY = {"Authorization": ""}


async def test_a_cookie_works_for_the_servers_own_page_only(api: Api) -> None:
    async with httpx2.AsyncClient(base_url=api.url) as browser:
        signed = await browser.post("/api/auth/session", json={"token": api.token}, headers={"Origin": api.url})
        assert signed.status_code == 200
        assert "token" not in signed.json()
        flags = signed.headers["set-cookie"].lower()
        assert "httponly" in flags
        assert "samesite=strict" in flags
        assert (await browser.get("/api/profile")).status_code == 200
        body = {"name": "x", "scopes": ["exec"]}
        for origin in ({"Origin": "https://evil.example"}, {}):
            refused = await browser.post("/api/tokens", json=body, headers=origin)
            assert refused.status_code == 403, refused.text
        own = await browser.post("/api/tokens", json=body, headers={"Origin": api.url})
        assert own.status_code == 201, own.text
        await browser.delete("/api/auth/session", headers={"Origin": api.url})
        assert (await browser.get("/api/profile")).status_code == 401


async def test_a_session_that_ends_ends_its_open_terminal(api: Api, served: Served) -> None:
    signed = (await api.http.post("/api/auth/session", json={"token": api.token, "cookie": False})).json()
    session = served.as_token(signed["token"])
    async with api.container() as container:
        async with session.connect(f"/ws/terminal/{container['id']}", subprotocols=["rexec.v2"]) as socket:
            await socket.recv()
            listed = (await session.http.get("/api/sessions")).json()["sessions"]
            current = next(entry["id"] for entry in listed if entry["current"])
            assert (await api.http.delete(f"/api/sessions/{current}")).status_code == 200
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await socket.recv()
            assert socket.close_code == 4401
        assert (await session.http.get("/api/profile")).status_code == 401
    await session.http.aclose()


async def test_refresh_tokens_follow_one_another(api: Api) -> None:
    signed = (await api.http.post("/api/auth/session", json={"token": api.token, "cookie": False})).json()
    assert 0 < signed["expires_in"] <= 900
    fresh = await api.http.post("/api/auth/refresh", json={"refresh_token": signed["refresh_token"]}, headers=NOBODY)
    assert fresh.status_code == 200
    reused = await api.http.post("/api/auth/refresh", json={"refresh_token": signed["refresh_token"]}, headers=NOBODY)
    assert reused.status_code == 401


async def test_a_token_is_made_from_a_session_or_by_an_admin(api: Api, minted: Minted) -> None:
    made = await api.http.post("/api/admin/users", json={"username": "token-maker"})
    user = made.json()
    plain = await minted(api, ["tokens", "containers:read"])
    refused = await plain.http.post("/api/tokens", json={"name": "again", "scopes": ["containers:read"]})
    assert refused.status_code == 403
    twice = await api.http.post("/api/admin/users", json={"username": "token-maker"})
    assert twice.status_code == 409
    changed = await api.http.patch(f"/api/admin/users/{user['id']}", json={"tier": "pro"})
    assert changed.json()["tier"] == "pro"
    assert (await api.http.patch(f"/api/admin/users/{user['id']}", json={"tier": "none"})).status_code == 400
    ended = await api.http.patch(f"/api/admin/users/{user['id']}", json={"disabled": True})
    assert ended.json()["disabled"] is True
    answer = await api.http.get("/api/profile", headers={"Authorization": f"Bearer {user['token']}"})
    assert answer.status_code == 401


async def test_a_guest_has_its_limits_and_no_way_to_more(guest_api: Api) -> None:
    profile = (await guest_api.http.get("/api/profile")).json()
    assert profile["user"]["guest"] is True
    assert profile["limits"]["containers"] == 1
    assert profile["limits"]["memory_mb"]["max"] == 512
    assert (await guest_api.http.get("/api/admin/users")).status_code == 403
    assert (await guest_api.http.post("/api/tokens", json={"name": "x"})).status_code == 403
    made = await guest_api.http.post("/api/containers", json={"image": "debian"})
    assert made.status_code == 202, made.text
    assert made.json()["resources"] == {"memory_mb": 512, "cpu_shares": 500, "disk_mb": 2048}
    assert 179_000 < made.json()["session_limit_seconds"] <= 180_000
    late = await guest_api.http.post(f"/api/containers/{made.json()['id']}/renew", json={"seconds": 10**6})
    assert late.status_code == 400


async def test_secrets_are_told_once_even_with_a_key(api: Api) -> None:
    headers = {"Idempotency-Key": "make-a-token"}
    body = {"name": "keyed", "scopes": ["exec"]}
    first = await api.http.post("/api/tokens", json=body, headers=headers)
    assert first.status_code == 201
    again = await api.http.post("/api/tokens", json=body, headers=headers)
    assert again.status_code == 409
    assert again.json()["code"] == "already_done"


async def test_an_admin_who_starts_a_guests_container_does_not_outlast_the_guest(api: Api, guest_api: Api) -> None:
    async with guest_api.container() as container:
        at = f"/api/containers/{container['id']}"
        assert (await guest_api.http.post(f"{at}/stop")).status_code == 200
        assert (await api.http.post(f"{at}/start")).status_code == 200
        guest = (await guest_api.http.get("/api/profile")).json()
        assert (await guest_api.get(container["id"]))["expires_at"] <= guest["user"]["expires_at"]
