"""docs/quickstart.md does what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from support.client import Api

PAGE = Path(__file__).parents[2] / "docs/quickstart.md"


async def test_every_block_runs_in_order(api: Api) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = "set -euo pipefail\n" + "".join(f"{block}\necho\necho '--- {n}'\n" for n, block in enumerate(blocks))
    shell = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env={"REXEC": api.url, "TOKEN": api.token, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await shell.communicate())[0].decode()

    assert shell.returncode == 0, said
    outputs = re.split(r"--- \d+\n", said)
    assert '"status":"running"' in outputs[1]
    for stage in ("validating", "pulling", "creating", "starting", "configuring", "ready"):
        assert f'"stage":"{stage}"' in outputs[2]
    assert "hello from Linux" in outputs[3]
    assert '"running":true' in outputs[4].replace(" ", "")
    assert "print(6 * 7)" in outputs[5]
    assert '"memory_limit":536870912' in outputs[6]
    assert "container deleted" in outputs[7]
