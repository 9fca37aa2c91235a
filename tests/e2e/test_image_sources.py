"""Images: Debian, Alpine, one with a single static binary, and a pull from a registry."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from support.client import Api, Watcher, small


async def test_alpine_runs_by_its_alias(api: Api) -> None:
    async with api.container(image="alpine") as container:
        assert container["image"] == "alpine:latest"
        ran = await api.exec(container["id"], "cat /etc/os-release")
        assert "Alpine" in ran["stdout"]


async def test_an_image_without_a_shell_still_runs_its_program(api: Api, static_image: str) -> None:
    async with api.container(image="custom", custom_image=static_image) as container:
        missing = await api.http.post(f"/api/containers/{container['id']}/exec", json={"command": "echo x"})
        assert missing.status_code == 400
        assert missing.json()["code"] == "no_such_command"
        listed = await api.http.get(f"/api/containers/{container['id']}/files/list", params={"path": "/"})
        assert listed.status_code == 200


async def test_a_pull_shows_the_bytes_of_its_layers(api: Api, registry_image: str) -> None:
    async with Watcher(api) as watcher:
        made = await api.http.post("/api/containers", json=small(image="custom", custom_image=registry_image))
        assert made.status_code == 202, made.text
        seen = await watcher.until_settled(made.json()["id"])

    assert seen[-1]["data"]["stage"] == "ready"
    progress = [message["data"]["progress"] for message in seen]
    assert progress == sorted(progress)
    pulling = [message for message in seen if "detail" in message["data"]]
    assert pulling
    parts = [message["data"]["detail"] for message in pulling]
    assert all(0 <= part["current"] <= part["total"] for part in parts if part["total"])
    times = [datetime.fromisoformat(message["timestamp"]).timestamp() for message in pulling]
    assert all(later - earlier >= 0.24 for earlier, later in pairwise(times)), "at most four a second"
    await api.delete(made.json()["id"])


@pytest.mark.parametrize("reference", ["registry.invalid/nothing:here", "localhost:1/nothing:here"])
async def test_an_image_that_is_nowhere_says_so(api: Api, reference: str) -> None:
    answer = await api.http.post(
        "/api/containers", params={"wait": 60}, json=small(image="custom", custom_image=reference)
    )
    if answer.status_code == 400:
        assert answer.json()["code"] == "image_refused"
        return
    assert answer.json()["status"] == "error"
    assert answer.json()["reason"] in ("image_not_found", "pull_failed")
    assert answer.json()["message"]
    await api.delete(answer.json()["id"])
