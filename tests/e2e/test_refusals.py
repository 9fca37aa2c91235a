"""Who is refused, and how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
import websockets

from support.client import Api
from support.server import Served

Minted = Callable[..., Awaitable[Api]]


async def test_no_token_a_wrong_one_and_a_malformed_one_are_401(api: Api) -> None:
    for headers in ({}, {"Authorization": "Bearer rexec_" + "0" * 64}, {"Authorization": "Basic x"}):
        answer = await api.http.get("/api/containers", headers={"Authorization": "", **headers})
        assert answer.status_code == 401, answer.text
        assert {"error", "code", "request_id"} <= answer.json().keys()


async def test_a_token_without_the_scope_is_403(api: Api, minted: Minted) -> None:
    reader = await minted(api, ["containers:read"])

    assert (await reader.http.get("/api/containers")).status_code == 200
    assert (await reader.http.post("/api/containers", json={"image": "debian"})).status_code == 403
    wider = await reader.http.post("/api/tokens", json={"name": "more", "scopes": ["exec"]})
    assert wider.status_code == 403


async def test_somebody_elses_container_is_404_everywhere(api: Api, guest_api: Api) -> None:
    async with api.container(name="mine") as container:
        engine_id = (await api.get(container["id"]))["container_id"]
        for reference in (container["id"], engine_id, engine_id[:12], "mine"):
            at = f"/api/containers/{reference}"
            answers = [
                await guest_api.http.get(at),
                await guest_api.http.delete(at),
                await guest_api.http.post(f"{at}/exec", json={"command": "id"}),
                await guest_api.http.get(f"{at}/files", params={"path": "/etc/passwd"}),
                await guest_api.http.get(f"{at}/events"),
            ]
            assert {answer.status_code for answer in answers} == {404}
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with guest_api.connect(f"/ws/terminal/{reference}"):
                    pass
            assert refused.value.response.status_code == 404
        assert (await api.get(container["id"]))["status"] == "running"


async def test_what_a_request_does_not_know_is_named_and_null_is_what_was_left_out(api: Api) -> None:
    empty = {"labels": None, "environment": None, "shell": None, "name": None, "memory_mb": None}
    async with api.container(**empty) as container:
        at = f"/api/containers/{container['id']}"
        for verb in ("start", "pause", "resume", "stop"):
            answer = await api.http.post(f"{at}/{verb}", json={"x": 1})
            assert (answer.status_code, answer.json()["details"][0]["field"]) == (400, "x"), verb
        assert (await api.http.post(f"{at}/start", json={})).status_code == 200
        for body in ({"command": "", "cmd": ["echo", "hi"]}, {"command": "echo hi", "cmd": [], "env": None}):
            assert (await api.http.post(f"{at}/exec", json=body)).json()["stdout"] == "hi\n"


async def test_absurd_bodies_are_refused_clearly(api: Api) -> None:
    big = await api.http.post("/api/containers", json={"image": "debian", "name": "x" * (2 << 20)})
    assert big.status_code == 413
    kind = await api.http.post("/api/containers", content=b"image=debian", headers={"Content-Type": "text/plain"})
    assert kind.status_code == 415
    for body in (b"", b"[]", b"null", b'"x"', b"{", b'{"image": "debian", "name": "\\ud800"}', b"\xff\xfe"):
        answer = await api.http.post("/api/containers", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, (body, answer.text)


async def test_a_strangers_origin_is_refused(api: Api) -> None:
    async with api.connect("/ws/events", origin="https://evil.example") as socket:
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4403
    answer = await api.http.get("/api/containers", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_a_ticket_opens_its_own_path_only(api: Api) -> None:
    made = await api.http.post("/api/tickets", json={"path": "/api/events"})
    ticket = made.json()["ticket"]
    bare = {"Authorization": ""}
    async with api.http.stream("GET", "/api/events", params={"ticket": ticket}, headers=bare) as own:
        assert own.status_code == 200
    other = await api.http.get("/api/containers", params={"ticket": ticket}, headers=bare)
    assert other.status_code == 401


async def test_a_malformed_frame_does_not_harm_a_terminal(api: Api) -> None:
    async with api.container() as container:
        at = f"/ws/terminal/{container['id']}?id=odd"
        async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
            ready = json.loads(await socket.recv())
            assert ready["type"] == "ready"
            for text in ("{", "[]", '{"type": "resize", "cols": "wide"}', '{"type": "ack", "offset": -1}', "null"):
                await socket.send(text)
            await socket.send(b"echo still $((40 + 2))\n")
            seen = b""
            async with asyncio.timeout(60):
                while b"still 42" not in seen:
                    frame = await socket.recv()
                    seen += frame if isinstance(frame, bytes) else b""


async def test_a_beginning_of_two_engine_ids_is_ambiguous(served: Served, api: Api) -> None:
    """Engine ids are random: no two will ever begin alike by themselves, so these are made to."""
    async with api.container() as first, api.container() as second:
        async with served.database() as database, database.transaction() as tx:
            for number, container in enumerate((first, second)):
                row = await tx.containers.get(container["id"])
                assert row is not None
                assert await tx.containers.update(row, engine_id=f"{'ab' * 6}{number}{'0' * 51}") is not None
        answer = await api.http.get(f"/api/containers/{'ab' * 6}")
        assert (answer.status_code, answer.json()["code"], answer.json()["count"]) == (409, "ambiguous", 2)
        assert (await api.get(f"{'ab' * 6}1"))["id"] == second["id"]
