"""The enhanced shell in a real terminal: every option visible when on, and off when off."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from support.client import Api

OFF = {
    "enhanced": True, "theme": "minimal", "autosuggestions": False, "syntax_highlight": False,
    "history_search": False, "git_aliases": False, "system_stats": False, "use_tmux": False,
}  # fmt: skip
UP = b"\x1b[A"


class Typed:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen = b""

    async def type(self, keys: bytes) -> None:
        await self.socket.send(keys)

    async def until(self, pattern: bytes, timeout: float = 15) -> re.Match[bytes]:
        try:
            async with asyncio.timeout(timeout):
                while (found := re.search(pattern, self.seen)) is None:
                    frame = await self.socket.recv()
                    if isinstance(frame, bytes):
                        self.seen += frame
        except TimeoutError:
            raise AssertionError(f"{pattern!r} did not come in {self.seen[-2000:]!r}") from None
        return found

    async def settled(self, quiet: float = 0.4) -> bytes:
        """What came until nothing more comes."""
        begun = len(self.seen)
        while True:
            try:
                frame = await asyncio.wait_for(self.socket.recv(), quiet)
            except TimeoutError:
                return self.seen[begun:]
            if isinstance(frame, bytes):
                self.seen += frame


@asynccontextmanager
async def shell(api: Api, image: str = "debian", **options: Any) -> AsyncGenerator[Typed, None]:
    wanted = {**OFF, **options}
    async with api.container(image=image, shell=wanted) as container:
        at = f"/ws/terminal/{container['id']}?cols=100&rows=30"
        async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
            assert json.loads(await socket.recv())["type"] == "ready"
            terminal = Typed(socket)
            await terminal.until(rb"[%#\xaf\x9d\$]")
            await terminal.settled()
            yield terminal


@pytest.mark.parametrize("image", ["debian", "alpine"])
async def test_enhanced_is_zsh_on_any_image_and_its_own_shell_without(api: Api, image: str) -> None:
    async with shell(api, image) as terminal:
        await terminal.type(b"echo version-$ZSH_VERSION-\r")
        await terminal.until(rb"version-5\.\d+")
    async with shell(api, image, enhanced=False) as terminal:
        await terminal.type(b"echo version-$ZSH_VERSION-\r")
        await terminal.until(rb"version--")


async def test_the_first_prompt_comes_at_once(api: Api) -> None:
    everything = {name: True for name in OFF if name not in ("theme", "use_tmux")}
    async with api.container(shell={**OFF, **everything, "theme": "rexec"}) as container:
        taken = []
        for number in range(5):
            at = f"/ws/terminal/{container['id']}?id=t{number}"
            begun = time.perf_counter()
            async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
                await Typed(socket).until("❯".encode())
            taken.append(time.perf_counter() - begun)
    assert min(taken) < 0.6, taken


async def test_a_suggestion_appears_or_not(api: Api) -> None:
    for on in (True, False):
        async with shell(api, autosuggestions=on) as terminal:
            await terminal.type(b"echo remember-me\r")
            await terminal.until(rb"remember-me\r\n")
            await terminal.settled()
            await terminal.type(b"echo rem")
            shown = await terminal.settled()
            assert (b"ember-me" in shown) is on, shown


async def test_highlighting_appears_or_not(api: Api) -> None:
    for on in (True, False):
        async with shell(api, syntax_highlight=on) as terminal:
            await terminal.type(b"no-such-command-x")
            shown = await terminal.settled()
            assert (b"\x1b[1m\x1b[31m" in shown or b"\x1b[31m" in shown) is on, shown


async def test_up_finds_by_substring_or_goes_back_one(api: Api) -> None:
    for on in (True, False):
        async with shell(api, history_search=on) as terminal:
            for line in (b"echo the-needle here", b"echo something else"):
                await terminal.type(line + b"\r")
                await terminal.settled()
            await terminal.type(b"needle" + UP)
            shown = await terminal.settled()
            assert (b"echo the-" in shown) is on, shown


async def test_git_aliases_expand_or_are_unknown(api: Api) -> None:
    for on in (True, False):
        async with shell(api, git_aliases=on) as terminal:
            await terminal.type(b"whence gst; echo do''ne\r")
            await terminal.until(rb"done\r\n")
            assert (b"git status" in terminal.seen) is on


async def test_statistics_are_printed_or_not(api: Api) -> None:
    for on in (True, False):
        async with api.container(shell={**OFF, "system_stats": on}) as container:
            async with api.connect(f"/ws/terminal/{container['id']}", subprotocols=["rexec.v2"]) as socket:
                terminal = Typed(socket)
                await terminal.until(rb"#")
                await terminal.settled()
                assert (b"memory" in terminal.seen) is on, terminal.seen


async def test_tmux_that_is_not_there_is_said(api: Api) -> None:
    async with api.container(shell={**OFF, "use_tmux": True}) as container:
        async with api.connect(f"/ws/terminal/{container['id']}", subprotocols=["rexec.v2"]) as socket:
            await Typed(socket).until(rb"tmux is not in this image")


async def test_themes_and_the_users_own_file_wins(api: Api) -> None:
    async with api.container(shell={**OFF, "theme": "rexec"}) as container:
        await api.exec(container["id"], "printf 'PROMPT=\"mine> \"\\n' > /root/.zshrc; mkdir -p /srv/x")
        async with api.connect(f"/ws/terminal/{container['id']}?id=own", subprotocols=["rexec.v2"]) as socket:
            await Typed(socket).until(rb"mine> ")
        await api.exec(container["id"], "rm /root/.zshrc")
        async with api.connect(f"/ws/terminal/{container['id']}?id=ours", subprotocols=["rexec.v2"]) as socket:
            terminal = Typed(socket)
            await terminal.until("❯".encode())
            await terminal.type(b"cd /srv/x; false\r")
            await terminal.until(rb"/srv/x")
            await terminal.until(rb"\x1b\[31m1")
