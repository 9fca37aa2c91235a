"""`Idempotency-Key` on what creates: beside one another, over servers, through kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import os

import httpx2

from accounts.conftest import Pair, until
from support.client import small


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": f"key-{os.urandom(8).hex()}"}


async def test_the_same_create_at_once_and_again_makes_one(pair: Pair) -> None:
    user = await pair.user(tier="enterprise")
    apis = [pair.at(pair.here, user["token"]), pair.at(pair.there, user["token"])]
    headers, body = keyed(), small(name="once")

    answers = await asyncio.gather(
        *(apis[turn % 2].http.post("/api/containers", json=body, headers=headers) for turn in range(20))
    )
    first = next(answer for answer in answers if answer.status_code == 202)
    for answer in answers:
        if answer.status_code == 202:
            assert answer.json() == first.json()
            assert answer.headers["location"] == f"/api/containers/{first.json()['id']}"
        else:
            assert (answer.status_code, answer.json()["code"]) == (409, "in_progress")
    for api in apis:
        again = await api.http.post("/api/containers", json=body, headers=headers)
        assert (again.status_code, again.json()) == (202, first.json())
        other = await api.http.post("/api/containers", json=small(name="twice"), headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "key_reused")
        elsewhere = await api.http.post("/api/tickets", json={"path": "/api/events"}, headers=headers)
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "key_reused")
    assert (await apis[0].http.get("/api/containers")).json()["count"] == 1
    stranger = pair.at(pair.here, (await pair.user())["token"])
    assert (await stranger.http.post("/api/containers", json=body, headers=headers)).json()["id"] != first.json()["id"]


async def test_a_refused_create_may_be_tried_again_with_its_key(pair: Pair) -> None:
    user = await pair.user()
    api, headers = pair.at(pair.here, user["token"]), keyed()
    assert (await api.http.post("/api/containers", json=small(image="nothing"), headers=headers)).status_code == 400
    taken = await api.http.post("/api/containers", json=small(name="taken"))
    refused = await api.http.post("/api/containers", json=small(name="taken"), headers=headers)
    assert refused.json()["code"] == "name_taken"
    await api.delete(taken.json()["id"])
    assert (await api.http.post("/api/containers", json=small(name="taken"), headers=headers)).status_code == 202
    for key in ("", "x" * 256, "tab\tin"):
        odd = await api.http.post("/api/containers", json=small(), headers={"Idempotency-Key": key})
        assert odd.status_code == 400, key


async def test_what_holds_a_secret_is_done_once_and_not_told_again(pair: Pair) -> None:
    user = await pair.user()
    session = pair.at(pair.here, (await pair.session(user["token"]))["token"])
    name = f"made-{os.urandom(4).hex()}"
    for api, path, body in (
        (session, "/api/tokens", {"name": "keyed"}),
        (session, "/api/tickets", {"path": "/api/events"}),
        (pair.admin, "/api/admin/users", {"username": name}),
    ):
        headers = keyed()
        answers = await asyncio.gather(*(api.http.post(path, json=body, headers=headers) for _ in range(6)))
        assert [answer.status_code for answer in answers].count(201) == 1, path
        assert {answer.json().get("code") for answer in answers} <= {None, "in_progress", "already_done"}
        again = await api.http.post(path, json=body, headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "already_done"), path
    tokens = (await session.http.get("/api/tokens")).json()["tokens"]
    assert [token["name"] for token in tokens].count("keyed") == 1


async def test_a_create_retried_after_kill_9_makes_one_container(pair: Pair) -> None:
    """The answer is held until the container runs, so that the kill comes between the commit and the answer."""
    user = await pair.user(tier="enterprise")
    here, there = pair.at(pair.here, user["token"]), pair.at(pair.there, user["token"])
    headers, body = keyed(), small(name="held")

    async def send() -> None:
        with contextlib.suppress(httpx2.TransportError):
            await there.http.post("/api/containers?wait=60", json=body, headers=headers)

    sending = asyncio.create_task(send())

    async def committed() -> bool:
        return bool((await here.http.get("/api/containers")).json()["count"] == 1)

    await until(committed)
    await pair.there.kill()
    await sending
    if pair.here is not pair.there:
        beside = await here.http.post("/api/containers?wait=60", json=body, headers=headers)
        assert beside.status_code in (200, 202, 409)
        assert beside.status_code != 409 or beside.json()["code"] == "in_progress"
    await pair.there.start()
    answer = await there.http.post("/api/containers?wait=60", json=body, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    again = await here.http.post("/api/containers?wait=60", json=body, headers=headers)
    assert (again.status_code, again.json()) == (answer.status_code, answer.json())
    listed = (await here.http.get("/api/containers")).json()["containers"]
    assert [container["id"] for container in listed] == [answer.json()["id"]]


async def test_a_hundred_parallel_creates_of_a_guest_admit_one(pair: Pair) -> None:
    guest = await pair.guest()
    apis = [pair.at(pair.here, guest["token"]), pair.at(pair.there, guest["token"])]
    body = small(memory_mb=512)

    answers = await asyncio.gather(*(apis[turn % 2].http.post("/api/containers", json=body) for turn in range(100)))

    statuses = [answer.status_code for answer in answers]
    assert statuses.count(202) == 1
    assert set(statuses) <= {202, 403, 503}
    refused = next(answer for answer in answers if answer.status_code == 403).json()
    assert (refused["current"], refused["limit"], refused["tier"]) == (1, 1, "guest")
    assert (await apis[0].http.get("/api/containers")).json()["count"] == 1
