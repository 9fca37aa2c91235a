"""The first start proves itself: a container, its stages as they stream, a command in it, and away again.

Run beside the server: `python -m rexec.cli.proof ADDRESS IMAGE`, with a token as the input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from typing import Any

from rich.console import Console
from rich.markup import escape
from websockets.asyncio.client import connect

_TIMEOUT = 180


async def prove(address: str, token: str, image: str, out: Console) -> None:
    """Through the API, as a client does. Raises what went wrong."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def ask(method: str, path: str, body: Any = None) -> Any:
        def blocking() -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(address + path, data, headers, method=method)  # noqa: S310
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                return json.load(answer)

        return await asyncio.to_thread(blocking)

    out.print("[dim]The first start proves itself:[/dim]")
    begun = time.perf_counter()
    async with connect(
        address.replace("http", "ws", 1) + "/ws/events", additional_headers=headers, open_timeout=_TIMEOUT
    ) as events:
        made = await ask(
            "POST", "/api/containers", {"image": image, "name": "first-start", "shell": {"enhanced": False}}
        )
        answered = time.perf_counter() - begun
        try:
            await _stages(events, made["id"], begun, out)
            ready = time.perf_counter() - begun
            ran = await ask(
                "POST", f"/api/containers/{made['id']}/exec",
                {"command": "echo hello from $(hostname), $(uname -s) $(uname -m)"},
            )  # fmt: skip
            out.print(f"  {ran['stdout'].strip()}", markup=False)
            out.print(
                f"[dim]  answered in {answered * 1000:.0f} ms, ready after {ready * 1000:.0f} ms, "
                f"the command took {ran['duration_ms']} ms[/dim]"
            )
        finally:
            await ask("DELETE", f"/api/containers/{made['id']}")
    out.print("[green]It works.[/green] The container is removed again.\n")


async def _stages(events: Any, container: str, begun: float, out: Console) -> None:
    async with asyncio.timeout(_TIMEOUT):
        async for text in events:
            message = json.loads(text)
            data = message["data"]
            if message["type"] != "container_progress" or data["id"] != container:
                continue
            at = (time.perf_counter() - begun) * 1000
            out.print(f"  {at:6.0f} ms  {data['progress']:3} %  {data['stage']:<12} {data['message']}", markup=False)
            if data["stage"] == "ready":
                return
            if data["stage"] == "error":
                raise RuntimeError(data["message"])


def main() -> int:
    """The exit status: 1 when it did not work, 130 when it was interrupted."""
    _, address, image = sys.argv
    out = Console(highlight=False, soft_wrap=True)
    try:
        asyncio.run(prove(address, sys.stdin.read(), image, out))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        out.print(f"[red]The first container did not work:[/red] {escape(str(error))}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
