"""What ends with a token, a session or an account: requests, sockets and streams, on every server, with a reason."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import websockets

from accounts.conftest import NOBODY, Pair, until
from rexec.server.store import SqlDatabase
from support.client import Api, small

PATIENCE = 60


class Held:
    """One of each socket, and a stream, of one token."""

    def __init__(self, api: Api, container: str) -> None:
        self._api = api
        self._container = container
        self._tasks: list[asyncio.Task[tuple[str, Any]]] = []
        self._open = 0

    async def open(self) -> None:
        at = self._container
        for path, protocols in (
            ("/ws/events", None),
            ("/api/containers/events", None),
            (f"/ws/terminal/{at}", ["rexec.v2"]),
            (f"/ws/terminal/{at}?id=second", None),
            (f"/api/containers/{at}/exec/stream", None),
            (f"/api/containers/{at}/files/watch?path=/tmp", None),
        ):
            self._tasks.append(asyncio.create_task(self._socket(path, protocols)))
        for path in ("/api/events", f"/api/containers/{at}/stats/stream"):
            self._tasks.append(asyncio.create_task(self._stream(path)))
        async with asyncio.timeout(PATIENCE):
            while self._open < len(self._tasks):
                failed = [task for task in self._tasks if task.done()]
                assert not failed, [task.result() for task in failed]
                await asyncio.sleep(0.05)

    async def _socket(self, path: str, protocols: Any) -> tuple[str, Any]:
        async with self._api.connect(path, subprotocols=protocols) as socket:
            self._open += 1
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await socket.recv()
            return socket.close_code, socket.close_reason

    async def _stream(self, path: str) -> tuple[str, Any]:
        async with self._api.http.stream("GET", path) as answer:
            assert answer.status_code == 200
            self._open += 1
            text = "".join([part async for part in answer.aiter_text()])
        last = text.replace("\r\n", "\n").strip().split("\n\n")[-1].splitlines()
        return last[0], json.loads(last[1].removeprefix("data: "))["code"]

    async def ends(self, code: str, words: str) -> None:
        async with asyncio.timeout(PATIENCE):
            told = await asyncio.gather(*self._tasks)
        assert told == [(4401, words)] * 6 + [("event: end", code)] * 2

    async def end_with_the_container(self, code: str, words: str) -> None:
        """What is inside may end by the one or the other; what follows events knows the account only."""
        async with asyncio.timeout(PATIENCE):
            told = await asyncio.gather(*self._tasks)
        assert told[:2] == [(4401, words)] * 2
        assert told[6] == ("event: end", code)


async def test_every_end_ends_what_is_open_on_every_server(pair: Pair) -> None:
    user = await pair.user(tier="pro")
    owner = pair.at(pair.there, user["token"])
    container = (await owner.create())["id"]
    session = await pair.session(user["token"])
    admin, at = pair.admin.http, f"/api/admin/users/{user['id']}"
    of_session = pair.at(pair.there, session["token"])
    made = await of_session.http.post("/api/tokens", json={"name": "x"})
    late = await of_session.http.post("/api/tokens", json={"name": "late", "expires_in": 60})

    held = {
        name: Held(pair.at(pair.there, token), container)
        for name, token in {
            "late": late.json()["token"], "token": made.json()["token"], "session": session["token"],
            "user": user["token"],
        }.items()
    }  # fmt: skip
    for each in held.values():
        await each.open()

    mine = pair.at(pair.here, user["token"])
    assert (await mine.http.delete(f"/api/tokens/{made.json()['id']}")).status_code == 200
    await held["token"].ends("token_revoked", "the token was revoked")
    listed = (await pair.at(pair.here, session["token"]).http.get("/api/sessions")).json()["sessions"]
    current = next(entry["id"] for entry in listed if entry["current"])
    assert (await mine.http.delete(f"/api/sessions/{current}")).status_code == 200
    await held["session"].ends("token_revoked", "the token was revoked")
    assert (await admin.patch(at, json={"disabled": True})).json()["disabled"] is True
    await held["user"].ends("account_ended", "the account has ended")
    await held["late"].ends(*(await _first_reason(held["late"])))

    for token in (made.json()["token"], session["token"], user["token"]):
        assert (await pair.at(pair.there, token).http.get("/api/profile")).status_code == 401
    assert (await admin.patch(at, json={"disabled": False})).json()["disabled"] is False
    again = Held(pair.at(pair.there, user["token"]), container)
    await again.open()
    assert (await admin.delete(at)).status_code == 200
    await again.end_with_the_container("token_revoked", "the token was revoked")
    assert (await admin.get(f"/api/containers/{container}")).status_code == 404


async def _first_reason(held: Held) -> tuple[str, str]:
    """The late token ended by itself or by its user, whichever came first on this machine."""
    async with asyncio.timeout(PATIENCE):
        _, words = await held._tasks[0]
    return {"the token has expired": "token_expired", "the account has ended": "account_ended"}[words], words


async def test_a_token_that_expires_closes_its_sockets_by_itself(pair: Pair) -> None:
    user = await pair.user()
    session = await pair.session(user["token"])
    late = await pair.at(pair.here, session["token"]).http.post("/api/tokens", json={"name": "late", "expires_in": 12})
    async with pair.at(pair.there, late.json()["token"]).connect("/ws/events", subprotocols=["rexec.v1"]) as socket:
        with pytest.raises(websockets.ConnectionClosed):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4401, "the token has expired")
    answer = await pair.at(pair.here, late.json()["token"]).http.get("/api/profile")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_a_guest_that_is_over_ends_with_its_terminal_and_its_container(pair: Pair) -> None:
    guest = await pair.guest()
    here, there = pair.at(pair.here, guest["token"]), pair.at(pair.there, guest["token"])
    container = await here.create(memory_mb=512)
    renewed = await here.http.post(f"/api/containers/{container['id']}/renew", json={"seconds": 180_000})
    assert renewed.json()["expires_at"] <= guest["user"]["expires_at"]
    async with there.connect(f"/ws/terminal/{container['id']}", subprotocols=["rexec.v2"]) as socket:
        await socket.recv()
        async with pair.here.database() as database:
            await _end(database, guest["user"]["id"])
        # Any change of the account has its sockets look again.
        await pair.admin.http.patch(f"/api/admin/users/{guest['user']['id']}", json={"tier": "guest"})
        with pytest.raises(websockets.ConnectionClosed):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4401, "the account has ended")

    async def gone() -> bool:
        return (await pair.admin.http.get(f"/api/containers/{container['id']}")).status_code == 404

    await until(gone, 90)
    back = await pair.admin.http.post(
        "/api/auth/guest", json={"username": guest["user"]["username"]},
        headers={"Authorization": f"Bearer {guest['token']}", "X-Forwarded-For": "2001:db8::1"},
    )  # fmt: skip
    assert back.json()["returning_guest"] is False


async def _end(database: SqlDatabase, user_id: str) -> None:
    async with database.transaction() as tx:
        await tx.users.update(user_id, expires_at=datetime.now(UTC) - timedelta(seconds=1))


async def test_a_session_that_is_over_warns_once_stops_the_container_and_tells_the_terminal(pair: Pair) -> None:
    user = await pair.user()
    here, there = pair.at(pair.here, user["token"]), pair.at(pair.there, user["token"])
    made = await here.create()
    assert 179_000 < made["session_limit_seconds"] <= 180_000
    async with there.connect(f"/ws/terminal/{made['id']}", subprotocols=["rexec.v2"]) as socket:
        assert json.loads(await socket.recv())["type"] == "ready"
        renewed = await here.http.post(f"/api/containers/{made['id']}/renew", json={"seconds": 2})
        assert renewed.status_code == 200, renewed.text
        exits = []
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    frame = await socket.recv()
                    exits += [json.loads(frame)] if isinstance(frame, str) and '"exit"' in frame else []
            except websockets.ConnectionClosed:
                pass
        assert exits[-1]["reason"] == "expired"

    async def stopped() -> bool:
        return bool((await here.get(made["id"]))["status"] == "stopped")

    await until(stopped)
    shown = await here.get(made["id"])
    assert (shown["reason"], shown["status"]) == ("expired", "stopped")
    told = (await here.http.get(f"/api/containers/{made['id']}/events?limit=1000")).json()["events"]
    types = [event["type"] for event in told]
    assert types.count("container_expiring") == 1
    assert types.index("container_expiring") < types.index("container_stopped")
    over = await here.http.post(f"/api/containers/{made['id']}/renew", json={"seconds": 180_001})
    assert (over.status_code, over.json()["code"]) == (400, "out_of_range")


async def test_a_session_ends_with_the_token_that_opened_it(pair: Pair) -> None:
    user = await pair.user()
    first = await pair.session(user["token"])
    second = await pair.session(first["token"])
    brief = await pair.at(pair.here, first["token"]).http.post("/api/tokens", json={"name": "b", "expires_in": 600})
    short = await pair.session(brief.json()["token"])
    end = datetime.fromisoformat(short["session_expires_at"])
    assert end <= datetime.now(UTC) + timedelta(seconds=600)
    token = (await pair.at(pair.here, second["token"]).http.get("/api/tokens")).json()["tokens"]
    revoked = next(entry["id"] for entry in token if entry["name"] == "first")
    assert (await pair.at(pair.here, second["token"]).http.delete(f"/api/tokens/{revoked}")).status_code == 200
    for session in (first, second):
        assert (await pair.at(pair.there, session["token"]).http.get("/api/profile")).status_code == 401
        body = {"refresh_token": session["refresh_token"]}
        refreshed = await pair.admin.http.post("/api/auth/refresh", json=body, headers=NOBODY)
        assert refreshed.status_code == 401
    assert (await pair.at(pair.there, short["token"]).http.get("/api/profile")).status_code == 200


async def test_a_ticket_is_for_one_path_and_ends_with_its_session(pair: Pair) -> None:
    user = await pair.user()
    session = await pair.session(user["token"])
    mine = pair.at(pair.here, session["token"])
    ticket = (await mine.http.post("/api/tickets", json={"path": "/api/profile?x=1"})).json()["ticket"]
    get = pair.there.api.http.get
    shown = await get("/api/profile", params={"ticket": ticket}, headers=NOBODY)
    assert shown.json()["user"]["id"] == user["id"]
    assert not {"tokens", "admin"} & set(shown.json()["scopes"])
    for path in ("/api/containers", "/api/tokens", "/api/profile/", "/api/sessions"):
        assert (await get(path, params={"ticket": ticket}, headers=NOBODY)).status_code in (401, 404), path
    posted = await pair.there.api.http.post("/api/containers", params={"ticket": ticket}, json=small(), headers=NOBODY)
    assert posted.status_code == 401
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with pair.at(pair.there, "none").connect(f"/ws/events?ticket={ticket}", additional_headers={}):
            pass
    assert refused.value.response.status_code == 401
    assert (await mine.http.delete("/api/auth/session")).status_code == 200
    assert (await get("/api/profile", params={"ticket": ticket}, headers=NOBODY)).status_code == 401


async def test_no_way_to_carry_a_token_leaves_it_in_a_log(pair: Pair) -> None:
    user = await pair.user()
    session = await pair.session(user["token"])
    bare = pair.at(pair.there, "none")
    ticket = await pair.at(pair.here, user["token"]).http.post("/api/tickets", json={"path": "/ws/events"})
    for token in (user["token"], session["token"]):
        async with bare.connect(f"/ws/events?token={token}", additional_headers={}):
            pass
        async with bare.connect(
            "/ws/events", additional_headers={}, subprotocols=[f"rexec.token.{token}", "rexec.v2"]
        ) as socket:
            assert socket.subprotocol == "rexec.v2"
        await bare.http.get(f"/api/containers?token={token}", headers=NOBODY)
    async with bare.connect(f"/ws/events?ticket={ticket.json()['ticket']}", additional_headers={}):
        pass
    for server in (pair.here, pair.there):
        text = server.log.read_text()
        for secret in (user["token"], session["token"], session["refresh_token"], ticket.json()["ticket"]):
            assert secret not in text
            assert secret[-40:] not in text
