"""The enhanced shell in a real terminal, on images of glibc, of musl and of nothing: each option on, and off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.client import Api
from support.typed import KILL_LINE, OFF, ON, TAB, UP, Typed, terminal

BUNDLE = Path(__file__).parents[2] / "src/rexec/server/shell"
IMAGES = ("debian", "alpine", "static")
RED = rb"\x1b\[1m\x1b\[31m"
GREY = rb"\x1b\[90m"


def of(image: str, static_image: str, **shell: Any) -> dict[str, Any]:
    named = {"image": "custom", "custom_image": static_image} if image == "static" else {"image": image}
    return {**named, "shell": shell}


async def _repository(typed: Typed) -> None:
    """One that needs no git to make."""
    await typed.run(" zmodload zsh/files; mkdir -p /tmp/work/.git; print 'ref: refs/heads/topic' >/tmp/work/.git/HEAD")


@pytest.mark.parametrize("image", IMAGES)
async def test_every_option_on(api: Api, static_image: str, image: str) -> None:
    async with api.container(name=f"on-{image}", **of(image, static_image, **ON)) as container, \
            terminal(api, container) as typed:  # fmt: skip
        await typed.until(r"Memory.{1,12} \d+ of 256 MiB")
        await typed.until(f"(?s)root.{{1,20}}@.{{1,20}}on-{image}.*❯")
        modules = await typed.run(
            " for m in zsh/{regex,pcre,zpty,net/tcp,stat,system}; do zmodload $m || print missing-$m; done"
        )
        assert b"missing-zsh" not in modules, modules

        await typed.run("echo remember-the-needle here")
        await typed.run("echo something else")
        await typed.shows("echo rem", GREY + rb"ember-the-needle here")
        await typed.shows("no-such-command", RED)
        assert b"\nremember-the-needle here\r\n" in await typed.run(b"needle" + UP)
        assert b"\n/proc/cpuinfo\r\n" in await typed.run(b" print -r /proc/cpui" + TAB)
        assert b"git status" in await typed.run(" whence gst")
        assert b"not found" in await typed.run(" no-such-command-at-all")

        await _repository(typed)
        since = len(typed.seen)
        await typed.type(b" cd /tmp/work; (( _rexec_begun -= 100 )); (exit 3)\r")
        await typed.until(r"/tmp/work.*topic.*1m4\ds.*✘ 3", since)
        assert b"git status" in await typed.run(" $SHELL -ic 'whence gst'")


@pytest.mark.parametrize("image", IMAGES)
async def test_every_option_off(api: Api, static_image: str, image: str) -> None:
    async with api.container(**of(image, static_image, **OFF)) as container, terminal(api, container) as typed:
        assert b"zsh-5." in await typed.run(" print zsh-$ZSH_VERSION")
        assert b"Memory" not in typed.seen
        await typed.run("echo remember-the-needle here")
        since = len(typed.seen)
        await typed.type(b"echo something else\r")
        await typed.until(r"\nsomething else\r\n", since)
        since = len(typed.seen)
        await typed.type(b"echo rem" + KILL_LINE + b"no-such-command" + KILL_LINE + b"needle" + UP + b"\r")
        await typed.until(r"\nsomething else\r\n", since)
        assert b"ember-the-needle" not in typed.seen[since:]
        assert b"\x1b[31m" not in typed.seen[since:]
        assert b"git status" not in await typed.run(" whence gst")
        await _repository(typed)
        assert b"topic" not in await typed.run(" cd /tmp/work")
        assert b"other" not in await typed.run(" echo $TMUX; [[ -z $TMUX ]] || echo ot''her")


@pytest.mark.parametrize("image", IMAGES)
async def test_tmux_outlives_its_terminal_and_each_has_a_session(api: Api, static_image: str, image: str) -> None:
    shell = {**OFF, "use_tmux": True, "theme": "powerlevel10k"}
    async with api.container(**of(image, static_image, **shell)) as container:
        async with terminal(api, container) as typed:
            await typed.run(" kept=$((40 + 2))")
            assert b"session-main" in await typed.run(" tmux display -p 'session-#S'")
        ended = await api.http.delete(f"/api/containers/{container['id']}/terminals/main")
        assert ended.status_code == 200, ended.text
        async with terminal(api, container, "side.2") as typed:
            await typed.run(" echo")
            assert b"session-side_2" in await typed.run(" tmux display -p 'session-#S'")
            assert b"kept-." in await typed.run(" echo kept-$kept.")
        async with terminal(api, container) as typed:
            since = len(typed.seen)
            await typed.type(b" echo kept-$kept.\r")
            await typed.until(r"kept-42\.", since)


async def test_what_cannot_be_had_is_told(api: Api) -> None:
    shell = {**OFF, "use_tmux": True, "theme": "powerlevel10k"}
    async with api.container(shell=shell, environment={"TMUX_TMPDIR": "/nowhere"}) as container:
        async with terminal(api, container) as typed:
            await typed.until("tmux cannot run here")
            assert b"on its own" in await typed.run(" echo on it''s own")
            told = b"powerlevel10k is not in this bundle" in typed.seen
            assert told is not (BUNDLE / "themes/powerlevel10k").is_dir()
        async with terminal(api, container, "second") as typed:
            await typed.run(" echo")
            assert b"powerlevel10k" not in typed.seen


async def test_users_files_win_and_are_left_alone(api: Api) -> None:
    async with api.container(shell={**ON, "system_stats": False}) as container:
        files = "echo 'PROMPT=\"mine> \"; alias gst=mine' > /root/.zshrc; echo 'export ZDOTDIR=/srv/dots' > /home/user/.zshenv"
        theirs = (
            "mkdir -p /srv/dots; echo 'PROMPT=\"theirs> \"' > /srv/dots/.zshrc; cat /root/.zshrc /home/user/.zshenv"
        )
        before = await api.exec(container["id"], f"{files}; {theirs}")
        async with terminal(api, container) as typed:
            await typed.until("mine> ")
            assert b"mine" in await typed.run(" whence gst")
            assert b"[]" in await typed.run(" echo [$ZDOTDIR]")
            packed = (
                "mkdir -p /srv/x && cd /srv/x && echo hi >in && tar czf a.tgz in && rm in && extract a.tgz && cat in"
            )
            assert b"\nhi\r\n" in await typed.run(packed)
        async with terminal(api, container, "other", user="user") as typed:
            await typed.until("theirs> ")
            assert b"/srv/dots" in await typed.run(" echo $ZDOTDIR")
        after = await api.exec(container["id"], "cat /root/.zshrc /home/user/.zshenv")
        assert after["stdout"] == before["stdout"]
