"""Roles: baked once, told while they are, and every promised tool answering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rexec.errors import Invalid
from rexec.server.core.recipes import read_recipe, read_recipes
from support.client import Api, Watcher, small

pytestmark = pytest.mark.timeout(400)
RECIPES = read_recipes()
UNREACHABLE = ("could not be had", "out of reach")


async def proved(api: Api, role: str, image: str) -> dict[str, Any]:
    """Every promised tool answers in a container of its own; what does not is told, with a reason that is one."""
    answer = await api.http.post("/api/containers", params={"wait": 300}, json=small(image=image, role=role))
    assert answer.status_code == 200, answer.text
    container: dict[str, Any] = answer.json()
    assert container["status"] == "running", container["message"]
    try:
        tools = RECIPES[role].tools
        lacking = {tool: text for tool in tools for text in container["degraded"] if f" lacks {tool}: " in text}
        assert len(lacking) == len(container["degraded"]), container["degraded"]
        for text in lacking.values():
            assert any(words in text for words in UNREACHABLE), text
        for tool, command in tools.items():
            if tool not in lacking:
                result = await api.exec(container["id"], command)
                assert result["exit_code"] == 0, (tool, result)
        return container
    finally:
        await api.delete(container["id"])


async def test_node_on_alpine(api: Api) -> None:
    container = await proved(api, "node", "alpine:latest")
    assert not [text for text in container["degraded"] if "lacks node" in text or "lacks npm" in text]


async def test_go_on_debian_is_baked_once_and_told_while_it_is(api: Api) -> None:
    async with Watcher(api) as watcher:
        made = (await api.http.post("/api/containers", json=small(role="go"))).json()
        told = await watcher.until_settled(made["id"], timeout=240)
    stages = [message["data"]["stage"] for message in told]
    assert stages[-1] == "ready", told[-1]
    baking = [message["data"] for message in told if message["data"].get("detail", {}).get("total") == 1000]
    if baking:
        assert {data["stage"] for data in baking} == {"configuring"}
        assert len({data["detail"]["layer"] for data in baking}) > 1
        assert all(data["message"].startswith("Installing the role go") for data in baking)
    container = await proved(api, "go", "debian:bookworm")
    assert container["degraded"] == [], "the Debian mirror is not reachable from here"
    roles = {role["name"]: role for role in (await api.http.get("/api/roles")).json()["roles"]}
    assert list(roles) == ["node", "python", "go", "rust", "devops", "barebone"]
    assert "debian:bookworm" in [layer["image"] for layer in roles["go"]["baked"]]
    assert roles["go"]["tools"] == list(RECIPES["go"].tools)
    await api.delete(made["id"])


@pytest.mark.matrix
@pytest.mark.parametrize("image", ["debian:bookworm", "alpine:latest", "ubuntu:24.04"])
@pytest.mark.parametrize("role", list(RECIPES))
async def test_every_role_on_every_image(api: Api, role: str, image: str) -> None:
    """Where nothing of a role can be had from here, the creation says so and names the step."""
    answer = await api.http.post("/api/containers", params={"wait": 300}, json=small(image=image, role=role))
    container = answer.json()
    await api.delete(container["id"])
    if container["status"] == "error":
        assert container["reason"] in ("setup_failed", "pull_failed"), container
        pytest.skip(f"{role} on {image}: {container['message']}")
    container = await proved(api, role, image)
    print(f"{role} on {image}: {'; '.join(container['degraded']) or 'whole'}")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("size_mb = 1", "description"),
        ('description = "d"\nsize_mb = 1\nother = 1', "other"),
        ('description = "d"\nsize_mb = 1\n[[steps]]\nname = "a"\nprovides = ["t"]', "not promised: t"),
        (
            'description = "d"\nsize_mb = 1\n[[steps]]\nname = "a"\n[[steps.downloads]]\nsha256 = "no"',
            "steps.0.downloads.0",
        ),
        ("description", "Expected"),
    ],
)
def test_a_wrong_recipe_is_named_with_what_is_wrong(tmp_path: Path, text: str, wrong: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(Invalid) as raised:
        read_recipe(file)
    assert raised.value.message.startswith("the recipe mine.toml is wrong: ")
    assert wrong in raised.value.message


def test_a_fingerprint_changes_with_what_concerns_the_image_only(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"

    def fingerprints(packages: str) -> tuple[str, str]:
        file.write_text(f'description = "d"\nsize_mb = 1\n[packages]\napk = ["git"]\n{packages}')
        recipe = read_recipe(file)
        return recipe.applied("apt", "amd64").fingerprint, recipe.applied("apk", "amd64").fingerprint

    before, after, slower = fingerprints('apt = ["git"]'), fingerprints('apt = ["make"]'), fingerprints("seconds = 9")
    assert before[1] == after[1] == slower[1]
    assert len({before[0], after[0], slower[0]}) == 3
