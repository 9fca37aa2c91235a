"""Who acts inside a container, where, and with which environment; and the image's own shell, untouched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from support import images
from support.client import Api
from support.daemon import Daemon
from support.typed import OFF, ON, terminal

WHO = 'echo "$(id -un):$(id -u):$HOME:$(pwd):$GREETING:$LANG."'


@pytest.fixture(scope="module")
def peopled_image(docker_daemon: Daemon) -> Iterator[str]:
    """Alpine, which has an account of its own at 1000, with a PATH of its own."""
    docker, reference = ["docker", "-H", docker_daemon.url], "peopled:1"
    made = subprocess.run([*docker, "create", images.ALPINE], check=True, capture_output=True, text=True).stdout.strip()
    path = "ENV PATH=/opt/own/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    subprocess.run([*docker, "commit", "-c", path, made, reference], check=True, capture_output=True)
    subprocess.run([*docker, "rm", made], check=True, capture_output=True)
    yield reference
    subprocess.run([*docker, "rmi", "-f", reference], check=False, capture_output=True)


async def test_user_and_root_share_a_home_and_see_the_environment(api: Api) -> None:
    async with api.container(
        image="debian", user="user", environment={"GREETING": "grüß dich"}, shell=dict(ON)
    ) as container:
        key = container["id"]
        acting = await api.exec(key, WHO)
        assert acting["stdout"].strip() == "user:1000:/home/user:/home/user:grüß dich:C.UTF-8."
        acting = await api.exec(key, WHO, user="root")
        assert acting["stdout"].strip() == "root:0:/root:/home/user:grüß dich:C.UTF-8."
        async with terminal(api, container) as typed:
            await typed.until(r"user.{1,20}@.*~")
            assert "user:1000:/home/user:/home/user:grüß dich:C.UTF-8.".encode() in await typed.run(WHO)
            assert b"xterm-256color:truecolor." in await typed.run(' echo "$TERM:$COLORTERM."')
        async with terminal(api, container, "second", user="root") as typed:
            assert "root:0:/root:/home/user:grüß dich:C.UTF-8.".encode() in await typed.run(WHO)

        roots = "umask 022; mkdir -p made/deep && echo root > made/deep/file && echo root > plain"
        assert (await api.exec(key, roots, user="root"))["exit_code"] == 0
        upload = await api.http.put(
            f"/api/containers/{key}/files", params={"path": "/home/user/up/loaded"}, content=b"x"
        )
        assert upload.status_code in (200, 201), upload.text
        users = "echo user >> made/deep/file && echo user >> plain && touch made/new && echo >> up/loaded && rm -r made plain up"
        tried = await api.exec(key, users)
        assert tried["exit_code"] == 0, tried


async def test_an_account_of_the_image_shares_its_number(api: Api, peopled_image: str, static_image: str) -> None:
    async with api.container(image="custom", custom_image=peopled_image, user="user") as container:
        acting = await api.exec(
            container["id"], f"{WHO}; id -u quicksand; touch mine && ls -ld /home/user | cut -c 1-10"
        )
        assert acting["stdout"].split("\n")[:3] == ["user:1000:/home/user:/home/user::C.UTF-8.", "1000", "drwxr-xr-x"]
        # A plain shell is the image's, with the image's PATH.
        async with terminal(api, container) as typed:
            assert b"[] /opt/own/bin:/usr/sbin:/usr/bin:/sbin:/bin." in await typed.run(' echo "[$ZSH_VERSION] $PATH."')
            assert b"vi." in await typed.run(' echo "$EDITOR."')
    shell = dict(OFF)
    async with api.container(image="custom", custom_image=peopled_image, shell=shell) as container, \
            terminal(api, container) as typed:  # fmt: skip
        assert b"/opt/own/bin:/usr/sbin:/usr/bin:/sbin:/bin:" in await typed.run(' echo "$PATH."')
        assert b"apk add" in await typed.run(" no-such-command-at-all")
    async with api.container(image="custom", custom_image=static_image, user="user", shell=shell) as container, \
            terminal(api, container) as typed:  # fmt: skip
        assert b"user 1000 /home/user /home/user" in await typed.run(" print $USERNAME $UID $HOME $PWD")
        assert b"written" in await typed.run(" print >~/file && print writ''ten")
        run = await api.exec(container["id"], ["/.rexec/shell/path/zsh", "-c", "print -r -- $USERNAME $HOME"])
        assert run["stdout"] == "user /home/user\n", json.dumps(run)


async def test_plain_is_the_images_own_shell(api: Api) -> None:
    async with api.container(image="debian") as container, terminal(api, container) as typed:
        assert b"[] /bin/bash off." in await typed.run(
            ' echo "[$ZSH_VERSION] $BASH $(shopt -q login_shell && echo on || echo off)."'
        )
