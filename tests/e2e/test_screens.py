"""Who joins late sees what those see who were there: programs that draw on the whole screen, in a terminal emulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pyte
import pytest
from websockets.asyncio.client import ClientConnection

from support.client import Api

COLS, ROWS = 80, 24
SETTINGS = (
    r"\033[3;20r\033[?6h\033[?1002h\033[?1006h\033[?2004h\033[?2048h\033[4h\033[1;4;33;44m\033[4 q\033[>4;2m"
    r"\033]2;before\007\033[22;0t\033]2;mine\007"
)
"""What a program says once, long before somebody joins: margins, modes, looks, keys, titles."""
LESS = ("seq 5000 > /tmp/n; less /tmp/n", "4000G", "4000")
PROGRAMS = {
    "alpine": {"less": LESS, "vi": ("seq 300 > /tmp/n; vi /tmp/n", "250G", "250"), "top": ("top -d 100", "", "PID")},
    "debian": {
        "less": LESS,
        "vim": ("seq 300 > /tmp/n; vim.tiny /tmp/n", "250G", "250"),
        "htop": ("htop -d 100", "", "PID"),
        "settings": (
            rf"printf '{SETTINGS}'; seq 30000; printf '\033[2;5Hhe'; printf re; sleep 1000",
            "",
            "here",
        ),
    },
}


class Emulator(pyte.Screen):
    """vim asks how keys are modified in what `pyte` takes for colours."""

    def select_graphic_rendition(self, *attrs: int, private: bool = False) -> None:
        if not private:
            super().select_graphic_rendition(*attrs)


class Screen:
    """A `rexec.v2` client that draws."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._screen = Emulator(COLS, ROWS)
        self._parser = pyte.ByteStream(self._screen)
        self._offset, self._restoring = 0, False
        self.changed = asyncio.Event()
        self.modes = b""

    async def draw(self) -> None:
        while True:
            frame = await self._socket.recv()
            if isinstance(frame, bytes):
                self.modes += frame if self._restoring else b""
                self._offset += 0 if self._restoring else len(frame)
                self._restoring = False
                self._parser.feed(frame)
                self.changed.set()
                await self._socket.send(json.dumps({"type": "ack", "offset": self._offset}))
                continue
            said = json.loads(frame)
            self._restoring = said["type"] == "restore"
            self._offset = said.get("to", said.get("offset", self._offset))

    async def type(self, text: str) -> None:
        await self._socket.send(text.encode())

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.shown)

    @property
    def shown(self) -> tuple[str, ...]:
        """With the state of the terminal behind the lines."""
        screen = self._screen
        state = f"{screen.margins} {sorted(screen.mode)} {screen.title} {screen.cursor.attrs}"
        return (*(line.rstrip() for line in screen.display), f"cursor {screen.cursor.x},{screen.cursor.y}", state)


@asynccontextmanager
async def joined(api: Api, container: str, terminal: str) -> AsyncIterator[Screen]:
    at = f"/ws/terminal/{container}?id={terminal}&cols={COLS}&rows={ROWS}"
    async with api.connect(at, subprotocols=["rexec.v2"]) as socket:
        screen = Screen(socket)
        drawing = asyncio.create_task(screen.draw())
        try:
            yield screen
        finally:
            drawing.cancel()
            await asyncio.wait([drawing])
            if not drawing.cancelled():
                drawing.result()


async def until(right: Callable[[], bool], *screens: Screen, keys: str = "") -> None:
    """`keys` are typed again and again, for a program that just begins may throw them away."""
    async with asyncio.timeout(60):
        while not right():
            if keys:
                await screens[0].type(keys)
            for screen in screens:
                screen.changed.clear()
            waits = [asyncio.create_task(screen.changed.wait()) for screen in screens]
            await asyncio.wait(waits, timeout=2, return_when=asyncio.FIRST_COMPLETED)
            for waiting in waits:
                waiting.cancel()


@pytest.mark.parametrize("image", PROGRAMS)
async def test_a_late_joiner_sees_the_same_screen(api: Api, image: str) -> None:
    async with api.container(image=image) as container:
        for program, (command, keys, text) in PROGRAMS[image].items():
            async with joined(api, container["id"], program) as first:
                # A past that is longer than what a late joiner gets of it.
                await first.type(f"seq 30000; clear; {command}\r")
                if keys:
                    await until(lambda: (first.shown[0], first.shown[22]) == ("1", "23"), first)
                await until(lambda: first.shows(text), first, keys=keys)  # noqa: B023
                async with joined(api, container["id"], program) as late:
                    with suppress(TimeoutError):
                        await until(lambda: late.shows(text) and late.shown == first.shown, first, late)  # noqa: B023
                    assert late.shown == first.shown, program
                    assert late.modes, program
