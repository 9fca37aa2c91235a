"""The contract's small print: the order of the checks, references, lists, changes, moves and deletes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiodocker
import pytest
import websockets

from support.client import Api, small

Minted = Callable[..., Awaitable[Api]]
AT = "/api/containers"
DEADLINE = 60


async def _begun(api: Api, **wanted: object) -> str:
    """A creation that nobody waits for."""
    made = await api.http.post(AT, json=small(**wanted))
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


async def _came(api: Api, reference: str, status: str) -> None:
    async with asyncio.timeout(DEADLINE):
        while (await api.get(reference))["status"] != status:
            await asyncio.sleep(0.1)


async def _chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536


async def test_the_checks_come_in_their_order(api: Api, guest_api: Api, minted: Minted) -> None:
    reader = await minted(api, ["containers:read"])
    nobody, json_type = {"Authorization": ""}, {"Content-Type": "application/json"}
    large, plain = b"x" * (2 << 20), {"Content-Type": "text/plain"}

    async def answer(client: Api, **request: object) -> tuple[int, str]:
        refused = await client.http.post(AT, **request)  # type: ignore[arg-type]
        return refused.status_code, refused.json()["code"]

    assert await answer(api, content=large, headers={**nobody, **plain}) == (401, "token_required")
    assert await answer(reader, content=large, headers=plain) == (413, "too_large")
    assert await answer(reader, content=_chunks(2 << 20), headers=json_type) == (413, "too_large")
    assert await answer(reader, content=b"{", headers=plain) == (415, "unsupported_media_type")
    assert await answer(reader, content=b"{", headers=json_type) == (400, "invalid_request")
    assert await answer(reader, json={"image": "windows"}) == (400, "unsupported_image")
    assert await answer(reader, json={"image": "macos", "memory_mb": 1}) == (400, "out_of_range")
    assert await answer(reader, json={"image": "debian"}) == (403, "scope_required")
    first = await _begun(guest_api, name="first")
    assert await answer(guest_api, json={"image": "macos", "name": "first"}) == (403, "tier_required")
    assert await answer(guest_api, json={"image": "debian", "name": "first"}) == (409, "name_taken")
    for _ in range(12):
        assert await answer(guest_api, json={"image": "debian"}) == (403, "container_limit_reached")
    await guest_api.delete(first)
    await guest_api.delete(await _begun(guest_api))  # what was refused did not count
    assert await answer(api, json={"image": "macos"}) == (503, "macos_unavailable")


async def test_only_admitted_creates_count_against_the_minute(guest_api: Api, registry: str) -> None:
    """Ten a minute: two minutes may be touched."""
    codes = []
    for _ in range(21):
        made = await guest_api.http.post(AT, json=small(image="custom", custom_image=f"{registry}/none:1"))
        codes.append(made.status_code)
        if made.status_code == 429:
            break
        await guest_api.delete(made.json()["id"])
    assert codes[:10] == [202] * 10
    assert codes[-1] == 429
    assert made.json()["code"] == "rate_limited"
    assert 1 <= int(made.headers["retry-after"]) == made.json()["retry_after"] <= 61


async def test_a_reference_is_an_id_an_own_name_or_twelve_of_the_engines(api: Api, guest_api: Api) -> None:
    async with guest_api.container(name="theirs") as theirs:
        engine_id = (await guest_api.get("theirs"))["container_id"]
        for reference in (theirs["id"], engine_id, engine_id[:12], "theirs"):
            assert (await guest_api.get(reference))["id"] == theirs["id"]
        for reference in (engine_id[:11], engine_id[1:14], "their", theirs["id"][:13]):
            assert (await guest_api.http.get(f"{AT}/{reference}")).status_code == 404
        assert (await api.get(theirs["id"]))["id"] == theirs["id"]
        assert (await api.http.get(f"{AT}/theirs")).status_code == 404
        own = (await api.http.get(AT)).json()["containers"]
        everybodys = (await api.http.get(AT, params={"all": "true"})).json()["containers"]
        assert theirs["id"] not in {item["id"] for item in own}
        assert theirs["id"] in {item["id"] for item in everybodys}


async def test_lists_are_paged_and_filtered(api: Api) -> None:
    made = [await _begun(api, name=f"page-{number}", labels={"n": str(number), "all": "yes"}) for number in range(3)]

    async def listed(**query: object) -> list[str]:
        answer = await api.http.get(AT, params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["containers"]]

    seen, cursor = [], None
    for _ in made:
        answer = await api.http.get(AT, params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        seen += [item["id"] for item in answer.json()["containers"]]
        cursor = answer.json().get("next_cursor")
    assert seen == made[::-1]
    assert cursor is None
    assert await listed(name="page-1") == [made[1]]
    assert await listed(label=["all=yes", "n=2"]) == [made[2]]
    assert set(await listed(label="all=yes", status=["creating", "running"])) == set(made)
    assert await listed(status="paused") == []
    bare = await api.http.get(AT, params={"format": "array", "limit": 2})
    assert [item["id"] for item in bare.json()] == made[:0:-1]
    assert 'rel="next"' in bare.headers["link"]
    for wrong in (
        {"status": "deleted"},
        {"status": "x"},
        {"label": "x"},
        {"limit": "1.0"},
        {"cursor": "x"},
        {"format": "x"},
    ):
        refused = await api.http.get(AT, params=wrong)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["details"][0]["field"]) == (400, next(iter(wrong)))
    for reference in made:
        await api.delete(reference)


async def test_sizes_change_live_and_not_below_what_is_used(api: Api) -> None:
    async with api.container(memory_mb=1024, labels={"a": "1"}) as container, api.container(name="other"):
        at = f"{AT}/{container['id']}"
        changed = await api.http.patch(
            at, json={"name": "renamed", "labels": {"b": "2"}, "memory_mb": 768, "cpu_shares": 750}
        )
        assert changed.status_code == 200, changed.text
        assert (changed.json()["name"], changed.json()["labels"]) == ("renamed", {"b": "2"})
        assert changed.json()["resources"] == {"memory_mb": 768, "cpu_shares": 750, "disk_mb": 1024}
        limits = await api.exec(
            "renamed", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
        )
        assert limits["stdout"].split()[0] == str(768 << 20)
        await api.http.post(
            f"{at}/processes", json={"command": "x=$(head -c 300000000 /dev/zero | tr '\\0' x); sleep 600"}
        )
        async with asyncio.timeout(DEADLINE):
            while (await api.http.get(f"{at}/stats")).json()["memory"] < 290_000_000:
                await asyncio.sleep(0.2)
        refused = await api.http.patch(at, json={"memory_mb": 256})
        assert (refused.status_code, refused.json()["code"]) == (409, "memory_in_use")
        assert (await api.get("renamed"))["resources"]["memory_mb"] == 768
        taken = await api.http.patch(at, json={"name": "other"})
        assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
        small_one = await api.http.patch(at, json={"cpu_shares": 1})
        assert (small_one.status_code, small_one.json()["details"][0]["field"]) == (400, "cpu_shares")
        assert (await api.http.patch(at, json={"disk_mb": 2048})).status_code == 400


async def test_moves_answer_when_they_are_there_or_504(api: Api) -> None:
    async with api.container(name="mover") as container:
        at = f"{AT}/{container['id']}"
        known = {"id": container["id"], "name": "mover"}
        for verb, message, status in (
            ("pause", "paused", "paused"), ("pause", "paused", "paused"), ("resume", "resumed", "running"),
            ("resume", "resumed", "running"), ("start", "started", "running"),
        ):  # fmt: skip
            answer = await api.http.post(f"{at}/{verb}")
            assert answer.json() == {"message": f"container {message}", **known, "status": status}, answer.text
        late = await api.http.post(f"{at}/stop", params={"timeout": 0.001})
        assert (late.status_code, late.json()["code"]) == (504, "timed_out")
        for _ in range(2):
            stopped = await api.http.post(f"{at}/stop")
            assert stopped.json() == {"message": "container stopped", **known, "status": "stopped"}
        for verb in ("pause", "resume"):
            refused = await api.http.post(f"{at}/{verb}")
            assert (refused.status_code, refused.json()["code"]) == (409, "wrong_state")
        ran = await api.http.post(f"{at}/exec", json={"command": "true"})
        assert (ran.status_code, ran.json()["code"]) == (409, "not_running")


async def test_what_the_engine_lost_is_made_again_and_told_once(api: Api, docker: aiodocker.Docker) -> None:
    async with api.container(name="lost-one") as container:
        at = f"{AT}/{container['id']}"
        await docker.containers.container((await api.get("lost-one"))["container_id"]).delete(force=True)
        await _came(api, "lost-one", "error")
        again = await api.http.post(f"{at}/start")
        assert again.json() == {
            "message": "container recreated and started", "id": container["id"], "name": "lost-one",
            "status": "running", "recreated": True, "data_kept": False,
        }  # fmt: skip
        assert (await api.http.post(f"{at}/start")).json()["message"] == "container started"


async def test_delete_works_in_every_state_and_again(api: Api, registry: str) -> None:
    async with api.container() as paused, api.container() as stopped, api.container() as running:
        await api.http.post(f"{AT}/{paused['id']}/pause")
        await api.http.post(f"{AT}/{stopped['id']}/stop")
        broken = await api.http.post(
            AT, params={"wait": 90}, json=small(image="custom", custom_image=f"{registry}/none:1")
        )
        assert (broken.status_code, broken.json()["status"]) == (200, "error"), broken.text
        creating = await _begun(api)
        for reference in (paused["id"], stopped["id"], running["id"], broken.json()["id"], creating):
            for _ in range(2):
                gone = await api.http.delete(f"{AT}/{reference}")
                assert gone.status_code == 200, gone.text
                assert (
                    gone.json().items() >= {"message": "container deleted", "id": reference, "db_id": reference}.items()
                )
            assert (await api.http.get(f"{AT}/{reference}")).status_code == 404
        assert (await api.http.delete(f"{AT}/{running['name']}")).status_code == 404


async def test_a_creation_can_be_waited_for(api: Api) -> None:
    held = await api.http.post(AT, params={"wait": 0.001}, json=small())
    assert (held.status_code, held.json()["async"]) == (202, True)
    await _came(api, held.json()["id"], "running")
    await api.delete(held.json()["id"])


async def test_paths_and_methods_that_are_none(api: Api) -> None:
    for method, path in (
        ("GET", "/api/nothing"),
        ("POST", "/api/nothing"),
        ("GET", "/ws/nothing"),
        ("DELETE", f"{AT}/x/y/z"),
    ):
        nowhere = await api.http.request(method, path)
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found"), (method, path)
    wrong = await api.http.put(AT, json={})
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "GET, POST")
    for path in ("/", "/health", "/ready"):
        looked = await api.http.head(path)
        assert (looked.status_code, looked.content) == (200, b""), path
    with pytest.raises(websockets.InvalidStatus) as refused:
        await api.connect("/ws/nothing")
    assert refused.value.response.status_code == 404
    assert b'"not_found"' in refused.value.response.body
    for path in (f"{AT}/%00", f"{AT}?name=%00", f"{AT}/x%00y/exec"):
        assert (await api.http.request("POST" if path.endswith("exec") else "GET", path)).status_code == 400
