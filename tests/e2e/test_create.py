"""The page's own request: its 202, its stages, its GET, its error bodies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.client import Api, Watcher, small

PAGE = {
    "image": "ubuntu:24.04",
    "name": "dev-environment",
    "role": "node",
    "memory_mb": 2048,
    "cpu_shares": 2000,
    "shell": {"enhanced": True, "theme": "rexec", "use_tmux": True},
}
STAGES = ["validating", "pulling", "creating", "starting", "configuring", "ready"]
MESSAGE = "Container is being created. This may take a moment if the image needs to be pulled."


async def test_the_pages_request_is_accepted_with_exactly_its_keys(api: Api) -> None:
    answer = await api.http.post("/api/containers", json=PAGE)

    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body["id"] == body["db_id"]
    assert answer.headers["location"] == f"/api/containers/{body['id']}"
    shown = {key: body[key] for key in ("name", "image", "role", "status", "async", "message")}
    assert shown == {
        "name": "dev-environment",
        "image": "ubuntu:24.04",
        "role": "node",
        "status": "creating",
        "async": True,
        "message": MESSAGE,
    }
    assert body["resources"]["memory_mb"] == 2048
    assert body["resources"]["cpu_shares"] == 2000
    assert {"user_id", "created_at", "labels", "environment", "enforced"} <= body.keys()
    assert body["created_at"].endswith("Z")
    await api.delete(body["id"])


async def test_every_stage_is_told_once_at_least_and_progress_never_falls(api: Api) -> None:
    async with Watcher(api) as watcher:
        made = await api.http.post("/api/containers", json=small(name="stages"))
        seen = await watcher.until_settled(made.json()["id"])

    stages = list(dict.fromkeys(message["data"]["stage"] for message in seen))
    progress = [message["data"]["progress"] for message in seen]
    assert stages == STAGES
    assert progress == sorted(progress)
    assert all(type(value) is int for value in progress)
    assert progress[-1] == 100
    assert all({"type", "data", "seq", "timestamp"} <= message.keys() for message in seen)
    await api.delete(made.json()["id"])


async def test_ready_means_that_a_command_runs(api: Api) -> None:
    async with api.container(environment={"GREETING": "hello there"}) as container:
        ran = await api.exec(container["id"], 'echo "$GREETING"; pwd; id -u')
        assert ran["stdout"] == "hello there\n/home/user\n0\n"
        assert ran["exit_code"] == ran["exitCode"] == 0

        shown = (await api.http.get(f"/api/containers/{container['id']}")).json()
        assert shown["status"] == "running"
        assert shown["environment"] == {"GREETING": "***"}
        assert shown["stage"] == "ready"
        assert shown["progress"] == 100
        assert len(shown["container_id"]) == 64
        assert shown["ip_address"]
        by_engine_id = await api.http.get(f"/api/containers/{shown['container_id'][:12]}")
        assert by_engine_id.json()["id"] == container["id"]
        by_name = await api.http.get(f"/api/containers/{shown['name']}")
        assert by_name.json()["id"] == container["id"]


async def test_an_unknown_image_lists_those_there_are(api: Api) -> None:
    answer = await api.http.post("/api/containers", json={"image": "windows:95"})

    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported image type"
    listed = answer.json()["supported_images"]
    public = ["ubuntu:24.04", "debian:bookworm", "alpine:latest", "archlinux:latest", "custom"]
    assert [name for name in listed if not name.startswith("macos")] == public


async def test_the_limit_answers_as_the_page_says_and_a_hundred_at_once_do_not_pass_it(guest_api: Api) -> None:
    made = await asyncio.gather(*(guest_api.http.post("/api/containers", json=small()) for _ in range(100)))

    accepted = [answer for answer in made if answer.status_code == 202]
    assert len(accepted) == 1
    refused = {answer.status_code for answer in made} - {202}
    assert refused <= {403, 429}
    over = next(answer for answer in made if answer.status_code == 403).json()
    shown = {key: over[key] for key in ("error", "current", "limit", "tier", "message")}
    assert shown == {
        "error": "container limit reached",
        "current": 1,
        "limit": 1,
        "tier": "guest",
        "message": "Upgrade your plan to create more containers",
    }
    await guest_api.delete(accepted[0].json()["id"])


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"memory_mb": 255}, "memory_mb"),
        ({"memory_mb": 10**9}, "memory_mb"),
        ({"memory_mb": True}, "memory_mb"),
        ({"memory_mb": 512.0}, "memory_mb"),
        ({"memory_mb": "512"}, "memory_mb"),
        ({"cpu_shares": 249}, "cpu_shares"),
        ({"disk_mb": 1023}, "disk_mb"),
        ({"name": "-x"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"environment": {"1A": "x"}}, "environment"),
        ({"environment": {"A": "\u0000"}}, "environment"),
        ({"labels": {"k" * 64: "v"}}, "labels"),
        ({"user": "nobody"}, "user"),
        ({"shell": {"theme": "neon"}}, "shell"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_what_is_out_of_range_is_refused_and_named(api: Api, wanted: dict[str, Any], field: str) -> None:
    answer = await api.http.post("/api/containers", json={"image": "debian", **wanted})

    assert answer.status_code == 400, answer.text
    assert any(detail["field"].startswith(field) for detail in answer.json()["details"]), answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_custom_wants_a_reference(api: Api) -> None:
    missing = await api.http.post("/api/containers", json={"image": "custom"})
    bad = await api.http.post("/api/containers", json={"image": "custom", "custom_image": "Not A Reference"})
    reserved = await api.http.post("/api/containers", json={"image": "custom", "custom_image": "rexec.local/x:1"})
    internal = await api.http.post("/api/containers", json={"image": "custom", "custom_image": "169.254.169.254/x:1"})

    assert {answer.status_code for answer in (missing, bad, reserved, internal)} == {400}


async def test_an_unknown_role_lists_those_there_are(api: Api) -> None:
    answer = await api.http.post("/api/containers", json={"image": "debian", "role": "cobol"})

    assert answer.status_code == 400
    assert answer.json()["error"] == "unsupported role"
    assert set(answer.json()["supported_roles"]) == {"node", "python", "go", "rust", "devops", "barebone"}


async def test_a_name_is_taken_once_and_free_again_after_delete(api: Api) -> None:
    async with api.container(name="only-one") as first:
        again = await api.http.post("/api/containers", json=small(name="only-one"))
        assert again.status_code == 409
        assert again.json()["code"] == "name_taken"
        await api.delete(first["id"])
        third = await api.http.post("/api/containers", json=small(name="only-one"))
        assert third.status_code == 202
        await api.delete(third.json()["id"])


async def test_the_dotted_spellings_of_the_page_are_taken(api: Api) -> None:
    wanted = small(shell={"shell.enhanced": False, "shell.theme": "minimal"})
    answer = await api.http.post("/api/containers", json=wanted)

    assert answer.status_code == 202, answer.text
    await api.delete(answer.json()["id"])
